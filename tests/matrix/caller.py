"""A caller who says something, waits for the answer, and notes when it was silent."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

RATE_HZ = 24_000
FRAME_S = 0.02
FRAME_BYTES = int(RATE_HZ * FRAME_S) * 2
PATIENCE_S = 15.0
"""Longer than this nobody waits for the rest of an answer: it hangs."""


@dataclass
class Turn:
    """What came of one thing that was said. Times are Trio's."""

    stopped_at: float = 0.0
    """The caller fell silent."""
    first_at: float | None = None
    silence_s: float = 0.0
    """The longest silence while there was something to hear, from the end of the caller's speech on."""
    texts: list[str] = field(default_factory=list)
    """Transcripts of the responses."""
    statuses: list[str] = field(default_factory=list)
    hung: bool = False
    errors: list[str] = field(default_factory=list)


class Player:
    """Plays at real time what comes, and notices when it runs dry."""

    def __init__(self) -> None:
        self.until = 0.0

    def take(self, at: float, seconds: float) -> float:
        """More audio: returns how long it was silent before."""
        gap = max(0.0, at - self.until)
        self.until = max(self.until, at) + seconds
        return gap


class Caller:
    """One conversation in real time over the Realtime protocol."""

    def __init__(self, ws: WebSocketConnection) -> None:
        self.ws = ws
        self.turn: Turn | None = None
        self.player = Player()
        self._pcm = b""
        self._spoken = trio.Event()
        self._open: set[str] = set()
        self._answered = trio.Event()
        self.closed = False

    async def microphone(self) -> None:
        """Sends what is to be said, else silence, a frame every 20 ms."""
        silence, due = bytes(FRAME_BYTES), trio.current_time()
        while True:
            frame, self._pcm = self._pcm[:FRAME_BYTES], self._pcm[FRAME_BYTES:]
            frame = frame + silence[len(frame) :]
            audio = base64.b64encode(frame).decode()
            try:
                await self.ws.send_message(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
            except ConnectionClosed:
                self.closed = True
                return
            if not self._pcm and not self._spoken.is_set():
                self._spoken.set()
            due += FRAME_S
            await trio.sleep_until(due)

    async def listen(self) -> None:
        """Takes what the server sends."""
        while True:
            try:
                event = json.loads(await self.ws.get_message())
            except ConnectionClosed:
                self.closed = True
                self._answered.set()
                return
            if self.turn is not None:
                self._take(event, self.turn, trio.current_time())

    def _take(self, event: dict[str, Any], turn: Turn, at: float) -> None:
        match event["type"]:
            case "response.created":
                self._open.add(event["response"]["id"])
            case "response.output_audio.delta":
                seconds = len(event["delta"]) * 3 / 4 / 2 / RATE_HZ
                if turn.first_at is None and turn.stopped_at:
                    turn.first_at = at
                    self.player.until = turn.stopped_at
                turn.silence_s = max(turn.silence_s, self.player.take(at, seconds))
            case "response.done":
                response = event["response"]
                self._open.discard(response["id"])
                turn.statuses.append(response["status"])
                parts = [part for item in response["output"] for part in item.get("content", ())]
                turn.texts.append(" ".join(part.get("transcript") or part.get("text") or "" for part in parts))
                if not self._open:
                    self._answered.set()
            case "error":
                turn.errors.append(event["error"]["message"])

    async def say(self, pcm: bytes) -> Turn:
        """Say it and hear the answer to its end."""
        turn = self.turn = Turn()
        self._answered, self._spoken = trio.Event(), trio.Event()
        self._pcm = pcm
        await self._spoken.wait()
        turn.stopped_at = trio.current_time()
        with trio.move_on_after(PATIENCE_S) as patience:
            await self._answered.wait()
            await trio.sleep(max(0.0, self.player.until - trio.current_time()) + 0.2)
        turn.hung = patience.cancelled_caught
        if turn.first_at is None:
            turn.silence_s = math.inf
        self.turn = None
        return turn


async def talk(url: str, sentences: list[bytes]) -> list[Turn]:
    """A conversation in which all of this is said, one after the other."""
    async with open_websocket_url(url) as ws, trio.open_nursery() as nursery:
        caller = Caller(ws)
        nursery.start_soon(caller.microphone)
        nursery.start_soon(caller.listen)
        turns = [await caller.say(pcm) for pcm in sentences if not caller.closed]
        nursery.cancel_scope.cancel()
    return turns
