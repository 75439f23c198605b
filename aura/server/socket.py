"""One conversation's WebSocket: the only file that knows trio-websocket.

Handshake, closing, fragmented or long messages and every fault are trio-websocket's. It reads and writes through `Tap`,
which lets it sleep while ordinary messages come: those are cut out of the stream by `Splitter` in the task that asks
for them, without a second task, a channel or a parser in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
import trio
import trio_websocket
from wsproto.utilities import LocalProtocolError

from .frames import FIN, PING, PONG, Fault, Odd, Ping, Splitter, close_frame, encode, frame
from .settings import ServerSettings
from .tap import Mode, Tap
from .wire import RECEIVE_BYTES, Lost, Wire

STREAK = 16
"""Messages taken without a wait before other tasks get a turn."""
WHOLE = (str, bytes)
log = structlog.get_logger()


class Closed(Exception):
    """The connection has ended or is ending; `code` and `reason` as in RFC 6455 section 7.4."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code, self.reason = code, reason


class Socket:
    """A conversation's connection. One task may receive; any task may send or close."""

    def __init__(
        self, ws: trio_websocket.WebSocketConnection, tap: Tap, wire: Wire, splitter: Splitter, settings: ServerSettings
    ) -> None:
        self._ws = ws
        self._tap = tap
        self._wire = wire
        self._splitter = splitter
        self._settings = settings
        self._ended: Closed | None = None
        self._closing: trio.Event | None = None
        self._streak = 0
        self.messages_in = 0
        self.remote = ""

    @property
    def closed(self) -> Closed | None:
        """How the connection ended, once it has."""
        return self._ended

    @property
    def bytes_in(self) -> int:
        """Bytes received, framing included."""
        return self._wire.bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes sent, framing included."""
        return self._wire.bytes_out

    async def receive(self) -> str | bytes:
        """The next message: text or binary. Raises `Closed`."""
        try:
            while self._tap.mode is Mode.PARKED and self._ended is None:
                item = self._splitter.next()
                if item is None:
                    self._streak = 0
                    await self._tap.fill()
                    continue
                self._streak += 1
                if self._streak >= STREAK:
                    self._streak = 0
                    await trio.lowlevel.cancel_shielded_checkpoint()  # the message is out of the buffer: do not lose it
                if isinstance(item, WHOLE):
                    self.messages_in += 1
                    return item
                await self._uncommon(item)
        except Fault as fault:
            await self._fail(fault)
        except Lost as lost:
            raise self._end(lost.code, lost.reason) from None
        return await self._from_library()

    async def _uncommon(self, item: Ping | Odd) -> None:
        if isinstance(item, Ping):
            await self._wire.write(frame(FIN | PONG, item.payload))
        elif item is Odd.MESSAGE:
            self._tap.switch(Mode.MESSAGE)
        elif item is Odd.OTHER:
            self._tap.switch(Mode.DIRECT)

    async def _from_library(self) -> str | bytes:
        if self._ended is not None:
            await trio.lowlevel.checkpoint()
            raise self._ended
        try:
            message = await self._ws.get_message()
        except trio_websocket.ConnectionClosed as end:
            lost = self._wire.lost or Lost()
            code, reason = (end.reason.code, end.reason.reason) if end.reason else (lost.code, lost.reason)
            raise self._end(code, reason or "") from None
        if self._tap.mode is Mode.DONE:
            self._tap.mode = Mode.PARKED
        self.messages_in += 1
        return message

    async def send(self, *messages: str | bytes) -> None:
        """Send messages in order, str as text, bytes as binary; several at once are one write.

        Returns when the kernel has them; a cancelled send is still completed. Raises `Closed`.
        """
        if self._ended is not None:
            raise self._ended
        data = encode(messages[0]) if len(messages) == 1 else b"".join(map(encode, messages))
        try:
            await self._wire.write(data)
        except Lost as lost:
            raise self._end(lost.code, lost.reason) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye, wait for the answer (at most `close_timeout_s`, shielded) and hang up. May be called again."""
        if self._closing is not None:
            with trio.move_on_after(2 * self._settings.close_timeout_s, shield=True):
                await self._closing.wait()
            return
        self._closing = trio.Event()
        try:
            if self._ended is None:
                self._end(code, reason)
                self._tap.switch(Mode.DIRECT)
                with trio.move_on_after(self._settings.close_timeout_s, shield=True):
                    await self._ws.aclose(code, reason)
            await self._hang_up(self._end(code, reason))
        finally:
            self._closing.set()

    async def keep_alive(self) -> None:
        """Ping regularly; close when the client is gone, or has said nothing for too long."""
        limits = self._settings
        heard_at = spoke_at = trio.current_time()
        heard = spoke = 0
        while self._ended is None:
            await trio.sleep(min(limits.ping_interval_s, limits.pong_timeout_s / 2, limits.idle_timeout_s / 2))
            now = trio.current_time()
            if heard != self.bytes_in or not self._tap.listening:  # what nobody reads is not the client's silence
                heard, heard_at = self.bytes_in, now
            if spoke != self.messages_in:
                spoke, spoke_at = self.messages_in, now
            if now - heard_at >= limits.pong_timeout_s:
                await self.close(1001, f"no answer to a ping for {limits.pong_timeout_s:g} s")
            elif now - spoke_at >= limits.idle_timeout_s:
                await self.close(1001, f"no message for {limits.idle_timeout_s:g} s")
            else:
                await self._ping()

    async def _ping(self) -> None:
        try:
            await self._wire.write(frame(FIN | PING, b""))
        except Lost as lost:
            self._end(lost.code, lost.reason)

    async def _fail(self, fault: Fault) -> None:
        """Close because of the client's data, without minding what the client still sends of it."""
        self._end(fault.code, fault.reason)
        log.info("client.fault", code=fault.code, reason=fault.reason)
        await self._hang_up(self._end(fault.code, fault.reason))

    async def _hang_up(self, end: Closed) -> None:
        if self._tap.close_sent or end.code in (1005, 1006) or self._wire.lost is not None:
            await self._wire.abort()
        else:  # a fault: trio-websocket would end the connection without telling the client why
            self._tap.close_sent = True
            await self._wire.finish(close_frame(end.code, end.reason), self._settings.close_timeout_s)

    def _end(self, code: int, reason: str) -> Closed:
        self._ended = self._ended or Closed(code, reason)
        return self._ended


