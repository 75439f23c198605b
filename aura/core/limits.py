"""How much a conversation may ask of the model in a minute, and what the client is told about it."""

from __future__ import annotations

from collections import deque

import msgspec

from aura.core.errors import QuotaExhausted

WINDOW_S = 60.0


class RateLimit(msgspec.Struct, frozen=True):
    """One limit as `rate_limits.updated` shows it."""

    name: str
    limit: int
    remaining: int
    reset_seconds: float


class RateLimits:
    """Counts requests and tokens of the last minute. Times are seconds on any clock."""

    def __init__(self, requests: int, tokens: int) -> None:
        self._limits = {"requests": requests, "tokens": tokens}
        self._spent: deque[tuple[float, int]] = deque()

    def spend(self, at: float, tokens: int) -> None:
        """A response was made."""
        if any(self._limits.values()):
            self._spent.append((at, tokens))

    def shown(self, at: float) -> tuple[RateLimit, ...]:
        """What is left of each limit that is set."""
        while self._spent and self._spent[0][0] <= at - WINDOW_S:
            self._spent.popleft()
        used = {"requests": len(self._spent), "tokens": sum(tokens for _, tokens in self._spent)}
        reset_s = round(self._spent[0][0] + WINDOW_S - at, 3) if self._spent else 0.0
        return tuple(
            RateLimit(name, limit, max(0, limit - used[name]), reset_s) for name, limit in self._limits.items() if limit
        )

    def wait_s(self, at: float) -> float:
        """How long until another response may be made; 0: now."""
        return max((limit.reset_seconds for limit in self.shown(at) if not limit.remaining), default=0.0)

    def check(self, at: float) -> None:
        """Raises `QuotaExhausted` when the model may not be asked now."""
        if wait_s := self.wait_s(at):
            raise QuotaExhausted(f"this conversation may not ask the model for another {wait_s:.0f} s", provider="aura")
