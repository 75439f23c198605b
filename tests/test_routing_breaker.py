"""Breaker, health and board: what opens, what never does, and how an engine comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aura.core.routing.breaker import Breaker, BreakerSettings, Ticket, Window
from aura.core.routing.health import HealthSettings, Tracker

SETTINGS = BreakerSettings()


def fail(breaker: Breaker, at: float, code: str = "unavailable", **more: float) -> Ticket:
    ticket = breaker.begin(at)
    assert ticket is not None
    breaker.failed(ticket, at, code, **more)
    return ticket


@pytest.mark.parametrize(
    ("code", "failures"),
    [("unavailable", 3), ("timed_out", 3), ("stream_cut", 3), ("provider_error", 3), ("rate_limited", 6),
     ("auth_failed", 1), ("quota_exhausted", 1), ("model_not_found", 1)],
)  # fmt: skip
def test_so_many_failures_in_a_row_open_it(code, failures):
    breaker = Breaker(SETTINGS)
    for number in range(failures):
        assert breaker.state(number) == "closed"
        fail(breaker, number, code)
    assert breaker.state(failures) == "open"
    assert breaker.begin(failures) is None
    assert breaker.why == code


@pytest.mark.parametrize("code", ["cancelled", "bad_request"])
def test_neither_cancellations_nor_bad_requests_count(code):
    breaker = Breaker(SETTINGS)
    for at in range(50):
        fail(breaker, at, code)
    assert breaker.state(50) == "closed"


def test_the_time_doubles_while_it_keeps_failing_up_to_a_limit():
    breaker, at, lengths = Breaker(SETTINGS), 0.0, []
    for _ in range(3):
        fail(breaker, at)
    for _ in range(8):
        lengths.append(breaker.until - at)
        at = breaker.until
        assert breaker.state(at) == "half_open"
        fail(breaker, at)
    assert lengths == [5, 10, 20, 40, 80, 120, 120, 120]


def test_success_of_the_one_probe_closes_it_and_the_moves_tell_the_story():
    breaker = Breaker(SETTINGS)
    for at in (0.0, 1.0):
        fail(breaker, at)
    last = breaker.begin(2.0)
    assert last
    opened = breaker.failed(last, 2.0, "timed_out")
    probe = breaker.begin(7.0)
    assert probe
    assert probe.probe
    assert breaker.begin(7.5) is None
    closed = breaker.succeeded(probe, 8.0)
    assert opened
    assert closed
    assert probe.moved
    moves = [(move.was, move.now, move.why, move.until) for move in (opened, probe.moved, closed)]
    assert moves == [
        ("closed", "open", "timed_out", 7.0),
        ("half_open", "probing", "time is up", None),
        ("probing", "closed", "it answered", None),
    ]


def test_a_cancelled_probe_makes_room_for_the_next():
    breaker = Breaker(SETTINGS)
    fail(breaker, 0.0, "auth_failed")
    probe = breaker.begin(900.0)
    assert probe
    assert breaker.cancelled(probe, 901.0)
    assert breaker.state(901.0) == "half_open"
    assert breaker.begin(901.0)


def test_retry_after_is_obeyed_at_once_and_does_not_lengthen_later_times():
    breaker = Breaker(SETTINGS)
    fail(breaker, 10.0, "rate_limited", retry_after_s=2.5)
    assert (breaker.state(12.4), breaker.state(12.5)) == ("open", "half_open")
    probe = breaker.begin(12.5)
    assert probe
    breaker.succeeded(probe, 12.6)
    for at in (13.0, 13.1, 13.2):
        fail(breaker, at)
    assert breaker.until == pytest.approx(18.2)


def test_single_failures_among_many_good_calls_do_not_open_it_but_half_of_them_do():
    breaker = Breaker(SETTINGS)
    for number in range(40):
        at = number / 2
        if number % 4 == 3:
            fail(breaker, at)
        else:
            ticket = breaker.begin(at)
            assert ticket
            breaker.succeeded(ticket, at)
    assert breaker.state(20.0) == "closed"
    for number in range(30):
        at = 100 + number / 2
        if breaker.state(at) == "open":
            return
        fail(breaker, at)
        ticket = breaker.begin(at)
        if ticket:
            breaker.succeeded(ticket, at)
    pytest.fail("every second call failed, and it never opened")


def test_old_calls_say_nothing_once_it_has_opened():
    breaker = Breaker(SETTINGS)
    old = breaker.begin(0.0)
    assert old
    for at in (0.1, 0.2, 0.3):
        fail(breaker, at)
    assert breaker.succeeded(old, 0.4) is None
    assert breaker.state(0.4) == "open"


def test_a_forced_call_that_goes_well_closes_an_open_breaker():
    breaker = Breaker(SETTINGS)
    for at in (0.0, 0.1, 0.2):
        fail(breaker, at)
    last = breaker.begin(1.0, forced=True)
    assert last
    moved = breaker.succeeded(last, 1.5)
    assert moved
    assert (moved.was, moved.now) == ("open", "closed")


def test_a_good_health_check_lets_a_request_try_sooner():
    breaker = Breaker(SETTINGS)
    fail(breaker, 0.0, "quota_exhausted")
    assert breaker.recovered(60.0)
    assert breaker.state(60.0) == "half_open"
    assert breaker.recovered(60.0) is None


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, ends and waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.at = Breaker(SETTINGS), 0.0
        self.under_way: list[Ticket] = []
        self.faults = 0

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds: float) -> None:
        self.at += seconds

    @rule(forced=st.booleans())
    def begin(self, forced: bool) -> None:
        state = self.breaker.state(self.at)
        ticket = self.breaker.begin(self.at, forced=forced)
        assert (ticket is not None) == (forced or state in ("closed", "half_open"))
        if ticket:
            self.under_way.append(ticket)

    @precondition(lambda self: self.under_way)
    @rule(
        data=st.data(),
        end=st.sampled_from(
            ["ok", "cancelled", "cancelled", "bad_request", "unavailable", "rate_limited", "auth_failed"]
        ),
        wait=st.none() | st.floats(0, 2000),
    )
    def end(self, data: st.DataObject, end: str, wait: float | None) -> None:
        ticket = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        was = self.breaker.state(self.at)
        if end == "ok":
            move = self.breaker.succeeded(ticket, self.at)
        elif end == "cancelled":
            move = self.breaker.cancelled(ticket, self.at)
        else:
            self.faults += end != "bad_request"
            move = self.breaker.failed(ticket, self.at, end, wait)
        now = self.breaker.state(self.at)
        assert move is None or move.was == was
        assert move is not None or was == now
        assert end not in ("cancelled", "bad_request") or now != "open" or was == "open"

    @invariant()
    def at_most_one_probe_is_under_way(self) -> None:
        probing = self.breaker.state(self.at) == "probing"
        assert sum(t.number == self.breaker._probe for t in self.under_way) == probing

    @invariant()
    def without_failures_it_is_closed(self) -> None:
        assert self.faults or self.breaker.state(self.at) == "closed"

    @invariant()
    def an_open_one_becomes_half_open_in_its_time(self) -> None:
        if self.breaker.state(self.at) == "open":
            assert self.breaker.until - self.at <= SETTINGS.key_cooldown_s + 1e-6
            assert self.breaker.state(self.breaker.until) == "half_open"


TestBreaker = BreakerMachine.TestCase


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("ab")), max_size=80))
def test_a_window_counts_its_time_to_within_a_bucket(steps):
    window, at, added = Window(12.0), 0.0, []
    for wait, name in steps:
        at += wait
        window.add(at, name)
        added.append((at, name))
    totals = window.totals(at)
    for name in "ab":
        sure = sum(n == name and t > at - 11.0 for t, n in added)
        possible = sum(n == name and t >= at - 12.0 for t, n in added)
        assert sure <= totals.get(name, 0) <= possible
    assert len(window._buckets) <= 13


# ---- health ------------------------------------------------------------------------------------------------------


def tracker(**more: float) -> Tracker:
    return Tracker(HealthSettings(**more))


def call(it: Tracker, at: float, ttft_s: float, code: str = "ok") -> None:
    ticket = it.begin(at)
    assert ticket
    it.first(ticket, at + ttft_s)
    it.end(ticket, at + ttft_s + 1.0, code)


def test_the_mean_follows_the_newest_and_the_percentile_the_slowest():
    it = tracker()
    for number in range(100):
        call(it, number, 0.3 if number % 10 else 2.0)
    health = it.health(101.0)
    assert health.ewma_ttft_s
    assert 0.3 < health.ewma_ttft_s < 0.9
    assert health.p95_ttft_s == 2.0
    assert it.health(101.0 + 600).samples < health.samples / 3


def test_a_call_given_up_counts_as_slow_only_when_it_was():
    it = tracker()
    call(it, 0.0, 0.4)
    for begin, end in ((10.0, 10.1), (20.0, 23.0)):
        ticket = it.begin(begin)
        assert ticket
        it.end(ticket, end, "cancelled")
        if end < 11:
            assert it.health(end).ewma_ttft_s == pytest.approx(0.4)
    assert it.health(23.0).ewma_ttft_s == pytest.approx(0.4 + 0.2 * 2.6)
    assert it.health(23.0).error_rate == 0.0


def test_errors_are_counted_by_class_for_a_minute_and_one_is_no_proof():
    it = tracker()
    call(it, 0.0, 0.2)
    call(it, 1.0, 0.2, "stream_cut")
    call(it, 2.0, 0.2, "bad_request")
    health = it.health(3.0)
    assert health.failures == {"stream_cut": 1}
    assert health.error_rate == pytest.approx(1 / 4)
    assert it.health(70.0).error_rate == 0.0


def test_what_is_under_way_is_counted_and_ended_once():
    it = tracker()
    first, second = it.begin(0.0), it.begin(0.0)
    assert first
    assert second
    assert it.health(0.0).in_flight == 2
    it.end(first, 1.0)
    assert it.end(first, 1.0, "unavailable") is None
    assert it.health(1.0).in_flight == 1


def test_limits_are_believed_for_a_minute():
    it = tracker()
    it.left(0.03, 10.0)
    it.left(None, 11.0)
    assert it.health(70.0).rate_left == 0.03
    assert it.health(70.1).rate_left is None
