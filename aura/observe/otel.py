"""Conversations are sent as OpenTelemetry spans while they happen.

This needs the packages of the extra `otel`, which are imported only when an endpoint is set. The event loop only puts
what happened into a queue; a thread of the SDK makes spans of it and sends them, a batch at a time.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from importlib import import_module
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import structlog
import trio

from aura import __version__
from aura.core import events as ev
from aura.core.errors import ConfigError
from aura.core.secret import Secret
from aura.core.timing import PARTS, TurnTimes
from aura.observe.spans import (
    MOMENTS,
    Attributes,
    Moment,
    Span,
    Value,
    call_span,
    conversation_span,
    distinct,
    error_moment,
    overlap_moment,
    span_id,
    trace_id,
    traces_url,
    turn_key,
    turn_spans,
)

log = structlog.get_logger()

BATCH = 128
"""Spans that are sent together. More would keep the interpreter busy for longer at a time."""
HELD_CALLS = 256
"""Calls of one conversation that wait for their reply to become audible, at most."""


class OtelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sending conversations as OpenTelemetry spans while they happen (needs `pip install '.[otel]'`)."""

    endpoint: str = ""
    """Where spans go: OTLP over HTTP, such as http://127.0.0.1:4318. Empty: nothing is sent."""
    headers: Secret = msgspec.field(default_factory=Secret)
    """Headers for the endpoint, as name=value,name=value: hosted services want a key."""
    service: str = "aura"
    """The service.name that spans carry."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0
    """Longest time for sending one batch, retries included."""
    interval_s: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 5.0
    """Spans leave this many seconds after they ended, at most."""
    queue: Annotated[int, msgspec.Meta(ge=512, le=1_000_000)] = 8192
    """Spans that may wait; beyond it the oldest are lost."""
    close_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 3.0
    """When the server ends, the last spans get this many seconds."""


@asynccontextmanager
async def open_spans(settings: OtelSettings) -> AsyncIterator[Spans | None]:
    """What sends spans, or None where no endpoint is set. Raises ConfigError. Leaving sends what waits."""
    if not settings.endpoint:
        yield None
        return
    spans = Spans(settings)
    try:
        yield spans
    finally:
        with trio.move_on_after(settings.close_s, shield=True):
            await trio.to_thread.run_sync(spans.close, abandon_on_cancel=True)
        if spans.lost:
            log.warning("otel.spans_lost", spans=spans.lost)


class Spans:
    """All conversations of the process."""

    def __init__(self, settings: OtelSettings) -> None:
        sdk = load_sdk()
        self._outbox = _Outbox(settings, sdk)
        self._given = 0
        self._sampled = sdk.api.SpanContext(1, 1, is_remote=False, trace_flags=sdk.api.TraceFlags(1))
        self._processor = sdk.export.BatchSpanProcessor(
            self._outbox,
            max_queue_size=settings.queue,
            schedule_delay_millis=settings.interval_s * 1000,
            max_export_batch_size=BATCH,
        )

    @property
    def lost(self) -> int:
        """Spans that were not sent and, once closed, never will be."""
        return self._given - self._outbox.sent

    def begin(self, session: str, started: str, **attributes: Value) -> LiveConversation:
        """A conversation begins; `started` is its beginning (ISO 8601) as the journal's header has it."""
        began_ns = round(datetime.fromisoformat(started).timestamp() * 1e6) * 1000
        return LiveConversation(self, session, began_ns, attributes)

    def send(self, session: str, began_ns: int, span: Span) -> None:
        """Hand a finished span to the thread that sends. Never waits."""
        self._given += 1
        self._processor.on_end(_Parcel(self._sampled, session, began_ns, span))

    def close(self) -> None:
        """Send what waits. Blocks."""
        self._processor.shutdown()


class _Parcel(msgspec.Struct, frozen=True):
    """What waits in the SDK's queue; the SDK only asks for `context` there."""

    context: Any
    session: str
    began_ns: int
    span: Span


