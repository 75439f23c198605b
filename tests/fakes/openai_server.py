"""A real HTTP/1.1 server on 127.0.0.1 that speaks the OpenAI API, well or badly, as the test wants.

    async with serve(chat("Hello there.", gap_s=0.01)) as fake:
        ... OpenAISettings(base_url=fake.base_url) ...
        assert fake.seen[0].json["stream"]

Answers given to `serve` (or appended to `fake.queue[kind]`) are used once each, in order; after them, and for kinds
without any, `fake.default[kind]` makes the answer from the request. Everything runs in the test's own Trio loop and in
real time: do not combine it with autojump_clock.
"""

from __future__ import annotations

import base64
import io
import json
import math
import struct
import wave
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

import trio

from tests.fakes.wire import Answer, Part, Seen, Server, document, page, parse_form

__all__ = ["Answer", "FakeOpenAI", "Part", "Seen", "chat", "parse_form", "serve"]

Kind = Literal["chat", "stt", "tts", "models"]
KINDS: dict[str, Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/audio/transcriptions": "stt",
    "/v1/audio/speech": "tts",
    "/v1/models": "models",
}


class FakeOpenAI(Server):
    """The server's state, for tests to read and to change."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.queue: dict[Kind, deque[Answer]] = {kind: deque() for kind in KINDS.values()}
        self.default: dict[Kind, Callable[[Seen], Answer]] = {
            "chat": lambda _: chat("Hello there. How can I help you?"),
            "stt": lambda _: transcript("hello there"),
            "tts": lambda seen: speech(0.03 * len(seen.json["input"])),
            "models": lambda _: one_shot("models", {"object": "list", "data": []}),
        }

    def of(self, kind: Kind) -> list[Seen]:
        """The requests of one kind."""
        return [seen for seen in self.seen if seen.kind == kind]

    def classify(self, seen: Seen) -> None:
        """Only these four addresses exist."""
        seen.kind = KINDS[seen.target]

    def answer(self, seen: Seen) -> Answer:
        """The next answer for this request."""
        queue = self.queue[seen.kind]  # type: ignore[index]
        return queue.popleft() if queue else self.default[seen.kind](seen)  # type: ignore[index]

    async def reply(self, seen: Seen) -> Answer:
        """The same, as the base asks for it."""
        return self.answer(seen)


@asynccontextmanager
async def serve(*answers: Answer) -> AsyncIterator[FakeOpenAI]:
    """Run the server; `answers` are used once each, in their order, by kind."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    fake = FakeOpenAI(listeners[0].socket.getsockname()[1])
    for answer in answers:
        fake.queue[answer.kind].append(answer)  # type: ignore[index]
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, fake.handle, listeners)
        try:
            yield fake
        except Exception as error:
            failed = error  # raised outside of the nursery, which would wrap it in a group
        nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed


def sent_audio(seen: Seen) -> bytes:
    """The samples of a transcription request, its WAV file checked as strictly as the API does."""
    file = seen.form["file"]
    assert (file.filename, file.content_type) == ("speech.wav", "audio/wav")
    with wave.open(io.BytesIO(file.value)) as wav:
        assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, 16000)
        return wav.readframes(wav.getnframes())


# ---- answers ---------------------------------------------------------------------------------------------------


def sse(payload: object) -> bytes:
    """One event."""
    return b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n"


DONE = sse(b"[DONE]")
USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 2,
    "total_tokens": 11,
    "prompt_tokens_details": {"cached_tokens": 4},
}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
    """One chat.completion.chunk; without a delta it is the usage chunk."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "obfuscation": "x7"}
    return sse({**base, "choices": choices, "usage": usage})


def tokens_of(text: str, size: int = 5) -> list[str]:
    """A text cut into pieces as a model would."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def chat(
    text: str | Iterable[str],
    *,
    ttft_s: float = 0.0,
    gap_s: float = 0.0,
    finish: str = "stop",
    usage: dict[str, Any] | None = USAGE,
    tool_deltas: Iterable[list[dict[str, Any]]] = (),
    **more: Any,
) -> Answer:
    """A well-formed answer: the role, the tokens, tool calls, the finish, the usage, [DONE]."""
    steps: list[bytes | float] = [ttft_s] if ttft_s else []
    steps.append(chunk({"role": "assistant", "content": "", "refusal": None}))
    for token in tokens_of(text) if isinstance(text, str) else text:
        steps += [chunk({"content": token}), *([gap_s] if gap_s else [])]
    steps += [chunk({"tool_calls": parts}) for parts in tool_deltas]
    steps.append(chunk({}, finish))
    steps += [chunk(usage=usage)] if usage else []
    return Answer("chat", [*steps, DONE], **more)


def raw(kind: Kind, *steps: bytes | float, **more: Any) -> Answer:
    """Exactly these bytes and pauses."""
    return Answer(kind, list(steps), **more)


def one_shot(kind: Kind, payload: object, **more: Any) -> Answer:
    """A JSON document."""
    return document(kind, payload, **more)


def transcript(text: str, **more: Any) -> Answer:
    """What the transcription endpoint says."""
    return one_shot("stt", {"text": text, "usage": {"type": "duration", "seconds": 1}}, **more)


def failure(kind: Kind, status: int, payload: object, **headers: str) -> Answer:
    """An error: a dict or list becomes JSON, a text HTML or plain text. Header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(payload, str):
        return page(kind, status, payload, headers=named)
    return one_shot(kind, payload, status=status, headers=named)


def tone(seconds: float, rate_hz: int = 24_000) -> bytes:
    """A 440 Hz sine, 16 bit."""
    count = int(seconds * rate_hz)
    return struct.pack(f"<{count}h", *(int(8000 * math.sin(2764.6 * i / rate_hz)) for i in range(count)))


def speech(
    audio: float | bytes,
    *,
    ttfb_s: float = 0.0,
    gap_s: float = 0.0,
    piece_bytes: int = 4800,
    content_type: str = "audio/pcm",
    events: bool = False,
    **more: Any,
) -> Answer:
    """Seconds of a tone, or these bytes, in pieces (100 ms of 24 kHz unless told); `events`: the SSE variant."""
    data = audio if isinstance(audio, bytes) else tone(audio)
    steps: list[bytes | float] = [ttfb_s] if ttfb_s else []
    for start in range(0, len(data), piece_bytes):
        piece = data[start : start + piece_bytes]
        delta = {"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}
        steps += [sse(delta) if events else piece, *([gap_s] if gap_s else [])]
    if events:
        steps.append(sse({"type": "speech.audio.done", "usage": {"input_tokens": 0, "output_tokens": 0}}))
    return Answer("tts", steps, content_type="text/event-stream" if events else content_type, **more)
