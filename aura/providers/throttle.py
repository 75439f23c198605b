"""How many calls one account makes at a time and per minute, and who is next: fair between conversations.

Who finds a slot free takes it at once. Else calls wait in a line of their own conversation, and the conversations take
turns: one with many calls waiting delays another's first one by a single slot. A call that cannot get its slot in time
fails at once instead of at the end of its wait, so that the router can ask somebody else meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Annotated, Literal

import msgspec
import trio
import trio.lowlevel

from aura.core.errors import RateLimited
from aura.providers.meter import UNMETERED, Meter
from aura.providers.vitals import Left

NEVER = float("inf")
Limit = Annotated[int, msgspec.Meta(ge=0)]


class ThrottleSettings(msgspec.Struct, frozen=True):
    """How hard one account of a provider may be used."""

    concurrent: Limit = 0
    """Calls under way at the same time; 0: as many as the provider says that the account may have."""
    per_minute: Limit = 0
    """Calls begun within any minute; 0: no limit."""
    per_second: Limit = 0
    """Calls begun within any second; 0: no limit."""
    wait_max_s: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    """Longest wait for a free slot; after it, or at once where it would not do, the call fails as rate_limited."""


class Window:
    """At most `limit` beginnings within any `span_s` seconds."""

    __slots__ = ("_begun", "limit", "span_s", "what")

    def __init__(self, limit: int, span_s: float, what: str) -> None:
        self.limit, self.span_s, self.what = limit, span_s, what
        self._begun: deque[float] = deque()

    def opens(self, now: float) -> float:
        """When the next call may begin; not after `now`: at once."""
        begun = self._begun
        while begun and begun[0] + self.span_s <= now:
            begun.popleft()
        return begun[-self.limit] + self.span_s if self.limit and len(begun) >= self.limit else now

    def note(self, at: float) -> None:
        """A call began."""
        if self.limit:
            self._begun.append(at)


class Waiter:
    """One call in the line."""

    __slots__ = ("asleep", "conversation", "deadline", "retry_in_s", "scope", "state", "task", "wake_at", "woken")

    def __init__(self, conversation: str, deadline: float) -> None:
        self.conversation, self.deadline = conversation, deadline
        self.task = trio.lowlevel.current_task()
        self.state: Literal["waiting", "in", "refused"] = "waiting"
        self.asleep = self.woken = False
        """Woken: by the clock or a cancellation, and about to see for itself what is to be done."""
        self.scope: trio.CancelScope | None = None
        self.wake_at = NEVER
        """When it looks by itself whether there is a slot: the first of the line keeps the time for all."""
        self.retry_in_s: float | None = None

    async def sleep(self) -> None:
        """Until something is decided, the time to look has come, or the wait is over."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self.asleep, self.woken = False, True
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.CancelScope(deadline=min(self.deadline, self.wake_at)) as self.scope:
            self.asleep = True
            await trio.lowlevel.wait_task_rescheduled(abort)
        self.scope, self.wake_at, self.woken = None, NEVER, False

    def look_at(self, at: float) -> None:
        """Let it look then."""
        self.wake_at = at
        if self.scope is not None:
            self.scope.deadline = min(self.deadline, at)

    def decide(self, state: Literal["in", "refused"]) -> None:
        """Its wait is over. (A task that is rescheduled can no longer be cancelled: it gets what was decided.)"""
        self.state = state
        if self.asleep:
            self.asleep = False
            trio.lowlevel.reschedule(self.task)


class Turn:
    """`async with` this around a call; gives the seconds that it waited. Raises RateLimited."""

    __slots__ = ("_conversation", "_throttle")

    def __init__(self, throttle: Throttle, conversation: str) -> None:
        self._throttle, self._conversation = throttle, conversation

    async def __aenter__(self) -> float:
        await trio.lowlevel.checkpoint_if_cancelled()
        return 0.0 if self._throttle.take() else await self._throttle.wait(self._conversation)

    async def __aexit__(self, *_: object) -> None:
        self._throttle.leave()


