"""xAI: errors, keys, speech and hearing, over REST and WebSocket. Source: providers.md 3, 8.4 (2026-11-22)."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import trio

from tests.fakes import openai_stt
from tests.fakes.ear import NEVER_S, Ear, Noticed
from tests.fakes.elevenlabs import spans
from tests.fakes.openai_models import key_fault
from tests.fakes.server import Call
from tests.fakes.sockets import Socket
from tests.fakes.sound import CONTENT_TYPES, encoded, pieces
from tests.fakes.wire import Answer, document

VOICES = ("eve", "ara", "rex", "sal", "leo")
LONGEST = 15_000
RATES = (8000, 16000, 22050, 24000, 44100, 48000)

BAD_ARGUMENT = "Client specified an invalid argument"
NO_PERMISSION = "The caller does not have permission to execute the specified operation"
EXHAUSTED = "Some resource has been exhausted"
WRONG_KEY = "Incorrect API key provided: xa***no. You can obtain an API key from https://console.x.ai."
NO_CREDITS = "Your team has either used all available credits or reached its monthly spending limit."

ERRORS = {
    "unauthorized": (400, BAD_ARGUMENT, WRONG_KEY),
    "no_key": (401, "Unauthenticated", "No API key was provided."),
    "forbidden": (403, NO_PERMISSION, "API key ACLs do not allow this endpoint."),
    "quota": (403, NO_PERMISSION, NO_CREDITS),
    "credit": (403, NO_PERMISSION, NO_CREDITS),
    "not_found": (404, "Some requested entity was not found", "The model does not exist or you have no access to it."),
    "context_length": (400, BAD_ARGUMENT, "This model's maximum prompt length is 8."),
    "validation": (422, "Failed to deserialize the JSON body into the target type", "a field is wrong"),
    "rate_limited": (429, EXHAUSTED, "Too many requests. Your team's rate limit is 1 request per second."),
    "slow_down": (429, EXHAUSTED, "Too many requests for team."),
    "error_500": (500, "Internal error", "Service temporarily unavailable. Please try again."),
    "overloaded_503": (503, "The service is currently unavailable", "The model is at capacity."),
}


def error(kind: str, message: str) -> tuple[int, Any]:
    """Status and body: two sentences, `error` is a string."""
    status, code, text = ERRORS[kind]
    return status, {"code": code, "error": message or text}


def in_band(kind: str) -> tuple[dict[str, Any], int]:
    """On an open socket."""
    return {"type": "error", "message": ERRORS[kind][2]}, 1008


def check_key(call: Call) -> Answer | None:
    """A wrong key is 400, a missing one 401."""
    given = call.seen.headers.get("authorization", "").removeprefix("Bearer ")
    return key_fault(call, given, "unauthorized" if given else "no_key")


async def api_key(call: Call) -> Answer:
    """GET /v1/api-key: the cheap check of health and key."""
    return document("health", {
        "redacted_api_key": "xa***st", "user_id": "u1", "name": "fake", "create_time": "2026-01-01T00:00:00Z",
        "modify_time": "2026-01-01T00:00:00Z", "modified_by": "u1", "team_id": "t1",
        "acls": ["api-key:model:*", "api-key:endpoint:*"], "api_key_id": "k1", "team_blocked": False,
        "api_key_blocked": False, "api_key_disabled": False,
    })  # fmt: skip


async def voices(call: Call) -> Answer:
    """GET /v1/tts/voices."""
    return document("voices", {"voices": [{"voice_id": name, "name": name.title()} for name in VOICES]})


def refused(call: Call, query: dict[str, Any], text: str) -> str:
    """What is wrong with a request for speech."""
    if len(text) > LONGEST:
        return f"text: at most {LONGEST} characters"
    if query.get("voice", "eve") not in VOICES:
        return f"voice {query['voice']!r} was not found"
    if query.get("codec", "mp3") not in CONTENT_TYPES:
        return f"codec {query['codec']!r} is not supported"
    if int(query.get("sample_rate", 24000)) not in RATES:
        return f"sample_rate {query['sample_rate']} is not supported"
    return ""


async def tts_rest(call: Call) -> Answer:
    """POST /v1/tts."""
    asked = call.seen.json
    form = asked.get("output_format") or {}
    text, codec, rate_hz = asked.get("text", ""), form.get("codec", "mp3"), int(form.get("sample_rate", 24000))
    wrong = refused(call, {"voice": asked.get("voice_id", "eve"), "codec": codec, "sample_rate": rate_hz}, text)
    if not text or "language" not in asked:
        wrong = "missing field `text`" if not text else "missing field `language`"
    if wrong:
        status, body = error("validation", wrong)
        return document("tts", body, status)
    seconds = round(call.world.seconds_of(text, asked.get("speed", 1.0)), 2)
    await trio.to_thread.run_sync(encoded, seconds, rate_hz, codec)

    def steps() -> openai_stt.Steps:
        yield call.world.draw(call.vendor.name, "ttfb_s")
        for piece in pieces(seconds, rate_hz, codec):
            yield piece
            yield call.world.draw(call.vendor.name, "audio_gap_s")

    return Answer("tts", steps(), content_type=CONTENT_TYPES[codec])


async def stt_rest(call: Call) -> Answer:
    """POST /v1/stt."""
    parsed = openai_stt.fields(call)
    if isinstance(parsed, Answer):
        return parsed
    found = await openai_stt.heard(call, parsed[0])
    if isinstance(found, Answer):
        return found
    text, seconds = found
    each = seconds / max(1, len(text.split()))
    words = [
        {"text": word, "start": round(i * each, 2), "end": round((i + 1) * each, 2)}
        for i, word in enumerate(text.split())
    ]
    body = {"text": text, "language": parsed[1].get("language", "en"), "duration": round(seconds, 2), "words": words}
    return document("stt", body, head_delay_s=call.world.draw(call.vendor.name, "hear_s"))


class Voice:
    """One TTS session: what is being said, and what still has to be."""

    def __init__(self, call: Call, socket: Socket) -> None:
        query = call.seen.query
        self.call, self.socket, self.query = call, socket, query
        self.codec, self.rate_hz = query.get("codec", "mp3"), int(query.get("sample_rate", 24000))
        self.text = ""
        self.done = False
        self.wake = trio.Event()
        self.scope = trio.CancelScope()

    def add(self, text: str, *, done: bool = False) -> None:
        """More to say."""
        self.text += text
        self.done |= done
        self.wake.set()

    def clear(self) -> None:
        """Silence, at once."""
        self.text, self.done = "", False
        self.scope.cancel()

    def next_sentence(self) -> str:
        """What can be said now: up to the last end of a sentence, or all when no more comes."""
        end = len(self.text) if self.done else max(self.text.rfind(mark) + 1 for mark in ".!?")
        sentence, self.text = self.text[:end], self.text[end:]
        return sentence

    async def speak(self) -> None:
        """Until the session ends."""
        while True:
            with trio.CancelScope() as self.scope:
                await self.wake.wait()
                self.wake = trio.Event()
                if sentence := self.next_sentence():
                    await self.say(sentence)
                if self.done and not self.text:
                    self.done = False
                    await self.socket.send({"type": "audio.done", "trace_id": str(uuid.uuid4())})

    async def say(self, text: str) -> None:
        """One piece of text."""
        await trio.sleep(self.call.world.draw(self.call.vendor.name, "ttfb_s"))
        seconds = round(self.call.world.seconds_of(text, float(self.query.get("speed", 1.0))), 2)
        await trio.to_thread.run_sync(encoded, seconds, self.rate_hz, self.codec)
        timed, apart = self.query.get("with_timestamps") == "true", self.call.has("timestamps_apart")
        parts = pieces(seconds, self.rate_hz, self.codec)
        each = seconds / len(text)
        for piece, (start, end) in zip(parts, spans(text, len(parts)), strict=True):
            payload: dict[str, Any] = {"type": "audio.delta", "delta": base64.b64encode(piece).decode()}
            if timed and end > start:
                times = [[round(i * each, 3), round((i + 1) * each, 3)] for i in range(start, end)]
                timestamps = {"graph_chars": list(text[start:end]), "graph_times": times}
                if apart:
                    await self.socket.send({**payload, "delta": "", "audio_timestamps": timestamps})
                else:
                    payload["audio_timestamps"] = timestamps
            await self.socket.send(payload, content=True)
            await trio.sleep(self.call.world.draw(self.call.vendor.name, "audio_gap_s"))


async def tts_ws(call: Call, socket: Socket) -> None:
    """WS /v1/tts."""
    if wrong := refused(call, call.seen.query, ""):
        await socket.send({"type": "error", "message": wrong})
        await socket.close(1008, wrong)
        return
    voice = Voice(call, socket)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voice.speak)
        async for message in socket:
            match message.get("type") if isinstance(message, dict) else "binary":
                case "text.delta":
                    voice.add(message["delta"])  # type: ignore[call-overload]
                case "text.done":
                    voice.add("", done=True)
                case "text.clear":
                    voice.clear()
                    await socket.send({"type": "audio.clear"})
                case other:
                    await socket.send({"type": "error", "message": f"unknown message type {other}"})
        nursery.cancel_scope.cancel()


def partial(noticed: Noticed, query: dict[str, str], *, final: bool = False) -> dict[str, Any]:
    """One `transcript.partial`."""
    return {
        "type": "transcript.partial", "text": noticed.text, "is_final": final, "speech_final": final,
        "words": [{"text": word.text, "start": word.start, "end": word.end, "speaker": 0} for word in noticed.words],
        "language": query.get("language", "en"),
        "start": round(noticed.speech_s[0], 3), "duration": round(noticed.clock_s - noticed.speech_s[0], 3),
    }  # fmt: skip


async def stt_ws(call: Call, socket: Socket) -> None:
    """WS /v1/stt."""
    query = call.seen.query
    wait_s = float(query.get("endpointing", 10)) / 1000
    if "smart_turn" in query:
        wait_s = min(0.1 + 0.5 * float(query["smart_turn"]), float(query.get("smart_turn_timeout", NEVER_S)) / 1000)
    encoding = {"pcm": "linear16"}.get(query.get("encoding", "pcm"), query.get("encoding", "pcm"))
    rate_hz = int(query.get("sample_rate", 16000))
    ear = Ear(call.world, call.vendor.name, rate_hz, encoding=encoding, end_s=max(wait_s, 0.02))
    said: list[str] = []

    async def tell(noticed: Noticed | None) -> None:
        if noticed and noticed.what == "ended":
            await trio.sleep(call.world.draw(call.vendor.name, "hear_s"))
            said.append(noticed.text)
            await socket.send(partial(noticed, query, final=True), content=True)
        elif noticed and noticed.what == "interim" and query.get("interim_results") == "true":
            await socket.send(partial(noticed, query), content=True)

    await socket.send({"type": "transcript.created"})
    async for message in socket:
        if isinstance(message, bytes):
            for noticed in ear.feed(message):
                await tell(noticed)
        elif message.get("type") == "audio.done":
            await tell(ear.finish())
            await socket.send({"type": "transcript.done", "text": " ".join(said), "duration": round(ear.clock_s, 3)})
            await socket.close(1000)
            return
        else:
            await socket.send({"type": "error", "message": f"unknown message type {message.get('type')}"})
