"""Speech against a real server: audio in every wrapping, and servers that send something else."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import errors
from aura.core.ports import SpeechRequest
from aura.providers.http import open_http
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.tts import OpenAISpeaker
from aura.providers.wav import WavFormat, read_wav_header, wav_header
from tests import sounds
from tests.fakes.openai_server import Answer, FakeOpenAI, failure, one_shot, raw, serve, speech, sse, tone

HELLO = SpeechRequest("Hello there.", "verse")
SOUND = tone(0.3)
FAKE_LENGTH = wav_header(0, 24_000)[:40] + b"\xff\xff\xff\xff"
STEREO = sounds.wav(1, 16, 2, 24_000, sounds.stereo(np.frombuffer(SOUND, np.int16)))
FMT = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 1, 1, 22_050, 44_100, 2, 16, 0)
LISTED = b"RIFF\0\0\0\0WAVE" + FMT + struct.pack("<4sI4s", b"LIST", 3, b"abc") + b"data\xff\xff\xff\xff"


@asynccontextmanager
async def voice(*answers: Answer, **changes: Any) -> AsyncIterator[tuple[OpenAISpeaker, FakeOpenAI]]:
    async with serve(*answers) as fake, open_http() as http:
        yield OpenAISpeaker(OpenAISettings(base_url=fake.base_url, **changes), http), fake


async def spoken(answer: Answer, **changes: Any) -> tuple[bytes, set[int]]:
    """All samples and the rates they claim; every chunk must hold whole samples."""
    async with voice(answer, **changes) as (engine, _), engine.speak(HELLO) as chunks:
        got = [chunk async for chunk in chunks]
    assert all(chunk.pcm and len(chunk.pcm) % 2 == 0 for chunk in got)
    return b"".join(chunk.pcm for chunk in got), {chunk.rate_hz for chunk in got}


PLAYED: dict[str, tuple[Answer, int]] = {
    "pcm": (speech(SOUND), 24_000),
    "odd pieces": (speech(SOUND, piece_bytes=777), 24_000),
    "single bytes": (speech(SOUND[:200], piece_bytes=1), 24_000),
    "octet-stream": (speech(SOUND, content_type="application/octet-stream"), 24_000),
    "labelled mpeg": (speech(SOUND, content_type="audio/mpeg"), 24_000),
    "rate in the type": (speech(SOUND, content_type="audio/L16; rate=22050; channels=1"), 22_050),
    "wav": (speech(wav_header(len(SOUND), 16_000) + SOUND, content_type="audio/wav"), 16_000),
    "wav, false length": (speech(FAKE_LENGTH + SOUND, content_type="audio/wav"), 24_000),
    "wav, split header": (speech(FAKE_LENGTH + SOUND, piece_bytes=3, content_type="audio/wav"), 24_000),
    "wav labelled pcm, more chunks": (speech(LISTED + SOUND, content_type="audio/pcm"), 22_050),
    "stereo wav": (
        speech(STEREO, content_type="audio/wav"),
        24_000,
    ),
    "events": (speech(SOUND, events=True), 24_000),
    "events of odd size": (speech(SOUND, piece_bytes=777, events=True), 24_000),
    "wav in events": (speech(FAKE_LENGTH + SOUND, events=True), 24_000),
    "unknown events": (raw("tts", sse({"type": "x"}), *speech(SOUND, events=True).steps), 24_000),
    "until the connection ends": (speech(SOUND, framing="close"), 24_000),
    "content-length": (speech(SOUND, framing="length"), 24_000),
}


@pytest.mark.parametrize("form", PLAYED)
async def test_audio_of_every_form_comes_out_whole(form: str) -> None:
    answer, rate_hz = PLAYED[form]
    samples, rates = await spoken(answer)
    expected = SOUND[: len(samples)] if form == "single bytes" else SOUND
    assert samples == expected
    assert len(samples) >= 200
    assert rates == {rate_hz}


FAULTS: dict[str, tuple[Answer, type[errors.ProviderError]]] = {
    "0 bytes": (speech(b""), errors.StreamCut),
    "0 bytes of events": (speech(b"", events=True), errors.StreamCut),
    "header only": (speech(FAKE_LENGTH), errors.StreamCut),
    "cut": (speech(SOUND, after="cut"), errors.StreamCut),
    "reset": (raw("tts", SOUND[:100], 0.02, after="reset", content_type="audio/pcm"), errors.StreamCut),
    "stall": (speech(SOUND, after="hold"), errors.TimedOut),
    "silence before the head": (Answer("tts", head_delay_s=9), errors.TimedOut),
    "silence after the head": (speech(b"", after="hold"), errors.TimedOut),
    "tags only": (raw("tts", b"ID3\x04" + bytes(90), content_type="audio/mpeg"), errors.StreamCut),
    "pages of nothing": (raw("tts", b"OggS" + bytes(90), content_type="audio/ogg"), errors.StreamCut),
    "wav of 12 bits": (
        raw("tts", sounds.wav(1, 12, 1, 24_000, SOUND), content_type="audio/wav"),
        errors.BadRequest,
    ),
    "a web page": (raw("tts", b"<html><title>Sign in</title>", content_type="text/html"), errors.Unavailable),
    "json with 200": (one_shot("tts", {"error": {"code": "insufficient_quota"}}), errors.QuotaExhausted),
    "error event": (raw("tts", sse({"type": "error", "error": {"message": "boo"}})), errors.Unavailable),
    "broken event": (raw("tts", sse(b"{nope")), errors.StreamCut),
    "broken base64": (raw("tts", sse({"type": "speech.audio.delta", "audio": "a"})), errors.StreamCut),
    "refused": (failure("tts", 400, {"detail": "unknown voice"}), errors.BadRequest),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_failures_are_provider_errors(fault: str) -> None:
    answer, kind = FAULTS[fault]
    with pytest.raises(errors.ProviderError) as caught:
        await spoken(answer, first_audio_timeout_s=0.15, stall_timeout_s=0.1)
    assert type(caught.value) is kind, caught.value


async def test_the_request_names_only_what_was_chosen() -> None:
    async with voice(tts_instructions="Cheerful.") as (engine, fake):
        for request in (HELLO, SpeechRequest("Bye.", "", speed=1.25)):
            async with engine.speak(request) as chunks:
                assert [chunk async for chunk in chunks]
        base = {"model": "gpt-4o-mini-tts", "response_format": "pcm", "instructions": "Cheerful."}
        assert [seen.json for seen in fake.seen] == [
            {**base, "input": "Hello there.", "voice": "verse"},
            {**base, "input": "Bye.", "voice": "alloy", "speed": 1.25},
        ]
        assert fake.connections == 1


async def test_the_first_bytes_come_at_once() -> None:
    async with voice(raw("tts", SOUND[:3], 0.2, SOUND[3:], content_type="audio/pcm")) as (engine, _):
        with trio.fail_after(0.15):
            async with engine.speak(HELLO) as chunks:
                first = await anext(chunks)
        assert first.pcm == SOUND[:2]


async def test_cancelling_reaches_the_engine_at_once() -> None:
    async with voice(speech(5.0, gap_s=0.02)) as (engine, fake):
        with trio.CancelScope() as scope:
            async with engine.speak(HELLO) as chunks:
                async for _ in chunks:
                    left_at = trio.current_time()
                    scope.cancel()
        await trio.sleep(0.05)
        assert fake.seen[0].disconnected_at is not None
        assert fake.seen[0].disconnected_at - left_at < 0.05


@given(st.integers(8000, 48_000), st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_a_wav_header_is_read_as_soon_as_it_is_complete_and_not_before(rate_hz: int, size: int) -> None:
    start = (wav_header(100, rate_hz) + bytes(100))[:size]
    assert read_wav_header(start) == (WavFormat(rate_hz, 1, 16, 44, data_bytes=100) if size >= 44 else None)
