"""G.711 companding by table: µ-law and A-law bytes to and from 16-bit samples.

The formulas are those of ITU-T G.711 (11/88) in the arrangement of the well-known Sun `g711.c`, which Python's former
`audioop` shares: µ-law works on 14-bit, A-law on 13-bit magnitudes, both with 8 segments of 16 steps. Digital
silence is 0xFF in µ-law and 0xD5 in A-law.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
Codes = NDArray[np.uint8]

_ULAW_BIAS_14 = 0x21
_ULAW_CLIP_14 = 8159


def _ulaw_decode_table() -> Samples:
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + (_ULAW_BIAS_14 << 2)) << ((code & 0x70) >> 4)
    value = magnitude - (_ULAW_BIAS_14 << 2)
    return np.where(code & 0x80, -value, value).astype(np.int16)


def _alaw_decode_table() -> Samples:
    code = np.arange(256) ^ 0x55
    segment = (code & 0x70) >> 4
    step = (code & 0x0F) << 4
    value = np.where(segment == 0, step + 8, (step + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, value, -value).astype(np.int16)


def _all_samples() -> NDArray[np.int64]:
    """Every sample, ordered by its bits read as unsigned: the order of the encoder tables."""
    return np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)


def _segment(magnitude: NDArray[np.int64], first_end: int) -> NDArray[np.int64]:
    """The number of the segment; each ends at twice the end of the one before."""
    ends = np.array([((first_end + 1) << n) - 1 for n in range(8)])
    return np.searchsorted(ends, magnitude)


def _ulaw_encode_table() -> Codes:
    value = _all_samples() >> 2
    magnitude = np.minimum(np.abs(value), _ULAW_CLIP_14) + _ULAW_BIAS_14
    segment = _segment(magnitude, 0x3F)
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)
    code = np.where(segment >= 8, 0x7F, code)
    return (code ^ np.where(value < 0, 0x7F, 0xFF)).astype(np.uint8)


def _alaw_encode_table() -> Codes:
    value = _all_samples() >> 3
    magnitude = np.where(value < 0, -value - 1, value)
    segment = _segment(magnitude, 0x1F)
    code = (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 0x0F)
    code = np.where(segment >= 8, 0x7F, code)
    return (code ^ np.where(value < 0, 0x55, 0xD5)).astype(np.uint8)


ULAW_DECODE = _ulaw_decode_table()
ALAW_DECODE = _alaw_decode_table()
ULAW_ENCODE = _ulaw_encode_table()
ALAW_ENCODE = _alaw_encode_table()


def decode(data: bytes, table: Samples) -> Samples:
    """Bytes to samples with one of the `*_DECODE` tables."""
    return table[np.frombuffer(data, np.uint8)]


def encode(samples: Samples, table: Codes) -> bytes:
    """Samples to bytes with one of the `*_ENCODE` tables."""
    return table[samples.view(np.uint16)].tobytes()
