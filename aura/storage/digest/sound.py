"""A recording's audio on the conversation's time axis: as samples to be heard, and as peaks to be drawn."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aura.storage.digest.shapes import Track
from aura.storage.digest.tracks import format_of
from aura.storage.taping import decoded

Samples = npt.NDArray[np.int16]
Peaks = npt.NDArray[np.int8]

RATE_HZ = 24_000
"""Of what is heard, where the recording does not say."""
BUCKET_S = 0.004
"""Time that one pair of peaks stands for at level 0; at each further level four times as much."""
LEVELS = 5
BLOCK_BUCKETS = 4 ** (LEVELS - 1) * 128
BLOCK_S = BUCKET_S * BLOCK_BUCKETS
"""Peaks are made for so much time at once, in seconds."""


def rate_of(tracks: Sequence[Track]) -> int:
    """The highest rate among the streams."""
    return max((format_of(track.stream).rate_hz for track in tracks), default=RATE_HZ)


def samples(folder: Path, tracks: Sequence[Track], begin: float, end: float, rate_hz: int) -> Samples:
    """One side's audio between two moments, silent where there is none or where its file cannot be read."""
    whole = np.zeros(max(0, round((end - begin) * rate_hz)), np.int16)
    for track in tracks:
        low, high = max(begin, track.begin), min(end, track.end)
        if high <= low:
            continue
        own_hz = format_of(track.stream).rate_hz
        first = round((track.from_s + low - track.begin) * own_hz)
        piece = _read(folder, track.stream, first, round((high - low) * own_hz))
        if own_hz != rate_hz and piece.size:
            import soxr

            piece = soxr.resample(piece, own_hz, rate_hz)
        at = round((low - begin) * rate_hz)
        room = whole[at : at + len(piece)]
        room[:] = piece[: len(room)]
    return whole


def _read(folder: Path, stream: str, first: int, count: int) -> Samples:
    """Samples of a file from `first` on; fewer where it ends, none where it cannot be read."""
    import soundfile

    flac, raw = folder / f"{stream}.flac", folder / f"{stream}.raw"
    try:
        if flac.is_file():
            with soundfile.SoundFile(flac) as file:
                file.seek(min(first, file.frames))
                found: Samples = file.read(count, "int16")
                return found if found.ndim == 1 else found[:, 0]
        form = format_of(stream)
        with raw.open("rb") as file:
            file.seek(first * form.sample_bytes)
            data = file.read(count * form.sample_bytes)
            return decoded(data[: len(data) - len(data) % form.sample_bytes], form.encoding)
    except (OSError, soundfile.SoundFileError):
        return np.zeros(0, np.int16)


def wav(channels: Sequence[Samples], rate_hz: int) -> bytes:
    """A WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(np.stack(channels, axis=1).astype("<i2").tobytes())
    return file.getvalue()


# ---- peaks


def peaks(folder: Path, tracks: Sequence[Track], block: int, seconds: float) -> Peaks:
    """The lowest and highest sample of each bucket of a block, at level 0, up to the conversation's end.

    They stand for the square root of the loudness, in 127ths, so that quiet speech is still seen.
    """
    begin, end = block * BLOCK_S, min((block + 1) * BLOCK_S, seconds)
    rate_hz = rate_of(tracks)
    buckets = max(0, int(np.ceil(round((end - begin) / BUCKET_S, 6))))
    if not buckets:
        return np.zeros((0, 2), np.int8)
    heard = samples(folder, tracks, begin, begin + buckets * BUCKET_S, rate_hz)
    size = rate_hz * BUCKET_S
    if size == int(size):
        rows = heard[: buckets * int(size)].reshape(buckets, int(size))
        low, high = rows.min(axis=1), rows.max(axis=1)
    else:
        edges = np.minimum(np.round(np.arange(buckets) * size).astype(np.int64), len(heard) - 1)
        low, high = np.minimum.reduceat(heard, edges), np.maximum.reduceat(heard, edges)
    return np.stack((_drawn(low), _drawn(high)), axis=1)


def _drawn(values: Samples) -> Peaks:
    wide: npt.NDArray[np.float32] = values.astype(np.float32) / np.float32(32768)
    drawn: npt.NDArray[Any] = np.sign(wide) * np.sqrt(np.abs(wide)) * 127
    return drawn.round().astype(np.int8)


def coarser(fine: Peaks, level: int) -> Peaks:
    """The same peaks at a further level."""
    group = 4**level
    if group == 1 or not len(fine):
        return fine
    missing = -len(fine) % group
    padded = np.pad(fine, ((0, missing), (0, 0)), mode="edge") if missing else fine
    rows = padded.reshape(-1, group, 2)
    return np.stack((rows[:, :, 0].min(axis=1), rows[:, :, 1].max(axis=1)), axis=1)
