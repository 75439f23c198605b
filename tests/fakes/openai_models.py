"""Lists of models, keys and rate limits of OpenAI and its imitators. Source: providers.md 1.1, 1.3 (2026-11-22)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.fakes.faults import openai_error
from tests.fakes.server import Call
from tests.fakes.wire import Answer, document

MODELS: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {"id": "gpt-6-luna", "shutdown_date": None},
        {"id": "gpt-6.1-terra", "shutdown_date": None},
        {"id": "gpt-4o-mini", "shutdown_date": "2027-01-14"},
        {"id": "gpt-transcribe", "shutdown_date": None},
        {"id": "gpt-live-transcribe", "shutdown_date": None},
        {"id": "whisper-1", "shutdown_date": "2027-02-26"},
        {"id": "gpt-4o-mini-tts", "shutdown_date": "2027-01-06"},
        {"id": "gpt-realtime-2.1-mini", "shutdown_date": None},
    ],
    "xai": [{"id": "grok-4.20-non-reasoning"}, {"id": "grok-4.7"}],
    "ollama": [{"id": "llama3.2:3b", "owned_by": "library"}],
    "vllm": [{"id": "Qwen/Qwen3-8B", "max_model_len": 32768}],
}


@dataclass
class Limits:
    """A rate limit that is told in the headers of every answer."""

    requests: int = 500
    tokens: int = 200_000
    left: float = 500.0
    """Requests that are left now."""
    shrink: float = 0.0
    """How many each request takes. At 0 left, 429."""
    per_s: float = 0.0
    """How many come back each second."""


def limits(call: Call) -> Answer | None:
    """Count a request against `vendor.state["limits"]`; a refusal when nothing is left."""
    found: Limits | None = call.vendor.state.get("limits")
    if found is None:
        return None
    since = call.vendor.state.get("limited_at", call.seen.at)
    call.vendor.state["limited_at"] = call.seen.at
    found.left = min(float(found.requests), found.left + (call.seen.at - since) * found.per_s)
    share = max(0.0, found.left - found.shrink) / found.requests
    headers = {
        "x-ratelimit-limit-requests": str(found.requests),
        "x-ratelimit-limit-tokens": str(found.tokens),
        "x-ratelimit-remaining-requests": str(int(share * found.requests)),
        "x-ratelimit-remaining-tokens": str(int(share * found.tokens)),
        "x-ratelimit-reset-requests": "120ms" if share > 0.5 else "1s",
        "x-ratelimit-reset-tokens": "6m0s" if share < 0.1 else "12ms",
        "openai-processing-ms": "7",
        "openai-version": "2020-10-01",
    }
    call.vendor.state["headers"] = headers
    if found.left < found.shrink or found.left <= 0:
        status, body = call.vendor.dialect.refuse("rate_limited", "")
        return document(call.seen.kind, body, status, headers={**headers, "retry-after": "1"})
    found.left -= found.shrink
    return None


def listed(call: Call) -> list[dict[str, Any]]:
    """The models that there are."""
    names = call.vendor.state.get("models") or MODELS.get(call.vendor.dialect.facts.get("models", ""), [])
    base = {"object": "model", "created": 1790000000, "owned_by": call.vendor.name}
    return [base | entry for entry in names]


async def models(call: Call) -> Answer:
    """GET /models."""
    return document("models", {"object": "list", "data": listed(call)})


async def model(call: Call) -> Answer:
    """GET /models/{id}."""
    for entry in listed(call):
        if entry["id"] == call.names["id"]:
            return document("models", entry)
    status, body = call.vendor.dialect.refuse("not_found", "")
    return document("models", body, status)


async def health(call: Call) -> Answer:
    """GET /health of local servers."""
    return document("health", {"status": "ok"})


def plain_error(kind: str, message: str = "") -> tuple[int, Any]:
    """whisper.cpp's errors: a string."""
    status, body = openai_error(kind, message)
    return status, {"error": body["error"]["message"]}


def in_band(kind: str) -> tuple[dict[str, Any], int]:
    """On an open Realtime socket."""
    _, body = openai_error(kind)
    return {"type": "error", "event_id": "event_0", "error": body["error"]}, 1008


def bearer(call: Call) -> Answer | None:
    """401 for a wrong key, and for none where one is needed."""
    given = call.seen.headers.get("authorization", "").removeprefix("Bearer ")
    return key_fault(call, given, "unauthorized")


def key_fault(call: Call, given: str, kind: str) -> Answer | None:
    """What is wrong with a key."""
    wanted = call.world.keys.get(call.vendor.name)
    if (given == wanted) if wanted else (given or not call.world.needs_key) and "wrong" not in given:
        return None
    status, body = call.vendor.dialect.refuse(kind, "")
    return document(call.seen.kind, body, status)
