"""The recogniser of a conversation: an utterance goes to one of several; another gets all of it when that one fails.

Every engine that hears an utterance does so in a task of its own (a *seat*). The audio is kept for those that come
later, as long as there are any.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from types import TracebackType

import msgspec
import structlog
import trio

from aura.core.errors import ProviderError, Unavailable
from aura.core.ports import LISTEN_RATE_HZ, Hearing, HearingEvent, Transcript
from aura.core.routing.choose import Part
from aura.core.routing.pricing import Usage
from aura.providers.background import background
from aura.providers.router.board import Board, Line, Talk
from aura.providers.router.rescue import Leg, Rescue

log = structlog.get_logger()
BYTES_PER_S = LISTEN_RATE_HZ * 2
KEPT_BYTES = 180 * BYTES_PER_S
"""Audio of one utterance that is kept for another engine; of a longer one that gets the beginning only."""
FEED_BYTES = BYTES_PER_S // 5
"""Kept audio is handed to another engine in pieces of this size, between which other tasks get a turn."""


class RoutedStt:
    """`SpeechToText` for one conversation."""

    def __init__(self, board: Board, talk: Talk) -> None:
        self._board, self._talk = board, talk
        self.name = board.name("stt")

    def open(self) -> AbstractAsyncContextManager[Hearing]:
        """Begin an utterance; the engine that is best now hears it from the start."""
        return RoutedHearing(self._board, self._talk)


class Seat:
    """One engine hearing the utterance."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.ready = trio.Event()
        self.hearing: Hearing | None = None
        self.error: ProviderError | None = None
        self.billed_bytes = 0
        self.scope = trio.CancelScope()
        """Of its task, which keeps the engine's connection."""

    def fail(self, error: ProviderError) -> None:
        """It hears nothing more; whoever asks the engine again gets a new seat."""
        self.error = error
        self.scope.cancel()

    def take_bill(self, size: int) -> int:
        """Bytes that a request for the words of the first `size` bytes is billed for: a live engine hears them once."""
        live = hasattr(self.hearing, "force_endpoint")
        billed = size - self.billed_bytes if live else size if size != self.billed_bytes else 0
        self.billed_bytes = size
        return max(0, billed)


class RoutedHearing:
    """One utterance."""

    def __init__(self, board: Board, talk: Talk) -> None:
        self.board, self.talk = board, talk
        self._helpers = background()
        self._seats: dict[str, Seat] = {}
        self._pcm = bytearray()
        self.size = 0
        """Bytes that were fed."""
        self.current: Line | None = None
        """Who hears it, as long as that goes well."""

    async def __aenter__(self) -> Hearing:
        self.current = self.board.lines("stt", self.talk, self.board.anything, 0)[0]  # may raise: nothing is open yet
        self._nursery = await self._helpers.__aenter__()
        self.seat(self.current)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._helpers.__aexit__(kind, error, trace)

    def feed(self, pcm: bytes) -> None:
        """Take the next audio."""
        self.size += len(pcm)
        if len(self._pcm) < KEPT_BYTES:
            self._pcm += pcm
        for seat in self._seats.values():
            if seat.hearing is not None and seat.ready.is_set():
                seat.hearing.feed(pcm)

    async def so_far(self) -> Transcript:
        """The words until now."""
        return await self._ask(final=False)

    async def final(self) -> Transcript:
        """The words of the whole utterance."""
        return await self._ask(final=True)

    async def _ask(self, *, final: bool) -> Transcript:
        async with Rescue(self.board, self.talk, HearingCourse(self, final=final)) as answers:
            (answer,) = [answer async for answer in answers]  # to its end, or the engine would seem to be cut off
        return answer

    def force_endpoint(self) -> None:
        """The turn is over."""
        for seat in self._seats.values():
            force = getattr(seat.hearing, "force_endpoint", None)
            if force:
                force()

    async def events(self) -> AsyncIterator[HearingEvent]:
        """What the first engine notices, if it is one that does."""
        seat = next(iter(self._seats.values()))
        await seat.ready.wait()
        source = getattr(seat.hearing, "events", None)
        if source is not None:
            try:
                async for event in source():
                    yield event
            except ProviderError as error:
                seat.fail(error)  # whoever wants the words next asks another
        if seat.error is not None and self.current is seat.line:
            self.stand_in()

    def stand_in(self) -> None:
        """The engine failed in mid-utterance: another hears it from now on, so that its words are there in time."""
        lines = self.board.lines("stt", self.talk, self.board.anything, 0)
        other = next((line for line in lines if line is not self.current and line.key not in self._seats), None)
        if other is not None:
            self.current = other
            self.seat(other)

    def seat(self, line: Line) -> Seat:
        """The engine's place; it gets all audio from the beginning. One that failed is asked again."""
        seat = self._seats.get(line.key)
        if seat is None or seat.error is not None:
            seat = self._seats[line.key] = Seat(line)
            self._nursery.start_soon(self._host, seat)
        return seat

    async def _host(self, seat: Seat) -> None:
        try:
            with seat.scope:
                await self._listen(seat)
        except ProviderError as error:
            seat.error = seat.error or error
        except Exception as error:
            log.exception("provider.crashed", provider=seat.line.provider, error=type(error).__name__)
            seat.error = Unavailable(f"{seat.line.key} failed by a bug of AURA's", provider=seat.line.provider)
        finally:
            seat.hearing = None if seat.error is not None else seat.hearing
            seat.ready.set()

    async def _listen(self, seat: Seat) -> None:
        async with seat.line.engine.open() as hearing:
            seat.hearing = hearing
            given = 0
            while given < len(self._pcm):
                hearing.feed(bytes(self._pcm[given : given + FEED_BYTES]))
                given += FEED_BYTES
                if given < len(self._pcm):
                    await trio.lowlevel.checkpoint()
            seat.ready.set()
            await trio.sleep_forever()


