"""What `aura logs` understands of logs and journals, whole or broken."""

from __future__ import annotations

import functools
import gzip
import json
import os
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from aura.core import events as ev
from aura.core.fsm import Step
from aura.core.journal import Header, Lost, encode
from aura.core.timing import PARTS, TurnTimes
from aura.session.session import Fact
from aura.session.taps import journal_tap, log_tap, timing_tap
from aura.tools.logs import collect, lines, sources
from aura.tools.logs.collect import Wanted
from aura.tools.logs.exact import TOTAL, exact, shares, shown
from aura.tools.logs.model import ConversationRow
from aura.tools.logs.read import Found, read
from tests import test_golden as golden
from tests.script import stage

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = BEGAN + timedelta(hours=1)


# ---- real conversations, as their taps write them ----------------------------------------------------------------


@functools.cache
def facts_of(name: str) -> tuple[Fact, ...]:
    """The facts of a scripted conversation with the real session (tests/test_golden.py), on a virtual clock."""

    async def play() -> tuple[Fact, ...]:
        async with stage([golden.ANSWER, "Ten euros.", "Ten euros."], token_s=0.03) as scene:
            await golden.SCRIPTS[name](scene)
        return tuple(scene.facts)

    return trio.run(play, clock=MockClock(autojump_threshold=0))


def journal_of(name: str, session: str = "sess_1", began: datetime = BEGAN) -> bytes:
    """Its journal, with words."""
    written = [encode(Header(session, began.isoformat()))]
    tap = journal_tap(written.append, words=True)
    for fact in facts_of(name):
        tap(fact)
    return b"".join(written)


def log_of(name: str, session: str = "sess_1", began: datetime = BEGAN, **more: Any) -> bytes:
    """Its lines of the log, at the level `info`."""

    def times(account: TurnTimes) -> None:
        structlog.get_logger().info("turn.times", **msgspec.to_builtins(account))

    written = [log_line("conversation.begun", began, session=session, path="/v1/realtime", **more)]
    taps, at = (log_tap(words=True), timing_tap(times)), 0.0
    for fact in facts_of(name):
        at = fact.at
        with capture_logs() as told:
            for tap in taps:
                tap(fact)
        for line in told:
            fields = {name: value for name, value in line.items() if name not in ("event", "log_level")}
            if line["log_level"] != "debug":
                written.append(log_line(line["event"], began, at, line["log_level"], **fields, session=session, **more))
    written.append(log_line("conversation.ended", began, at, why=facts_of(name)[-1].event.why, session=session))  # type: ignore[attr-defined]
    return b"".join(written)


def log_line(event: str, began: datetime = BEGAN, at: float = 0.0, level: str = "info", **fields: Any) -> bytes:
    """One line of the log."""
    time = (began + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return msgspec.json.encode({"time": time, "level": level, "event": event, **fields}) + b"\n"


def call_line(at: float, session: str = "sess_1", **fields: Any) -> bytes:
    """The line of one provider call."""
    known = {"part": "chat", "provider": "openai", "total_ms": 400.0, "ttfb_ms": 200.0, "outcome": "ok", **fields}
    return log_line("provider.call", BEGAN, at, session=session, turn=1, reply=1, elapsed_ms=at * 1000, **known)


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def only(found: Found) -> ConversationRow:
    assert [row.session for row in found.rows] == ["sess_1"]
    return found.rows[0]


def told(found: Found) -> list[str]:
    return found.problems.lines()


def shape(row: ConversationRow, *without: str) -> dict[str, Any]:
    """A row as plain values, times to a tenth of a millisecond (what a log has)."""
    plain = msgspec.to_builtins(row)
    for name in ("source", "facts", "event_counts", "fact_count", "calls", *without):
        del plain[name]
    return rounded(plain)  # type: ignore[no-any-return]


def rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 3)
        case list():
            return [rounded(inner) for inner in value]
        case dict():
            return {name: rounded(inner) for name, inner in value.items()}
        case _:
            return value


