"""The loudspeaker and microphone, where there are any."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from aura.client.playout import Heard
from aura.core.errors import AuraError


class SoundDeviceError(AuraError):
    """There is no loudspeaker or microphone to be used; the message says what to do."""

    code = "no_sound_device"


def sounddevice() -> Any:
    """The optional sound library. Raises `SoundDeviceError`."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        cure = "pip install 'aura-voice[mic]'"
        raise SoundDeviceError(f"microphone and loudspeaker need the sounddevice library: {cure}") from None
    except OSError:
        raise SoundDeviceError("sounddevice finds no PortAudio: install your system's libportaudio2") from None


class Loudspeaker:
    """Feeds a device's callback with what the `Playout` has played; a sink."""

    def __init__(self, rate_hz: int) -> None:
        self._waiting = bytearray(rate_hz // 25 * 2)  # 40 ms of silence absorb the ticks of the loop

    def __call__(self, heard: Heard) -> None:
        """Take the next stretch."""
        self._waiting += heard.pcm

    def fill(self, out: Any, _frames: int, _time: object, _status: object) -> None:
        """The device's thread wants audio; what is missing is silence."""
        data = bytes(self._waiting[: len(out)])
        del self._waiting[: len(data)]
        out[:] = data.ljust(len(out), b"\0")


@contextmanager
def loudspeaker(rate_hz: int) -> Iterator[Loudspeaker]:
    """The default output device. Raises `SoundDeviceError`."""
    library = sounddevice()
    speaker = Loudspeaker(rate_hz)
    try:
        stream = library.RawOutputStream(rate_hz, channels=1, dtype="int16", latency="low", callback=speaker.fill)
    except library.PortAudioError as error:
        raise SoundDeviceError(f"no loudspeaker can be opened: {error}") from None
    with stream:
        yield speaker


@contextmanager
def microphone(rate_hz: int, frame_s: float, take: Callable[[bytes], None]) -> Iterator[None]:
    """The default input device; `take` is called in Trio's thread with every frame. Raises `SoundDeviceError`."""
    library = sounddevice()
    token = trio.lowlevel.current_trio_token()

    def deliver(data: Any, _frames: int, _time: object, _status: object) -> None:
        token.run_sync_soon(take, bytes(data))

    try:
        stream = library.RawInputStream(
            rate_hz, blocksize=round(rate_hz * frame_s), channels=1, dtype="int16", latency="low", callback=deliver
        )
    except library.PortAudioError as error:
        raise SoundDeviceError(f"no microphone can be opened: {error}") from None
    with stream:
        yield
