"""HTTP/1.1 under httpx: Trio for the bytes, llhttp (`httptools`, the parser of Node and uvicorn) for the protocol.

Why not httpx's own transport: httpcore looks through all of its connections several times at the start and the end of
every request, so 60 conversations pay 9 ms of CPU for one spoken sentence where this pool pays 1.6 ms; its parser, h11,
costs 25 µs per streamed chunk more than llhttp. Exceptions are httpx's, so `httpx.AsyncClient` and `openai` run on
this transport as on their own.

HTTP/1.1 only: on HTTP/2 httpcore does not reset a cancelled stream and the engine goes on generating (and billing).
Closing the connection reaches the engine in under a millisecond.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httptools
import httpx
import trio

from aura.providers.deadlines import Deadlines

READ_BYTES = 32 * 1024
MAX_HEAD_PIECES = 256
"""A head that comes in more pieces than this is an attack or a fault."""
TICKETS_S = 0.25
"""Time in which a server's session tickets arrive: one round trip."""


class Pool(httpx.AsyncBaseTransport):
    """The connections to one origin. The one used last is used again first, so that the others can grow old."""

    def __init__(
        self,
        origin: httpx.URL,
        deadlines: Deadlines,
        *,
        keepalive_s: float,
        max_connections: int,
        connect_timeout_s: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._origin, self._deadlines, self.tls = origin, deadlines, tls
        self._keepalive_s, self._connect_timeout_s = keepalive_s, connect_timeout_s
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._slots = trio.Semaphore(max_connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and read up to the end of the response's head. httpx's `read` timeout bounds each wait for bytes."""
        head = request_head(request)
        body = b"".join([part async for part in request.stream]) if request.method != "GET" else b""  # type: ignore[union-attr]
        read_s = request.extensions.get("timeout", {}).get("read")
        connection = await self._acquire()
        exchange = Exchange(self, connection, math.inf if read_s is None else read_s)
        try:
            await connection.send(head + body, self._connect_timeout_s)
            await exchange.read_head()
        except BaseException:
            exchange.close()
            raise
        return httpx.Response(exchange.status, headers=exchange.headers, stream=exchange, request=request)

    async def _acquire(self) -> Connection:
        with limit(self._connect_timeout_s, httpx.PoolTimeout("every connection to the engine is in use")):
            await self._slots.acquire()
        now = trio.current_time()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since <= self._keepalive_s and not connection.is_readable():
                self._busy.add(connection)
                return connection
            connection.close()
        try:
            connection = await self._connect()
        except BaseException:
            self._slots.release()
            raise
        self._busy.add(connection)
        return connection

    async def _connect(self) -> Connection:
        host, port = self._origin.host, self._origin.port or (443 if self.tls else 80)
        with limit(self._connect_timeout_s, httpx.ConnectTimeout(f"no connection to {host}:{port}")):
            try:
                tcp = await trio.open_tcp_stream(host, port)
            except OSError as error:
                raise httpx.ConnectError(f"cannot connect to {host}:{port}: {error}") from error
            if self.tls is None:
                return Connection(tcp, tcp, self._deadlines)
            secure = trio.SSLStream(tcp, self.tls, server_hostname=host, https_compatible=True)
            try:
                await secure.do_handshake()
            except BaseException as error:
                tcp.socket.close()
                if isinstance(error, (trio.BrokenResourceError, ssl.SSLError)):
                    reason = error.__cause__ or error
                    raise httpx.ConnectError(f"no TLS connection to {host}:{port}: {reason}") from error
                raise
            return Connection(tcp, secure, self._deadlines)

    async def warm(self) -> None:
        """Connect in advance, unless a usable connection waits already."""
        connection = await self._acquire()
        usable = False
        try:
            usable = await connection.settle()
        finally:
            self.release(connection, reusable=usable)

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """Take a connection back; one that is in the middle of something is closed, which tells the engine to stop."""
        if connection not in self._busy:
            return
        self._busy.remove(connection)
        self._slots.release()
        now = trio.current_time()
        if reusable and not connection.expired:  # its time may have been up when the last bytes came
            connection.idle_since = now
            self._idle.append(connection)
        else:
            connection.close()
        if self._idle and now - self._idle[0].idle_since > self._keepalive_s:
            self._idle.pop(0).close()

    async def aclose(self) -> None:
        """Close every connection at once, also those in use."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()


class Connection:
    """One TCP or TLS connection."""

    def __init__(self, tcp: trio.SocketStream, stream: trio.abc.Stream, deadlines: Deadlines) -> None:
        self._tcp, self._stream, self._deadlines = tcp, stream, deadlines
        self._take = tcp.socket.recv if stream is tcp else stream.receive_some
        """Straight from the socket where there is no TLS: what `SocketStream` adds costs 5 µs."""
        self.idle_since = 0.0
        self.waits_until = self.looked_at = math.inf
        self.expired = False

    async def send(self, data: bytes, timeout_s: float) -> None:
        """Write a whole request. A peer that refuses to read may still have answered, so that is no error yet."""
        with limit(timeout_s, httpx.WriteTimeout("the engine does not take the request")):
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                return
            except trio.ClosedResourceError as error:
                raise httpx.WriteError("the connection was closed") from error

    async def receive(self, deadline: float) -> bytes:
        """The next bytes, b"" at the end; `deadline` is Trio time."""
        self.waits_until = deadline
        if deadline < self.looked_at:
            self._deadlines.watch(self)
        try:
            return bytes(await self._take(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            if self.expired:
                raise httpx.ReadTimeout("the engine is silent") from error
            raise httpx.ReadError("the connection broke") from error
        finally:
            self.waits_until = math.inf

    def expire(self) -> None:
        """Nothing has come in time: the wait ends with the connection."""
        self.expired = True
        self.close()

    async def settle(self) -> bool:
        """Take in the session tickets that follow a TLS 1.3 handshake, which would look like the end of an idle
        connection. False when the peer has closed it.
        """
        if self._stream is not self._tcp and not self.idle_since:
            with trio.move_on_after(TICKETS_S) as scope:
                await self.receive(math.inf)
            return scope.cancelled_caught
        return True

    def is_readable(self) -> bool:
        """Bytes (or an end) on an idle connection: the peer has closed it."""
        return self._tcp.socket.is_readable()

    def close(self) -> None:
        """Close without ceremony (no TLS goodbye) and without waiting."""
        self._tcp.socket.close()


class Exchange(httpx.AsyncByteStream):
    """One response being received; also the httpx stream of its body."""

    def __init__(self, pool: Pool, connection: Connection, read_s: float) -> None:
        self._pool, self._connection, self._read_s = pool, connection, read_s
        self._incoming = Incoming()
        self._parser = httptools.HttpResponseParser(self._incoming)
        self._pieces = 0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    async def read_head(self) -> None:
        """Read until status and headers are there; what came of the body stays for `read`."""
        incoming, deadline = self._incoming, trio.current_time() + self._read_s
        while not (incoming.headers_complete and self._parser.get_status_code() >= 200):
            if not await self._feed(deadline):
                raise httpx.RemoteProtocolError("the engine closed the connection without an answer")
            self._pieces += 1
            if self._pieces > MAX_HEAD_PIECES:
                raise httpx.RemoteProtocolError("the engine's answer has no end of headers")
        self.status, self.headers = self._parser.get_status_code(), incoming.headers

    async def read(self, deadline: float) -> bytes:
        """What has come of the body since the last call, waiting until `deadline` if nothing has; b"" at its end."""
        incoming = self._incoming
        parts = incoming.body
        while not parts:
            if incoming.complete:
                return b""
            if not await self._feed(deadline):
                if incoming.ends_with_connection():
                    return b""
                raise httpx.RemoteProtocolError("the answer was cut off")
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body

    async def _feed(self, deadline: float) -> bool:
        data = await self._connection.receive(deadline)
        if data:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                raise httpx.RemoteProtocolError(f"not HTTP: {error}") from error
        return bool(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read(trio.current_time() + self._read_s):
            yield data

    def complete(self) -> bool:
        """Whether the whole body has been received."""
        return self._incoming.complete

    def close(self) -> None:
        """Give the connection back if the response is complete, else close it. Never waits; safe to call twice."""
        keeps = self._incoming.keeps_connection() and self._parser.get_http_version() == "1.1"
        self._pool.release(self._connection, reusable=keeps)

    async def aclose(self) -> None:
        """See `close`."""
        self.close()


class Incoming:
    """What llhttp has found: the callbacks that `httptools` makes. An interim answer (1xx) is dropped by the next."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.headers_complete = self.complete = self.surplus = False

    def on_message_begin(self) -> None:
        """A status line starts."""
        self.surplus = self.surplus or bool(self.body)
        if not self.surplus:
            self.headers = []
            self.headers_complete = self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The body follows."""
        self.headers_complete = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body, its framing removed."""
        self.body.append(data)

    def on_message_complete(self) -> None:
        """The end of the body by length or last chunk."""
        self.complete = True

    def keeps_connection(self) -> bool:
        """Whether nothing is left to come and the peer has not announced that it will close."""
        closing = any(n.lower() == b"connection" and v.lower() == b"close" for n, v in self.headers)
        return self.complete and not self.surplus and not closing

    def ends_with_connection(self) -> bool:
        """Whether this body has neither a length nor chunks, so that the end of the connection is its proper end."""
        framing = {name.lower() for name, _ in self.headers}
        return b"content-length" not in framing and b"transfer-encoding" not in framing


def request_head(request: httpx.Request) -> bytes:
    """The request line and headers as bytes. Raises httpx.LocalProtocolError for a header that would break a line."""
    lines = b"".join([b"%b: %b\r\n" % pair for pair in request.headers.raw])
    if lines.count(b"\n") != len(request.headers.raw) or b"\0" in lines:
        raise httpx.LocalProtocolError("a header value (perhaps the key) contains a line break")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method.encode(), request.url.raw_path, lines)


def tls_context() -> ssl.SSLContext:
    """Certificates as httpx checks them, HTTP/1.1 only."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextmanager
def limit(seconds: float, error: httpx.TimeoutException) -> Iterator[None]:
    """Raise `error` when the block takes longer."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise error
