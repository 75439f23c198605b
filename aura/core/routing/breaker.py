"""A circuit breaker: an engine that keeps failing is left alone for a while, then tried by one request.

Time is an argument. Every call is given a ticket and ends it exactly once; what that changed is returned as a `Move`,
for the caller to log. A call counts only for the spell in which it began: when an engine has been shut out, the old
calls still under way say nothing about whether it has recovered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

State = Literal["closed", "open", "half_open", "probing"]
"""closed: in use. open: shut out. half_open: one request may try it. probing: that request is under way."""

Positive = Annotated[float, msgspec.Meta(gt=0)]
Weight = Annotated[float, msgspec.Meta(ge=0)]

KEY_FAULTS = frozenset({"auth_failed", "quota_exhausted"})
"""Waiting a moment does not help: the key or its account is no good until somebody does something about it."""
CONFIG_FAULTS = frozenset({"model_not_found"})
"""Nor here: the settings name something that the engine does not have."""
UNCOUNTED = frozenset({"cancelled", "bad_request"})
"""Neither says anything about the engine: somebody spoke over it, or the request was wrong."""


class BreakerSettings(msgspec.Struct, frozen=True):
    """When an engine that fails is left alone, and for how long."""

    threshold: Positive = 3.0
    """So much failure opens the breaker: in a row, or within the window if half of all calls fail."""
    window_s: Positive = 60.0
    """Failures older than this are forgotten."""
    failure_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    """Failures that are not in a row must be at least this share of the window's calls."""
    open_s: Positive = 5.0
    """How long an engine is left alone the first time; each further time twice as long."""
    max_open_s: Positive = 120.0
    """Longest time that an engine is left alone for failing."""
    key_cooldown_s: Positive = 900.0
    """How long an engine is left alone when its key is wrong, its account empty or its model unknown."""
    rate_limited_weight: Weight = 0.5
    """What a refusal for too many requests counts; with a time to wait (retry-after), it is obeyed at once."""
    unavailable_weight: Weight = 1.0
    """What a refused connection or an error of the server counts."""
    timed_out_weight: Weight = 1.0
    """What an answer that did not come in time counts."""
    stream_cut_weight: Weight = 1.0
    """What an answer that broke off counts."""
    other_weight: Weight = 1.0
    """What every other failure of an engine counts."""

    def weights(self) -> Mapping[str, float]:
        """By error code (`aura.core.errors`); every other code weighs `other_weight`."""
        return {
            "rate_limited": self.rate_limited_weight,
            "unavailable": self.unavailable_weight,
            "timed_out": self.timed_out_weight,
            "stream_cut": self.stream_cut_weight,
            **dict.fromkeys(UNCOUNTED, 0.0),
        }


class Move(msgspec.Struct, frozen=True):
    """The breaker's state changed."""

    at: float
    was: State
    now: State
    why: str
    """The error's code, or what else did it."""
    until: float | None = None
    """When an open breaker lets a request through again."""


class Ticket(msgspec.Struct, frozen=True, gc=False):
    """Permission for one call, to be ended exactly once."""

    number: int
    at: float
    spell: int
    """How often the breaker had opened when the call began."""
    probe: bool = False
    moved: Move | None = None


