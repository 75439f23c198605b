"""Where the conversations come from: several servers, each set up and ended in its own way."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Literal

import msgspec
import trio

from tests.proof import acts
from tests.proof.acts import Script
from tests.proof.engines import SHORT_DEADLINES, engines, options, rescued, trouble
from tests.proof.houses import House, server

ARRIVAL_S = 2.0
"""Callers of one moment arrive within this time."""


class Night(msgspec.Struct, frozen=True):
    """One server and its callers."""

    name: str
    conversations: int
    at_a_time: int = 40
    settings: tuple[str, ...] = ()
    scripts: Callable[[Random], Script] = acts.anything
    rescued: bool = False
    """Other engines stand in for those that fail."""
    offline: bool = False
    """With AURA's own engines instead of the faulty ones."""
    faults: float = 0.22
    """How many requests to the engines go wrong."""
    after_s: float = 0.0
    """It is told to end after this time; 0: when all have hung up."""
    ending: Literal["SIGTERM", "SIGKILL"] = "SIGTERM"


IN_THE_MIDDLE_S = 9.0


OTHER = (
    "session.greeting=Hello, what can I do for you?", "assistant.draft_depth=llm", "conversation.drafts_max=1",
    "vad.detector=webrtc", "playout.chunk_ms=60", "playout.lead_s=0.3",
)  # fmt: skip
"""Settings that are not the usual ones."""


def nights(conversations: int) -> tuple[tuple[Night, ...], ...]:
    """The servers for so many conversations; those of one tuple run at the same time."""
    calm = Night("calm", 16, at_a_time=8, scripts=acts.delicate, faults=0.0)
    drained = Night("drained", 40, settings=OTHER, rescued=True, after_s=IN_THE_MIDDLE_S)
    killed = Night("killed", 25, settings=("assistant.draft_depth=stt",), after_s=IN_THE_MIDDLE_S, ending="SIGKILL")
    offline = Night("offline", 10, scripts=acts.with_timers, offline=True)
    rest = max(1, conversations - sum(night.conversations for night in (calm, drained, killed, offline)))
    busy = Night("busy", rest, settings=("server.slow_client_s=1.0",))
    return (busy,), (drained,), (calm,), (killed, offline)


class Recorded(msgspec.Struct, frozen=True):
    """What a night left behind."""

    night: str
    folders: tuple[Path, ...]
    errors: dict[str, int]
    """Errors in the server's log."""


async def record(night: Night, folder: Path, seed: int) -> Recorded:
    """Run a server, let its callers call, end it."""
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(engines())
        trouble(fake, seed, night.faults)
        chosen = () if night.offline else (*options(fake), *SHORT_DEADLINES)
        chosen += tuple(rescued(fake)) if night.rescued else ()
        house = await stack.enter_async_context(server(folder, *chosen, *night.settings))
        nursery = await stack.enter_async_context(trio.open_nursery())
        if night.after_s:
            nursery.start_soon(end_early, house, night)
        await crowd(house, night, seed)
    errors = {} if night.ending == "SIGKILL" else dict(house.errors())
    return Recorded(night.name, tuple(house.recordings()), errors)


async def end_early(house: House, night: Night) -> None:
    """End the server while people talk to it."""
    await trio.sleep(night.after_s)
    house.signal(signal.Signals[night.ending])


async def crowd(house: House, night: Night, seed: int) -> None:
    """All callers of a night, so many at a time."""
    limit = trio.CapacityLimiter(night.at_a_time)
    rng = Random(seed)
    script = night.scripts(rng)

    async def call(number: int, delay_s: float) -> None:
        async with limit:
            await trio.sleep(delay_s)
            await acts.converse(house.url, seed + number, script)

    async with trio.open_nursery() as nursery:
        for number in range(night.conversations):
            nursery.start_soon(call, number, rng.uniform(0.0, ARRIVAL_S))


async def record_all(conversations: int, folder: Path, seed: int) -> list[Recorded]:
    """All nights; the recordings stay in `folder`."""
    done: list[Recorded] = []

    async def one(night: Night, number: int) -> None:
        done.append(await record(night, folder / night.name, seed * 10_000 + number * 1000))

    for number, together in enumerate(nights(conversations)):
        async with trio.open_nursery() as nursery:
            for other, night in enumerate(together):
                nursery.start_soon(one, night, 2 * number + other)
    return done
