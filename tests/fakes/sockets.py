"""The server's end of a WebSocket: frames written by hand, so that they can be written wrongly; read by wsproto."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

if TYPE_CHECKING:
    from tests.fakes.wire import Seen

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
KNOWN_PROTOCOLS = ("realtime", "token", "bearer")
READ = 65536

Message = dict[str, Any] | bytes

Gate = Callable[["Socket", bytes, bool], Awaitable[None]]
"""Stands between the fake and the wire: gets each frame, and whether it holds content, and sends what it likes."""


class Gone(Exception):
    """The WebSocket is closed."""


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """One frame of a server."""
    size, first = len(payload), fin << 7 | opcode
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def accepted(headers: dict[str, str]) -> bytes:
    """The answer that accepts a handshake."""
    key = headers.get("sec-websocket-key", "").encode()
    token = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    chosen = [f"Sec-WebSocket-Protocol: {name}" for name in offered if name.lower() in KNOWN_PROTOCOLS][:1]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {token}", *chosen, "", ""]).encode()


class Frames:
    """Bytes in, whole messages, pings and the close out."""

    def __init__(self) -> None:
        self._ws = Connection(ConnectionType.SERVER)
        self._parts: list[Any] = []

    def feed(self, data: bytes) -> Iterator[Message | Ping | CloseConnection]:
        """What these bytes complete."""
        self._ws.receive_data(data)
        for event in self._ws.events():
            if isinstance(event, TextMessage | BytesMessage):
                self._parts.append(event.data)
                if event.message_finished:
                    parts, self._parts = self._parts, []
                    text = isinstance(event, TextMessage)
                    yield json.loads("".join(parts)) if text else b"".join(bytes(part) for part in parts)
            elif isinstance(event, Ping | CloseConnection):
                yield event


class Writing:
    """The way out of a socket."""

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.count = 0


class Socket:
    """One conversation. Iterate over it for what the client sends: dicts for JSON texts, bytes for binary messages."""

    def __init__(self, stream: trio.SocketStream, seen: Seen, rest: bytes = b"") -> None:
        self.stream = stream
        self.seen = seen
        self.open = False
        self.gate: Gate | None = None
        self.answers_pings = True
        self.idle_s = float("inf")
        """How long the client may send nothing; then the iteration ends."""
        self.timed_out = False
        self._writing = Writing()
        self._frames = Frames()
        self._inbox: deque[Message | Ping | CloseConnection] = deque(self._frames.feed(rest) if rest else ())
        self._over = trio.Event()

    @property
    def written(self) -> int:
        """How often something was written."""
        return self._writing.count

    async def accept(self) -> None:
        """Complete the handshake."""
        if not self.open:
            await self.raw(accepted(self.seen.headers))
            self.open = True

    async def send(self, payload: Message | str, *, content: bool = False) -> None:
        """Send a message: bytes are binary, all else is text. `content`: it carries words or audio."""
        if isinstance(payload, bytes):
            data = frame(BINARY, payload)
        else:
            data = frame(TEXT, (payload if isinstance(payload, str) else json.dumps(payload)).encode())
        await self.send_frame(data, content=content)

    async def send_frame(self, data: bytes, *, content: bool = False) -> None:
        """Send a frame that is already written."""
        if not self.open:
            raise Gone
        if content:
            self.seen.count()
        written = self.written
        await (self.gate(self, data, content) if self.gate else self.raw(data))
        if content and self.written > written:
            self.seen.chunks_sent += 1

    async def raw(self, data: bytes, pause_s: float | None = None) -> None:
        """Bytes as they are, past the gate; with a pause, one by one."""
        try:
            async with self._writing.lock:
                self._writing.count += 1
                if pause_s is None:
                    await self.stream.send_all(data)
                    return
                for byte in data:
                    await self.stream.send_all(bytes([byte]))
                    await trio.sleep(pause_s)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._ended(None)
            raise Gone from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close in good order: the frame, then wait a moment for the other side to go."""
        if not self.open:
            return
        self.open = False
        with trio.move_on_after(1) as limit:
            limit.shield = True
            try:
                await self.raw(frame(CLOSE, struct.pack("!H", code) + reason.encode()[:120]))
                async for _ in self:  # with data unread, closing would reset the connection
                    pass
            except trio.BusyResourceError:  # another task iterates: it reads on
                await self._over.wait()
            except (trio.BrokenResourceError, trio.ClosedResourceError, Gone):
                pass

    def __aiter__(self) -> Socket:
        return self

    async def __anext__(self) -> Message:
        while (message := await self._next()) is None:
            pass
        return message

    async def _next(self) -> Message | None:
        """The next message; None after something that is none."""
        if not self._inbox:
            await self._read()
            return None
        event = self._inbox.popleft()
        if isinstance(event, Ping):
            if self.answers_pings and self.open:
                await self.raw(frame(PONG, bytes(event.payload)))
            return None
        if isinstance(event, CloseConnection):
            code, was_open = int(event.code), self.open
            self._ended(code)
            if was_open:
                await self.raw(frame(CLOSE, struct.pack("!H", 1000 if code in (1005, 1006) else code)))
            raise StopAsyncIteration
        if isinstance(event, bytes):
            self.seen.audio += event
        else:
            self.seen.messages.append(event)
        return event

    async def _read(self) -> None:
        """More frames. Raises StopAsyncIteration at the end of the connection or of patience."""
        with trio.move_on_after(self.idle_s) as patience:
            try:
                data = await self.stream.receive_some(READ)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
        if patience.cancelled_caught:
            self.timed_out = True
            raise StopAsyncIteration
        if not data:
            self._ended(None)
            raise StopAsyncIteration
        self._inbox.extend(self._frames.feed(bytes(data)))

    def _ended(self, code: int | None) -> None:
        self.open = False
        self._over.set()
        if self.seen.disconnected_at is None:
            self.seen.disconnected_at, self.seen.close_code = trio.current_time(), code
