"""Engines for a branch: they answer from the recording where it knows the question, else a real engine does.

The chat model is asked for what it was asked for then (the same request, or the same last message), the voice for the
same sentence, the recogniser for about the same stretch of audio; answers take as long as they took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from statistics import median
from typing import Any, Protocol, TypeVar
from zlib import crc32

import msgspec
import trio

from aura.core import tape
from aura.core.ports import (
    LISTEN_RATE_HZ,
    ChatModel,
    ChatRequest,
    Finished,
    Hearing,
    Kit,
    SpeechChunk,
    SpeechRequest,
    SpeechToText,
    TextToSpeech,
    Tool,
    ToolBox,
    ToolCall,
    ToolHost,
    ToolResult,
    Transcript,
)
from aura.providers.observed import request_digest
from aura.providers.observed_tools import request_digest_of
from aura.storage.tapes import Sounds, Tape
from aura.tools.replay.turnstile import provider_error

T = TypeVar("T")


class Real(Protocol):
    """Awaits something that takes real time, while the branch's clock runs, or for as long as `takes_s` says."""

    async def __call__(self, call: Callable[[], Awaitable[T]], *, takes_s: float | None = None) -> T:
        """The result."""
        ...


NEAR_S = 1.0
"""An utterance that began this much earlier or later than a recorded one may be the same."""
JUST_AFTER_S = 0.05
"""An answer that did not come in time then would have come this much later."""
LONGER_S = 0.5
"""And it may be this much longer or shorter."""


class Known(msgspec.Struct):
    """One recorded call and what it gave, when."""

    part: str
    digest: str
    text: str
    at: float
    answers: list[tuple[float, tape.Outcome, bytes]] = []
    """When, what, and its audio."""
    left: str = ""
    audio_s: float = 0.0


class Answers:
    """All recorded calls of a conversation, and how often each kind of engine had to be asked instead."""

    def __init__(self, read: Tape, edits: dict[str, str], *, same_part: bool = True) -> None:
        self.edits, self.same_part = edits, same_part
        self.asked: Counter[str] = Counter()
        """`chat recorded`, `stt offline`, …: who answered in the branch."""
        self.calls: list[Known] = []
        under_way: dict[int, Known] = {}
        last: dict[int, float] = {}
        sounds = Sounds(read.folder)
        for line in read.lines:
            match line:
                case tape.Step(at, task, outcome):
                    last[task] = at
                    if outcome is not None and task in under_way:
                        audio = b""
                        if isinstance(outcome, tape.Sound):
                            audio = sounds.take(f"voice.pcm16.{outcome.rate_hz}", outcome.bytes)
                        under_way[task].answers.append((at, outcome, audio))
                case tape.Call(task, part, _, digest, text):
                    known = under_way[task] = Known(part, digest, text, last.get(task, read.header.base))
                    known.audio_s = float(text) if part == "stt" and text else 0.0
                    self.calls.append(known)
                case tape.Left(task, outcome):
                    if task in under_way:
                        under_way.pop(task).left = outcome
                case _:
                    pass
        sounds.close()

    def find(self, part: str, digest: str, text: str) -> Known | None:
        """The recorded call that is most like this one: complete ones first, then the one that got furthest."""
        same = [known for known in self.calls if known.part == part and known.answers]
        exact = [known for known in same if known.digest == digest]
        same = same if self.same_part or part != "chat" else []  # another persona would answer otherwise
        alike = exact or [known for known in same if known.text == text]
        return max(alike, key=lambda known: (known.left == "ok", len(known.answers)), default=None)

    def current(self, part: str, digest: str, now: float) -> Known | None:
        """The recorded call that is under way now."""
        same = [known for known in self.calls if (known.part, known.digest) == (part, digest) and known.at <= now]
        return same[-1] if same else None

    def complete(self, part: str) -> list[Known]:
        """The calls of a kind that were answered to the end."""
        return [known for known in self.calls if known.part == part and known.left == "ok" and known.answers]

    def heard(self, digest: str, now: float, audio_s: float) -> Known | None:
        """The recorded request for about the same audio."""
        began = now - audio_s
        same = self.complete("stt")
        exact = [known for known in same if known.digest == digest]
        near = [
            known
            for known in same
            if abs(known.audio_s - audio_s) <= LONGER_S and abs(known.at - known.audio_s - began) <= NEAR_S
        ]
        return min(exact or near, key=lambda known: abs(known.audio_s - audio_s), default=None)

    def unanswered_s(self, digest: str) -> float:
        """How long this request was waited for in vain: the user went on speaking meanwhile."""
        same = [known for known in self.calls if known.digest == digest and known.left == "cancelled" and known.answers]
        return max((known.answers[-1][0] - known.at for known in same), default=0.0)

    def edited(self, text: str) -> str:
        """The user's words as they are to be in the branch."""
        for old, new in self.edits.items():
            text = text.replace(old, new)
        return text


