"""The throttle: never too many inside, nobody starves, no slot is lost, whoever is cancelled when."""

from __future__ import annotations

from collections import Counter
from time import perf_counter

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import RateLimited
from aura.observe.metrics import Metrics
from aura.providers.throttle import Throttle, ThrottleSettings
from aura.providers.vitals import Left


class Client:
    """Makes calls and remembers who began when, and how many were under way."""

    def __init__(self, throttle: Throttle) -> None:
        self.throttle = throttle
        self.begun: list[tuple[str, float]] = []
        self.refused: list[tuple[str, float, str]] = []
        self.inside = self.most = 0

    async def call(self, conversation: str, seconds: float = 1.0) -> None:
        try:
            async with self.throttle.turn(conversation):
                self.begun.append((conversation, trio.current_time()))
                self.inside += 1
                self.most = max(self.most, self.inside)
                try:
                    await trio.sleep(seconds)
                finally:
                    self.inside -= 1
        except RateLimited as error:
            self.refused.append((conversation, trio.current_time(), str(error)))

    def times(self) -> list[float]:
        return [at for _, at in self.begun]


def client(**limits: float) -> Client:
    return Client(Throttle(ThrottleSettings(**limits), "acme", section="acme"))  # type: ignore[arg-type]


async def queue_up(nursery: trio.Nursery, client: Client, *conversations: str, seconds: float = 1.0) -> None:
    for conversation in conversations:
        nursery.start_soon(client.call, conversation, seconds)
        await trio.testing.wait_all_tasks_blocked()


# ---- who is next --------------------------------------------------------------------------------------------------


async def test_a_free_slot_is_taken_at_once_and_its_wait_is_zero() -> None:
    throttle = Throttle(ThrottleSettings(concurrent=2), "acme")
    async with throttle.turn("a") as waited, throttle.turn("a"):
        assert (waited, throttle.inside) == (0.0, 2)
    assert throttle.inside == 0


async def test_calls_of_one_conversation_keep_their_order(autojump_clock: trio.testing.MockClock) -> None:
    order: list[int] = []
    throttle = Throttle(ThrottleSettings(concurrent=1, wait_max_s=100), "acme")

    async def call(number: int) -> None:
        async with throttle.turn("a"):
            order.append(number)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(call, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(10))


async def test_ten_waiting_calls_of_one_delay_another_by_one_slot(autojump_clock: trio.testing.MockClock) -> None:
    busy = client(concurrent=1, wait_max_s=100)
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, *"a" * 11, "b", "b", "c")
    assert "".join(conversation for conversation, _ in busy.begun) == "aabcab" + "a" * 8


async def test_a_cancelled_call_does_not_cost_its_conversation_the_turn(autojump_clock: trio.testing.MockClock) -> None:
    busy = client(concurrent=1, wait_max_s=100)
    async with trio.open_nursery() as nursery, trio.open_nursery() as leaving:
        await queue_up(nursery, busy, "x")
        await queue_up(leaving, busy, "a")
        await queue_up(nursery, busy, "a", "b")
        leaving.cancel_scope.cancel()
    assert "".join(conversation for conversation, _ in busy.begun) == "xab"


# ---- limits -------------------------------------------------------------------------------------------------------


async def test_no_more_calls_begin_within_a_minute_than_are_allowed(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    busy = client(per_minute=3, wait_max_s=130)
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, *"abcabcabc", seconds=0)
    assert [at - start for at in busy.times()] == [0, 0, 0, 60, 60, 60, 120, 120, 120]


async def test_both_rates_count(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    busy = client(per_minute=3, per_second=2, wait_max_s=100)
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, *"abcde", seconds=0)
    assert [at - start for at in busy.times()] == [0, 0, 1, 60, 60]


@pytest.mark.parametrize(("setting", "account", "most"), [(0, 2, 2), (3, 2, 2), (2, 3, 2), (0, None, 6), (2, None, 2)])
async def test_the_accounts_own_limit_counts_where_it_is_less(
    setting: int, account: int | None, most: int, autojump_clock: trio.testing.MockClock
) -> None:
    busy = client(concurrent=setting, wait_max_s=100)
    busy.throttle.learn(Left(concurrent_max=account))
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, *"abcdef")
    assert busy.most == most