async def run_socket(
    stream: trio.abc.Stream,
    head: bytes,
    rest: bytes,
    subprotocol: str | None,
    settings: ServerSettings,
    conversation: Callable[[Socket], Awaitable[None]],
) -> None:
    """Answer the upgrade request `head` and hold the conversation; `rest` is what came after the head.

    The connection is closed when this returns: 1000 after the conversation returned or raised `Closed`, 1011 after it
    failed, which is logged.
    """
    try:
        async with trio.open_nursery() as nursery:
            wire = Wire(stream, nursery, settings.slow_client_s)
            splitter = Splitter(settings.message_bytes_max, rest)
            tap = Tap(wire, splitter, head)
            with trio.fail_after(settings.handshake_timeout_s):
                request = await trio_websocket.wrap_server_stream(
                    nursery, tap, max_message_size=settings.message_bytes_max, receive_buffer_size=RECEIVE_BYTES
                )
                ws = await request.accept(subprotocol=subprotocol)
            socket = Socket(ws, tap, wire, splitter, settings)
            nursery.start_soon(socket.keep_alive)
            code, reason = 1011, "internal error"
            try:
                await conversation(socket)
                code, reason = 1000, ""
            except* Closed:
                code, reason = 1000, ""
            except* Exception as errors:
                log.exception("conversation.crashed", errors=[type(error).__name__ for error in errors.exceptions])
            finally:
                await socket.close(code, reason)
                nursery.cancel_scope.cancel()
    except* LocalProtocolError:  # trio-websocket answers a ping after its own close frame, which wsproto refuses
        log.debug("client.pinged_after_close")
    except* (trio_websocket.ConnectionClosed, trio.TooSlowError):
        log.info("client.gone_in_handshake")
