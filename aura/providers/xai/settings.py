"""Settings of xAI. Importing this imports no HTTP library."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from aura.core.secret import Secret

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class XaiSettings(msgspec.Struct, frozen=True, kw_only=True):
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
    chat_extra: dict[str, Any] = {}
    """Further fields of the chat request, just as the engine wants them."""
    chat_concurrency: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Most chat requests at a time; further ones wait in a fair queue. 0: no limit of our own."""
    first_token_timeout_s: Seconds = 15.0
    """Longest wait for the first piece of an answer."""
    stall_timeout_s: Seconds = 8.0
    """Longest gap inside an answer."""
    usage_wait_s: Seconds = 0.05
    """How long token counts and price may lag behind the end of the answer before they are given up."""
