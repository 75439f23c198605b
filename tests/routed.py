"""A router over scripted engines, for tests in virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import trio

from aura.core.errors import ProviderError
from aura.core.ports import Finished, SpeechRequest, TextDelta, Transcript
from aura.core.routing.breaker import BreakerSettings
from aura.core.routing.choose import Candidate, Part
from aura.core.routing.health import HealthSettings, Tracker
from aura.core.routing.pricing import Price
from aura.providers.meter import UNMETERED, Meter
from aura.providers.router.board import Board, Line, Talk
from aura.providers.router.settings import RouterSettings
from aura.providers.router.spending import Spending
from aura.providers.routing_data import rules
from aura.providers.throttle import Throttle, ThrottleSettings
from aura.providers.vitals import Left

Step = Any
"""A number is a pause, an exception is raised, anything else is given."""


class Scripted:
    """An engine of any kind: each request takes the next script, the last one for ever."""

    def __init__(self, name: str, *scripts: Sequence[Step]) -> None:
        self.name, self.scripts = name, list(scripts)
        self.requests: list[Any] = []
        self.begun: list[float] = []
        self.left_at: list[float] = []
        self.given = 0
        self.open_now = 0
        self.fed = b""
        self.left = Left()

    async def play(self, script: Iterable[Step]) -> AsyncGenerator[Any, None]:
        for step in script:
            if isinstance(step, int | float):
                await trio.sleep(step)
            elif isinstance(step, ProviderError):
                raise type(step)(str(step), provider=self.name, retry_after_s=step.retry_after_s)
            else:
                await trio.lowlevel.checkpoint()
                self.given += 1
                yield step

    @asynccontextmanager
    async def _stream(self, request: Any) -> AsyncIterator[AsyncIterator[Any]]:
        self.requests.append(request)
        self.begun.append(trio.current_time())
        self.open_now += 1
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            async with aclosing(self.play(script)) as items:
                yield items
        finally:
            self.open_now -= 1
            self.left_at.append(trio.current_time())

    reply = _stream

    def speak(self, request: SpeechRequest) -> Any:
        return self._stream(request)

    # ---- as a recogniser

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Scripted]:
        self.open_now += 1
        try:
            yield self
        finally:
            self.open_now -= 1

    def feed(self, pcm: bytes) -> None:
        self.fed += pcm

    async def so_far(self) -> Transcript:
        async with self._stream(len(self.fed)) as items:
            async for item in items:
                return item
        raise AssertionError("the script has no transcript")

    final = so_far


def text(*pieces: Step) -> list[Step]:
    """A whole answer; numbers are pauses."""
    return [TextDelta(p) if isinstance(p, str) else p for p in pieces] + [Finished("stop", 10, 10)]


def cut(*pieces: Step) -> list[Step]:
    """An answer without its end."""
    return [TextDelta(p) if isinstance(p, str) else p for p in pieces]


def board_of(
    part: Part,
    *engines: Scripted,
    settings: RouterSettings | None = None,
    breaker: BreakerSettings | None = None,
    usd: float = 1.0,
    last_resort: Scripted | None = None,
    meter: Meter = UNMETERED,
) -> Board:
    """A board on which these engines stand, equally good."""
    lines = []
    for engine in (*engines, *([last_resort] if last_resort else [])):
        spare = engine is last_resort
        price = Price(
            provider=engine.name, model="m", part=part, input=usd, output=usd, per_1m_chars=usd, per_minute=usd
        )
        candidate = Candidate(
            key=f"{engine.name}/m", provider=engine.name, model="m", part=part, price=price, free=spare
        )
        tracker = Tracker(HealthSettings(), breaker or BreakerSettings())
        throttle = Throttle(ThrottleSettings(), engine.name)
        lines.append(Line(part, engine.name, engine, candidate, tracker, throttle, last_resort=spare))
    settings = settings or RouterSettings(hedge_free_usd=100)
    return Board(settings, rules(), {part: lines}, Spending(lambda: "2026-11-28"), meter)


def talk(ident: str = "sess", tenant: str = "") -> Talk:
    """A conversation."""
    return Talk(ident, tenant, None, {})
