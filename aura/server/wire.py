"""Bytes between a client's socket and the WebSocket code, with as little as possible in between.

Trio's `SocketStream` is made for everything; here one task reads and nothing ever waits in the middle of a frame. On a
plain TCP socket (not Windows, not TLS) both directions therefore use the file descriptor itself, which halves the cost
of a small message. TLS and Windows go through the stream's own methods.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import structlog
import trio

RECEIVE_BYTES: Final = 1 << 16
log = structlog.get_logger()

UNREAD = "the client did not read"
"""What the reason begins with when a client's network took nothing for too long."""


class Lost(Exception):
    """Nothing can be sent or received any more; `code` as a WebSocket close code."""

    def __init__(self, code: int = 1006, reason: str = "connection lost") -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def descriptor(stream: trio.abc.Stream) -> int | None:
    """The file descriptor to use directly, or None."""
    if isinstance(stream, trio.SocketStream) and sys.platform != "win32":
        return stream.socket.fileno()
    return None


class Wire:
    """One connection's bytes, both ways: one reader at a time, any number of writers.

    Written data goes to the kernel at once. What the kernel does not take is finished by a task of its own, so that a
    cancelled writer never leaves half a frame behind, and within `slow_client_s`, or the connection is given up.
    """

    def __init__(self, stream: trio.abc.Stream, nursery: trio.Nursery, slow_client_s: float) -> None:
        self._stream = stream
        self._fd = descriptor(stream)  # None from the moment that the stream is closed: numbers are used again
        self._nursery = nursery
        self._slow_client_s = slow_client_s
        self._unsent = bytearray()
        self._flushed: trio.Event | None = None  # while data waits in _unsent
        self.lost: Lost | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    async def read(self) -> bytes:
        """The next bytes, at most 64 KiB; none at the end. Raises `Lost`."""
        try:
            while (fd := self._fd) is not None:
                # Waiting first saves the failing read that comes before every wait in Trio's own recv.
                await trio.lowlevel.wait_readable(fd)
                if self._fd is None:  # closed since it became readable: the number may be another connection's by now
                    continue
                try:
                    data = os.read(fd, RECEIVE_BYTES)
                    break
                except BlockingIOError:  # a false alarm of the kernel
                    continue
            else:
                data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise self.lost or Lost() from None
        self.bytes_in += len(data)
        return data

    async def write(self, data: bytes) -> None:
        """Send whole frames, in order. Raises `Lost`, with code 1008 when the client does not read."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.lost is not None:
            raise self.lost
        self.bytes_out += len(data)
        if self._fd is not None and self._flushed is None:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.lost = Lost()
                raise self.lost from None
            if sent == len(data):
                return
            data = data[sent:]
        await self._write_rest(data)

    async def _write_rest(self, data: bytes) -> None:
        self._unsent += data
        if self._flushed is None:
            self._flushed = trio.Event()
            self._nursery.start_soon(self._flush, self._flushed)
        await self._flushed.wait()
        if self.lost is not None:
            raise self.lost

    async def _flush(self, flushed: trio.Event) -> None:
        try:
            while self._unsent:
                data, self._unsent = self._unsent, bytearray()
                with trio.fail_after(self._slow_client_s):
                    await self._stream.send_all(data)
        except trio.TooSlowError:
            log.warning("client.slow", slow_client_s=self._slow_client_s, unsent_bytes=len(data))
            self.lost = self.lost or Lost(1008, f"{UNREAD} for {self._slow_client_s:g} s")
            await self.abort()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.lost = self.lost or Lost()
        except trio.Cancelled:
            self.lost = self.lost or Lost()  # half a frame is out: nothing may follow
            raise
        finally:
            self._flushed = None
            flushed.set()

    async def finish(self, farewell: bytes, linger_s: float) -> None:
        """Send `farewell`, wait at most `linger_s` until the client has hung up too, and close.

        Closing at once while the client still sends would make the kernel reset the connection, and the client would
        never see the farewell. Meant for after a fault; shielded.
        """
        with trio.move_on_after(linger_s, shield=True):
            try:
                await self.write(farewell)
                if isinstance(self._stream, trio.SocketStream):
                    await self._stream.send_eof()
                while await self.read():
                    pass
            except (Lost, trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                pass
        await self.abort()

    async def abort(self) -> None:
        """Close the socket now."""
        self.lost = self.lost or Lost()
        self._fd = None
        await trio.aclose_forcefully(self._stream)
