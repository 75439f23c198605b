"""Sound files: reading any of them as mono PCM, the shipped clips, and writing what both sides of a call heard."""

from __future__ import annotations

import importlib
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import soxr

from aura.core.errors import AuraError

Pcm = npt.NDArray[np.int16]
SHIPPED_CLIPS = Path(__file__).parent / "clips"
WAVE_SUFFIXES = {".wav", ".wave"}


class RecordingError(AuraError):
    """A sound file or a folder of clips cannot be used; the message says why and what to do."""

    code = "unusable_recording"


def read(path: Path, rate_hz: int) -> Pcm:
    """The file as mono samples at `rate_hz`. Everything that libsndfile reads, or WAV alone where it is missing.

    Raises `RecordingError`.
    """
    if not path.is_file():
        raise RecordingError(f"{path}: there is no such file")
    try:
        samples, rate = _with_soundfile(path)
    except ImportError:
        samples, rate = _with_wave(path)
    if not samples.size:
        raise RecordingError(f"{path}: there is no audio in it")
    mono = samples.mean(axis=1)
    if rate != rate_hz:
        mono = soxr.resample(mono, rate, rate_hz)
    pcm: Pcm = np.clip(np.round(mono * 32768), -32768, 32767).astype(np.int16)
    return pcm


def _with_soundfile(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """Samples as (frames, channels) in -1..1, and their rate."""
    soundfile: Any = importlib.import_module("soundfile")
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        raise RecordingError(f"{path}: not a sound file that can be read; convert it to WAV") from None
    return samples, rate


def _with_wave(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """The same with the standard library: uncompressed WAV of 8, 16, 24 or 32 bits."""
    if path.suffix.lower() not in WAVE_SUFFIXES:
        raise RecordingError(f"{path}: only WAV can be read; `pip install soundfile` adds FLAC, OGG and MP3")
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, frames = file.getparams()[:4]
            raw = np.frombuffer(file.readframes(frames), np.uint8)
    except (wave.Error, EOFError) as error:
        hint = "convert it to 16-bit WAV, or `pip install soundfile`"
        raise RecordingError(f"{path}: not an uncompressed WAV file ({error}); {hint}") from None
    raw = raw[: len(raw) - len(raw) % (width * channels)]
    return _scaled(raw, width).reshape(-1, channels), rate


def _scaled(raw: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.float32]:
    """PCM bytes of `width` bytes a sample as floats in -1..1; 8-bit WAV is unsigned, all other is signed."""
    if width == 1:
        return (raw.astype(np.float32) - np.float32(128)) / np.float32(128)
    wide = np.zeros((len(raw) // width, 4), np.uint8)
    wide[:, 4 - width :] = raw.reshape(-1, width)
    return wide.view("<i4").ravel().astype(np.float32) / np.float32(2**31)


# ---- clips -------------------------------------------------------------------------------------------------------

Kind = Literal["turn", "pause", "interrupt", "back"]


class Clip(msgspec.Struct, frozen=True):
    """Something a simulated caller says, and where in it the speech truly is (seconds from its start)."""

    id: str
    kind: str
    pcm: Pcm
    rate_hz: int
    start: float
    end: float
    text: str = ""

    @property
    def seconds(self) -> float:
        """Length with the silence at both ends."""
        return len(self.pcm) / self.rate_hz


class _Entry(msgspec.Struct, frozen=True):
    id: str
    kind: str
    wav: str
    start: float
    end: float
    text: str = ""


class _Index(msgspec.Struct, frozen=True):
    """`clips.json`."""

    clips: tuple[_Entry, ...]


def clips(folder: Path | None, rate_hz: int) -> tuple[Clip, ...]:
    """The clips of a folder with a `clips.json`; None: those that AURA ships. Raises `RecordingError`."""
    folder = folder or SHIPPED_CLIPS
    try:
        index = msgspec.json.decode((folder / "clips.json").read_bytes(), type=_Index)
    except OSError:
        raise RecordingError(f"{folder}: there is no clips.json in this folder") from None
    except msgspec.DecodeError as error:
        raise RecordingError(f"{folder / 'clips.json'}: {error}") from None
    return tuple(
        Clip(e.id, e.kind, read(folder / e.wav, rate_hz), rate_hz, e.start, e.end, e.text) for e in index.clips
    )


def shipped(rate_hz: int) -> dict[str, Clip]:
    """The shipped clips by name."""
    return {clip.id: clip for clip in clips(None, rate_hz)}


def speech_bounds(pcm: Pcm, rate_hz: int) -> tuple[float, float]:
    """Where the speech of an unlabelled recording begins and ends, in seconds.

    The first and last 20 ms window within 35 dB of the loudest and 9 dB above the recording's own noise (its 10th
    percentile): the definition of the side-by-side benchmark.
    """
    window, step = rate_hz // 50, rate_hz // 200
    if len(pcm) < window:
        return 0.0, len(pcm) / rate_hz
    power = np.concatenate([[0.0], np.cumsum(pcm.astype(np.float64) ** 2)])
    starts = np.arange(0, len(pcm) - window + 1, step)
    level = np.sqrt((power[starts + window] - power[starts]) / window)
    loud = np.flatnonzero(level >= max(level.max() * 10 ** (-35 / 20), np.percentile(level, 10) * 10 ** (9 / 20)))
    if not loud.size:  # steady noise or silence: all of it is as loud as the rest
        return 0.0, len(pcm) / rate_hz
    return float(starts[loud[0]] / rate_hz), float((starts[loud[-1]] + window) / rate_hz)


# ---- what both sides heard ---------------------------------------------------------------------------------------


class Recorder:
    """Collects both sides of a call by time: the caller left, the reply as the caller hears it right."""

    def __init__(self, said_rate_hz: int, heard_rate_hz: int, start: float) -> None:
        self.said_rate_hz, self.heard_rate_hz, self.start = said_rate_hz, heard_rate_hz, start
        self._said: list[tuple[float, bytes]] = []
        self._heard: list[tuple[float, bytes]] = []

    def said(self, at: float, pcm: bytes) -> None:
        """What the microphone took from time `at` on."""
        self._said.append((at, pcm))

    def heard(self, at: float, pcm: bytes) -> None:
        """What the loudspeaker played from time `at` on."""
        self._heard.append((at, pcm))

    def stereo(self) -> Pcm:
        """Both sides as (samples, 2), at the rate of the replies."""
        said, heard = self._laid_out(self._said, self.said_rate_hz), self._laid_out(self._heard, self.heard_rate_hz)
        if self.said_rate_hz != self.heard_rate_hz:
            said = soxr.resample(said, self.said_rate_hz, self.heard_rate_hz)
        sides = (said, heard)
        both: Pcm = np.zeros((max(map(len, sides)), 2), np.int16)
        for channel, side in enumerate(sides):
            both[: len(side), channel] = side
        return both

    def _laid_out(self, pieces: Iterable[tuple[float, bytes]], rate_hz: int) -> Pcm:
        placed = [(max(0, round((at - self.start) * rate_hz)), np.frombuffer(pcm, "<i2")) for at, pcm in pieces]
        line: Pcm = np.zeros(max((begin + len(pcm) for begin, pcm in placed), default=0), np.int16)
        for begin, pcm in placed:
            line[begin : begin + len(pcm)] = pcm
        return line

    def write(self, path: Path) -> None:
        """Write a stereo WAV file (blocking). Raises `RecordingError` where the file cannot be written."""
        both = self.stereo()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with wave.open(str(path), "wb") as file:
                file.setparams((2, 2, self.heard_rate_hz, 0, "NONE", "not compressed"))
                file.writeframes(both.astype("<i2").tobytes())
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written ({error.strerror})") from None
