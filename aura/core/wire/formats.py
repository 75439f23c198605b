"""Audio formats as the session object names them (realtime-protocol.md 1.3)."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from aura.core.audio import AudioFormat


class Pcm(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcm"):
    """16-bit little-endian mono. OpenAI's own clients accept only 24000 in the echo, xAI's ask for others."""

    rate: Annotated[int, Meta(ge=8_000, le=48_000)] = 24_000

    @property
    def audio(self) -> AudioFormat:
        """The same for AURA."""
        return AudioFormat("pcm16", self.rate)


class Ulaw(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcmu"):
    """G.711 mu-law."""

    @property
    def audio(self) -> AudioFormat:
        """The same for AURA."""
        return AudioFormat("pcmu", 8_000)


class Alaw(msgspec.Struct, frozen=True, tag_field="type", tag="audio/pcma"):
    """G.711 A-law."""

    @property
    def audio(self) -> AudioFormat:
        """The same for AURA."""
        return AudioFormat("pcma", 8_000)


WireFormat = Pcm | Ulaw | Alaw


def wire_format(audio: AudioFormat) -> WireFormat:
    """The same for the session object."""
    return Pcm(audio.rate_hz) if audio.encoding == "pcm16" else Ulaw() if audio.encoding == "pcmu" else Alaw()
