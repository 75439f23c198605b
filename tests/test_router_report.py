"""What `GET /providers` tells of an engine, from its real books."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from aura.core.routing.breaker import BreakerSettings
from aura.core.routing.choose import Candidate
from aura.core.routing.health import HealthSettings, Tracker
from aura.core.routing.pricing import Price
from aura.core.routing.status import ProviderReport
from aura.providers.router.report import board_report
from aura.providers.throttle import Throttle, ThrottleSettings


def line(tracker: Tracker, throttle: Throttle, **calls: int) -> Any:
    """What the router keeps for one engine."""
    price = Price(provider="acme", model="m", shutdown_on="2027-01-14", successor="n")
    candidate = Candidate(key="acme/m", provider="acme", model="m", price=price, shutdown_on=price.shutdown_on)
    return SimpleNamespace(
        part="chat", provider="acme", model="m", candidate=candidate, tracker=tracker, throttle=throttle,
        last_resort=False, spent_usd=0.5, calls=calls,
    )  # fmt: skip


async def test_an_engines_books_are_told(autojump_clock: trio.testing.MockClock) -> None:
    tracker = Tracker(HealthSettings(), BreakerSettings(threshold=2.0, open_s=5.0))
    throttle = Throttle(ThrottleSettings(concurrent=1), "acme")
    board: Any = SimpleNamespace(
        all=lambda: [line(tracker, throttle, ok=20, cancelled=3, unavailable=2)],
        settings=SimpleNamespace(strategy="fastest"),
    )
    for number in range(20):
        ticket = tracker.begin(trio.current_time())
        assert ticket is not None
        await trio.sleep((number + 1) / 10)
        tracker.first(ticket, trio.current_time())
        tracker.end(ticket, trio.current_time())
    tracker.left(0.25, trio.current_time())
    async with throttle.turn("a"):
        report = board_report(board, {"audio": {"hit": 1}}, ("soon",))
    (status,) = report.providers
    assert (status.ttft_p50_s, status.ttft_p95_s) == pytest.approx((1.0, 1.9))
    assert (status.healthy, status.breaker, status.opens_in_s, status.problem) == (True, "closed", None, "")
    assert (status.calls, status.errors, status.cost_usd, status.rate_left) == (22, {"unavailable": 2}, 0.5, 0.25)
    assert (status.in_flight, status.concurrent_max, status.waiting) == (1, 1, 0)
    assert (status.shutdown_on, status.successor) == ("2027-01-14", "n")
    assert (report.strategy, report.cache, report.warnings) == ("fastest", {"audio": {"hit": 1}}, ("soon",))
    assert msgspec.json.decode(msgspec.json.encode(report), type=ProviderReport) == report

    for _ in range(2):
        ticket = tracker.begin(trio.current_time())
        assert ticket is not None
        tracker.end(ticket, trio.current_time(), "unavailable")
    await trio.sleep(2)
    (status,) = board_report(board).providers
    assert (status.healthy, status.breaker, status.problem) == (False, "open", "unavailable")
    assert status.opens_in_s == pytest.approx(3.0, abs=0.6)
    assert status.error_rate > 0
