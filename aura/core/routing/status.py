"""How the engines are, for people and programs: what `GET /providers` tells and `aura providers` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from aura.core.routing.breaker import State

Part = Literal["stt", "chat", "tts"]


class ProviderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One engine and model. Holds nothing of any conversation, and no key."""

    part: Part
    provider: str
    model: str = ""
    configured: bool = True
    """Whether the settings choose it and hold what it needs."""
    healthy: bool | None = None
    """Whether it can be asked, as far as is known; None: nobody has asked it yet."""
    problem: str = ""
    """Why not: an error's code, or one line that says what to do."""
    last_resort: bool = False
    """Whether it is only there to say that all others are broken."""
    breaker: State | None = None
    """None: nobody keeps one (no server was asked)."""
    opens_in_s: float | None = None
    """When an open breaker lets a request through."""
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    """Time to the first token, audio or words, of the last 64 calls."""
    probe_s: float | None = None
    """How long a health check took."""
    calls: int = 0
    """Since the server started, but for those that were cancelled."""
    errors: Mapping[str, int] = {}
    """Those of them that failed, by error code."""
    error_rate: float = 0.0
    """Share of the calls of the last minute that failed."""
    cost_usd: float | None = None
    rate_left: float | None = None
    """Share of the account's limits that is left, 0-1."""
    in_flight: int = 0
    concurrent_max: int = 0
    """Calls that may be under way; 0: any number."""
    waiting: int = 0
    """Calls that wait for a slot."""
    shutdown_on: str = ""
    """Last day of the model (ISO date)."""
    successor: str = ""

    @property
    def name(self) -> str:
        """provider/model."""
        return f"{self.provider}/{self.model}" if self.model else self.provider


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """All engines."""

    providers: tuple[ProviderStatus, ...] = ()
    strategy: str = ""
    """How the router chooses."""
    cache: Mapping[str, Mapping[str, float]] = {}
    """Cache → its counters: hit, shared, miss, bytes."""
    warnings: tuple[str, ...] = ()
    """Lines that say what should be done soon."""


def healthy(state: State, calls: Mapping[str, int]) -> bool | None:
    """Whether an engine can be asked, from its breaker and its calls by outcome."""
    if state != "closed":
        return False
    if calls.get("ok"):
        return True
    return False if calls.keys() - {"ok", "cancelled", "bad_request"} else None


def answered(calls: Mapping[str, int]) -> tuple[int, dict[str, int]]:
    """How many calls were not cancelled, and those that failed by code."""
    told = {outcome: count for outcome, count in calls.items() if outcome != "cancelled"}
    return sum(told.values()), {outcome: count for outcome, count in told.items() if outcome != "ok"}


def missing_parts(providers: Iterable[ProviderStatus]) -> tuple[Part, ...]:
    """The parts of a conversation for which no engine can be asked."""
    able: dict[Part, bool] = {}
    for status in providers:
        chosen = status.configured or status.healthy is not None
        if chosen and not status.last_resort:
            able[status.part] = able.get(status.part, False) or status.healthy is not False
    return tuple(part for part, good in able.items() if not good)
