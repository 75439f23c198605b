"""The real ear - gate, model, turn taking, overlap - on audio that a microphone may deliver."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from trio.testing import MockClock

from aura.core import events as ev
from aura.core.overlap import OverlapSettings
from aura.core.ports import FRAME_BYTES
from aura.core.turns import TurnSettings
from aura.providers.offline.vad import VadSettings, make_detector
from aura.stages.listen import Listener, ListenSettings, OverlapWatch
from aura.tools.recordings import shipped

Pcm = npt.NDArray[Any]
RATE_HZ = 16_000


class Room:
    """A listener, what it told, and the state it believes in."""

    def __init__(self, state: str = "idle") -> None:
        self.facts: list[ev.Event] = []
        self.state = state
        watch = OverlapWatch(OverlapSettings(), lambda: "")
        self.listener = Listener(
            make_detector(VadSettings()), TurnSettings(), watch, ListenSettings(), self.tell, lambda: self.state
        )

    def tell(self, fact: ev.Event) -> None:
        if not isinstance(fact, ev.SpeechSuspected | ev.SuspicionPassed):
            self.facts.append(fact)

    def hear(self, pcm: Pcm) -> list[str]:
        data = np.clip(pcm, -32768, 32767).astype("<i2").tobytes()
        for at in range(0, len(data) - FRAME_BYTES + 1, FRAME_BYTES):
            self.listener.frame(data[at : at + FRAME_BYTES])
        return [type(fact).__name__ for fact in self.facts]


def noise(seconds: float, dbfs: float) -> Pcm:
    return np.random.default_rng(1).standard_normal(round(seconds * RATE_HZ)) * 32768 * 10 ** (dbfs / 20)


def clip(name: str) -> Pcm:
    return shipped(RATE_HZ)[name].pcm.astype(float)


async def test_an_hour_of_silence_is_nothing(autojump_clock: MockClock) -> None:
    room = Room()
    minute = np.zeros(60 * RATE_HZ)
    for _ in range(60):
        room.hear(minute)

    assert room.facts == []
    assert room.listener.taker.position_ms == 3_600_000


@pytest.mark.parametrize("dbfs", [-60.0, -40.0, -25.0])
async def test_steady_noise_is_nobody_speaking(autojump_clock: MockClock, dbfs: float) -> None:
    for state in ("idle", "speaking"):
        room = Room(state)
        room.hear(noise(30, dbfs))
        assert room.facts == [], state


@pytest.mark.parametrize("gain", [0.05, 1.0, 8.0, 40.0])
async def test_quiet_loud_and_clipped_speech_is_one_turn(autojump_clock: MockClock, gain: float) -> None:
    room = Room()
    names = room.hear(np.concatenate([noise(1, -75), clip("ask_time") * gain, noise(2, -75)]))

    assert [name for name in names if name in ("SpeechStarted", "TurnEnded")] == ["SpeechStarted", "TurnEnded"]


async def test_speech_in_noise_is_one_turn_that_ends(autojump_clock: MockClock) -> None:
    said = clip("ask_story")
    level = 20 * np.log10(np.sqrt(np.mean(said**2)) / 32768) - 10
    bed = noise(1 + len(said) / RATE_HZ + 2.5, level)
    bed[RATE_HZ : RATE_HZ + len(said)] += said
    names = Room().hear(bed)

    assert names[0] == "SpeechStarted"
    assert names[-1] == "TurnEnded"


async def test_audio_at_the_wrong_rate_never_breaks_the_ear(autojump_clock: MockClock) -> None:
    said = clip("ask_time")
    for wrong in (said[::3], np.repeat(said, 3), said[::-1], said - 9000):
        Room().hear(np.concatenate([noise(0.5, -75), wrong, noise(2, -75)]))


async def test_a_turn_ends_at_its_longest_even_if_nobody_stops_speaking(autojump_clock: MockClock) -> None:
    room = Room()
    names = room.hear(np.tile(clip("arithmetic")[1600:14000], 90))

    assert [fact.cause for fact in room.facts if isinstance(fact, ev.TurnEnded)][:1] == ["too_long"], names
