"""What a caller hears: a jitter buffer in model time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np

START_DELAY_S = 0.06
"""Playing begins so long after the first audio arrived, to bridge the network's jitter."""
VOICED = 500
"""A sample above this is sound, below is silence (as in the side-by-side benchmark)."""


def voiced(pcm: bytes) -> bool:
    """Whether there is any sound in it."""
    samples = np.frombuffer(pcm, "<i2", len(pcm) // 2)[::7] if len(pcm) > 1 else np.empty(0, np.int16)
    return bool(samples.size and np.abs(samples.astype(np.int32)).max() > VOICED)


class Heard(msgspec.Struct, frozen=True):
    """A stretch of audio that has been played without a break."""

    item_id: str
    at: float
    """When its first sample sounded (Trio's clock, seconds)."""
    pcm: bytes
    seconds: float
    voiced: bool
    gap_s: float = 0.0
    """Silence just before it that should not be: the buffer had run dry inside the item."""


class _Piece(msgspec.Struct):
    item_id: str
    pcm: memoryview
    voiced: bool


class Playout:
    """Plays reply audio as it would sound at the caller's, and tells the sinks what has been played.

    Nothing happens by itself: every method gets the time and first plays everything that was due until then.
    """

    def __init__(self, rate_hz: int, start_delay_s: float = START_DELAY_S) -> None:
        self.rate_hz, self._start_delay_s = rate_hz, start_delay_s
        self.sinks: list[Callable[[Heard], None]] = []
        self.held = False
        self._queue: deque[_Piece] = deque()
        self._clock = 0.0  # when the first sample of the queue is due, or the last one played ended
        self._samples = 0  # in the queue
        self._dry: tuple[str, float] | None = None  # item and time at which the buffer ran out
        self._marks: dict[str, int] = {}  # samples played of the items of late
        self._skip = ("", 0)  # bytes of an item that come again although they were played

    def add(self, at: float, item_id: str, pcm: bytes) -> None:
        """Audio has arrived."""
        self.advance(at)
        if self._skip[0] == item_id and self._skip[1]:
            again = min(self._skip[1], len(pcm))
            self._skip, pcm = (item_id, self._skip[1] - again), pcm[again:]
        if len(pcm) < 2:
            return
        if not self._queue and self._clock <= at:
            self._clock = at + self._start_delay_s
        self._queue.append(_Piece(item_id, memoryview(pcm)[: len(pcm) & ~1], voiced(pcm)))
        self._samples += len(pcm) // 2

    def hold(self, at: float) -> None:
        """Fall silent, keep everything."""
        self.advance(at)
        self.held = True

    def resume(self, at: float) -> None:
        """Go on where `hold` stopped."""
        self.advance(at)
        if self.held:
            self.held, self._dry, self._clock = False, None, max(self._clock, at)

    def flush(self, at: float) -> None:
        """Throw away what has not been played."""
        self.advance(at)
        self._queue.clear()
        self.held, self._samples, self._dry, self._clock = False, 0, None, min(self._clock, at)

    def refill(self, at: float, item_id: str, from_ms: int) -> None:
        """After a lost connection the item's audio comes once more from this position on. What has been played or waits
        here is left out of it, so that no word sounds twice and none is broken off."""
        self.resume(at)
        begin = from_ms * self.rate_hz // 1000
        waiting = sum(len(piece.pcm) // 2 for piece in self._queue if piece.item_id == item_id)
        known = self._marks.get(item_id, 0) + waiting
        self._skip = (item_id, 2 * max(0, known - begin))
        if begin > known:
            self._marks[item_id] = begin - waiting

    def position(self) -> tuple[str, int] | None:
        """The item that is played, or was the last one, and how many milliseconds of it have sounded."""
        item = self._queue[0].item_id if self._queue else next(reversed(self._marks), "")
        return (item, self._marks.get(item, 0) * 1000 // self.rate_hz) if item else None

    def advance(self, now: float) -> None:
        """Play what is due."""
        while self._queue and not self.held and self._clock < now:
            piece = self._queue[0]
            due = int((now - self._clock) * self.rate_hz + 1e-6)
            if due <= 0:
                return
            self._play(piece, min(due, len(piece.pcm) // 2))

    def _play(self, piece: _Piece, samples: int) -> None:
        gap = self._clock - self._dry[1] if self._dry and self._dry[0] == piece.item_id else 0.0
        self._dry = None
        seconds = samples / self.rate_hz
        heard = Heard(piece.item_id, self._clock, bytes(piece.pcm[: samples * 2]), seconds, piece.voiced, gap)
        self._clock += seconds
        self._samples -= samples
        self._marks[piece.item_id] = self._marks.get(piece.item_id, 0) + samples
        piece.pcm = piece.pcm[samples * 2 :]
        if not piece.pcm:
            self._queue.popleft()
            if not self._queue:
                self._dry = (piece.item_id, self._clock)
        for sink in self.sinks:
            sink(heard)

    @property
    def ends_at(self) -> float:
        """When the last sample that is known will have been played; infinity while held."""
        if self.held and self._queue:
            return float("inf")
        return self._clock + self._samples / self.rate_hz

    def played_ms(self) -> dict[str, int]:
        """How much has been played of the items of late."""
        return {item: samples * 1000 // self.rate_hz for item, samples in self._marks.items()}

    def forget_all_but(self, item_id: str) -> None:
        """Drop the count of earlier items."""
        self._marks = {item: samples for item, samples in self._marks.items() if item == item_id}
