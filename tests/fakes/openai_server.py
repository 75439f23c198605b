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
import re
import struct
import wave
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import h11
import trio

Kind = Literal["chat", "stt", "tts", "models"]
KINDS: dict[str, Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/audio/transcriptions": "stt",
    "/v1/audio/speech": "tts",
    "/v1/models": "models",
}


@dataclass
class Answer:
    """How one request is answered."""

    kind: Kind
    steps: list[bytes | float] = field(default_factory=list)
    """Bytes are one HTTP chunk, numbers are seconds of silence."""
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    head_delay_s: float = 0.0
    """Silence before status and headers."""
    after: Literal["end", "hold", "cut", "reset"] = "end"
    """End the body; keep it open for ever; close in the middle of it; reset the connection."""
    framing: Literal["chunked", "length", "close"] = "chunked"


@dataclass
class Seen:
    """One request as it arrived, and what became of its answer. Times are Trio's."""

    kind: Kind
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float
    disconnected_at: float | None = None
    chunks_sent: int = 0
    answered: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, Part]:
        return parse_form(self.headers["content-type"], self.body)


@dataclass
class Part:
    """One field of a multipart form."""

    value: bytes
    filename: str | None = None
    content_type: str | None = None


class FakeOpenAI:
    """The server's state, for tests to read and to change."""

    def __init__(self, port: int) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.seen: list[Seen] = []
        self.connections = 0
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

    def answer(self, seen: Seen) -> Answer:
        """The next answer for this request."""
        queue = self.queue[seen.kind]
        return queue.popleft() if queue else self.default[seen.kind](seen)

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection: requests one after the other until somebody closes it."""
        self.connections += 1
        number, http = self.connections, h11.Connection(h11.SERVER)
        try:
            while (seen := await receive(stream, http, number)) is not None:
                self.seen.append(seen)
                await self.respond(stream, http, seen)
                if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                    break
                http.start_next_cycle()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # clients may break a connection at any moment; `disconnected_at` tells
        finally:
            await trio.aclose_forcefully(stream)

    async def respond(self, stream: trio.SocketStream, http: h11.Connection, seen: Seen) -> None:
        """Answer, watching at the same time whether the client is still there."""
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                try:
                    data = await stream.receive_some(65536)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
                http.receive_data(data)
                if not data:
                    seen.disconnected_at = trio.current_time()
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await send(stream, http, self.answer(seen), seen)
            seen.answered = True
            nursery.cancel_scope.cancel()


async def receive(stream: trio.SocketStream, http: h11.Connection, number: int) -> Seen | None:
    """The next whole request, None when the client has gone."""
    request, body = None, b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Seen(KINDS[request.target.decode()], headers, body, number, trio.current_time())
        else:
            return None


async def send(stream: trio.SocketStream, http: h11.Connection, answer: Answer, seen: Seen) -> None:
    """Write an answer step by step."""
    await trio.sleep(answer.head_delay_s)
    headers = {"content-type": answer.content_type, "x-request-id": f"req_{id(seen)}", **answer.headers}
    if answer.framing == "length":
        headers["content-length"] = str(sum(len(step) for step in answer.steps if isinstance(step, bytes)))
    elif answer.framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    else:
        headers["connection"] = "close"
    head = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    await stream.send_all(http.send(h11.Response(status_code=answer.status, headers=head, reason=b"x")) or b"")
    for step in answer.steps:
        if isinstance(step, float):
            await trio.sleep(step)
        else:
            await stream.send_all(http.send(h11.Data(data=step)) or b"")
            seen.chunks_sent += 1
    if answer.after == "hold":
        await trio.sleep_forever()
    elif answer.after == "reset":
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
    elif answer.after == "end":
        await stream.send_all(http.send(h11.EndOfMessage()) or b"")


@asynccontextmanager
async def serve(*answers: Answer) -> AsyncIterator[FakeOpenAI]:
    """Run the server; `answers` are used once each, in their order, by kind."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    fake = FakeOpenAI(listeners[0].socket.getsockname()[1])
    for answer in answers:
        fake.queue[answer.kind].append(answer)
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


def parse_form(content_type: str, body: bytes) -> dict[str, Part]:
    """Strict multipart/form-data: every part named, nothing outside of the parts."""
    found = re.fullmatch(r'multipart/form-data; boundary="?([^"]+)"?', content_type)
    assert found, content_type
    mark = b"--" + found[1].encode()
    assert body.startswith(mark + b"\r\n"), body[:80]
    assert body.endswith(b"\r\n" + mark + b"--\r\n"), body[-80:]
    parts = {}
    for raw in body[len(mark) + 2 : -len(mark) - 6].split(b"\r\n" + mark + b"\r\n"):
        head, _, value = raw.partition(b"\r\n\r\n")
        name = re.search(rb'form-data; name="([^"]*)"', head)
        filename, kind = re.search(rb'; filename="([^"]*)"', head), re.search(rb"(?i)content-type: (\S+)", head)
        assert name, head
        parts[name[1].decode()] = Part(
            value, filename[1].decode() if filename else None, kind[1].decode() if kind else None
        )
    return parts


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
    body = json.dumps(payload).encode()
    return Answer(kind, [body], content_type="application/json", framing="length", **more)


def transcript(text: str, **more: Any) -> Answer:
    """What the transcription endpoint says."""
    return one_shot("stt", {"text": text, "usage": {"type": "duration", "seconds": 1}}, **more)


def failure(kind: Kind, status: int, payload: object, **headers: str) -> Answer:
    """An error: a dict or list becomes JSON, a text HTML or plain text. Header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(payload, str):
        kind_of_text = "text/html" if payload.startswith("<") else "text/plain"
        return Answer(kind, [payload.encode()], status, kind_of_text, named, framing="length")
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
