"""Conversations as OpenTelemetry spans: a file of OTLP/JSON, or posted to a collector. Words are left out.

Ids depend on the session only: exporting again, or having sent the same conversation live, gives the same spans.
"""

from __future__ import annotations

import http.client
import math
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from aura import __version__
from aura.observe import spans
from aura.observe.spans import Attributes, Moment, Span, Value
from aura.tools.logs import report_lanes as lanes
from aura.tools.logs.model import ConversationRow
from aura.tools.logs.report_file import ExportFailed, to_json, written

BATCH = 1000
"""Spans in one request: under 1 MB, where collectors take 20."""
TIMEOUT_S = 15.0
TEXT_CHARS = 300
KINDS = {"internal": 1, "server": 2, "client": 3}
ERROR = 2
SCOPE = {"name": "aura", "version": __version__}


def write_otel(
    rows: Sequence[ConversationRow], target: str | Path, *, service: str = "aura", headers: Mapping[str, str] = {}
) -> int:
    """Write the spans to a file (gzipped where it ends in `.gz`), or post them where `target` is an http(s) URL.

    A URL without a path gets `/v1/traces`; `headers` go with the posts. Returns the number of spans. Raises
    ExportFailed.
    """
    found = otlp_spans(rows)
    if str(target).lower().startswith(("http:", "https:")):
        return post(found, str(target), service, headers)
    count = 0
    before, after = to_json(request([], service)).split(b'"spans":[')
    with written(Path(target)) as out:
        out.write(before + b'"spans":[')
        for count, span in enumerate(found, 1):
            out.write((b"," if count > 1 else b"") + to_json(span))
        out.write(after + b"\n")
    return count


