"""ElevenLabs over HTTP: speech, with timestamps or without, voices, account. Source: providers.md 4 (2026-11-22)."""

from __future__ import annotations

import base64
import json
from typing import Any

import trio

from tests.fakes.openai_models import key_fault
from tests.fakes.openai_stt import Steps
from tests.fakes.server import Call
from tests.fakes.sound import CONTENT_TYPES, encoded, pieces
from tests.fakes.wire import Answer, document

VOICES = {"21m00Tcm4TlvDq8ikWAM": "Rachel", "JBFqnCBsd6RMkjVDRZzb": "George", "EXAVITQu4vr4xnSDxMaL": "Sarah"}
CODECS = {"mp3": "mp3", "pcm": "pcm", "ulaw": "mulaw", "alaw": "alaw", "opus": "opus"}
LONGEST = {"eleven_flash_v2_5": 40_000, "eleven_turbo_v2_5": 40_000}
PLAN = 5
"""How many requests may run at once (`vendor.state["concurrency"]` changes it)."""

ERRORS = {
    "unauthorized": (401, "invalid_api_key", "Invalid API key"),
    "forbidden": (401, "missing_permissions", "The API key you used is missing the permission text_to_speech"),
    "quota": (401, "quota_exceeded", "This request exceeds your quota. You have 0 credits remaining."),
    "credit": (401, "quota_exceeded", "This request exceeds your quota. You have 0 credits remaining."),
    "not_found": (404, "voice_not_found", "A voice with this voice_id was not found."),
    "context_length": (400, "max_character_limit_exceeded", "This request exceeds the maximum number of characters."),
    "rate_limited": (429, "too_many_concurrent_requests", "Too many concurrent requests."),
    "too_many_concurrent": (429, "too_many_concurrent_requests", "Too many concurrent requests."),
    "slow_down": (429, "system_busy", "We are experiencing heavy traffic."),
    "system_busy": (429, "system_busy", "We are experiencing heavy traffic."),
    "error_500": (500, "internal_server_error", "Internal server error"),
    "overloaded_503": (503, "service_unavailable", "Service unavailable"),
}


def error(kind: str, message: str) -> tuple[int, Any]:
    """Status and body: FastAPI's list for a request that is wrong, else a status word."""
    if kind == "validation":
        found = {"loc": ["body", message or "text"], "msg": "field required", "type": "value_error.missing"}
        return 422, {"detail": [found]}
    status, word, text = ERRORS[kind]
    return status, {"detail": {"status": word, "message": message or text}}


def in_band(kind: str) -> tuple[dict[str, Any], int]:
    """On an open socket."""
    _, body = error("not_found" if kind == "validation" else kind, "")
    return {"message": body["detail"]["message"], "error": body["detail"]["status"], "code": 1008}, 1008


def check_key(call: Call) -> Answer | None:
    """`xi-api-key`."""
    return key_fault(call, call.seen.headers.get("xi-api-key", ""), "unauthorized")


def refusal(kind: str, status: int = 0, message: str = "", call: Call | None = None) -> Answer:
    """An error of ours."""
    usual, body = error(kind, message)
    return document("tts", body, status or usual, headers=concurrency(call) if call else {})


def concurrency(call: Call) -> dict[str, str]:
    """The headers that tell how much of the plan is used."""
    return {
        "current-concurrent-requests": str(call.vendor.running("tts")),
        "maximum-concurrent-requests": str(call.vendor.state.get("concurrency", PLAN)),
    }


def format_of(call: Call) -> tuple[str, int] | None:
    """Codec and rate of `output_format`, None if it does not exist in a stream."""
    family, _, rest = call.seen.query.get("output_format", "mp3_44100_128").partition("_")
    rate = rest.partition("_")[0]
    return (CODECS[family], int(rate)) if family in CODECS and rate.isdigit() else None


async def asked_speech(call: Call) -> tuple[str, float, str, int] | Answer:
    """Text, length, codec and rate of a request, or what is wrong with it."""
    asked = call.seen.json
    text, form = asked.get("text"), format_of(call)
    if not isinstance(text, str):
        return refusal("validation", message="text")
    if form is None:
        return refusal("not_found", 400, f"output_format {call.seen.query.get('output_format')} is not supported")
    if call.names["voice"] not in (call.vendor.state.get("voices") or VOICES):
        return refusal("not_found")
    if len(text) > LONGEST.get(asked.get("model_id", ""), 10_000):
        return refusal("context_length")
    for kind in ("too_many_concurrent", "system_busy"):
        if call.has(kind):
            return refusal(kind, call=call)
    if call.vendor.running("tts") > call.vendor.state.get("concurrency", PLAN):
        return refusal("too_many_concurrent", call=call)
    codec, rate_hz = form
    speed = (asked.get("voice_settings") or {}).get("speed") or 1.0
    seconds = round(call.world.seconds_of(text, speed), 2) if text.strip() else 0.0
    await trio.to_thread.run_sync(encoded, seconds, rate_hz, codec)
    return text, seconds, codec, rate_hz


