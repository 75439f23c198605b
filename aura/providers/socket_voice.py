"""Speech over sockets that stay open: what every such voice does for a sentence, whatever the engine's messages are.

A socket that was idle may have been closed by the engine just when it is needed. So a sentence that found its end
before any audio came is asked for once more, on a socket that has said nothing yet.
"""

from __future__ import annotations

import base64
import binascii
import math
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog
import trio

from aura.core.errors import ProviderError, StreamCut, TimedOut
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.providers.sockets import Link, Sentence, SocketPool
from aura.providers.ws import Ws

log = structlog.get_logger()
GOODBYE_S = 0.25
"""Time in which an engine's network must take in the order to stop."""

L = TypeVar("L", bound=Link)


class Patience(msgspec.Struct, frozen=True):
    """How long a voice may let us wait."""

    first_s: float
    stall_s: float


class SoloLink(Link):
    """A socket that says one sentence at a time."""

    def __init__(self, ws: Ws, stop_timeout_s: float) -> None:
        super().__init__(ws, places=1)
        self._stop_timeout_s = stop_timeout_s
        self.sentence: Sentence | None = None
        """The one under way, until it is left."""

    @abstractmethod
    async def stop(self) -> None:
        """Have the engine stop in the middle. When it confirms that, the place is to be freed."""

    async def leave(self, sentence: Sentence) -> None:
        """Free the socket, or have the engine stop first."""
        if self.sentence is not sentence:
            return
        self.sentence = None
        sentence.drop()
        if sentence.complete or self.broken is not None:
            self.free()
            return
        self.look_at(trio.current_time() + self._stop_timeout_s)
        await self.stop()

    def stopped(self) -> None:
        """The engine confirms it."""
        self.look_at(math.inf)
        self.free()

    def audio_of(self, sentence: Sentence, delta: str) -> bytes | None:
        """The bytes of a message. None when they are broken: then so are sentence and socket."""
        try:
            return base64.b64decode(delta, validate=True)
        except (binascii.Error, ValueError):
            broken = StreamCut(f"{self.ws.name}: broken audio", provider=self.ws.name)
            sentence.fail(broken)
            self.retire(broken)
            return None

    def fail(self, error: ProviderError) -> None:
        """The socket has ended."""
        if self.sentence is not None:
            self.sentence.fail(error)


class SocketVoice(Generic[L]):
    """Says sentences on the links of a pool."""

    def __init__(
        self,
        name: str,
        pool: SocketPool[L],
        patience: Patience,
        slot: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self.name, self.pool = name, pool
        self._patience, self._slot = patience, slot

    async def warm(self, key: str) -> None:
        """Open a socket in advance; a failure shows at the first sentence."""
        try:
            await self.pool.warm(key)
        except ProviderError as error:
            log.debug("provider.not_warm", provider=self.name, reason=error.code)

    @asynccontextmanager
    async def speak(self, key: str, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        """Ask, wait for the first audio, stream the rest; leaving early stops the engine."""
        async with self._slot():
            link, sentence, first = await self._begin(key, request)
            try:
                yield _Audio(link, sentence, first, self._patience.stall_s)
            finally:
                await self._leave(link, sentence)

    async def _begin(self, key: str, request: SpeechRequest) -> tuple[L, Sentence, SpeechChunk]:
        deadline = trio.current_time() + self._patience.first_s
        again = False
        while True:
            link = await self.pool.take(key, fresh=again)
            sentence = link.begin(request)
            used, link.served = link.served > 0, link.served + 1
            try:
                await self._send(link, sentence, request)
                first = await link.next(sentence, deadline)
                if first is None:
                    link.retire(error := StreamCut(f"{self.name}: the engine sent no audio", provider=self.name))
                    raise error
                return link, sentence, first
            except ProviderError as error:
                stale = used and not again and link.broken is not None and not isinstance(error, TimedOut)
                link.retire(error)  # whatever ails it, the next sentence shall not find out
                await self._leave(link, sentence)
                if not stale:
                    raise
                log.debug("provider.socket_stale", provider=self.name, reason=error.code)
                again = True
            except BaseException:
                await self._leave(link, sentence)
                raise

    async def _send(self, link: L, sentence: Sentence, request: SpeechRequest) -> None:
        """Ask. On a socket that has just ended, what the engine said before tells more than how it was closed."""
        try:
            await link.send(sentence, request)
        except ProviderError:
            with suppress(TimedOut):
                await sentence.next(trio.current_time() + GOODBYE_S)
            raise

    async def _leave(self, link: L, sentence: Sentence) -> None:
        with trio.move_on_after(GOODBYE_S, shield=True):
            try:
                await link.leave(sentence)
            except ProviderError as error:
                link.retire(error)


class Pooled(Protocol):
    """An engine that speaks over a pool of sockets."""

    pool: SocketPool[Any]


V = TypeVar("V", bound=Pooled)


@asynccontextmanager
async def opened(voice: V) -> AsyncIterator[V]:
    """The voice, ready to speak; leaving closes all its sockets."""
    async with voice.pool.running():
        yield voice


class _Audio:
    """The audio of one sentence. No generator: it may be left at any point."""

    def __init__(self, link: Link, sentence: Sentence, first: SpeechChunk, stall_s: float) -> None:
        self._link, self._sentence, self._stall_s = link, sentence, stall_s
        self._first: SpeechChunk | None = first

    def __aiter__(self) -> _Audio:
        return self

    async def __anext__(self) -> SpeechChunk:
        chunk, self._first = self._first, None
        if chunk is None:
            try:
                chunk = await self._link.next(self._sentence, trio.current_time() + self._stall_s)
            except TimedOut as error:
                self._link.retire(error)
                raise
        if chunk is None:
            raise StopAsyncIteration
        return chunk
