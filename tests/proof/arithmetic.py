"""Whether this machine computes sound to the last bit as the one did that recorded the corpus.

Resampling and the detector's model are floating point: another processor or another release of numpy, soxr or
onnxruntime may round a sample the other way. Then an exact replay of a foreign recording proves nothing.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np

from aura.core.audio import AudioFormat, Converter
from aura.core.ports import FRAME_BYTES
from aura.providers.offline import vad

KEPT = Path(__file__).parent / "arithmetic.txt"


def fingerprint() -> str:
    """Of the arithmetic of this machine."""
    noise = np.random.Generator(np.random.PCG64(7)).integers(-9000, 9000, 48_000).astype("<i2")
    tone = (9000 * np.sin(np.arange(48_000) / 20) * (np.arange(48_000) % 9000 > 3000)).astype("<i2")
    pcm = (noise // 8 + tone).astype("<i2").tobytes()
    parts = []
    for from_hz, to in ((8_000, 16_000), (24_000, 16_000), (24_000, 8_000), (22_050, 24_000)):
        converter = Converter(from_hz, AudioFormat("pcm16", to))
        parts.append(crc32(converter.push(pcm) + converter.flush()))
    detector = vad.make_detector(vad.VadSettings())
    heard = [detector.step(pcm[at : at + FRAME_BYTES]) for at in range(0, 64_000, FRAME_BYTES)]
    parts.append(crc32(" ".join(f"{voice.speech:.4f} {voice.level_db:.4f}" for voice in heard).encode()))
    return " ".join(f"{part:08x}" for part in parts)


def same() -> bool:
    """Whether the corpus was recorded with it."""
    return KEPT.read_text().strip() == fingerprint()


def keep() -> None:
    """Note it beside the corpus."""
    KEPT.write_text(fingerprint() + "\n")
