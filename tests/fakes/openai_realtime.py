"""OpenAI's Realtime WebSocket, as recogniser and as voice. Source: providers.md 1.8 (2026-11-22)."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import trio

from tests.fakes.ear import NEVER_S, Ear, Noticed
from tests.fakes.openai_chat import count, tokens
from tests.fakes.server import Call
from tests.fakes.sockets import Socket
from tests.fakes.sound import pieces64
from tests.fakes.wire import Seen

RATE_HZ = 24_000
LEAST_S = 0.1
"""A shorter buffer cannot be committed."""
LARGEST = 15 * 1024 * 1024


def kind_of(seen: Seen) -> str:
    """Recogniser or voice: told by the address."""
    query = seen.query
    listens = query.get("intent") == "transcription" or any(
        n in query.get("model", "") for n in ("transcri", "whisper")
    )
    return "stt" if listens else "tts"


class Session:
    """One connection."""

    def __init__(self, call: Call, socket: Socket, nursery: trio.Nursery) -> None:
        self.call, self.socket, self.nursery = call, socket, nursery
        self.numbers = itertools.count(1)
        kind = "transcription" if call.seen.kind == "stt" else "realtime"
        pcm = {"type": "audio/pcm", "rate": RATE_HZ}
        self.settings: dict[str, Any] = {
            "type": kind, "object": f"realtime.{kind}_session", "id": f"sess_{id(self):x}",
            "model": call.seen.query.get("model"), "output_modalities": ["audio"], "instructions": "",
            "audio": {"input": {"format": pcm, "turn_detection": {"type": "server_vad"}},
                      "output": {"format": pcm, "voice": "alloy"}},
        }  # fmt: skip
        self.ear = self.new_ear()
        self.item, self.told, self.buffered_s = "", 0, 0.0
        self.responses: dict[str, trio.CancelScope] = {}

    def next_id(self, kind: str) -> str:
        """A new name."""
        return f"{kind}_{next(self.numbers):06}"

    @property
    def detects(self) -> dict[str, Any] | None:
        """Turn detection, None when the client commits by itself."""
        found: dict[str, Any] | None = self.settings["audio"]["input"].get("turn_detection")
        return found

    def new_ear(self) -> Ear:
        """Ears for these settings."""
        detects = self.detects
        silence_s = detects.get("silence_duration_ms", 500) / 1000 if detects else NEVER_S
        return Ear(self.call.world, self.call.vendor.name, RATE_HZ, end_s=silence_s)

    async def send(self, kind: str, *, content: bool = False, **fields: Any) -> None:
        """An event."""
        await self.socket.send({"type": kind, "event_id": self.next_id("event"), **fields}, content=content)

    async def fail(self, message: str, code: str, cause: dict[str, Any], kind: str = "invalid_request_error") -> None:
        """An error; the connection lives on."""
        error = {"type": kind, "code": code, "message": message, "param": None, "event_id": cause.get("event_id")}
        await self.send("error", error=error)

    async def take(self, message: dict[str, Any]) -> None:
        """One event of the client."""
        handler = {
            "session.update": self.update, "input_audio_buffer.append": self.append,
            "input_audio_buffer.commit": self.commit, "input_audio_buffer.clear": self.clear,
            "response.create": self.create, "response.cancel": self.cancel,
        }.get(message.get("type", ""))  # fmt: skip
        if handler is None:
            await self.fail(f"Invalid value: '{message.get('type')}'.", "invalid_value", message)
        else:
            await handler(message)

    async def update(self, message: dict[str, Any]) -> None:
        """`session.update`: what is named changes, the kind of the session does not."""
        new = message.get("session") or {}
        if new.get("type") not in ("transcription", "realtime"):
            return await self.fail("Missing required parameter: 'session.type'.", "missing_required_parameter", message)
        rate = ((new.get("audio") or {}).get("input") or {}).get("format", {}).get("rate", RATE_HZ)
        if rate != RATE_HZ:
            return await self.fail(f"Invalid rate {rate}: only 24000 is supported.", "invalid_value", message)
        merge(self.settings, new)
        if not self.ear.speaking:
            clock_s, self.ear = self.ear.clock_s, self.new_ear()
            self.ear.clock_s = clock_s
        return await self.send("session.updated", session=self.settings)

    # ---- hearing ---------------------------------------------------------------------------------------------

    async def append(self, message: dict[str, Any]) -> None:
        """Audio."""
        try:
            data = base64.b64decode(message.get("audio", ""), validate=True)
        except ValueError:
            return await self.fail("Invalid 'audio': not base64.", "invalid_value", message)
        if len(data) > LARGEST:
            return await self.fail("Invalid 'audio': larger than 15 MiB.", "invalid_value", message)
        self.call.seen.audio += data
        self.buffered_s += len(data) / 2 / RATE_HZ
        for noticed in self.ear.feed(data):
            await self.notice(noticed)
        return None

    async def notice(self, noticed: Noticed) -> None:
        """What the ear noticed."""
        if noticed.what == "started":
            self.item, self.told = self.next_id("item"), 0
            if self.detects:
                padding = self.detects.get("prefix_padding_ms", 300)
                start_ms = max(0, int(noticed.speech_s[0] * 1000) - padding)
                await self.send("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self.item)
        elif noticed.what == "interim":
            await self.deltas(noticed)
        elif noticed.what == "ended":
            await self.send(
                "input_audio_buffer.speech_stopped", audio_end_ms=int(noticed.clock_s * 1000), item_id=self.item
            )
            await self.completed(noticed)

    async def deltas(self, noticed: Noticed) -> None:
        """The words that are new."""
        for word in noticed.words[self.told :]:
            text = f" {word.text}" if self.told else word.text
            self.told += 1
            await self.send(
                "conversation.item.input_audio_transcription.delta", content=True,
                item_id=self.item, content_index=0, delta=text,
            )  # fmt: skip

    async def completed(self, noticed: Noticed | None) -> None:
        """The buffer becomes an item, and its words are worked out."""
        self.item = self.item or self.next_id("item")
        seconds, self.buffered_s = self.buffered_s, 0.0
        await self.send("input_audio_buffer.committed", item_id=self.item, previous_item_id=None)
        await trio.sleep(self.call.world.draw(self.call.vendor.name, "hear_s"))
        if noticed:
            await self.deltas(noticed)
        await self.send(
            "conversation.item.input_audio_transcription.completed", content=True, item_id=self.item, content_index=0,
            transcript=noticed.text if noticed else "", usage={"type": "duration", "seconds": round(seconds, 2)},
        )  # fmt: skip
        self.item, self.told = "", 0

    async def commit(self, message: dict[str, Any]) -> None:
        """By hand."""
        if self.buffered_s < LEAST_S:
            text = f"Error committing input audio buffer: buffer too small, it has {self.buffered_s * 1000:.2f} ms"
            return await self.fail(text, "input_audio_buffer_commit_empty", message)
        return await self.completed(self.ear.finish())

    async def clear(self, message: dict[str, Any]) -> None:
        """Forget what was appended."""
        self.ear.finish()
        self.buffered_s, self.item = 0.0, ""
        await self.send("input_audio_buffer.cleared")

    # ---- speaking --------------------------------------------------------------------------------------------

    async def create(self, message: dict[str, Any]) -> None:
        """A response; outside of the conversation several may run at once."""
        asked = message.get("response") or {}
        if self.settings["type"] == "transcription":
            return await self.fail("A transcription session makes no responses.", "invalid_request", message)
        if asked.get("conversation") != "none" and self.responses:
            text = "Conversation already has an active response in progress."
            return await self.fail(text, "conversation_already_has_active_response", message)
        name = self.next_id("resp")
        self.responses[name] = trio.CancelScope()
        self.nursery.start_soon(self.respond, name, spoken(asked), asked)
        return None

    async def cancel(self, message: dict[str, Any]) -> None:
        """Barge-in."""
        named = message.get("response_id")
        scopes = [scope for name, scope in self.responses.items() if named in (None, name)]
        if not scopes:
            await self.fail("Cancellation failed: no active response found", "response_cancel_not_active", message)
        for scope in scopes:
            scope.cancel()

    async def respond(self, name: str, text: str, asked: dict[str, Any]) -> None:
        """Say the text: it is a model that speaks, told to read aloud."""
        base = {"id": name, "object": "realtime.response", "metadata": asked.get("metadata")}
        where = {"response_id": name, "item_id": self.next_id("item"), "output_index": 0, "content_index": 0}
        said = "rewording it, " + text if self.call.has("rewords") else text
        await self.send("response.created", response={**base, "status": "in_progress", "output": []})
        with self.responses[name] as scope:
            await self.speak(said, where)
        del self.responses[name]
        status = "cancelled" if scope.cancelled_caught else "completed"
        spent = {"input_tokens": count(text), "output_tokens": int(self.call.world.seconds_of(said) * 20)}
        details = {"type": "cancelled", "reason": "client_cancelled"} if status == "cancelled" else None
        usage = {**spent, "total_tokens": sum(spent.values())}
        response = {**base, "status": status, "status_details": details, "usage": usage}
        await self.send("response.done", response=response)
        left = {"name": "tokens", "limit": 40_000, "remaining": 39_000, "reset_seconds": 0.1}
        await self.send("rate_limits.updated", rate_limits=[left])

    async def speak(self, text: str, where: dict[str, Any]) -> None:
        """Transcript and audio, side by side."""
        call, part = self.call, {"type": "audio", "transcript": ""}
        await trio.sleep(call.world.draw(call.vendor.name, "ttfb_s"))
        names = {"response_id": where["response_id"], "output_index": 0}
        item = {"id": where["item_id"], "type": "message", "role": "assistant", "content": []}
        await self.send("response.output_item.added", **names, item=item)
        await self.send("response.content_part.added", **where, part=part)
        words = iter(tokens(text))
        for piece in pieces64(round(call.world.seconds_of(text), 2), RATE_HZ):
            for word in itertools.islice(words, 2):
                await self.send("response.output_audio_transcript.delta", **where, delta=word)
            await self.send("response.output_audio.delta", content=True, **where, delta=piece)
            await trio.sleep(call.world.draw(call.vendor.name, "audio_gap_s"))
        for word in words:
            await self.send("response.output_audio_transcript.delta", **where, delta=word)
        await self.send("response.output_audio.done", **where)
        await self.send("response.output_audio_transcript.done", **where, transcript=text)
        await self.send("response.content_part.done", **where, part={**part, "transcript": text})
        await self.send("response.output_item.done", **names, item=item)


def spoken(asked: dict[str, Any]) -> str:
    """The text of the items that a response is given: the last of them, as a reader of texts would."""
    texts = [
        part.get("text", "")
        for item in asked.get("input") or ()
        for part in item.get("content") or ()
        if part.get("type") in ("input_text", "text")
    ]
    return texts[-1] if texts else str(asked.get("instructions") or "")


def merge(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Change what is named, in depth."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            merge(old[key], value)
        else:
            old[key] = value


async def realtime(call: Call, socket: Socket) -> None:
    """WS /v1/realtime."""
    async with trio.open_nursery() as nursery:
        session = Session(call, socket, nursery)
        await session.send("session.created", session=session.settings)
        async for message in socket:
            if isinstance(message, dict):
                await session.take(message)
            else:
                await session.fail("binary messages are not supported", "invalid_value", {})
        nursery.cancel_scope.cancel()
