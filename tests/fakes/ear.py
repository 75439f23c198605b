"""A streaming recogniser: words appear while the audio comes, and an utterance ends with silence.

Its clock is the audio: where a client sends nothing, nothing happens, as with the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.fakes.sound import to_linear
from tests.fakes.world import Sound, World, loud

BLOCK_S = 0.02
NEVER_S = float("inf")


@dataclass(frozen=True)
class Word:
    """A word and when it sounds, in seconds of the session's audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Noticed:
    """What the recogniser has to say."""

    what: Literal["started", "interim", "eager", "resumed", "ended"]
    words: tuple[Word, ...]
    clock_s: float
    """Where in the session's audio it is noticed."""
    speech_s: tuple[float, float]
    """Where the utterance begins and ends (so far)."""

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


class Ear:
    """Listens to one session."""

    def __init__(
        self, world: World, vendor: str, rate_hz: int, *,
        encoding: str = "linear16", end_s: float = 0.3, eager_s: float = NEVER_S,
    ) -> None:  # fmt: skip
        self.world, self.vendor = world, vendor
        self.rate_hz, self.encoding = rate_hz, encoding
        self.end_s = end_s
        """Silence that ends an utterance."""
        self.eager_s = eager_s
        """Silence after which it has probably ended."""
        self.clock_s = 0.0
        self._rest = b""
        self._now: Utterance | None = None

    @property
    def speaking(self) -> bool:
        """Whether an utterance is under way."""
        return self._now is not None

    def feed(self, data: bytes) -> list[Noticed]:
        """More audio."""
        pcm = self._rest + to_linear(data, self.encoding)
        size = 2 * int(self.rate_hz * BLOCK_S)
        whole = len(pcm) // size * size
        self._rest = pcm[whole:]
        found: list[Noticed] = []
        for start in range(0, whole, size):
            found += self._block(pcm[start : start + size])
        return found

    def finish(self) -> Noticed | None:
        """The utterance is over, whatever the ear thinks; None when nobody spoke."""
        now, self._now = self._now, None
        return now.noticed("ended", self.clock_s, whole=True) if now else None

    def _block(self, pcm: bytes) -> list[Noticed]:
        voiced = self.world.hears_silence or loud(pcm)
        begin_s, self.clock_s = self.clock_s, self.clock_s + BLOCK_S
        if self._now is None:
            if not voiced:
                return []
            self._now = Utterance(self, begin_s)
            return [self._now.noticed("started", self.clock_s), *self._now.hear(pcm, voiced)]
        found = self._now.hear(pcm, voiced)
        if self._now.silence_s >= self.end_s - 1e-6 and (ended := self.finish()):
            found.append(ended)
        return found


class Utterance:
    """Words between two silences."""

    def __init__(self, ear: Ear, start_s: float) -> None:
        self.ear, self.start_s = ear, start_s
        self.turn = ear.world.next_turn()
        self.silence_s = 0.0
        self.spoken_s = 0.0
        self.pcm = bytearray()
        self.eager = False
        self.shown = 0

    def hear(self, pcm: bytes, voiced: bool) -> list[Noticed]:
        """One block."""
        self.pcm += pcm
        found = []
        if voiced:
            self.spoken_s += BLOCK_S + self.silence_s
            self.silence_s = 0.0
            if self.eager:
                self.eager = False
                found.append(self.noticed("resumed", self.ear.clock_s))
            if int(self.spoken_s * self.ear.world.words_per_s) > self.shown:
                words = self.words()
                self.shown = max(self.shown + 1, len(words))
                found += [self.noticed("interim", self.ear.clock_s)] if words else []
        else:
            self.silence_s += BLOCK_S
            if not self.eager and self.silence_s >= self.ear.eager_s - 1e-6:
                self.eager = True
                found.append(self.noticed("eager", self.ear.clock_s, whole=True))
        return found

    def words(self, *, whole: bool = False) -> tuple[Word, ...]:
        """Those that were said until now, or all."""
        world = self.ear.world
        text = world.hear(Sound(bytes(self.pcm), self.ear.rate_hz, self.turn, self.ear.vendor)).split()
        count = len(text) if whole else min(len(text), int(self.spoken_s * world.words_per_s))
        each = max(self.spoken_s / max(len(text), 1), 0.01) if whole else 1 / world.words_per_s
        return tuple(
            Word(word, round(self.start_s + i * each, 3), round(self.start_s + (i + 1) * each, 3))
            for i, word in enumerate(text[:count])
        )

    def noticed(
        self, what: Literal["started", "interim", "eager", "resumed", "ended"], clock_s: float, *, whole: bool = False
    ) -> Noticed:
        """A report."""
        words = () if what == "started" else self.words(whole=whole)
        return Noticed(what, words, clock_s, (self.start_s, self.start_s + self.spoken_s))
