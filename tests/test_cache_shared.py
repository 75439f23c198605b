"""Equal requests under way share one stream: whoever comes, leaves, lags or fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import ProviderError, StreamCut, Unavailable
from aura.providers.cache.shared import Shared

KEY = b"key"
Clock = trio.testing.MockClock


class Upstream:
    """An engine: one number per tick, and what became of each of its streams."""

    def __init__(self, items: int = 5, tick_s: float = 1.0, error: Exception | None = None) -> None:
        self.items, self.tick_s, self.error = items, tick_s, error
        self.begun = self.open = 0
        self.ended: list[str] = []
        self.kept: list[list[int]] = []

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncIterator[int]]:
        self.begun += 1
        self.open += 1
        end = "cancelled"
        try:
            async with aclosing(self._count()) as items:
                yield items
            end = "whole"
        except Exception:
            end = "failed"
            raise
        finally:
            self.open -= 1
            self.ended.append(end)

    async def _count(self) -> AsyncIterator[int]:
        for number in range(self.items):
            await trio.sleep(self.tick_s)
            yield number
        if self.error is not None:
            raise self.error

    def complete(self, items: list[int]) -> None:
        self.kept.append(items)


@asynccontextmanager
async def open_shared(most: int = 1000) -> AsyncIterator[Shared[int]]:
    async with trio.open_nursery() as nursery:
        yield Shared[int](nursery, lambda item: 1, most)
        nursery.cancel_scope.cancel()


async def take(
    shared: Shared[int], upstream: Upstream, most: int = 100, pause_s: float = 0.0, comes: float = 0.0
) -> tuple[list[int], float]:
    """Listen to so many items; what came, and when it was over."""
    got: list[int] = []
    await trio.sleep(comes)
    async with shared.listen(KEY, upstream.begin, upstream.complete) as items:
        if most:
            async for item in items:
                got.append(item)
                await trio.sleep(pause_s)
                if len(got) >= most:
                    break
    return got, trio.current_time()


async def test_all_get_everything_from_the_start_and_the_engine_is_asked_once(autojump_clock: Clock) -> None:
    upstream, got = Upstream(), []
    async with open_shared() as shared, trio.open_nursery() as nursery:

        async def listen(comes: float) -> None:
            got.append((await take(shared, upstream, comes=comes))[0])

        for comes in (0.0, 0.5, 3.5):
            nursery.start_soon(listen, comes)
    assert got == [list(range(5))] * 3
    assert (upstream.begun, upstream.ended, upstream.kept) == (1, ["whole"], [list(range(5))])


async def test_who_lags_delays_nobody_and_loses_nothing(autojump_clock: Clock) -> None:
    upstream, start = Upstream(), trio.current_time()
    async with open_shared() as shared, trio.open_nursery() as nursery:

        async def listen(pause_s: float, over: float) -> None:
            got, at = await take(shared, upstream, pause_s=pause_s)
            assert (got, at - start) == (list(range(5)), over)

        nursery.start_soon(listen, 100.0, 501.0)
        nursery.start_soon(listen, 0.0, 5.0)


async def test_the_engine_is_cancelled_when_the_last_one_leaves(autojump_clock: Clock) -> None:
    upstream = Upstream()
    async with open_shared() as shared, trio.open_nursery() as nursery:
        nursery.start_soon(take, shared, upstream, 1)  # began it, and leaves first
        nursery.start_soon(take, shared, upstream, 3)
        await trio.sleep(2.5)
        assert (upstream.open, upstream.ended, len(shared)) == (1, [], 1)
        await trio.sleep(1)
        assert (upstream.open, upstream.ended, len(shared)) == (0, ["cancelled"], 0)
    assert upstream.kept == []


async def test_the_scope_of_the_first_one_is_not_the_streams(autojump_clock: Clock) -> None:
    upstream = Upstream()
    async with open_shared() as shared, trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(take, shared, upstream)
            await take(shared, upstream)
        await trio.sleep(10)
        assert upstream.ended == ["whole"]


async def test_who_comes_after_the_last_one_left_begins_anew(autojump_clock: Clock) -> None:
    upstream = Upstream()
    async with open_shared() as shared:
        await take(shared, upstream, 1)
        got, _ = await take(shared, upstream)  # at once: the old stream has not even ended yet
    assert (got, upstream.begun, upstream.ended) == (list(range(5)), 2, ["cancelled", "whole"])


async def test_a_failure_reaches_each_listener_as_its_own(autojump_clock: Clock) -> None:
    upstream, raised = Upstream(2, error=Unavailable("gone", provider="acme", retry_after_s=3.0)), []
    async with open_shared() as shared, trio.open_nursery() as nursery:

        async def listen() -> None:
            with pytest.raises(Unavailable, match="gone") as caught:
                await take(shared, upstream)
            raised.append(caught.value)

        nursery.start_soon(listen)
        nursery.start_soon(listen)
    assert raised[0] is not raised[1]
    assert [(error.provider, error.retry_after_s) for error in raised] == [("acme", 3.0)] * 2
    assert (upstream.kept, upstream.ended) == ([], ["failed"])


async def test_a_failure_is_not_kept_for_the_next_request(autojump_clock: Clock) -> None:
    upstream = Upstream(1, error=Unavailable("gone"))
    async with open_shared() as shared:
        with pytest.raises(Unavailable):
            await take(shared, upstream)
        upstream.error = None
        assert (await take(shared, upstream))[0] == [0]


async def test_a_bug_in_an_engine_reaches_its_listener_and_not_the_cache(autojump_clock: Clock) -> None:
    async with open_shared() as shared:
        with pytest.raises(ZeroDivisionError):
            await take(shared, Upstream(1, error=ZeroDivisionError()))
        assert (await take(shared, Upstream(1)))[0] == [0]


async def test_an_engine_that_never_ends_is_cut_off(autojump_clock: Clock) -> None:
    upstream = Upstream(items=1000, tick_s=0)
    async with open_shared(most=10) as shared:
        with pytest.raises(StreamCut, match="did not end"):
            await take(shared, upstream)
    assert (upstream.ended, upstream.kept) == (["failed"], [])


async def test_at_the_end_of_the_process_listeners_are_told(autojump_clock: Clock) -> None:
    upstream = Upstream()
    async with trio.open_nursery() as conversations:

        async def listen(shared: Shared[int]) -> None:
            with pytest.raises(StreamCut):
                await take(shared, upstream)

        async with open_shared() as shared:
            conversations.start_soon(listen, shared)
            await trio.sleep(1.5)
    assert upstream.ended == ["cancelled"]


Listening = tuple[float, int, float, float]
"""Comes at, takes so many, pauses between, is cancelled after (0: not)."""
tenths = st.integers(0, 60).map(lambda number: number / 10 + 0.05)
listening = st.tuples(tenths, st.integers(0, 6), st.sampled_from([0.0, 0.3, 2.0]), st.sampled_from([0.0, 0.7, 2.5]))


@given(st.lists(listening, min_size=1, max_size=8), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_listeners_do_each_gets_a_beginning_and_nothing_is_left(
    listeners: list[Listening], fails: bool
) -> None:
    upstream = Upstream(error=Unavailable("gone") if fails else None)
    patient: list[list[int]] = []

    async def listen(shared: Shared[int], comes: float, most: int, pause_s: float, patience: float) -> None:
        got: list[int] = []
        await trio.sleep(comes)
        with trio.move_on_after(patience or 1000):
            try:
                got, _ = await take(shared, upstream, most, pause_s)
            except ProviderError:
                assert fails
                return
            if most:
                patient.append(got)
                assert len(got) == min(most, 5)

    async def main() -> None:
        async with open_shared() as shared:
            async with trio.open_nursery() as nursery:
                for one in listeners:
                    nursery.start_soon(listen, shared, *one)
            await trio.testing.wait_all_tasks_blocked()
            assert (upstream.open, len(shared)) == (0, 0)

    trio.run(main, clock=Clock(autojump_threshold=0))
    assert all(got == list(range(len(got))) for got in patient)
    assert len(upstream.ended) == upstream.begun <= len(listeners)
    assert all(items == list(range(5)) for items in upstream.kept)
    assert len(upstream.kept) == upstream.ended.count("whole")
