"""One port for everything: reads a connection's first request and hands it to WebSocket or HTTP."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio

from aura.core.errors import ConfigError
from aura.observe.metrics import Metrics

from .auth import Gate, Seat, check_offer, credential_of
from .bridge import AsgiApp, HttpConnection, run_http
from .denial import FLOODING, UNAUTHORISED, Denial, turn_away
from .drain import Drain
from .handshake import PATHS, Refusal, Request, check_origin, check_upgrade, choose_subprotocol, parse
from .http import LazyApp
from .phone_access import vendor_of
from .principal import ANYBODY
from .settings import ServerSettings
from .socket import Socket, run_socket

Handler = Callable[[Socket, Request], Awaitable[None]]
"""Holds one conversation; the connection is closed when it returns."""
BACKLOG = 512
ACCOUNT_S = 5.0
"""How often running conversations' bytes get into the metrics."""
WARM_AFTER_S = 1.0
"""When to import what only HTTP needs: not while the first client is waiting."""
log = structlog.get_logger()


class Server:
    """The connections of one process."""

    def __init__(
        self,
        settings: ServerSettings,
        handler: Handler,
        app: AsgiApp,
        *,
        drain: Drain | None = None,
        metrics: Metrics | None = None,
        gate: Gate | None = None,
        paths: frozenset[str] = PATHS,
        check: Callable[[Request], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.drain = drain or Drain()
        self.metrics = metrics or Metrics()
        self.gate = gate or Gate()
        self._handler = handler
        self._app = app
        self._paths, self._check = paths, check
        self._sockets: dict[Socket, tuple[int, int]] = {}  # with the bytes already in the metrics
        self._connections = 0
        self._admitted = 0
        self._quiet = trio.Event()

    async def connection(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        """Serve one connection to its end. Never raises."""
        transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        self._connections += 1
        http = HttpConnection(stream, self.settings)
        try:
            if not self.settings.tcp_nodelay:
                transport.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, False)
            remote = transport.socket.getpeername()[:2]
            if self._connections > self.settings.connections_max:
                raise Refusal(503, "too_many_connections", "the server is full: try again", {"Retry-After": "5"})
            await self._first(stream, http, remote)
        except Refusal as refusal:
            await http.refuse(refusal)
        except OSError:  # gone before it was there
            pass
        except Exception as error:
            log.exception("connection.crashed", error=type(error).__name__)
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    async def _first(self, stream: trio.abc.Stream, http: HttpConnection, remote: tuple[str, int]) -> None:
        head = await http.first_request()
        if head is None:
            return
        request = parse(head.method, head.target, list(head.headers), remote[0])
        if not request.wants_websocket:
            scheme = "https" if isinstance(stream, trio.SSLStream) else "http"
            await run_http(http, head, self._app, remote, scheme)
            return
        try:
            check_upgrade(request, self._paths)
            request = await self._known(request)
            seat = self._admit(request)
        except Refusal as refusal:
            self.metrics.add("conversations_refused", refusal.code)
            if not isinstance(refusal, Denial) or refusal.close_code != UNAUTHORISED:  # of those the gate has told
                log.info("conversation.refused", code=refusal.code, status=refusal.status)
            if not isinstance(refusal, Denial) or vendor_of(request.path):  # of phones, vendors show only the status
                raise
            await self._turn_away(stream, http, request, refusal)
            return
        try:
            await self._converse(stream, http, request, seat)
        finally:
            self.gate.leave(seat)
            self._admitted -= 1
            if not self._admitted and self.drain.draining:
                self._quiet.set()

    async def _known(self, request: Request) -> Request:
        """The request with its principal. Raises Refusal.

        The origin matters where a page uses nothing but where it runs; a key shows that its page was meant to connect.
        """
        listed, host = self.settings.origins, self.settings.host
        if vendor_of(request.path):
            check_origin(request, listed, host)
            self._check(request)
            principal = self.gate.bearer(request.query.get("key", ""), "phone") or ANYBODY
            return msgspec.structs.replace(request, principal=principal)
        if listed or not credential_of(request):
            check_origin(request, listed, host)
        principal = await self.gate.admit(request)
        if principal.anonymous:
            check_origin(request, listed, host)
        self._check(request)
        check_offer(request, principal)
        return msgspec.structs.replace(request, principal=principal)

    def _admit(self, request: Request) -> Seat:
        if self.drain.draining:
            raise Refusal(503, "shutting_down", "the server is shutting down", {"Retry-After": "5"})
        if self._admitted >= self.settings.conversations_max:
            message = f"all {self.settings.conversations_max} conversations are taken (server.conversations_max)"
            raise Refusal(503, "too_many_conversations", message, {"Retry-After": "10"})
        seat = self.gate.sit(request)
        self._admitted += 1
        return seat

    async def _turn_away(self, stream: trio.abc.Stream, http: HttpConnection, request: Request, denial: Denial) -> None:
        async def farewell(socket: Socket) -> None:
            await turn_away(socket, denial)

        head, rest = http.take_over()
        await run_socket(stream, head, rest, choose_subprotocol(request), self.settings, farewell)

    async def _converse(self, stream: trio.abc.Stream, http: HttpConnection, request: Request, seat: Seat) -> None:
        async def conversation(socket: Socket) -> None:
            socket.remote = request.remote
            seat.socket = socket
            self._sockets[socket] = (0, 0)
            began = trio.current_time()
            self.metrics.add("conversations")
            self.metrics.add("conversations_open")
            try:
                await self._handler(socket, request)
            finally:
                self._account(socket)
                del self._sockets[socket]
                if socket.closed is not None and socket.closed.code == 1008:
                    self.metrics.add("clients_flooding" if socket.closed.reason == FLOODING.reason else "clients_slow")
                self.metrics.add("conversations_open", by=-1)
                self.metrics.observe("conversation_seconds", trio.current_time() - began)

        head, rest = http.take_over()
        await run_socket(stream, head, rest, choose_subprotocol(request), self.settings, conversation)

    def _account(self, socket: Socket) -> None:
        before_in, before_out = self._sockets[socket]
        self._sockets[socket] = now_in, now_out = socket.bytes_in, socket.bytes_out
        self.metrics.add("bytes_received", by=now_in - before_in)
        self.metrics.add("bytes_sent", by=now_out - before_out)

    async def account(self) -> None:
        """Keep the metrics of running conversations up to date. Runs until cancelled."""
        while True:
            await trio.sleep(ACCOUNT_S)
            for socket in self._sockets:
                self._account(socket)

    async def shut_down(self) -> None:
        """Wait for the drain, then close what is still going on."""
        await self.drain.begun()
        if not self._admitted:
            self._quiet.set()
        await self.drain.over(self._quiet)
        async with trio.open_nursery() as nursery:
            for socket in self._sockets:
                nursery.start_soon(socket.close, self.drain.code, self.drain.reason)
        with trio.move_on_after(self.settings.close_timeout_s):
            await self._quiet.wait()


async def serve(
    settings: ServerSettings,
    handler: Handler,
    app: AsgiApp,
    *,
    drain: Drain | None = None,
    metrics: Metrics | None = None,
    gate: Gate | None = None,
    paths: frozenset[str] = PATHS,
    check: Callable[[Request], None] = lambda _: None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, or until `drain` is over; reports the port. Raises `ConfigError`.

    `check` may raise `Refusal` for a request that is otherwise fit for a conversation.
    """
    server = Server(settings, handler, app, drain=drain, metrics=metrics, gate=gate, paths=paths, check=check)
    listeners = await open_listeners(settings)
    port: int = _socket_of(listeners[0]).getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.connection, listeners)
        log.info("server.listening", host=settings.host, port=port, tls=bool(settings.tls_cert))
        nursery.start_soon(server.account)
        if isinstance(app, LazyApp):
            nursery.start_soon(app.warm, WARM_AFTER_S)
        task_status.started(port)
        await server.shut_down()
        nursery.cancel_scope.cancel()


Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]


def _socket_of(listener: Listener) -> trio.socket.SocketType:
    if isinstance(listener, trio.SSLListener):
        inner = listener.transport_listener
        assert isinstance(inner, trio.SocketListener)
        return inner.socket
    return listener.socket


async def open_listeners(settings: ServerSettings) -> list[Listener]:
    """Bind the port. Raises `ConfigError` in words."""
    context = tls_context(settings)
    host, port = settings.host, settings.port
    try:
        plain = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"port {port} is taken: choose another with --port",
            errno.EACCES: f"port {port} needs more rights: choose one from 1024 up with --port",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this machine: choose another with --host",
        }
        unknown = f"cannot listen on {host} port {port}: {error.strerror or error}; choose another with --port"
        raise ConfigError(reasons.get(error.errno or 0, unknown)) from None
    if context is None:
        return list(plain)
    return [trio.SSLListener(listener, context, https_compatible=True) for listener in plain]


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """TLS as the settings say, HTTP/1.1 only; None without. Raises `ConfigError`."""
    if not settings.tls_cert and not settings.tls_key:
        return None
    if not settings.tls_cert or not settings.tls_key:
        raise ConfigError("server.tls_cert and server.tls_key belong together: give both or none")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"server.tls_cert / server.tls_key cannot be used: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context
