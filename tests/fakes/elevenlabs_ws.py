"""ElevenLabs over WebSocket: stream-input and multi-stream-input. Source: providers.md 4.2, 8.4 (2026-11-22).

A context that is closed stops at once, but a piece of its audio is still under way (`late_audio`: all of it), and its
place is free only when its `isFinal` was sent: quick barge-ins can thus reach the limit of five.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.fakes.elevenlabs import VOICES, format_of, spans
from tests.fakes.server import Call
from tests.fakes.sockets import Gone, Socket
from tests.fakes.sound import encoded, pieces
from tests.fakes.world import Duration

MOST_CONTEXTS = 5
SCHEDULE = (120, 160, 250, 290)
CLOSING_S: Duration = 0.03
"""How long it takes until a closed context is final (`vendor.state["closing_s"]` changes it)."""


@dataclass
class Context:
    """One stretch of speech."""

    name: str
    waiting: str = ""
    """Text that is not spoken yet."""
    flushes: bool = False
    ending: bool = False
    """No more text comes."""
    closing: bool = False
    speed: float = 1.0
    generations: int = 0
    wake: trio.Event = field(default_factory=trio.Event)

    def push(self) -> None:
        """Something has changed."""
        self.wake.set()
        self.wake = trio.Event()


class Session:
    """One socket. The single form is a session with one context without a name."""

    def __init__(self, call: Call, socket: Socket, nursery: trio.Nursery, *, multi: bool) -> None:
        self.call, self.socket, self.nursery, self.multi = call, socket, nursery, multi
        self.query = call.seen.query
        form = format_of(call)
        assert form
        self.codec, self.rate_hz = form
        self.auto = self.query.get("auto_mode") == "true"
        self.contexts: dict[str, Context] = {}
        self.other = call.has("other_spelling")

    def names(self, context: Context) -> dict[str, str]:
        """How a reply names its context."""
        return {"context_id" if self.other else "contextId": context.name} if self.multi else {}

    async def fail(self, word: str, message: str) -> None:
        """An error, and the end."""
        await self.socket.send({"message": message, "error": word, "code": 1008})
        await self.socket.close(1008, word)

    async def take(self, message: dict[str, Any]) -> bool:
        """One message of the client. False: the socket is finished."""
        if message.get("close_socket"):
            return False
        name = message.get("context_id", "default") if self.multi else ""
        context = self.contexts.get(name)
        if context is None:
            keeps_alive = self.multi and message.get("text") == "" and not message.get("flush")
            if message.get("close_context") or keeps_alive:
                return True
            if len(self.contexts) >= MOST_CONTEXTS:
                await self.fail("max_active_conversations", "Maximum simultaneous contexts exceeded (5 maximum)")
                return False
            context = self.contexts[name] = Context(name)
            self.nursery.start_soon(self.run, context)
        settings = message.get("voice_settings") or {}
        context.speed = settings.get("speed") or context.speed
        text = message.get("text") or ""
        context.waiting += text
        context.flushes |= bool(message.get("flush") or message.get("try_trigger_generation"))
        context.closing |= bool(message.get("close_context"))
        context.ending |= not self.multi and message.get("text") == ""
        context.push()
        return True

    def ready(self, context: Context) -> bool:
        """Whether the text that waits is spoken now."""
        if not context.waiting.strip():
            return False
        enough = SCHEDULE[min(context.generations, len(SCHEDULE) - 1)]
        return context.flushes or context.ending or self.auto or len(context.waiting) >= enough

    async def run(self, context: Context) -> None:
        """Speak a context's text until it is closed."""
        while not context.closing:
            if self.ready(context):
                text, context.waiting = context.waiting.strip(), ""
                context.generations += 1
                await self.speak(context, text)
            elif context.flushes:
                context.flushes = False
                if self.multi:
                    await self.socket.send({"type": "flush_done", **self.names(context)})
            elif context.ending:
                break
            else:
                await context.wake.wait()
        if context.closing:
            await trio.sleep(self.call.vendor.state.get("closing_s", CLOSING_S))
        if not self.call.has("no_final"):
            del self.contexts[context.name]
            await self.socket.send({"isFinal": True, "audio": None, **self.names(context)})
        if not self.multi:
            await self.socket.close(1000)

    async def speak(self, context: Context, text: str) -> None:
        """The audio of a text, with its letters."""
        call = self.call
        with trio.move_on_after(call.world.draw(call.vendor.name, "ttfb_s")):
            while not context.closing:
                await context.wake.wait()
        seconds = round(call.world.seconds_of(text, context.speed), 2)
        await trio.to_thread.run_sync(encoded, seconds, self.rate_hz, self.codec)
        parts = pieces(seconds, self.rate_hz, self.codec)
        letter_s, late = seconds / len(text), 0
        for piece, (start, end) in zip(parts, spans(text, len(parts)), strict=True):
            if context.closing:
                late += 1
                if start == 0 or (late > 1 and not call.has("late_audio")):
                    return
            payload = {"audio": base64.b64encode(piece).decode(), "isFinal": None, **self.names(context)}
            aligned = self.aligned(text[start:end], letter_s)
            await self.socket.send({**payload, "alignment": aligned, "normalizedAlignment": aligned}, content=True)
            await trio.sleep(call.world.draw(call.vendor.name, "audio_gap_s"))

    def aligned(self, letters: str, letter_s: float) -> dict[str, Any] | None:
        """Times in milliseconds, from the beginning of this piece of audio."""
        if not letters or self.call.has("no_alignment"):
            return None
        start, length = (
            ("charsStartTimesMs", "charsDurationsMs") if self.other else ("charStartTimesMs", "charDurationsMs")
        )
        each = letter_s * 1000
        return {
            "chars": list(letters), start: [round(i * each) for i in range(len(letters))],
            length: [round((i + 1) * each) - round(i * each) for i in range(len(letters))],
        }  # fmt: skip


async def talk(call: Call, socket: Socket, *, multi: bool) -> None:
    """Read until the end; every context has a task."""
    socket.idle_s = min(socket.idle_s, float(call.seen.query.get("inactivity_timeout", socket.idle_s)))
    async with trio.open_nursery() as nursery:
        session = Session(call, socket, nursery, multi=multi)
        try:
            model = call.seen.query.get("model_id", "eleven_multilingual_v2")
            if model.startswith(("eleven_v3", "eleven_v4")):
                return await session.fail("unsupported_model", f"Model '{model}' is not available over this WebSocket")
            if call.names["voice"] not in (call.vendor.state.get("voices") or VOICES):
                return await session.fail("voice_not_found", f"Voice {call.names['voice']} does not exist")
            async for message in socket:
                if not isinstance(message, dict):
                    await session.fail("invalid_message", "binary messages are not supported")
                    break
                if not await session.take(message):
                    break
            if socket.timed_out:
                await session.fail("input_timeout_exceeded", "Have not received a new text input within the timeout")
        except Gone:
            pass
        finally:
            nursery.cancel_scope.cancel()


async def single(call: Call, socket: Socket) -> None:
    """WS /v1/text-to-speech/{voice}/stream-input."""
    await talk(call, socket, multi=False)


async def many(call: Call, socket: Socket) -> None:
    """WS /v1/text-to-speech/{voice}/multi-stream-input."""
    await talk(call, socket, multi=True)
