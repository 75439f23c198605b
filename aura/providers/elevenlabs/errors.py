"""Failures of ElevenLabs → the error tree. A spent quota comes as 401 here: the body decides, not the status.

Source: elevenlabs.io/docs/developers/resources/errors and the SDK's error models, Nov 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aura.core.errors import AuthFailed, BadRequest, ProviderError, QuotaExhausted, RateLimited, Unavailable
from aura.providers.openai.errors import Fault, build, classify, parse, retry_after_s, word

BY_NAME: dict[str, type[ProviderError]] = {
    "quota_exceeded": QuotaExhausted,
    "insufficient_credits": QuotaExhausted,
    "payment_required": QuotaExhausted,
    "invalid_api_key": AuthFailed,
    "missing_permissions": AuthFailed,
    "needs_authorization": AuthFailed,
    "missing_api_key": AuthFailed,
    "auth_error": AuthFailed,
    "detected_unusual_activity": AuthFailed,
    "max_character_limit_exceeded": BadRequest,
    "voice_not_found": BadRequest,
    "voice_limit_reached": BadRequest,
    "model_not_found": BadRequest,
    "invalid_voice_settings": BadRequest,
    "input_error": BadRequest,
    "too_many_concurrent_requests": RateLimited,
    "concurrent_limit_exceeded": RateLimited,
    "max_active_conversations": RateLimited,
    "rate_limit_exceeded": RateLimited,
    "rate_limited": RateLimited,
    "system_busy": Unavailable,
    "resource_exhausted": Unavailable,
    "internal_server_error": Unavailable,
}
"""`detail.status`, `detail.code` or `error`."""


def from_status(name: str, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error for an HTTP status that is not 200 (or 101)."""
    fault = parse(body)
    told = fault.code or fault.kind
    kind = named(fault) or classify(status, fault)
    what = f"HTTP {status}" + (f" {told}" if told else "")
    return build(kind, name, f"{what}: {fault.message or 'no explanation'}", retry_after_s(headers))


def from_message(name: str, message: dict[str, Any]) -> ProviderError:
    """The error that a WebSocket message or a line of a stream tells: `error` is a name, a sentence or an object."""
    inner = message.get("error")
    detail = message.get("detail")
    source = inner if isinstance(inner, dict) else detail if isinstance(detail, dict) else message
    fault = Fault(
        word(source.get("message") or (inner if isinstance(inner, str) else "")),
        word(source.get("status") or (inner if isinstance(inner, str) else "") or source.get("type")),
        word(source.get("code")),
    )
    kind = named(fault) or Unavailable
    return build(kind, name, f"{fault.code}: {fault.message or 'no explanation'}")


def named(fault: Fault) -> type[ProviderError] | None:
    """What the name in the fault says, if it is a known one."""
    return BY_NAME.get(fault.code) or BY_NAME.get(fault.kind)
