"""Speech over the assistant: which words are words, and when the hold ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.overlap import OverlapFacts, OverlapSettings, Said, classify, echo_share, judge, words_of

REPLY = "The museum opens at ten o'clock on Sunday, and the last entry is at half past five in the afternoon."
QUESTION = "I found a table for two at seven. Shall I book it?"

CLASSES: list[tuple[str, str, Said]] = [
    ("", REPLY, "empty"),
    ("...", REPLY, "empty"),
    ("[NOISE]", REPLY, "empty"),
    ("<sil> ++COUGH++ [SPEECH]", REPLY, "empty"),
    ("(coughs)", REPLY, "empty"),
    ("*laughs*", REPLY, "empty"),
    ("you", REPLY, "empty"),
    ("Thanks for watching!", REPLY, "empty"),
    ("uh-huh", REPLY, "backchannel"),
    ("Mm-hmm.", REPLY, "backchannel"),
    ("Mmmm", REPLY, "backchannel"),
    ("mhm mhm", REPLY, "backchannel"),
    ("hmm", QUESTION, "backchannel"),
    ("Okay.", REPLY, "backchannel"),
    ("yeahhh", REPLY, "backchannel"),
    ("Yes, yes.", REPLY, "backchannel"),
    ("ah yeah, I see", REPLY, "backchannel"),
    ("Right, got it!", REPLY, "backchannel"),
    ("ha ha ha", REPLY, "backchannel"),
    ("[NOISE] okay <sil>", REPLY, "backchannel"),
    ("ja genau", "Das Museum öffnet um zehn.", "backchannel"),
    ("Yes.", QUESTION, "words"),
    ("yeah sure", QUESTION, "words"),
    ("uh-huh", QUESTION, "words"),
    ("No.", QUESTION, "words"),
    ("No.", REPLY, "words"),
    ("Stop!", REPLY, "words"),
    ("wait", REPLY, "words"),
    ("hold on", REPLY, "words"),
    ("What?", REPLY, "words"),
    ("okay but when", REPLY, "words"),
    ("Sunday", REPLY, "words"),
    ("can you say that again please", REPLY, "words"),
    ("the museum opens at ten", REPLY, "echo"),
    ("museum opens at tent o'clock on", REPLY, "echo"),
    ("last entry is at half past", REPLY, "echo"),
    ("half past", REPLY, "echo"),
    ("wait the museum opens at ten", REPLY, "words"),
    ("at the in of on", REPLY, "words"),
    ("ten but the last", "It is ten but the last one is full.", "echo"),
    ("at seven", QUESTION, "words"),
    ("the", REPLY, "empty"),
]


@pytest.mark.parametrize(("text", "reply", "expected"), CLASSES)
def test_what_was_said_over_the_assistant(text: str, reply: str, expected: Said) -> None:
    assert classify(text, reply) == expected


def test_own_backchannels_can_be_added() -> None:
    settings = OverlapSettings(more_backchannels=("naturlich", "ganz genau"))
    assert classify("ganz genau, natürlich".replace("ü", "u"), REPLY, settings) == "backchannel"


def facts(
    voiced_ms: int = 300,
    silence_ms: int = 0,
    held_ms: int = 300,
    text: str | None = None,
    *,
    final: bool = False,
    snr_db: float | None = None,
    echo_known: bool = False,
) -> OverlapFacts:
    return OverlapFacts(voiced_ms, silence_ms, held_ms, text, final, REPLY, snr_db, echo_known)


VERDICTS = [
    (facts(), "wait", "undecided"),
    (facts(600), "confirm", "sustained"),
    (facts(600, snr_db=5.0), "wait", "undecided"),
    (facts(1200, snr_db=5.0), "confirm", "sustained"),
    (facts(700, echo_known=True), "wait", "undecided"),
    (facts(300, text="no not"), "confirm", "words"),
    (facts(600, text="the museum opens"), "dismiss", "echo"),
    (facts(600, text="yeah"), "wait", "undecided"),
    (facts(1200, text="yeah"), "confirm", "sustained"),
    (facts(300, 100, text="yeah"), "wait", "undecided"),
    (facts(300, 300, text="yeah"), "dismiss", "backchannel"),
    (facts(300, 100, text="yeah", final=True), "dismiss", "backchannel"),
    (facts(300, 300, text=""), "wait", "undecided"),
    (facts(300, 300, text="", final=True), "dismiss", "no_words"),
    (facts(300, 700), "wait", "undecided"),
    (facts(300, 800), "dismiss", "nothing_recognised"),
    (facts(300, 100, held_ms=2500), "dismiss", "held_too_long"),
]


@pytest.mark.parametrize(("known", "decision", "reason"), VERDICTS)
def test_the_hold_ends_for_a_reason(known: OverlapFacts, decision: str, reason: str) -> None:
    verdict = judge(known)
    assert (verdict.decision, verdict.reason) == (decision, reason)


def test_a_verdict_carries_its_numbers() -> None:
    verdict = judge(facts(400, 120, 520, "museum opens at ten"))
    assert (verdict.voiced_ms, verdict.silence_ms, verdict.held_ms, verdict.needed_ms) == (400, 120, 520, 600)
    assert (verdict.said, verdict.echo_share) == ("echo", 1.0)


@given(st.text(max_size=40), st.text(max_size=80))
def test_any_words_are_classified(text: str, reply: str) -> None:
    assert classify(text, reply) in ("empty", "backchannel", "echo", "words")
    assert 0.0 <= echo_share(text, reply) <= 1.0


@given(
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.sampled_from([None, "", "okay", "the museum opens", "stop it"]),
    st.booleans(),
)
def test_a_hold_never_outlasts_its_limit(voiced_ms: int, silence_ms: int, text: str | None, final: bool) -> None:
    assert judge(facts(voiced_ms, silence_ms, 2500, text, final=final)).decision != "wait"


def test_letters_drawn_out_and_noise_tokens_do_not_matter() -> None:
    assert words_of("Hmmm, YEAHHH [BREATH] it’s 1000") == ["hm", "yeah", "it's", "1000"]