async def test_a_higher_limit_lets_the_waiting_in_and_a_lower_one_ends_no_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    busy = client(concurrent=1, wait_max_s=100)
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, *"abcdef", seconds=10)
        busy.throttle.adjust(concurrent=4)
        await trio.testing.wait_all_tasks_blocked()
        assert busy.inside == 4
        busy.throttle.adjust(concurrent=1)
        await trio.sleep(10.5)
        assert (busy.inside, len(busy.begun)) == (1, 5)
    assert len(busy.begun) == 6


async def test_a_pause_ends_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    busy = client(wait_max_s=5)
    start = trio.current_time()
    busy.throttle.hold_until(start + 2)
    busy.throttle.hold_until(start + 1)  # a shorter wish does not end the longer one
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, *"ab")
    assert [at - start for at in busy.times()] == [2, 2]


async def test_the_time_is_kept_for_all_though_the_first_of_the_line_leaves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    busy = client(wait_max_s=5)
    start = trio.current_time()
    busy.throttle.hold_until(start + 2)
    async with trio.open_nursery() as nursery, trio.open_nursery() as leaving:
        await queue_up(leaving, busy, "a")
        await queue_up(nursery, busy, *"bc")
        await trio.sleep(1)
        leaving.cancel_scope.cancel()
    assert [(name, at - start) for name, at in sorted(busy.begun)] == [("b", 2), ("c", 2)]


async def test_nobody_jumps_the_line_in_the_moment_in_which_it_moves(mock_clock: trio.testing.MockClock) -> None:
    busy = client(per_second=1, wait_max_s=5)
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, *"ab", seconds=0)
        mock_clock.jump(1)  # b may begin, but has not been told yet
        assert not busy.throttle.take()
        mock_clock.rate = 100
    assert [name for name, _ in busy.begun] == ["a", "b"]


# ---- in vain ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "account", "pause", "message"),
    [
        ({"concurrent": 1}, None, 0, "waited 3.0 s: 1 calls are under way; raise acme.concurrent or acme.wait_max_s"),
        ({"concurrent": 4}, 1, 0, "waited 3.0 s: the account may have 1 calls under way; a larger plan has more"),
        ({"per_minute": 1}, None, 0, "waited 0.0 s: 1 calls per minute are allowed; raise acme.per_minute"),
        ({}, None, 9, "waited 0.0 s: the provider wants 9.0 s of pause"),
    ],
)
async def test_who_gets_no_slot_is_told_why_and_at_once_where_waiting_is_vain(
    limits: dict[str, int], account: int | None, pause: float, message: str, autojump_clock: trio.testing.MockClock
) -> None:
    metrics = Metrics()
    throttle = Throttle(ThrottleSettings(**limits), "acme", section="acme", meter=metrics)  # type: ignore[arg-type]
    busy = Client(throttle)
    throttle.learn(Left(concurrent_max=account))
    async with trio.open_nursery() as nursery:
        await queue_up(nursery, busy, "a", seconds=100)
        if pause:
            throttle.hold_until(trio.current_time() + pause)
        await busy.call("b")
        nursery.cancel_scope.cancel()
    assert busy.refused[0][2] == f"acme: no free slot, {message}"
    assert metrics.value("throttle_refused", "acme") == 1
    assert metrics.value("throttle_wait_seconds", "acme") == 2
    assert (throttle.inside, throttle.waiting, metrics.value("throttle_waiting", "acme")) == (0, 0, 0)


async def test_a_pause_sends_those_away_who_wait_in_vain_and_says_for_how_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    throttle = Throttle(ThrottleSettings(concurrent=1, wait_max_s=3), "acme")
    async with throttle.turn("a"), trio.open_nursery() as nursery:

        async def waits() -> None:
            with pytest.raises(RateLimited) as refused:
                async with throttle.turn("b"):
                    pass
            assert refused.value.retry_after_s == pytest.approx(29)
            assert refused.value.retryable
            assert trio.current_time() - start == pytest.approx(1)

        start = trio.current_time()
        nursery.start_soon(waits)
        await trio.sleep(1)
        throttle.hold_until(trio.current_time() + 29)


# ---- whatever happens ---------------------------------------------------------------------------------------------

Call = tuple[float, str, float, float]
"""Comes at, conversation, lasts, is cancelled so long after it came (0: not)."""
times = st.integers(0, 40).map(lambda tenths: tenths / 10)
calls = st.lists(st.tuples(times, st.sampled_from("abc"), times, times), min_size=1, max_size=25)
changes = st.lists(st.tuples(times, st.sampled_from(["hold", "narrow", "widen"])), max_size=4)


