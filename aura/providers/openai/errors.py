"""Failures of OpenAI-like engines → the error tree.

Written after the fault tables of OpenAI (platform.openai.com/docs/guides/error-codes), xAI (a wrong key is HTTP 400,
errors are sentences), FastAPI servers (`detail`), llama.cpp (numbers as codes) and proxies (HTML), Nov 2026. The
`openai` package has no part in this: it tells failures apart by status only, and the streams do not run through it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec

from aura.core.errors import (
    AuthFailed,
    BadRequest,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    StreamCut,
    TimedOut,
    Unavailable,
)

MAX_ERROR_BYTES = 64 * 1024
MAX_MESSAGE_CHARS = 240

BY_CODE: dict[str, type[ProviderError]] = {
    "insufficient_quota": QuotaExhausted,
    "credit_balance_exhausted": QuotaExhausted,
    "organization_spend_limit_exceeded": QuotaExhausted,
    "project_spend_limit_exceeded": QuotaExhausted,
    "organization_usage_limit_exceeded": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "billing_not_active": QuotaExhausted,
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "slow_down": RateLimited,
    "invalid_api_key": AuthFailed,
    "authentication_error": AuthFailed,
    "permission_error": AuthFailed,
    "model_not_found": BadRequest,
    "context_length_exceeded": BadRequest,
    "server_error": Unavailable,
    "internal_server_error": Unavailable,
    "server_is_overloaded": Unavailable,
    "overloaded_error": Unavailable,
    "service_unavailable_error": Unavailable,
    "unavailable_error": Unavailable,
}
"""`code`, or failing that `type`, of the error object. It outranks the status."""

BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthFailed,
    402: QuotaExhausted,
    403: AuthFailed,
    408: TimedOut,
    409: Unavailable,
    425: RateLimited,
    429: RateLimited,
    498: Unavailable,
    499: Unavailable,
}
"""Other 4xx are BadRequest, 5xx Unavailable. 498 (no flex capacity) and 499 (cancelled) are Groq's."""

LOADING = re.compile(
    r"loading (?:the )?model|model (?:is|still) (?:currently |still )?loading|model is not ready", re.I
)
LOADING_RETRY_S = 1.0
"""When to ask again a server that is reading its model from disk and does not say."""

BY_TEXT = (
    (re.compile(r"(used all available|out of|insufficient|no) credit|spending limit|exceeded your current quota", re.I),
     QuotaExhausted, (400, 402, 403, 429)),
    (re.compile(r"(incorrect|invalid|missing|wrong|no) api[ _-]?key|api[ _-]?key (is )?(not|in)valid", re.I),
     AuthFailed, (400, 403)),
)  # fmt: skip
"""What engines without codes write, and the statuses under which it counts."""

ADVICE: dict[type[ProviderError], str] = {
    AuthFailed: "check api_key and what it may use",
    QuotaExhausted: "the account has no credit left or reached its limit",
    BadRequest: "check the model name and the other settings of this engine",
}

KEY_LIKE = re.compile(r"\b(sk|xai|gsk|pk|key|Bearer)[-_ ][\w*.-]{6,}")


class Fault(msgspec.Struct, frozen=True):
    """An error body in whatever shape it came."""

    message: str = ""
    code: str = ""
    kind: str = ""
    param: str = ""
    """The field of the request that it is about, dotted."""


