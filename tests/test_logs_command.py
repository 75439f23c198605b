"""`aura logs` as it is called: views, filters, forms, exit codes, following."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from aura.tools.logs import command, feed, follow
from aura.tools.logs.output import Output
from aura.tools.logs.problems import LogsError, Problems
from aura.tools.logs.select import make_filter
from tests.logs_samples import BEGAN, NOW, call_line, entries, journal_of, log_line, log_of, put

ROOT = Path(__file__).resolve().parents[1]


class Shown:
    """What a call wrote, and its exit code."""

    def __init__(self, *sources: Path | str, folder: Path = Path("nowhere"), width: int = 100, **options: Any) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.code = command.run(
            folder,
            sources,
            clock=lambda: NOW,
            out=Output(out, Console(file=out, width=width, highlight=False)),
            err=Console(file=err, width=width, highlight=False),
            **options,
        )
        self.out, self.err = out.getvalue(), err.getvalue()

    def json(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: three conversations, one of them also in a log."""
    folder = tmp_path / "data"
    put(folder, "journals/2026-03-01/sess_one.jsonl", journal_of("barge_in", "sess_one"))
    put(folder, "journals/2026-03-01/sess_two.jsonl", journal_of("plain", "sess_two", BEGAN + timedelta(minutes=20)))
    put(folder, "logs/server.log", log_of("failure", "sess_three", BEGAN + timedelta(minutes=40), tenant="acme"))
    return folder


# ---- at once -----------------------------------------------------------------------------------------------------


def test_without_a_name_it_shows_the_conversations_of_the_data_folder(data):
    shown = Shown(folder=data)

    assert (shown.code, shown.err) == (0, "")
    assert [shown.out.index(session) for session in ("one", "two", "three")] == sorted(
        shown.out.index(session) for session in ("one", "two", "three")
    )
    assert "3 conversations" in shown.out


@pytest.mark.parametrize(
    ("view", "expected"),
    [("turns", "where the time went"), ("errors", "unavailable"), ("interruptions", "it went on for 600 ms"),
     ("cost", "No provider calls")],
)  # fmt: skip
def test_views(data, view, expected):
    shown = Shown(data, **{view: True})
    assert expected in shown.out
    assert shown.code == 0


def test_several_views_are_shown_one_after_the_other(data):
    shown = Shown(data, turns=True, errors=True)
    assert shown.out.index("where the time went") < shown.out.index("unavailable")


def test_the_slowest_turns(data):
    lines = Shown(data, slowest=2, json=True).json()
    all_ = Shown(data, turns=True, json=True).json()
    assert [line["voice_to_voice_ms"] for line in lines] == sorted(
        (line["voice_to_voice_ms"] for line in all_), reverse=True
    )[:2]


@pytest.mark.parametrize("view", ["turns", "errors", "interruptions", "facts", "cost", None])
def test_json_and_csv_tell_the_same(data, view):
    put(data, "logs/calls.log", call_line(1.0, "sess_one", input_tokens=9))
    options = {view: True} if view else {}
    as_json, as_csv = Shown(data, json=True, **options).json(), Shown(data, csv=True, **options)

    rows = list(csv.DictReader(io.StringIO(as_csv.out)))
    assert len(rows) == len(as_json) > 0
    for row, line in zip(rows, as_json, strict=True):
        assert row["session"] == line["session"]


def test_filters_reach_the_rows(data):
    def sessions(**options: Any) -> list[str]:
        return [line["session"] for line in Shown(data, json=True, **options).json()]

    assert sessions(tenant="acme") == ["sess_three"]
    assert sessions(session="t") == ["sess_two", "sess_three"]
    assert sessions(since="45m") == ["sess_two", "sess_three"]
    assert sessions(until="50m") == ["sess_one"]
    assert sessions(state="interrupted") == ["sess_one"]
    assert sessions(event="StageFailed") == ["sess_three"]
    assert sessions(limit=1) == ["sess_three"]


def test_what_matches_nothing_is_no_failure_but_is_said(data):
    shown = Shown(data, event="StageFail")
    assert (shown.code, shown.out) == (0, "")
    assert shown.err.strip() == "nothing has --event StageFail; did you mean StageFailed?"


# ---- facts -------------------------------------------------------------------------------------------------------


def test_the_facts_of_one_conversation(data):
    shown = Shown(data, facts=True, session="one")
    assert shown.out.count("SpeechStarted") == 2
    assert "→ CancelReply reply 1  reason turn_detected" in shown.out
    assert [line["n"] for line in Shown(data, facts=True, session="one", json=True).json()] == list(
        range(1, len(entries("barge_in")))
    )


