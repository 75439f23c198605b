"""A small Realtime server for the tools' tests: hears loud audio, answers with a tone, can be talked over."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import trio
import trio_websocket

RATE_HZ = 24_000
CHUNK_S = 0.04
TONE = (8000 * np.sin(np.arange(round(RATE_HZ * CHUNK_S)) * 2 * np.pi * 440 / RATE_HZ)).astype("<i2").tobytes()
SESSION = {
    "id": "sess_1",
    "audio": {
        "input": {"format": {"type": "audio/pcm", "rate": RATE_HZ}},
        "output": {"format": {"type": "audio/pcm", "rate": RATE_HZ}},
    },
}


class FakeServer:
    """One behaviour for all its calls. The fields are what a test may change or look at."""

    def __init__(self) -> None:
        self.silence_s = 0.1
        """Silence that ends a turn."""
        self.reply_s = 0.4
        self.answers = True
        self.hears_interruptions = True
        self.received: list[dict[str, Any]] = []
        """Every JSON message of every client."""
        self.queries: list[str] = []
        self.audio_bytes = 0
        self.close_after_s: float | None = None
        self.first: dict[str, Any] | None = {"type": "session.created", "session": SESSION}
        self.url = ""

    async def serve(self, request: Any) -> None:
        ws = await request.accept()
        _, _, query = ws.path.partition("?")
        self.queries.append(query)
        if self.first is None:
            await trio.sleep_forever()
        await ws.send_message(msgspec.json.encode(self.first).decode())
        with trio.move_on_after(self.close_after_s or float("inf")):
            async with trio.open_nursery() as nursery:
                await FakeCall(self, ws, nursery, query).run()
        await ws.aclose(1001, "going away")


class FakeCall:
    def __init__(
        self, server: FakeServer, ws: trio_websocket.WebSocketConnection, nursery: trio.Nursery, query: str
    ) -> None:
        self.server, self.ws, self.nursery = server, ws, nursery
        self.binary, self.events = "binary" in query, "events" in query
        self.speaking: trio.CancelScope | None = None
        self.heard_samples, self.last_loud, self.in_turn, self.number = 0, 0.0, False, 0

    async def send(self, type_: str, **fields: Any) -> None:
        await self.ws.send_message(msgspec.json.encode({"type": type_, "event_id": "e", **fields}).decode())

    async def run(self) -> None:
        try:
            while True:
                raw = await self.ws.get_message()
                if isinstance(raw, bytes):
                    await self.hear(raw)
                    continue
                message = msgspec.json.decode(raw)
                self.server.received.append(message)
                match message["type"]:
                    case "input_audio_buffer.append":
                        await self.hear(base64.b64decode(message["audio"]))
                    case "response.create":
                        self.nursery.start_soon(self.reply)
                    case "response.cancel":
                        await self.stop("client_cancelled")
                    case "conversation.item.retrieve":
                        item = {"id": message["item_id"], "content": [{"type": "output_audio", "transcript": "so"}]}
                        await self.send("conversation.item.retrieved", item=item)
        except trio_websocket.ConnectionClosed:
            self.nursery.cancel_scope.cancel()

    async def hear(self, pcm: bytes) -> None:
        self.server.audio_bytes += len(pcm)
        self.heard_samples += len(pcm) // 2
        now = self.heard_samples / RATE_HZ
        if np.abs(np.frombuffer(pcm, "<i2").astype(int)).max() > 1000:
            self.last_loud = now
            if not self.in_turn and (self.server.hears_interruptions or self.speaking is None):
                self.in_turn = True
                await self.send("input_audio_buffer.speech_started", item_id="u", audio_start_ms=int(now * 1000))
                await self.stop("turn_detected")
        elif self.in_turn and now - self.last_loud > self.server.silence_s:
            self.in_turn = False
            await self.send("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=int(now * 1000))
            await self.send(
                "conversation.item.input_audio_transcription.completed", item_id="u", transcript="fifty plus fifty"
            )
            if self.server.answers:
                self.nursery.start_soon(self.reply)

    async def stop(self, reason: str) -> None:
        if self.speaking is None:
            return
        self.speaking.cancel()
        self.speaking = None
        await self.send("response.done", response={"status": "cancelled", "status_details": {"reason": reason}})
        if self.events:
            await self.send("aura.playout.flush", item_id=f"item_{self.number}", heard_ms=100)

    async def reply(self) -> None:
        self.number += 1
        item = f"item_{self.number}"
        with trio.CancelScope() as self.speaking:
            await self.send("response.created", response={"id": "r", "status": "in_progress"})
            if self.events:
                await self.send("aura.state", was="thinking", now="speaking", cause="ReplyStarted")
                ms = {"endpoint": 100.0, "stt": 10.0, "voice_to_voice": 120.0}
                await self.send(
                    "aura.turn.metrics", turn=1, item_id="u", metrics={"reply": 1, "draft": False, "ms": ms}
                )
            if self.binary:
                await self.send("response.output_audio.delta", response_id="r", item_id=item, delta="")
            await self.send("response.output_audio_transcript.delta", item_id=item, delta="One hundred.")
            for _ in range(round(self.server.reply_s / CHUNK_S)):
                if self.binary:
                    await self.ws.send_message(TONE)
                else:
                    await self.send("response.output_audio.delta", item_id=item, delta=base64.b64encode(TONE).decode())
                await trio.sleep(CHUNK_S * 0.9)
            self.speaking = None
            await self.send("response.done", response={"id": "r", "status": "completed"})


@asynccontextmanager
async def fake_server(server: FakeServer) -> AsyncIterator[str]:
    """Serve on a free port; yields the URL."""
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(trio_websocket.serve_websocket, server.serve, "127.0.0.1", 0, None)
        server.url = f"ws://127.0.0.1:{listening.port}/v1/realtime"
        yield server.url
        nursery.cancel_scope.cancel()
