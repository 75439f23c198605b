"""Settings of ElevenLabs. Importing this imports no HTTP library."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from aura.core.secret import Secret
from aura.providers.live_settings import LiveSettings, Seconds

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ElevenLabsSettings(LiveSettings, frozen=True, kw_only=True):
    """ElevenLabs speaks, with the time of every word."""

    base_url: str = "https://api.elevenlabs.io"
    """Address of the API; https://api.us.elevenlabs.io or a residency host is nearer to some."""
    api_key: Secret = msgspec.field(default_factory=Secret)
    """The key of the account."""
    tts_model: str = "eleven_flash_v2_5"
    """Model that speaks. The WebSocket refuses eleven_v3 and eleven_v4: take the engine elevenlabs-http for them."""
    voice: str = "JBFqnCBsd6RMkjVDRZzb"
    """Id of the voice used when the conversation names none, or one that is unknown here."""
    voices: dict[str, str] = msgspec.field(default_factory=dict)
    """Voices by the names that clients ask for: name → id. Ids themselves are always understood."""
    rate_hz: Literal[8000, 16000, 22050, 24000, 32000, 44100, 48000] = 24_000
    """Sample rate of the audio. 44100 and above need the plan Pro."""
    language: str = ""
    """Language of the text as ISO code, such as de. Empty: the model finds out."""
    stability: Share | None = None
    """How even the voice is. Not set: the voice's own."""
    similarity_boost: Share | None = None
    """How close to the original voice. Not set: the voice's own."""
    style: Share | None = None
    """How much the voice's style is exaggerated; costs time. Not set: the voice's own."""
    normalization: Literal["auto", "on", "off"] = "auto"
    """Whether numbers and the like are written out by the engine."""
    streaming_latency: Annotated[int, msgspec.Meta(ge=0, le=4)] | None = None
    """How much quality is given up for speed, 0-4 (elevenlabs-http only). Not set: nothing."""
    logging: bool = True
    """Whether the engine may keep the text in its history (false needs an enterprise plan)."""
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 4
    """Sentences at a time, until the engine itself says what the plan allows."""
    contexts_max: Annotated[int, msgspec.Meta(ge=1, le=4)] = 4
    """Sentences on one WebSocket, those included whose end has not been confirmed. The engine closes it at the 6th."""
    sockets_max: Annotated[int, msgspec.Meta(ge=1)] = 32
    """WebSockets at a time, over all voices."""
    socket_idle_s: Annotated[float, msgspec.Meta(gt=0, le=170)] = 60.0
    """How long an unused WebSocket stays open."""
    socket_age_s: Seconds = 3600.0
    """Age at which a WebSocket is replaced by a fresh one."""
    connect_timeout_s: Seconds = 5.0
    """Longest wait for a WebSocket."""
    queue_timeout_s: Seconds = 3.0
    """Longest wait for a free place when all allowed sentences are under way."""
    first_audio_timeout_s: Seconds = 6.0
    """Longest wait for the first audio of a sentence."""
    stall_timeout_s: Seconds = 5.0
    """Longest gap inside a sentence's audio."""
    settle_s: Seconds = 0.15
    """When the last word has come and nothing more for this long, the sentence is taken to be complete."""
    close_timeout_s: Seconds = 2.0
    """Longest wait for the confirmation that a sentence was stopped; then its WebSocket is given up."""
    probe_timeout_s: Seconds = 5.0
    """Longest wait for the answer of a health check."""
    max_sentence_s: Seconds = 120.0
    """Longest audio of one sentence."""

    # ---- hearing (and LiveSettings) ----
    stt_model: str = "scribe_v2_realtime"
    """Model that transcribes."""
    stt_language: str = ""
    """Language of the speech as ISO code, such as en. Empty: the engine finds out."""
    stt_keyterms: tuple[str, ...] = ()
    """Names and words the recogniser should expect."""
