"""Streaming change of the sample rate.

Between telephone and studio rates (8, 12, 16, 24, 32, 48 kHz) a short polyphase FIR filter is used: soxr costs the
same but holds back 6-60 ms of sound, depending on the pair of rates, because it works in blocks; this filter needs to
see 0.5-1.5 ms. Everything else (22.05 and 44.1 kHz) goes through soxr.

The filter's taps are whole numbers and the sums stay far below 2**53, so float64 arithmetic is exact: the output is
the same to the bit however the input is cut into chunks, and on every machine. A recording can thus be replayed.
"""

from __future__ import annotations

from functools import cache
from math import gcd
from typing import NamedTuple, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.int16]

_MAX_PHASES = 8
"""Ratios with larger terms than this (147:160) would need large tables."""
_GROUP = 10
"""Filter steps per row of the matrix product: fewer and wider rows are what BLAS is fast at."""
_ZEROS = 12
"""Zero crossings of the sinc on each side of its centre."""
_CUTOFF = 0.46
"""Middle of the transition band, as a part of the lower of both rates: flat to 0.38, 60 dB down from 0.54."""
_KAISER_BETA = 5.65
"""60 dB in the stop band (Kaiser's formula 0.1102 * (60 - 8.7))."""
_ONE = float(1 << 16)
"""What the taps of one phase add up to."""


class Resampler(Protocol):
    """One stream on its way from one rate to another."""

    def push(self, samples: Samples) -> Samples:
        """Take the next samples, of any number; return what is finished."""
        ...

    def flush(self) -> Samples:
        """End the stream: return the rest and be ready for a new stream."""
        ...


class _Bank(NamedTuple):
    """A filter as a matrix: `step_in` new samples in, `step_out` samples out, for each row of `taps.shape[0]`."""

    taps: NDArray[np.float64]
    step_in: int
    step_out: int
    before: int
    """How many input samples before the current one a row reads."""
    after: int
    """How many after it: the filter's delay when nothing may be awaited."""


@cache
def _bank(from_hz: int, to_hz: int) -> _Bank:
    up, down = _ratio(from_hz, to_hz)
    widest = max(up, down)
    half = _ZEROS * widest
    position = np.arange(-half, half + 1)
    prototype = np.sinc(2 * _CUTOFF * position / widest) * np.kaiser(2 * half + 1, _KAISER_BETA)
    before, after = half // up, ((up - 1) * down + half) // up
    single = np.zeros((before + after + 1, up))
    for phase in range(up):
        for index in range(-before, after + 1):
            tap = phase * down - index * up + half
            if 0 <= tap < len(prototype):
                single[index + before, phase] = prototype[tap]
    single = np.rint(single / single.sum(axis=0) * _ONE)
    single[np.abs(single).argmax(axis=0), np.arange(up)] += _ONE - single.sum(axis=0)
    taps = np.zeros((len(single) + (_GROUP - 1) * down, _GROUP * up))
    for step in range(_GROUP):
        taps[step * down : step * down + len(single), step * up : (step + 1) * up] = single
    return _Bank(taps, _GROUP * down, _GROUP * up, before, after)


def _ratio(from_hz: int, to_hz: int) -> tuple[int, int]:
    common = gcd(from_hz, to_hz)
    return to_hz // common, from_hz // common


def _to_samples(values: NDArray[np.float64] | NDArray[np.float32]) -> Samples:
    """Round and clip, in place (`np.clip` takes twice as long on arrays this short)."""
    np.rint(values, out=values)
    np.maximum(values, -32768, out=values)
    np.minimum(values, 32767, out=values)
    return values.astype(np.int16)


class _Polyphase:
    """The FIR filter. `prompt` accepts its delay (under 2 ms) so that each input sample is answered at once."""

    def __init__(self, from_hz: int, to_hz: int, prompt: bool) -> None:
        self._bank = _bank(from_hz, to_hz)
        self._from_hz, self._to_hz = from_hz, to_hz
        self._prompt = prompt
        self._begin()

    def _begin(self) -> None:
        bank = self._bank
        known = len(bank.taps) - bank.step_in if self._prompt else bank.before
        self._window = np.zeros(known)
        self._taken = self._given = 0

    def push(self, samples: Samples) -> Samples:
        bank, window = self._bank, np.concatenate((self._window, samples), dtype=np.float64)
        rows = (len(window) - len(bank.taps)) // bank.step_in + 1
        self._taken += len(samples)
        if rows <= 0:
            self._window = window
            return _NOTHING
        shape, strides = (rows, len(bank.taps)), (bank.step_in * 8, 8)
        out = np.ndarray(shape, np.float64, window, 0, strides) @ bank.taps
        out *= 1 / _ONE
        self._window = window[rows * bank.step_in :].copy()
        self._given += rows * bank.step_out
        return _to_samples(out.reshape(-1))

    def flush(self) -> Samples:
        wanted = -(-self._taken * self._to_hz // self._from_hz)
        given = self._given
        tail = self.push(np.zeros(len(self._bank.taps) + self._bank.step_in, np.int16))
        self._begin()
        return tail[: max(0, wanted - given)]


class _Soxr:
    """Any other ratio, by libsoxr; in floats, since its dither of 16-bit output differs with the cut into chunks."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def push(self, samples: Samples) -> Samples:
        return _to_samples(self._stream.resample_chunk(samples.astype(np.float32)))

    def flush(self) -> Samples:
        tail = _to_samples(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))
        self._stream.clear()
        return tail


_NOTHING: Samples = np.zeros(0, np.int16)


def resampler(from_hz: int, to_hz: int, *, prompt: bool = False) -> Resampler:
    """A resampler for two different rates.

    With `prompt` every input is answered at once by the same length of output, which lags by the filter's delay
    (under 2 ms), and the last bit of sound of that length is given up at the end; without it the output is aligned
    with the input and `flush` returns what was still awaited. soxr is always of the second kind.
    """
    if max(_ratio(from_hz, to_hz)) <= _MAX_PHASES:
        return _Polyphase(from_hz, to_hz, prompt)
    return _Soxr(from_hz, to_hz)
