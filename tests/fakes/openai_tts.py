"""Speech over HTTP, by OpenAI and its imitators. Source: providers.md 1.7, 6, 8.4 (2026-11-22)."""

from __future__ import annotations

import re

import trio

from tests.fakes.openai_chat import Steps, count
from tests.fakes.openai_models import limits
from tests.fakes.openai_stt import sse
from tests.fakes.server import Call
from tests.fakes.sound import CONTENT_TYPES, encoded, pieces, pieces64, wav_head
from tests.fakes.wire import Answer, document

VOICES = (
    "alloy",
    "ash",
    "ballad",
    "coral",
    "echo",
    "fable",
    "onyx",
    "nova",
    "sage",
    "shimmer",
    "verse",
    "marin",
    "cedar",
)
LONGEST = 4096
RATE_HZ = 24_000


async def speech(call: Call) -> Answer:
    """POST /audio/speech."""
    asked, facts = call.seen.json, call.vendor.dialect.facts
    text, voice, codec = asked.get("input"), asked.get("voice"), asked.get("response_format", "mp3")
    wrong = ""
    if not isinstance(text, str) or not text:
        wrong = "'input' must be a text that is not empty"
    elif len(text) > LONGEST:
        wrong = f"String should have at most {LONGEST} characters"
    elif facts.get("models") == "openai" and voice not in VOICES:
        wrong = f"Voice '{voice}' is not supported; it must be one of {', '.join(VOICES)}"
    elif codec not in CONTENT_TYPES or codec in ("mulaw", "alaw"):
        wrong = f"'response_format' {codec!r} is not supported"
    if wrong:
        return document("tts", call.vendor.dialect.refuse("validation", wrong)[1], 400)
    if (refused := limits(call)) is not None:
        return refused
    seconds = round(call.world.seconds_of(text, asked.get("speed", 1.0)), 2)
    rate_hz = asked.get("sample_rate", facts.get("rate_hz", RATE_HZ)) if facts.get("models") != "openai" else RATE_HZ
    if codec in ("mp3", "flac", "opus"):
        await trio.to_thread.run_sync(encoded, seconds, rate_hz, codec)
    events = asked.get("stream_format") == "sse" and facts.get("sse_speech", False)
    steps = as_events(call, text, seconds, rate_hz, codec) if events else as_bytes(call, text, seconds, rate_hz, codec)
    headers = call.vendor.state.get("headers", {})
    return Answer("tts", steps, content_type="text/event-stream" if events else CONTENT_TYPES[codec], headers=headers)


def as_bytes(call: Call, text: str, seconds: float, rate_hz: int, codec: str) -> Steps:
    """Chunks of the file. A streamed WAV does not know its length."""
    yield call.world.draw(call.vendor.name, "ttfb_s")
    if call.vendor.dialect.facts.get("by_sentence") and codec == "pcm":
        for sentence in re.findall(r"\S[^.!?]*[.!?]*", text):
            yield b"".join(pieces(round(call.world.seconds_of(sentence), 2), rate_hz))
            yield call.world.draw(call.vendor.name, "audio_gap_s")
        return
    if codec == "wav":
        yield wav_head(0 if call.has("zero_wav_length") else 0xFFFFFFFF, rate_hz)
    for piece in pieces(seconds, rate_hz, "pcm" if codec == "wav" else codec):
        yield piece
        yield call.world.draw(call.vendor.name, "audio_gap_s")


def as_events(call: Call, text: str, seconds: float, rate_hz: int, codec: str) -> Steps:
    """`speech.audio.delta` and `.done`."""
    yield call.world.draw(call.vendor.name, "ttfb_s")
    if codec == "wav":
        codec = "pcm"
    for piece in pieces64(seconds, rate_hz, codec):
        yield sse({"type": "speech.audio.delta", "audio": piece})
        yield call.world.draw(call.vendor.name, "audio_gap_s")
    spent = {"input_tokens": count(text), "output_tokens": int(seconds * 20)}
    if call.vendor.dialect.facts.get("stt") == "speaches":
        spent = {"input_tokens": 0, "output_tokens": 0}
    usage = {**spent, "total_tokens": sum(spent.values())}
    yield sse({"type": "speech.audio.done", "usage": usage})


async def voices(call: Call) -> Answer:
    """GET /audio/voices of Kokoro and Speaches."""
    return document("voices", {"voices": call.vendor.dialect.facts.get("voices", list(VOICES))})
