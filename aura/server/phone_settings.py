"""Settings of phone calls. A leaf module, so that whoever composes the settings imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

import msgspec

from aura.core.audio import AudioFormat
from aura.core.secret import Secret
from aura.core.wire.phone import FRAME_MS, audio_format

L16_RATE_HZ = 16_000


class PhoneSettings(msgspec.Struct, frozen=True):
    """Phone calls: Twilio at /v1/twilio, Telnyx at /v1/telnyx, Plivo at /v1/plivo."""

    public_url: str = ""
    """The address under which the vendors reach this server, such as wss://voice.example.org: they sign it. Empty: the
    host that the request names, which a proxy may have changed."""
    twilio_auth_token: Secret = msgspec.field(default_factory=Secret)
    """Checks Twilio's signature, and ends calls. Without it only this machine may call /v1/twilio."""
    twilio_account_sid: str = ""
    """For ending calls; empty: the account that each call names."""
    telnyx_stream_token: Secret = msgspec.field(default_factory=Secret)
    """The stream_auth_token that Telnyx was given; /v1/telnyx also takes it as ?key=. Without it only this machine may
    call."""
    telnyx_api_key: Secret = msgspec.field(default_factory=Secret)
    """Ends Telnyx calls."""
    telnyx_send_codec: str = "auto"
    """The stream_bidirectional_codec that Telnyx was given: PCMU, PCMA, L16 (16 kHz) or L16@8000. auto: PCMU, as is
    Telnyx's own default, or the caller's format where that is L16."""
    plivo_auth_token: Secret = msgspec.field(default_factory=Secret)
    """Checks Plivo's signature, and ends calls. Without it only this machine may call /v1/plivo."""
    plivo_auth_id: str = ""
    """For ending calls."""
    start_timeout_s: float = 10.0
    """Longest wait for the message with which a call begins."""
    lead_s: float = 0.2
    """As playout.lead_s, for phones: more rides out the network's jitter, and a flush takes back what was not heard."""
    chunk_ms: Annotated[int, msgspec.Meta(ge=20, le=1000)] = 60
    """Audio per message to the vendor, in steps of 20; Twilio advises 50 or more."""
    mark_ms: Annotated[int, msgspec.Meta(ge=20)] = 500
    """How often the vendor reports what was played."""
    digits_wait_s: float = 1.5
    """A number on the keypad is complete after a pause of this length, or with #."""
    digits_max: Annotated[int, msgspec.Meta(ge=1)] = 32
    """The longest number on the keypad."""
    digits_interrupt: bool = True
    """Whether the assistant stops speaking at the first key."""
    hang_up_wait_s: float = 5.0
    """Longest wait until the assistant's goodbye was heard, after which the call ends anyway."""
    api_timeout_s: float = 5.0
    """Longest wait for a vendor's REST API."""
    twilio_api_url: str = "https://api.twilio.com"
    """Twilio's REST API."""
    telnyx_api_url: str = "https://api.telnyx.com"
    """Telnyx's REST API."""
    plivo_api_url: str = "https://api.plivo.com"
    """Plivo's REST API."""

    def __post_init__(self) -> None:
        if self.chunk_ms % FRAME_MS:
            raise ValueError(f"chunk_ms must be a multiple of {FRAME_MS}")
        if self.telnyx_send_codec != "auto" and self.telnyx_format() is None:
            raise ValueError("telnyx_send_codec must be auto, PCMU, PCMA, L16 or L16@RATE")

    def telnyx_format(self) -> AudioFormat | None:
        """What Telnyx plays to the caller, where the setting says so."""
        name, _, rate = self.telnyx_send_codec.partition("@")
        if rate and not rate.isdecimal():
            return None
        return audio_format(name, int(rate) if rate else L16_RATE_HZ if name.upper() == "L16" else 8_000)
