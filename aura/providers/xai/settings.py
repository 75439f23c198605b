"""Settings of xAI. Importing this imports no HTTP library."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from aura.core.secret import Secret
from aura.providers.live_settings import LiveSettings, Seconds


class XaiSettings(LiveSettings, frozen=True, kw_only=True):
    """xAI: Grok answers, hears and speaks."""

    # ---- everything ----
    base_url: str = "https://api.x.ai/v1"
    """Address of the API, up to and including /v1."""
    api_key: Secret = msgspec.field(default_factory=Secret)
    """The key of the account, xai-…"""
    probe_timeout_s: Seconds = 5.0
    """Longest wait for the answer of a health check."""

    # ---- chat ----
    chat_tier: Literal["fast", "quality"] = "fast"
    """Which Grok answers: fast does not think before it speaks, quality does. Their names stand in xai/models.toml."""
    chat_model: str = ""
    """Model that answers, instead of the tier's."""
    reasoning_effort: str = ""
    """How long a model that thinks may do so: none, low, high. Empty: not sent."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    """Sampling temperature. Not set: the engine's own."""
    chat_extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Further fields of the chat request, just as the engine wants them."""
    chat_concurrency: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Most chat requests at a time; further ones wait in a fair queue. 0: no limit of our own."""
    first_token_timeout_s: Seconds = 15.0
    """Longest wait for the first piece of an answer."""
    stall_timeout_s: Seconds = 8.0
    """Longest gap inside an answer."""
    usage_wait_s: Seconds = 0.05
    """How long token counts and price may lag behind the end of the answer before they are given up."""

    # ---- hearing (and LiveSettings) ----
    stt_language: str = ""
    """Language of the speech, such as en. Empty: the engine finds out, and writes numbers as words."""
    stt_keyterms: tuple[str, ...] = ()
    """Names and words the recogniser should expect."""
    stt_endpointing_ms: Annotated[int, msgspec.Meta(ge=0, le=5000)] = 10
    """Silence after which the words so far become certain."""
    stt_smart_turn: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """How sure the engine must be that the turn is over before it says so. Not set: it does not judge turns."""
    stt_rest_timeout_s: Seconds = 8.0
    """Longest wait for the transcript of finished audio (/stt without a WebSocket)."""

    # ---- speech ----
    tts_transport: Literal["websocket", "http"] = "websocket"
    """How speech comes: over a WebSocket that stays open, with the time of every word, or one request per sentence."""
    voice: str = "eve"
    """Voice used when the conversation names none, or one that is unknown: eve, ara, rex, sal, leo or a custom one."""
    voices: tuple[str, ...] = ("ara", "eve", "leo", "rex", "sal")
    """Voices that clients may ask for; your custom ones belong here too."""
    tts_language: str = "auto"
    """Language of the text as BCP-47 code, or auto."""
    tts_rate_hz: Literal[8000, 16000, 22050, 24000, 44100, 48000] = 24_000
    """Sample rate of the audio."""
    tts_latency: Literal[0, 1] | None = None
    """1 gives up some quality for speed. Not set: not sent."""
    tts_normalization: bool | None = None
    """Whether numbers and the like are written out by the engine. Not set: not sent."""
    tts_timestamps: bool = True
    """Ask for the time of every letter, so that it is known what was heard of a sentence."""
    tts_sockets_max: Annotated[int, msgspec.Meta(ge=1)] = 100
    """WebSockets at a time; each says one sentence at a time. The account may have 100."""
    tts_socket_idle_s: Seconds = 300.0
    """How long an unused WebSocket stays open."""
    tts_socket_age_s: Seconds = 1800.0
    """Age at which a WebSocket is replaced; the engine drops it near 2100 s."""
    tts_clear_timeout_s: Seconds = 0.5
    """Longest wait for the confirmation that a sentence was stopped; then its WebSocket is given up."""
    tts_connect_timeout_s: Seconds = 5.0
    """Longest wait for a WebSocket, and for a free one when all are in use."""
    tts_first_audio_timeout_s: Seconds = 6.0
    """Longest wait for the first audio of a sentence."""
    tts_stall_timeout_s: Seconds = 5.0
    """Longest gap inside a sentence's audio."""
    tts_max_sentence_s: Seconds = 120.0
    """Longest audio of one sentence."""