def broken(times: list[float], limit: int, span_s: float) -> list[float]:
    """Beginnings that were one too many within the span before them. A limit of 0 is none."""
    if not limit:
        return []
    ordered = sorted(times)
    return [late for early, late in zip(ordered, ordered[limit:], strict=False) if late - early < span_s - 1e-9]


@given(calls, changes, st.integers(1, 3), st.sampled_from([0, 2, 5]), st.sampled_from([0, 4]))
@settings(max_examples=150, deadline=None)
def test_no_slot_is_lost_and_nobody_too_many(
    calls: list[Call], changes: list[tuple[float, str]], concurrent: int, per_second: int, per_minute: int
) -> None:
    busy = client(concurrent=concurrent, per_second=per_second, per_minute=per_minute, wait_max_s=30)
    left_alone: list[str] = []

    async def caller(comes: float, conversation: str, lasts: float, cancelled: float) -> None:
        await trio.sleep(comes)
        with trio.move_on_after(cancelled or 1000):
            await busy.call(conversation, lasts)
        if not cancelled:
            left_alone.append(conversation)

    async def operator(at: float, change: str) -> None:
        await trio.sleep(at)
        match change:
            case "hold":
                busy.throttle.hold_until(trio.current_time() + 1.5)
            case "narrow":
                busy.throttle.adjust(concurrent=1)
            case "widen":
                busy.throttle.adjust(concurrent=concurrent)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(caller, *call)
            for change in changes:
                nursery.start_soon(operator, *change)
        busy.throttle.adjust(concurrent=concurrent)
        await trio.sleep(60)
        assert await free_slots(busy.throttle) == min(concurrent, per_second or 9, per_minute or 9)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert busy.most <= concurrent
    assert broken(busy.times(), per_second, 1.0) == []
    assert broken(busy.times(), per_minute, 60.0) == []
    told = [conversation for conversation, _ in busy.begun] + [conversation for conversation, *_ in busy.refused]
    assert not Counter(left_alone) - Counter(told)  # everybody had an answer


async def free_slots(throttle: Throttle) -> int:
    """How many calls can begin at once now."""
    assert (throttle.inside, throttle.waiting, len(throttle._line)) == (0, 0, 0)
    async with trio.open_nursery() as nursery:
        fresh = Client(throttle)
        await queue_up(nursery, fresh, *"xxxxx", seconds=100)
        nursery.cancel_scope.cancel()
    return fresh.most


@given(st.integers(1, 3), st.integers(2, 6), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_nobody_waits_for_more_than_one_round(concurrent: int, conversations: int, greed: int) -> None:
    """One conversation always has many calls waiting; the first call of each other one waits one round at most."""
    busy = client(concurrent=concurrent, wait_max_s=1000)

    async def main() -> None:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            await queue_up(nursery, busy, *["greedy"] * (concurrent + greed))
            await queue_up(nursery, busy, *map(str, range(conversations)))
        began = dict(reversed(busy.begun))
        rounds = [began[str(number)] - start for number in range(conversations)]
        assert rounds == [1 + (number + 1) // concurrent for number in range(conversations)]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_call_cancelled_in_the_moment_it_gets_its_slot_gives_it_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    busy = client(concurrent=1, per_minute=2, wait_max_s=10)
    async with trio.open_nursery() as nursery, trio.open_nursery() as leaving:
        await queue_up(nursery, busy, "a", seconds=1)
        await queue_up(leaving, busy, "b")
        await queue_up(nursery, busy, "c")
        await trio.sleep(0.5)
        leaving.cancel_scope.cancel()  # b is awake, but has not run yet …
        busy.throttle.adjust(concurrent=2)  # … when a slot comes free
    assert [name for name, _ in busy.begun] == ["a", "c"]
    assert busy.throttle.inside == 0


async def test_the_way_through_a_free_throttle_is_short() -> None:
    throttle = Throttle(ThrottleSettings(concurrent=4), "acme")
    best = 1.0
    for _ in range(20):
        began = perf_counter()
        for _ in range(100):
            async with throttle.turn("a"):
                pass
        best = min(best, (perf_counter() - began) / 100)
    assert best < 20e-6  # measured: see the README; the bound only catches a lock or a task switch
