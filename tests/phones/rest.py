"""The vendors' REST APIs on 127.0.0.1: writes down what it is asked and answers with one status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import msgspec
import trio


class Asked(msgspec.Struct):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Api:
    """The server's state."""

    def __init__(self, port: int, status: int, delay_s: float) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.status, self.delay_s = status, delay_s
        self.asked: list[Asked] = []

    async def handle(self, stream: trio.SocketStream) -> None:
        """One request on one connection."""
        http, request, body = h11.Connection(h11.SERVER), None, b""
        async with stream:
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    http.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    return
            assert request is not None
            headers = {name.decode(): value.decode() for name, value in request.headers}
            self.asked.append(Asked(request.method.decode(), request.target.decode(), headers, body))
            await trio.sleep(self.delay_s)
            body = b"" if self.status == 204 else b"{}"
            length = [("content-length", str(len(body)))] if body else []
            answer = h11.Response(status_code=self.status, headers=[*length, ("connection", "close")])
            parts = [http.send(answer), http.send(h11.Data(data=body)) if body else b"", http.send(h11.EndOfMessage())]
            await stream.send_all(b"".join(part or b"" for part in parts))


@asynccontextmanager
async def serve(status: int = 200, delay_s: float = 0.0) -> AsyncIterator[Api]:
    """Run it."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    api = Api(listeners[0].socket.getsockname()[1], status, delay_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, api.handle, listeners)
        yield api
        nursery.cancel_scope.cancel()
