"""What is known of an engine's health: how fast it begins to answer, how often it fails, what its limits leave.

Time is an argument. A `Tracker` keeps the account of one engine and model and asks its breaker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Annotated

import msgspec

from aura.core.routing.breaker import KEY_FAULTS, Breaker, BreakerSettings, Move, State, Ticket, Window

KEPT = 64
"""Times to the first token that the 95th percentile is made of."""


class HealthSettings(msgspec.Struct, frozen=True):
    """How an engine's health is measured."""

    newest_weight: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2
    """What the newest time to the first token weighs in the running mean."""
    window_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Failures are counted over this time; what headers said of limits is believed as long."""
    half_life_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    """Measured times count half after this time, so that an engine that was slow once is tried again."""
    doubt_calls: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    """So many imagined good calls soften the error rate: one failure out of one is no proof."""


class Health(msgspec.Struct, frozen=True):
    """An engine's health at one moment."""

    state: State = "closed"
    ewma_ttft_s: float | None = None
    """Running mean of the time to the first token (audio, word). None: never measured."""
    p95_ttft_s: float | None = None
    samples: float = 0.0
    """How many measurements that is worth; old ones count less."""
    error_rate: float = 0.0
    """Share of the calls of the last minute that failed."""
    failures: Mapping[str, int] = {}
    """Those calls by error code."""
    rate_left: float | None = None
    """Share of the limits that is left, 0-1. None: not known (any more)."""
    in_flight: int = 0
    concurrent_max: int | None = None
    """Calls that the account may have under way at a time."""
    key_bad: bool = False
    """The key was refused, or its account is empty."""
    open_until: float = 0.0
    """When an open breaker lets a request through again."""
    why: str = ""
    """What opened the breaker: an error's code."""


class Tracker:
    """The account of one engine and model. Every ticket that `begin` gives is ended by `end`."""

    def __init__(
        self, settings: HealthSettings, breaker: BreakerSettings | None = None, *, expected_ttft_s: float = 0.5
    ) -> None:
        self._settings = settings
        self.breaker = Breaker(breaker or BreakerSettings())
        self._expected_s = expected_ttft_s
        self._ewma: float | None = None
        self._recent: deque[float] = deque(maxlen=KEPT)
        self._samples = self._measured_at = 0.0
        self._calls = Window(settings.window_s)
        self._open: dict[int, bool] = {}
        self._left: tuple[float, float] | None = None
        self.concurrent_max: int | None = None

    def begin(self, at: float, *, forced: bool = False) -> Ticket | None:
        """A call begins. None: the breaker does not let it; `forced` is for the last engine left."""
        ticket = self.breaker.begin(at, forced=forced)
        if ticket is not None:
            self._open[ticket.number] = False
        return ticket

    def first(self, ticket: Ticket, at: float) -> Move | None:
        """The first token (audio, word) of a call has come: that is what a breaker waits for."""
        if self._open.get(ticket.number) is not False:
            return None
        self._open[ticket.number] = True
        self._measure(at - ticket.at, at)
        return self.breaker.succeeded(ticket, at)

    def end(self, ticket: Ticket, at: float, code: str = "ok", retry_after_s: float | None = None) -> Move | None:
        """A call is over: `ok`, `cancelled`, or an error's code. A second end of the same call is ignored."""
        begun = self._open.pop(ticket.number, None)
        if begun is None:
            return None
        waited_s = at - ticket.at
        if not begun and (code == "ok" or (code in ("cancelled", "timed_out") and waited_s > self._usual_s())):
            self._measure(waited_s, at)  # it took at least so long; or else slow ones that are given up look fast
        if code == "cancelled":
            return self.breaker.cancelled(ticket, at)
        self._calls.add(at, code)
        if code == "ok":
            return None if begun else self.breaker.succeeded(ticket, at)
        return self.breaker.failed(ticket, at, code, retry_after_s)

    def left(self, share: float | None, at: float) -> None:
        """What the headers of the last reply said is left of the limits (0-1)."""
        if share is not None:
            self._left = (min(max(share, 0.0), 1.0), at)

    def health(self, at: float) -> Health:
        """How it is now."""
        totals = self._calls.totals(at)
        good = totals.pop("ok", 0.0)
        totals.pop("bad_request", None)
        bad = sum(totals.values())
        left = self._left[0] if self._left and at - self._left[1] <= self._settings.window_s else None
        state = self.breaker.state(at)
        return Health(
            state=state,
            ewma_ttft_s=self._ewma,
            p95_ttft_s=self.ttft_s(95),
            samples=self._samples * self._fade(at),
            error_rate=bad / (bad + good + self._settings.doubt_calls) if bad else 0.0,
            failures={code: round(count) for code, count in totals.items()},
            rate_left=left,
            in_flight=len(self._open),
            concurrent_max=self.concurrent_max,
            key_bad=state == "open" and self.breaker.why in KEY_FAULTS,
            open_until=self.breaker.until if state == "open" else 0.0,
            why=self.breaker.why if state != "closed" else "",
        )

    def _usual_s(self) -> float:
        return self._expected_s if self._ewma is None else self._ewma

    def _fade(self, at: float) -> float:
        faded: float = 0.5 ** (max(at - self._measured_at, 0.0) / self._settings.half_life_s)
        return faded

    def _measure(self, ttft_s: float, at: float) -> None:
        share = self._settings.newest_weight
        self._ewma = ttft_s if self._ewma is None else self._ewma + share * (ttft_s - self._ewma)
        self._samples = min(self._samples * self._fade(at) + 1.0, float(KEPT))
        self._measured_at = at
        self._recent.append(ttft_s)

    def ttft_s(self, percent: int) -> float | None:
        """The time to the first token that so many percent of the recent calls did not exceed."""
        if not self._recent:
            return None
        ordered = sorted(self._recent)
        return ordered[-(-percent * len(ordered) // 100) - 1]