class LiveConversation:
    """One conversation. Its methods are synchronous and never wait; times are session time in seconds."""

    def __init__(self, spans: Spans, session: str, began_ns: int, attributes: Attributes) -> None:
        self._spans, self._session, self._attributes = spans, session, attributes
        self._began_ns = began_ns
        self._last_s = 0.0
        self._turns: set[int] = set()
        self._seen = Counter[str]()
        self._held: list[Mapping[str, Any]] = []
        self._moments: list[Moment] = []
        self._errors: list[str] = []
        self._ended = False

    def fact(self, at: float, event: ev.Event) -> None:
        """A fact passed through the session's door; decisions and failures are kept for the conversation's span."""
        self._last_s = at
        if isinstance(event, ev.OverlapJudged):
            confirmed = isinstance(event, ev.OverlapConfirmed)
            self._note(overlap_moment(at, confirmed, msgspec.structs.asdict(event)))
        elif isinstance(event, ev.StageFailed):
            self._errors.append(event.code)
            self._note(error_moment(at, event.provider or "aura", event.code, event.stage))

    def turn(self, at: float, times: TurnTimes) -> None:
        """A reply became audible."""
        v2v = times.ms["voice_to_voice"]
        parts = [(part, times.ms[part]) for part in PARTS]
        for span in turn_spans(at - v2v / 1000, times, parts, {}):
            self._send(span)
        self._turns.add(times.reply)
        ready = [call for call in self._held if call.get("reply") == times.reply]
        self._held = [call for call in self._held if call.get("reply") != times.reply]
        for call in ready:
            self._call(call)

    def call(self, line: Mapping[str, Any]) -> None:
        """A provider was called: the fields of the `provider.call` line, or of what is bound to the log."""
        line = {**structlog.contextvars.get_contextvars(), **line}
        if line.get("reply", 0) in self._turns or not line.get("reply") or self._ended:
            self._call(line)
            return
        self._held.append(line)
        if len(self._held) > HELD_CALLS:
            self._call(self._held.pop(0))

    def end(self, why: str) -> None:
        """The conversation is over; only calls that end later are still told."""
        if self._ended:
            return
        self._ended = True
        for call in self._held:
            self._call(call)
        self._held = []
        attributes = self._attributes | {"aura.outcome": why, "aura.turns": len(self._turns)}
        if why.startswith("bug"):
            self._errors.append("bug")
        self._send(conversation_span(self._session, self._last_s, attributes, self._moments, self._errors))

    def _note(self, moment: Moment) -> None:
        if len(self._moments) < MOMENTS:
            self._moments.append(moment)

    def _call(self, line: Mapping[str, Any]) -> None:
        parent = turn_key(line["reply"]) if line.get("reply") in self._turns else ""
        self._send(call_span(self._session, line, (line.get("elapsed_ms") or 0.0) / 1000, parent))

    def _send(self, span: Span) -> None:
        self._spans.send(self._session, self._began_ns, distinct(span, self._seen))


def load_sdk() -> Any:
    """The modules of the SDK that are needed. Raises ConfigError where they are not installed."""
    try:
        return SimpleNamespace(
            api=import_module("opentelemetry.trace"),
            trace=import_module("opentelemetry.sdk.trace"),
            export=import_module("opentelemetry.sdk.trace.export"),
            resources=import_module("opentelemetry.sdk.resources"),
            scope=import_module("opentelemetry.sdk.util.instrumentation"),
            otlp=import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter"),
        )
    except ImportError as error:
        raise ConfigError(
            f"otel.endpoint is set, but OpenTelemetry is not installed ({error}): pip install '.[otel]'"
        ) from None


def header_pairs(settings: OtelSettings) -> dict[str, str]:
    """The headers that are sent along. Raises ConfigError."""
    pairs = {}
    for pair in filter(None, (text.strip() for text in settings.headers.reveal().split(","))):
        name, between, value = pair.partition("=")
        if not between or not name.strip():
            raise ConfigError("otel.headers: write name=value, several with a comma between them")
        pairs[name.strip()] = value.strip()
    return pairs


class _Outbox:
    """The SDK's exporter. Says once that it fails and once that it works again. Runs in the SDK's thread."""

    def __init__(self, settings: OtelSettings, sdk: Any) -> None:
        try:
            self._where = traces_url(settings.endpoint)
        except ValueError as error:
            raise ConfigError(f"otel.endpoint: {error}; write http://HOST:4318") from None
        self._sdk = sdk
        self._exporter = sdk.otlp.OTLPSpanExporter(
            self._where, headers=header_pairs(settings), timeout=settings.timeout_s
        )
        named = {"service.name": settings.service, "service.version": __version__}
        self._resource = sdk.resources.Resource.create(named)
        self._scope = sdk.scope.InstrumentationScope("aura", __version__)
        self._reasons = _Reasons()
        self._failing = False
        self.sent = 0

    def export(self, parcels: list[_Parcel]) -> Any:
        self._reasons.first = ""
        result = self._exporter.export([self._made(parcel) for parcel in parcels])
        ok = result is self._sdk.export.SpanExportResult.SUCCESS
        self.sent += len(parcels) if ok else 0
        if not ok and not self._failing:
            log.error("otel.not_sent", endpoint=self._where, error=self._reasons.first, spans=len(parcels))
        elif ok and self._failing:
            log.info("otel.works_again", endpoint=self._where)
        self._failing = not ok
        return result

    def _made(self, parcel: _Parcel) -> Any:
        """The SDK's own span. A tracer would make it for twenty times the CPU, and choose the ids itself."""
        api, span, began = self._sdk.api, parcel.span, parcel.began_ns
        trace = trace_id(parcel.session)

        def context(key: str) -> Any:
            flags = api.TraceFlags(api.TraceFlags.SAMPLED)
            return api.SpanContext(trace, span_id(parcel.session, key), is_remote=False, trace_flags=flags)

        return self._sdk.trace.ReadableSpan(
            span.name,
            context=context(span.key),
            parent=None if span.parent is None else context(span.parent),
            resource=self._resource,
            attributes=span.attributes,
            events=[
                self._sdk.trace.Event(moment.name, moment.attributes, began + round(moment.at_s * 1e9))
                for moment in span.moments
            ],
            kind=api.SpanKind[span.kind.upper()],
            status=api.Status(api.StatusCode.ERROR, span.error) if span.error else api.Status(),
            start_time=began + round(span.begin_s * 1e9),
            end_time=began + round(max(span.end_s, span.begin_s) * 1e9),
            instrumentation_scope=self._scope,
        )

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        flushed: bool = self._exporter.force_flush(timeout_millis)
        return flushed


class _Reasons(logging.Handler):
    """Takes the SDK's log lines, which come with every batch that fails, and keeps the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ""
        logger = logging.getLogger("opentelemetry")
        logger.handlers[:] = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()[:300]