def request(found: Sequence[dict[str, Any]], service: str) -> dict[str, Any]:
    """An ExportTraceServiceRequest."""
    resource = {"attributes": attributes({"service.name": service, "service.version": __version__})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": SCOPE, "spans": found}]}]}


def otlp_spans(rows: Sequence[ConversationRow]) -> Iterator[dict[str, Any]]:
    """All spans, as OTLP/JSON has them."""
    for row, began in zip(rows, lanes.begins_s(rows), strict=True):
        began_ns = round(began * 1e6) * 1000
        seen = Counter[str]()
        for span in conversation(row):
            yield as_json(row.session, began_ns, spans.distinct(span, seen))


# ---- a conversation as spans


def conversation(row: ConversationRow) -> Iterator[Span]:
    """Its span, then its turns with their parts, what was heard of the replies, and the provider calls."""
    known: dict[str, Value] = {"aura.outcome": row.outcome, "aura.turns": len(row.turns), "aura.facts": row.fact_count}
    if row.tenant:
        known["aura.tenant"] = row.tenant
    if row.lost:
        known["aura.lines_lost"] = row.lost
    if lanes.started_s(row) is None:
        known["aura.beginning"] = "not known"
    codes = [error.code for error in row.errors]
    yield spans.conversation_span(row.session, lanes.length_s(row), known, moments(row), codes)
    answered = set()
    for turn in row.turns:
        answered.add(turn.times.reply)
        told: Attributes = {"aura.outcome": turn.outcome}
        if turn.heard_ms is not None:
            told["aura.heard_ms"] = turn.heard_ms
        yield from spans.turn_spans(lanes.seconds(turn.at_s), turn.times, lanes.parts(turn.times), told)
        if heard := lanes.heard_slice(turn):
            key = f"heard {turn.times.reply}"
            yield Span(key, "reply heard", heard.begin_s, heard.end_s, {"aura.reply": turn.times.reply})
    for call in row.calls:
        fields = msgspec.structs.asdict(call) | {"total_ms": lanes.seconds(call.total_ms)}
        parent = spans.turn_key(call.reply) if call.reply in answered else ""
        yield spans.call_span(row.session, fields, lanes.seconds(call.at_s), parent)


def moments(row: ConversationRow) -> list[Moment]:
    """Decisions and errors, in order of time."""
    found = [
        spans.overlap_moment(lanes.seconds(overlap.at_s), overlap.confirmed, msgspec.structs.asdict(overlap))
        for overlap in row.overlaps
    ]
    for error in row.errors:
        text = error.text[:TEXT_CHARS]
        found.append(spans.error_moment(lanes.seconds(error.at_s or 0), error.provider, error.code, error.where, text))
    return sorted(found, key=lambda moment: moment.at_s)


# ---- as JSON


def as_json(session: str, began_ns: int, span: Span) -> dict[str, Any]:
    """A span in the JSON mapping of OTLP: ids in hex, 64-bit numbers as text, enumerations as numbers."""

    def at(seconds: float) -> str:
        return str(began_ns + round(seconds * 1e6) * 1000)

    made: dict[str, Any] = {
        "traceId": f"{spans.trace_id(session):032x}",
        "spanId": f"{spans.span_id(session, span.key):016x}",
        "name": span.name,
        "kind": KINDS[span.kind],
        "startTimeUnixNano": at(span.begin_s),
        "endTimeUnixNano": at(max(span.begin_s, span.end_s)),
        "attributes": attributes(span.attributes),
        "status": {"code": ERROR, "message": span.error} if span.error else {},
    }
    if span.parent is not None:
        made["parentSpanId"] = f"{spans.span_id(session, span.parent):016x}"
    if span.moments:
        made["events"] = [
            {"timeUnixNano": at(moment.at_s), "name": moment.name, "attributes": attributes(moment.attributes)}
            for moment in span.moments
        ]
    return made


def attributes(values: Attributes) -> list[dict[str, Any]]:
    """Attributes as OTLP has them; numbers that JSON does not know are left out."""
    found = []
    for key, value in values.items():
        match value:
            case bool():
                found.append({"key": key, "value": {"boolValue": value}})
            case int():
                found.append({"key": key, "value": {"intValue": str(value)}})
            case float():
                if math.isfinite(value):
                    found.append({"key": key, "value": {"doubleValue": value}})
            case _:
                found.append({"key": key, "value": {"stringValue": str(value)}})
    return found


# ---- to a collector


def post(found: Iterator[dict[str, Any]], target: str, service: str, headers: Mapping[str, str]) -> int:
    """Send spans, a batch at a time; returns how many. Raises ExportFailed, which says how many had arrived."""
    try:
        url = spans.traces_url(target)
    except ValueError as error:
        raise ExportFailed(str(error)) from None
    sent = 0
    while batch := list(islice(found, BATCH)):
        problem = post_batch(url, to_json(request(batch, service)), headers)
        if problem:
            arrived = f" ({sent} spans had been sent)" if sent else ""
            raise ExportFailed(f"{url}: {problem}{arrived}")
        sent += len(batch)
    return sent


def post_batch(url: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Send one request; returns why it failed, or an empty text."""
    wanted = {"Content-Type": "application/json", "User-Agent": f"aura/{__version__}", **headers}
    try:
        # The scheme was checked: urllib would open files as well.
        with urllib.request.urlopen(
            urllib.request.Request(url, body, wanted, method="POST"), timeout=TIMEOUT_S
        ) as answer:
            return rejected(answer.read(65_536))
    except urllib.error.HTTPError as error:
        with error:
            said = " ".join(error.read(500).decode(errors="replace").split())[:TEXT_CHARS]
        hint = "; is it the address of OTLP over HTTP (port 4318, /v1/traces)?" if error.code in (404, 405) else ""
        return f"answered {error.code} {error.reason}{': ' + said if said else ''}{hint}"
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:g} s"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"cannot send spans: {getattr(error, 'reason', error)}"


class _Partial(msgspec.Struct, rename="camel"):
    rejected_spans: int | str = 0
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


def rejected(body: bytes) -> str:
    """What a collector that answered 200 did not want, or an empty text."""
    try:
        partial = msgspec.json.decode(body, type=_Answer).partial_success
    except msgspec.DecodeError:
        return ""  # many answer with nothing, some with protobuf
    refused = int(partial.rejected_spans) if partial else 0
    return f"{refused} spans refused: {partial.error_message}" if partial and refused else ""
