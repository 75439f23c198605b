"""What engines, router, throttle and caches count. `aura.observe.metrics.Metrics` fits; who has none uses `UNMETERED`.

Layers on one level do not import each other, so the names stand here once more; a test compares them with the table.
"""

from __future__ import annotations

from typing import Literal, Protocol

Counted = Literal[
    "provider_calls",
    "provider_hedges",
    "provider_failovers",
    "provider_retries",
    "provider_cost_usd",
    "breaker_changes",
    "cache_requests",
    "throttle_refused",
]
Measured = Literal["provider_ttft_seconds", "throttle_wait_seconds"]
Shown = Literal["provider_healthy", "breaker_state", "rate_left", "throttle_waiting", "cache_bytes"]

BREAKER_STATES = {"closed": 0, "half_open": 1, "probing": 1, "open": 2}
"""How `breaker_state` shows them."""


class Meter(Protocol):
    """Counts. `labels` are the values of the labels that the table of the metrics declares, in that order."""

    def add(self, name: Counted, /, *labels: str, by: float = 1) -> None:
        """Count."""
        ...

    def observe(self, name: Measured, value: float, /, *labels: str) -> None:
        """Note one duration in seconds."""
        ...

    def set(self, name: Shown, value: float, /, *labels: str) -> None:
        """Show how it is now."""
        ...


class Unmetered:
    """Counts nothing."""

    def add(self, name: Counted, /, *labels: str, by: float = 1) -> None:
        """Nothing."""

    def observe(self, name: Measured, value: float, /, *labels: str) -> None:
        """Nothing."""

    def set(self, name: Shown, value: float, /, *labels: str) -> None:
        """Nothing."""


UNMETERED = Unmetered()
