"""WebSockets kept open for many conversations: a bounded pool, warm, closed when idle or old.

An engine's own class of `Link` knows how to say a sentence and which message belongs to which; here it is decided
which link a sentence gets, when another is opened, and what becomes of it when the engine hangs up. A link lives in a
task of the pool, not of the conversation that first needed it: a barge-in during the handshake leaves a warm socket.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

import msgspec
import structlog
import trio

from aura.core.errors import ProviderError, RateLimited, StreamCut, TimedOut
from aura.core.ports import SpeechChunk, SpeechRequest, WordTime
from aura.providers.audio.raw import Raw
from aura.providers.background import background
from aura.providers.ws import Ws

log = structlog.get_logger()
encode = msgspec.json.Encoder().encode
T = TypeVar("T")
JOIN_S = 0.5
"""A handshake that takes longer is ill: sentences that come later do not wait for it."""


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many sockets, and how long they live."""

    sockets_max: int
    idle_s: float
    age_s: float
    """Older ones get no more sentences; the engine would hang up in the middle of one."""
    wait_s: float
    """Longest wait for a place, connecting included."""


class Sentence:
    """What has come of one sentence on a socket. Bounded by the longest audio that a sentence may have."""

    def __init__(self, name: str, rate_hz: int, max_s: float) -> None:
        self.name, self.rate_hz = name, rate_hz
        self._raw = Raw(rate_hz)
        self._most = int(max_s * rate_hz)
        self._ready: deque[SpeechChunk] = deque()
        self._words: tuple[WordTime, ...] = ()
        self._news = trio.Event()
        self._failure: ProviderError | None = None
        self.samples = 0
        self.over = False
        """There will be no more, for whatever reason."""
        self.complete = False
        """The engine is done with it: there is nothing to stop."""

    @property
    def sounded_s(self) -> float:
        """The length of what has come."""
        return self.samples / self.rate_hz

    def put(self, audio: bytes, words: tuple[WordTime, ...] = ()) -> None:
        """The next audio, perhaps with half a sample at its end, and the words that ended with it."""
        if self.over:
            return
        pcm = self._raw.push(audio)
        self._words += words
        self.samples += len(pcm) // 2
        if self.samples > self._most:
            text = f"{self.name}: a sentence of more than {self._most // self.rate_hz} s"
            self.fail(StreamCut(text, provider=self.name))
        elif pcm:
            self._give(pcm)

    def finish(self, words: tuple[WordTime, ...] = ()) -> None:
        """The engine has said all of it."""
        self.complete = True
        self._words += words
        self._end()

    def fail(self, error: ProviderError, *, complete: bool = False) -> None:
        """There will be no more, because of this. What came before is still given out."""
        self.complete = self.complete or complete
        if not self.over:
            self._failure = error
            self._end()

    def drop(self) -> None:
        """Nobody wants to hear it any more."""
        self.over = True
        self._ready.clear()

    def _end(self) -> None:
        if self._words and self.samples and not self.over:
            self._give(b"")
        self.over = True
        self._news.set()

    def _give(self, pcm: bytes) -> None:
        words, self._words = self._words, ()
        self._ready.append(SpeechChunk(pcm, self.rate_hz, words))
        self._news.set()

    async def next(self, deadline: float) -> SpeechChunk | None:
        """The next audio, None at the end. Raises the failure, or TimedOut at the deadline (Trio time)."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._ready:
            if self._failure is not None:
                raise self._failure
            if self.over:
                return None
            self._news = trio.Event()
            with trio.CancelScope(deadline=deadline) as patience:
                await self._news.wait()
            if patience.cancelled_caught and not self._news.is_set():
                raise TimedOut(f"{self.name}: the engine is silent", provider=self.name)
        return self._ready.popleft()


class Link(ABC):
    """One open socket."""

    def __init__(self, ws: Ws, places: int) -> None:
        self.ws, self.places = ws, places
        self.taken = 0
        """Places in use, those included that are waiting for the engine's last word."""
        self.served = 0
        """Sentences begun on it."""
        self.broken: ProviderError | None = None
        """Why it gets no more sentences."""
        self.changed: Callable[[], None] = lambda: None
        self._look_at = math.inf
        self._patience: trio.CancelScope | None = None

    # ---- what the engine's class knows

    @abstractmethod
    def begin(self, request: SpeechRequest) -> Sentence:
        """Get ready for what will come of a sentence. Its place is taken already."""

    @abstractmethod
    async def send(self, sentence: Sentence, request: SpeechRequest) -> None:
        """Ask for it. Raises the error of a socket that has ended."""

    @abstractmethod
    async def leave(self, sentence: Sentence) -> None:
        """It is over, or nobody wants to hear it any more: stop it, and free its place (when that is confirmed)."""

    @abstractmethod
    def take(self, message: str | bytes) -> None:
        """Give a message to the sentence that it belongs to."""

    @abstractmethod
    def fail(self, error: ProviderError) -> None:
        """Tell all sentences that the socket has ended."""

    def overdue(self, now: float) -> None:
        """A confirmation has not come in time. Raises what shall end the socket."""
        raise TimedOut(f"{self.ws.name}: the engine does not confirm that it stopped", provider=self.ws.name)

    async def next(self, sentence: Sentence, deadline: float) -> SpeechChunk | None:
        """The sentence's next audio, None at its end."""
        return await sentence.next(deadline)

    # ---- what is the same for all

    async def tell(self, message: object) -> None:
        """Send something as JSON. Raises the error of a socket that has ended."""
        await self.ws.send(encode(message).decode())

    def read(self, decode: Callable[[str | bytes], T], message: str | bytes) -> T:
        """A message of the engine. Raises StreamCut for one that makes no sense."""
        try:
            return decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise StreamCut(f"{self.ws.name}: a message that is no JSON", provider=self.ws.name) from None

    def free(self) -> None:
        """A place is free again."""
        self.taken -= 1
        self.changed()

    def retire(self, error: ProviderError) -> None:
        """No more sentences; it closes when those under way are over."""
        self.broken = self.broken or error
        self.changed()

    def look_at(self, at: float) -> None:
        """Call `overdue` then (Trio time); infinity: never mind."""
        self._look_at = at
        if self._patience is not None:
            self._patience.deadline = at

    async def run(self) -> None:
        """Receive until the engine hangs up. Raises the error for that."""
        while True:
            with trio.CancelScope(deadline=self._look_at) as self._patience:
                while True:
                    self.take(await self.ws.receive())
            self._look_at = math.inf
            self.overdue(trio.current_time())