def test_one_conversation_has_to_be_named_where_there_are_more(data):
    with pytest.raises(LogsError, match="--facts shows one conversation, and there are 3: name one with --session"):
        Shown(data, facts=True)


def test_a_filter_that_leaves_one_conversation_names_it(data):
    assert "StageFailed" in Shown(data, facts=True, tenant="acme").out
    assert Shown(data, facts=True, since="45m", until="30m").out.startswith("sess_two")


# ---- files that it writes ----------------------------------------------------------------------------------------


def test_exports_get_the_conversations_that_are_looked_at_with_their_facts(data, tmp_path):
    html, trace, spans = (tmp_path / name for name in ("r.html", "t.json.gz", "s.json"))
    shown = Shown(data, session="one", html=html, perfetto=trace, otel=str(spans))

    assert (shown.code, shown.out) == (0, "")
    assert f"{html}: a report of 1 conversation, for a browser" in shown.err
    assert "sess_one" in html.read_text()
    assert "sess_two" not in html.read_text()
    assert b"SpeechStarted" in gzip.decompress(trace.read_bytes())
    assert json.loads(spans.read_bytes())


# ---- what can go wrong -------------------------------------------------------------------------------------------


def test_the_readable_part_is_shown_and_the_rest_named(tmp_path):
    bad = put(tmp_path, "bad.log", log_of("plain") + b"oops\n")
    shown = Shown(bad, tmp_path / "missing.log")

    assert shown.code == 2
    assert "1 conversation" in shown.out
    assert f"{bad}:" in shown.err
    assert f"{tmp_path}/missing.log: no such file" in shown.err.replace("\n", "")


