"""A journal run again through the table: nothing differs, or the first thing that does is found where it is."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from aura.core import effects as fx
from aura.core import events as ev
from aura.core import fsm, machine
from aura.core.fsm import Conversation
from aura.core.guards import FsmSettings
from aura.core.journal import Entry, Header, Lost, Reader, decode, encode, redact
from aura.core.rerun import Outcome, Parting, rerun
from aura.core.table import STATES, TABLE, Row
from aura.tools.replay import show, step, transitions
from aura.tools.replay.source import find
from tests.test_journal import instances

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.jsonl"))
BARGE_IN = next(path for path in GOLDEN if path.stem == "barge_in")


def again(entries: Sequence[Entry | Lost], rules: FsmSettings | None = None, block: int = 1 << 16) -> Outcome:
    """What comes of a journal with these entries, read in blocks of this size."""
    header = Header("s", "", {"conversation": msgspec.to_builtins(rules or FsmSettings())})
    data = b"".join(map(encode, [header, *entries]))
    return rerun(Reader(data[i : i + block] for i in range(0, len(data), block)))


def stopped_in(outcome: Outcome) -> int | None:
    """Line where the run ended, if it ended early."""
    if outcome.parting:
        return outcome.parting.line
    return outcome.troubles[-1].line if outcome.troubles else None


def shown(where: str | Path, **options: Any) -> tuple[int, str]:
    """Exit code and output of the command."""
    out = io.StringIO()
    code = transitions.run(str(where), Path("nowhere"), console=Console(file=out, width=110), **options)
    return code, out.getvalue()


def write(path: Path, entries: Sequence[Entry | Lost], **settings_: Any) -> Path:
    path.write_bytes(b"".join(map(encode, [Header("sess_1", "2026-01-02T03:04:05Z", settings_), *entries])))
    return path


# ---- real conversations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_journal_is_decided_as_it_was(path: Path) -> None:
    code, text = shown(path)

    assert code == 0
    assert f"✓ {len(decode(path.read_bytes()).entries)} facts" in text


CHANGES = [
    Row(ev.SpeechSuspected, "speaking", "=", ""),
    Row(ev.SpeechStarted, "thinking speaking", "interrupted", "open_tentative"),
    Row(ev.OverlapConfirmed, "interrupted", "listening", "confirm"),
    Row(ev.ReplyStarted, "thinking", "listening"),
    Row(ev.PlayoutFinished, "thinking speaking", "thinking", "finish"),
]


@pytest.mark.parametrize("rule", CHANGES, ids=lambda rule: rule.event.__name__)
def test_a_changed_rule_is_caught_at_the_first_fact_it_is_about(rule: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    old = next(r for r in TABLE if (r.event, r.states, r.when) == (rule.event, rule.states, "") and r != rule)
    rows = [rule if row is old else row for row in TABLE]
    changed = type(fsm.MACHINE)(
        model=None,
        states=list(STATES),
        initial="idle",
        transitions=[machine.transition(row) for row in rows],
        auto_transitions=False,
    )
    entries = decode(BARGE_IN.read_bytes()).entries
    right = next(e for e in entries if type(e.event) is rule.event and e.was in rule.states.split())
    monkeypatch.setattr(fsm, "MACHINE", changed)

    code, text = shown(BARGE_IN)

    assert code == 1
    assert f"barge_in.jsonl:{right.n + 1}: fact {right.n} ({rule.event.__name__}) is decided otherwise" in text
    assert text.count("≠") >= 1


def test_the_settings_of_the_journal_are_the_rules(tmp_path: Path) -> None:
    facts = [ev.SpeechStarted(0), ev.SpeechPaused(900, 140), ev.TurnEnded(900, 550)]
    rules = FsmSettings(drafts_max=0, auto_reply=False)
    made = played(facts, rules)

    assert stopped_in(again(made, rules)) is None
    assert stopped_in(again(made)) == 3
    with pytest.raises(transitions.JournalError, match=r"j:1: settings\.conversation: Expected `int`"):
        shown(write(tmp_path / "j", made, conversation={"retries": "x"}))


# ---- any order of facts ------------------------------------------------------------------------------------------

FACT = st.one_of([instances(kind) for kind in ev.EVENTS if kind is not ev.SessionClosing])
BEGUN = [[entry.event for entry in decode(path.read_bytes()).entries[:-1]] for path in GOLDEN]
SOME = st.builds(
    lambda begun, length, more: [*begun[:length], *map(loose, more)],
    st.sampled_from(BEGUN),
    st.integers(1, max(map(len, BEGUN))),
    st.lists(FACT, max_size=15),
)
"""The beginning of a real conversation, and then anything."""


def loose(fact: Any) -> Any:
    """A fact that is about some reply."""
    return msgspec.structs.replace(fact, reply=-abs(fact.reply)) if isinstance(fact, ev.ReplyEvent) else fact


def played(facts: Sequence[ev.Event], rules: FsmSettings | None = None, *, words: bool = True) -> list[Entry]:
    """The journal of facts; one about some reply is mostly about one under way."""
    conversation = Conversation(rules)
    entries: list[Entry] = []
    for n, fact in enumerate(facts, 1):
        if isinstance(fact, ev.ReplyEvent) and fact.reply <= 0:
            alive = [answer.number for answer in (conversation.reply, conversation.draft) if answer]
            fact = msgspec.structs.replace(fact, reply=[*alive, 1, *alive][-fact.reply % (2 * len(alive) + 1)])
        decided = conversation.handle(fact)
        event, effects = fact, decided.effects
        if not words:
            event, effects = redact(fact), tuple(map(redact, effects))
        entries.append(Entry(n, n / 10, event, decided.was, decided.now, effects, str(decided.verdict)))  # type: ignore[arg-type]
    conversation.release()
    return entries


@settings(max_examples=100, deadline=None)
@given(
    facts=SOME,
    rules=st.builds(FsmSettings, st.integers(0, 2), st.integers(0, 3), st.booleans()),
    words=st.booleans(),
    block=st.sampled_from([7, 1000, 1 << 16]),
)
def test_whatever_happened_is_decided_so_again(
    facts: list[ev.Event], rules: FsmSettings, words: bool, block: int
) -> None:
    entries = played(facts, rules, words=words)

    outcome = again(entries, rules, block)

    assert stopped_in(outcome) is None
    assert outcome.facts == len(entries)
    kinds = [entry.verdict for entry in entries]
    assert [outcome.moves, outcome.stays, outcome.late, outcome.bugs] == [
        kinds.count(kind) for kind in ("move", "stay", "late", "bug")
    ]


@settings(max_examples=100, deadline=None)
@given(facts=SOME, data=st.data())
def test_a_changed_decision_is_found_exactly_where_it_is(facts: list[ev.Event], data: st.DataObject) -> None:
    entries = played(facts)
    index = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(st.sampled_from(["n", "was", "now", "verdict", "effects"]))
    old = getattr(entries[index], field)
    new = {
        "n": st.integers(0, 100),
        "was": st.sampled_from(STATES),
        "now": st.sampled_from(STATES),
        "verdict": st.sampled_from(["move", "stay", "late", "bug", "?"]),
        "effects": st.lists(st.one_of([instances(kind) for kind in fx.EFFECTS]), max_size=2).map(tuple),
    }[field]
    entries[index] = msgspec.structs.replace(
        entries[index], **{field: data.draw(new.filter(lambda value: value != old))}
    )

    outcome = again(entries)

    assert stopped_in(outcome) == index + 2
    assert outcome.facts == index + (outcome.parting is not None)
    assert outcome.context[outcome.stopped_at] == entries[index]


@settings(max_examples=100, deadline=None)
@given(facts=SOME, data=st.data())
def test_a_changed_fact_is_found_where_it_first_matters(facts: list[ev.Event], data: st.DataObject) -> None:
    entries = played(facts)
    index = data.draw(st.integers(0, len(entries) - 1))
    entries[index] = msgspec.structs.replace(entries[index], event=data.draw(FACT))
    conversation = Conversation()
    matters = None
    for line, entry in enumerate(entries, 2):
        now = conversation.handle(entry.event)
        if matters is None and (entry.now, entry.verdict, entry.effects) != (now.now, now.verdict, now.effects):
            matters = line
    conversation.release()

    assert stopped_in(again(entries)) == matters


# ---- what is shown -----------------------------------------------------------------------------------------------


def changed(index: int, **changes: Any) -> list[Entry]:
    entries = list(decode(BARGE_IN.read_bytes()).entries)
    entries[index] = msgspec.structs.replace(entries[index], **changes)
    return entries


def test_a_divergence_is_shown_with_what_was_before_and_after_it(tmp_path: Path) -> None:
    code, text = shown(write(tmp_path / "j", changed(7, effects=(fx.EndTurn(1, 900), fx.ReleaseReply(1)))))
    head, before, sides, after = text.split("\n\n")[:4]

    assert code == 1
    assert "fact 8 (TurnEnded) is decided otherwise: orders" in head
    assert [line.split()[0] for line in before.splitlines()[2:] if line.split()[0].isdecimal()] == list("34567")
    assert after.splitlines()[2].split()[0] == "9"
    rows = [line for line in sides.splitlines() if "≠" in line]
    assert len(rows) == 2
    assert "0.90 s" in rows[0]
    assert "1.00 s" in rows[0]
    assert "reply 1 answers turn 1" in rows[1]
    assert "7 facts before it decided as recorded." in text


def test_json_is_one_object_with_both_sides(tmp_path: Path) -> None:
    code, text = shown(write(tmp_path / "j", changed(7, now="idle")), as_json=True)
    found = json.loads(text)

    assert code == 1
    assert text.count("\n") == 1
    assert (found["ok"], found["depth"], found["session"], found["facts"]) == (False, "transitions", "sess_1", 8)
    divergence = found["divergence"]
    assert (divergence["n"], divergence["line"], divergence["fields"]) == (8, 9, ["now"])
    assert (divergence["expected"]["now"], divergence["actual"]["now"]) == ("idle", "thinking")
    assert msgspec.convert(divergence["actual"], Entry) == decode(BARGE_IN.read_bytes()).entries[7]
    good = json.loads(shown(BARGE_IN, as_json=True)[1])
    assert (good["ok"], good["divergence"], good["troubles"]) == (True, None, [])


def test_every_order_and_fact_has_words() -> None:
    assert set(show.WORDS) == set(fx.EFFECTS)


@settings(max_examples=15, deadline=None)
@given(facts=SOME, data=st.data())
def test_anything_can_be_shown_and_nothing_moves_the_cursor(facts: list[ev.Event], data: st.DataObject) -> None:
    entries = played(facts)
    index = data.draw(st.integers(0, len(entries)))
    expected = entries[index] if index < len(entries) else None
    actual = data.draw(st.sampled_from([*entries, None] if expected else entries))
    out = io.StringIO()

    show.show_divergence(Console(file=out, width=100), entries, index, expected, actual, "a\x1b[2Jb")

    assert "✗ a·[2Jb" in out.getvalue()
    assert all(char.isprintable() or char == "\n" for char in out.getvalue())
    assert json.loads(msgspec.json.encode(show.divergence_data(expected, actual, "why")))["why"] == "why"


def test_where_one_run_has_ended_the_other_is_shown_alone() -> None:
    entries = decode(BARGE_IN.read_bytes()).entries
    rows = show.compare(entries[-1], None)

    assert rows[0] == ("fact", "SessionClosing why the client left", "nothing: it has ended")
    assert {right for _, _, right in rows[1:]} == {""}
    assert show.compare(None, entries[-1])[0][1:] == rows[0][:0:-1]


def test_orders_that_read_alike_are_told_apart() -> None:
    left = msgspec.structs.replace(
        decode(BARGE_IN.read_bytes()).entries[0], effects=(fx.StartReply(1, 1, "say", False),)
    )
    right = msgspec.structs.replace(left, effects=(fx.StartReply(1, 2, "say", False),))
    [row] = [row for row in show.compare(left, right) if row[1] != row[2]]

    assert "'turn': 1" in row[1]
    assert "'turn': 2" in row[2]


# ---- step by step ------------------------------------------------------------------------------------------------


def walked(path: Path, commands: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """Exit code, and the first line of everything that was shown."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(commands.encode())))
    code, text = shown(path, step=True)
    return code, [line for line in text.splitlines() if line.startswith(("─ fact", "there is"))]


