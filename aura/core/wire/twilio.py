"""Twilio Media Streams (`<Connect><Stream>`), sans-I/O. realtime-protocol.md 4.1.

Twilio writes every number as a text. What it is sent has exactly the fields below: one more is its warning 31951.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aura.core.wire import phone
from aura.core.wire.phone import Digit, Fact, Malformed, Media, Other, Played, Started, Stopped


class _Format(msgspec.Struct, rename="camel"):
    encoding: str
    sample_rate: int
    channels: int = 1


class _Start(msgspec.Struct, rename="camel"):
    stream_sid: str
    call_sid: str
    media_format: _Format
    account_sid: str = ""
    custom_parameters: Any = None


class _Media(msgspec.Struct):
    payload: bytes
    track: str = "inbound"
    chunk: int = -1
    timestamp: int = -1


class _Dtmf(msgspec.Struct):
    digit: str


class _Mark(msgspec.Struct):
    name: str


class _Message(msgspec.Struct):
    event: str
    start: _Start | None = None
    media: _Media | None = None
    dtmf: _Dtmf | None = None
    mark: _Mark | None = None


_DECODER = msgspec.json.Decoder(_Message, strict=False)


class Twilio:
    """One call."""

    vendor = "twilio"

    def __init__(self) -> None:
        self._stream_sid = ""

    def read(self, raw: str | bytes) -> Fact:
        """What a message says."""
        message = phone.decoded(_DECODER, raw)
        match message:
            case Malformed():
                return message
            case _Message(event="media", media=_Media(track="inbound") as media):
                return Media(media.payload, media.chunk, media.timestamp)
            case _Message(event="mark", mark=_Mark(name)):
                return Played(name)
            case _Message(event="dtmf", dtmf=_Dtmf(digit)):
                return Digit(digit)
            case _Message(event="start", start=_Start() as start):
                return self._begin(start)
            case _Message(event="stop"):
                return Stopped()
            case _Message(event="start" | "mark" | "dtmf" as event):
                return Malformed(f"{event} without its contents")
        return Other(message.event)

    def _begin(self, start: _Start) -> Started:
        self._stream_sid = start.stream_sid
        form = start.media_format
        return Started(
            start.stream_sid, start.call_sid, form.encoding, form.sample_rate, form.channels,
            phone.parameters(start.custom_parameters), start.account_sid,
        )  # fmt: skip

    def play(self, payload: bytes) -> list[str]:
        """Play this after what waits already. Raw samples: a WAV header would be heard as a click."""
        return self._say({"event": "media", "streamSid": self._stream_sid, "media": {"payload": payload}})

    def checkpoint(self, name: str) -> list[str]:
        """Report when everything up to here was played."""
        return self._say({"event": "mark", "streamSid": self._stream_sid, "mark": {"name": name}})

    def flush(self) -> list[str]:
        """Throw away what was not played yet; all outstanding marks come back at once."""
        return self._say({"event": "clear", "streamSid": self._stream_sid})

    def _say(self, message: dict[str, object]) -> list[str]:
        return phone.text(message) if self._stream_sid else []
