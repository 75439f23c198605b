"""A proxy between a client and a server that keeps every WebSocket frame, both ways, as one JSON line each.

    async with Proxy.open(upstream=("127.0.0.1", 8080)) as proxy:
        proxy.record(Path("call.jsonl"))
        ... a client dials proxy.port ...

Bytes pass unchanged; what is recorded is read from a copy of them. With TLS it ends the client's connection with its
own certificate and opens one of its own to the server. A line is `{at, call, by, kind, message}`: seconds since the
recording began, the connection's number, "client" or "server", and "head", "text", "binary", "ping", "pong", "close"
or "end" (the TCP connection, not the WebSocket). Keys are never written. Every connection is judged by the protocol's
grammar as it goes.
"""

from __future__ import annotations

import json
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import trio
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from aura.core.wire.grammar import Grammar

Side = Literal["client", "server"]
HEAD_BYTES_MAX = 65536
DIAL_TIMEOUT_S = 10.0
LAST_MOMENT_S = 1.0
COMES_BACK = re.compile(r"[?&](?:resume|conversation_id)=")
"""In the address of a client that wants its conversation back."""
READ_BYTES = 65536
SECRETS = (
    (re.compile(r"(?im)^((?:authorization|api-key|cookie)\s*:).*$"), r"\1 ***"),
    (re.compile(r"(?i)(openai-insecure-api-key\.)[^\s,]+"), r"\1***"),
    (re.compile(r"(?i)([?&](?:api[-_]?key|key|token)=)[^\s&]+"), r"\1***"),
)
SOUND = {"audio", "delta"}
"""Keys under which audio travels as base64."""
SOUND_TYPES = {"input_audio_buffer.append", "response.output_audio.delta", "response.audio.delta"}
KINDS = {Opcode.PING: "ping", Opcode.PONG: "pong", Opcode.CLOSE: "close", Opcode.TEXT: "text", Opcode.BINARY: "binary"}


@dataclass(frozen=True)
class Line:
    """One frame, or another fact about a connection."""

    at: float
    call: int
    by: Side
    kind: str
    message: Any = None

    def json(self) -> str:
        """As it is written."""
        message = self.message.hex() if isinstance(self.message, bytes) else self.message
        shown = {"at": round(self.at, 4), "call": self.call, "by": self.by, "kind": self.kind, "message": message}
        return json.dumps(shown)


def without_sound(message: Any) -> Any:
    """The message with the length of its audio in place of the audio."""
    if isinstance(message, bytes):
        return f"<{len(message)} bytes>"
    if not isinstance(message, dict) or message.get("type") not in SOUND_TYPES:
        return message
    return {k: f"<{len(v)} base64>" if k in SOUND and isinstance(v, str) else v for k, v in message.items()}


def redacted(head: str) -> str:
    """An HTTP head without keys."""
    for pattern, kept in SECRETS:
        head = pattern.sub(kept, head)
    return head


class Judge:
    """One connection under the protocol's grammar."""

    def __init__(self) -> None:
        self.grammar = Grammar()
        self.violations: list[str] = []
        self.seen: deque[tuple[float, int]] = deque()  # the last moments: when, and how many events there were
        self.over = False

    def take(self, at: float, by: Side, kind: str, message: Any) -> None:
        """One frame. What a client asks in its last moments may stay without an answer."""
        if self.over:
            return
        if kind == "head" and by == "client" and COMES_BACK.search(message.partition("\r\n")[0]):
            self.grammar = Grammar(resumed=True)
        if kind in ("text", "binary"):
            found = getattr(self.grammar, by)(message)
            self.seen.append((at, self.grammar.events))
            while len(self.seen) > 1 and self.seen[1][0] < at - LAST_MOMENT_S:
                self.seen.popleft()
        elif kind in ("close", "end"):
            self.over = True
            early = [events for when, events in self.seen if when < at - LAST_MOMENT_S]
            found = self.grammar.end(settled=max(early, default=0), hung_up=by == "client")
        else:
            return
        self.violations += [f"event {v.index}: {v.rule}: {v.text}" for v in found]


@dataclass
class Recording:
    """The frames of the connections made while it is the proxy's recording."""

    path: Path | None
    began: float
    sound: bool = False
    """Whether audio is kept; otherwise its length is."""
    lines: list[Line] = field(default_factory=list)
    """All but the client's audio."""
    unwritten: list[str] = field(default_factory=list)
    judges: dict[int, Judge] = field(default_factory=dict)

    def add(self, call: int, by: Side, kind: str, message: Any = None) -> None:
        """Keep a fact."""
        at = trio.current_time() - self.began
        self.judges.setdefault(call, Judge()).take(at, by, kind, message)
        line = Line(at, call, by, kind, message if self.sound else without_sound(message))
        if not (isinstance(message, dict) and message.get("type") == "input_audio_buffer.append"):
            self.lines.append(line)
        if self.path:
            self.unwritten.append(line.json())

    async def flush(self) -> None:
        """Write what is not written yet."""
        batch, self.unwritten = self.unwritten, []
        if batch and self.path:
            await trio.to_thread.run_sync(append, self.path, "\n".join(batch) + "\n")

    def messages(self, by: Side, kind: str = "") -> Iterator[dict[str, Any]]:
        """The JSON messages of one side, all or those of one type."""
        for line in self.lines:
            text = line.by == by and line.kind == "text" and isinstance(line.message, dict)
            if text and kind in ("", line.message.get("type")):
                yield line.message


