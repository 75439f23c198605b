"""Sounds in every form in which an engine may send them."""

from __future__ import annotations

import io
import struct
from functools import cache

import numpy as np

from aura.core import g711
from aura.core.resample import Samples
from aura.providers.wav import wav_header

AMPLITUDE, HZ = 8000, 440
MAX_STEP = 2 * np.pi * HZ * AMPLITUDE
"""The largest step of the sine between two samples, times the rate."""


def sine(seconds: float, rate_hz: int) -> Samples:
    """It begins and ends with zero."""
    return (AMPLITUDE * np.sin(2 * np.pi * HZ * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.int16)


def stereo(samples: Samples) -> bytes:
    """Both channels differ; their mean is the sound."""
    wide = samples.astype(np.int32)
    return np.stack((wide + 100, wide - 100), axis=1).astype("<i2").tobytes()


def wav(tag: int, bits: int, channels: int, rate_hz: int, data: bytes, length: int = 0xFFFFFFFF) -> bytes:
    """A WAV file with any length in its header."""
    frame = bits // 8 * channels
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, channels, rate_hz, rate_hz * frame, frame, bits)
    return b"RIFF\xff\xff\xff\xffWAVE" + fmt + struct.pack("<4sI", b"data", length) + data


def encoded(form: str, codec: str, samples: Samples, rate_hz: int, **options: str) -> bytes:
    """Through FFmpeg's encoder and container."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = rate_hz
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return file.getvalue()


@cache
def every_form(seconds: float = 0.5) -> dict[str, tuple[bytes, str, int]]:
    """Name → (bytes, content type, rate) of the same sine."""
    s24, s48, s8 = sine(seconds, 24_000), sine(seconds, 48_000), sine(seconds, 8_000)
    floats = (s24 / 32768).astype("<f4")
    bare = {"write_xing": "0", "id3v2_version": "0"}
    mulaw, alaw = g711.encode(s8, g711.ULAW_ENCODE), g711.encode(s8, g711.ALAW_ENCODE)
    s24_bits = np.frombuffer((s24.astype("<i4") << 8).tobytes(), np.uint8).reshape(-1, 4)[:, :3].tobytes()
    extensible = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H14x", 1)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 40, 0xFFFE, 1, 24_000, 48_000, 2, 16) + extensible
    truthful = wav_header(len(s24) * 2, 24_000) + s24.tobytes()
    return {
        "pcm": (s24.tobytes(), "audio/pcm", 24_000),
        "pcm called mpeg": (s24.tobytes(), "audio/mpeg", 24_000),
        "pcm of another rate": (sine(seconds, 22_050).tobytes(), "audio/L16;rate=22050", 22_050),
        "stereo pcm": (stereo(s24), "audio/pcm; rate=24000; channels=2", 24_000),
        "mu-law": (mulaw, "audio/basic", 8_000),
        "a-law": (alaw, "audio/x-alaw-basic", 8_000),
        "wav, no length": (wav(1, 16, 1, 24_000, s24.tobytes(), 0), "audio/wav", 24_000),
        "wav, false length": (wav(1, 16, 1, 24_000, s24.tobytes(), 800), "audio/wav", 24_000),
        "wav and a list": (truthful + b"LIST\x04\0\0\0\x7f\x7f\x7f\x7f", "", 24_000),
        "wav after wav": (wav_header(4000, 24_000) + s24[:2000].tobytes() + wav_header(0, 24_000)
                          + s24[2000:].tobytes(), "audio/wav", 24_000),
        "stereo wav": (wav(1, 16, 2, 24_000, stereo(s24)), "audio/wav", 24_000),
        "float wav": (wav(3, 32, 1, 24_000, floats.tobytes()), "audio/wav", 24_000),
        "24-bit wav": (wav(1, 24, 1, 24_000, s24_bits), "audio/wav", 24_000),
        "mu-law wav": (wav(7, 8, 1, 8_000, mulaw), "audio/wav", 8_000),
        "extensible wav": (b"RIFF\0\0\0\0WAVE" + fmt + b"data\0\0\0\0" + s24.tobytes(), "audio/wav", 24_000),
        "mp3": (encoded("mp3", "libmp3lame", s24, 24_000), "audio/mpeg", 24_000),
        "mp3 at 44.1 kHz": (encoded("mp3", "libmp3lame", sine(seconds, 44_100), 44_100), "audio/mpeg", 44_100),
        "bare mp3": (encoded("mp3", "libmp3lame", s24, 24_000, **bare), "audio/mpeg", 24_000),
        "bare mp3, no type": (encoded("mp3", "libmp3lame", s24, 24_000, **bare), "", 24_000),
        "opus": (encoded("ogg", "libopus", s48, 48_000), "audio/ogg", 48_000),
        "opus called pcm": (encoded("ogg", "libopus", s48, 48_000), "audio/pcm", 48_000),
        "aac": (encoded("adts", "aac", s24, 24_000), "audio/aac", 24_000),
        "flac": (encoded("flac", "flac", s24, 24_000), "audio/flac", 24_000),
    }  # fmt: skip
