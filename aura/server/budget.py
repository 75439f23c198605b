"""How many messages a client may send: a token bucket that rarely looks at the clock."""

from __future__ import annotations

from collections.abc import Callable

import trio

STRIDE = 256
"""Messages between two looks at the clock."""


class Budget:
    """`burst` messages at once, and `per_s` more every second; 0 per second: no limit."""

    __slots__ = ("_burst", "_clock", "_left", "_looked_at", "_per_s", "_stride", "_until_look")

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = trio.current_time) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left = float(burst)
        self._looked_at = clock()
        self._stride = self._until_look = max(1, min(STRIDE, burst // 2))

    def spend(self) -> bool:
        """Take one message; False when there were too many. Exact to a stride."""
        self._until_look -= 1
        return self._until_look > 0 or self._look()

    def _look(self) -> bool:
        self._until_look = self._stride
        if not self._per_s:
            return True
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._looked_at) * self._per_s) - self._stride
        self._looked_at = now
        return self._left >= 0
