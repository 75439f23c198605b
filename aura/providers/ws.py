"""WebSockets to engines: one connection is one context, its failures are the error tree, and it ends in good order.

trio-websocket does handshake, framing, pings and closing; what is added here is what it leaves to its user: deadlines,
a peer that hangs up in the handshake (it would wait for ever), errors of its background task (they would come as
exception groups), a server's ping after our goodbye (it would crash the task), and the socket itself (it would stay
open after the peer's close). 88-98 µs per message of 1.3 KB.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlencode

import h11
import msgspec
import structlog
import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from aura.core.errors import BadRequest, ProviderError, StreamCut, TimedOut, Unavailable
from aura.providers.background import background
from aura.providers.http import Endpoint
from aura.providers.openai.errors import build, from_status
from aura.providers.ws_errors import from_close

log = structlog.get_logger()
RECEIVE_BYTES = 32 * 1024
QUEUE_MESSAGES = 16
"""Messages that are read ahead of whoever receives; then the engine is made to wait."""
Refusal = Callable[[str, int, Mapping[str, str], bytes], ProviderError]


class WsLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Deadlines and bounds of a WebSocket to an engine."""

    connect_s: float = 5.0
    """Longest wait for the connection, from DNS to the end of the handshake."""
    send_s: float = 5.0
    """Longest wait for the engine's network to take a message in."""
    close_s: float = 0.2
    """Time for the goodbye."""
    ping_s: float = 10.0
    """A connection that is silent for this long is asked whether it lives; 0: never."""
    pong_s: float = 5.0
    """Longest wait for the answer to that."""
    max_message_bytes: int = 16 * 1024 * 1024
    """Longest message that is taken in."""


class Ws:
    """A connection. One task may receive, any task may send."""

    def __init__(self, name: str, ws: trio_websocket.WebSocketConnection, tap: _Tap, limits: WsLimits) -> None:
        self.name = name
        self.headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in ws.handshake_headers}
        """Of the engine's answer to the handshake; the names in lower case."""
        self._ws, self._tap, self._limits = ws, tap, limits
        self._error: ProviderError | None = None

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, so that nothing can be sent any more."""
        return self._error is not None or self._ws.closed is not None

    @property
    def close_code(self) -> int | None:
        """The code it ended with, if it has; 1006 when there was no goodbye."""
        reason = self._ws.closed
        return (None if self._error is None else 1006) if reason is None else int(reason.code)

    async def send(self, message: str | bytes) -> None:
        """Send text or binary. A send that is cancelled in the middle of the message breaks the connection.

        Raises TimedOut, or the error that stands for the end of the connection.
        """
        if self._error is not None:
            raise self._error
        with trio.move_on_after(self._limits.send_s) as patience:
            try:
                await self._ws.send_message(message)
                return
            except (trio_websocket.ConnectionClosed, LocalProtocolError):
                raise self._ended() from None
        assert patience.cancelled_caught
        raise self._break(TimedOut(f"{self.name}: the engine does not take in what is sent", provider=self.name))

    async def receive(self, deadline: float = math.inf) -> str | bytes:
        """The next message: text or binary, waiting until `deadline` (Trio time).

        Raises TimedOut, or the error that stands for the end of the connection; what came before it is given first.
        """
        try:
            if deadline == math.inf:
                return await self._ws.get_message()
            with trio.CancelScope(deadline=deadline):
                return await self._ws.get_message()
        except trio_websocket.ConnectionClosed:
            raise self._ended() from None
        raise TimedOut(f"{self.name}: the engine is silent", provider=self.name)

    def abort(self, error: ProviderError) -> None:
        """End the connection without a goodbye; `error` is raised to whoever uses it from now on."""
        self._break(error)

    def _break(self, error: ProviderError) -> ProviderError:
        self._error = self._error or error
        self._tap.abort()
        return self._error

    def _ended(self) -> ProviderError:
        if self._error is None:
            reason = self._ws.closed
            code, text = (1006, "") if reason is None else (int(reason.code), str(reason.reason or ""))
            self._error = from_close(self.name, code, text)
        return self._error

    async def close(self) -> None:
        """Say goodbye, shielded and for a short time only."""
        with trio.move_on_after(self._limits.close_s, shield=True):
            with suppress(LocalProtocolError):  # it was being closed by the engine at the same moment
                await self._ws.aclose()
        self._tap.abort()

    async def keep_alive(self) -> None:
        """Find out that the engine is gone though the connection stands."""
        tap, limits = self._tap, self._limits
        while True:
            heard = tap.bytes_in
            await trio.sleep(limits.ping_s)
            if tap.bytes_in != heard or not tap.listening:  # what nobody reads is not the engine's silence
                continue
            with trio.move_on_after(limits.pong_s) as wait:
                try:
                    await self._ws.ping()
                except (trio_websocket.ConnectionClosed, LocalProtocolError):
                    return  # whoever receives learns of it
            if wait.cancelled_caught and tap.bytes_in == heard and tap.listening:
                self._break(StreamCut(f"{self.name}: the engine does not answer a ping", provider=self.name))
                return


class _Tap(trio.abc.Stream):
    """The bytes below the WebSocket: sees whether the peer lives, and whether a message was cut by a cancellation."""

    def __init__(self, tcp: trio.SocketStream, stream: trio.abc.Stream) -> None:
        self._tcp, self._stream = tcp, stream
        self.bytes_in = 0
        self.listening = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        whole = False
        try:
            await self._stream.send_all(data)
            whole = True
        finally:
            if not whole:
                self.abort()  # a part of a frame may be on its way: nothing sensible can follow

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self.listening = True
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        finally:
            self.listening = False
        self.bytes_in += len(data)
        return data

    async def aclose(self) -> None:
        self.abort()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Close at once: no TLS goodbye, which engines do not wait for either."""
        self._tcp.socket.close()


