"""One request, several engines: who answers first is heard, who fails is replaced.

Each engine that is asked runs in a task of its own (`Leg`). Until one of them begins to answer it is a race: a leg
that fails is followed at once by the next engine, one that is slower than usual gets company. When an answer breaks
off, the next engine is asked for the rest (`Course.ask` knows what was given already). Whoever reads sees one stream.

Nothing is retried that must not be (`ProviderError.retryable`), nothing is tried for longer than the turn's budget
(but an engine that stands alone is waited for with its own patience),
and leaving the context cancels every leg at its engine.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, closing
from types import TracebackType
from typing import Generic, Literal, Protocol, TypeVar

import structlog
import trio

from aura.core.errors import ProviderError, QuotaExhausted, TimedOut, Unavailable
from aura.core.routing.breaker import Ticket
from aura.core.routing.choose import Part
from aura.providers.background import background
from aura.providers.router.board import Board, Line, Talk, Why
from aura.providers.router.handover import Handover

log = structlog.get_logger()
M = TypeVar("M")


class Course(Protocol[M]):
    """What is asked for, and how far it has come."""

    @property
    def part(self) -> Part:
        """Which of the three it concerns."""
        ...

    @property
    def room(self) -> int:
        """Items that an engine may be ahead of whoever reads."""
        ...

    def lines(self) -> list[Line]:
        """Engines that can do it, the best first, by what is known now. Never empty."""
        ...

    def ask(self, leg: Leg[M]) -> AbstractAsyncContextManager[AsyncIterator[M]]:
        """Ask an engine for what is still missing."""
        ...

    def note(self, leg: Leg[M], item: M) -> bool:
        """An engine gave this, whether or not it will be used: for its bill. True: it has begun to answer."""
        ...

    def take(self, leg: Leg[M], item: M) -> Iterable[M]:
        """What of it is to be passed on."""
        ...

    def whole(self, leg: Leg[M]) -> bool:
        """Whether the answer is complete now that this engine's stream has ended."""
        ...

    def rest(self) -> Iterable[M]:
        """What is to be passed on after the last item."""
        ...

    def ahead_s(self) -> float:
        """For how long the listener still has something to hear if nothing more comes."""
        ...

    def bill(self, leg: Leg[M], outcome: str) -> None:
        """An engine's part in it is over: `ok`, `cancelled`, or the error's code."""
        ...


class Leg(Generic[M]):
    """One engine being asked."""

    def __init__(self, line: Line, why: Why, room: int) -> None:
        self.line, self.why = line, why
        self.scope = trio.CancelScope()
        self.items = Handover[M](room)
        self.asked_at = trio.current_time()
        self.waited_s: float | None = None
        """In the queue for the engine; None: it has not left it."""
        self.first_at: float | None = None
        self.waits_since = math.inf
        """Since when whoever reads has been waiting for the next item."""
        self.error: ProviderError | None = None
        self.over = False
        self.lost = False
        """Whether another engine answered first."""
        self.ticket: Ticket | None = None

    def fail(self, error: ProviderError) -> None:
        """It is of no use any more."""
        self.error = self.error or error
        self.scope.cancel()

    @property
    def failed(self) -> bool:
        """Whether it ended without an answer, or with a broken one."""
        return self.error is not None


