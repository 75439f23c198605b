"""What the recogniser's pool and its worker processes say to each other: length-prefixed msgpack on two pipes."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

_LENGTH_BYTES = 4


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """First message to a worker: how to decode."""

    decoders: int
    vocabulary: str
    warmup_s: float
    niceness: int


class Open(msgspec.Struct, frozen=True, tag="open"):
    """An utterance begins."""

    utterance: int


class Feed(msgspec.Struct, frozen=True, tag="feed"):
    """The next 16 kHz audio of an utterance."""

    utterance: int
    pcm: bytes


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """What are the words of everything fed so far? `final`: nothing follows."""

    utterance: int
    number: int
    final: bool


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """Somebody wants to see the words of the utterance while it is said."""

    utterance: int


class Close(msgspec.Struct, frozen=True, tag="close"):
    """The utterance is over or abandoned; its decoder is free."""

    utterance: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker can decode without further loading."""


class Busy(msgspec.Struct, frozen=True, tag="busy"):
    """A sign of life, about once a second while there is work."""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The words asked for."""

    utterance: int
    number: int
    text: str
    confidence: float | None = None


class Glimpse(msgspec.Struct, frozen=True, tag="glimpse"):
    """All words so far; they may still change."""

    utterance: int
    text: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The decoder refused this utterance."""

    utterance: int
    reason: str


ToWorker = Setup | Open | Feed | Ask | Watch | Close
FromWorker = Ready | Busy | Answer | Glimpse | Failed
TO_WORKER = msgspec.msgpack.Decoder(ToWorker)
FROM_WORKER = msgspec.msgpack.Decoder(FromWorker)
_ENCODER = msgspec.msgpack.Encoder()
T = TypeVar("T")


def pack(message: ToWorker | FromWorker) -> bytes:
    """One message as a frame: its length (32 bits, big-endian), then msgpack."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Unpacker(Generic[T]):
    """Frames out of a byte stream that arrives in pieces of any size."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[T]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def push(self, data: bytes) -> list[T]:
        """Take the next bytes; return the messages that are complete now. Raises msgspec.DecodeError on rubbish."""
        self._buffer += data
        messages: list[T] = []
        position = 0
        while len(self._buffer) - position >= _LENGTH_BYTES:
            begin = position + _LENGTH_BYTES
            end = begin + int.from_bytes(self._buffer[position:begin], "big")
            if len(self._buffer) < end:
                break
            messages.append(self._decoder.decode(bytes(self._buffer[begin:end])))
            position = end
        del self._buffer[:position]
        return messages
