"""Audio formats, and the streams between a client's format and AURA's: framing, resampling, loudness."""

from __future__ import annotations

import re
from math import log10
from typing import Literal

import msgspec
import numpy as np

from aura.core import g711
from aura.core.ports import FRAME_BYTES, LISTEN_RATE_HZ
from aura.core.resample import Samples, resampler

Encoding = Literal["pcm16", "pcmu", "pcma"]
SILENCE_DB = -100.0
"""What `level_db` calls silence."""
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 48_000
G711_RATE_HZ = 8_000

_NAMES: dict[str, Encoding] = {
    "pcm16": "pcm16",
    "pcm": "pcm16",
    "l16": "pcm16",
    "pcmu": "pcmu",
    "g711_ulaw": "pcmu",
    "ulaw": "pcmu",
    "mulaw": "pcmu",
    "x-mulaw": "pcmu",
    "pcma": "pcma",
    "g711_alaw": "pcma",
    "alaw": "pcma",
    "x-alaw": "pcma",
}
_SPEC = re.compile(r"(?:audio/)?(?P<name>[a-z0-9_-]+)(?:\s*[;@/:]\s*(?:rate=)?(?P<rate>\d+))?", re.IGNORECASE)


class AudioFormat(msgspec.Struct, frozen=True):
    """How a client's mono audio is written: 16-bit little-endian samples, or G.711 bytes at 8 kHz."""

    encoding: Encoding = "pcm16"
    rate_hz: int = 24_000

    def __post_init__(self) -> None:
        if self.encoding != "pcm16" and self.rate_hz != G711_RATE_HZ:
            raise ValueError(f"{self.encoding} audio has {G711_RATE_HZ} samples per second, not {self.rate_hz}")
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise ValueError(f"the sample rate must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz, not {self.rate_hz}")

    @property
    def sample_bytes(self) -> int:
        return 2 if self.encoding == "pcm16" else 1

    def samples_in(self, size: int) -> int:
        """How many whole samples `size` bytes are."""
        return size // self.sample_bytes

    def seconds_in(self, size: int) -> float:
        """How long `size` bytes sound."""
        return size / (self.sample_bytes * self.rate_hz)

    def bytes_for(self, ms: float) -> int:
        """The size of `ms` milliseconds, in whole samples."""
        return round(self.rate_hz * ms / 1000) * self.sample_bytes

    def describe(self) -> str:
        """For people and logs, and readable by `parse`: `pcm16@24000`."""
        return f"{self.encoding}@{self.rate_hz}"

    @classmethod
    def parse(cls, spec: str, rate_hz: int | None = None) -> AudioFormat:
        """The format that a name means: `pcm16`, `g711_ulaw`, `audio/pcmu`, `audio/pcm;rate=16000`, `pcm16@8000`.

        `rate_hz` is for protocols that name it apart. Without any rate G.711 has 8 kHz and PCM 24 kHz, as in the
        Realtime protocol. Raises ValueError with a line that can be shown.
        """
        match = _SPEC.fullmatch(spec.strip())
        encoding = _NAMES.get(match["name"].lower()) if match else None
        if match is None or encoding is None:
            raise ValueError(f"unknown audio format {spec!r}; known are pcm16, g711_ulaw and g711_alaw")
        given = int(match["rate"]) if match["rate"] else rate_hz
        return cls(encoding, given or (24_000 if encoding == "pcm16" else G711_RATE_HZ))


def _decode(data: bytes, encoding: Encoding) -> Samples:
    if encoding == "pcm16":
        return np.frombuffer(data, "<i2")
    return g711.decode(data, g711.ULAW_DECODE if encoding == "pcmu" else g711.ALAW_DECODE)


def _encode(samples: Samples, encoding: Encoding) -> bytes:
    if encoding == "pcm16":
        return samples.astype("<i2", copy=False).tobytes()
    return g711.encode(samples, g711.ULAW_ENCODE if encoding == "pcmu" else g711.ALAW_ENCODE)


class Reframer:
    """A client's audio, in pieces of any length, as frames of 20 ms at 16 kHz (`FRAME_BYTES` each)."""

    def __init__(self, fmt: AudioFormat) -> None:
        self._fmt = fmt
        self._resampler = None if fmt.rate_hz == LISTEN_RATE_HZ else resampler(fmt.rate_hz, LISTEN_RATE_HZ, prompt=True)
        self._half = b""
        self._rest = b""

    def push(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes; an odd byte and an unfinished frame wait for the next call."""
        if self._fmt.encoding == "pcm16":
            if self._half:
                data, self._half = self._half + data, b""
            if len(data) & 1:
                data, self._half = data[:-1], data[-1:]
        if self._resampler is not None:
            data = self._resampler.push(_decode(data, self._fmt.encoding)).tobytes()
        return self._frames(data)

    def flush(self) -> list[bytes]:
        """End the stream: the unfinished frame, filled up with silence, and a fresh start."""
        tail = b"" if self._resampler is None else self._resampler.flush().tobytes()
        frames = self._frames(tail)
        if self._rest:
            frames.append(self._rest.ljust(FRAME_BYTES, b"\0"))
        self._half = self._rest = b""
        return frames

    def _frames(self, pcm: bytes) -> list[bytes]:
        if self._rest:
            pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % FRAME_BYTES
        self._rest = pcm[whole:]
        if whole == FRAME_BYTES == len(pcm):
            return [pcm]
        return [pcm[at : at + FRAME_BYTES] for at in range(0, whole, FRAME_BYTES)]


class Converter:
    """A voice's samples, as a stream in the client's format; one for each stream of one rate."""

    def __init__(self, from_rate_hz: int, to: AudioFormat) -> None:
        self._resampler = None if from_rate_hz == to.rate_hz else resampler(from_rate_hz, to.rate_hz)
        self._encoding = to.encoding

    def push(self, pcm: bytes) -> bytes:
        """Convert the next 16-bit samples; the last millisecond or so waits for what follows it."""
        if self._resampler is None:
            return pcm if self._encoding == "pcm16" else _encode(_decode(pcm, "pcm16"), self._encoding)
        return _encode(self._resampler.push(_decode(pcm, "pcm16")), self._encoding)

    def flush(self) -> bytes:
        """End the stream: what still waited, and a fresh start. The total is exact to one sample."""
        return b"" if self._resampler is None else _encode(self._resampler.flush(), self._encoding)


def level_db(pcm: bytes) -> float:
    """RMS level of 16-bit samples relative to full scale; `SILENCE_DB` for silence or no samples."""
    if not pcm:
        return SILENCE_DB
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    power = float(np.dot(samples, samples)) / len(samples)
    return max(SILENCE_DB, 10 * log10(power / 32768.0**2)) if power else SILENCE_DB
