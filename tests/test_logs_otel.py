"""Conversations as OpenTelemetry spans: in a file, posted to a collector, and live."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import events as ev
from aura.core.errors import AuraError, ConfigError
from aura.core.secret import Secret
from aura.core.timing import PARTS
from aura.observe import otel as live
from aura.tools.logs.model import ConversationRow
from aura.tools.logs.otel import write_otel
from tests.conftest import FairStallWatch
from tests.log_rows import STARTED, STARTED_US, conversation, odd_rows

VALUES = {"stringValue": str, "boolValue": bool, "intValue": str, "doubleValue": float}


def check_spans(data: bytes) -> dict[str, dict[str, Any]]:
    """An ExportTraceServiceRequest as OTLP/JSON has it; returns its spans by id."""
    request = json.loads(data)
    (resource,) = request["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    for span in scope["spans"]:
        assert re.fullmatch("[0-9a-f]{32}", span["traceId"])
        assert re.fullmatch("[0-9a-f]{16}", span["spanId"])
        assert span["kind"] in (1, 2, 3)
        assert 0 <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) < 2**64
        for moment in span.get("events", ()):
            assert isinstance(moment["timeUnixNano"], str)
        for attribute in [*span["attributes"], *(a for m in span.get("events", ()) for a in m["attributes"])]:
            ((kind, value),) = attribute["value"].items()
            assert isinstance(value, VALUES[kind])
    by_id = {span["spanId"]: span for span in scope["spans"]}
    assert len(by_id) == len(scope["spans"])
    assert all(span["parentSpanId"] in by_id for span in scope["spans"] if "parentSpanId" in span)
    return by_id


def attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values())) for a in of["attributes"]}


def spans(rows: list[ConversationRow], folder: Path) -> list[dict[str, Any]]:
    assert write_otel(rows, folder / "spans.json") > 0
    return list(check_spans((folder / "spans.json").read_bytes()).values())


def test_a_conversation_is_a_trace_of_turns_parts_and_calls(tmp_path: Path) -> None:
    found = spans([conversation()], tmp_path)
    root = found[0]
    turn = next(span for span in found if span["name"] == "turn")
    assert int(root["startTimeUnixNano"]) == STARTED_US * 1000
    assert [event["name"] for event in root["events"]] == [
        "interruption.dismissed",
        "interruption.confirmed",
        "exception",
    ]
    assert attributes(root["events"][1])["aura.voiced_ms"] == "640"
    assert root["status"] == {"code": 2, "message": "timed_out"}
    parts = [span for span in found if span.get("parentSpanId") == turn["spanId"] and span["name"] in PARTS]
    assert parts[0]["startTimeUnixNano"] == turn["startTimeUnixNano"]
    assert parts[-1]["endTimeUnixNano"] == turn["endTimeUnixNano"]
    assert all(one["endTimeUnixNano"] == next_["startTimeUnixNano"] for one, next_ in pairwise(parts))


def test_calls_are_named_as_the_conventions_for_generative_ai_have_it(tmp_path: Path) -> None:
    by_name = {span["name"]: span for span in spans([conversation()], tmp_path)}
    chat = attributes(by_name["chat openai"])
    assert chat["gen_ai.operation.name"] == "chat"
    assert chat["gen_ai.provider.name"] == "openai"
    assert chat["gen_ai.conversation.id"] == "sess_1"
    assert chat["gen_ai.usage.input_tokens"] == "300"
    assert chat["gen_ai.usage.cache_read.input_tokens"] == "128"
    assert chat["gen_ai.response.time_to_first_chunk"] == 0.32
    assert by_name["chat openai"]["kind"] == 3
    tool = by_name["execute_tool current_time"]
    assert attributes(tool)["gen_ai.tool.name"] == "current_time"
    assert "gen_ai.provider.name" not in attributes(tool)
    failed = by_name["chat xai"]
    assert attributes(failed)["gen_ai.provider.name"] == "x_ai"
    assert attributes(failed)["error.type"] == failed["status"]["message"] == "timed_out"
    assert by_name["text_to_speech elevenlabs"]["status"] == {}


def test_exporting_again_gives_the_same_spans_and_others_for_others(tmp_path: Path) -> None:
    first, again, other = (spans([conversation(name)], tmp_path) for name in ("a", "a", "b"))
    assert first == again
    assert {span["traceId"] for span in first}.isdisjoint(span["traceId"] for span in other)


def test_spans_hold_no_words(tmp_path: Path) -> None:
    spans([conversation()], tmp_path)
    assert b"what time is it" not in (tmp_path / "spans.json").read_bytes()


class Collector(BaseHTTPRequestHandler):
    """Takes spans, or answers what the server was told to."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))  # type: ignore[attr-defined]
        status, answer = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def collector(
    status: int = 200, answer: bytes = b"{}"
) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A collector on a real socket; yields its address and what arrives."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        server.got, server.answer = [], (status, answer)  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.got  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def test_spans_are_posted_to_a_collector() -> None:
    rows = [conversation(f"sess_{i}") for i in range(60)]
    with collector() as (url, got):
        count = write_otel(rows, url, headers={"X-Key": "k"})
    assert {path for path, _, _ in got} == {"/v1/traces"}
    assert {(headers["Content-Type"], headers["X-Key"]) for _, headers, _ in got} == {("application/json", "k")}
    arrived = [json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"] for _, _, body in got]
    assert [len(batch) for batch in arrived] == [1000, count - 1000]


@pytest.mark.parametrize(
    ("status", "answer", "says"),
    [
        (404, b"no such\n page", "answered 404 Not Found: no such page; is it the address of OTLP over HTTP"),
        (503, b"", "answered 503 Service Unavailable"),
        (200, b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}', "3 spans refused: too old"),
    ],
)
def test_what_a_collector_refuses_is_one_line(status: int, answer: bytes, says: str) -> None:
    with collector(status, answer) as (url, _), pytest.raises(AuraError) as raised:
        write_otel([conversation()], url)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9/v1/traces", "Connection refused"),
        ("http://", "is no http:// or https:// URL"),
        ("https://user:secret@example.org", "send them in a header"),
        ("http://127.0.0.1:port", "port"),
    ],
)
def test_where_no_collector_is_is_one_line(url: str, says: str) -> None:
    with pytest.raises(AuraError, match=says) as raised:
        write_otel([conversation()], url)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


