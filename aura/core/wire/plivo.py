"""Plivo Audio Streaming (`<Stream bidirectional="true">`), sans-I/O. realtime-protocol.md 4.3.

Both directions have the format of the stream's `contentType`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aura.core.wire import phone
from aura.core.wire.phone import Complaint, Digit, Fact, Flushed, Malformed, Media, Other, Played, Started, Stopped


class _Format(msgspec.Struct, rename="camel"):
    encoding: str = "audio/x-mulaw"
    sample_rate: int = 8_000


class _Start(msgspec.Struct, rename="camel"):
    call_id: str
    stream_id: str
    account_id: int | str = ""
    media_format: _Format = msgspec.field(default_factory=_Format)


class _Media(msgspec.Struct):
    payload: bytes
    track: str = "inbound"
    chunk: int = -1
    timestamp: int = -1


class _Dtmf(msgspec.Struct):
    digit: str


class _Message(msgspec.Struct):
    event: str
    start: _Start | None = None
    media: _Media | None = None
    dtmf: _Dtmf | None = None
    name: str | None = None
    reason: str = ""
    extra_headers: Any = None


_DECODER = msgspec.json.Decoder(_Message, strict=False)


class Plivo:
    """One call."""

    vendor = "plivo"

    def __init__(self) -> None:
        self._stream_id, self._format = "", _Format()

    def read(self, raw: str | bytes) -> Fact:
        """What a message says."""
        message = phone.decoded(_DECODER, raw)
        match message:
            case Malformed():
                return message
            case _Message(event="media", media=_Media(track="inbound") as media):
                return Media(media.payload, media.chunk, media.timestamp)
            case _Message(event="playedStream", name=str(name)):
                return Played(name)
            case _Message(event="clearedAudio"):
                return Flushed()
            case _Message(event="dtmf", dtmf=_Dtmf(digit)):
                return Digit(digit)
            case _Message(event="start", start=_Start() as start):
                return self._begin(start, phone.parameters(message.extra_headers))
            case _Message(event="stop"):
                return Stopped()
            case _Message(event="playFailed" | "error" as event):
                return Complaint(f"{event} {message.reason}".strip())
            case _Message(event="start" | "playedStream" | "dtmf" as event):
                return Malformed(f"{event} without its contents")
        return Other(message.event)

    def _begin(self, start: _Start, params: dict[str, str]) -> Started:
        form = self._format = start.media_format
        self._stream_id = start.stream_id
        account = str(start.account_id)
        return Started(start.stream_id, start.call_id, form.encoding, form.sample_rate, 1, params, account)

    def play(self, payload: bytes) -> list[str]:
        """Play this after what waits already."""
        form = self._format
        media = {"contentType": form.encoding, "sampleRate": form.sample_rate, "payload": payload}
        return self._say({"event": "playAudio", "media": media})

    def checkpoint(self, name: str) -> list[str]:
        """Report when everything up to here was played."""
        return self._say({"event": "checkpoint", "streamId": self._stream_id, "name": name})

    def flush(self) -> list[str]:
        """Throw away what was not played yet."""
        return self._say({"event": "clearAudio", "streamId": self._stream_id})

    def _say(self, message: dict[str, object]) -> list[str]:
        return phone.text(message) if self._stream_id else []
