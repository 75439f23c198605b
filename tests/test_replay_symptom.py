"""Shrinking as such, and how a symptom is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core import events as ev
from aura.core import fsm
from aura.core.journal import Entry
from aura.tools.replay import symptom
from aura.tools.replay.ddmin import smallest

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[1]

# ---- shrinking as such -------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.data())
def test_exactly_what_is_needed_is_left(size: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.integers(0, size - 1), max_size=6) if size else st.just(set()))
    assert smallest(range(size), needed.issubset) == sorted(needed)


@given(st.lists(st.integers(0, 9), max_size=30))
def test_what_is_left_fails_and_no_item_can_be_left_out(items: list[int]) -> None:
    def fails(part: list[int]) -> bool:
        return sum(part) % 7 == sum(items) % 7 and len(part) % 2 == len(items) % 2

    left = smallest(items, fails)
    assert fails(left)
    assert not any(fails(left[:i] + left[i + 1 :]) for i in range(len(left)))


def test_when_the_time_is_over_what_was_found_so_far_is_left() -> None:
    asked: list[int] = []

    def fails(part: list[int]) -> bool:
        asked.append(len(part))
        return 3 in part

    left = smallest(range(1000), fails, lambda: len(asked) >= 4)
    assert 3 in left
    assert 10 < len(left) < 1000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("StageFailed", True),
        ("StageFailed:code=timed_out", True),
        ("StageFailed: code=timed_out, retryable=true", True),
        ("StageFailed:code=unavailable", False),
        ("FailReply:reply=2", True),
        ("FailReply:reply=1", False),
        ("CancelReply", False),
        ("stay", True),
        ("verdict=stay", True),
        ("verdict=bug", False),
        ("late", False),
    ],
)
def test_a_symptom_is_a_fact_an_order_or_a_verdict(text: str, shown: bool) -> None:
    event = ev.StageFailed(2, "think", "timed_out", retryable=True)
    entry = Entry(1, 0.0, event, "thinking", "thinking", (fsm.fx.FailReply(2, "timed_out"),), "stay")
    assert symptom.parse(text).shown_by(entry) is shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("StageFaild", "did you mean StageFailed?"),
        ("", "write a fact or an order"),
        ("StageFailed:kode=x", "one of the fields reply, stage, code"),
        ("StageFailed:code", "write StageFailed:FIELD=VALUE"),
        ("SpeechSuspected:a=1", "(it has none)"),
    ],
)
def test_a_symptom_that_cannot_be_is_answered_with_what_can(text: str, says: str) -> None:
    with pytest.raises(symptom.SymptomError) as error:
        symptom.parse(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
