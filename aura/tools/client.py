"""A client of `/v1/realtime` on Trio: what the tools, and whoever needs one, talk to AURA (or another server) with.

    async with connect("ws://127.0.0.1:8080/v1/realtime") as call:
        await call.send_audio(pcm)
        async for event in call: ...

One task iterates over the call for as long as it lasts; others may send. `call.playout` follows the reply as a caller
would hear it: with AURA's events it obeys hold, resume and flush and reports what has been played, without them it
drops unplayed audio when the server hears the user, as stock clients do.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec
import trio
import trio_websocket

from aura.core.errors import AuraError
from aura.tools.client_events import (
    Decoder,
    Event,
    Fault,
    Flush,
    Hold,
    ReplyAudio,
    Resume,
    SessionCreated,
    SpeechStarted,
)
from aura.tools.play import Playout, voiced

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
RECEIVE_BYTES: Final = 1 << 16
DEFAULT_RATE_HZ: Final = 24_000


class ClientSettings(msgspec.Struct, frozen=True):
    """Deadlines of the client."""

    connect_timeout_s: float = 10.0
    """Time for the connection and the first event."""
    send_timeout_s: float = 10.0
    """The server must take a message within this time."""
    ack_interval_s: float = 0.2
    """How often the server is told what has been played."""
    close_timeout_s: float = 1.0
    """Time for the server to answer the closing of the connection."""


class CallError(AuraError):
    """There is no server, it refused the call, or it is gone; the message says which."""

    code = "call_failed"


def opted_in(url: str, *, binary: bool, events: bool) -> str:
    """The URL that asks for AURA's additions; without any it stays as it is."""
    wanted = [name for name, on in (("binary", binary), ("events", events)) if on]
    if not wanted:
        return url
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "aura"]
    text = urlencode([*query, ("aura", ",".join(wanted))], safe=",", quote_via=quote)
    return urlunsplit(parts._replace(query=text))


