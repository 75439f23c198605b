"""What `python -m tests.proof` proves at length, in short; and the corpus that guards every change."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from aura import config
from aura.storage.tapes import read_tape
from aura.tools.replay.branch import Plan, branch
from aura.tools.replay.pipeline import recorded_sections
from tests.proof import again, arithmetic, corpus, coverage, races, rules

PIECES = {piece.name: piece for piece in corpus.PIECES}


@pytest.fixture(scope="module")
def same_arithmetic() -> None:
    """Replays of the corpus are exact to the last bit, where sound is computed as it was when it was recorded."""
    if not arithmetic.same():
        pytest.skip("this machine or its libraries round sound otherwise than those that recorded the corpus")


@pytest.mark.usefixtures("same_arithmetic")
@pytest.mark.parametrize("name", PIECES)
def test_the_corpus_behaves_as_it_did(name: str) -> None:
    result = again.run_again(corpus.FOLDER / name)
    if result.divergence:
        pytest.fail(again.behaviour_changed(result), pytrace=False)
    assert result.complete
    assert result.facts == result.decided > 5
    assert result.messages > 5


def test_the_corpus_holds_what_it_is_there_for() -> None:
    assert {path.name for path in corpus.FOLDER.iterdir()} == set(PIECES)
    found = {name: set(coverage.happened(corpus.FOLDER / name)) for name in PIECES}
    assert {name: piece.holds - found[name] for name, piece in PIECES.items() if piece.holds - found[name]} == {}


@pytest.mark.usefixtures("same_arithmetic")
@pytest.mark.parametrize("number", range(len(rules.RULES)), ids=[rule.name for rule in rules.RULES])
def test_a_rule_changed_on_purpose_is_caught_at_the_first_fact_it_decides(number: int) -> None:
    rule = rules.RULES[number]
    entries = {folder: coverage.read(folder)[1] for folder in corpus.FOLDER.iterdir()}
    chosen = [folder for folder, facts in entries.items() if rules.first(rule, facts)][:2]
    assert chosen, "no conversation of the corpus has such a fact"
    assert [wrong for folder in chosen if (wrong := rules.caught(number, folder))] == []


@pytest.mark.usefixtures("same_arithmetic")
def test_the_message_about_a_change_names_fact_conversation_and_what_to_do() -> None:
    rule = rules.RULES[0]
    with rule.change():
        result = again.run_again(corpus.FOLDER / "barge_in")
    message = again.behaviour_changed(result)
    assert message.startswith(f"behaviour changed at fact {result.at_fact} of barge_in: ")
    assert "re-record it (python -m tests.proof record-corpus) and say why in the commit" in message


@pytest.mark.parametrize("seed", range(3))
def test_a_deadline_and_an_answer_in_the_same_moment_are_decided_as_they_were(seed: int) -> None:
    kept, log = races.recorded(seed)
    assert races.replayed(kept) == ("", log)
    assert len(kept) > 100


@pytest.mark.parametrize("cut_after_s", [0.0, 0.005, 0.034, 0.055])
def test_a_conversation_cancelled_from_outside_is_cancelled_at_the_same_step_again(cut_after_s: float) -> None:
    kept, log = races.recorded(1, cut_after_s=cut_after_s)
    assert races.replayed(kept) == ("", log)


@pytest.mark.e2e
def test_a_branch_is_a_recording_that_comes_out_equal_too(tmp_path: Path) -> None:
    folder = corpus.FOLDER / "telephone"
    sections = recorded_sections(read_tape(folder))
    sooner = msgspec.structs.replace(sections, turns=msgspec.structs.replace(sections.turns, unknown_silence_s=0.5))
    branched = branch(folder, Plan(3, sooner), config.load(environment={}), tmp_path / "branch")
    assert branched.why == ""
    assert again.run_again(tmp_path / "branch").divergence == ""