L = TypeVar("L", bound=Link)


class _Member(Generic[L]):
    """A link of the pool, from the moment in which somebody wanted it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.link: L | None = None
        self.error: ProviderError | None = None
        self.claims = 0
        """Who waits for it to be opened."""
        self.scope = trio.CancelScope()
        self.asked_at, self.opened_at = trio.current_time(), math.inf

    def has_room(self, now: float, age_s: float) -> bool:
        link = self.link
        if link is None or link.broken is not None or link.ws.closed:
            return False
        return link.taken < link.places and now - self.opened_at < age_s


class SocketPool(Generic[L]):
    """The open links of an engine. `open_link(key)` connects; sentences with the same key may share a link."""

    def __init__(
        self,
        name: str,
        open_link: Callable[[str], AbstractAsyncContextManager[L]],
        limits: PoolLimits,
        places: int = 1,
    ) -> None:
        self.name, self._places = name, places
        self._open, self._limits = open_link, limits
        self._members: list[_Member[L]] = []
        self._waiting = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The pool works inside; leaving closes all sockets."""
        try:
            async with background() as self._nursery:
                yield
        finally:
            self._nursery = None

    @property
    def sockets(self) -> int:
        """How many are open or being opened."""
        return len(self._members)

    async def take(self, key: str, *, fresh: bool = False) -> L:
        """A place on a link, reserved; give it back with `link.free()`. `fresh`: on one that has said nothing yet.

        Raises what connecting raises, and RateLimited when no place becomes free in time.
        """
        opening: _Member[L] | None = None
        mine: _Member[L] | None = None
        """The link that was opened for this sentence: another's failure is not ours."""
        slow = False
        with trio.move_on_after(self._limits.wait_s):
            try:
                while True:
                    if (link := self._free_link(key, fresh)) is not None:
                        return link
                    if opening is not None and opening.error is not None and opening is mine:
                        raise opening.error
                    if opening is None or opening.link is not None or opening.error is not None:
                        opening, new = self._claimed(key, opening)
                        mine = opening if new else mine
                    slow = opening is not None
                    await self._waiting.park()
            finally:
                if opening is not None:
                    opening.claims -= 1
        if mine is not None:
            mine.asked_at = -math.inf  # nobody else shall wait for it
        if slow:
            raise TimedOut(f"{self.name}: no WebSocket within {self._limits.wait_s:g} s", provider=self.name)
        raise RateLimited(f"{self.name}: all {len(self._members)} sockets are in use", provider=self.name)

    async def warm(self, key: str) -> None:
        """Open a link in advance, unless one has room."""
        (await self.take(key)).free()

    def _free_link(self, key: str, fresh: bool) -> L | None:
        now = trio.current_time()
        links = [
            member.link
            for member in self._members
            if member.key == key and member.has_room(now, self._limits.age_s) and member.link is not None
        ]
        links = [link for link in links if not fresh or not link.served]
        if not links:
            return None
        link = min(links, key=lambda link: link.taken)
        link.taken += 1
        link.changed()
        return link

    def _claimed(self, key: str, before: _Member[L] | None) -> tuple[_Member[L] | None, bool]:
        """A link being opened that will have room for one more, and whether it is opened just now.

        One whose opening already takes long is better not waited for. None: there may be no more links.
        """
        if before is not None:
            before.claims -= 1
        now = trio.current_time()
        for other in self._members:
            if (
                other.key == key
                and other.link is None
                and now < other.asked_at + JOIN_S
                and other.claims < self._places
            ):
                other.claims += 1
                return other, False
        if len(self._members) >= self._limits.sockets_max and not self._evict():
            return None, False
        member: _Member[L] = _Member(key)
        member.claims += 1
        self._members.append(member)
        assert self._nursery is not None, "the pool is not running"
        self._nursery.start_soon(self._keep, member)
        return member, True

    def _evict(self) -> bool:
        """Close a link that nobody uses, to make room for one of another kind."""
        for member in self._members:
            if member.link is not None and not member.link.taken:
                self._members.remove(member)
                member.scope.cancel()
                return True
        return False

    async def _keep(self, member: _Member[L]) -> None:
        """The life of a link."""
        try:
            async with self._open(member.key) as link:
                member.link, member.opened_at = link, trio.current_time()
                link.changed = lambda: self._changed(member)
                link.changed()
                try:
                    with member.scope:
                        await link.run()
                finally:
                    link.broken = link.broken or StreamCut(f"{self.name}: the socket was closed", provider=self.name)
                    self._leave(member)
        except ProviderError as error:
            member.error = error
            if member.link is not None:
                log.debug("provider.socket_ended", provider=self.name, reason=error.code)
        finally:
            self._leave(member)
            if member.link is not None:
                member.link.fail(member.error or StreamCut(f"{self.name}: the socket was closed", provider=self.name))
            self._waiting.unpark_all()

    def _leave(self, member: _Member[L]) -> None:
        if member in self._members:
            self._members.remove(member)

    def _changed(self, member: _Member[L]) -> None:
        """A place was taken or given back: somebody may have waited for it, and the link's end may be near or far."""
        link, now = member.link, trio.current_time()
        assert link is not None
        if link.taken or member.claims:
            member.scope.deadline = math.inf
        else:
            end = min(now + self._limits.idle_s, max(now, member.opened_at + self._limits.age_s))
            member.scope.deadline = now if link.broken is not None else end
        self._waiting.unpark_all()
