"""ElevenLabs' recogniser: Scribe, over REST and as realtime WebSocket. Source: providers.md 4.4 (2026-11-22)."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import trio

from tests.fakes import openai_stt
from tests.fakes.ear import NEVER_S, Ear, Noticed
from tests.fakes.server import Call
from tests.fakes.sockets import Socket
from tests.fakes.wire import Answer, document

LARGEST_CHUNK = 1024 * 1024

IN_BAND = {
    "unauthorized": "auth_error", "forbidden": "unaccepted_terms", "quota": "quota_exceeded",
    "credit": "quota_exceeded",
    "rate_limited": "rate_limited", "slow_down": "commit_throttled", "overloaded_503": "resource_exhausted",
    "error_500": "transcriber_error", "validation": "input_error",
}  # fmt: skip


def in_band(kind: str) -> tuple[dict[str, Any], int]:
    """On an open socket."""
    name = IN_BAND.get(kind, "input_error")
    return {"message_type": name, "error": name.replace("_", " ")}, 1008


async def transcribe(call: Call) -> Answer:
    """POST /v1/speech-to-text."""
    parsed = openai_stt.fields(call)
    if isinstance(parsed, Answer):
        return parsed
    form, said = parsed
    if said.get("model_id") not in ("scribe_v1", "scribe_v2"):
        status, body = call.vendor.dialect.refuse("validation", "model_id")
        return document("stt", body, status)
    found = await openai_stt.heard(call, form)
    if isinstance(found, Answer):
        return found
    text, seconds = found
    each = seconds / max(1, len(text.split()))
    words = [
        {"text": word, "start": round(i * each, 2), "end": round((i + 1) * each, 2), "type": "word", "logprob": -0.1}
        for i, word in enumerate(text.split())
    ]
    body = {"language_code": "en", "language_probability": 0.98, "text": text, "words": words}
    return document("stt", body, head_delay_s=call.world.draw(call.vendor.name, "hear_s"))


class Session:
    """One realtime session."""

    def __init__(self, call: Call, socket: Socket) -> None:
        query = call.seen.query
        self.call, self.socket, self.query = call, socket, query
        self.by_silence = query.get("commit_strategy", "manual") == "vad"
        silence_s = float(query.get("vad_silence_threshold_secs", 1.5))
        form = query.get("audio_format", "pcm_16000")
        rate_hz = int(form.rpartition("_")[2])
        self.ear = Ear(
            call.world, call.vendor.name, rate_hz, encoding="mulaw" if form.startswith("ulaw") else "linear16",
            end_s=silence_s if self.by_silence else NEVER_S,
        )  # fmt: skip

    async def tell(self, noticed: Noticed | None) -> None:
        """Transcripts."""
        if noticed is None or noticed.what == "ended":
            await trio.sleep(self.call.world.draw(self.call.vendor.name, "hear_s"))
            text = noticed.text if noticed else ""
            await self.socket.send({"message_type": "committed_transcript", "text": text}, content=True)
            if self.query.get("include_timestamps") == "true":
                words = [
                    {"text": word.text, "start": word.start, "end": word.end, "type": "word"}
                    for word in (noticed.words if noticed else ())
                ]
                timed = {"message_type": "committed_transcript_with_timestamps", "text": text, "words": words}
                await self.socket.send({**timed, "language_code": self.query.get("language_code", "en")})
        elif noticed.what == "interim":
            await self.socket.send({"message_type": "partial_transcript", "text": noticed.text}, content=True)

    async def run(self) -> None:
        """Until the client goes."""
        started = {"message_type": "session_started", "session_id": uuid.uuid4().hex, "config": self.query}
        await self.socket.send(started)
        async for message in self.socket:
            if not isinstance(message, dict) or message.get("message_type") != "input_audio_chunk":
                await self.socket.send({"message_type": "input_error", "error": "unknown message"})
                continue
            data = base64.b64decode(message.get("audio_base_64") or "")
            if len(data) > LARGEST_CHUNK:
                await self.socket.send({"message_type": "chunk_size_exceeded", "error": "chunk too large"})
                return await self.socket.close(1008)
            self.call.seen.audio += data
            for noticed in self.ear.feed(data):
                await self.tell(noticed)
            if message.get("commit") and not self.by_silence:
                await self.tell(self.ear.finish())
        return None


async def realtime(call: Call, socket: Socket) -> None:
    """WS /v1/speech-to-text/realtime."""
    await Session(call, socket).run()
