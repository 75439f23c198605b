"""Turn taking on made-up voices: cues, times, waits, and what words do to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.completeness import Completeness, completeness
from aura.core.ports import FRAME_MS, Voice
from aura.core.turns import Cue, CueKind, NoiseFloor, TurnSettings, TurnTaker

QUIET = Voice(0.01, -70.0, False)
SPEECH = Voice(0.95, -25.0)
NOISE = Voice(0.05, -35.0)


def hear(taker: TurnTaker, voice: Voice, ms: int, *, overlap: bool = False) -> list[Cue]:
    """The cues of so many milliseconds of one kind of sound."""
    return [cue for _ in range(ms // FRAME_MS) for cue in taker.step(voice, overlap=overlap)]


def kinds(cues: list[Cue]) -> list[str]:
    return [cue.kind.value for cue in cues]


@pytest.fixture
def taker() -> TurnTaker:
    """A conversation that has been quiet for a second."""
    made = TurnTaker()
    hear(made, QUIET, 1000)
    return made


COMPLETENESS: list[tuple[str, Completeness]] = [
    ("", "unknown"),
    ("Can you tell me what time the museum opens on Sunday?", "complete"),
    ("I need to change the delivery address of my last order.", "complete"),
    ("can you call me back tomorrow", "complete"),
    ("Yes.", "complete"),
    ("no", "complete"),
    ("Yes, I can.", "complete"),
    ("What is it for?", "complete"),
    ("What time is it?", "complete"),
    ("Stop!", "complete"),
    ("Berlin.", "complete"),
    ("I would like to order a large pizza with", "unfinished"),
    ("I would like to order a large pizza with.", "unfinished"),
    ("I saw the key was in the", "unfinished"),
    ("but um", "unfinished"),
    ("I was there and", "unfinished"),
    ("My number is", "unfinished"),
    ("My account number is four five seven", "unfinished"),
    ("My account number is 457.", "unfinished"),
    ("five five five one two", "unfinished"),
    ("It is 0171 555 2368.", "complete"),
    ("I'd like", "unfinished"),
    ("Well, let me think...", "unfinished"),
    ("On the one hand,", "unfinished"),
    ("this is my", "unfinished"),
    ("one further remark", "unknown"),
    ("Quiero una pizza con", "unknown"),
    ("Ich hätte gern einen Termin.", "unknown"),
    ("これはペンです。", "unknown"),
]


@pytest.mark.parametrize(("text", "expected"), COMPLETENESS)
def test_words_tell_whether_a_sentence_breaks_off(text: str, expected: Completeness) -> None:
    assert completeness(text) == expected


def test_another_language_is_never_judged_by_english_words() -> None:
    assert completeness("Was will die Frau an der", language="de") == "unknown"


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    assert completeness(text) in ("complete", "unfinished", "unknown")


def test_a_turn_is_suspected_started_paused_and_ended(taker: TurnTaker) -> None:
    cues = hear(taker, SPEECH, 600)
    assert kinds(cues) == ["suspected", "started"]
    assert cues[1].at_ms == taker.onset_ms == 1000
    cues = hear(taker, QUIET, 1000)
    assert kinds(cues) == ["paused", "ended"]
    assert [cue.at_ms for cue in cues] == [1600, 1600]
    assert [cue.silence_ms for cue in cues] == [120, 800]
    assert cues[1].voiced_ms == 600
    assert not taker.speaking


@pytest.mark.parametrize(
    ("text", "silence_ms", "reason"),
    [
        ("What is the weather like?", 560, "complete"),
        ("And my number is", 1100, "unfinished"),
        ("Guten Tag", 800, "unknown"),
    ],
)
def test_the_wait_follows_the_words(taker: TurnTaker, text: str, silence_ms: int, reason: str) -> None:
    hear(taker, SPEECH, 600)
    hear(taker, QUIET, 300)
    taker.hint(text)
    (ended,) = hear(taker, QUIET, 1000)
    assert (ended.kind, ended.silence_ms, ended.reason) == (CueKind.ENDED, silence_ms, reason)


def test_words_before_a_resumption_do_not_count(taker: TurnTaker) -> None:
    hear(taker, SPEECH, 600)
    hear(taker, QUIET, 300)
    taker.hint("My number is")
    (resumed,) = hear(taker, SPEECH, 400)
    assert (resumed.kind, resumed.at_ms, resumed.silence_ms) == (CueKind.RESUMED, 1900, 300)
    assert [cue.silence_ms for cue in hear(taker, QUIET, 1000)] == [120, 800]


def test_a_late_hint_ends_the_turn_at_once(taker: TurnTaker) -> None:
    hear(taker, SPEECH, 600)
    hear(taker, QUIET, 640)
    taker.hint("Thank you.")
    assert kinds(hear(taker, QUIET, FRAME_MS)) == ["ended"]


def test_a_click_is_suspected_and_forgotten(taker: TurnTaker) -> None:
    assert kinds(hear(taker, SPEECH, 40) + hear(taker, QUIET, 400)) == ["suspected", "unsuspected"]


def test_speaking_over_the_assistant_takes_longer_to_count(taker: TurnTaker) -> None:
    assert kinds(hear(taker, SPEECH, 80, overlap=True)) == ["suspected"]
    assert kinds(hear(taker, SPEECH, 80, overlap=True)) == ["started"]


def test_a_detector_that_says_speech_for_steady_noise_starts_nothing_and_ends_the_turn() -> None:
    taker, fooled = TurnTaker(), Voice(1.0, -36.0)
    hear(taker, NOISE, 600)
    assert hear(taker, fooled, 3000) == []
    assert kinds(hear(taker, Voice(1.0, -22.0), 800)) == ["suspected", "started"]
    ended = hear(taker, fooled, 1300)
    assert kinds(ended) == ["paused", "ended"]
    assert ended[1].silence_ms == 800 + 300  # it might still be the user, only faint


def test_a_very_long_turn_is_ended_and_goes_on_as_the_next() -> None:
    taker = TurnTaker(TurnSettings(max_turn_s=2.0))
    hear(taker, QUIET, 1000)
    cues = [cue for _ in range(3) for cue in (*hear(taker, SPEECH, 900), *hear(taker, QUIET, 100))]
    assert kinds(cues) == ["suspected", "started", "ended", "suspected", "started"]
    assert cues[2].reason == "too_long"


def test_a_client_that_stops_sending_ends_its_turn(taker: TurnTaker) -> None:
    hear(taker, SPEECH, 600)
    position = taker.position_ms
    assert kinds([cue for _ in range(8) for cue in taker.skip(100)]) == ["paused", "ended"]
    assert taker.position_ms == position


def test_frames_that_come_late_are_not_counted_twice(taker: TurnTaker) -> None:
    hear(taker, SPEECH, 600)
    taker.skip(400)
    assert hear(taker, QUIET, 400) == []
    assert kinds(hear(taker, QUIET, 400)) == ["ended"]


def test_a_reset_turn_starts_anew(taker: TurnTaker) -> None:
    hear(taker, SPEECH, 600)
    taker.reset()
    assert not taker.speaking
    assert kinds(hear(taker, SPEECH, 200)) == ["suspected", "started"]


def test_a_dismissed_echo_must_stop_before_anything_starts(taker: TurnTaker) -> None:
    hear(taker, SPEECH, 600, overlap=True)
    taker.reset(echo=True)
    assert hear(taker, SPEECH, 1000, overlap=True) == []
    hear(taker, QUIET, 300, overlap=True)
    assert hear(taker, SPEECH, 300, overlap=True) == []
    assert kinds(hear(taker, Voice(0.95, -20.0), 300, overlap=True))[-1:] == ["started"]


@given(st.lists(st.tuples(st.sampled_from([QUIET, SPEECH, NOISE]), st.integers(1, 40), st.booleans()), max_size=25))
def test_cues_come_in_a_legal_order_with_times_that_never_go_back(parts: list[tuple[Voice, int, bool]]) -> None:
    after = {
        "": {"suspected", "started"},
        "suspected": {"unsuspected", "started"},
        "unsuspected": {"suspected", "started"},
        "started": {"paused", "ended"},
        "paused": {"resumed", "ended"},
        "resumed": {"paused", "ended"},
        "ended": {"suspected", "started"},
    }
    taker, last, last_end = TurnTaker(), "", 0
    for voice, frames, overlap in parts:
        for cue in hear(taker, voice, frames * FRAME_MS, overlap=overlap):
            assert cue.kind.value in after[last]
            assert 0 <= cue.at_ms <= taker.position_ms
            last = cue.kind.value
            if cue.kind is CueKind.STARTED:
                assert cue.at_ms >= last_end
            if cue.kind is CueKind.ENDED:
                last_end = cue.at_ms


def test_the_background_is_learned_within_half_a_second_and_follows_down_at_once() -> None:
    floor = NoiseFloor()
    for _ in range(25):
        floor.step(-40.0)
    assert floor.db == pytest.approx(-40.0)
    for _ in range(25):
        floor.step(-60.0)
    assert floor.db == pytest.approx(-60.0, abs=0.1)
    for _ in range(150):
        floor.step(-45.0)
    assert floor.db == pytest.approx(-45.0, abs=0.1)
