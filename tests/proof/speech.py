"""What the callers say: human speech and noises from the folder `shared`, or the clips that AURA ships."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import msgspec
import numpy as np

from aura.core import g711
from aura.tools.recordings import Clip, Pcm, clips, read

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 8.5
SHORT_S = 1.75
CUT_S = 6.5
"""Longer recordings of noise are cut."""


class _Entry(msgspec.Struct, frozen=True):
    """One recording of the manifest, as far as it is needed."""

    id: str
    file: str
    kind: str
    duration_s: float
    tags: tuple[str, ...] = ()
    transcript: str | None = None
    first_speech_start_s: float | None = None
    last_speech_end_s: float | None = None
    longest_pause_s: float | None = None


def shared_folder() -> Path | None:
    """Where the shared speech is, if it is anywhere: AURA_SHARED, or `shared` beside the checkout."""
    folder = Path(os.environ.get("AURA_SHARED") or ROOT.parent / "shared") / "speech"
    return folder if (folder / "MANIFEST.json").is_file() else None


class Speech:
    """Recordings by what they are good for, at one sample rate."""

    def __init__(self, rate_hz: int, *, shared: bool = True) -> None:
        folder = shared_folder() if shared else None
        self.rate_hz, self.human = rate_hz, folder is not None
        self.plain: list[Clip] = []
        """A turn."""
        self.halting: list[Clip] = []
        """A turn with pauses in it."""
        self.short: list[Clip] = []
        """A backchannel, or an answer of one word."""
        self.noise: list[Clip] = []
        if folder:
            self._shared(folder)
        else:
            self._shipped()

    def interruption(self, rng: Random) -> Clip:
        """Something to break in with."""
        return rng.choice([clip for clip in self.plain if clip.seconds < 5.0])

    def _shared(self, folder: Path) -> None:
        for entry in msgspec.json.decode((folder / "MANIFEST.json").read_bytes(), type=tuple[_Entry, ...]):
            sort = self._sort(entry)
            if sort is not None:
                pcm = read(folder / entry.file, self.rate_hz)[: round(LONGEST_S * self.rate_hz)]
                end = min(entry.last_speech_end_s or entry.duration_s, len(pcm) / self.rate_hz)
                start = entry.first_speech_start_s or 0.0
                sort.append(Clip(entry.id, entry.kind, pcm, self.rate_hz, start, end, entry.transcript or ""))

    def _sort(self, entry: _Entry) -> list[Clip] | None:
        if "noise" in entry.kind or entry.kind == "music":
            return self.noise
        if entry.kind in ("backchannel", "short_answer", "digits"):
            return self.short if entry.duration_s < SHORT_S else None
        if entry.kind not in ("utterance", "command") or entry.duration_s > LONGEST_S:
            return None
        return self.halting if (entry.longest_pause_s or 0.0) >= 0.3 else self.plain

    def _shipped(self) -> None:
        for clip in clips(None, self.rate_hz):
            {"pause": self.halting, "back": self.short}.get(clip.kind, self.plain).append(clip)
        self.noise.append(self._cough())

    def _cough(self) -> Clip:
        """Two bursts of noise."""
        rng = np.random.default_rng(7)
        burst = rng.standard_normal(self.rate_hz // 5) * 6000 * np.exp(-np.linspace(0, 5, self.rate_hz // 5))
        quiet = np.zeros(self.rate_hz // 8)
        pcm = np.concatenate([quiet, burst, quiet, burst, quiet]).astype(np.int16)
        return Clip("cough", "noise", pcm, self.rate_hz, 0.0, len(pcm) / self.rate_hz)


@cache
def speech(rate_hz: int, *, shared: bool = True) -> Speech:
    """The recordings at a rate, read once."""
    return Speech(rate_hz, shared=shared)


def encoded(pcm: Pcm, encoding: str) -> bytes:
    """Samples as the client sends them."""
    if encoding == "pcm16":
        return pcm.astype("<i2").tobytes()
    return g711.encode(pcm, g711.ULAW_ENCODE if encoding == "pcmu" else g711.ALAW_ENCODE)


def shortened(choices: Sequence[Clip], rng: Random) -> Clip:
    """One of them, cut to CUT_S."""
    clip = rng.choice(choices)
    return msgspec.structs.replace(clip, pcm=clip.pcm[: round(CUT_S * clip.rate_hz)])