# ---- the same conversation from both sides -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["barge_in", "backchannel", "failure"])
def test_a_log_tells_the_same_as_the_journal(tmp_path, name):
    log, journal = put(tmp_path, "a.log", log_of(name)), put(tmp_path, "sess_1.jsonl", journal_of(name))
    from_log, from_journal = read([log], now=NOW), read([journal], now=NOW)

    assert told(from_log) == told(from_journal) == []
    assert shape(only(from_log)) == shape(only(from_journal))


def test_what_a_journal_and_a_log_both_tell_is_counted_once(tmp_path):
    extra = call_line(1.0, outcome="unavailable") + call_line(1.1)
    put(tmp_path, "server.log", log_of("failure", tenant="acme") + extra)
    put(tmp_path, "journals/2026-03-01/sess_1.jsonl", journal_of("failure"))
    alone = only(read([tmp_path / "journals"], now=NOW))

    both = only(read([tmp_path], now=NOW))
    assert shape(both, "errors", "tenant") == shape(alone, "errors", "tenant")
    assert both.fact_count == alone.fact_count
    assert (both.tenant, len(both.calls)) == ("acme", 2)
    assert both.event_counts.keys() > alone.event_counts.keys()
    # the failed call is none of the three failures of a stage: it was another provider's
    assert len(alone.errors) == 3
    assert [error.provider for error in both.errors] == ["openai", "aura", "aura", "aura"]


def test_a_failed_call_and_the_failure_of_its_stage_are_one_error(tmp_path):
    text = (
        call_line(1.0, outcome="timed_out")
        + log_line("stage.failed", at=1.4, level="warning", session="sess_1", stage="think", provider="openai",
                   code="timed_out", error="no answer in 8 s")
        + log_line("StageFailed", at=1.4, session="sess_1", was="thinking", now="thinking", elapsed_ms=1400.0, reply=1,
                   stage="think", code="timed_out", retryable=True, provider="openai")
        + call_line(2.0, outcome="rate_limited", part="stt")
    )  # fmt: skip
    errors = only(read([put(tmp_path, "a.log", text)], now=NOW)).errors

    assert [(e.provider, e.code, e.where, e.text) for e in errors] == [
        ("openai", "timed_out", "think", "no answer in 8 s"),
        ("openai", "rate_limited", "stt", ""),
    ]


def test_a_barge_in_is_told_with_its_numbers(tmp_path):
    row = only(read([put(tmp_path, "j.jsonl", journal_of("barge_in"))], now=NOW))

    (over,) = row.overlaps
    assert (over.confirmed, over.why, over.voiced_ms, over.needed_ms) == (True, "sustained", 600, 600)
    assert [turn.outcome for turn in row.turns] == ["cancelled", "completed"]
    assert [turn.said for turn in row.turns] == ["what time does the museum open", "wait, how much is a ticket"]
    assert [move.state for move in row.moves][:5] == ["listening", "thinking", "speaking", "interrupted", "listening"]
    assert row.outcome == "the client left"
    assert row.started == BEGAN.isoformat()


def test_the_recording_of_a_conversation_wins_over_its_journal_without_words(tmp_path):
    mute = journal_of("plain").replace(b"what time does the museum open", b"")
    put(tmp_path, "journals/2026-03-01/sess_1.jsonl", mute)
    put(tmp_path, "recordings/2026-03-01/sess_1/journal.jsonl", journal_of("plain"))
    put(tmp_path, "recordings/2026-03-01/sess_1/tape.jsonl", b'{"aura_tape":1,"session":"sess_1"}\n[0.1,1]\n')
    row = only(found := read([tmp_path], now=NOW))

    assert told(found) == []
    assert row.turns[0].said == "what time does the museum open"
    assert "recordings" in row.source