class Call:
    """One conversation. Made by `connect`."""

    def __init__(
        self, ws: trio_websocket.WebSocketConnection, settings: ClientSettings, *, binary: bool, events: bool
    ) -> None:
        self._ws, self._settings, self._binary, self._events = ws, settings, binary, events
        self._decoder = Decoder(voiced)
        self._early: list[Event] = []
        self._acked: dict[str, int] = {}
        self.session: dict[str, Any] = {}
        """The session as the server last described it."""
        self.playout = Playout(DEFAULT_RATE_HZ)
        self.tick_s = settings.ack_interval_s
        """How often the playout is brought up to date when nothing arrives; a loudspeaker wants it often."""
        self.observer: Callable[[str, str | bytes], None] = lambda *_: None
        """Sees every message as it is on the wire: "sent" or "received", and the message."""
        self.closed: tuple[int, str] | None = None
        """Code and reason, once the server has ended the call."""

    # ---- sending -------------------------------------------------------------------------------------------------

    @property
    def rate_in_hz(self) -> int:
        """Rate of the audio to send."""
        return _rate(self.session, "input")

    async def send(self, type_: str, **fields: Any) -> None:
        """Send any event of the protocol."""
        await self._send(msgspec.json.encode({"type": type_, **fields}).decode())

    async def send_audio(self, pcm: bytes) -> None:
        """Send microphone audio: 16-bit PCM at `rate_in_hz`."""
        if self._binary:
            await self._send(pcm)
        else:
            await self.send("input_audio_buffer.append", audio=pcm)

    async def send_text(self, text: str) -> None:
        """Say something in writing and ask for an answer."""
        content = [{"type": "input_text", "text": text}]
        await self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await self.send("response.create")

    async def update(self, **session: Any) -> None:
        """Change the session (`session.update`)."""
        await self.send("session.update", session={"type": "realtime", **session})

    async def commit(self) -> None:
        """The audio so far is a whole utterance."""
        await self.send("input_audio_buffer.commit")

    async def cancel(self) -> None:
        """Stop the reply, here and at the server."""
        self.playout.flush(trio.current_time())
        await self.send("response.cancel")

    async def truncate(self, item_id: str, heard_ms: int) -> None:
        """Say how much of a reply was heard, as stock clients do after an interruption."""
        await self.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=heard_ms)

    async def ask_for_item(self, item_id: str) -> None:
        """Ask what the server remembers of an item; `ItemDone` is the answer."""
        await self.send("conversation.item.retrieve", item_id=item_id)

    async def _send(self, message: str | bytes) -> None:
        self.observer("sent", message)
        try:
            with trio.fail_after(self._settings.send_timeout_s):
                await self._ws.send_message(message)
        except trio.TooSlowError:
            raise CallError("the server does not take any more audio: it is overloaded or stuck") from None
        except trio_websocket.ConnectionClosed:
            raise CallError(f"the server ended the call{self._why()}") from None

    # ---- receiving -----------------------------------------------------------------------------------------------

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> Event:
        if self._early:
            return self._early.pop(0)
        while True:
            try:
                raw = await self._ws.get_message()
            except trio_websocket.ConnectionClosed:
                self._why()
                raise StopAsyncIteration from None
            self.observer("received", raw)
            try:
                event = self._decoder.decode(raw, trio.current_time())
            except ValueError as error:
                raise CallError(f"this is not a Realtime server: it sent what is no event ({error})") from None
            if event is None:
                continue
            self._obey(event)
            if self._events and isinstance(event, (Hold, Flush)):
                await self.acknowledge()
            return event

    async def greet(self, url: str) -> None:
        """Take the first event, which must describe the session."""
        with trio.move_on_after(self._settings.connect_timeout_s) as waiting:
            event = await anext(self, None)
        if waiting.cancelled_caught:
            raise CallError(f"{url} takes the call but says nothing: this is not a Realtime server")
        if isinstance(event, Fault):
            raise CallError(f"the server refuses the call: {event.message}")
        if not isinstance(event, SessionCreated):
            raise CallError(f"the server ended the call at once{self._why()}")
        self._early.append(event)

    def _obey(self, event: Event) -> None:
        """Let the playout follow."""
        match event:
            case ReplyAudio():
                self.playout.add(event.at, event.item_id, event.pcm)
            case Hold():
                self.playout.hold(event.at)
            case Resume():
                self.playout.resume(event.at)
            case Flush():
                self.playout.flush(event.at)
            case SpeechStarted() if not self._events:
                self.playout.flush(event.at)
            case SessionCreated():
                self.session = event.session
                self.playout.rate_hz = _rate(self.session, "output")

    def _why(self) -> str:
        reason = self._ws.closed
        if reason is None:
            return ""
        self.closed = (int(reason.code), str(reason.reason or ""))
        return f" (code {self.closed[0]}{': ' if self.closed[1] else ''}{self.closed[1]})"

    # ---- playing -------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Keep the playout going and tell AURA what has been heard; ends with the connection."""
        next_ack = trio.current_time()
        while self._ws.closed is None:
            await trio.sleep(self.tick_s)
            now = trio.current_time()
            self.playout.advance(now)
            if self._events and now >= next_ack:
                next_ack = now + self._settings.ack_interval_s
                await self.acknowledge()

    async def acknowledge(self) -> None:
        """Tell AURA how much of which item has been played, where that changed."""
        played = self.playout.played_ms()
        changed = {item: ms for item, ms in played.items() if item and self._acked.get(item) != ms}
        for item, ms in changed.items() if self._ws.closed is None else ():
            with contextlib.suppress(CallError):  # whoever iterates learns of the end
                await self.send("aura.playout.ack", item_id=item, played_ms=ms)
        self._acked = played
        if len(played) > 1:
            self.playout.forget_all_but(next(reversed(played)))


def _rate(session: dict[str, Any], side: str) -> int:
    """Sample rate of one direction in a session object."""
    try:
        return int(session["audio"][side]["format"]["rate"])
    except (KeyError, TypeError, ValueError):
        return DEFAULT_RATE_HZ


