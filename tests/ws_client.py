"""A WebSocket client for tests: frames written by hand, answers read by wsproto."""

from __future__ import annotations

import struct

import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

HEAD = (
    b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
KEY = b"\x12\xf4\x56\x78"


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """One client frame, written independently of the code under test."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", fin << 7 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", fin << 7 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", fin << 7 | opcode, 0x80 | 127, size)
    return head + KEY + bytes(byte ^ KEY[i % 4] for i, byte in enumerate(payload))


class Client:
    """A client on wsproto's framing."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.ws = Connection(ConnectionType.CLIENT)
        self.pongs: list[bytes] = []
        self.pings = 0
        self.code: int | None = None

    async def handshake(self) -> None:
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await self.stream.receive_some(1)
        assert answer.startswith(b"HTTP/1.1 101 ")

    async def to_end(self) -> str:
        """Read to the end; text of all messages."""
        got = ""
        while True:
            for event in self.ws.events():
                if isinstance(event, Ping):
                    self.pings += 1
                elif isinstance(event, Pong):
                    self.pongs.append(bytes(event.payload))
                elif isinstance(event, CloseConnection):
                    self.code = int(event.code)
                    return got
                elif isinstance(event, TextMessage):
                    got += event.data + "|" * event.message_finished
                elif isinstance(event, BytesMessage):
                    got += f"{bytes(event.data)!r}|"
            data = await self.stream.receive_some(65536)
            if not data:
                return got
            self.ws.receive_data(bytes(data))

    async def close_code(self) -> int | None:
        """Read to the end."""
        await self.to_end()
        return self.code