class Rescue(Generic[M]):
    """A request under way. Enter it, then iterate. Raises ProviderError when nobody answers."""

    def __init__(self, board: Board, talk: Talk, course: Course[M]) -> None:
        self._board, self._talk, self._course = board, talk, course
        self._helpers = background()
        self._news = trio.Event()
        self._legs: list[Leg[M]] = []
        """All that were asked, in order."""
        self._winner: Leg[M] | None = None
        self._ready: deque[M] = deque()
        self._finished = False
        self._deadline = math.inf
        self._stage: Literal["asking", "answering", "mending"] = "asking"
        """Answering: something was passed on. Mending: the answer broke off after that."""

    async def __aenter__(self) -> AsyncIterator[M]:
        self._nursery = await self._helpers.__aenter__()
        self._deadline = trio.current_time() + self._board.settings.turn_budget_s
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._helpers.__aexit__(kind, error, trace)

    def __aiter__(self) -> AsyncIterator[M]:
        return self

    async def __anext__(self) -> M:
        while not self._ready:
            if self._finished:
                raise StopAsyncIteration
            leg = self._winner
            if leg is None:
                leg = self._winner = await self._race()
                self._nursery.start_soon(self._watch, leg)
            item = await self._next_of(leg)
            if item is not None:
                self._ready.extend(self._course.take(leg, item))
            elif self._course.whole(leg):
                self._finished = True
                self._ready.extend(self._course.rest())
            else:
                self._winner = None
                self._extend()
                if leg.error is None:
                    leg.error = Unavailable(f"{leg.line.key}: the answer was empty", provider=leg.line.provider)
        if self._stage == "asking":
            self._stage = "answering"
        return self._ready.popleft()

    def _extend(self) -> None:
        """An answer that broke off gets a budget of its own, whenever that was; its rescue that breaks off does not."""
        now = trio.current_time()
        if self._stage == "answering" or (self._stage == "mending" and now >= self._deadline):
            self._stage, self._deadline = "mending", now + self._board.settings.turn_budget_s

    async def _next_of(self, leg: Leg[M]) -> M | None:
        """The next item of the engine that is heard; None when there will be no more."""
        item = leg.items.take()
        if item is None:
            leg.waits_since = trio.current_time()
            item = await leg.items.get()
            leg.waits_since = math.inf
        return item

    async def _watch(self, leg: Leg[M]) -> None:
        """Give up on the engine that is heard when it is silent for too long and there is another.

        A task that looks now and then is cheaper than a time limit for each item.
        """
        settings = self._board.settings
        least_s = min(settings.stall_s, settings.stall_least_s, settings.first_item_s)  # nobody's patience is shorter
        while not leg.over:
            if trio.current_time() >= leg.waits_since and self._too_long(leg):
                silent = f"{leg.line.key} is silent in the middle of its answer"
                leg.fail(TimedOut(silent, provider=leg.line.provider))
                return
            now = trio.current_time()
            soonest = min(now, leg.waits_since) + least_s
            await trio.sleep_until(soonest if soonest > now else now + least_s / 4)

    def _too_long(self, leg: Leg[M]) -> bool:
        """Whether whoever reads has waited for too long: less long while there is another engine."""
        now, settings = trio.current_time(), self._board.settings
        waited_s, ahead_s = now - leg.waits_since, self._course.ahead_s()
        if waited_s >= min(settings.stall_s, max(settings.stall_least_s, ahead_s)) and self._untried():
            return True
        if self._stage != "mending" or leg.line.last_resort:
            return False
        left_s = max(settings.stall_s, self._deadline - now)  # all were asked: one of them again, or an honest end
        return waited_s >= max(min(settings.first_item_s, left_s), ahead_s)

    # ---- until somebody answers

    async def _race(self) -> Leg[M]:
        """Ask one engine after the other, or two at a time, until one begins; the others are cancelled."""
        live = [await self._begin("continue" if self._stage != "asking" else "first" if not self._legs else "failover")]
        while True:
            news = self._news
            for leg in live:
                if leg.first_at is not None or (leg.over and not leg.failed):
                    for other in live:
                        if other is not leg:
                            other.lost = True
                            other.scope.cancel()
                    return leg
            live = [leg for leg in live if not leg.failed]
            if not live:
                live.append(await self._begin("failover"))
                continue
            with trio.move_on_at(self._look_again(live)):
                await news.wait()
                continue
            self._out_of_patience(live)
            if company := self._company(live):
                live.append(self._start(company, "hedge"))

    def _look_again(self, live: list[Leg[M]]) -> float:
        """When something is to be done though nobody has answered."""
        settings = self._board.settings
        times, others = [math.inf], self._untried()
        if len(live) > 1 or others:
            times += [leg.asked_at + settings.first_item_s for leg in live]
        if not self._spent() and (company := self._affordable(others)):
            due = self._company_at(live, company[0])
            times.append(due if due < self._deadline else math.inf)  # later than that it gets no company
        if any(map(self._limited, live)):
            times.append(self._deadline)
        return min(times)

    def _company_at(self, live: list[Leg[M]], company: Line) -> float:
        """When this engine is asked beside those that are slow: two at a time, and the last resort beside both."""
        if len(live) == 1 or company.last_resort:
            return live[0].asked_at + self._board.hedge_after_s(live[0].line, company)
        return math.inf

    def _limited(self, leg: Leg[M]) -> bool:
        """Whether the turn's budget ends the wait for this engine too; a lone one has its own patience."""
        return not leg.line.last_resort and (len(self._legs) > 1 or self._board.several(self._course.part))

    def _out_of_patience(self, live: list[Leg[M]]) -> None:
        """Give up on engines that were waited for long enough."""
        now, settings = trio.current_time(), self._board.settings
        for leg in live:
            given_up = self._limited(leg) and now >= self._deadline
            if given_up or (now >= leg.asked_at + settings.first_item_s and (len(live) > 1 or self._untried())):
                leg.fail(TimedOut(f"{leg.line.key} does not begin to answer", provider=leg.line.provider))

    def _company(self, live: list[Leg[M]]) -> Line | None:
        """The engine that is to be asked beside one that is slow."""
        following = self._affordable(self._untried())
        if not following or live[0].failed or self._spent():
            return None
        return following[0] if trio.current_time() >= self._company_at(live, following[0]) else None

    def _untried(self) -> list[Line]:
        """Engines that were not asked yet, the best first; none beyond the limit of number."""
        if len(self._legs) >= self._board.settings.attempts_max:
            return []
        asked = {leg.line.key for leg in self._legs}
        try:
            return [line for line in self._course.lines() if line.key not in asked]
        except QuotaExhausted:  # used up meanwhile: who is being asked may finish
            return []

    def _affordable(self, lines: list[Line]) -> list[Line]:
        """Those that may be asked beside another."""
        return [line for line in lines if self._board.may_hedge(line)]

    def _spent(self) -> bool:
        return trio.current_time() >= self._deadline or len(self._legs) >= self._board.settings.attempts_max

    async def _begin(self, why: Why) -> Leg[M]:
        """Ask the next engine, or the same one again where that is allowed. Raises the last error when all is lost."""
        if not self._legs:
            return self._start(self._course.lines()[0], why)
        last = self._legs[-1]
        if not self._spent() and (following := self._untried()):
            return self._start(following[0], why)
        if again := self._again():
            wait_s, line = again
            await trio.sleep(wait_s)
            return self._start(line, "retry")
        error = last.error or Unavailable("no engine answered", provider=last.line.provider)
        if len(self._legs) > 1 or self._spent():
            error.retryable = False  # all that could be tried was tried
        raise error

    def _again(self) -> tuple[float, Line] | None:
        """(pause, engine) of the one that may be asked once more the soonest, if there is time for that."""
        asked = [leg.line.key for leg in self._legs]
        waits = []
        for leg in self._legs:
            if leg.error and leg.error.retryable and asked.count(leg.line.key) == 1:
                advice = leg.error.retry_after_s
                waits.append((self._board.settings.retry_wait_s if advice is None else advice, leg.line))
        soonest = min(waits, key=lambda wait: wait[0], default=None)
        in_time = soonest is not None and trio.current_time() + soonest[0] < self._deadline
        return soonest if in_time and len(self._legs) < self._board.settings.attempts_max else None

    def _start(self, line: Line, why: Why) -> Leg[M]:
        leg = Leg[M](line, why, self._course.room)
        self._legs.append(leg)
        self._board.asked(leg, self._course.part)
        self._nursery.start_soon(self._run, leg)
        return leg

    # ---- one engine

    async def _run(self, leg: Leg[M]) -> None:
        outcome = "cancelled"
        try:
            with leg.scope, closing(leg.items):
                try:
                    async with leg.line.turn(self._talk.ident) as leg.waited_s, self._course.ask(leg) as items:
                        async for item in items:
                            if self._course.note(leg, item) and leg.first_at is None:
                                leg.first_at = trio.current_time()
                                self._board.began(leg, self._course.part)
                                self._tell()
                            await leg.items.put(item)
                    outcome = "ok"
                except ProviderError as error:
                    leg.error, outcome = error, error.code
                except Exception as error:
                    log.exception("provider.crashed", provider=leg.line.provider, error=type(error).__name__)
                    leg.error = Unavailable(f"{leg.line.key} failed by a bug of AURA's", provider=leg.line.provider)
                    outcome = "internal"
        finally:
            if outcome == "cancelled" and leg.error:  # given up on, not left
                outcome = leg.error.code
            leg.over = True
            self._course.bill(leg, outcome)
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
