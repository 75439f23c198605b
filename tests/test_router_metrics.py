"""What the router shows an operator in /metrics."""

from __future__ import annotations

import pytest
import trio

from aura.core.errors import ProviderError, Unavailable
from aura.core.routing.breaker import BreakerSettings
from aura.observe.metrics import Metrics
from aura.providers.vitals import Left
from tests.routed import Scripted, board_of, text
from tests.test_router_chat import ask

ENGINE = ("chat", "a", "m")


async def test_health_limits_and_breakers_are_shown(autojump_clock: trio.testing.MockClock) -> None:
    metrics, engine = Metrics(), Scripted("a", text("Fine."), [Unavailable("down")])
    engine.left = Left(requests=0.4, tokens=0.9)
    board = board_of("chat", engine, meter=metrics, breaker=BreakerSettings(open_s=5))
    await ask(board)
    assert [metrics.value("rate_left", *ENGINE, limit) for limit in ("requests", "tokens")] == [0.4, 0.9]
    assert metrics.value("provider_healthy", *ENGINE) == 1
    while not metrics.value("breaker_changes", *ENGINE, "open"):
        with pytest.raises(ProviderError):
            await ask(board)
    assert (metrics.value("provider_healthy", *ENGINE), metrics.value("breaker_state", *ENGINE)) == (0, 2)
    engine.scripts = [text("Back.")]
    await trio.sleep(60)
    await ask(board)
    changes = {state: metrics.value("breaker_changes", *ENGINE, state) for state in ("open", "probing", "closed")}
    assert changes == {"open": 1, "probing": 1, "closed": 1}
    assert (metrics.value("provider_healthy", *ENGINE), metrics.value("breaker_state", *ENGINE)) == (1, 0)
