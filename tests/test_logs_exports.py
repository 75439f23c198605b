"""Conversations as an HTML report and as a Chrome trace."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import AuraError
from aura.core.timing import PARTS, TurnTimes
from aura.tools.logs import report_lanes as lanes
from aura.tools.logs.model import ConversationRow, TurnRow
from aura.tools.logs.perfetto import write_perfetto
from aura.tools.logs.prices import Price, Prices
from aura.tools.logs.read import read
from aura.tools.logs.report import write_html
from aura.tools.logs.report_figures import Figures
from tests.browser import chromium, connect, find_chromium
from tests.log_rows import STARTED_US, conversation, odd_rows, times

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.jsonl"))


@pytest.fixture(scope="module")
def held() -> list[ConversationRow]:
    """Conversations as they are read from real journals."""
    return [row for path in GOLDEN for row in read([path], keep="all").rows]


# ---- the report


class Tags(HTMLParser):
    """The elements of a page, their attributes, and the texts between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = defaultdict(list)
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes[name].append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data if self.tags[-1:] not in (["style"], ["script"]) else ""


def report(rows: list[ConversationRow], folder: Path, **more: Any) -> str:
    path = folder / "report.html"
    write_html(rows, path, **more)
    return path.read_text(encoding="utf-8")


def test_the_report_tells_the_figures_of_the_conversations(tmp_path: Path) -> None:
    text = Tags(report([conversation(), conversation("sess_2", lost=3)], tmp_path)).text
    for shown in (
        "800 ms",
        "1,200 ms",
        "backchannel",
        "sustained",
        "timed_out",
        "elevenlabs",
        "what time is it",
        "xai",
    ):
        assert shown in text, shown
    assert re.search(
        r"Conversations\s*2.*Turns\s*4.*Interruptions\s*2.*2 dismissed.*Errors\s*2.*Lines lost\s*3", text, re.S
    )
    assert "22 Nov 2026, 09:00:00 – 09:00:15 UTC" in text


def test_the_means_of_the_parts_sum_to_the_mean_of_voice_to_voice() -> None:
    figures = Figures([conversation(), conversation("sess_2", turns=[TurnRow(1.0, times(1, 333.333))])])
    assert sum(part.mean for part in figures.parts) == pytest.approx(figures.v2v.mean)


def test_time_that_no_part_explains_is_shown_as_other() -> None:
    told = TurnRow(1.0, TurnTimes(1, 1, False, {"stt": 100.0, "voice_to_voice": 700.0}))
    assert dict(lanes.parts(told.times)) | {} == dict.fromkeys(PARTS, 0.0) | {"stt": 100.0, "other": 600.0}


@cache
def usual() -> Tags:
    """A report in which there is something of everything."""
    with TemporaryDirectory() as folder:
        rows = [
            conversation(),
            conversation("b", "", lost=1),
            conversation("c", turns=[TurnRow(1.0, times(), "failed")]),
        ]
        return Tags(report(rows, Path(folder)))


@given(st.lists(odd_rows, max_size=3))
@settings(max_examples=15, deadline=None)
def test_whatever_stands_in_a_log_the_report_is_made_of_its_own_elements_only(rows: list[ConversationRow]) -> None:
    with TemporaryDirectory() as folder:
        page = report(rows, Path(folder))
    odd, plain = Tags(page), usual()
    assert set(odd.tags) <= set(plain.tags)
    assert set(odd.attributes) <= set(plain.attributes)
    assert odd.tags.count("script") == page.count("<script") == 1
    drawn = [odd.attributes[name] for name in ("x", "y", "width", "height", "d", "style", "viewbox", "rx")]
    assert not [value for values in drawn for value in values if re.search(r"nan|inf|e\+", value)]


def test_the_report_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = report([conversation()], tmp_path)
    assert "default-src 'none'" in page
    assert not re.findall(r"https?:|url\(|@import|src=", page)
    assert all(link.startswith("#") for link in Tags(page).attributes["href"])


def test_costs_are_shown_where_there_are_prices(tmp_path: Path) -> None:
    prices = Prices(
        "EUR", {("openai", "chat"): Price(1000.0, None, 2000.0), ("openai", "stt"): Price(audio_per_minute=1)}
    )
    text = Tags(report([conversation()], tmp_path, prices=prices)).text
    assert "Cost, EUR" in text
    assert "0.3800" in text
    assert "0.4050 EUR together, without elevenlabs" in text
    assert "Cost" not in Tags(report([conversation()], tmp_path)).text


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ConversationRow("s")],
        [conversation(started="")],
        [conversation(turns=[], calls=[], overlaps=[], errors=[])],
    ],
    ids=["nothing", "an empty one", "no beginning known", "no turns"],
)
def test_there_is_a_report_of_little(rows: list[ConversationRow], tmp_path: Path) -> None:
    assert "AURA" in Tags(report(rows, tmp_path)).text


def test_a_thousand_conversations_stay_small_and_quick(tmp_path: Path) -> None:
    turns = [TurnRow(3.0 * i, times(i, 500.0 + 7 * i % 400), "completed", 1500) for i in range(1, 13)]
    rows = [conversation(f"sess_{i}", f"2026-11-22T{i // 60:02}:{i % 60:02}:00Z", turns=turns) for i in range(1000)]
    before = process_time()
    page = report(rows, tmp_path)
    assert process_time() - before < 3
    assert len(page) < 5_000_000
    assert page.count("<details") == 50


