"""The stream that trio-websocket sees: it sleeps while ordinary messages come, and reads when it is needed."""

from __future__ import annotations

from enum import Enum, auto

import trio

from .frames import CLOSE, FIN, Odd, Splitter
from .wire import Lost, Wire

CLOSE_BYTE = bytes((FIN | CLOSE,))


class Mode(Enum):
    """Who reads the network."""

    PARKED = auto()
    """`Socket.receive`; trio-websocket sleeps."""
    MESSAGE = auto()
    """trio-websocket, until the end of one odd message."""
    DONE = auto()
    """Nobody: trio-websocket has all of the odd message, `Socket.receive` has not asked for it yet."""
    DIRECT = auto()
    """trio-websocket, to the end of the connection."""


class Tap(trio.abc.Stream):
    """The stream that trio-websocket sees."""

    def __init__(self, wire: Wire, splitter: Splitter, head: bytes) -> None:
        self._wire = wire
        self._splitter = splitter
        self._inbox = head
        self._wake = trio.Event()
        self.mode = Mode.PARKED
        self.reading = False
        self.close_sent = False

    @property
    def listening(self) -> bool:
        """Whether somebody takes what the client sends."""
        return self.reading or self.mode is Mode.DIRECT

    def switch(self, mode: Mode) -> None:
        """Give the network to trio-websocket."""
        self.mode = mode
        self._wake.set()

    async def fill(self) -> None:
        """Read for `Socket.receive`. Raises `Lost`."""
        self.reading = True
        try:
            data = await self._wire.read()
        finally:
            self.reading = False
            if self.mode is not Mode.PARKED:  # a close has begun meanwhile
                self._wake.set()
        if not data:
            raise Lost
        self._splitter.feed(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes for trio-websocket's reader task."""
        while True:
            if self.mode is Mode.DIRECT:  # a close may have begun while somebody else was reading
                self._inbox += self._splitter.rest()
            if self._inbox:
                data, self._inbox = self._inbox, b""
                return data
            if self.mode in (Mode.PARKED, Mode.DONE) or self.reading:
                self._wake = trio.Event()
                await self._wake.wait()
            elif self.mode is Mode.DIRECT:
                return await self._read()
            elif raw := await self._part():
                return raw

    async def _part(self) -> bytes:
        """Some bytes of an odd message."""
        raw, then, hungry = self._splitter.pass_on()
        if then is not None:
            self.mode = Mode.DONE if then is Odd.MESSAGE else Mode.DIRECT
        elif hungry:
            data = await self._read()
            self._splitter.feed(data)
            if not data:
                self.mode = Mode.DIRECT
        return raw

    async def _read(self) -> bytes:
        try:
            return await self._wire.read()
        except Lost:
            return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Whole frames from trio-websocket."""
        self.close_sent = self.close_sent or data[:1] == CLOSE_BYTE
        try:
            await self._wire.write(bytes(data))
        except Lost as lost:
            raise trio.BrokenResourceError(lost.reason) from None

    async def wait_send_all_might_not_block(self) -> None:
        """Part of the interface; nobody calls it."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Nothing: `Socket` closes the connection, after its farewell."""
        await trio.lowlevel.checkpoint()
