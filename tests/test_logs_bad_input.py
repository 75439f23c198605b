"""Broken, foreign and empty input of `aura logs`: the readable part is read, the rest is named with its place."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.journal import Lost, encode
from aura.core.timing import PARTS
from aura.tools.logs import lines
from aura.tools.logs.exact import TOTAL
from aura.tools.logs.read import read
from tests.logs_samples import BEGAN, NOW, entries, journal_of, log_line, log_of, only, put, told


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