def head(call: Call, text: str) -> dict[str, str]:
    """Headers of an answer with audio."""
    spent = len(text) // 2 if "flash" in call.seen.json.get("model_id", "") else len(text)
    return {"character-cost": str(spent), "request-id": f"{id(call):x}", **concurrency(call)}


async def stream(call: Call) -> Answer:
    """POST /v1/text-to-speech/{voice}/stream (and without /stream: the same bytes)."""
    asked = await asked_speech(call)
    if isinstance(asked, Answer):
        return asked
    text, seconds, codec, rate_hz = asked

    def steps() -> Steps:
        yield call.world.draw(call.vendor.name, "ttfb_s")
        for piece in pieces(seconds, rate_hz, codec):
            yield piece
            yield call.world.draw(call.vendor.name, "audio_gap_s")

    return Answer("tts", steps(), content_type=CONTENT_TYPES[codec], headers=head(call, text))


def spans(text: str, parts: int) -> list[tuple[int, int]]:
    """Which letters belong to which piece of audio."""
    each = len(text) / max(parts, 1)
    return [(round(i * each), round((i + 1) * each)) for i in range(parts)]


async def with_timestamps(call: Call) -> Answer:
    """POST /v1/text-to-speech/{voice}/stream/with-timestamps: one JSON object per line, times from the beginning."""
    asked = await asked_speech(call)
    if isinstance(asked, Answer):
        return asked
    text, seconds, codec, rate_hz = asked
    parts = pieces(seconds, rate_hz, codec)

    def steps() -> Steps:
        yield call.world.draw(call.vendor.name, "ttfb_s")
        letter_s = seconds / max(1, len(text))
        for piece, (start, end) in zip(parts, spans(text, len(parts)), strict=True):
            base = start if call.has("relative_times") else 0
            aligned = {
                "characters": list(text[start:end]),
                "character_start_times_seconds": [round((i - base) * letter_s, 3) for i in range(start, end)],
                "character_end_times_seconds": [round((i + 1 - base) * letter_s, 3) for i in range(start, end)],
            }
            shown = aligned if end > start and not call.has("no_alignment") else None
            line = {"audio_base64": base64.b64encode(piece).decode(), "alignment": shown, "normalized_alignment": shown}
            yield json.dumps(line).encode() + b"\n"
            yield call.world.draw(call.vendor.name, "audio_gap_s")

    return Answer("tts", steps(), content_type="application/json", headers=head(call, text))


async def voices(call: Call) -> Answer:
    """GET /v1/voices, and /v2/voices in pages."""
    found = [
        {"voice_id": key, "name": name, "category": "premade", "labels": {"language": "en"}, "preview_url": None}
        for key, name in (call.vendor.state.get("voices") or VOICES).items()
    ]
    if not call.seen.path.startswith("/v2"):
        return document("voices", {"voices": found})
    size, start = int(call.seen.query.get("page_size", 10)), int(call.seen.query.get("next_page_token") or 0)
    more = start + size < len(found)
    token = str(start + size) if more else None
    page = {"voices": found[start : start + size], "has_more": more, "total_count": len(found)}
    return document("voices", {**page, "next_page_token": token})


async def subscription(call: Call) -> Answer:
    """GET /v1/user/subscription: health and quota."""
    used, limit = call.vendor.state.get("characters", (1200, 100_000))
    return document("health", {
        "tier": "creator", "character_count": used, "character_limit": limit, "status": "active",
        "next_character_count_reset_unix": 1792000000, "can_extend_character_limit": False, "voice_limit": 30,
    })  # fmt: skip


async def models(call: Call) -> Answer:
    """GET /v1/models: a list, not an object."""
    names = ("eleven_flash_v2_5", "eleven_multilingual_v2", "eleven_v3", "eleven_v4_turbo")
    return document("models", [{"model_id": name, "name": name, "can_do_text_to_speech": True} for name in names])
