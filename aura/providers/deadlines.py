"""The deadlines of all connections, watched by one task.

A cancel scope around each wait for bytes costs 12 µs on a busy loop and made up most of what AURA adds to a chunk of an
answer (32 µs with it, 7 without, `python -m tests.load.streams`). Here a wait costs an assignment: deadlines mostly
move later, so an entry in the queue is only looked at again when it is due.
"""

from __future__ import annotations

import math
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

import trio


class Waiting(Protocol):
    """Somebody with a deadline."""

    waits_until: float
    """Trio time; infinity while nothing is waited for."""
    looked_at: float
    """When its entry in the queue is due; infinity without one. Only `Deadlines` sets it."""

    def expire(self) -> None:
        """The time is up: end the wait. Must not raise."""
        ...


class Deadlines:
    """Ends waits that have lasted too long."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Waiting]] = []
        self._numbers = count()
        self._sleep = trio.CancelScope()

    def watch(self, waiting: Waiting) -> None:
        """Look at it when its present deadline is due. Needed only if that is before `looked_at`."""
        due = waiting.looked_at = waiting.waits_until
        heappush(self._queue, (due, next(self._numbers), waiting))
        if due < self._sleep.deadline:
            self._sleep.deadline = due

    async def run(self) -> None:
        """The task that watches."""
        while True:
            with trio.CancelScope(deadline=self._queue[0][0] if self._queue else math.inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._queue and self._queue[0][0] <= now:
                _, _, waiting = heappop(self._queue)
                waiting.looked_at = math.inf
                if waiting.waits_until <= now:
                    waiting.expire()
                elif waiting.waits_until < math.inf:
                    self.watch(waiting)
