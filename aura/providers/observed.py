"""The engines of one conversation, seen from it: each call is accounted for and, when it is recorded, put on the tape.

What an engine gives passes through `Seam.of`, which is where the conversation ends and the outside begins. How a tape
is played back instead of an engine stands in `providers/recorded.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast
from zlib import crc32

import msgspec
import trio

from aura.core import tape
from aura.core.errors import ProviderError
from aura.core.ports import (
    LISTEN_RATE_HZ,
    ChatItem,
    ChatModel,
    ChatRequest,
    Finished,
    Hearing,
    HearingEvent,
    Kit,
    SpeechChunk,
    SpeechRequest,
    SpeechToText,
    TextToSpeech,
    Transcript,
)
from aura.providers.observed_tools import ObservedTools

T = TypeVar("T")
M = TypeVar("M")
DONE = tape.Done()


class Seam(Protocol):
    """The border between a conversation and the outside (`session.steps.Steps`)."""

    @property
    def task(self) -> int:
        """Number of the task that is going on."""
        ...

    async def seam(self, call: Callable[[], Awaitable[T]], note: Callable[[T], tape.Outcome]) -> T:
        """Call the outside and await it; `note` says how its result stands on the tape."""
        ...

    def note(self, note: tape.Note) -> None:
        """Put something on the tape that is there to look at."""
        ...


class CallDone(msgspec.Struct, frozen=True, omit_defaults=True):
    """The account of one call."""

    part: str
    provider: str
    """Who answered; of several that did not, their names joined by +."""
    elapsed_ms: float
    """When it began, since the conversation did."""
    total_ms: float
    outcome: str
    """ok, cancelled, the error's code, or what a tool's call came to."""
    ttfb_ms: float | None = None
    """Until the first item."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    chars: int | None = None
    audio_s: float | None = None
    model: str | None = None
    cost_usd: float | None = None
    """Of the answer that was used, as far as it is known."""


class Watch:
    """Accounts for the calls of one conversation."""

    def __init__(self, seam: Seam, done: Callable[[CallDone], None]) -> None:
        self.seam, self.done = seam, done
        self.began = trio.current_time()

    def call(self, part: str, provider: str, digest: str = "", text: str = "", **known: Any) -> Account:
        """A call begins."""
        self.seam.note(tape.Call(self.seam.task, part, provider, digest, text))
        return Account(self, part, provider, known)


class Account:
    """What is known about one call so far."""

    def __init__(self, watch: Watch, part: str, provider: str, known: dict[str, Any]) -> None:
        self._watch, self._part, self._provider = watch, part, provider
        self._known = known
        self._at = trio.current_time()
        self._first: float | None = None

    def item(self) -> None:
        """Something came."""
        if self._first is None:
            self._first = trio.current_time()

    def know(self, **known: Any) -> None:
        """More about it."""
        self._known.update(known)

    def served(self, by: str) -> None:
        """This engine (`provider/model`) answered."""
        if by:
            self._provider, _, model = by.partition("/")
            if model:
                self._known["model"] = model

    def over(self, error: BaseException | None, outcome: str = "") -> None:
        """It ended, by this error if there is one; `outcome` says how, where it is neither that nor ok."""
        if error is None or isinstance(error, StopAsyncIteration | GeneratorExit):
            outcome = outcome or "ok"
        elif isinstance(error, trio.Cancelled | BaseExceptionGroup):
            outcome = "cancelled"
        else:
            outcome = error.code if isinstance(error, ProviderError) else "internal"
        watch, now = self._watch, trio.current_time()
        watch.seam.note(tape.Left(watch.seam.task, outcome))
        first = None if self._first is None else round((self._first - self._at) * 1000, 1)
        elapsed = round((self._at - watch.began) * 1000, 1)
        total = round((now - self._at) * 1000, 1)
        watch.done(CallDone(self._part, self._provider, elapsed, total, outcome, first, **self._known))


def observed(kit: Kit, seam: Seam, done: Callable[[CallDone], None]) -> Kit:
    """The same engines for one conversation, with every call accounted for."""
    watch = Watch(seam, done)
    return Kit(
        ObservedStt(kit.stt, watch),
        ObservedChat(kit.chat, watch),
        ObservedTts(kit.tts, watch),
        ObservedTts(kit.backup_tts, watch),
        kit.detector,
        ObservedTools(kit.toolbox, watch),
    )