def test_facts_are_kept_with_all_that_they_tell_where_they_are_asked_for(tmp_path):
    path = put(tmp_path, "j.jsonl", journal_of("plain"))
    assert only(read([path])).facts == []

    facts = only(read([path], keep="all")).facts
    assert [fact.event for fact in facts] == [type(fact.event).__name__ for fact in facts_of("plain")]
    ended = next(fact for fact in facts if fact.event == "TurnEnded")
    assert ended.fields["cause"] == "silence"
    assert ended.effects[0]["type"] == "EndTurn"

    from_log = only(read([put(tmp_path, "a.log", log_of("plain"))], keep="all")).facts
    quiet = {"SpeechSuspected", "SuspicionPassed"}
    assert [fact.event for fact in from_log] == [fact.event for fact in facts if fact.event not in quiet]
    assert next(fact for fact in from_log if fact.event == "TurnEnded").fields == ended.fields


def test_the_facts_of_the_only_conversation_are_kept_and_of_many_none(tmp_path):
    one = put(tmp_path, "1.jsonl", journal_of("plain", "sess_1"))
    two = put(tmp_path, "2.jsonl", journal_of("plain", "sess_2"))

    assert read([one], keep="one").rows[0].facts
    assert [row.facts for row in read([one, two], keep="one").rows] == [[], []]


# ---- exact sums --------------------------------------------------------------------------------------------------

ms = st.floats(0, 60_000, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(ms, min_size=6, max_size=6), st.integers(-6, 6), st.sampled_from([None, *PARTS]))
def test_parts_sum_exactly_to_the_whole_read_and_shown(parts, off_us, masked):
    known: dict[str, Any] = dict(zip(PARTS, parts, strict=True))
    total = max(0.0, round(sum(parts) + off_us / 1000, 3))
    if masked:
        known[masked] = "***"
    account = exact(TurnTimes(1, 1, False, {**known, TOTAL: total}))

    assert account is not None
    assert (
        sum(round(account.ms[name] * 1000) for name in PARTS) == round(account.ms[TOTAL] * 1000) == round(total * 1000)
    )
    assert all(account.ms[name] >= 0 for name in PARTS)
    whole, shown_total = shown(account.ms)
    assert sum(whole) == shown_total == round(total)
    assert all(abs(part - account.ms[name]) < 1 for part, name in zip(whole, PARTS, strict=True))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9))
