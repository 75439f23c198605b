"""What the router knows of its engines, as `GET /providers` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import trio

from aura.core.routing.status import ProviderReport, ProviderStatus, answered, healthy

if TYPE_CHECKING:
    from aura.providers.router.board import Board, Line


def board_report(
    board: Board, cache: Mapping[str, Mapping[str, float]] = {}, warnings: tuple[str, ...] = ()
) -> ProviderReport:
    """All engines as they are now. `cache` holds the caches' counters."""
    return ProviderReport(
        providers=tuple(status_of(line) for line in board.all()),
        strategy=board.settings.strategy,
        cache=cache,
        warnings=warnings,
    )


def status_of(line: Line) -> ProviderStatus:
    """One engine as it is now."""
    now = trio.current_time()
    health, price = line.tracker.health(now), line.candidate.price
    calls, errors = answered(line.calls)
    return ProviderStatus(
        part=line.part,
        provider=line.provider,
        model=line.model,
        healthy=healthy(health.state, line.calls),
        problem=health.why,
        last_resort=line.last_resort,
        breaker=health.state,
        opens_in_s=round(max(0.0, health.open_until - now), 1) if health.state == "open" else None,
        ttft_p50_s=line.tracker.ttft_s(50),
        ttft_p95_s=health.p95_ttft_s,
        calls=calls,
        errors=errors,
        error_rate=health.error_rate,
        cost_usd=line.spent_usd,
        rate_left=health.rate_left,
        in_flight=line.throttle.inside,
        concurrent_max=line.throttle.concurrent,
        waiting=line.throttle.waiting,
        shutdown_on=line.candidate.shutdown_on,
        successor=price.successor if price else "",
    )
