"""A person on the phone behind a vendor's WebSocket, in real time: microphone, loudspeaker, keypad.

The vendor's parts (`twilio.py`, `telnyx.py`, `plivo.py`) write its messages and check each one that comes: whatever its
schema does not have is kept in `complaints`. The loudspeaker plays its buffer at exactly 1x; a checkpoint comes back
when the audio in front of it has been played.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import trio
import trio_websocket

from aura.core import g711
from aura.core.audio import AudioFormat, Converter
from aura.tools.recordings import Clip, shipped

FRAME_S = 0.02
QUIET = np.random.default_rng(1).integers(-3, 4, 48_000).astype("<i2")
"""The noise of a line on which nobody speaks."""


class Phone:
    """One call. `speak`, `play` and `listen` run as tasks of it."""

    def __init__(self, ws: trio_websocket.WebSocketConnection, fmt: AudioFormat, played: AudioFormat) -> None:
        self.ws, self.format, self.played = ws, fmt, played
        self.started = trio.current_time()
        self.sent = 0
        self.complaints: list[str] = []
        self.heard: list[tuple[float, bytes]] = []
        """What came out of the loudspeaker, frame by frame; empty while it was silent."""
        self.messages: list[dict[str, Any]] = []
        self._microphone: deque[bytes] = deque()
        self._buffer: deque[bytes | str] = deque()
        self.flushed_s = 0.0
        """Audio that was thrown away unheard."""
        self.closed: tuple[int, str] | None = None

    # ---- the vendor's words: see the subclasses

    def opening(self) -> list[dict[str, Any]]:
        raise AssertionError

    def media(self, frame: bytes) -> list[dict[str, Any]]:
        raise AssertionError

    def digit(self, key: str) -> dict[str, Any]:
        raise AssertionError

    def reached(self, name: str) -> dict[str, Any]:
        raise AssertionError

    def ending(self) -> list[dict[str, Any]]:
        raise AssertionError

    def check(self, message: dict[str, Any]) -> tuple[str, Any]:
        """("play", bytes), ("mark", name) or ("flush", None); `complain` about the rest."""
        raise AssertionError

    def after_flush(self, marks: list[str]) -> list[dict[str, Any]]:
        raise AssertionError

    # ---- tasks

    async def send(self, *messages: dict[str, Any]) -> None:
        try:
            for message in messages:
                await self.ws.send_message(json.dumps(message))
        except trio_websocket.ConnectionClosed:
            pass

    async def speak(self) -> None:
        """Send a frame whenever one is complete."""
        while self.closed is None:
            await trio.sleep_until(self.started + (self.sent + 1) * FRAME_S)
            frame = self._microphone.popleft() if self._microphone else self._quiet()
            self.sent += 1
            await self.send(*self.media(frame))

    async def play(self) -> None:
        """The loudspeaker."""
        size, frames = self.played.bytes_for(20), 0
        began = trio.current_time()
        while self.closed is None:
            frames += 1
            await trio.sleep_until(began + frames * FRAME_S)
            frame = bytearray()
            while self._buffer and (isinstance(self._buffer[0], str) or len(frame) < size):
                piece = self._buffer.popleft()
                if isinstance(piece, str):
                    await self.send(self.reached(piece))
                else:
                    room = size - len(frame)
                    frame += piece[:room]
                    if piece[room:]:
                        self._buffer.appendleft(piece[room:])
            self.heard.append((trio.current_time(), bytes(frame)))

    async def listen(self) -> None:
        """Take what AURA sends."""
        try:
            while True:
                raw = await self.ws.get_message()
                if isinstance(raw, bytes):
                    self.complaints.append("binary frame")
                    continue
                message = json.loads(raw)
                self.messages.append(message)
                kind, value = self.check(message)
                if kind in ("play", "mark"):
                    self._buffer.append(value)
                elif kind == "flush":
                    marks = [piece for piece in self._buffer if isinstance(piece, str)]
                    lost = sum(len(piece) for piece in self._buffer if isinstance(piece, bytes))
                    self.flushed_s += self.played.seconds_in(lost)
                    self._buffer.clear()
                    await self.send(*self.after_flush(marks))
        except trio_websocket.ConnectionClosed as end:
            self.closed = (end.reason.code, end.reason.reason or "") if end.reason else (1006, "")

    # ---- the person

    def say(self, clip: Clip) -> None:
        """Speak a recording, after what is being said."""
        converter = Converter(clip.rate_hz, self.format)
        audio = converter.push(clip.pcm.astype("<i2").tobytes()) + converter.flush()
        size = self.format.bytes_for(20)
        self._microphone.extend(audio[i : i + size] for i in range(0, len(audio) - size + 1, size))

    @property
    def speaking(self) -> bool:
        """Whether something is still to be said."""
        return bool(self._microphone)

    async def press(self, keys: str) -> None:
        for key in keys:
            await self.send(self.digit(key))
            await trio.sleep(0.15)

    async def hang_up(self) -> None:
        await self.send(*self.ending())
        await self.ws.aclose()

    def heard_s(self) -> float:
        """How much of AURA's audio was heard."""
        return self.played.seconds_in(sum(len(frame) for _, frame in self.heard))

    async def until(self, fact: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for something; whether it came about."""
        with trio.move_on_after(timeout_s):
            while not fact():  # noqa: ASYNC110  (facts of all kinds, in real time)
                await trio.sleep(0.01)
        return fact()

    def silent_for(self, seconds: float) -> bool:
        """Whether the loudspeaker has been silent for so long."""
        frames = self.heard[-round(seconds / FRAME_S) :]
        return len(frames) * FRAME_S >= seconds - FRAME_S and not any(frame for _, frame in frames)

    def _quiet(self) -> bytes:
        count = self.format.bytes_for(20) // self.format.sample_bytes
        begin = self.sent * 37 % (len(QUIET) - count)
        noise = QUIET[begin : begin + count]
        if self.format.encoding == "pcm16":
            return noise.tobytes()
        return g711.encode(noise, g711.ULAW_ENCODE if self.format.encoding == "pcmu" else g711.ALAW_ENCODE)

    # ---- checking

    def fields(self, message: dict[str, Any], wanted: dict[str, Any], where: str) -> bool:
        """Exactly these fields, of these types or with these values."""
        if set(message) != set(wanted):
            self.complaints.append(f"31951 {where}: fields {sorted(message)}")
            return False
        for name, kind in wanted.items():
            value = message[name]
            fine = isinstance(value, kind) if isinstance(kind, type) else value == kind
            if not fine:
                self.complaints.append(f"31951 {where}.{name}: {value!r}")
                return False
        return True

    def payload(self, text: str) -> bytes:
        """Base64 audio in whole samples, without a file's header."""
        audio = base64.b64decode(text, validate=True)
        if audio[:4] == b"RIFF" or len(audio) % self.played.sample_bytes or not audio:
            self.complaints.append(f"a payload that is no audio: {audio[:8]!r}")
        return audio


@asynccontextmanager
async def dial(
    url: str, headers: dict[str, str], make: Callable[[trio_websocket.WebSocketConnection], Any]
) -> AsyncIterator[Any]:
    """Somebody on the phone."""
    extra = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with trio.open_nursery() as nursery:
        ws = await trio_websocket.connect_websocket_url(nursery, url, extra_headers=extra)
        phone = make(ws)
        nursery.start_soon(phone.listen)
        await phone.send(*phone.opening())
        nursery.start_soon(phone.play)
        nursery.start_soon(phone.speak)
        try:
            yield phone
        finally:
            with trio.move_on_after(1, shield=True):
                await ws.aclose()
            await trio.aclose_forcefully(ws._stream)  # which the library leaves open when the server closes first
            nursery.cancel_scope.cancel()


def clip(name: str) -> Clip:
    """A shipped recording of a person."""
    return shipped(16_000)[name]
