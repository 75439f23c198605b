"""What `aura logs` understands of logs and journals, whole or broken."""

from __future__ import annotations

import gzip
import os
import threading
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core import events as ev
from aura.core.timing import PARTS, TurnTimes
from aura.tools.logs import collect, lines, sources, views
from aura.tools.logs.collect import Wanted
from aura.tools.logs.exact import TOTAL, exact, shares, shown
from aura.tools.logs.prices import Prices
from aura.tools.logs.read import read
from aura.tools.logs.views import Look
from tests.logs_samples import BEGAN, NOW, call_line, facts_of, journal_of, log_line, log_of, only, put, shape, told

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
            "start_ms",
            "end_ms",
            "aside",
            "status",
            "outcome",
            "took_ms",
            "waited_ms",
        }
        assert known <= set(collect.shapes.Fact.__struct_fields__), kind


@pytest.mark.parametrize(
    ("name", "read_"),
    [("x.jsonl", True), ("x.log", True), ("x.log.12", True), ("x.log-20260301.gz", True), ("x.jsonl.gz", True),
     ("tape.jsonl", False), ("x.flac", False), ("catalog", False), ("log", False), ("x.login", False)],
)  # fmt: skip
def test_which_files_of_a_folder_are_read(name, read_):
    assert sources.wanted(name) is read_


def test_without_detail_calls_that_went_well_are_summed_up_and_nothing_else_is_lost(tmp_path):
    calls = [call_line(at / 10, input_tokens=10, provider=("openai", "xai")[at % 2]) for at in range(6)]
    calls += [
        call_line(7.0, outcome="timed_out"),
        call_line(8.0, outcome="timed_out"),
        call_line(9.0, outcome="cancelled"),
    ]
    path = put(tmp_path, "a.log", log_of("barge_in") + b"".join(calls))
    full, lean = only(read([path], now=NOW)), only(read([path], now=NOW, detail=False))

    assert [(call.provider, call.outcome, call.count, call.input_tokens) for call in lean.calls] == [
        ("openai", "ok", 3, 30), ("xai", "ok", 3, 30), ("openai", "timed_out", 1, 0), ("openai", "timed_out", 1, 0),
        ("openai", "cancelled", 1, 0),
    ]  # fmt: skip
    assert shape(lean, "moves") == shape(full, "moves")
    assert (lean.moves, lean.event_counts, lean.fact_count) == ([], {}, full.fact_count)
    short = [views.conversations(Look([row], prices=Prices("", {}))) for row in (full, lean)]
    assert short[0] == short[1]


def test_what_is_left_out_in_whole_blocks_is_what_would_be_left_out_line_by_line(tmp_path, monkeypatch):
    text = b"".join(log_of("plain", f"sess_{n}", BEGAN + timedelta(minutes=n)) for n in range(20))
    path = put(tmp_path, "a.log", text + b"oops\n" + journal_of("plain", "sess_7b"))
    by_lines = [read([path], wanted=Wanted("sess_7"), now=NOW), read([path], wanted=Wanted(since=NOW), now=NOW)]
    monkeypatch.setattr(lines.blocks, "__defaults__", (700,))
    by_blocks = [read([path], wanted=Wanted("sess_7"), now=NOW), read([path], wanted=Wanted(since=NOW), now=NOW)]

    assert [[row.session for row in found.rows] for found in by_blocks] == [["sess_7b", "sess_7"], ["sess_7b"]]
    for whole, blocks in zip(by_lines, by_blocks, strict=True):
        assert [shape(row) for row in blocks.rows] == [shape(row) for row in whole.rows]
        assert set(told(blocks)) <= {f"{path}:{text.count(bytes([10])) + 1}: not a line of a log or journal: “oops”"}