class _Reader:
    """Stands for a nursery towards trio-websocket: runs its task, keeps its error, tells its end."""

    def __init__(self, nursery: trio.Nursery, handshake: trio.CancelScope) -> None:
        self._nursery, self._handshake = nursery, handshake
        self._ws: Any = None

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Called once, with the method that reads."""
        self._ws = task.__self__  # type: ignore[attr-defined]
        self._nursery.start_soon(self._run, task)

    async def _run(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except (
            trio_websocket.ConnectionRejected,
            trio_websocket.ConnectionClosed,
            LocalProtocolError,
            h11.ProtocolError,  # from refusing an answer that is no HTTP
        ):
            pass  # whoever shakes hands, sends or receives learns of it
        finally:
            self._handshake.cancel()

    def refused(self) -> tuple[int, dict[str, str], bytes] | None:
        """Status, headers and body of an answer that is no 101; known too when its body has no end."""
        ws = self._ws
        if ws is None or not ws._reject_status:
            return None
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in ws._reject_headers}
        return ws._reject_status, headers, bytes(ws._reject_body)


@asynccontextmanager
async def connect(
    endpoint: Endpoint,
    path: str,
    query: Mapping[str, str | Sequence[str]],
    headers: Mapping[str, str],
    *,
    name: str,
    limits: WsLimits | None = None,
    refusal: Refusal = from_status,
) -> AsyncIterator[Ws]:
    """A WebSocket to `path` below the endpoint's base URL; leaving the context closes it.

    What the inside raises comes out as it was, in no group. `refusal` makes an error of an HTTP status that is no
    101. Raises Unavailable, TimedOut, or what `refusal` says.
    """
    call = _Call(endpoint, name, limits or WsLimits(), refusal)
    try:
        async with background() as nursery:
            ws = await call.connect(target(endpoint, path, query), headers, nursery)
            try:
                yield ws
            finally:
                await ws.close()
    finally:
        call.hang_up()


class _Call:
    """A connection being made."""

    def __init__(self, endpoint: Endpoint, name: str, limits: WsLimits, refusal: Refusal) -> None:
        self._endpoint, self._name, self._limits, self._refusal = endpoint, name, limits, refusal
        self._where = f"{endpoint.base_url.host}:{port(endpoint)}"
        self._tap: _Tap | None = None

    def hang_up(self) -> None:
        """Close the socket, if there is one."""
        if self._tap is not None:
            self._tap.abort()

    async def connect(self, resource: str, headers: Mapping[str, str], nursery: trio.Nursery) -> Ws:
        """TCP, TLS where the address says https, handshake."""
        name = self._name
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise build(BadRequest, name, "a header value (perhaps the key) holds characters that cannot be sent")
        reader = _Reader(nursery, handshake := trio.CancelScope())
        with trio.move_on_after(self._limits.connect_s) as patience:
            tap = self._tap = await self._stream()
            with handshake:
                ws = await self._shake_hands(resource, headers, tap, reader)
        if (refused := reader.refused()) is not None:
            raise self._refusal(name, *refused)
        if patience.cancelled_caught:
            raise TimedOut(f"{name}: no WebSocket to {self._where} within {self._limits.connect_s:g} s", provider=name)
        if handshake.cancelled_caught:
            raise Unavailable(f"{name}: {self._where} hung up before the WebSocket stood", provider=name)
        connection = Ws(name, ws, tap, self._limits)
        if self._limits.ping_s:
            nursery.start_soon(connection.keep_alive)
        return connection

    async def _stream(self) -> _Tap:
        endpoint, host = self._endpoint, self._endpoint.base_url.host
        try:
            tcp = await trio.open_tcp_stream(host, port(endpoint))
        except OSError as error:
            raise build(Unavailable, self._name, f"cannot connect to {self._where}: {error}") from error
        if endpoint.tls is None:
            return _Tap(tcp, tcp)
        secure = trio.SSLStream(tcp, endpoint.tls, server_hostname=host, https_compatible=True)
        try:
            await secure.do_handshake()
        except BaseException as error:
            tcp.socket.close()
            if isinstance(error, trio.BrokenResourceError | ssl.SSLError):
                reason = error.__cause__ or error
                raise build(Unavailable, self._name, f"no TLS connection to {self._where}: {reason}") from error
            raise
        return _Tap(tcp, secure)

    async def _shake_hands(
        self, resource: str, headers: Mapping[str, str], tap: _Tap, reader: _Reader
    ) -> trio_websocket.WebSocketConnection:
        return await trio_websocket.wrap_client_stream(
            reader,  # type: ignore[arg-type]  # it is asked for nothing else
            tap,  # type: ignore[arg-type]
            self._endpoint.base_url.netloc.decode("ascii"),
            resource,
            extra_headers=[(key.encode(), value.encode()) for key, value in headers.items()],
            message_queue_size=QUEUE_MESSAGES,
            max_message_size=self._limits.max_message_bytes,
            receive_buffer_size=RECEIVE_BYTES,
        )


def port(endpoint: Endpoint) -> int:
    """The port of the engine's address."""
    return endpoint.base_url.port or (443 if endpoint.tls else 80)


def target(endpoint: Endpoint, path: str, query: Mapping[str, str | Sequence[str]]) -> str:
    """Path and query as they stand in the request line."""
    asked = urlencode(query, doseq=True)
    return endpoint.base_url.path.rstrip("/") + path + (f"?{asked}" if asked else "")