class Breaker:
    """The breaker of one engine and model."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._weights = settings.weights()
        self._state: State = "closed"
        self._why = ""
        self._until = 0.0
        self._spell = self._opened = 0
        self._closed_at = 0.0
        self._probe = self._number = 0
        self._in_a_row = 0.0
        self._past = Window(settings.window_s)

    def state(self, at: float) -> State:
        """The state at that time: an open breaker becomes half-open by itself."""
        return "half_open" if self._state == "open" and at >= self._until else self._state

    @property
    def why(self) -> str:
        """What opened it last: an error's code."""
        return self._why

    @property
    def until(self) -> float:
        """When an open breaker becomes half-open."""
        return self._until

    def begin(self, at: float, *, forced: bool = False) -> Ticket | None:
        """Ask for a call. None: not now. `forced` is for the last engine left, which is never refused."""
        self._number += 1
        state = self.state(at)
        if state == "half_open":
            self._probe = self._number
            return Ticket(self._number, at, self._spell, probe=True, moved=self._move(at, "probing", "time is up"))
        if state != "closed" and not forced:
            return None
        return Ticket(self._number, at, self._spell)

    def succeeded(self, ticket: Ticket, at: float) -> Move | None:
        """The engine answered."""
        if ticket.spell != self._spell:
            return None
        self._past.add(at, "ok", 1.0)
        self._in_a_row = 0.0
        if self._state == "closed":
            return None
        self._closed_at = at
        return self._move(at, "closed", "it answered")

    def failed(self, ticket: Ticket, at: float, code: str, retry_after_s: float | None = None) -> Move | None:
        """The engine failed with that error."""
        if code in UNCOUNTED:
            return self._neither(ticket, at, code)
        if code in KEY_FAULTS or code in CONFIG_FAULTS:
            return self.shut(at, code)
        if ticket.spell != self._spell:
            return None
        weight = self._weights.get(code, self._settings.other_weight)
        self._past.add(at, "failed", weight)
        self._in_a_row += weight
        if retry_after_s is not None and code == "rate_limited":
            return self._open(at, code, min(max(retry_after_s, 0.0), self._settings.key_cooldown_s), again=False)
        if self._state != "closed":
            return self._open(at, code, self._backoff(at))
        return self._open(at, code, self._backoff(at)) if self._too_much(at) else None

    def cancelled(self, ticket: Ticket, at: float) -> Move | None:
        """The caller gave up. Nobody's fault; if it was the probe, another may try."""
        return self._neither(ticket, at, "cancelled")

    def shut(self, at: float, why: str) -> Move | None:
        """Leave it alone for the long time: its key or its settings are wrong."""
        return self._open(at, why, self._settings.key_cooldown_s, again=False)

    def recovered(self, at: float) -> Move | None:
        """A health check that generates nothing went well: let one request try now instead of later."""
        if self.state(at) != "open":
            return None
        return self._move(at, "half_open", "its health check went well")

    def _neither(self, ticket: Ticket, at: float, why: str) -> Move | None:
        if self._state != "probing" or ticket.number != self._probe:
            return None
        return self._move(at, "half_open", why)

    def _too_much(self, at: float) -> bool:
        if self._in_a_row >= self._settings.threshold:
            return True
        totals = self._past.totals(at)
        failed = totals.get("failed", 0.0)
        share = failed / (failed + totals.get("ok", 0.0)) if failed else 0.0
        return failed >= self._settings.threshold and share >= self._settings.failure_share

    def _backoff(self, at: float) -> float:
        """The time of this opening; the count begins anew after a window without one."""
        if self._state == "closed" and at - self._closed_at > self._settings.window_s:
            self._opened = 0
        doubled: float = self._settings.open_s * 2.0 ** min(self._opened, 30)
        return min(doubled, self._settings.max_open_s)

    def _open(self, at: float, why: str, length_s: float, *, again: bool = True) -> Move | None:
        until = at + length_s
        if self.state(at) == "open" and until <= self._until:
            return None
        self._opened += again
        self._spell += 1
        self._why = why
        self._past.clear()
        self._in_a_row = 0.0
        return self._move(at, "open", why, until)

    def _move(self, at: float, now: State, why: str, until: float | None = None) -> Move:
        was, self._state = self.state(at), now
        if until is not None:
            self._until = until
        if now != "probing":
            self._probe = 0
        return Move(at, was, now, why, until)


class Window:
    """Sums by name over the last so many seconds, in a dozen buckets: the size does not grow with the traffic."""

    _BUCKETS = 12

    def __init__(self, window_s: float) -> None:
        self._each_s = window_s / self._BUCKETS
        self._buckets: dict[int, dict[str, float]] = {}

    def add(self, at: float, name: str, amount: float = 1.0) -> None:
        """Count something that happened at that time."""
        index = int(at // self._each_s)
        bucket = self._buckets.get(index)
        if bucket is None:
            self._buckets = {i: b for i, b in self._buckets.items() if i > index - self._BUCKETS}
            bucket = self._buckets[index] = {}
        bucket[name] = bucket.get(name, 0.0) + amount

    def totals(self, at: float) -> dict[str, float]:
        """The sums at that time."""
        oldest = int(at // self._each_s) - self._BUCKETS
        sums: dict[str, float] = {}
        for index, bucket in self._buckets.items():
            if index > oldest:
                for name, amount in bucket.items():
                    sums[name] = sums.get(name, 0.0) + amount
        return sums

    def clear(self) -> None:
        """Forget everything."""
        self._buckets = {}
