"""People on the phone, with devices of all kinds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import numpy as np
import trio

from aura.client import Call, CallError, ClientSettings, connect
from aura.client.events import Event, Other, ReplyAudio, ReplyCreated, SessionCreated
from aura.client.link import LinkLost
from aura.tools.caller import FRAME_S, Caller, quiet_frames
from aura.tools.recordings import Clip
from tests.proof.speech import Speech, encoded, speech


class Device(msgspec.Struct, frozen=True):
    """How somebody's client speaks."""

    encoding: str = "pcm16"
    rate_hz: int = 24_000
    binary: bool = True
    events: bool = True
    odd: bool = False
    """Sends pieces of any size, cut anywhere."""
    piece_ms: int = 20

    @property
    def format(self) -> dict[str, Any]:
        """The same for the session object."""
        if self.encoding == "pcm16":
            return {"type": "audio/pcm", "rate": self.rate_hz}
        return {"type": f"audio/{self.encoding}"}


def any_device(rng: Random) -> Device:
    """Somebody's."""
    encoding, rate_hz = rng.choice((
        ("pcm16", 24_000), ("pcm16", 24_000), ("pcm16", 24_000), ("pcm16", 16_000), ("pcm16", 48_000),
        ("pcmu", 8_000), ("pcma", 8_000),
    ))  # fmt: skip
    piece_ms = rng.choice((20, 40, 60, 100))
    return Device(encoding, rate_hz, rng.random() < 0.5, rng.random() < 0.6, rng.random() < 0.2, piece_ms)


class Person(Caller):
    """A caller with a device of any kind and a microphone that can fail."""

    def __init__(self, call: Call, device: Device, rng: Random, *, shared: bool = True) -> None:
        super().__init__(call)
        self.device, self.rng = device, rng
        self.muted = self.deaf = False
        self.item = self.response = ""
        """The latest of the assistant."""
        self._bed = quiet_frames(device.rate_hz)
        self._unsent = b""
        self.function = ""
        """Id of the last call of one of its own functions."""
        self._shared = shared
        self.watchers.append(self.notice)

    @property
    def speech(self) -> Speech:
        """What it may say."""
        return speech(self.device.rate_hz, shared=self._shared)

    def notice(self, event: Event) -> None:
        """Remember what can be referred to."""
        match event:
            case ReplyAudio():
                self.item = event.item_id
            case Other(type="response.function_call_arguments.done", data=data):
                self.function = str(data["call_id"])
            case ReplyCreated():
                self.response = str(event.response.get("id", ""))
            case SessionCreated() if self.device.encoding != "pcm16":
                self.call.playout.rate_hz = self.device.rate_hz // 2  # it counts two bytes for a sample
            case _:
                pass

    async def speak(self) -> None:
        """Send a frame whenever one is complete, unless the microphone has failed."""
        while self.gone is None:
            await trio.sleep_until(self.started + (self.sent + 1) * FRAME_S)
            frame = self._frames.popleft() if self._frames else self._bed[self.sent % len(self._bed)]
            self.sent += 1
            if not self.muted:
                try:
                    for piece in self._pieces(encoded(np.frombuffer(frame, "<i2"), self.device.encoding)):
                        await self.call.send_audio(piece)
                except CallError as error:
                    self._end(str(error))
            self._frame_sent.unpark_all()

    def _pieces(self, data: bytes) -> list[bytes]:
        least = 1500 if self.device.odd else len(data) * self.device.piece_ms // round(FRAME_S * 1000)
        self._unsent += data
        pieces = []
        while len(self._unsent) >= least:
            size = self.rng.choice((1, 333, 777, 1499)) if self.device.odd else least
            pieces.append(self._unsent[:size])
            self._unsent = self._unsent[size:]
        return pieces

    async def listen(self) -> None:
        """Take what the server sends, unless it has gone deaf."""
        with contextlib.suppress(CallError):
            async for event in self.call:
                self._hear(event)
                while self.deaf and self.gone is None:
                    await self._frame_sent.park()
        self._end("the call is over")

    def _hear(self, event: Event) -> None:
        if isinstance(event, ReplyAudio) and event.voiced:
            self.began.setdefault(event.item_id, event.at)
        for watch in self.watchers:
            watch(event)

    async def until(self, fact: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for something to become true; no time may be left."""
        return await super().until(fact, max(0.0, timeout_s))

    # ---- small acts

    def begin(self, clip: Clip) -> float:
        """Begin to say something; when its speech will end."""
        return self.say(clip).end

    async def ask(self, clip: Clip | None = None) -> bool:
        """Say something and wait until an answer begins."""
        end = self.begin(clip or self.rng.choice(self.speech.plain))
        return await self.reply_begins(end, end - trio.current_time() + 4.0)

    async def heard_out(self) -> None:
        """Wait until it is quiet, but not for ever."""
        await self.until(lambda: trio.current_time() > self.call.playout.ends_at + 0.4, self.rng.uniform(1.5, 4.0))

    async def detect(self, **detection: Any) -> None:
        """Change how turns are found."""
        await self.call.update(audio={"input": {"turn_detection": {"type": "server_vad", **detection}}})

    async def raw(self, message: str | bytes) -> None:
        """Send anything."""
        if self.call.link:
            with contextlib.suppress(LinkLost):
                await self.call.link.send(message)

    async def cut(self) -> None:
        """Lose the connection."""
        if self.call.link:
            await self.call.link.cut()


@contextlib.asynccontextmanager
async def on_the_phone(url: str, device: Device, rng: Random, *, shared: bool = True) -> Any:
    """Somebody calls; their microphone and ears work until the block ends."""
    once = ClientSettings(resume_for_s=2.0)
    async with (
        connect(url, binary=device.binary, events=device.events, settings=once) as call,
        trio.open_nursery() as nursery,
    ):
        await call.update(audio={"input": {"format": device.format}, "output": {"format": device.format}})
        who = Person(call, device, rng, shared=shared)
        nursery.start_soon(who.speak)
        nursery.start_soon(who.listen)
        try:
            yield who
        finally:
            nursery.cancel_scope.cancel()
