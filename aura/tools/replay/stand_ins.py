"""Engines for a recorded input that is run freely: they answer as they did then, failures and stalls included.

Unlike those of a branch (`answers`), no engine is ever asked anew, so that a run takes no real time and comes out the
same each time. Where less was said than then, a request may be one that nobody answered: it gets the words of the
recorded request that was made at about that time, or silence of the right length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from zlib import crc32

import msgspec
import trio

from aura.core import events as ev
from aura.core import tape
from aura.core.errors import TimedOut
from aura.core.journal import Entry
from aura.core.ports import (
    ChatRequest,
    Finished,
    Hearing,
    Kit,
    SpeechChunk,
    SpeechRequest,
    TextDelta,
    Tool,
    ToolCall,
    ToolHost,
    ToolResult,
    Transcript,
    VoiceDetector,
)
from aura.providers.observed import request_digest
from aura.providers.observed_tools import request_digest_of
from aura.storage.tapes import Tape
from aura.tools.replay.answers import Answers, Known
from aura.tools.replay.turnstile import provider_error

JUST_AFTER_S = 0.05
"""An answer that did not come in time then would have come this much later."""
CHAR_S = 0.06
RATE_HZ = 24_000
AT_ONCE_S = 0.05
"""That a call was given up is told within this time."""


class Memory:
    """What the engines of a recorded conversation gave. One for many runs."""

    def __init__(self, read: Tape, entries: Sequence[Entry], tool_s: float) -> None:
        self.header = read.header
        self._tool_s = tool_s
        self._given_up = [
            read.header.base + entry.at
            for entry in entries
            if isinstance(entry.event, ev.StageFailed) and entry.event.code == TimedOut.code
        ]
        self.calls: list[Known] = []
        for call in Answers(read, {}).calls:
            given = [row for row in call.answers if not isinstance(row[1], tape.Done)]
            cut = next((i for i, row in enumerate(given) if isinstance(row[1], tape.Cancelled)), len(given) - 1)
            self.calls.append(msgspec.structs.replace(call, answers=given[: cut + 1]))

    def stalled(self, call: Known) -> bool:
        """Whether it was given up because nothing came for too long."""
        if not call.answers or not isinstance(call.answers[-1][1], tape.Cancelled):
            return False
        end = call.answers[-1][0]
        if call.part == "tool":
            return end - call.at >= self._tool_s
        return any(abs(at - end) <= AT_ONCE_S for at in self._given_up)

    def telling(self, call: Known) -> bool:
        """Whether it is known how it ended, and not only that somebody lost interest."""
        ended = bool(call.answers) and not isinstance(call.answers[-1][1], tape.Cancelled)
        return call.left == "ok" or ended or self.stalled(call)


class StandIns:
    """The engines of one run. `then` tells at which time of the recorded conversation the run is."""

    def __init__(self, memory: Memory, then: Callable[[], float]) -> None:
        self.memory, self.then = memory, then
        self.invented = 0
        """Requests that nobody answered then."""
        self._taken: Counter[int] = Counter()

    def find(self, part: str, digest: str, text: str) -> Known | None:
        """The recorded call that this one is: of several alike the next one that was not gone through yet."""
        calls = [call for call in self.memory.calls if call.part == part]
        same = [call for call in calls if call.digest == digest]
        if not same and part != "stt":
            same = [call for call in calls if call.text == text]
        if not same:
            self.invented += 1
            return self._near(calls) if part in ("stt", "chat") else None
        told = [call for call in same if self.memory.telling(call)]
        fresh = [call for call in told if not self._taken[id(call)]]
        return (fresh or told[-1:] or [max(same, key=lambda call: len(call.answers))])[0]

    def done(self, call: Known) -> None:
        """It was gone through to its end."""
        self._taken[id(call)] += 1

    def words(self) -> Transcript:
        """What was heard at about this time."""
        near = self._near([call for call in self.memory.calls if call.part == "stt"])
        heard = near.answers[-1][1] if near else None
        return heard.transcript if isinstance(heard, tape.Heard) else Transcript("")

    def _near(self, calls: list[Known]) -> Known | None:
        ended = [call for call in calls if call.left == "ok" and call.answers]
        return min(ended, key=lambda call: abs(call.at - self.then()), default=None)


class Playback:
    """What a call gave, when it gave it."""

    def __init__(self, all_: StandIns, call: Known) -> None:
        self._all, self._call = all_, call
        self._rest = iter(call.answers)
        self._began = trio.current_time()

    def __aiter__(self) -> Playback:
        return self

    async def __anext__(self) -> tuple[tape.Outcome, bytes]:
        """The next of it. Raises what was raised then; waits for ever where the call was given up."""
        call = self._call
        at, outcome, audio = next(self._rest, (0.0, tape.Stop(), b""))
        if isinstance(outcome, tape.Cancelled):
            if self._all.memory.stalled(call):
                self._all.done(call)
                await trio.sleep_forever()
            await trio.sleep_until(self._began + at - call.at + JUST_AFTER_S)
            raise StopAsyncIteration
        if at:
            await trio.sleep_until(self._began + at - call.at)
        if isinstance(outcome, tape.Stop | tape.Failed | tape.Crashed):
            self._all.done(call)
            raise _raised(outcome)
        return outcome, audio


def _raised(outcome: tape.Stop | tape.Failed | tape.Crashed) -> Exception:
    match outcome:
        case tape.Failed():
            return provider_error(outcome)
        case tape.Crashed(error):
            return RuntimeError(error)
    return StopAsyncIteration()


class StandIn:
    """A stream of the model or the voice."""

    def __init__(self, items: AsyncIterator[Any]) -> None:
        self._items = items

    async def __aenter__(self) -> AsyncIterator[Any]:
        await trio.lowlevel.checkpoint()
        return self._items

    async def __aexit__(self, *_: object) -> None:
        await self._items.aclose()  # type: ignore[attr-defined]


class Chat:
    """The model."""

    def __init__(self, name: str, all_: StandIns) -> None:
        self.name, self._all = name, all_

    def reply(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Stream the answer."""
        return StandIn(self._items(request))

    async def _items(self, request: ChatRequest) -> AsyncIterator[Any]:
        last = request.messages[-1].text if request.messages else ""
        call = self._all.find("chat", request_digest(request), last)
        finished = False
        if call is None:
            yield TextDelta("All right.")
        else:
            async for outcome, _ in Playback(self._all, call):
                if isinstance(outcome, tape.Item):
                    finished = isinstance(outcome.item, Finished)
                    if finished:  # nobody asks for more
                        self._all.done(call)
                    yield outcome.item
        if not finished:
            yield Finished("stop")


