"""Deadlines that run out in the very moment in which what was waited for comes, again and again, on a busy loop.

A conversation meets such a moment once in a blue moon. Here every other wait is one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import trio

from aura.core import tape
from aura.session.steps import RecordedSteps, StepClock, Steps
from aura.tools.replay.turnstile import ReplayedSteps, TapeClock

DEADLINE_S = 0.01
ROUNDS = 12
Outside = Callable[[], Awaitable[str]]
Log = list[tuple[object, ...]]


class Tape:
    """Takes the steps."""

    def __init__(self) -> None:
        self.steps: list[tape.Step] = []

    def step(self, at: float, task: int) -> None:
        """A task goes on."""
        self.steps.append(tape.Step(at, task))

    def outcome(self, at: float, task: int, outcome: Any) -> None:
        """Out of a call to the outside."""
        self.steps.append(tape.Step(at, task, outcome))

    def note(self, note: tape.Note) -> None:
        """There are none."""

    def value(self, outcome: tape.Outcome) -> str:
        """What a call gave."""
        assert isinstance(outcome, tape.Text)
        return outcome.text


async def race(steps: Steps, outside: Outside, log: Log) -> None:
    """Four tasks ask the outside, four wait for a fifth; all with the same patience."""
    event = trio.Event()

    async def asks(name: str) -> None:
        for _ in range(ROUNDS):
            with trio.CancelScope(deadline=trio.current_time() + DEADLINE_S) as patience:
                got = await steps.seam(outside, tape.Text)
                patience.deadline = float("inf")
                log.append((name, "got", got, trio.current_time()))
                await trio.lowlevel.checkpoint()
                log.append((name, "went on"))
            log.append((name, patience.cancelled_caught, trio.current_time()))

    async def waits(name: str) -> None:
        for _ in range(ROUNDS):
            with trio.move_on_after(DEADLINE_S) as patience:
                await event.wait()
                log.append((name, "woken"))
                await trio.lowlevel.checkpoint()
                log.append((name, "went on"))
            log.append((name, patience.cancelled_caught, trio.current_time()))

    async def wakes() -> None:
        nonlocal event
        for _ in range(2 * ROUNDS):
            await trio.sleep(DEADLINE_S * 0.97)
            event.set()
            event = trio.Event()
            log.append(("wakes", trio.current_time()))

    async with trio.open_nursery() as nursery:
        for number in range(4):
            steps.spawn(nursery, asks, f"asks {number}")
            steps.spawn(nursery, waits, f"waits {number}")
        steps.spawn(nursery, wakes)


def recorded(seed: int, *, cut_after_s: float = float("inf")) -> tuple[list[tape.Step], Log]:
    """Run it in real time, with others that keep the loop busy; cancelled from outside after a while."""
    rng, kept, log = Random(seed), Tape(), Log()

    async def outside() -> str:
        await trio.sleep(DEADLINE_S + rng.uniform(-0.0025, 0.0))
        return str(rng.random())

    async def others() -> None:
        while True:
            await trio.sleep(0.0003)
            until = time.perf_counter() + rng.uniform(0.0, 0.0008)
            while time.perf_counter() < until:
                pass

    async def main() -> None:
        steps = RecordedSteps(kept)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(others)
            with trio.move_on_after(cut_after_s):
                await steps.root(race, steps, outside, log)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=StepClock())
    return kept.steps, log


def replayed(kept: list[tape.Step]) -> tuple[str, Log]:
    """Run it again; how it parted, and what happened."""
    log = Log()

    async def outside() -> str:
        raise AssertionError("nobody is there")

    async def main() -> str:
        steps = ReplayedSteps(kept, Tape(), lambda _: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steps.supervise)

            async def again() -> None:
                await steps.root(race, steps, outside, log)
                steps.release()

            nursery.start_soon(again)
            await steps.over.wait()
            nursery.cancel_scope.cancel()
        return steps.why

    return trio.run(main, clock=TapeClock(kept[0].at)), log