class HearingCourse:
    """One request for the words of an utterance."""

    part: Part = "stt"
    room = 1

    def __init__(self, heard: RoutedHearing, *, final: bool) -> None:
        self._heard, self._final = heard, final
        self._size = heard.size
        self._known = False
        self._bills: dict[Leg[Transcript], int] = {}

    def lines(self) -> list[Line]:
        """The engine that has heard it so far, then the others."""
        heard = self._heard
        lines = heard.board.lines("stt", heard.talk, heard.board.anything, 0)
        return sorted(lines, key=lambda line: line is not heard.current)

    @asynccontextmanager
    async def ask(self, leg: Leg[Transcript]) -> AsyncIterator[AsyncIterator[Transcript]]:
        """Have the engine say what it heard."""
        seat = self._heard.seat(leg.line)
        await seat.ready.wait()
        if seat.error is not None or seat.hearing is None:
            self._heard.current = None if self._heard.current is leg.line else self._heard.current
            raise seat.error or AssertionError("a seat without an engine")
        self._bills[leg] = seat.take_bill(self._size)

        async def words(hearing: Hearing) -> AsyncGenerator[Transcript, None]:
            try:
                yield await (hearing.final() if self._final else hearing.so_far())
            except ProviderError as error:
                seat.fail(error)
                raise

        async with aclosing(words(seat.hearing)) as items:
            yield items

    def note(self, leg: Leg[Transcript], item: Transcript) -> bool:
        """Words, or the news that there are none."""
        return True

    def take(self, leg: Leg[Transcript], item: Transcript) -> Iterable[Transcript]:
        """The words; who said them is asked first from now on."""
        self._known = True
        self._heard.current = leg.line
        return [msgspec.structs.replace(item, served_by=leg.line.key)]

    def ahead_s(self) -> float:
        """Nothing is heard meanwhile."""
        return 0.0

    def rest(self) -> Iterable[Transcript]:
        """Nothing."""
        return ()

    def whole(self, leg: Leg[Transcript]) -> bool:
        """One transcript is all."""
        return self._known

    def bill(self, leg: Leg[Transcript], outcome: str) -> None:
        """Recognisers are paid by the second of audio."""
        heard = outcome in ("ok", "cancelled")
        seconds = self._bills.get(leg, 0) / BYTES_PER_S if heard else 0.0
        board = self._heard.board
        cost = board.price(leg.line, Usage(audio_s=seconds)) if seconds else 0.0
        board.settle(self._heard.talk, self.part, leg, outcome, cost, "priced" if outcome == "ok" else "guessed")