class Throttle:
    """The slots of one account. `section` is the section of the settings that a message may name."""

    def __init__(
        self, settings: ThrottleSettings, name: str, *, section: str = "throttle", meter: Meter = UNMETERED
    ) -> None:
        self.settings, self.name, self.section, self._meter = settings, name, section, meter
        self._windows = (
            Window(settings.per_minute, 60.0, "per_minute"),
            Window(settings.per_second, 1.0, "per_second"),
        )
        self._own, self._account = settings.concurrent, 0
        self._held_until = -NEVER
        self._line: OrderedDict[str, deque[Waiter]] = OrderedDict()
        self.inside = self.waiting = 0

    @property
    def concurrent(self) -> int:
        """Calls that may be under way; 0: any number."""
        return min(self._own or self._account, self._account or self._own)

    def turn(self, conversation: str) -> Turn:
        """A slot for one call of this conversation, for as long as the context lasts."""
        return Turn(self, conversation)

    # ---- limits that change

    def adjust(
        self, *, concurrent: int | None = None, per_minute: int | None = None, per_second: int | None = None
    ) -> None:
        """Other limits from now on. Calls under way go on."""
        self._own = self._own if concurrent is None else concurrent
        for window, limit in zip(self._windows, (per_minute, per_second), strict=True):
            window.limit = window.limit if limit is None else limit
        self._serve()

    def learn(self, left: Left) -> None:
        """What the provider said about the account: it counts where it is less than the setting."""
        account = max(0, left.concurrent_max or 0)
        if account != self._account:
            self._account = account
            self._serve()

    def hold_until(self, at: float) -> None:
        """No call begins before that (Trio time): the provider asked for a pause."""
        if at > self._held_until:
            self._held_until = at
            self._serve()

    # ---- in and out

    def take(self) -> bool:
        """Take a slot if one is free and nobody waits."""
        limit = self.concurrent
        if self._line or (limit and self.inside >= limit):
            return False
        now = trio.current_time()
        if self._opens(now) > now:
            return False
        self._enter(now)
        self._meter.observe("throttle_wait_seconds", 0.0, self.name)
        return True

    def leave(self) -> None:
        """Give a slot back."""
        self.inside -= 1
        if self._line:
            self._serve()

    async def wait(self, conversation: str) -> float:
        """Take a slot when it is this conversation's turn; returns the seconds until then. Raises RateLimited."""
        began = trio.current_time()
        waiter = Waiter(conversation, began + self.settings.wait_max_s)
        self._line.setdefault(conversation, deque()).append(waiter)
        self._count(1)
        self._serve()
        try:
            while waiter.state == "waiting":
                await waiter.sleep()
                if waiter.state == "waiting":
                    if trio.current_time() >= waiter.deadline:
                        self._drop(waiter)
                        waiter.state = "refused"
                    self._serve()
        except BaseException:
            self._drop(waiter)
            self._serve()
            raise
        waited = trio.current_time() - began
        self._meter.observe("throttle_wait_seconds", waited, self.name)
        if waiter.state == "refused":
            self._meter.add("throttle_refused", self.name)
            raise RateLimited(self._why(waited), provider=self.name, retry_after_s=waiter.retry_in_s)
        return waited

    def _serve(self) -> None:
        """Let in whoever may, one conversation after the other."""
        while self._line:
            now = trio.current_time()
            opens = self._opens(now)
            first = next(iter(self._line.values()))[0]
            if first.woken:
                return
            if opens > now and first.deadline < opens:  # it would wait in vain
                self._drop(first)
                first.retry_in_s = opens - now
                first.decide("refused")
            elif opens > now:
                first.look_at(opens)
                return
            elif (limit := self.concurrent) and self.inside >= limit:
                return
            else:
                self._drop(first, served=True)
                self._enter(now)
                first.decide("in")

    def _enter(self, now: float) -> None:
        self.inside += 1
        for window in self._windows:
            window.note(now)

    def _opens(self, now: float) -> float:
        per_minute, per_second = self._windows
        return max(now, self._held_until, per_minute.opens(now), per_second.opens(now))

    def _drop(self, waiter: Waiter, *, served: bool = False) -> None:
        """Out of the line. A conversation that was served goes to its end."""
        line = self._line[waiter.conversation]
        line.remove(waiter)
        if not line:
            del self._line[waiter.conversation]
        elif served:
            self._line.move_to_end(waiter.conversation)
        self._count(-1)

    def _count(self, by: int) -> None:
        self.waiting += by
        self._meter.set("throttle_waiting", self.waiting, self.name)

    def _why(self, waited: float) -> str:
        now, section, limit = trio.current_time(), self.section, self.concurrent
        rates = [window for window in self._windows if window.limit]
        if self._held_until > now:
            cure = f"the provider wants {self._held_until - now:.1f} s of pause"
        elif limit and self.inside >= limit and limit == self._account:
            cure = f"the account may have {limit} calls under way; a larger plan has more"
        elif (limit and self.inside >= limit) or not rates:
            cure = f"{limit} calls are under way; raise {section}.concurrent or {section}.wait_max_s"
        else:
            full = max(rates, key=lambda window: window.opens(now))
            cure = f"{full.limit} calls {full.what.replace('_', ' ')} are allowed; raise {section}.{full.what}"
        return f"{self.name}: no free slot, waited {waited:.1f} s: {cure}"
