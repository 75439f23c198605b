"""One connection of a call: dialling, the WebSocket, and the end of it."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec
import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from aura.client.events import Decoder
from aura.client.outbox import CallError
from aura.client.playout import voiced
from aura.client.settings import ClientSettings

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
RECEIVE_BYTES: Final = 1 << 16
LOST: Final = 1006
"""The code of a connection that ended without a word."""
ENDED: Final = frozenset({1000, 1001, 1003, 1007, 1008, 1009, 3000, 4000})
"""A server that closes with these does not want the call to go on, or would close it again for the same message."""


FAILURES: Final = (CallError, OSError, trio.TooSlowError, trio.BrokenResourceError, trio_websocket.HandshakeError)


Observer = Callable[[str, str | bytes], None]


class Refused(CallError):
    """The server will not take this call, now or later."""


class LinkLost(Exception):
    """The connection is closed."""


class Address(msgspec.Struct, frozen=True):
    """Whom to call, and how."""

    url: str
    token: str
    binary: bool
    events: bool
    observer: Observer | None = None
    """Sees every message as it is on the wire: "sent" or "received", and the message."""

    def target(self, more: Mapping[str, str]) -> SplitResult:
        """The URL of a connection, with further parameters. Raises `CallError`."""
        parts = urlsplit(opted_in(self.url, binary=self.binary, events=self.events))
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise Refused(f"{self.url}: not the address of a server; it looks like ws://127.0.0.1:8080/v1/realtime")
        path = parts.path if parts.path.strip("/") else "/v1/realtime"
        return parts._replace(path=path, query=with_query(parts.query, more))


def opted_in(url: str, *, binary: bool, events: bool) -> str:
    """The URL that asks for AURA's additions; without any it stays as it is."""
    wanted = [name for name, on in (("binary", binary), ("events", events)) if on]
    if not wanted:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=with_query(parts.query, {"aura": ",".join(wanted)})))


def with_query(query: str, more: Mapping[str, str]) -> str:
    """The query with these parameters, each once."""
    if not more:
        return query
    kept = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key not in more]
    return urlencode([*kept, *more.items()], safe=",:", quote_via=quote)


class Again(msgspec.Struct):
    """What comes once more over a connection that continues another one."""

    asked: tuple[str, int] | None = None
    """What was said to have been played when it was asked for: the item and its milliseconds."""
    texts: set[str] = set()
    """Items whose words come again from the beginning, if they do."""
    audio: bool = False
    """Whether the first reply audio is still to come."""


