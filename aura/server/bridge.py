"""HTTP/1.1 on Trio: h11 speaks the protocol, an ASGI application answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote

import h11
import structlog
import trio

from .handshake import Refusal
from .settings import ServerSettings

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
READ_BYTES = 1 << 14
DEFAULT_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
            b"media-src 'self' blob:; worker-src 'self' blob:; connect-src 'self' ws: wss:; base-uri 'none'; "
            b"form-action 'none'; frame-ancestors 'none'"
        ),
    ),
)
"""Sent unless the application says otherwise. `ws:` is named because not every browser counts it as 'self'."""
log = structlog.get_logger()


class Hangup(OSError):
    """The client is gone; an OSError is what ASGI promises an application for that."""


class HttpConnection:
    """One client's HTTP connection."""

    def __init__(self, stream: trio.abc.Stream, settings: ServerSettings) -> None:
        self.settings = settings
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.head_bytes_max)
        self._raw = b""
        self._method = b""

    async def first_request(self) -> h11.Request | None:
        """The first request; None when the client hangs up instead. Raises `Refusal`."""
        return await self._request(keep=True)

    def take_over(self) -> tuple[bytes, bytes]:
        """The first request's head as it came, and the bytes after it; HTTP is over on this connection."""
        rest = self._h11.trailing_data[0]
        return self._raw[: len(self._raw) - len(rest)], rest

    async def next_request(self) -> h11.Request | None:
        """A further request; None when the client hangs up, or wants none for too long. Raises `Refusal`."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return None
        self._raw = b""
        self._h11.start_next_cycle()
        if not self._h11.trailing_data[0]:
            with trio.move_on_after(self.settings.keepalive_s) as idle:
                await self._receive()
            if idle.cancelled_caught:
                return None
        return await self._request()

    async def _request(self, *, keep: bool = False) -> h11.Request | None:
        limit_s = self.settings.handshake_timeout_s
        self._method = b""
        try:
            with trio.fail_after(limit_s):
                while (event := self._h11.next_event()) is h11.NEED_DATA:
                    data = await self._receive()
                    self._raw += data if keep else b""
        except trio.TooSlowError:
            raise Refusal(408, "request_timeout", f"no complete request within {limit_s:g} s") from None
        except h11.RemoteProtocolError as error:
            code = "request_head_too_large" if error.error_status_hint == 431 else "bad_request"
            raise Refusal(error.error_status_hint, code, f"not a request this server understands: {error}") from None
        if not isinstance(event, h11.Request):
            return None
        self._method = event.method
        return event

    async def _receive(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        self._h11.receive_data(data)
        return data

    async def read_body(self) -> bytes:
        """The whole body of the current request. Raises `Refusal` or `Hangup`."""
        limit = self.settings.body_bytes_max
        parts, size = [], 0
        if self._h11.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
        try:
            while not isinstance(event := self._h11.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    await self._receive()
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                    size += len(event.data)
                    if size > limit:
                        raise Refusal(413, "body_too_large", f"a request body may have at most {limit} bytes")
                else:
                    raise Hangup("the client hung up")
        except h11.RemoteProtocolError as error:
            raise Refusal(error.error_status_hint, "bad_request", f"the request's body is broken: {error}") from None
        return b"".join(parts)

    async def _send(self, event: h11.Event) -> None:
        if data := self._h11.send(event):
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Hangup("the client hung up") from error

    async def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head of the answer."""
        given = list(headers)
        names = {name.lower() for name, _ in given}
        given += [pair for pair in DEFAULT_HEADERS if pair[0] not in names]
        await self._send(h11.Response(status_code=status, headers=given))

    async def send_body(self, data: bytes, *, last: bool) -> None:
        """Send a part of the answer's body; nothing where the request was HEAD."""
        if data and self._method != b"HEAD":
            await self._send(h11.Data(data=data))
        if last:
            await self._send(h11.EndOfMessage())

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, if an answer is still possible, and hang up in a way that the client can read it."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = refusal.body()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *((name.encode(), value.encode()) for name, value in refusal.headers.items()),
        ]
        with trio.move_on_after(self.settings.close_timeout_s):
            try:
                await self.respond(refusal.status, headers)
                await self.send_body(body, last=True)
                if isinstance(self._stream, trio.SocketStream):
                    await self._stream.send_eof()
                    # Closing with unread data would reset the connection before the client has read the answer.
                    while await self._stream.receive_some(READ_BYTES):
                        pass
            except (Hangup, trio.BrokenResourceError, trio.ClosedResourceError):
                return


class Exchange:
    """One request and its answer, as ASGI sees them."""

    def __init__(self, connection: HttpConnection, body: bytes) -> None:
        self._connection = connection
        self._body: bytes | None = body
        self.done = False

    async def receive(self) -> Message:
        """ASGI: the request's body, once. Then waits: that the client is gone shows when something is sent."""
        if self._body is None:
            await trio.sleep_forever()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """ASGI: the answer."""
        if message["type"] == "http.response.start":
            await self._connection.respond(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and not self.done:
            self.done = not message.get("more_body", False)
            await self._connection.send_body(message.get("body", b""), last=self.done)


async def run_http(
    connection: HttpConnection, request: h11.Request | None, app: AsgiApp, remote: tuple[str, int], scheme: str
) -> None:
    """Answer the requests of a connection until it ends; `request` is the first one."""
    limit_s = connection.settings.request_timeout_s
    try:
        while request is not None:
            with trio.fail_after(limit_s):
                exchange = Exchange(connection, await connection.read_body())
                await app(scope_of(request, remote, scheme), exchange.receive, exchange.send)
            if not exchange.done:
                raise Refusal(500, "no_answer", "the server has no answer to this")
            request = await connection.next_request()
    except Refusal as refusal:
        await connection.refuse(refusal)
    except trio.TooSlowError:
        await connection.refuse(Refusal(408, "request_timeout", f"not done within {limit_s:g} s"))
    except Hangup:
        return
    except Exception as error:
        log.exception("http.crashed", error=type(error).__name__)
        await connection.refuse(Refusal(500, "internal_error", "the server failed; its log says why"))


def scope_of(request: h11.Request, remote: tuple[str, int], scheme: str) -> Message:
    """ASGI's description of a request."""
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": request.http_version.decode(),
        "method": request.method.decode(),
        "scheme": scheme,
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "client": remote,
        "server": None,
    }
