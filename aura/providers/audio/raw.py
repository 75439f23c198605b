"""Samples without compression: PCM of any width, G.711, and both inside WAV."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aura.core import g711
from aura.core.resample import Samples
from aura.providers.wav import ALAW, FLOAT, PCM, ULAW, WavFormat, read_wav_header

Read = Callable[[bytes], NDArray[np.int16]]
_AFTER_DATA = frozenset((b"LIST", b"id3 ", b"ID3 ", b"fact", b"cue ", b"smpl", b"bext", b"JUNK", b"PAD "))
"""What may stand behind the samples of a file with a true length. There it would be a click."""
_ODD_AFTER = frozenset(name[:3] for name in _AFTER_DATA)
"""The same behind the byte that fills up an odd length."""
NOTHING: Samples = np.zeros(0, np.int16)


def _s16(data: bytes) -> Samples:
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def _u8(data: bytes) -> Samples:
    return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8


def _s24(data: bytes) -> Samples:
    upper = np.frombuffer(data, np.uint8).reshape(-1, 3)[:, 1:]
    return np.ascontiguousarray(upper).view("<i2").reshape(-1).astype(np.int16, copy=False)


def _s32(data: bytes) -> Samples:
    return (np.frombuffer(data, "<i4") >> 16).astype(np.int16)


def _float(dtype: str) -> Read:
    def read(data: bytes) -> Samples:
        return from_floats(np.frombuffer(data, dtype))

    return read


READERS: dict[tuple[int, int], Read] = {
    (PCM, 8): _u8,
    (PCM, 16): _s16,
    (PCM, 24): _s24,
    (PCM, 32): _s32,
    (FLOAT, 32): _float("<f4"),
    (FLOAT, 64): _float("<f8"),
    (ULAW, 8): lambda data: g711.decode(data, g711.ULAW_DECODE),
    (ALAW, 8): lambda data: g711.decode(data, g711.ALAW_DECODE),
}
"""By format tag and bits."""


def from_floats(values: NDArray[np.floating]) -> Samples:
    """±1.0 → 16 bits, rounded and clipped; not-a-number is silence."""
    scaled = np.rint(np.nan_to_num(values.astype(np.float64)) * 32768.0)
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def to_mono(samples: Samples, channels: int) -> Samples:
    """The mean of interleaved channels."""
    if channels == 1:
        return samples
    mono: Samples = samples.reshape(-1, channels).astype(np.int32).mean(axis=1).astype(np.int16)
    return mono


class Raw:
    """Headerless samples."""

    def __init__(self, rate_hz: int, tag: int = PCM, bits: int = 16, channels: int = 1) -> None:
        if (tag, bits) not in READERS or not 1 <= channels <= 8 or not 4_000 <= rate_hz <= 192_000:
            raise ValueError(f"samples of {bits} bits (tag {tag}), {channels} channels, {rate_hz} Hz")
        self.rate_hz, self._channels = rate_hz, channels
        self._read = READERS[tag, bits]
        self._step = bits // 8 * channels
        self._rest = b""

    def push(self, data: bytes) -> bytes:
        """The whole samples so far; the beginning of another waits for the next piece."""
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % self._step
        self._rest = data[whole:]
        if self._read is _s16 and self._channels == 1:
            return data[:whole]
        return to_mono(self._read(data[:whole]), self._channels).tobytes() if whole else b""

    def end(self) -> bytes:
        """Half a sample is no sound."""
        return b""


class Wav:
    """A WAV file that is still being written, or several one after the other."""

    def __init__(self) -> None:
        self.rate_hz = 0
        self._held = b""
        """An unfinished header, or what stands behind the stated end."""
        self._raw: Raw | None = None
        self._left: int | None = None

    def push(self, data: bytes) -> bytes:
        """The samples after the header. Raises ValueError for a broken header."""
        pcm = b""
        while data:
            if self._raw is None:
                data = self._header(self._held + data)
            elif self._left is None:
                return pcm + self._raw.push(data)
            elif self._left:
                inside, data = data[: self._left], data[self._left :]
                self._left -= len(inside)
                pcm += self._raw.push(inside)
            else:
                data = self._behind(self._held + data)
        return pcm

    def end(self) -> bytes:
        """Half a sample is no sound."""
        return b""

    def _header(self, start: bytes) -> bytes:
        """What follows the header; b"" while that is not complete."""
        header = read_wav_header(start)
        if header is None:
            self._held = start
            return b""
        if self.rate_hz not in (0, header.rate_hz):
            raise ValueError(f"a second WAV file of {header.rate_hz} Hz after one of {self.rate_hz} Hz")
        self._raw = Raw(header.rate_hz, header.tag, header.bits, header.channels)
        self.rate_hz, self._left, self._held = header.rate_hz, stated_bytes(header), b""
        return start[header.data_at :]

    def _behind(self, start: bytes) -> bytes:
        """Whether the stated end was one. Another file begins a new header, other chunks are no sound."""
        self._held = start[:4]
        if len(start) < 4:
            return b""
        if self._held == b"RIFF":
            self._raw, self._held = None, b""
            return start
        if self._held in _AFTER_DATA or start[1:4] in _ODD_AFTER:
            return b""
        self._left, self._held = None, b""
        return start


def stated_bytes(header: WavFormat) -> int | None:
    """The length of the samples where the header may be telling it; None where it surely is false."""
    return None if header.data_bytes in (0, 0xFFFFFFFF) else header.data_bytes
