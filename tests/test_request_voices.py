"""Voices by one request per sentence: ElevenLabs with the times of words, and xAI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from aura.core import errors
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.core.secret import Secret
from aura.providers.elevenlabs.http_tts import ElevenLabsSpeaker
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.http import open_http
from aura.providers.xai.settings import XaiSettings
from aura.providers.xai.tts import open_tts as open_xai
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.world import Pace, World, hum

TEXT = "Good morning, how are you today?"
KEY = Secret("xi-test-0123456789")
both = pytest.mark.parametrize("voice", ["elevenlabs", "xai"])


@asynccontextmanager
async def speaking(voice: str, pace: Pace | None = None, **changes: Any) -> AsyncIterator[tuple[Any, Fakes]]:
    async with serve_fakes(World(pace=pace or Pace()), voice) as fakes, open_http() as http:
        base = {"base_url": fakes.url(voice), "api_key": KEY}
        if voice == "elevenlabs":
            yield ElevenLabsSpeaker(ElevenLabsSettings(**base, **changes), http), fakes
            return
        changes = {f"tts_{name}": value for name, value in changes.items()}
        async with open_xai(XaiSettings(**base, **changes, tts_transport="http"), http) as engine:
            yield engine, fakes


async def said(engine: Any, request: SpeechRequest | None = None) -> list[SpeechChunk]:
    async with engine.speak(request or SpeechRequest(TEXT, "verse")) as chunks:
        return [chunk async for chunk in chunks]


def pcm(chunks: list[SpeechChunk]) -> bytes:
    return b"".join(chunk.pcm for chunk in chunks)


def spoken(fakes: Fakes) -> bytes:
    return hum(round(fakes.world.seconds_of(TEXT), 2))


ODDITIES = ["", "split_events", "drip", "merged_writes", "crlf", "hold_after_done", "no_content_type", "odd_chunks"]


@both
@pytest.mark.parametrize("oddity", ODDITIES)
async def test_audio_comes_out_whole_however_it_is_cut(voice: str, oddity: str) -> None:
    if oddity in ("crlf", "hold_after_done") and voice == "xai":
        pytest.skip("bare audio has no lines, and no end but that of the body")
    async with speaking(voice, first_audio_timeout_s=5.0) as (engine, fakes):
        if oddity:
            fakes.fault("tts", oddity, drip_s=0.0)
        assert pcm(await said(engine)) == spoken(fakes)


FAULTS: dict[str, type[errors.ProviderError]] = {
    "refused": errors.Unavailable,
    "silent": errors.TimedOut,
    "unauthorized": errors.AuthFailed,
    "rate_limited": errors.RateLimited,
    "quota": errors.QuotaExhausted,
    "error_500": errors.Unavailable,
    "bad_gateway": errors.Unavailable,
    "validation": errors.BadRequest,
    "rst": errors.Unavailable,
    "cut": errors.StreamCut,
    "cut_between": errors.StreamCut,
    "rst_mid": errors.StreamCut,
    "stall": errors.TimedOut,
    "headers_then_silent": errors.TimedOut,
    "malformed": errors.StreamCut,
    "empty": errors.StreamCut,
}


@both
@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_are_provider_errors(voice: str, fault: str) -> None:
    async with speaking(voice, first_audio_timeout_s=0.4, stall_timeout_s=0.3) as (engine, fakes):
        fakes.fault("tts", fault)
        with trio.fail_after(3), pytest.raises(errors.ProviderError) as caught:
            await said(engine)
        assert type(caught.value) is FAULTS[fault], caught.value
        assert KEY.reveal() not in str(caught.value)
        fakes.clear()
        assert pcm(await said(engine)) == spoken(fakes)


@both
async def test_a_barge_in_reaches_the_engine_at_once(voice: str) -> None:
    async with speaking(voice, Pace(audio_gap_s=0.02)) as (engine, fakes):
        with trio.CancelScope() as scope:
            async with engine.speak(SpeechRequest(TEXT, "")) as chunks:
                async for _ in chunks:
                    left_at = trio.current_time()
                    scope.cancel()
        await trio.sleep(0.1)
        seen = fakes.of("tts")[0]
        assert seen.disconnected_at is not None
        assert seen.disconnected_at - left_at < 0.05
        assert seen.chunks_after(left_at + 0.005) <= 1


@pytest.mark.parametrize("fault", ["", "relative_times"])
async def test_elevenlabs_words_are_timed(fault: str) -> None:
    async with speaking("elevenlabs") as (engine, fakes):
        if fault:
            fakes.fault("tts", fault)
        chunks = await said(engine)
        words = [word for chunk in chunks for word in chunk.words]
        letter_s = round(fakes.world.seconds_of(TEXT), 2) / len(TEXT)
        off_s = 0.12 if fault else 0.01  # the fake's pieces of audio and of text do not end together
        assert [TEXT[word.start : word.end] for word in words] == TEXT.split()
        assert all(word.begin_s == pytest.approx(word.start * letter_s, abs=off_s) for word in words)
        assert all(word.end_s == pytest.approx(word.end * letter_s, abs=off_s) for word in words)


async def test_elevenlabs_without_alignment_speaks_all_the_same() -> None:
    async with speaking("elevenlabs") as (engine, fakes):
        fakes.fault("tts", "no_alignment")
        chunks = await said(engine)
        assert pcm(chunks) == spoken(fakes)
        assert not any(chunk.words for chunk in chunks)


async def test_elevenlabs_is_asked_for_what_was_chosen_and_unknown_voices_are_its_own() -> None:
    chosen = {"voices": {"rachel": "21m00Tcm4TlvDq8ikWAM"}, "stability": 0.4, "language": "en", "streaming_latency": 2}
    async with speaking("elevenlabs", **chosen, rate_hz=16_000, normalization="off") as (engine, fakes):
        for voice in ("alloy", "Rachel", "EXAVITQu4vr4xnSDxMaL"):
            chunks = await said(engine, SpeechRequest(TEXT, voice, 1.1))
            assert {chunk.rate_hz for chunk in chunks} == {16_000}
        seen = fakes.of("tts")
        asked = ["JBFqnCBsd6RMkjVDRZzb", "21m00Tcm4TlvDq8ikWAM", "EXAVITQu4vr4xnSDxMaL"]
        assert [one.path.split("/")[3] for one in seen] == asked
        assert seen[0].query == {"output_format": "pcm_16000", "optimize_streaming_latency": "2"}
        assert seen[0].headers["xi-api-key"] == KEY.reveal()
        assert seen[0].json == {
            "text": TEXT,
            "model_id": "eleven_flash_v2_5",
            "language_code": "en",
            "voice_settings": {"stability": 0.4, "speed": 1.1},
            "apply_text_normalization": "off",
        }
        assert len({one.connection for one in seen}) == 1


async def test_elevenlabs_takes_no_more_sentences_than_the_plan_allows() -> None:
    """The engine tells the plan with the first answer; from then on further sentences wait here."""
    done: list[bytes] = []
    async with speaking("elevenlabs", Pace(audio_gap_s=0.01), concurrency=1, queue_timeout_s=5.0) as (engine, fakes):
        fakes.vendors["elevenlabs"].state["concurrency"] = 2
        await said(engine)
        assert engine.left.concurrent_max == 2
        assert engine.left.requests == pytest.approx(0.5)

        async def one() -> None:
            done.append(pcm(await said(engine)))

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(one)
        assert done == [spoken(fakes)] * 6


async def test_who_waits_too_long_for_a_place_is_told_so() -> None:
    async with speaking("elevenlabs", Pace(audio_gap_s=0.05), concurrency=1, queue_timeout_s=0.05) as (engine, fakes):
        fakes.vendors["elevenlabs"].state["concurrency"] = 1
        async with engine.speak(SpeechRequest(TEXT, "")) as chunks:
            await anext(chunks)
            with pytest.raises(errors.RateLimited, match="1 sentences are under way"):
                await said(engine)


async def test_elevenlabs_voices_are_listed_over_pages_and_its_quota_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aura.providers.elevenlabs.common.PAGE", 2)
    async with speaking("elevenlabs") as (engine, fakes):
        assert [voice.name for voice in await engine.list_voices()] == ["Rachel", "George", "Sarah"]
        assert len(fakes.of("voices")) == 2
        await engine.probe()
        assert engine.left.tokens == pytest.approx(0.988)
        fakes.fault("health", "quota")
        with pytest.raises(errors.QuotaExhausted):
            await engine.probe()