@given(st.lists(odd_rows, max_size=3))
@settings(max_examples=15, deadline=None)
def test_whatever_stands_in_a_log_its_spans_are_valid(rows: list[ConversationRow]) -> None:
    with TemporaryDirectory() as folder:
        for row in rows:
            spans([row], Path(folder))


def test_a_name_that_ends_in_gz_is_packed(tmp_path: Path) -> None:
    write_otel([conversation()], tmp_path / "spans.json.gz")
    check_spans(gzip.decompress((tmp_path / "spans.json.gz").read_bytes()))


# ---- live


def test_without_an_endpoint_nothing_is_imported() -> None:
    code = (
        "import sys, trio; from aura.observe.otel import OtelSettings, open_spans\n"
        "async def main():\n"
        "    async with open_spans(OtelSettings()) as spans: assert spans is None\n"
        "trio.run(main); assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_a_missing_package_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[otel\]'"):
        async with live.open_spans(live.OtelSettings(endpoint="http://127.0.0.1:4318")):
            pass


def installed() -> Any:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the packages of the extra otel are missing")
    return pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2").ExportTraceServiceRequest


def happen(told: live.LiveConversation) -> None:
    """What `conversation` tells, as the server does."""
    row = conversation()
    calls = [{**msgspec.structs.asdict(call), "elapsed_ms": call.at_s * 1000} for call in row.calls]
    for call in calls[:2]:
        told.call(call)
    told.turn(2.8, row.turns[0].times)
    with structlog.contextvars.bound_contextvars(turn=1, reply=1):
        told.call({name: value for name, value in calls[2].items() if name not in ("turn", "reply")})
    told.fact(4.5, ev.OverlapDismissed("backchannel", 220, 180, 500, 600, "backchannel"))
    told.turn(9.2, row.turns[1].times)
    told.fact(10.7, ev.OverlapConfirmed("sustained", 640, 0, 700, 600, None, 0.1))
    told.call(calls[4])
    told.fact(12.0, ev.TranscriptReady(3, 2, "words", "secret words"))
    told.fact(12.9, ev.StageFailed(3, "think", "timed_out", True, "xai"))
    told.fact(15.0, ev.SessionClosing("closed 1000"))
    told.end("closed 1000")


async def test_spans_sent_live_are_those_of_the_export(tmp_path: Path) -> None:
    message = installed()
    exported = {span["spanId"]: span for span in spans([conversation()], tmp_path)}
    with collector() as (url, got):
        chosen = live.OtelSettings(endpoint=url, headers=Secret("x-key=a=b, x-more=2"))
        async with live.open_spans(chosen) as sending:
            assert sending
            happen(sending.begin("sess_1", STARTED))
        assert sending.lost == 0
    assert got[0][0] == "/v1/traces"
    assert (got[0][1]["x-key"], got[0][1]["x-more"]) == ("a=b", "2")
    assert not any(b"secret words" in body for _, _, body in got)
    arrived = [s for _, _, body in got for s in message.FromString(body).resource_spans[0].scope_spans[0].spans]
    assert len(arrived) == 2 * 7 + 4 + 1
    for span in arrived:
        same = exported[span.span_id.hex()]
        assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == (
            same["name"], same["traceId"], same.get("parentSpanId", "")
        )  # fmt: skip
        assert abs(span.start_time_unix_nano - int(same["startTimeUnixNano"])) < 2000
        assert abs(span.end_time_unix_nano - int(same["endTimeUnixNano"])) < 2000
        assert span.status.message == same["status"].get("message", "")
        assert [event.name for event in span.events] == [event["name"] for event in same.get("events", [])]


async def test_a_collector_that_is_away_costs_spans_and_says_so_once() -> None:
    installed()
    watch = FairStallWatch()
    chosen = live.OtelSettings(endpoint="http://127.0.0.1:9", interval_s=0.05, timeout_s=0.1, close_s=1.0)
    with structlog.testing.capture_logs() as lines:
        with trio.fail_after(3):
            async with live.open_spans(chosen) as sending:
                assert sending
                trio.lowlevel.add_instrument(watch)
                for i in range(3):
                    await trio.sleep(0.12)
                    happen(sending.begin(f"sess_{i}", STARTED))
                await trio.sleep(0.12)
                trio.lowlevel.remove_instrument(watch)
    assert sending.lost == 3 * 19
    assert watch.stalls == []
    assert [line["event"] for line in lines] == ["otel.not_sent", "otel.spans_lost"]


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (live.OtelSettings(endpoint="127.0.0.1:4318"), "otel.endpoint: .* is no http"),
        (live.OtelSettings(endpoint="http://c", headers=Secret("Bearer abc")), "otel.headers: write name=value"),
    ],
)
async def test_wrong_settings_are_told(chosen: live.OtelSettings, says: str) -> None:
    installed()
    with pytest.raises(ConfigError, match=says) as raised:
        async with live.open_spans(chosen):
            pass
    assert "abc" not in str(raised.value)
