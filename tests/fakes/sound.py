"""Audio as vendors send and take it: containers and codecs, in pieces, made once."""

from __future__ import annotations

import base64
import io
import struct
import wave
from functools import cache, lru_cache

import numpy as np
import soundfile

from tests.fakes.world import hum

CONTENT_TYPES = {
    "pcm": "audio/pcm", "wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "opus": "audio/ogg",
    "mulaw": "audio/basic", "alaw": "audio/x-alaw-basic",
}  # fmt: skip
CONTAINERS = {"mp3": ("MP3", "MPEG_LAYER_III"), "flac": ("FLAC", "PCM_16"), "opus": ("OGG", "OPUS")}
TRUE = None
"""A WAV length that is what comes."""


def wav_head(size: int, rate_hz: int) -> bytes:
    """The 44 bytes before the samples of a file of 16-bit mono."""
    riff = min(size + 36, 0xFFFFFFFF) if size else 0
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16, b"data", size
    )


@cache
def _law(codec: str) -> np.ndarray:
    """The byte for each 16-bit sample, by libsndfile."""
    every = np.arange(-32768, 32768, dtype=np.int16)
    out = io.BytesIO()
    soundfile.write(out, every, 8000, format="RAW", subtype={"mulaw": "ULAW", "alaw": "ALAW"}[codec])
    return np.frombuffer(out.getvalue(), np.uint8)


def to_law(pcm: bytes, codec: str) -> bytes:
    """16-bit samples as µ-law or A-law."""
    return _law(codec)[np.frombuffer(pcm, "<i2").astype(np.int32) + 32768].tobytes()


@cache
def _linear(codec: str) -> np.ndarray:
    raw = io.BytesIO(bytes(range(256)))
    subtype = {"mulaw": "ULAW", "alaw": "ALAW"}[codec]
    return soundfile.read(raw, dtype="int16", samplerate=8000, channels=1, format="RAW", subtype=subtype)[0]


def to_linear(data: bytes, encoding: str) -> bytes:
    """Raw audio of any usual encoding as 16-bit samples."""
    if encoding in ("mulaw", "ulaw", "alaw"):
        return _linear("alaw" if encoding == "alaw" else "mulaw")[np.frombuffer(data, np.uint8)].astype("<i2").tobytes()
    if encoding == "linear32":
        return (np.frombuffer(data[: len(data) // 4 * 4], "<f4") * 32767).astype("<i2").tobytes()
    return data


@lru_cache(64)
def encoded(seconds: float, rate_hz: int, codec: str, wav_size: int | None = TRUE) -> bytes:
    """A hum of this length in this codec. May take some milliseconds: call it in a thread for mp3, flac and opus."""
    pcm = hum(seconds, rate_hz)
    if codec == "pcm":
        return pcm
    if codec == "wav":
        return wav_head(len(pcm) if wav_size is TRUE else wav_size, rate_hz) + pcm
    if codec in ("mulaw", "alaw"):
        return to_law(pcm, codec)
    out, (container, subtype) = io.BytesIO(), CONTAINERS[codec]
    soundfile.write(out, np.frombuffer(pcm, "<i2"), rate_hz, format=container, subtype=subtype)
    return out.getvalue()


@lru_cache(256)
def pieces(seconds: float, rate_hz: int, codec: str = "pcm", piece_s: float = 0.1) -> tuple[bytes, ...]:
    """The same in pieces of about this length."""
    data = encoded(seconds, rate_hz, codec)
    size = max(2, int(len(data) * min(1.0, piece_s / max(seconds, piece_s))) // 2 * 2)
    return tuple(data[i : i + size] for i in range(0, len(data), size))


@lru_cache(256)
def pieces64(seconds: float, rate_hz: int, codec: str = "pcm", piece_s: float = 0.1) -> tuple[str, ...]:
    """The same as base64."""
    return tuple(base64.b64encode(piece).decode() for piece in pieces(seconds, rate_hz, codec, piece_s))


class BadAudio(Exception):
    """An upload that is not what it says."""


def decoded(data: bytes, filename: str) -> tuple[bytes, int]:
    """The samples and the rate of an uploaded file; a WAV file is taken only if its header is right to the byte."""
    if filename.lower().endswith(".wav"):
        if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
            raise BadAudio("no RIFF/WAVE header")
        if struct.unpack("<I", data[4:8])[0] != len(data) - 8:
            raise BadAudio("the RIFF length is wrong")
        with wave.open(io.BytesIO(data)) as wav:
            if (wav.getnchannels(), wav.getsampwidth()) != (1, 2):
                raise BadAudio("not 16-bit mono")
            frames = wav.readframes(wav.getnframes())
            if len(frames) != 2 * wav.getnframes():
                raise BadAudio("the data length is wrong")
            return frames, wav.getframerate()
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise BadAudio(str(error)) from error
    return samples[:, 0].astype("<i2").tobytes(), rate_hz
