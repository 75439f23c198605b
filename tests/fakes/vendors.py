"""The table of vendors: who speaks which dialect at which addresses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.fakes import (
    deepgram,
    elevenlabs,
    elevenlabs_ws,
    openai_chat,
    openai_models,
    openai_realtime,
    openai_stt,
    openai_tts,
    scribe,
    xai,
)
from tests.fakes.faults import openai_error
from tests.fakes.server import Dialect, Route

CHAT = Route("/v1/chat/completions", "chat", openai_chat.chat)
MODELS = [
    Route("/v1/models", "models", openai_models.models),
    Route("/v1/models/{id}", "models", openai_models.model),
]
STT = Route("/v1/audio/transcriptions", "stt", openai_stt.transcribe)
TTS = Route("/v1/audio/speech", "tts", openai_tts.speech)
VOICES = Route("/v1/audio/voices", "voices", openai_tts.voices)
HEALTH = Route("/health", "health", openai_models.health)
REALTIME = Route("/v1/realtime", openai_realtime.kind_of, ws=openai_realtime.realtime)


def like_openai(*routes: Route, **facts: Any) -> Dialect:
    """OpenAI's addresses, with what tells this server apart."""
    return Dialect(
        [*MODELS, *routes], refuse=facts.pop("refuse", openai_error), check_key=openai_models.bearer,
        in_band=openai_models.in_band, facts=facts,
    )  # fmt: skip


def openai() -> Dialect:
    """OpenAI itself."""
    base = {"service_tier": "default", "system_fingerprint": "fp_1"}
    return like_openai(CHAT, STT, TTS, REALTIME, models="openai", pads=True, base=base, sse_speech=True)


def grok() -> Dialect:
    """xAI."""
    routes = [
        CHAT, *MODELS, Route("/v1/api-key", "health", xai.api_key),
        Route("/v1/language-models", "models", openai_models.models),
        Route("/v1/tts", "tts", xai.tts_rest), Route("/v1/tts", "tts", ws=xai.tts_ws),
        Route("/v1/tts/voices", "voices", xai.voices), TTS,
        Route("/v1/stt", "stt", xai.stt_rest), Route("/v1/stt", "stt", ws=xai.stt_ws),
    ]  # fmt: skip
    facts = {"models": "xai", "ticks": (12_500, 25_000), "whole_calls": True, "base": {"system_fingerprint": "fp_x"}}
    return Dialect(routes, refuse=xai.error, check_key=xai.check_key, in_band=xai.in_band, facts=facts)


def eleven() -> Dialect:
    """ElevenLabs."""
    speech = "/v1/text-to-speech/{voice}"
    routes = [
        Route(speech, "tts", elevenlabs.stream), Route(f"{speech}/stream", "tts", elevenlabs.stream),
        Route(f"{speech}/stream/with-timestamps", "tts", elevenlabs.with_timestamps),
        Route(f"{speech}/stream-input", "tts", ws=elevenlabs_ws.single),
        Route(f"{speech}/multi-stream-input", "tts", ws=elevenlabs_ws.many),
        Route("/v[12]/voices", "voices", elevenlabs.voices), Route("/v1/models", "models", elevenlabs.models),
        Route("/v1/user/subscription", "health", elevenlabs.subscription),
        Route("/v1/speech-to-text", "stt", scribe.transcribe),
        Route("/v1/speech-to-text/realtime", "stt", ws=scribe.realtime, in_band=scribe.in_band),
    ]  # fmt: skip
    return Dialect(routes, base="", refuse=elevenlabs.error, check_key=elevenlabs.check_key, in_band=elevenlabs.in_band)


def deepgram_() -> Dialect:
    """Deepgram."""
    routes = [
        Route("/v1/listen", "stt", ws=deepgram.v1), Route("/v2/listen", "stt", ws=deepgram.v2),
        Route("/v1/projects", "health", deepgram.projects),
    ]  # fmt: skip
    return Dialect(routes, base="", refuse=deepgram.error, check_key=deepgram.check_key, in_band=deepgram.in_band)


VENDORS: dict[str, Callable[[], Dialect]] = {
    "openai": openai,
    "xai": grok,
    "elevenlabs": eleven,
    "deepgram": deepgram_,
    "ollama": partial(
        like_openai, CHAT, base={"system_fingerprint": "fp_ollama"}, delta={"role": "assistant"},
        reasoning="reasoning", whole_calls=True, models="ollama",
    ),
    "vllm": partial(like_openai, CHAT, STT, HEALTH, stt="vllm", models="vllm"),
    "llamacpp": partial(like_openai, CHAT, HEALTH, first_content=None, extra={"timings": {"predicted_ms": 9.1}}),
    "speaches": partial(like_openai, STT, TTS, VOICES, HEALTH, stt="speaches", sse_speech=True),
    "kokoro": partial(like_openai, TTS, VOICES, HEALTH, by_sentence=True, voices=["af_heart", "af_bella", "am_adam"]),
    "whispercpp": partial(
        like_openai, STT, Route("/inference", "stt", openai_stt.transcribe), stt="none", one_model=True,
        one_at_a_time=True, refuse=openai_models.plain_error,
    ),
}  # fmt: skip
"""By name; a name says which port is whose."""
