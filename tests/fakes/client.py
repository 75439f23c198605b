"""Clients that look at the wire of a fake: raw HTTP, and a WebSocket whose TCP connection is surely closed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from tests.fakes.server import Fakes


@asynccontextmanager
async def dial(fakes: Fakes, vendor: str, target: str, fault: str = "") -> AsyncIterator[WebSocketConnection]:
    """Open a WebSocket, with one fault if it is named. Whatever is raised is raised bare, in no group."""
    stream = await trio.open_tcp_stream("127.0.0.1", fakes.vendors[vendor].port)
    headers = [(b"x-fake-fault", fault.encode())] if fault else []
    failed: Exception | None = None
    try:
        async with stream, trio.open_nursery() as nursery:
            ws = await wrap_client_stream(nursery, stream, "127.0.0.1", target, extra_headers=headers)
            yield ws
            with trio.move_on_after(0.2):
                await ws.aclose()
            nursery.cancel_scope.cancel()
    except* Exception as group:
        failed = group
        while isinstance(failed, ExceptionGroup):
            failed = failed.exceptions[0]
    if failed is not None:
        raise failed


@dataclass
class Raw:
    """What came over a plain connection, untouched."""

    reads: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each of them came, from the request on."""
    end: str = ""
    """eof, reset, or silence when patience had ended."""

    @property
    def data(self) -> bytes:
        return b"".join(self.reads)

    @property
    def status(self) -> int:
        """0 without a head."""
        return int(self.data.split()[1]) if self.data.startswith(b"HTTP/1.1 ") else 0

    @property
    def headers(self) -> dict[str, str]:
        lines = self.data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def raw_body(self) -> bytes:
        """With its chunk sizes."""
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def chunks(self) -> list[bytes]:
        """The whole HTTP chunks; the last is b"" when the body has its proper end."""
        found, rest = [], self.raw_body
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            if not all(char in b"0123456789abcdef" for char in size) or len(rest) < int(size, 16) + 2:
                break
            found.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return found

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks) if "transfer-encoding" in self.headers else self.raw_body


async def ask(
    fakes: Fakes, vendor: str, target: str, payload: Any = None, *,
    fault: str = "", patience_s: float = 1.0, body: bytes = b"", kind: str = "application/json", stop_after: int = 0,
) -> Raw:  # fmt: skip
    """One request on a connection of its own, read until it ends, or until so many reads came; then closed."""
    body = json.dumps(payload).encode() if payload is not None else body
    lines = [
        f"{'POST' if body else 'GET'} {target} HTTP/1.1", "Host: fake", "Connection: close",
        f"Content-Type: {kind}", f"Content-Length: {len(body)}", *([f"x-fake-fault: {fault}"] if fault else []),
    ]  # fmt: skip
    raw, began = Raw(end="silence"), trio.current_time()
    async with await trio.open_tcp_stream("127.0.0.1", fakes.vendors[vendor].port) as stream:
        with trio.move_on_after(patience_s):
            try:
                await stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)
                while not stop_after or len(raw.reads) < stop_after:
                    data = await stream.receive_some(65536)
                    if not data:
                        raw.end = "eof"
                        break
                    raw.reads.append(bytes(data))
                    raw.times.append(trio.current_time() - began)
            except trio.BrokenResourceError:
                raw.end = "reset"
    return raw