def test_a_walk_obeys_commands_from_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    code, lines = walked(BARGE_IN, "n\n\np\ns\nt\ng 5\n/HoldOutput\n/\ng 99\nq\nn\n", monkeypatch)
    numbers = [int(line.split()[2]) for line in lines if line.startswith("─")]
    entries = decode(BARGE_IN.read_bytes()).entries
    hold = next(e.n for e in entries if any(isinstance(effect, fx.HoldOutput) for effect in e.effects))

    assert code == 0
    assert numbers == [1, 2, 3, 2, 8, hold, 5, hold, hold]
    assert "there is no fact 99" in lines


def test_a_walk_shows_what_the_table_knew() -> None:
    there = step.begin(find(str(BARGE_IN), Path("nowhere")))
    held = next(frame for frame in there.frames if frame.entry.now == "interrupted")
    first = there.frames[3]

    assert (held.turn, held.reply, held.source, held.known, held.held) == (2, 1, "speech", True, "speaking")
    assert (first.reply, first.draft, first.replay) == (0, 1, "same")
    line, mark = step.lane(there, 80)
    assert len(line) == 79
    assert set(line.plain) == set("▁▃▄▆█")
    assert mark.plain == "▲ idle"


def test_a_walk_goes_to_the_divergence_and_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "j", changed(7, now="idle"))
    code, lines = walked(path, "d\nn\n", monkeypatch)

    assert code == 1
    assert "line 9 " in lines[1]
    assert lines[1].endswith("✗ decided otherwise today")
    assert lines[2].endswith("not run")


def test_a_walk_goes_past_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = decode(BARGE_IN.read_bytes()).entries
    path = write(tmp_path / "j", [*entries[:5], Lost(2), *entries[7:]])

    with pytest.raises(transitions.JournalError, match=r"j:7: 2 lines are missing"):
        walked(path, "g 8\n", monkeypatch)
    there = step.begin(find(str(path), tmp_path))
    assert [frame.replay for frame in there.frames[4:6]] == ["same", "not run"]
    assert there.obey("g 8") == ""
    assert there.frame.entry == entries[7]


def test_a_part_of_it_names_its_fields() -> None:
    entries = changed(7, now="idle", verdict="late")
    parting = again(entries).parting

    assert isinstance(parting, Parting)
    assert parting.fields == ("verdict", "now")