def from_status(name: str, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error for an HTTP status that is not 200."""
    fault = parse(body)
    what = f"HTTP {status}" + (f" {fault.code or fault.kind}" if fault.code or fault.kind else "")
    wait_s = retry_after_s(headers)
    if wait_s is None and status == 503 and LOADING.search(fault.message):
        wait_s = LOADING_RETRY_S
    error = build(classify(status, fault), name, f"{what}: {fault.message or 'no explanation'}", wait_s)
    if headers.get("x-should-retry") == "false":
        error.retryable = False
    return error


def from_payload(name: str, payload: object) -> ProviderError:
    """The error that came with HTTP 200, inside a stream or instead of it. Without a known code it is retryable.

    `payload` is the decoded JSON, or the bytes as they came.
    """
    fault = parse(payload) if isinstance(payload, bytes) else fault_of(payload)
    error = by_code(fault) or Unavailable
    return build(error, name, f"error in the answer: {fault.message or fault.code or 'no explanation'}")


def from_http(name: str, error: httpx.HTTPError | httpx.InvalidURL, *, begun: bool = False) -> ProviderError:
    """The error for a connection that failed; `begun`: the answer had started to come."""
    text = f"{error}" or type(error).__name__
    match error:
        case httpx.TimeoutException():
            kind: type[ProviderError] = TimedOut
        case httpx.InvalidURL() | httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            kind = BadRequest
        case _:
            kind = StreamCut if begun else Unavailable
    return build(kind, name, text)


def build(kind: type[ProviderError], name: str, text: str, wait_s: float | None = None) -> ProviderError:
    """One line: engine, what happened, what to do about it. Never a key, never more than a few hundred characters."""
    line = KEY_LIKE.sub("(key)", " ".join(text.split()))[:MAX_MESSAGE_CHARS]
    advice = f" ({ADVICE[kind]})" if kind in ADVICE else ""
    return kind(f"{name}: {line}{advice}", provider=name, retry_after_s=wait_s)


def classify(status: int, fault: Fault) -> type[ProviderError]:
    """Code first, then telling words, then the status."""
    if found := by_code(fault):
        return found
    for pattern, kind, statuses in BY_TEXT:
        if status in statuses and pattern.search(fault.message):
            return kind
    return BY_STATUS.get(status, Unavailable if status >= 500 else BadRequest)


def by_code(fault: Fault) -> type[ProviderError] | None:
    """What the fault's code or type says, if it is a known one."""
    return BY_CODE.get(fault.code) or BY_CODE.get(fault.kind)


def parse(body: bytes) -> Fault:
    """Read an error body: JSON of any of the known shapes, HTML, or plain text."""
    try:
        return fault_of(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", "replace").strip()
    if text[:1] == "<":
        title = re.search(r"<title>(.*?)</title>", text, re.I | re.S)
        return Fault(f"a web page instead of an answer{f': {title[1]}' if title else ''}")
    return Fault(text)


def fault_of(payload: object) -> Fault:
    """`{"error": {...}}`, `{"error": "text"}`, `{"detail": ...}`, `[{...}]`, `{"message": ...}` or just a text."""
    match payload:
        case str():
            return Fault(payload)
        case [first, *_]:
            return fault_of(first)
        case {"error": dict() as inner}:
            return fault_of({"message": "", **inner})
        case {"loc": [_, *where], "msg": text, **rest}:
            return Fault(word(text), kind=word(rest.get("type")), param=".".join(map(word, where)))
        case {"error": str() as text, **rest}:
            return Fault(text, word(rest.get("code")), word(rest.get("type")))
        case {"detail": inner}:
            return fault_of(inner)
        case {"err_msg": text, **rest}:  # Deepgram
            return Fault(word(text), word(rest.get("err_code")))
        case {"message": text, **rest} | {"msg": text, **rest}:
            kind = word(rest.get("type") or rest.get("status"))
            return Fault(word(text), word(rest.get("code")), kind, word(rest.get("param")))
        case _:
            return Fault()


def word(value: Any) -> str:
    """A field that should be a text, but may be null or a number."""
    return "" if value is None else str(value)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """`retry-after-ms`, else `retry-after` in seconds or as a date (counted from the reply's own `date`)."""
    try:
        if "retry-after-ms" in headers:
            milliseconds = float(headers["retry-after-ms"])
            return max(0.0, milliseconds / 1000) if math.isfinite(milliseconds) else None
        value = headers.get("retry-after", "")
        if not value or value.replace(".", "", 1).isdigit():
            return float(value) if value else None
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (ValueError, KeyError, TypeError):
        return None
