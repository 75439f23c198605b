"""The client's playback as AURA reckons it, and the account of a turn's time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.fsm import Conversation
from aura.core.pacing import PlayClock, PlayoutSettings
from aura.core.timing import PARTS, Timeline

SETTINGS = PlayoutSettings(lead_s=0.1, chunk_ms=40, client_delay_s=0.06)


def fill(clock: PlayClock, at: float) -> float:
    """Send as much as is due at a moment."""
    while clock.due(at) <= at:
        clock.send(at, 0.04)
    return clock.sent_s


def test_the_client_holds_no_more_than_the_lead_and_one_chunk() -> None:
    clock = PlayClock(SETTINGS)
    for step in range(200):
        sent = fill(clock, 10 + step * 0.01)
        assert sent - clock.position(10 + step * 0.01) <= 0.1 + 0.04 + 1e-9


def test_playback_begins_after_the_clients_own_delay_and_runs_at_real_time() -> None:
    clock = PlayClock(SETTINGS)
    clock.send(5.0, 2.0)

    assert clock.position(5.06) == 0
    assert clock.position(6.06) == pytest.approx(1.0)
    assert clock.done(6.06) == pytest.approx(7.06)
    assert clock.position(9.0) == 2.0


def test_a_client_told_to_hold_plays_nothing_until_it_may() -> None:
    clock = PlayClock(SETTINGS)
    clock.send(0.0, 1.0)
    clock.pause(0.26)
    assert clock.position(3.0) == pytest.approx(0.2)
    clock.resume(3.0)
    assert clock.position(3.1) == pytest.approx(0.3)


def test_an_empty_buffer_fills_anew_before_it_plays() -> None:
    clock = PlayClock(SETTINGS)
    clock.send(0.0, 0.1)
    clock.position(1.0)
    clock.send(1.0, 0.1)
    assert clock.position(1.05) == pytest.approx(0.1)
    assert clock.position(1.11) == pytest.approx(0.15)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from(["send", "pause", "resume", "ack"]), st.floats(0, 3))))
def test_nobody_hears_what_was_not_sent_and_without_acks_never_less_than_before(
    steps: list[tuple[float, str, float]],
) -> None:
    clock, at, last = PlayClock(SETTINGS), 0.0, 0.0
    for wait, what, value in steps:
        at += wait
        {"send": clock.send, "pause": lambda a, _: clock.pause(a), "resume": lambda a, _: clock.resume(a),
         "ack": clock.acknowledge}[what](at, value)  # fmt: skip
        position = clock.position(at)
        assert 0 <= position <= clock.sent_s
        assert what == "ack" or position >= last
        last = position


def test_a_retried_reply_is_measured_from_the_same_end_of_speech() -> None:
    conversation, timeline = Conversation(), Timeline()
    told = [
        (1.0, ev.SpeechStarted(0)), (2.0, ev.TurnEnded(1500, 500)), (2.1, ev.TranscriptReady(1, 1, "words", "a")),
        (3.0, ev.StageFailed(1, "think", "timed_out", retryable=True)), (3.1, ev.TranscriptReady(2, 1, "words", "a")),
        (3.3, ev.FirstTokenArrived(2)), (3.4, ev.SentenceReady(2, 0, 5)), (3.6, ev.FirstAudioArrived(2)),
        (3.7, ev.ReplyStarted(2)),
    ]  # fmt: skip
    accounts = [timeline.note(at, event, conversation.handle(event)) for at, event in told]

    times = accounts[-1]
    assert times is not None
    assert times.ms["voice_to_voice"] == pytest.approx(2200)
    assert sum(times.ms[part] for part in PARTS) == pytest.approx(2200)
    assert not any(accounts[:-1])


def test_what_nobody_asked_has_no_voice_to_voice() -> None:
    conversation, timeline = Conversation(), Timeline()
    for at, event in ((1.0, ev.SayRequested("hello")), (1.5, ev.ReplyStarted(1))):
        assert timeline.note(at, event, conversation.handle(event)) is None
    assert not [e for e in conversation.handle(ev.PlayoutFinished(1, 9)).effects if isinstance(e, fx.StartReply)]
