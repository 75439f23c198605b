"""A small Realtime server for the tools' tests: hears loud audio, answers with a tone, can be talked over."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np
import trio
import trio_websocket

RATE_HZ = 24_000
CHUNK_S = 0.04
TONE = (8000 * np.sin(np.arange(round(RATE_HZ * CHUNK_S)) * 2 * np.pi * 440 / RATE_HZ)).astype("<i2").tobytes()
WORDS = "One hundred."
SESSION = {
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
        self.reply_pcm = b""
        """Instead of a tone of that length."""
        self.answers = True
        self.hears_interruptions = True
        self.received: list[dict[str, Any]] = []
        """Every JSON message of every client."""
        self.queries: list[str] = []
        self.close_after_s: float | None = None
        self.first: dict[str, Any] | None = {}
        """What comes instead of `session.created`; None: nothing."""
        self.url = ""
        self.calls: dict[str, FakeCall] = {}
        """By session; a session that is taken out is expired."""
        self.gate = Gate()

    @property
    def audio_bytes(self) -> int:
        return sum(len(call.taken) for call in self.calls.values())

    @property
    def call(self) -> FakeCall:
        """The latest."""
        return next(reversed(self.calls.values()))

    async def serve(self, request: Any) -> None:
        if self.gate.refuse:
            await request.reject(self.gate.refuse, body=b"not now")
            return
        _, _, query = request.path.partition("?")
        self.queries.append(query)
        self.gate.headers.append({name.decode().lower(): value.decode() for name, value in request.headers})
        ws = await request.accept()
        if self.first is None:
            await trio.sleep_forever()
        if self.first and self.first["type"] == "error":
            await ws.send_message(msgspec.json.encode(self.first).decode())
            await ws.aclose(3000, "no")
            return
        asked = dict(parse_qsl(query))
        number = len(self.queries)
        call = self.calls.get(asked.get("resume", "")) or FakeCall(self, f"sess_{number}", query)
        again = call.id in self.calls
        self.calls[call.id] = call
        with trio.move_on_after(self.close_after_s or float("inf")):
            async with trio.open_nursery() as nursery:
                call.ws, call.nursery = ws, nursery
                await call.hello(asked.get("played", "") if again else None)
                await call.run()
        await ws.aclose(1001, "going away")

    async def cut(self) -> None:
        """Every connection is gone without a word."""
        for call in self.calls.values():
            await trio.aclose_forcefully(call.ws._stream)


class Gate:
    """How connections are let in."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        """Of every connection."""
        self.refuse = 0
        """HTTP status for new connections."""
        self.deaf = False
        """Nothing more is taken of what the clients send."""


class Reply:
    """An answer that may outlive its connection."""

    def __init__(self, number: int, pcm: bytes) -> None:
        self.item, self.id, self.pcm = f"item_{number}", f"resp_{number}", pcm
        self.sent = 0


class FakeCall:
    """A conversation; its connection may change."""

    ws: trio_websocket.WebSocketConnection
    nursery: trio.Nursery

    def __init__(self, server: FakeServer, id_: str, query: str) -> None:
        self.server, self.id = server, id_
        self.binary, self.events = "binary" in query, "events" in query
        self.speaking: tuple[trio.CancelScope, Reply] | None = None
        self.taken = bytearray()
        """All audio of the client."""
        self.last_loud, self.in_turn, self.number = 0.0, False, 0
        self.items: list[dict[str, Any]] = []

    async def send(self, type_: str, **fields: Any) -> None:
        await self.ws.send_message(msgspec.json.encode({"type": type_, "event_id": "e", **fields}).decode())

    async def hello(self, played: str | None) -> None:
        """The first events: of a new session, or of one that goes on."""
        hello = {
            "type": "session.created",
            "event_id": "e",
            "session": {**SESSION, "id": self.id},
            **(self.server.first or {}),
        }
        await self.ws.send_message(msgspec.json.encode(hello).decode())
        if played is None:
            return
        await self.send("conversation.created", conversation={"id": f"conv_{self.id}"})
        if self.events:
            await self.send("aura.resumed", session_id=self.id, input_bytes=len(self.taken), items=self.items[-8:])
        if self.speaking is not None:
            reply = self.speaking[1]
            item, _, ms = played.rpartition(":")
            if item == reply.item:
                reply.sent = int(ms) * RATE_HZ // 1000 * 2
            self.nursery.start_soon(self.reply, reply)

    async def run(self) -> None:
        try:
            while True:
                raw = await self.ws.get_message()
                if self.server.gate.deaf:
                    await trio.sleep_forever()
                if isinstance(raw, bytes):
                    await self.hear(raw)
                    continue
                message = msgspec.json.decode(raw)
                self.server.received.append(message)
                await self.obey(message)
        except trio_websocket.ConnectionClosed:
            self.nursery.cancel_scope.cancel()

    async def obey(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "input_audio_buffer.append":
                await self.hear(base64.b64decode(message["audio"]))
            case "conversation.item.create":
                self.items.append({**message["item"], "status": "completed"})
                await self.send("conversation.item.done", item=self.items[-1])
            case "response.create":
                self.nursery.start_soon(self.reply)
            case "response.cancel":
                await self.stop("client_cancelled")
            case "conversation.item.retrieve":
                item = {"id": message["item_id"], "content": [{"type": "output_audio", "transcript": "so"}]}
                await self.send("conversation.item.retrieved", item=item)

    async def hear(self, pcm: bytes) -> None:
        self.taken += pcm
        now, user = len(self.taken) / 2 / RATE_HZ, f"user_{self.number + 1}"
        if np.abs(np.frombuffer(pcm, "<i2").astype(int)).max() > 1000:
            self.last_loud = now
            if not self.in_turn and (self.server.hears_interruptions or self.speaking is None):
                self.in_turn = True
                await self.send("input_audio_buffer.speech_started", item_id=user, audio_start_ms=int(now * 1000))
                await self.stop("turn_detected")
        elif self.in_turn and now - self.last_loud > self.server.silence_s:
            self.in_turn = False
            await self.send("input_audio_buffer.speech_stopped", item_id=user, audio_end_ms=int(now * 1000))
            words = {"type": "input_audio", "transcript": "fifty plus fifty"}
            self.items.append({
                "id": user, "type": "message", "role": "user", "status": "completed", "content": [words],
            })  # fmt: skip
            await self.send(
                "conversation.item.input_audio_transcription.completed", item_id=user, transcript=words["transcript"]
            )
            if self.server.answers:
                self.nursery.start_soon(self.reply)

    async def stop(self, reason: str) -> None:
        if self.speaking is None:
            return
        scope, reply = self.speaking
        scope.cancel()
        self.speaking = None
        details = {"id": reply.id, "status": "cancelled", "status_details": {"reason": reason}}
        await self.send("response.done", response=details)
        if self.events:
            await self.send("aura.playout.flush", item_id=reply.item, heard_ms=100)

    async def reply(self, again: Reply | None = None) -> None:
        self.number += again is None
        reply = again or Reply(self.number, self.server.reply_pcm or TONE * round(self.server.reply_s / CHUNK_S))
        with trio.CancelScope() as scope, contextlib.suppress(trio_websocket.ConnectionClosed):  # then it may go on
            self.speaking = scope, reply
            await self.announce(reply, again=again is not None)
            for begin in range(reply.sent, len(reply.pcm), len(TONE)):
                await self.send_audio(reply, reply.pcm[begin : begin + len(TONE)])
                await trio.sleep(CHUNK_S * 0.9)
            self.speaking = None
            part = {"type": "output_audio", "transcript": WORDS}
            self.items.append({
                "id": reply.item, "type": "message", "role": "assistant", "status": "completed", "content": [part],
            })  # fmt: skip
            await self.send("conversation.item.done", item=self.items[-1])
            await self.send("response.done", response={"id": reply.id, "status": "completed"})

    async def send_audio(self, reply: Reply, chunk: bytes) -> None:
        if self.binary:
            await self.ws.send_message(chunk)
        else:
            delta = base64.b64encode(chunk).decode()
            await self.send("response.output_audio.delta", item_id=reply.item, delta=delta)

    async def announce(self, reply: Reply, *, again: bool) -> None:
        """The events before a reply's audio."""
        item = {"id": reply.item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        await self.send("response.created", response={"id": reply.id, "status": "in_progress"})
        await self.send("response.output_item.added", response_id=reply.id, item=item)
        if self.events and not again:
            await self.send("aura.state", was="thinking", now="speaking", cause="ReplyStarted")
            ms = {"endpoint": 100.0, "stt": 10.0, "voice_to_voice": 120.0}
            await self.send("aura.turn.metrics", turn=1, item_id="u", metrics={"reply": 1, "draft": False, "ms": ms})
        await self.send("response.output_audio_transcript.delta", item_id=reply.item, delta=WORDS)
        if self.events and again:
            from_ms = reply.sent * 1000 // 2 // RATE_HZ
            await self.send("aura.playout.resume", response_id=reply.id, item_id=reply.item, from_ms=from_ms)
        if self.binary:
            await self.send("response.output_audio.delta", response_id=reply.id, item_id=reply.item, delta="")


@asynccontextmanager
async def fake_server(server: FakeServer) -> AsyncIterator[str]:
    """Serve on a free port; yields the URL."""
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(trio_websocket.serve_websocket, server.serve, "127.0.0.1", 0, None)
        server.url = f"ws://127.0.0.1:{listening.port}/v1/realtime"
        yield server.url
        nursery.cancel_scope.cancel()