def append(path: Path, text: str) -> None:
    """Write at the end (blocking)."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


class Half:
    """One direction of one connection, read along."""

    def __init__(self, recording: Recording, call: int, by: Side) -> None:
        self.recording, self.call, self.by = recording, call, by
        self.head = b""
        self.frames: FrameProtocol | None = None
        self.whole: str | bytes = ""
        self.deaf = False

    def feed(self, data: bytes) -> None:
        """Take a copy of passing bytes."""
        if self.frames is None and not self.deaf:
            data = self.take_head(data)
        if self.deaf or self.frames is None or not data:
            return
        try:
            self.frames.receive_bytes(data)
            for frame in self.frames.received_frames():
                self.take(frame.opcode, frame.payload, frame.message_finished)
        except ParseFailed as error:
            self.recording.add(self.call, self.by, "unreadable", str(error))
            self.deaf = True

    def take_head(self, data: bytes) -> bytes:
        """The HTTP request or answer; what follows it."""
        self.head += data
        head, mark, rest = self.head.partition(b"\r\n\r\n")
        if not mark:
            self.deaf = len(self.head) > HEAD_BYTES_MAX
            return b""
        text = head.decode("latin-1")
        upgraded = self.by == "client" or " 101 " in text.partition("\r\n")[0]
        compressed = self.by == "server" and "permessage-deflate" in text.lower()
        body = "" if upgraded else "\r\n\r\n" + rest.decode("latin-1")
        self.recording.add(self.call, self.by, "head", redacted(text) + body)
        self.deaf = not upgraded or compressed
        if not self.deaf:
            self.frames = FrameProtocol(client=self.by == "server", extensions=[])
        return rest

    def take(self, opcode: Opcode, payload: Any, finished: bool) -> None:
        """A frame, or a part of one."""
        if opcode in (Opcode.PING, Opcode.PONG):
            self.recording.add(self.call, self.by, KINDS[opcode], bytes(payload).hex())
        elif opcode is Opcode.CLOSE:
            code, reason = payload
            self.recording.add(self.call, self.by, "close", {"code": int(code), "reason": reason})
        else:
            part = payload if isinstance(payload, str) else bytes(payload)
            self.whole = part if not self.whole else self.whole + part  # type: ignore[operator]
            if finished:
                whole, self.whole = self.whole, ""
                text = isinstance(whole, str)
                self.recording.add(self.call, self.by, "text" if text else "binary", decoded(whole))

    def end(self) -> None:
        """The side has hung up."""
        self.recording.add(self.call, self.by, "end")


def decoded(whole: str | bytes) -> Any:
    """A message as JSON where it is JSON."""
    if isinstance(whole, bytes):
        return whole
    try:
        return json.loads(whole)
    except ValueError:
        return whole


class Proxy:
    """Listens on a port of this machine and passes everything on to one server."""

    def __init__(self, upstream: tuple[str, int], trust: ssl.SSLContext | None) -> None:
        self.upstream, self.trust = upstream, trust
        self.port = 0
        self.calls = 0
        self.streams: set[trio.abc.Stream | None] = set()
        self.recording = Recording(None, trio.current_time())

    def record(self, path: Path | None, *, sound: bool = False) -> Recording:
        """A new recording for the connections from now on; an old file of that name goes."""
        if path:
            path.unlink(missing_ok=True)
        self.recording = Recording(path, trio.current_time(), sound)
        return self.recording

    async def handle(self, client: trio.abc.Stream) -> None:
        """One connection."""
        self.calls += 1
        call, recording = self.calls, self.recording
        server: trio.abc.Stream | None = None
        try:
            with trio.fail_after(DIAL_TIMEOUT_S):
                server = await trio.open_tcp_stream(*self.upstream)
                if self.trust:
                    server = trio.SSLStream(server, self.trust, server_hostname="localhost", https_compatible=True)
            self.streams |= {client, server}
            async with server, client, trio.open_nursery() as nursery:
                nursery.start_soon(pump, client, server, Half(recording, call, "client"), nursery.cancel_scope)
                nursery.start_soon(pump, server, client, Half(recording, call, "server"), nursery.cancel_scope)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            recording.add(call, "server", "end", f"{type(error).__name__}: {error}")
        finally:
            self.streams -= {client, server}
            with trio.move_on_after(1.0, shield=True):
                await trio.aclose_forcefully(client)

    async def cut(self) -> None:
        """Break all connections, without a word of goodbye."""
        streams, self.streams = self.streams, set()
        for stream in filter(None, streams):
            await trio.aclose_forcefully(stream)

    async def keep(self) -> None:
        """Write recordings now and then."""
        while True:
            await trio.sleep(0.5)
            await self.recording.flush()

    @staticmethod
    @asynccontextmanager
    async def open(
        upstream: tuple[str, int], cert: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None
    ) -> AsyncIterator[Proxy]:
        """Run it; with TLS, `cert` is shown to clients and `trust` judges the server."""
        proxy = Proxy(upstream, trust)
        listeners: list[Any] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listeners[0].socket.getsockname()[1]
        if cert:
            listeners = [trio.SSLListener(listener, cert, https_compatible=True) for listener in listeners]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.keep)
            nursery.start_soon(partial(trio.serve_listeners, proxy.handle, listeners))
            try:
                yield proxy
            finally:
                nursery.cancel_scope.cancel()
                with trio.move_on_after(2.0, shield=True):
                    await proxy.recording.flush()


async def pump(source: trio.abc.Stream, sink: trio.abc.Stream, half: Half, scope: trio.CancelScope) -> None:
    """Pass bytes on until a side ends; then the other direction has a moment to say its last words."""
    try:
        while data := await source.receive_some(READ_BYTES):
            half.feed(bytes(data))
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    half.end()
    if isinstance(sink, trio.SocketStream):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await sink.send_eof()
    scope.deadline = min(scope.deadline, trio.current_time() + 3.0)