class BranchStream:
    """A model's or a voice's stream. Entered behind the tape or after its end, it goes on from where the tape was."""

    def __init__(
        self,
        answers: Answers,
        part: str,
        digest: str,
        text: str,
        real: Real,
        fallback: Callable[[], AbstractAsyncContextManager[AsyncIterator[Any]]],
        name: str,
    ) -> None:
        self._answers, self._part, self._digest, self._text = answers, part, digest, text
        self._real, self._fallback, self._name = real, fallback, name
        self._known: Known | None = None
        self._inner: AbstractAsyncContextManager[AsyncIterator[Any]] | None = None
        self._began = self._position = 0.0

    async def __aenter__(self) -> BranchStream:
        self._known = self._answers.find(self._part, self._digest, self._text)
        self._began = trio.current_time()
        self._answers.asked[f"{self._part} {'recorded' if self._known else self._name}"] += 1
        if self._known is None:
            self._inner = self._fallback()
            self._items = await self._real(self._inner.__aenter__)
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        if self._inner is not None:
            inner = self._inner
            return bool(await self._real(lambda: inner.__aexit__(*error)))
        await trio.lowlevel.checkpoint()
        return None

    def __aiter__(self) -> BranchStream:
        return self

    async def __anext__(self) -> Any:
        if self._inner is not None:
            return await self._real(self._items.__anext__)
        if self._known is None:  # it was entered behind the tape
            self._known = self._answers.current(self._part, self._digest, trio.current_time())
            self._began = self._known.at if self._known else trio.current_time()
            self._position = trio.current_time() - self._began
        for at, outcome, audio in self._known.answers if self._known else ():
            since = at - (self._known.at if self._known else 0.0)
            if since > self._position:
                self._position = since
                await trio.sleep_until(self._began + since)
                match outcome:
                    case tape.Item(item):
                        return item
                    case tape.Sound(_, rate_hz, words):
                        return SpeechChunk(audio, rate_hz, words)
                    case tape.Failed():
                        raise provider_error(outcome)
                    case tape.Stop():
                        raise StopAsyncIteration
                    case _:
                        continue
        return self._cut_short()

    def _cut_short(self) -> Any:
        """The recording has no more of this answer: it was interrupted then."""
        if self._part == "chat" and self._position != float("inf"):
            self._position = float("inf")
            self._answers.asked["answers that end where they were cut off then"] += 1
            return Finished("stop")
        raise StopAsyncIteration