class Link:
    """A connection. `lock` is for whoever sends what has an order."""

    def __init__(
        self, ws: trio_websocket.WebSocketConnection, stream: trio.abc.Stream, observer: Observer | None
    ) -> None:
        self.ws, self.stream, self._observer = ws, stream, observer or (lambda *_: None)
        self.decoder = Decoder(voiced)
        self.lock = trio.Lock()
        self.ready = False
        """The server knows which session this is: what waits may be sent."""
        self.received = 0
        """Messages, for whoever wants to know that the server is alive."""
        self.waiting = False
        """Whether somebody waits for a message now (else silence has another cause)."""
        self.again = Again()
        self.acked: dict[str, int] = {}
        """What the server was told to have been played."""
        self.since, self.tries = 0.0, 0

    async def send(self, message: str | bytes) -> None:
        """Raises `LinkLost`."""
        self._observer("sent", message)
        try:
            await self.ws.send_message(message)
        except (trio_websocket.ConnectionClosed, LocalProtocolError):
            raise LinkLost from None

    async def receive(self) -> str | bytes:
        """Raises `LinkLost`."""
        self.waiting = True
        try:
            message: str | bytes = await self.ws.get_message()
        except trio_websocket.ConnectionClosed:
            raise LinkLost from None
        finally:
            self.waiting = False
        self.received += 1
        self._observer("received", message)
        return message

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason of the end."""
        reason = self.ws.closed
        return None if reason is None else (int(reason.code), str(reason.reason or ""))

    async def cut(self) -> None:
        """Drop the connection without a word."""
        self.ready = False
        await trio.aclose_forcefully(self.stream)

    async def hang_up(self, timeout_s: float) -> None:
        """End the call."""
        with trio.move_on_after(timeout_s, shield=True):
            await self.ws.aclose()

    async def alive(self, timeout_s: float) -> bool:
        """Whether the server answers a ping, or says anything, in time."""
        before = self.received
        with trio.move_on_after(timeout_s) as wait:
            try:
                await self.ws.ping()
            except (trio_websocket.ConnectionClosed, LocalProtocolError):
                return True  # whoever receives learns of it
        return not wait.cancelled_caught or self.received != before or not self.waiting


async def dial(
    address: Address,
    query: Callable[[], Mapping[str, str]],
    settings: ClientSettings,
    *,
    task_status: trio.TaskStatus[Link],
) -> None:
    """Connect and shake hands, then keep the connection until it is over; to be started in a nursery. `query` is asked
    at the last moment. Raises `CallError`."""
    failure: CallError | None = None
    try:
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            try:
                with trio.fail_after(settings.connect_timeout_s):
                    link = await _shake_hands(address, query, nursery, stack)
            except FAILURES as error:
                failure = _failure(address, settings, error)
                nursery.cancel_scope.cancel()
            else:
                task_status.started(link)  # and the library's task runs on
    except* trio_websocket.ConnectionRejected as group:  # from the library's own task, when the refusal has a body
        refused: Any = group
        while isinstance(refused, BaseExceptionGroup):
            refused = refused.exceptions[0]
        failure = _failure(address, settings, refused)
    if failure is not None:
        raise failure


def _failure(address: Address, settings: ClientSettings, error: Exception) -> CallError:
    """Why there is no connection, for people."""
    match error:
        case CallError():
            return error
        case trio.TooSlowError():
            return CallError(f"{address.url} does not answer within {settings.connect_timeout_s:g} s")
        case trio_websocket.ConnectionRejected():
            return _refusal(address.url, error)
        case ssl.SSLError() | trio.BrokenResourceError():
            return CallError(f"{address.url}: no secure connection: {error.__cause__ or error}")
        case _:
            return CallError(f"no AURA at {address.url}: start one with `aura serve`")


async def _shake_hands(
    address: Address, query: Callable[[], Mapping[str, str]], nursery: trio.Nursery, stack: AsyncExitStack
) -> Link:
    parts = address.target({})
    stream = await _stream(parts, stack)
    parts = address.target(query())
    handshake = trio.CancelScope()
    with handshake:
        ws = await trio_websocket.wrap_client_stream(
            _Telling(nursery, handshake.cancel),  # type: ignore[arg-type]  # it is asked for nothing else
            stream,
            parts.netloc.rpartition("@")[2],
            urlunsplit(("", "", parts.path, parts.query, "")),
            extra_headers=[(b"authorization", f"Bearer {address.token}".encode())] if address.token else None,
            max_message_size=MAX_MESSAGE_BYTES,
            receive_buffer_size=RECEIVE_BYTES,
        )
    if handshake.cancelled_caught:
        raise CallError(f"{address.url} hung up before the call began")
    return Link(ws, stream, address.observer)


class _Telling:
    """A nursery that tells when its task has ended: the library itself waits for a handshake for ever."""

    def __init__(self, nursery: trio.Nursery, ended: Callable[[], None]) -> None:
        self._nursery, self._ended = nursery, ended

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await task()
            self._ended()

        self._nursery.start_soon(run)


async def _stream(parts: SplitResult, stack: AsyncExitStack) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """The connection below the WebSocket. (trio-websocket's own `open_websocket_url` leaves the socket open when the
    server ends the call.)"""
    host = parts.hostname or ""
    if parts.scheme == "ws":
        plain = await trio.open_tcp_stream(host, parts.port or 80)
        stack.push_async_callback(trio.aclose_forcefully, plain)
        return plain
    secure = await trio.open_ssl_over_tcp_stream(host, parts.port or 443)
    stack.push_async_callback(trio.aclose_forcefully, secure)
    await secure.do_handshake()
    return secure


def _refusal(url: str, refusal: trio_websocket.ConnectionRejected) -> CallError:
    """What an HTTP status instead of a WebSocket means for the user."""
    status = refusal.status_code
    meaning = {
        401: "a key is needed, or this one is wrong",
        403: "this client is not allowed",
        404: "there is no such path; it should end with /v1/realtime",
        503: "it is full or shutting down",
    }.get(status, "it is no WebSocket server")
    kind = Refused if status in (401, 403, 404) else CallError
    return kind(f"{url} refuses the call (HTTP {status}): {meaning}")