class Stream(Generic[M]):
    """An engine's stream, item by item through the seam; ends its account when it is left."""

    def __init__(
        self,
        inner: AbstractAsyncContextManager[AsyncIterator[M]],
        watch: Watch,
        begin: Callable[[], Account],
        note: Callable[[M], tape.Outcome],
        learn: Callable[[Account, M], None],
    ) -> None:
        self._inner, self._watch, self._begin = inner, watch, begin
        self._note, self._learn = note, learn

    async def __aenter__(self) -> AsyncIterator[M]:
        account = self._account = self._begin()
        try:
            entered = await self._watch.seam.seam(self._inner.__aenter__, lambda _: DONE)
            self._items: AsyncIterator[M] | None = entered
        except BaseException as error:
            account.over(error)
            raise
        return self

    def __aiter__(self) -> AsyncIterator[M]:
        return self

    async def __anext__(self) -> M:
        item = await self._watch.seam.seam(self._following, self._note)
        self._account.item()
        self._learn(self._account, item)
        return item

    def _following(self) -> Awaitable[M]:
        # A stream that was entered behind a tape has no items: what stands for the engine gives the rest itself.
        items = self._items if self._items is not None else cast("AsyncIterator[M]", self._inner)
        return items.__anext__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._watch.seam.seam(lambda: self._inner.__aexit__(kind, error, trace), lambda _: DONE)
        finally:
            self._account.over(error)


class ObservedChat:
    """A language model."""

    def __init__(self, inner: ChatModel, watch: Watch) -> None:
        self.inner, self.watch, self.name = inner, watch, inner.name

    def reply(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatItem]]:
        """Stream the answer."""

        def begin() -> Account:
            last = request.messages[-1].text if request.messages else ""
            return self.watch.call("chat", self.name, request_digest(request), last)

        return Stream(self.inner.reply(request), self.watch, begin, tape.Item, self._learn)

    @staticmethod
    def _learn(account: Account, item: ChatItem) -> None:
        if isinstance(item, Finished):
            counts = {"input_tokens": item.input_tokens, "output_tokens": item.output_tokens}
            account.know(**counts, cached_tokens=item.cached_tokens, cost_usd=item.cost_usd)
            account.served(item.served_by)


class ObservedTts:
    """A voice."""

    def __init__(self, inner: TextToSpeech, watch: Watch) -> None:
        self.inner, self.watch, self.name = inner, watch, inner.name

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Stream a sentence's audio."""
        seconds = 0.0

        def begin() -> Account:
            return self.watch.call("tts", self.name, request_digest(request), request.text, chars=len(request.text))

        def learn(account: Account, chunk: SpeechChunk) -> None:
            nonlocal seconds
            seconds += len(chunk.pcm) / 2 / chunk.rate_hz
            account.know(audio_s=round(seconds, 3))
            account.served(chunk.served_by)

        return Stream(self.inner.speak(request), self.watch, begin, tape.RawSound, learn)


def request_digest(request: ChatRequest | SpeechRequest) -> str:
    """Tells requests apart."""
    return tape.digest(msgspec.json.encode(request))


class ObservedStt:
    """A recogniser."""

    def __init__(self, inner: SpeechToText, watch: Watch) -> None:
        self.inner, self.watch, self.name = inner, watch, inner.name

    def open(self) -> AbstractAsyncContextManager[Hearing]:
        """Begin an utterance."""
        return Utterance(self.inner.open(), self.watch, self.name)


class Utterance:
    """One utterance being listened to. Each request for its words is a call."""

    def __init__(self, inner: AbstractAsyncContextManager[Hearing], watch: Watch, provider: str) -> None:
        self._inner, self._watch, self._provider = inner, watch, provider
        self._bytes, self._crc = 0, 0

    async def __aenter__(self) -> Hearing:
        hearing: Hearing | None = await self._watch.seam.seam(self._inner.__aenter__, lambda _: DONE)
        # Behind a tape there is none: what stands for the recogniser hears it, for the case that the tape ends.
        self._hearing = hearing if hearing is not None else cast("Hearing", self._inner)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._watch.seam.seam(lambda: self._inner.__aexit__(kind, error, trace), lambda _: DONE)

    def feed(self, pcm: bytes) -> None:
        """Take the next audio."""
        self._bytes += len(pcm)
        self._crc = crc32(pcm, self._crc)
        self._hearing.feed(pcm)

    async def so_far(self) -> Transcript:
        """The words until now."""
        return await self._ask(lambda hearing: hearing.so_far())

    async def final(self) -> Transcript:
        """The words of the whole utterance."""
        return await self._ask(lambda hearing: hearing.final())

    async def events(self) -> AsyncIterator[HearingEvent]:
        """What the engine notices, if it is one that does. A failure is told by the next request for words."""
        source = getattr(self._hearing, "events", None)
        items: AsyncIterator[HearingEvent] | None = source() if source else None

        async def following() -> HearingEvent | None:
            return None if items is None else await anext(items, None)

        with suppress(ProviderError):
            while (event := await self._watch.seam.seam(following, tape.Noticed)) is not None:
                yield event

    async def _ask(self, ask: Callable[[Hearing], Awaitable[Transcript]]) -> Transcript:
        seconds = round(self._bytes / 2 / LISTEN_RATE_HZ, 3)
        account = self._watch.call("stt", self._provider, f"{self._crc:08x}", f"{seconds:g}", audio_s=seconds)
        error: BaseException | None = None
        try:
            heard = await self._watch.seam.seam(lambda: ask(self._hearing), tape.Heard)
            account.served(heard.served_by)
            return heard
        except BaseException as raised:
            error = raised
            raise
        finally:
            account.over(error)