class BranchChat:
    """The model of a branch."""

    def __init__(self, name: str, answers: Answers, real: Real, fallback: ChatModel) -> None:
        self.name, self._answers, self._real, self._fallback = name, answers, real, fallback

    def reply(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """Stream the answer."""
        last = request.messages[-1].text if request.messages else ""
        fallback = self._fallback
        return BranchStream(
            self._answers, "chat", request_digest(request), last, self._real, lambda: fallback.reply(request),
            fallback.name,
        )  # fmt: skip


class BranchTts:
    """The voice of a branch."""

    def __init__(self, name: str, answers: Answers, real: Real, fallback: TextToSpeech) -> None:
        self.name, self._answers, self._real, self._fallback = name, answers, real, fallback

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Stream a sentence's audio."""
        fallback = self._fallback
        return BranchStream(
            self._answers, "tts", request_digest(request), request.text, self._real, lambda: fallback.speak(request),
            fallback.name,
        )  # fmt: skip


class BranchStt:
    """The recogniser of a branch."""

    def __init__(self, name: str, answers: Answers, real: Real, fallback: SpeechToText) -> None:
        self.name, self.answers, self.real, self.fallback = name, answers, real, fallback
        took = [known.answers[-1][0] - known.at for known in answers.complete("stt")]
        self.takes_s = median(took or [0.1]) if fallback.name == "offline" else None
        """How long the offline recogniser takes, which hears everything at once here and not while it is said."""

    def open(self) -> AbstractAsyncContextManager[Hearing]:
        """Begin an utterance."""
        return BranchUtterance(self)


class BranchUtterance:
    """One utterance, kept as long as it may have to be shown to a real recogniser."""

    def __init__(self, stt: BranchStt) -> None:
        self._stt = stt
        self._pcm = bytearray()

    async def __aenter__(self) -> Hearing:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()

    def feed(self, pcm: bytes) -> None:
        """Take the next audio."""
        self._pcm += pcm

    async def so_far(self) -> Transcript:
        """The words until now."""
        stt, audio_s = self._stt, len(self._pcm) / 2 / LISTEN_RATE_HZ
        digest = f"{crc32(self._pcm):08x}"
        known = stt.answers.heard(digest, trio.current_time(), audio_s)
        stt.answers.asked[f"stt {'recorded' if known else stt.fallback.name}"] += 1
        if known is None:
            least = stt.answers.unanswered_s(digest)
            takes_s = None if stt.takes_s is None else max(stt.takes_s, least + JUST_AFTER_S if least else 0.0)
            found: Transcript = await stt.real(self._ask, takes_s=takes_s)
        else:
            at, heard, _ = known.answers[-1]
            await trio.sleep(at - known.at)
            assert isinstance(heard, tape.Heard)
            found = heard.transcript
        return msgspec.structs.replace(found, text=stt.answers.edited(found.text))

    final = so_far

    async def _ask(self) -> Transcript:
        async with self._stt.fallback.open() as hearing:
            hearing.feed(bytes(self._pcm))
            return await hearing.final()


class BranchTools:
    """The functions of a branch: recorded results for recorded calls, else the real functions."""

    def __init__(self, tools: tuple[Tool, ...], answers: Answers, real: Real, fallback: ToolBox) -> None:
        self._tools, self._answers, self._real, self._fallback = tools, answers, real, fallback

    def tools(self) -> tuple[Tool, ...]:
        """What is declared to the model."""
        return self._tools

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Run one call."""
        known = self._answers.find("tool", request_digest_of(call), call.arguments)
        done = known.answers[-1][1] if known else None
        self._answers.asked[f"tool {'recorded' if isinstance(done, tape.ToolDone) else 'real'}"] += 1
        if known is None or not isinstance(done, tape.ToolDone):
            return await self._real(lambda: self._fallback.call(call, host))
        await trio.sleep(known.answers[-1][0] - known.at)
        for ask in done.host:
            if not ask.cancels:
                host.say_later(ask.after_s, ask.text)
        return ToolResult(done.text, done.outcome)


def branch_kit(read: Tape, answers: Answers, real: Real, fallback: Kit) -> Kit:
    """The engines of a branch; the detector is that of `fallback`."""
    names = read.header.engines
    voice = BranchTts(names.get("tts", ""), answers, real, fallback.tts)
    return Kit(
        BranchStt(names.get("stt", ""), answers, real, fallback.stt),
        BranchChat(names.get("chat", ""), answers, real, fallback.chat),
        voice,
        BranchTts(names.get("backup_tts", ""), answers, real, fallback.backup_tts),
        fallback.detector,
        BranchTools(read.header.tools, answers, real, fallback.toolbox),
    )
