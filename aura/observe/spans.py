"""What a conversation looks like as OpenTelemetry spans; pure, and the same whether sent live or by `aura logs`.

Spans tell what happened and how long it took. They never hold what people said.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from aura.core import events as ev
from aura.core.timing import TurnTimes

TRACES_PATH = "/v1/traces"
MOMENTS = 128
"""Decisions and errors that one conversation's span carries, at most (the SDK's own limit)."""

Value = str | bool | int | float
Attributes = dict[str, Value]


class Moment(msgspec.Struct, frozen=True):
    """Something that happened inside a span; OpenTelemetry calls it an event."""

    at_s: float
    name: str
    attributes: Attributes


class Span(msgspec.Struct, frozen=True):
    """One span of a conversation; times are seconds since it began."""

    key: str
    """Names the span within its conversation; empty for the conversation itself."""
    name: str
    begin_s: float
    end_s: float
    attributes: Attributes
    parent: str | None = ""
    """The key of the span around it; None for the conversation itself."""
    kind: Literal["internal", "server", "client"] = "internal"
    error: str | None = None
    moments: tuple[Moment, ...] = ()


def trace_id(session: str) -> int:
    """128 bits; the same however often and from wherever a conversation is exported."""
    return _number(16, session)


def span_id(session: str, key: str) -> int:
    """64 bits."""
    return _number(8, session, key)


def _number(size: int, *names: str) -> int:
    text = "\0".join(("aura", *names)).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=size).digest(), "big") or 1


def distinct(span: Span, seen: Counter[str]) -> Span:
    """The span with a key that no other of its conversation has: calls may begin in the same millisecond."""
    seen[span.key] += 1
    again = seen[span.key]
    return span if again == 1 else msgspec.structs.replace(span, key=f"{span.key} #{again}")


def traces_url(endpoint: str) -> str:
    """The address that spans are posted to: a URL without a path gets the standard one. Raises ValueError."""
    parts = urlsplit(endpoint)
    if "@" in parts.netloc:
        raise ValueError("a URL with a name and password is not taken: send them in a header")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{endpoint!r} is no http:// or https:// URL")
    return parts._replace(path=TRACES_PATH).geturl() if parts.path in ("", "/") else endpoint


def conversation_span(
    session: str, end_s: float, attributes: Attributes, moments: Iterable[Moment], errors: Iterable[str]
) -> Span:
    """The span around all others; `errors` are the codes of what went wrong in it."""
    counted = Counter(errors)
    error = ", ".join(f"{code} ({n})" if n > 1 else code for code, n in counted.most_common()) or None
    mine: Attributes = {"gen_ai.conversation.id": session, **attributes}
    return Span("", "conversation", 0.0, end_s, mine, None, "server", error, tuple(moments)[:MOMENTS])


def turn_key(reply: int) -> str:
    """The key of the span of the turn that a reply answers."""
    return f"turn {reply}"


def turn_spans(
    begin_s: float, times: TurnTimes, parts: Iterable[tuple[str, float]], attributes: Attributes
) -> Iterator[Span]:
    """A turn from the user's last sound to the reply's first (so it lasts voice-to-voice), and its parts (in ms)."""
    key, now = turn_key(times.reply), begin_s
    inner = []
    for part, ms in parts:
        if ms > 0:
            inner.append(Span(f"{key} {part}", part, now, now := now + ms / 1000, {}, key))
    numbers: Attributes = {"aura.turn": times.turn, "aura.reply": times.reply, "aura.draft": times.draft}
    error = "the reply failed" if attributes.get("aura.outcome") == "failed" else None
    yield Span(key, "turn", begin_s, now, numbers | attributes, error=error)
    yield from inner


_OPERATIONS = {"chat": "chat", "tool": "execute_tool", "stt": "speech_to_text", "tts": "text_to_speech"}
_OUTPUT = {"chat": "text", "stt": "text", "tts": "speech"}
_PROVIDERS = {"xai": "x_ai"}
"""Names that the GenAI conventions write differently."""
_COUNTS = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "chars": "aura.chars",
    "audio_s": "aura.audio_s",
}


def call_span(session: str, call: Mapping[str, Any], begin_s: float, parent: str) -> Span:
    """A call of a provider or tool, named by OpenTelemetry's conventions for generative AI.

    `call` has the fields of a `provider.call` line; those that are missing or 0 are left out.
    """
    part, provider, outcome = (str(call.get(name) or "unknown") for name in ("part", "provider", "outcome"))
    operation = _OPERATIONS.get(part, part)
    attributes: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.conversation.id": session,
        "aura.outcome": outcome,
    }
    if part == "tool":
        attributes["gen_ai.tool.name"] = provider
    else:
        attributes["gen_ai.provider.name"] = _PROVIDERS.get(provider, provider)
    if part in _OUTPUT:
        attributes["gen_ai.output.type"] = _OUTPUT[part]
    for name in ("turn", "reply"):
        if call.get(name):
            attributes[f"aura.{name}"] = call[name]
    for name, attribute in _COUNTS.items():
        if call.get(name):
            attributes[attribute] = call[name]
    if call.get("ttfb_ms") is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = call["ttfb_ms"] / 1000
    error = None if outcome in ("ok", "cancelled", "unknown") else outcome
    if error:
        attributes["error.type"] = error
    key = f"call {part} {provider} {call.get('reply') or 0} {round(begin_s * 1000)}"
    end_s = begin_s + (call.get("total_ms") or 0.0) / 1000
    inside = part == "tool" or provider == "offline"
    kind: Literal["internal", "client"] = "internal" if inside else "client"
    return Span(key, f"{operation} {provider}", begin_s, end_s, attributes, parent, kind, error)


def overlap_moment(at_s: float, confirmed: bool, numbers: Mapping[str, Any]) -> Moment:
    """Speech over the reply was judged; `numbers` are the fields of `OverlapJudged`."""
    shown = {f"aura.{name}": numbers[name] for name in ev.OverlapConfirmed.__struct_fields__ if name in numbers}
    known = {name: value for name, value in shown.items() if value is not None}
    return Moment(at_s, "interruption.confirmed" if confirmed else "interruption.dismissed", known)


def error_moment(at_s: float, provider: str, code: str, where: str, text: str = "") -> Moment:
    """A failure; the names are those that OpenTelemetry's viewers show as an exception."""
    message = f"{provider}: {text or code}" + (f" ({where})" if where else "")
    named: Attributes = {"exception.type": code, "exception.message": message, "gen_ai.provider.name": provider}
    return Moment(at_s, "exception", named)
