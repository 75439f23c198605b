"""Rules changed on purpose, to see that a replay notices, and at the right fact.

Where a changed rule first matters is found in the journal alone, without running anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from transitions import Machine

from aura.core import effects as fx
from aura.core import events as ev
from aura.core import fsm, overlap, rerun
from aura.core.journal import Entry
from aura.core.machine import transition
from aura.core.table import STATES, TABLE, Row
from aura.core.turns import TurnTaker
from aura.tools.replay import pipeline
from aura.tools.replay.source import find, read
from tests.proof.coverage import read as read_recording


class Rule(msgspec.Struct, frozen=True):
    """A change, and the facts that it concerns."""

    name: str
    change: Callable[[], AbstractContextManager[Any]]
    concerns: Callable[[Entry], bool]
    in_the_table: bool
    """It is seen at the first depth too."""
    unclear: Callable[[Entry], bool] = lambda _: False
    """Facts of which the journal does not tell whether the rule decided them."""


@contextmanager
def table(change: Callable[[Row], Row]) -> Iterator[None]:
    """The table with some rows changed."""
    rows = [transition(change(row)) for row in TABLE]
    machine = Machine(model=None, states=list(STATES), initial="idle", transitions=rows, auto_transitions=False)
    with mock.patch.object(fsm, "MACHINE", machine):
        yield


def without_brake(row: Row) -> Row:
    """A suspicion has no consequence."""
    return msgspec.structs.replace(row, do="") if row.do == "brake" else row


def more_to_interrupt(facts: Any, s: Any, said: Any, needed_ms: int) -> Any:
    """Without words it takes 200 ms more of speech to interrupt."""
    return decide(facts, s, said, needed_ms + 200)


def as_patient(self: TurnTaker, turn: Any) -> int:
    """A whole sentence is waited for no shorter than words that are not known."""
    words, turn.words = turn.words, "unknown" if turn.words == "complete" else turn.words
    try:
        return patience(self, turn)
    finally:
        turn.words = words


def after_a_sentence(entry: Entry) -> int | None:
    """The silence that ended a turn of whole sentences."""
    event = entry.event
    return event.silence_ms if isinstance(event, ev.TurnEnded) and event.words == "complete" else None


WHOLE_SENTENCE_MS = 560
"""In whole frames of 20 ms, what ends a turn of whole sentences (`turns.silence_s`) if nothing else plays a part."""
decide = overlap._decide
patience = TurnTaker._patience_ms

RULES = (
    Rule(
        "a row of the table: a suspicion brakes no longer",
        lambda: table(without_brake),
        lambda entry: any(isinstance(effect, fx.BrakeOutput) for effect in entry.effects),
        in_the_table=True,
    ),
    Rule(
        "a guard: no drafts while the user speaks",
        lambda: mock.patch.object(fsm.Conversation, "may_draft", return_value=False),
        lambda entry: (
            isinstance(entry.event, ev.SpeechPaused)
            and entry.was == "listening"
            and any(isinstance(effect, fx.StartReply) for effect in entry.effects)
        ),
        in_the_table=True,
    ),
    Rule(
        "a threshold of the judge: 200 ms more of speech to interrupt without words",
        lambda: mock.patch.object(overlap, "_decide", more_to_interrupt),
        lambda entry: (
            isinstance(entry.event, ev.OverlapConfirmed)
            and entry.event.why == "sustained"
            and entry.event.voiced_ms < entry.event.needed_ms + 200
        ),
        in_the_table=False,
    ),
    Rule(
        "turn taking: no less patience after a whole sentence",
        lambda: mock.patch.object(TurnTaker, "_patience_ms", as_patient),
        lambda entry: after_a_sentence(entry) == WHOLE_SENTENCE_MS,
        in_the_table=False,
        unclear=lambda entry: after_a_sentence(entry) not in (None, WHOLE_SENTENCE_MS),
    ),
)


def first(rule: Rule, entries: Sequence[Entry]) -> int | None:
    """The number of the first fact that a rule concerns; None if there is none, or if that is unclear."""
    for entry in entries:
        if entry.verdict != "late" and rule.unclear(entry):
            return None
        if entry.verdict != "late" and rule.concerns(entry):
            return entry.n
    return None


def caught(number: int, folder: Path) -> str:
    """Replay a recording under a changed rule; what is wrong with the outcome, or an empty text."""
    rule = RULES[number]
    expected = first(rule, read_recording(folder)[1])
    with rule.change():
        replayed = pipeline.replay(folder)
        parting = rerun.rerun(read(find(str(folder), folder))).parting
    found = {"pipeline": replayed.at_fact + 1 if replayed.why else None}
    if rule.in_the_table:
        found["transitions"] = parting.recorded.n if parting else None
    wrong = [f"{depth} at {n or 'no fact'}" for depth, n in found.items() if n != expected]
    return f"{rule.name}: {folder.name}: expected at fact {expected}, {', '.join(wrong)}" if wrong else ""
