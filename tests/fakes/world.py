"""What the fakes live in: what is heard, what the model says, how a voice sounds, and how long everything takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, Literal

import numpy as np

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Spread:
    """A duration that is drawn: half of the draws lie below `median_s`, one in twenty above `p95_s` (log-normal)."""

    median_s: float
    p95_s: float

    def draw(self, rng: Random) -> float:
        sigma = math.log(self.p95_s / self.median_s) / 1.645
        return self.median_s * math.exp(rng.gauss(0, sigma))


Duration = float | Spread | Callable[[Random], float]


@dataclass
class Pace:
    """How long things take."""

    ttft_s: Duration = 0.05
    """Chat: from the request to the first token."""
    gap_s: Duration = 0.002
    """Chat: between tokens."""
    hear_s: Duration = 0.05
    """Speech to text: from the last audio to the words."""
    ttfb_s: Duration = 0.05
    """Text to speech: from the text to the first audio."""
    audio_gap_s: Duration = 0.002
    """Text to speech: between pieces of audio."""


@dataclass(frozen=True)
class Said:
    """What a model answers."""

    text: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    """Calls: names and arguments as JSON."""
    finish: str = ""
    """Empty: stop, or tool_calls if there are any."""
    refusal: str = ""
    reasoning: str = ""
    """Thoughts before the answer, for dialects that show them."""


@dataclass(frozen=True)
class Sound:
    """What a recogniser is given: 16-bit samples of one utterance so far."""

    pcm: bytes
    rate_hz: int
    turn: int
    """Counts the utterances of this world from 0."""
    vendor: str = ""

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate_hz


def echo(messages: Messages) -> Said:
    """An answer of three sentences that depends on what was said."""
    last = next((text_of(message) for message in reversed(messages) if message["role"] != "system"), "")
    short = " ".join(last.split()[:12]) or "nothing"
    return Said(f"You said: {short}. That is the {len(messages)}th line of our talk. Shall we go on?")


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, written as a string or in parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


@dataclass
class World:
    """Everything that a test or a person can choose. All of it may be changed while the fakes run."""

    heard: Sequence[str] | Callable[[Sound], str] = ("hello there", "how old is the brooklyn bridge", "thank you")
    """Words of one utterance after another (from the start again at the end), or a function of the sound."""
    says: Sequence[Said | str] | Callable[[Messages], Said | str] = echo
    """Answers of the model one after another, or a function of the messages."""
    pace: Pace = field(default_factory=Pace)
    paces: dict[str, Pace] = field(default_factory=dict)
    """By vendor, where it differs."""
    seed: int = 1
    words_per_s: float = 4.0
    """How fast people speak into a streaming recogniser."""
    letter_s: float = 0.06
    """How long a letter of spoken text sounds."""
    hears_silence: bool = False
    """Whether audio without any sound is heard as words too."""
    keys: dict[str, str] = field(default_factory=dict)
    """By vendor: the only key that is accepted. Else every key is, unless it holds the word `wrong`."""
    needs_key: bool = False
    """Whether a request to a hosted vendor without any key is refused."""
    idle_s: dict[str, float] = field(default_factory=lambda: {"elevenlabs": 20.0, "deepgram": 10.0})
    """By vendor: after how long without a message a WebSocket is closed."""

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self._turns, self._replies = itertools.count(), itertools.count()

    def draw(self, vendor: str, what: Literal["ttft_s", "gap_s", "hear_s", "ttfb_s", "audio_gap_s"]) -> float:
        """How long something takes this time."""
        duration: Duration = getattr(self.paces.get(vendor, self.pace), what)
        if isinstance(duration, Spread):
            return duration.draw(self.rng)
        return duration(self.rng) if callable(duration) else duration

    def next_turn(self) -> int:
        """The number of an utterance that begins."""
        return next(self._turns)

    def hear(self, sound: Sound) -> str:
        """The words of an utterance."""
        if not self.hears_silence and not loud(sound.pcm):
            return ""
        return self.heard(sound) if callable(self.heard) else self.heard[sound.turn % len(self.heard)]

    def say(self, messages: Messages) -> Said:
        """The model's answer."""
        said = self.says(messages) if callable(self.says) else self.says[next(self._replies) % len(self.says)]
        return Said(said) if isinstance(said, str) else said

    def seconds_of(self, text: str, speed: float = 1.0) -> float:
        """How long a text sounds."""
        return max(0.1, len(text) * self.letter_s) / (speed or 1.0)

    def voice(self, text: str, rate_hz: int = 24_000, speed: float = 1.0) -> bytes:
        """The sound of a text, 16-bit samples: a hum with syllables."""
        return hum(self.seconds_of(text, speed), rate_hz)


LONGEST_S = 30


@cache
def _hum(rate_hz: int) -> bytes:
    at = np.arange(LONGEST_S * rate_hz) / rate_hz
    wave = 6000 * np.sin(2 * np.pi * (170 + 25 * np.sin(2.1 * at)) * at) * np.abs(np.sin(9 * at))
    return wave.astype("<i2").tobytes()


def hum(seconds: float, rate_hz: int = 24_000) -> bytes:
    """Something like a voice: syllables of a hum."""
    size, whole = 2 * int(seconds * rate_hz), _hum(rate_hz)
    return whole[:size] if size <= len(whole) else (whole * (size // len(whole) + 1))[:size]


def loud(pcm: bytes, limit: float = 150.0) -> bool:
    """Whether 16-bit samples hold any sound."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")
    return bool(len(samples)) and float(np.sqrt(np.mean(np.square(samples, dtype=np.float32)))) > limit
