"""Servers of WebSocket bytes, written by hand because they have to break the rules."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from aura.providers.deadlines import Deadlines
from aura.providers.http import Endpoint, HttpSettings
from aura.providers.transport import tls_context
from aura.providers.ws import Ws, WsLimits, connect

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Script = Callable[[trio.abc.Stream, bytes], Awaitable[None]]
QUICK = WsLimits(connect_s=0.5, send_s=0.5, close_s=0.1, ping_s=0)


def accepted(head: bytes, *headers: str) -> bytes:
    """The answer to a handshake."""
    found = re.search(rb"sec-websocket-key: *(\S+)", head, re.I)
    assert found
    token = base64.b64encode(hashlib.sha1(found[1] + GUID, usedforsecurity=False).digest()).decode()
    lines = ["HTTP/1.1 101 Switching", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {token}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One final frame of a server."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload


def unmasked(data: bytes) -> tuple[int, bytes, bytes] | None:
    """(opcode, payload, rest) of a client's first frame; None while it is not complete."""
    if len(data) < 6:
        return None
    size, at = data[1] & 0x7F, 2
    if size == 126:
        size, at = struct.unpack_from("!H", data, 2)[0], 4
    elif size == 127:
        if len(data) < 10:
            return None
        size, at = struct.unpack_from("!Q", data, 2)[0], 10
    if len(data) < at + 4 + size:
        return None
    mask, body = data[at : at + 4], data[at + 4 : at + 4 + size]
    return data[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(body)), data[at + 4 + size :]


@asynccontextmanager
async def engine(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that reads the head of the handshake and then does as the script says."""

    async def one(stream: trio.abc.Stream) -> None:
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_side=True)  # type: ignore[type-var]
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := await stream.receive_some(65536)):
                    return
                head += data
            await script(stream, head)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    failed: BaseException | None = None
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, one, 0, host="127.0.0.1"))
        try:
            yield listeners[0].socket.getsockname()[1]
        except BaseException as error:  # past the nursery, which would wrap it
            failed = error
        nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed


def address(port: int, scheme: str = "http") -> Endpoint:
    return Endpoint(f"{scheme}://127.0.0.1:{port}/v1", HttpSettings(), Deadlines(), tls_context)


@asynccontextmanager
async def dialled(script: Script, limits: WsLimits = QUICK) -> AsyncIterator[Ws]:
    async with engine(script) as port, connect(address(port), "/x", {}, {}, name="fake", limits=limits) as ws:
        yield ws


async def read_frames(stream: trio.abc.Stream, until: int) -> list[tuple[int, bytes]]:
    """Frames of the client, up to the first with this opcode."""
    data, found = b"", []
    while True:
        while (parsed := unmasked(data)) is not None:
            opcode, payload, data = parsed
            found.append((opcode, payload))
            if opcode == until:
                return found
        if not (more := await stream.receive_some(65536)):
            return found
        data += more


async def idle(stream: trio.abc.Stream, head: bytes) -> None:
    await stream.send_all(accepted(head))
    await read_frames(stream, 8)
