"""What callers say: recordings of people from the folder `shared`, or the clips that AURA ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.proof.speech import speech

HEARD_RATE_HZ = 16_000
LIKE = 0.3
"""Normalised correlation from which on a sound is taken for a clip; strangers stay below 0.15."""

HUMAN = {"ask": "ls_4507_16021_0012", "over": "arctic_axb_a0004", "more": "so_013340091", "order": "pv_1698c3c6"}
SHIPPED = {"ask": "ask_time", "over": "interrupt", "more": "ask_story", "order": "thanks"}
"""What is said in the scenarios: a question, something to break in with, something else, and a wish."""


@dataclass(frozen=True)
class Said:
    """A recording and its words."""

    name: str
    text: str
    heard: npt.NDArray[np.float32]
    """16 kHz, as a recogniser gets it."""
    pcm: bytes
    """24 kHz, 16 bit, trimmed to the speech and 0.1 s around it."""


def clips() -> dict[str, Said]:
    """The recordings by their part in the scenarios."""
    chosen = HUMAN if speech(HEARD_RATE_HZ).human else SHIPPED
    found = {}
    for part, name in chosen.items():
        low, high = ({c.id: c for c in (*speech(r).plain, *speech(r).halting)}[name] for r in (HEARD_RATE_HZ, 24_000))
        found[part] = Said(
            part,
            low.text,
            cut(low.pcm, low.start, low.end, HEARD_RATE_HZ).astype(np.float32),
            cut(high.pcm, high.start, high.end, 24_000).astype("<i2").tobytes(),
        )
    return found


def cut(pcm: npt.NDArray[np.int16], start: float, end: float, rate_hz: int) -> npt.NDArray[np.int16]:
    """The speech with a little around it."""
    return pcm[max(0, int((start - 0.1) * rate_hz)) : int((end + 0.1) * rate_hz)]


def write(folder: Path, said: dict[str, Said]) -> dict[str, str]:
    """The recordings as raw files for the client scripts (blocking)."""
    for part, one in said.items():
        (folder / f"{part}.pcm").write_bytes(one.pcm)
    return {part: str(folder / f"{part}.pcm") for part in said}


class Ear:
    """Knows which recording a sound is, as a recogniser would, by correlation with all of them."""

    def __init__(self, said: dict[str, Said]) -> None:
        self.said = said

    def words(self, pcm: bytes) -> str:
        """The words of the recordings in this sound (16 kHz, 16 bit), in the order they are heard."""
        sound = np.frombuffer(pcm, "<i2").astype(np.float32)
        found = []
        for one in self.said.values():
            likeness, at = like(sound, one.heard)
            if likeness >= LIKE:
                found.append((at, one.text))
        return " ".join(text for _, text in sorted(found))


def like(sound: npt.NDArray[np.float32], clip: npt.NDArray[np.float32]) -> tuple[float, int]:
    """How much of a clip is in a sound, between 0 and 1, and where it would begin."""
    size = 1 << int(np.ceil(np.log2(len(sound) + len(clip))))
    product = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(clip, size)), size)
    at = int(product.argmax())
    at = at if at < len(sound) else at - size
    begin, end = max(0, at), min(len(sound), at + len(clip))
    there, part = sound[begin:end], clip[begin - at : end - at]
    scale = float(np.linalg.norm(there) * np.linalg.norm(part))
    share = float(np.linalg.norm(part) / (np.linalg.norm(clip) or 1.0))
    return (float(there @ part) / scale * share if scale else 0.0), at
