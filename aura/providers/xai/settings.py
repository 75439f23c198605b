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
    stt_model: str = "stt"
    """Name under which the recogniser is counted; xAI has only one."""
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
