"""How a live recogniser speaks: one utterance as messages out and events in. Pure: no sockets, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import numpy as np

from aura.core.errors import StreamCut
from aura.core.ports import LISTEN_RATE_HZ, HearingEvent

BYTES_PER_S = LISTEN_RATE_HZ * 2
Wire = str | bytes
T = TypeVar("T")


class Words:
    """What has been understood: pieces that stand, and a tail that may still change."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.tail = ""

    def text(self) -> str:
        """All of it."""
        return " ".join(filter(None, (*self.pieces, self.tail)))

    def stand(self, text: str) -> None:
        """These words follow and will not change any more; they take the place of the tail."""
        self.tail = ""
        if text := text.strip():
            self.pieces.append(text)

    @property
    def certain(self) -> bool:
        """Whether there are words and none of them may change."""
        return bool(self.pieces) and not self.tail


class Dialect:
    """Base of all: an engine that wants nothing and tells nothing. One object lives for one utterance."""

    frame_ms = 60
    """How much audio goes into a message."""
    idle_s = 4.0
    """After so long without audio `idle` is asked, again and again."""
    acknowledges = True
    """Whether the engine says when it has worked out all that it was asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.words = Words()
        self.ready = True
        """Whether audio may be sent: some engines greet first."""
        self.settled = False
        """Whether all that was sent has been understood, as far as the engine tells (after `finish` if it does)."""
        self.ending = False
        """Whether `end` was asked."""
        self.over = False
        """Whether the engine has said all that it will say after `end`."""
        self.confidence: float | None = None
        self.language: str | None = None
        self.billed_s: float | None = None
        """Seconds of audio that the engine itself says it bills."""

    def opening(self) -> Sequence[Wire]:
        """The first messages."""
        return ()

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """The next audio, 16 kHz."""
        return (pcm,)

    def finish(self) -> Sequence[Wire]:
        """Have the words of all audio until now worked out; more may follow."""
        return ()

    def end(self) -> Sequence[Wire]:
        """The utterance is complete: have its last words worked out. May set `over` if there is nothing to wait for."""
        return ()

    def idle(self) -> Sequence[Wire]:
        """Nothing was fed for a while: what the engine wants to be told meanwhile."""
        return ()

    def take(self, message: Wire) -> list[HearingEvent]:
        """A message of the engine. Raises ProviderError when it tells of a failure or cannot be read."""
        del message
        return []


QUIET = 0.05
"""Audio is quiet beside other audio when its loudest piece is this much weaker (26 dB)."""


class Level:
    """How much audio there is, and how loud its loudest piece was."""

    def __init__(self) -> None:
        self.size, self.loudest = 0, 0.0

    def add(self, pcm: bytes) -> None:
        """More of it."""
        self.size += len(pcm)
        if pcm:  # 10 µs for 60 ms
            samples = np.frombuffer(pcm, np.int16).astype(np.float32)
            self.loudest = max(self.loudest, float(np.abs(samples).mean()))

    @property
    def ms(self) -> int:
        """How long it is."""
        return self.size * 1000 // BYTES_PER_S

    def quiet_beside(self, other: Level) -> bool:
        """Whether there is nothing in it, compared with that."""
        return not self.size or self.loudest <= other.loudest * QUIET


def read(name: str, decoder: msgspec.json.Decoder[T], message: Wire) -> T:
    """A JSON message. Raises StreamCut."""
    try:
        return decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StreamCut(f"{name}: a message that is broken JSON", provider=name) from error


def silence(ms: int) -> bytes:
    """So much of it."""
    return bytes(BYTES_PER_S * ms // 1000)
