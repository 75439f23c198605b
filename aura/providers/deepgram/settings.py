"""Settings of Deepgram. Importing this imports no HTTP library."""

from __future__ import annotations

from typing import Annotated

import msgspec

from aura.core.secret import Secret
from aura.providers.live_settings import LiveSettings, Seconds


class DeepgramSettings(LiveSettings, frozen=True, kw_only=True):
    """Deepgram hears: nova leaves the end of the turn to AURA, Flux has an opinion about it."""

    base_url: str = "https://api.deepgram.com"
    """Address of the API, without a version."""
    api_key: Secret = msgspec.field(default_factory=Secret)
    """The key of the project."""
    probe_timeout_s: Seconds = 5.0
    """Longest wait for the answer of a health check."""
    nova_model: str = "nova-3"
    """Model of the engine deepgram."""
    flux_model: str = "flux-general-en"
    """Model of the engine flux; flux-general-multi hears several languages."""
    language: str = ""
    """Language of the speech, such as en or multi (nova), or which to expect (Flux). Empty: the model's own."""
    keyterms: tuple[str, ...] = ()
    """Names and words the recogniser should expect."""
    endpointing_ms: Annotated[int, msgspec.Meta(ge=0)] = 300
    """nova: silence after which it says that the turn is over. 0: it does not."""
    smart_format: bool = True
    """nova: write numbers, dates and the like as figures."""
    eot_threshold: Annotated[float, msgspec.Meta(ge=0.5, le=1)] = 0.7
    """Flux: how sure it must be that the turn is over. 1: it leaves that to AURA."""
    eager_eot_threshold: Annotated[float, msgspec.Meta(ge=0.3, le=0.9)] | None = 0.5
    """Flux: how sure it must be to say that the turn is probably over: an answer is begun. Not set: it does not."""
    eot_timeout_ms: Annotated[int, msgspec.Meta(ge=500, le=60_000)] = 5000
    """Flux: silence after which the turn is over in any case."""
    opt_out: bool = False
    """Forbid that audio is kept to improve the models (costs more)."""
