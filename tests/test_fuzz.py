"""What `python -m tests.proof.fuzz` does at length, in short; and that it would notice."""

from __future__ import annotations

from typing import Any

import pytest

from aura.core.wire.conversation import ConversationView
from aura.session.desk import Desk
from tests.proof import fuzz
from tests.proof.mutants import MODES, recordings

LESS = [(seed, 500) for seed in (1000, 1001, 1002, 1003, 1004, 1005)]


def test_whatever_a_client_sends_the_conversation_lives_on_and_every_answer_is_legal() -> None:
    found = fuzz.fuzz(LESS)
    assert {what: found.examples[what] for what in found.problems} == {}
    assert found.sessions == len(LESS)
    assert found.messages == 3000
    assert {"recorded", "mutated", "made up", "garbage"} == set(found.made)
    refused = sum(count for name, count in found.outcomes.items() if name.startswith("refused"))
    assert 0.3 < refused / found.messages < 0.8, "most are spoilt, and not all"
    assert len([name for name in found.outcomes if name.startswith("decoded")]) >= 12


def test_the_same_seed_is_the_same_conversation() -> None:
    one, other = fuzz.fuzz([(7, 200)]), fuzz.fuzz([(7, 200)])
    assert (one.outcomes, one.made, one.sent) == (other.outcomes, other.made, other.sent)


def test_every_stock_client_is_recorded_in_every_situation() -> None:
    clients = {name for name, _ in recordings()}
    assert len(clients) == 9
    assert set(recordings()) == {(client, mode) for client in clients for mode in MODES}


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("cleared", "answer.missing (at the end)"),
        ("deleted", "answer.missing (at the end)"),
        ("fault", "answer.missing (at the end)"),
    ],
)
def test_an_answer_that_never_comes_is_noticed(monkeypatch: pytest.MonkeyPatch, broken: str, problem: str) -> None:
    monkeypatch.setattr(ConversationView, broken, lambda *_, **__: [])
    assert problem in fuzz.fuzz([(1000, 500)]).problems


def test_an_error_in_the_desk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(Desk, "_clear", breaks)
    assert [what for what in fuzz.fuzz([(1000, 500)]).problems if "KeyError" in what]