class Voice:
    """The voice."""

    def __init__(self, name: str, all_: StandIns) -> None:
        self.name, self._all = name, all_

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Stream a sentence's audio."""
        return StandIn(self._items(request))

    async def _items(self, request: SpeechRequest) -> AsyncIterator[SpeechChunk]:
        call = self._all.find("tts", request_digest(request), request.text)
        if call is None:
            await trio.lowlevel.checkpoint()
            yield SpeechChunk(bytes(2 * round(CHAR_S * len(request.text) * RATE_HZ)), RATE_HZ)
            return
        async for outcome, audio in Playback(self._all, call):
            if isinstance(outcome, tape.Sound):
                yield SpeechChunk(audio, outcome.rate_hz, outcome.words)


class Recogniser:
    """The recogniser."""

    def __init__(self, name: str, all_: StandIns) -> None:
        self.name, self.all = name, all_

    def open(self) -> AbstractAsyncContextManager[Hearing]:
        """Begin an utterance."""
        return Utterance(self.all)


class Utterance:
    """One utterance, known by its audio."""

    def __init__(self, all_: StandIns) -> None:
        self._all, self._crc = all_, 0

    async def __aenter__(self) -> Hearing:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()

    def feed(self, pcm: bytes) -> None:
        """Take the next audio."""
        self._crc = crc32(pcm, self._crc)

    async def so_far(self) -> Transcript:
        """The words until now."""
        call = self._all.find("stt", f"{self._crc:08x}", "")
        found: Transcript | None = None
        if call is not None:
            async for outcome, _ in Playback(self._all, call):
                if isinstance(outcome, tape.Heard):
                    found = outcome.transcript
        await trio.lowlevel.checkpoint()
        return found or self._all.words()

    final = so_far


class Tools:
    """The functions."""

    def __init__(self, tools: tuple[Tool, ...], all_: StandIns) -> None:
        self._tools, self._all = tools, all_

    def tools(self) -> tuple[Tool, ...]:
        """What is declared to the model."""
        return self._tools

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Run one call."""
        known = self._all.find("tool", request_digest_of(call), call.arguments)
        result = ToolResult("done")
        if known is not None:
            async for outcome, _ in Playback(self._all, known):
                if isinstance(outcome, tape.ToolDone):
                    result = ToolResult(outcome.text, outcome.outcome)
                    for ask in outcome.host:
                        if not ask.cancels:
                            host.say_later(ask.after_s, ask.text)
        await trio.lowlevel.checkpoint()
        return result


def stand_in_kit(all_: StandIns, detector: Callable[[], VoiceDetector]) -> Kit:
    """The engines of a run."""
    header = all_.memory.header
    name = header.engines.get
    voice = Voice(name("tts", ""), all_)
    return Kit(
        Recogniser(name("stt", ""), all_), Chat(name("chat", ""), all_), voice, Voice(name("backup_tts", ""), all_),
        detector, Tools(header.tools, all_),
    )  # fmt: skip