@asynccontextmanager
async def connect(
    url: str,
    *,
    binary: bool = True,
    events: bool = True,
    transcribe: bool = True,
    token: str = "",
    settings: ClientSettings = ClientSettings(),  # noqa: B008  (frozen)
    sink: Callable[[Any], None] | None = None,
    observer: Callable[[str, str | bytes], None] | None = None,
) -> AsyncIterator[Call]:
    """Call a server; the call ends with the block.

    `binary` and `events` opt in to AURA's additions (other servers need both off), `transcribe` asks for the user's
    words, `token` is sent as a Bearer key, `sink` gets every `Heard`, `observer` every raw message. Raises `CallError`.
    """
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            try:
                ws = await _dial(url, opted_in(url, binary=binary, events=events), token, settings, nursery, stack)
                call = Call(ws, settings, binary=binary, events=events)
                call.playout.sinks += [sink] if sink else []
                call.observer = observer or call.observer
                await call.greet(url)
                if transcribe:
                    await call.update(audio={"input": {"transcription": {"model": "aura"}}})
                nursery.start_soon(call.play)
                yield call
            except Exception as error:  # raised again below, where no nursery wraps it
                failure = error
            await stack.aclose()
            nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionRejected as group:  # from the library's own task, when the refusal has a body
        refusal = group.exceptions[0]
        while isinstance(refusal, BaseExceptionGroup):
            refusal = refusal.exceptions[0]
        failure = CallError(_refusal(url, refusal))
    if failure is not None:
        raise failure


async def _dial(
    url: str, full_url: str, token: str, settings: ClientSettings, nursery: trio.Nursery, stack: AsyncExitStack
) -> trio_websocket.WebSocketConnection:
    """Connect and shake hands; `stack` closes what was opened. (trio-websocket's own `open_websocket_url` leaves the
    socket open when the server ends the call.)"""
    parts = urlsplit(full_url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise CallError(f"{url}: not the address of a server; it looks like ws://127.0.0.1:8080/v1/realtime")
    path = parts.path if parts.path.strip("/") else "/v1/realtime"
    resource = urlunsplit(("", "", path, parts.query, ""))
    try:
        with trio.fail_after(settings.connect_timeout_s):
            stream = await _stream(parts, stack)
            ws = await trio_websocket.wrap_client_stream(
                nursery,
                stream,
                parts.netloc.rpartition("@")[2],
                resource,
                extra_headers=[(b"authorization", f"Bearer {token}".encode())] if token else None,
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
            )
    except trio.TooSlowError:
        raise CallError(f"{url} does not answer within {settings.connect_timeout_s:g} s") from None
    except trio_websocket.ConnectionRejected as refusal:
        raise CallError(_refusal(url, refusal)) from None
    except (ssl.SSLError, trio.BrokenResourceError) as error:
        raise CallError(f"{url}: no secure connection: {error.__cause__ or error}") from None
    except (OSError, trio_websocket.HandshakeError):
        raise CallError(f"no AURA at {url}: start one with `aura serve`") from None
    stack.push_async_callback(_hang_up, ws, settings.close_timeout_s)
    return ws


async def _stream(parts: SplitResult, stack: AsyncExitStack) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """The connection below the WebSocket."""
    host = parts.hostname or ""
    if parts.scheme == "ws":
        plain = await trio.open_tcp_stream(host, parts.port or 80)
        stack.push_async_callback(trio.aclose_forcefully, plain)
        return plain
    secure = await trio.open_ssl_over_tcp_stream(host, parts.port or 443)
    stack.push_async_callback(trio.aclose_forcefully, secure)
    await secure.do_handshake()
    return secure


async def _hang_up(ws: trio_websocket.WebSocketConnection, timeout_s: float) -> None:
    with trio.move_on_after(timeout_s, shield=True):
        await ws.aclose()


def _refusal(url: str, refusal: trio_websocket.ConnectionRejected) -> str:
    """What an HTTP status instead of a WebSocket means for the user."""
    meaning = {
        401: "a key is needed, or this one is wrong",
        403: "this client is not allowed",
        404: "there is no such path; it should end with /v1/realtime",
        503: "it is full or shutting down",
    }.get(refusal.status_code, "it is no WebSocket server")
    return f"{url} refuses the call (HTTP {refusal.status_code}): {meaning}"