def test_shares_are_next_to_their_parts(parts):
    whole = shares(parts, round(sum(parts)))
    assert sum(whole) == round(sum(parts))
    assert all(abs(a - b) <= 1 for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize(
    "ms",
    [
        {},
        {TOTAL: 100.0},
        {**dict.fromkeys(PARTS, 10.0), TOTAL: 100.0},
        {**dict.fromkeys(PARTS, 10.0), "stt": -10.0, TOTAL: 40.0},
        {**dict.fromkeys(PARTS, 10.0), TOTAL: float("inf")},
    ],
)
def test_times_that_contradict_each_other_are_refused_and_named(tmp_path, ms):
    assert exact(TurnTimes(1, 1, False, ms)) is None
    if all(value < float("inf") for value in ms.values()):
        line = log_line("turn.times", session="sess_1", reply=1, turn=1, draft=False, ms=ms)
        found = read([put(tmp_path, "a.log", log_line("conversation.begun", session="sess_1") + line)])
        assert only(found).turns == []
        assert "a.log:2: the parts of a turn's time do not sum to its whole" in told(found)[0]


# ---- sources -----------------------------------------------------------------------------------------------------


def halves(data: bytes) -> tuple[bytes, bytes]:
    rows = data.splitlines(keepends=True)
    return b"".join(rows[: len(rows) // 2]), b"".join(rows[len(rows) // 2 :])


@pytest.mark.parametrize(
    "names", [("aura.log.2.gz", "aura.log"), ("aura.log-20260301", "aura.log"), ("z.log", "a.log")]
)
def test_rotated_and_packed_logs_are_read_in_the_order_of_time(tmp_path, names):
    first, second = halves(log_of("barge_in"))
    data = gzip.compress(first) if names[0].endswith(".gz") else first
    put(tmp_path, names[0], data)
    put(tmp_path, names[1], second)
    whole = only(read([put(tmp_path / "whole", "a.log", log_of("barge_in"))], now=NOW))

    for arguments in ([tmp_path / names[1], tmp_path / names[0]], [tmp_path / names[0], tmp_path / names[1]]):
        found = read(arguments, now=NOW)
        assert told(found) == []
        assert shape(only(found)) == shape(whole)


def test_a_folder_is_searched_and_every_file_read_once(tmp_path):
    put(tmp_path, "server.log", log_of("plain", "sess_log"))
    put(tmp_path, "old/server.log.1.gz", gzip.compress(log_of("plain", "sess_log")))  # the same log, packed
    put(tmp_path, "journals/2026-03-01/sess_j.jsonl", journal_of("plain", "sess_j"))
    put(tmp_path, "notes.txt", b"nothing of ours")
    put(tmp_path, "server.log.3", b"")
    found = read([tmp_path, tmp_path / "server.log", tmp_path / "journals"], now=NOW)

    assert [row.session for row in found.rows] == ["sess_j", "sess_log"]
    assert [len(row.turns) for row in found.rows] == [1, 1]
    assert told(found) == [f"{tmp_path}/server.log.3: is empty"]


def test_a_pipe_is_read_once_with_everything_mixed(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    mixed = gzip.compress(journal_of("plain", "sess_a") + log_of("plain", "sess_b") + journal_of("plain", "sess_c"))
    writer = threading.Thread(target=pipe.write_bytes, args=[mixed])
    writer.start()
    found = read([pipe], now=NOW)

    assert told(found) == []
    assert {row.session: len(row.turns) for row in found.rows} == {"sess_a": 1, "sess_b": 1, "sess_c": 1}
    writer.join()


def test_what_collects_logs_may_put_something_before_each_line(tmp_path):
    prefixed = b"".join(b"aura-1  | " + line for line in log_of("plain").splitlines(keepends=True))
    found = read([put(tmp_path, "compose.log", prefixed)], now=NOW)

    assert told(found) == []
    assert len(only(found).turns) == 1


def test_only_the_conversation_that_is_wanted_is_kept(tmp_path):
    put(tmp_path, "a.log", log_of("plain", "sess_ab1") + log_of("plain", "sess_ab2") + log_of("plain", "sess_c"))
    put(tmp_path, "j.jsonl", journal_of("plain", "sess_ab3"))

    assert {row.session for row in read([tmp_path], wanted=Wanted("ab")).rows} == {"sess_ab1", "sess_ab2", "sess_ab3"}
    assert {row.session for row in read([tmp_path], wanted=Wanted("sess_c")).rows} == {"sess_c"}


def test_a_line_may_be_cut_anywhere_by_the_blocks():
    data = b"".join(b"%d" % number + b"x" * (number % 50) + b"\n" for number in range(200)) + b"open"
    for size in (1, 7, 64, 10_000):
        cutter, got = lines.Cutter(lambda *_: None), []
        for at in range(0, len(data), size):
            new = cutter.cut(data[at : at + size])
            cutter.number += len(new)
            got += new
        assert got == data.split(b"\n")[:-1]
        assert (cutter.rest, cutter.number) == (b"open", 201)


# ---- conversations that have not ended ----------------------------------------------------------------------------


def test_how_a_conversation_without_an_end_is_called(tmp_path):
    begun = log_of("plain").splitlines(keepends=True)[:-2]
    running = put(tmp_path, "a.log", b"".join(begun))
    assert only(read([running], now=BEGAN + timedelta(minutes=5))).outcome == "running"
    assert only(read([running], now=BEGAN + timedelta(days=1))).outcome == "cut short"

    restarted = log_line("server.listening", at=60, host="127.0.0.1", port=1)
    crashed = put(tmp_path, "b.log", b"".join(begun) + restarted)
    assert only(read([crashed], now=BEGAN + timedelta(minutes=5))).outcome == "cut short"


# ---- bad input: the readable part, and one line with the place ----------------------------------------------------


def entries(name: str = "plain") -> list[bytes]:
    return journal_of(name).splitlines(keepends=True)


def swapped(rows: list[bytes], at: int) -> list[bytes]:
    return [*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]


def line_of(n: object, at: float, event: str) -> bytes:
    return msgspec.json.encode({"n": n, "at": at, "event": {"type": event}, "was": "idle", "now": "idle"}) + b"\n"


def put_in(rows: list[bytes], at: int, line: bytes, gone: int = 0) -> list[bytes]:
    return [*rows[:at], line, *rows[at + gone :]]


BAD_JOURNALS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "cut in a line": (lambda rows: [*rows[:6], rows[6][:30]], ":7: cut short in the middle of its last line"),
    "out of order": (lambda rows: swapped(rows, 4), ":5: facts are missing: 1 between number 3 and 5"),
    "a fact is gone": (lambda rows: rows[:5] + rows[6:], ":6: facts are missing: 1 between number 4 and 6"),
    "a line twice": (lambda rows: [*rows[:5], *rows[4:]], ":6: facts are out of order or twice: number 4 after 4"),
    "no header": (
        lambda rows: rows[1:],
        ":1: the journal has no first line: its session is taken from the file's name",
    ),
    "an unknown event": (lambda rows: put_in(rows, 3, line_of(3, 0.1, "Sneezed"), 1), ":4: unknown event Sneezed"),
    "a wrong type": (
        lambda rows: put_in(rows, 3, line_of("three", 0.1, "TurnEnded"), 1),
        ":4: an entry cannot be read (Expected `int`, got `str` - at `$.n`)",
    ),
    "binary inside": (lambda rows: put_in(rows, 3, b"\x00\x01\x02\n"), ":4: no text (binary or not UTF-8), skipped: "),
    "not UTF-8": (lambda rows: put_in(rows, 3, b"caf\xe9\n"), ":4: no text (binary or not UTF-8), skipped: “caf"),
    "a broken line": (
        lambda rows: put_in(rows, 3, b'{"n":3,"at":\n', 1),
        ':4: a broken line, skipped: “{"n":3,"at":”',
    ),
    "the clock runs backwards": (
        lambda rows: put_in(rows, 9, rows[9].replace(b'"at":', b'"at":0.001,"was_at":'), 1),
        ":10: the clock runs backwards: 0.001 s after",
    ),
}


@pytest.mark.parametrize("name", BAD_JOURNALS)
def test_a_bad_journal_is_read_as_far_as_it_goes_and_its_fault_named(tmp_path, name):
    harm, expected = BAD_JOURNALS[name]
    path = put(tmp_path, "sess_1.jsonl", b"".join(harm(entries())))
    found = read([path], now=NOW)

    assert told(found)[0].startswith(f"{path}{expected}"), told(found)
    assert only(found).fact_count >= 4


def test_journals_of_another_format_are_refused_by_name_and_the_rest_is_read(tmp_path):
    old = put(tmp_path, "old.jsonl", journal_of("plain", "sess_0").replace(b'"aura_journal":2', b'"aura_journal":1'))
    put(tmp_path, "sess_1.jsonl", journal_of("plain"))
    found = read([tmp_path], now=NOW)

    assert only(found).turns
    assert told(found) == [f"{old}:1: a journal of format 1, by an older AURA: not read (this one reads 2)"]


def test_lost_lines_are_counted_once_whether_marked_or_not(tmp_path):
    rows = entries("barge_in")
    marked = [*rows[:4], encode(Lost(2)), *rows[6:10], *rows[11:]]
    found = read([put(tmp_path, "j.jsonl", b"".join(marked))], now=NOW)

    assert only(found).lost == 3
    assert len(told(found)) == 1  # the marked ones are no news


BAD_LOGS: dict[str, tuple[bytes, str]] = {
    "a traceback": (b"Traceback (most recent call last):\nKeyError\n", "not a line of a log or journal: “Trace"),
    "foreign JSON": (b'{"msg":"hello"}\n', "not a line of a log or journal: “{"),
    "a number": (b"42\n", "not a line of a log or journal: “42”"),
    "broken": (b'{"time":"2026-03-01T12:00:00.000000Z","lev\n', "a broken line, skipped: "),
    "binary": (b"\x00\xff\x00\n", "no text (binary or not UTF-8), skipped: "),
    "clock": (log_line("x", BEGAN - timedelta(hours=1)), "the clock runs backwards: 2026-03-01T11:00:00.000000Z after"),
    "event": (
        log_line("Sneezed", at=2.0, session="sess_1", was="idle", now="idle", elapsed_ms=2000.0, turn=0),
        "unknown event Sneezed",
    ),
    "deep": (b"[" * 3000 + b"]" * 3000 + b"\n", "not a line of a log or journal: "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_LOGS)
def test_a_bad_line_in_a_log_is_named_and_the_rest_is_read(tmp_path, name):
    bad, expected = BAD_LOGS[name]
    rows = log_of("plain").splitlines(keepends=True)
    path = put(tmp_path, "a.log", b"".join([*rows[:5], bad, *rows[5:]]))
    found = read([path], now=NOW)

    assert told(found)[0].startswith(f"{path}:6: {expected}"), told(found)
    assert len(only(found).turns) == 1
    assert only(found).outcome == "the client left"


def test_lines_of_libraries_that_use_our_names_for_other_things_are_fine(tmp_path):
    odd = log_line("x", at=10.0, session="sess_1", turn="left", code=[1], elapsed_ms={})
    found = read([put(tmp_path, "a.log", log_of("plain") + odd)], now=NOW)

    assert told(found) == []
    assert only(found).event_counts["x"] == 1


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("empty.log", b"", ": is empty"),
        ("cut.log.gz", None, ": the gzip archive is cut short"),
        ("bad.log.gz", b"\x1f\x8b\x08\x00" + b"\x00" * 6 + b"\xff" * 40, ": the gzip archive is damaged"),
        ("photo.jsonl", b"\x89PNG\r\n\x1a\n\x00\x00" * 3, ":1: no text (binary or not UTF-8)"),
        ("tape.jsonl", b'{"aura_tape":1,"session":"s"}\n[0.1,1]\n[0.2,1]\n', ":1: the tape of a recording"),
        ("missing.log", None, ": no such file"),
    ],
)  # fmt: skip
def test_files_that_are_no_logs_are_told_in_one_line(tmp_path, name, data, expected):
    path = tmp_path / name
    if name == "cut.log.gz":
        noise = random.Random(1).randbytes(9000).hex().encode()
        data = gzip.compress(log_of("barge_in") + noise)[:-4000]
    if data is not None:
        put(tmp_path, name, data)
    found = read([path], now=NOW)

    assert told(found)[0].startswith(f"{path}{expected}")
    assert len(told(found)) == 1
    assert bool(found.rows) == (name == "cut.log.gz")


def test_a_folder_with_nothing_in_it_says_so(tmp_path):
    assert told(read([tmp_path])) == [f"{tmp_path}: no logs or journals in this folder"]


def test_an_endless_line_is_skipped_without_being_kept():
    troubles: list[tuple[int, str]] = []
    cutter, got = lines.Cutter(lambda *trouble: troubles.append(trouble), longest=1 << 20), list[bytes]()
    for block in (b"1\n2\n", *[b"x" * 100_000] * 50, b"x\n4\n5", b"\n"):
        new = cutter.cut(block)
        cutter.number += len(new)
        got += new
        assert len(cutter.rest) <= 1 << 20

    assert troubles == [(3, "a line of more than 1 MB, skipped")]
    assert got == [b"1", b"2", b"4", b"5"]
    assert cutter.number == 6


def test_the_same_trouble_is_told_once_and_counted(tmp_path):
    for number in range(9):
        put(tmp_path, f"{number}.log", log_of("plain", f"sess_{number}") + b"oops\n" * 13)
    assert told(read([tmp_path], now=NOW))[0].endswith(
        "not a line of a log or journal: “oops” (and 12 more, the last in line 27)"
    )
    assert told(read([tmp_path], now=NOW))[-1] == "4 more files: not a line of a log or journal"


def test_what_would_steer_a_terminal_is_blotted_out(tmp_path):
    found = read([put(tmp_path, "a.log", b"\x1b]0;owned\x07\x1b[2J\n")])
    assert "\x1b" not in told(found)[0]
    assert "owned" in told(found)[0]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nothing_that_is_done_to_the_files_stops_the_reading(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    for name, good in (("a.log", log_of("barge_in")), ("j.jsonl", journal_of("barge_in"))):
        put(folder, name, damaged(good, data))
    found = read([folder], keep="all", now=NOW)

    for row in found.rows:
        for turn in row.turns:
            assert sum(round(turn.times.ms[part] * 1000) for part in PARTS) == round(turn.times.ms[TOTAL] * 1000)
    assert all("\n" not in line for line in told(found))
    msgspec.json.encode([msgspec.structs.replace(row, source="") for row in found.rows])


def damaged(good: bytes, data: st.DataObject) -> bytes:
    """Good lines with one kind of harm done to them."""
    rows = good.splitlines(keepends=True)
    at, other = (data.draw(st.integers(0, len(rows) - 1)) for _ in range(2))
    match data.draw(st.sampled_from(["cut", "swap", "drop", "flip", "insert", "retype", "none"])):
        case "cut":
            return good[: data.draw(st.integers(0, len(good)))]
        case "swap":
            rows[at], rows[other] = rows[other], rows[at]
        case "drop":
            del rows[at]
        case "flip":
            place = data.draw(st.integers(0, len(rows[at]) - 1))
            rows[at] = rows[at][:place] + bytes([data.draw(st.integers(0, 255))]) + rows[at][place + 1 :]
        case "insert":
            rows.insert(at, data.draw(st.binary(max_size=40)) + b"\n")
        case "retype":
            fields = json.loads(rows[at])
            name = data.draw(st.sampled_from(sorted(fields)))
            fields[name] = data.draw(st.sampled_from([None, [], {}, "x", -1, 1e300, True, {"type": "SpeechPaused"}]))
            rows[at] = json.dumps(fields).encode() + b"\n"
    return b"".join(rows)


# ---- the rest of the vocabulary ------------------------------------------------------------------------------------


def test_every_fact_is_known_to_the_reader():
    assert collect.QUIET.issubset(kind.__name__ for kind in ev.EVENTS)
    for kind in ev.EVENTS:
        known = set(kind.__struct_fields__) - {
            "at_ms",
            "cause",
            "words",
            "name",
            "index",
            "chars",
            "retryable",
            "what",
            "on",
        }
        assert known <= set(collect.shapes.Fact.__struct_fields__), kind


@pytest.mark.parametrize(
    ("name", "read_"),
    [("x.jsonl", True), ("x.log", True), ("x.log.12", True), ("x.log-20260301.gz", True), ("x.jsonl.gz", True),
     ("tape.jsonl", False), ("x.flac", False), ("catalog", False), ("log", False), ("x.login", False)],
)  # fmt: skip
def test_which_files_of_a_folder_are_read(name, read_):
    assert sources.wanted(name) is read_


def test_a_step_is_what_the_timeline_is_given():
    assert Step.__struct_fields__ == ("verdict", "was", "now", "effects")
