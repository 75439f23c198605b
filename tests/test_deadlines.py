"""One task ends all waits that last too long, and no other."""

from __future__ import annotations

import math

import trio

from aura.providers.deadlines import Deadlines


class Wait:
    """Something that is waited for."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.waits_until = self.looked_at = math.inf
        self.expired_at: float | None = None

    def until(self, at: float) -> None:
        self.waits_until = at
        if at < self.looked_at:
            self.deadlines.watch(self)

    def expire(self) -> None:
        self.expired_at = trio.current_time()
        self.waits_until = math.inf


async def test_waits_end_in_the_order_of_their_deadlines(autojump_clock: trio.testing.MockClock) -> None:
    deadlines = Deadlines()
    waits = [Wait(deadlines) for _ in range(5)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        for wait, at in zip(waits, (3.0, 1.0, 5.0, 1.0, math.inf), strict=True):
            wait.until(at)
        await trio.sleep(10)
        assert [wait.expired_at for wait in waits] == [3.0, 1.0, 5.0, 1.0, None]
        nursery.cancel_scope.cancel()


async def test_a_deadline_that_moves_later_counts_where_it_stands(autojump_clock: trio.testing.MockClock) -> None:
    deadlines = Deadlines()
    moving, over, earlier = (Wait(deadlines) for _ in range(3))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        for second in range(20):
            moving.until(second + 1.5)
            over.until(second + 1.5)
            over.until(math.inf)
            await trio.sleep(1)
        assert moving.expired_at is None
        earlier.until(100.0)
        await trio.sleep(1)
        earlier.until(25.0)
        await trio.sleep(200)
        assert (moving.expired_at, over.expired_at, earlier.expired_at) == (20.5, None, 25.0)
        nursery.cancel_scope.cancel()


async def test_one_that_waits_again_after_its_end_is_watched_again(autojump_clock: trio.testing.MockClock) -> None:
    deadlines = Deadlines()
    wait = Wait(deadlines)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        for at in (1.0, 7.0):
            wait.until(at)
            await trio.sleep(5)
            assert wait.expired_at == at
        nursery.cancel_scope.cancel()
