"""WebSocket framing for the common case: sans-I/O, no WebSocket library.

A voice client sends one kind of frame nearly always: a whole, masked, unfragmented text or binary message of less than
64 KiB. `Splitter` decodes these itself, about ten times cheaper than a general parser, answers for pings, and says
where anything else begins, so that wsproto can take over there. It never guesses: whatever it does not know to be well
formed is left to wsproto. The bits are those of RFC 6455 section 5.2.
"""

from __future__ import annotations

import struct
from enum import Enum, auto
from typing import NamedTuple

import msgspec
import numpy as np

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = MASKED = 0x80
WHOLE_TEXT, WHOLE_BINARY = FIN | TEXT, FIN | BINARY
CONTROL_MAX = 125
"""Payload bytes of a control frame, and the largest length that fits the second header byte."""
NUMPY_FROM = 4096
"""Payloads of at least this many bytes are unmasked by numpy; below, long integers cost less (measured in a server,
where numpy's code has left the cache since the last message)."""


class Fault(Exception):
    """The client's data must end the connection with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Odd(Enum):
    """What `Splitter` leaves to wsproto."""

    MESSAGE = auto()
    """A fragmented or long message begins here."""
    OTHER = auto()
    """A close frame or a broken one: the rest of the connection is wsproto's."""
    NOTHING = auto()
    """A pong: nothing to do, look for the next thing."""


class Ping(msgspec.Struct, frozen=True):
    """A ping to be answered with the same payload."""

    payload: bytes


class Header(NamedTuple):
    """A frame's header. `known` is false unless everything in it is as it should be."""

    opcode: int
    fin: bool
    start: int
    """Where the payload begins, counted from the frame's first byte."""
    size: int
    """Payload bytes."""
    known: bool


def unmask(payload: bytes, key: bytes) -> bytes:
    """XOR with the repeated 4-byte key."""
    size = len(payload)
    if size < NUMPY_FROM:
        mask = int.from_bytes(key * (size >> 2) + key[: size & 3], "little")
        return (int.from_bytes(payload, "little") ^ mask).to_bytes(size, "little")
    whole = size & ~3
    words = np.frombuffer(payload, np.uint32, whole >> 2) ^ np.frombuffer(key, np.uint32)
    return words.tobytes() + bytes(a ^ b for a, b in zip(payload[whole:], key, strict=False))


def encode(message: str | bytes) -> bytes:
    """A message as one unmasked frame (server to client)."""
    if isinstance(message, str):
        return frame(WHOLE_TEXT, message.encode())
    return frame(WHOLE_BINARY, message)


def frame(first: int, payload: bytes) -> bytes:
    """One unmasked frame; `first` is its first byte."""
    size = len(payload)
    if size <= CONTROL_MAX:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to what fits."""
    text = reason.encode()[: CONTROL_MAX - 2].decode(errors="ignore").encode()
    return frame(FIN | CLOSE, struct.pack("!H", code) + text)


def header(data: bytes, at: int, fragmented: bool) -> Header | None:
    """Read the header at `at`; None when it is not all there. `fragmented`: inside a fragmented message."""
    have = len(data) - at
    if have < 2:
        return None
    first, second = data[at], data[at + 1]
    opcode, fin, short = first & 0x0F, bool(first & FIN), second & 0x7F
    size_bytes = {126: 2, 127: 8}.get(short, 0)
    start = 2 + size_bytes + 4
    if opcode >= CLOSE:
        known = opcode in (PING, PONG) and fin and short <= CONTROL_MAX
    else:
        known = opcode in ((CONTINUATION,) if fragmented else (TEXT, BINARY))
    if not known or first & 0x70 or not second & MASKED:
        return Header(opcode, fin, start, 0, known=False)
    if have < start:
        return None
    size = int.from_bytes(data[at + 2 : at + 2 + size_bytes]) if size_bytes else short
    return Header(opcode, fin, start, size, known={126: 126, 127: 1 << 16}.get(short, 0) <= size < 1 << 63)


class Splitter:
    """Cuts a client's byte stream into messages; see the module's text."""

    __slots__ = ("_at", "_data", "_fragmented", "_left", "_size_max")

    def __init__(self, size_max: int, data: bytes = b"") -> None:
        self._size_max = size_max
        self._data = data
        self._at = 0
        self._left = 0  # of an odd message's frame: payload bytes still to pass on
        self._fragmented = False

    def feed(self, data: bytes) -> None:
        """Take what the network brought."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> str | bytes | Ping | Odd | None:
        """The next thing in the data; None when more data is needed. Raises `Fault`."""
        data, at = self._data, self._at
        if len(data) - at < 6:
            return self._uncommon() if at < len(data) else None
        first, size = data[at], data[at + 1] - MASKED
        start = at + 6
        if size == 126:
            size = data[at + 2] << 8 | data[at + 3]
            start += 2
            if size < 126:
                return self._uncommon()
        if not 0 <= size <= self._size_max or (first != WHOLE_TEXT and first != WHOLE_BINARY) or data[at + 1] == 255:
            return self._uncommon()
        end = start + size
        if len(data) < end:
            return None
        self._at = end
        payload = unmask(data[start:end], data[start - 4 : start])
        if first == WHOLE_BINARY:
            return payload
        try:
            return payload.decode()
        except UnicodeDecodeError:
            raise Fault(1007, "a text message must be UTF-8") from None

    def _uncommon(self) -> Ping | Odd | None:
        data, at = self._data, self._at
        head = header(data, at, fragmented=False)
        if head is None:
            return None
        if not head.known:
            return Odd.OTHER
        payload, end = at + head.start, at + head.start + head.size
        if head.opcode < CLOSE:
            if head.size > self._size_max:
                raise Fault(1009, f"a message may have at most {self._size_max} bytes")
            return Odd.MESSAGE
        if len(data) < end:
            return None
        self._at = end
        if head.opcode == PONG:
            return Odd.NOTHING
        return Ping(unmask(data[payload:end], data[payload - 4 : payload]))

    def pass_on(self) -> tuple[bytes, Odd | None, bool]:
        """Inside an odd message: bytes for wsproto, how to go on, and whether more data is needed first.

        The second item is None while the message goes on, MESSAGE when its last byte was passed on, and OTHER when
        the rest of the connection is wsproto's.
        """
        begin = self._at
        while True:
            step = min(self._left, len(self._data) - self._at)
            self._at += step
            self._left -= step
            if self._left:
                break
            if not self._fragmented and self._at > begin:
                return self._data[begin : self._at], Odd.MESSAGE, False
            head = header(self._data, self._at, self._fragmented)
            if head is None:
                break
            if not head.known:
                raw, self._data, self._at = self._data[begin:], b"", 0
                return raw, Odd.OTHER, False
            self._at += head.start
            self._left = head.size
            if head.opcode < CLOSE:
                self._fragmented = not head.fin
        return self._data[begin : self._at], None, begin == self._at

    def rest(self) -> bytes:
        """Give up the bytes not used yet."""
        rest, self._data, self._at = self._data[self._at :], b"", 0
        return rest
