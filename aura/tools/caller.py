"""Somebody on a call: speaks recordings in real time, hears the replies, and can wait for what happens.

A microphone never stops: between recordings it sends a faint, even noise. The time of a sample is the start of the
stream plus its position (capture time, not send time), as in the side-by-side benchmark, so that figures do not
depend on how punctual the sender was; that is kept apart in `lags`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import trio

from aura.client import Call, CallError
from aura.client.events import Event, ReplyAudio, ReplyCreated, ReplyDone, Resumed
from aura.tools.recordings import Clip

FRAME_S: Final = 0.02
OVER_AFTER_S: Final = 0.5
"""A reply is over when nothing has been played for so long (bridges the gaps between its sentences)."""
QUIET_AMPLITUDE: Final = 3
LIVE_FRAMES_MAX: Final = 50


class Spoken(msgspec.Struct, frozen=True):
    """A recording that is being said, on Trio's clock."""

    clip: Clip
    begin: float
    """When its first sample is captured."""

    @property
    def start(self) -> float:
        """When its speech truly begins."""
        return self.begin + self.clip.start

    @property
    def end(self) -> float:
        """When its speech truly ends."""
        return self.begin + self.clip.end

    @property
    def over(self) -> float:
        """When its last sample has been captured."""
        return self.begin + self.clip.seconds


def quiet_frames(rate_hz: int, count: int = 50) -> list[bytes]:
    """A second of the noise that every microphone has."""
    noise = np.random.default_rng(1).integers(-QUIET_AMPLITUDE, QUIET_AMPLITUDE + 1, (count, round(rate_hz * FRAME_S)))
    return [frame.astype("<i2").tobytes() for frame in noise]


class Caller:
    """One person. `speak` and `listen` run as tasks for the whole call."""

    def __init__(self, call: Call, said: Callable[[float, bytes], None] | None = None) -> None:
        self.call, self._said = call, said
        self.started = trio.current_time()
        self.sent = 0  # frames
        self.lags: deque[float] = deque(maxlen=100_000)
        """How late each frame was sent, seconds."""
        self.watchers: list[Callable[[Event], None]] = []
        self.began: dict[str, float] = {}
        """When the first audio with sound of each reply item arrived."""
        self.running: set[str] = set()
        """Replies that are being made."""
        self.gone: str | None = None
        """Why there is no call any more."""
        self._bed = quiet_frames(call.rate_in_hz)
        self._frames: deque[bytes] = deque()
        self._frame_sent = trio.lowlevel.ParkingLot()  # the microphone is the clock of everything that waits

    # ---- tasks ---------------------------------------------------------------------------------------------------

    async def speak(self) -> None:
        """Send a frame whenever one is complete, until the call ends."""
        while self.gone is None:
            due = self.started + (self.sent + 1) * FRAME_S
            await trio.sleep_until(due)
            frame = self._frames.popleft() if self._frames else self._bed[self.sent % len(self._bed)]
            self.lags.append(trio.current_time() - due)
            if self._said is not None:
                self._said(due - FRAME_S, frame)
            self.sent += 1
            try:
                await self.call.send_audio(frame)
            except CallError as error:
                self._end(str(error))
            self._frame_sent.unpark_all()

    async def listen(self) -> None:
        """Take everything that the server sends."""
        try:
            async for event in self.call:
                self._follow(event)
                for watch in self.watchers:
                    watch(event)
        except CallError as error:
            self._end(str(error))
        code, reason = self.call.closed or (1006, "")
        self._end(f"the server ended the call (code {code}{': ' if reason else ''}{reason})")

    def _follow(self, event: Event) -> None:
        match event:
            case ReplyAudio(voiced=True):
                self.began.setdefault(event.item_id, event.at)
            case ReplyCreated():
                self.running.add(str(event.response.get("id", "")))
            case ReplyDone():
                self.running.discard(str(event.response.get("id", "")))
            case Resumed():
                self.running.clear()  # a reply that goes on is announced again
            case _:
                pass

    def _end(self, why: str) -> None:
        self.gone = self.gone or why
        self._frame_sent.unpark_all()

    # ---- acting --------------------------------------------------------------------------------------------------

    def say(self, clip: Clip) -> Spoken:
        """Begin to say something, after what is already being said; returns at once."""
        begin = self.started + (self.sent + len(self._frames)) * FRAME_S
        self._frames.extend(frames(clip))
        return Spoken(clip, begin)

    def hear_live(self, frame: bytes) -> None:
        """Say a frame of a real microphone; the oldest is dropped when it runs faster than the call."""
        if len(self._frames) >= LIVE_FRAMES_MAX:
            self._frames.popleft()
        self._frames.append(frame)

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await self.until(lambda: False, seconds)

    async def until(self, fact: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for something to become true; whether it did in time."""
        with trio.move_on_after(timeout_s):
            while not fact() and self.gone is None:
                await self._frame_sent.park()
        return fact()

    async def reply_begins(self, after: float, timeout_s: float) -> bool:
        """Wait for the first sound of a reply that begins after a point in time."""
        return await self.until(lambda: self.began_after(after) is not None, timeout_s)

    def began_after(self, after: float) -> float | None:
        """When the first reply after a point in time began to sound."""
        return next((at for at in self.began.values() if at > after), None)

    def silent(self) -> bool:
        """Whether no reply is being made and nothing has been played for a while."""
        return not self.running and trio.current_time() > self.call.playout.ends_at + OVER_AFTER_S

    async def reply_over(self, timeout_s: float) -> bool:
        """Wait until the reply has been heard."""
        return await self.until(self.silent, timeout_s)


def frames(clip: Clip) -> list[bytes]:
    """A clip in frames of 20 ms, the last one filled up with silence."""
    step = round(clip.rate_hz * FRAME_S) * 2
    raw = clip.pcm.astype("<i2").tobytes()
    return [raw[i : i + step].ljust(step, b"\0") for i in range(0, len(raw), step)]