def test_the_report_says_where_it_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(AuraError, match=r"cannot write .*none/report.html: No such file"):
        write_html([conversation()], tmp_path / "none" / "report.html")


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="there is no browser")
async def test_the_report_lives_in_a_browser(tmp_path: Path) -> None:
    rows = [conversation(f"sess_{i}", turns=[TurnRow(2.0, times(1, 300.0 + i))]) for i in range(12)]
    rows[3].session = "<img src=x onerror=alert(1)>"
    report(rows, tmp_path)
    with chromium() as address:
        async with connect(address) as browser:
            tab = await browser.tab()
            await tab.looks(width=390, height=800)
            await tab.call("Page.navigate", url=(tmp_path / "report.html").as_uri())
            await tab.until("document.readyState === 'complete' && document.querySelectorAll('.conv').length === 12")
            assert await tab.run("document.documentElement.scrollWidth") <= 390
            await tab.run(
                "document.querySelector('.bar').dispatchEvent(new PointerEvent('pointermove', {bubbles: true}))"
            )
            assert await tab.run("!tip.hidden && tip.textContent.includes('turns')")
            await tab.run("find.value = 'onerror'; find.dispatchEvent(new Event('input'))")
            assert await tab.run("document.querySelectorAll('.conv:not([hidden])').length") == 1
            assert tab.complaints == []


# ---- the Chrome trace


def check_trace(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """What the format asks for, and Perfetto relies on."""
    events: list[dict[str, Any]] = trace["traceEvents"]
    named = {(e["pid"], e["tid"], e["name"]) for e in events if e["ph"] == "M"}
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    calls: dict[tuple[int, str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        assert event["ph"] in ("M", "X", "i", "b", "n", "e")
        assert event["name"]
        assert (event["pid"], 0, "process_name") in named
        if event["ph"] == "M":
            continue
        assert isinstance(event["ts"], int)
        assert event["ts"] >= 0
        if event["ph"] in ("b", "n", "e"):
            calls[event["pid"], event["cat"], event["id"]].append(event)
            continue
        assert (event["pid"], event["tid"], "thread_name") in named
        assert event["ph"] == "X" or event["s"] == "t"
        tracks[event["pid"], event["tid"]].append(event)
    for track in tracks.values():
        check_nesting(track)
    for phases in calls.values():
        assert re.fullmatch("bn?e", "".join(e["ph"] for e in phases))
        assert [e["ts"] for e in phases] == sorted(e["ts"] for e in phases)
    return events


def check_nesting(track: list[dict[str, Any]]) -> None:
    """In order of time; a slice lies inside another or after it."""
    assert [e["ts"] for e in track] == sorted(e["ts"] for e in track)
    around: list[int] = []
    for event in (e for e in track if e["ph"] == "X"):
        assert event["dur"] >= 0
        end = event["ts"] + event["dur"]
        while around and around[-1] <= event["ts"]:
            around.pop()
        assert not around or end <= around[-1]
        around.append(end)


def trace(rows: list[ConversationRow], folder: Path) -> list[dict[str, Any]]:
    write_perfetto(rows, folder / "trace.json")
    return check_trace(json.loads((folder / "trace.json").read_bytes()))


def test_a_trace_has_the_lanes_of_a_conversation(tmp_path: Path) -> None:
    events = trace([conversation()], tmp_path)
    lane = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    slices = [(lane[e["tid"]], e["name"], e["ts"] - STARTED_US, e["dur"]) for e in events if e["ph"] == "X"]
    assert ("state", "thinking", 2_500_000, 300_000) in slices
    assert ("user", "user, turn 1", 1_000_000, 1_000_000) in slices
    assert ("user", "user, dismissed", 4_000_000, 500_000) in slices
    assert ("voice to voice", "turn 1", 2_000_000, 800_000) in slices
    assert ("voice to voice", "first token", 2_240_000, 320_000) in slices
    assert ("reply heard", "reply 1", 2_800_000, 2_700_000) in slices
    instants = {(lane[e["tid"]], e["name"]): e["args"] for e in events if e["ph"] == "i"}
    assert instants["speech over the reply", "interruption confirmed: sustained"]["voiced_ms"] == 640
    assert instants["errors", "xai: timed_out"]["text"] == "no answer within 8 s"
    assert instants["facts", "SpeechStarted"]["at_ms"] == 960
    assert [e["name"] for e in events if e["ph"] == "b"] == [
        "stt openai", "chat openai", "tts elevenlabs", "tool current_time", "chat xai"
    ]  # fmt: skip


def test_conversations_of_unknown_beginning_stand_with_the_earliest(tmp_path: Path) -> None:
    rows = [conversation("b", ""), conversation("a"), conversation("c", "2026-11-22T10:00:00Z")]
    events = trace(rows, tmp_path)
    first = {e["pid"]: min(o["ts"] for o in events if o["pid"] == e["pid"] and "ts" in o) for e in events}
    assert first == {1: STARTED_US, 2: STARTED_US, 3: 1_795_341_600_000_000}


def test_a_name_that_ends_in_gz_is_packed(tmp_path: Path) -> None:
    write_perfetto([conversation()], tmp_path / "trace.json.gz")
    check_trace(json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes())))


def test_real_journals_make_a_report_and_a_trace(held: list[ConversationRow], tmp_path: Path) -> None:
    assert len(held) == len(GOLDEN)
    events = trace(held, tmp_path)
    facts = {e["name"] for e in events if e["ph"] == "i"}
    assert {"SpeechStarted", "TurnEnded", "ReplyStarted", "SessionClosing"} <= facts
    assert Tags(report(held, tmp_path)).tags.count("details") == len(held)


@given(st.lists(odd_rows, max_size=3))
@settings(max_examples=15, deadline=None)
def test_whatever_stands_in_a_log_the_trace_is_valid(rows: list[ConversationRow]) -> None:
    with TemporaryDirectory() as folder:
        trace(rows, Path(folder))