def test_a_folder_without_anything_says_so(tmp_path):
    shown = Shown(tmp_path)
    assert (shown.code, shown.out) == (2, "")
    assert "no logs or journals in this folder" in shown.err.replace("\n", " ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"json": True, "csv": True}, "--json and --csv: choose one"),
        ({"json": True, "turns": True, "errors": True}, "--json writes one view at a time, not --turns and --errors"),
        ({"follow_on": True, "csv": True}, "--follow writes lines for people or --json"),
        ({"follow_on": True, "slowest": 3}, "--follow only shows what happens"),
        ({"since": "soon"}, "--since: cannot read “soon”"),
        ({}, "nowhere: there is no such folder yet; hold a conversation"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(options, message):
    with pytest.raises(LogsError, match=message) as refused:
        Shown(**options)
    assert "\n" not in str(refused.value)


def test_standard_input_is_not_followed():
    with pytest.raises(LogsError, match="reads files and folders"):
        Shown("-", follow_on=True, seconds=0)


def aura_logs(*arguments: object) -> list[str]:
    """The command in a process of its own."""
    code = "import sys; from pathlib import Path; from aura.tools.logs.command import run; "
    call = "sys.exit(run(Path('.'), sys.argv[2:], json=sys.argv[1] == 'json', limit=0))"
    return [sys.executable, "-c", code + call, *map(str, arguments)]


@pytest.mark.parametrize(("form", "extra", "expected"), [("json", b"oops\n", 2), ("table", b"", 0)])
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path, form, extra, expected):
    count = {"json": 2000, "table": 800}[form]  # more than a pipe holds
    rows = b"".join(log_line("conversation.begun", session=f"sess_{n}") for n in range(count))
    path = put(tmp_path, "a.log", rows + extra)
    process = subprocess.Popen(aura_logs(form, path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert process.stdout
    assert process.stderr
    with process:
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read().decode()
        assert process.wait() == expected, err
    assert err.count("\n") == len(extra) // 5
    assert "Traceback" not in err
    assert "Broken" not in err


def test_standard_input_is_read(tmp_path):
    done = subprocess.run(aura_logs("json", "-"), input=log_of("plain"), capture_output=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout)["turns"] == 1


# ---- as it happens -----------------------------------------------------------------------------------------------

Step = Callable[[], None]


def follow_while(places: list[Path], *steps: Step, since: str | None = None, facts: bool = False) -> list[follow.News]:
    """What is told while these things happen, one each second of a virtual clock."""
    told: list[follow.News] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                chosen = make_filter(NOW, since=since)
                await follow.follow(
                    places,
                    told.append,
                    chosen,
                    problems=problems,
                    now=lambda: NOW,
                    facts=facts,
                    seconds=len(steps) + 1.1,
                )

            nursery.start_soon(watch)
            for step in steps:
                await trio.sleep(1)
                step()

    problems = Problems()
    trio.run(main, clock=MockClock(autojump_threshold=0))
    return told


def kinds(told: list[follow.News]) -> list[str]:
    return [news.kind for news in told if news.kind != "fact"]


BARGE_IN = ["began", "turn", "overlap", "turn", "ended"]


def adds(path: Path, data: bytes) -> Step:
    def step() -> None:
        with path.open("ab") as file:
            file.write(data)

    return step


def test_what_is_written_is_told_and_what_was_there_is_not(tmp_path):
    path = put(tmp_path, "a.log", log_of("plain", "sess_old"))
    text = log_of("barge_in")
    told = follow_while([path], *(adds(path, part) for part in (text[:500], text[500:3000], text[3000:])))

    assert kinds(told) == BARGE_IN
    assert {news.row.session for news in told} == {"sess_1"}


def test_with_since_what_was_there_is_told_too(tmp_path):
    path = put(tmp_path, "a.log", log_of("barge_in"))
    assert kinds(follow_while([path], since="2h")) == BARGE_IN
    assert kinds(follow_while([path], since="1m")) == []


@pytest.mark.parametrize("how", ["moved", "cut", "late"])
def test_a_log_that_is_rotated_is_followed_on(tmp_path, how):
    path, text = tmp_path / "a.log", log_of("barge_in")
    first = text[: text.index(b"OverlapConfirmed")].rpartition(b"\n")[0] + b"\n"

    def rotate() -> None:
        if how == "cut":
            path.write_bytes(b"")
        elif how == "moved":
            path.rename(tmp_path / "a.log.1")
            path.write_bytes(b"")

    if how != "late":
        path.write_bytes(b"")
    told = follow_while([path], adds(path, first), rotate, adds(path, text[len(first) :]))
    assert kinds(told) == BARGE_IN


def test_new_journals_in_a_folder_are_followed_and_not_counted_twice(tmp_path):
    put(tmp_path, "server.log", b"")
    log, journal = log_of("barge_in"), journal_of("barge_in")
    told = follow_while(
        [tmp_path],
        adds(tmp_path / "server.log", log[:3000]),
        lambda: put(tmp_path, "journals/2026-03-01/sess_1.jsonl", journal) and None,
        adds(tmp_path / "server.log", log[3000:]),
        lambda: None,
    )
    assert sorted(kinds(told)) == sorted(BARGE_IN)


def test_a_conversation_that_is_over_is_forgotten(tmp_path):
    path = put(tmp_path, "a.log", b"")
    wait: list[Step] = [lambda: None] * 12
    told = follow_while([path], adds(path, log_of("plain")), *wait, adds(path, log_line("late", session="sess_1")))
    assert kinds(told) == ["began", "turn", "ended"]


def test_news_for_people_and_as_json(tmp_path):
    path = put(tmp_path, "a.log", b"")
    failed = call_line(1.0, outcome="timed_out", part="stt")
    told = follow_while([path], adds(path, log_of("barge_in") + failed), facts=True)
    console = Console(width=120, file=io.StringIO())
    lines = [feed.text(news, console).plain for news in told]

    for news, line in zip(told, lines, strict=True):
        assert line.startswith("12:00:")
        assert json.loads(json.dumps(feed.data(news)))["kind"] == news.kind
    text = "\n".join(lines)
    assert "stopped  it went on for 600 ms  (600 ms suffice)" in text
    assert "error    openai timed_out  stt" in text
    assert "ended    the client left" in text
    assert "2 turns, 1 barge-in, 1 error, p50" in text
    assert [line for line in lines if "TurnEnded" in line]
    times = [news.time for news in told]
    assert times == sorted(times)


def test_follow_through_the_command(tmp_path):
    path = put(tmp_path, "a.log", b"")
    writer = threading.Timer(0.05, adds(path, log_of("plain")))
    writer.start()
    shown = Shown(path, follow_on=True, json=True, turns=True, seconds=0.4)
    writer.join()

    assert [line["kind"] for line in shown.json()] == ["turn"]
    assert shown.code == 0


def test_single_calls_are_known_where_they_matter(data):
    put(data, "logs/calls.log", b"".join(call_line(at, "sess_one", input_tokens=10) for at in (1.0, 2.0, 600.0)))
    whole = Shown(data, session="one", json=True).json()[0]
    early = Shown(data, session="one", until=(BEGAN + timedelta(seconds=10)).isoformat(), json=True).json()[0]

    assert (whole["calls"], whole["input_tokens"]) == (3, 30)
    assert (early["calls"], early["input_tokens"]) == (2, 20)
    assert Shown(data, cost=True, json=True).json()[0]["ttfb_p50_ms"] == 200.0
