"""Settings of the OpenAI API and of servers that speak like it. Importing this imports no HTTP library."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from aura.core.secret import Secret
from aura.providers.live_settings import LiveSettings, Seconds


class OpenAISettings(LiveSettings, frozen=True, kw_only=True):
    """OpenAI: chat, transcription and speech. Model names end on dates that `aura doctor` shows."""

    base_url: str = "https://api.openai.com/v1"
    """Address of the API, up to and including /v1."""
    api_key: Secret = msgspec.field(default_factory=Secret)
    """The key of the account, sk-…"""
    chat_model: str = "gpt-6-luna"
    """Model that answers."""
    stt_model: str = "gpt-transcribe"
    """Model that transcribes."""
    live_stt_model: str = "gpt-live-transcribe"
    """Model that transcribes while the user speaks (engine openai-live)."""
    live_stt_noise: Literal["", "near_field", "far_field"] = ""
    """Noise reduction before it: near_field for headsets, far_field for rooms. Empty: none."""
    tts_model: str = "gpt-4o-mini-tts"
    """Model that speaks."""
    voice: str = "alloy"
    """Voice used when the conversation names none."""
    realtime_tts_model: str = "gpt-realtime-2.1-mini"
    """Model that reads aloud over the Realtime WebSocket (engine openai-realtime)."""
    sockets_max: Annotated[int, msgspec.Meta(ge=1)] = 64
    """Realtime sessions for speech at a time; each says one sentence at a time."""
    socket_idle_s: Seconds = 300.0
    """How long an unused session stays open."""
    socket_age_s: Seconds = 3000.0
    """Age at which a session is replaced; the engine ends it after 60 minutes."""
    socket_connect_timeout_s: Seconds = 5.0
    """Longest wait for a session, and for a free one when all are in use."""
    cancel_timeout_s: Seconds = 2.0
    """Longest wait for the confirmation that a sentence was stopped; then its session is given up."""
    max_sentence_s: Seconds = 120.0
    """Longest audio of one sentence over a session."""
    tts_formats: tuple[str, ...] = ("pcm",)
    """Formats that the speech endpoint sends, the best first: pcm, wav, mp3, opus, flac."""
    tts_rate_hz: Annotated[int, msgspec.Meta(ge=8000, le=48000)] = 24_000
    """Sample rate of headerless audio from the speech endpoint, where the reply does not say."""
    tts_instructions: str = ""
    """How to speak, in words (not for tts-1). Empty: not sent."""
    language: str = ""
    """Language of the speech to transcribe as ISO code, such as en. Empty: the engine finds out."""
    languages: tuple[str, ...] = ()
    """Languages that may be spoken, where there are several, as ISO codes (gpt-transcribe)."""
    stt_prompt: str = ""
    """Names and words the recogniser should expect, as a text. Empty: not sent."""
    keywords: tuple[str, ...] = ()
    """The same as single words (gpt-transcribe); older models get them as part of the prompt."""
    stt_format: Literal["auto", "json", "verbose_json", "text"] = "auto"
    """Form of the transcript. auto: json, but verbose_json from whisper-1, whose figures tell words from noise."""
    stt_stream: Literal["none", "openai", "vllm", "speaches"] = "openai"
    """How the server sends a transcript while it works on it, if it can."""
    stt_interim: bool = False
    """Ask for the words as they are found. The transcript is then without the figures of verbose_json."""
    no_speech_limit: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.6
    """A piece with a higher no_speech_prob is dropped as invented …"""
    logprob_limit: Annotated[float, msgspec.Meta(le=0)] = -1.0
    """… unless its avg_logprob is higher than this (Whisper's own rule)."""
    reasoning_effort: str = "none"
    """How long the model thinks before it speaks: none, minimal, low, … Empty: not sent (for other servers)."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    """Sampling temperature. Not set: the engine's own. OpenAI takes it only with reasoning_effort none."""
    verbosity: Literal["", "low", "medium", "high"] = ""
    """How much the model says. Empty: not sent."""
    service_tier: Literal["", "auto", "default", "flex", "scale", "priority", "fast"] = ""
    """Which queue to wait in; fast and priority cost double, flex half. Empty: not sent."""
    safety_identifier: str = ""
    """A hash that stands for your user at the engine's abuse watch. Empty: not sent."""
    prompt_cache_key: str = "auto"
    """Groups requests that begin alike for the cache. auto: a hash of instructions and tools. Empty: not sent."""
    chat_extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Further fields of the chat request, just as the engine wants them."""
    tools: bool = True
    """Let the model call functions. Some local models and servers refuse requests that declare any."""
    starts_thinking: bool = False
    """The answer begins inside of a thought that </think> ends, as some templates of reasoning models have it."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """Name of the request field that limits an answer; older servers know max_tokens only."""
    ask_usage: bool = True
    """Ask for token counts at the end of an answer (stream_options); some small servers refuse the field."""
    openai_only_fields: bool = True
    """Ask OpenAI not to pad its events (include_obfuscation: false saves a third of the bytes)."""
    first_token_timeout_s: Seconds = 15.0
    """Longest wait for the first piece of an answer. A local server that loads a model first needs more."""
    probe_path: str = "/models"
    """Path of the health check, which must cost nothing."""
    probe_timeout_s: Seconds = 5.0
    """Longest wait for the answer of a health check."""
    concurrency: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Most requests at a time; further ones wait in a fair queue. 0: no limit of our own."""
    first_audio_timeout_s: Seconds = 10.0
    """Longest wait for the first audio of a sentence."""
    stall_timeout_s: Seconds = 8.0
    """Longest gap inside an answer or a sentence's audio."""
    stt_timeout_s: Seconds = 15.0
    """Longest wait for a transcript."""
    usage_wait_s: Seconds = 0.05
    """How long the token counts may lag behind the end of the answer before they are given up."""
    min_utterance_s: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    """Shorter audio is not sent: the engine refuses it or invents words."""
    max_utterance_s: Seconds = 600.0
    """Longest audio of one utterance; what comes after is dropped (the API takes 25 MB, 800 s)."""


class CompatibleSettings(OpenAISettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that speaks the OpenAI API: Ollama, vLLM, llama.cpp, LM Studio, Speaches, Kokoro, LocalAI …"""

    preset: str = ""
    """Which server it is: ollama, vllm, lmstudio, llamacpp, localai, speaches, kokoro, whispercpp or groq. What is
    known of it is then the default of the other settings. Empty: known by its address, or nothing in particular."""
    base_url: str = "http://127.0.0.1:11434/v1"
    """Address of the server, up to and including /v1."""
    api_key: Secret = msgspec.field(default_factory=Secret)
    """Key, if the server wants one."""
    stt_stream: Literal["none", "openai", "vllm", "speaches"] = "none"
    """How the server sends a transcript while it works on it, if it can."""
    chat_model: str = "llama3.2"
    """Model that answers; `aura doctor` lists what the server has."""
    stt_model: str = "whisper-1"
    """Model that transcribes."""
    tts_model: str = "kokoro"
    """Model that speaks."""
    voice: str = "af_heart"
    """Voice used when the conversation names none."""
    reasoning_effort: str = ""
    """How long the model thinks before it speaks. Empty: not sent, as many servers refuse the field."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    """Name of the request field that limits an answer."""
    openai_only_fields: bool = False
    """Ask the server not to pad its events, as only OpenAI does."""
    prompt_cache_key: str = ""
    """Groups requests that begin alike, for the engine's cache. Empty: not sent, as many servers refuse it."""
    first_token_timeout_s: Seconds = 60.0
    """Longest wait for the first piece of an answer; a server may load the model first."""
