"""Telnyx Media Streaming with `stream_bidirectional_mode=rtp`, sans-I/O. realtime-protocol.md 4.2.

The order of the caller's audio is not guaranteed (`phone_call.Sorter` puts it right). The caller's codec is the
call's own (`start.media_format`); what is sent has that of `stream_bidirectional_codec`: they may differ.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aura.core.wire import phone
from aura.core.wire.phone import Complaint, Digit, Fact, Malformed, Media, Other, Played, Started, Stopped


class _Format(msgspec.Struct):
    encoding: str
    sample_rate: int
    channels: int = 1


class _Start(msgspec.Struct):
    call_control_id: str
    media_format: _Format
    user_id: str = ""
    caller: str = msgspec.field(default="", name="from")
    called: str = msgspec.field(default="", name="to")
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


class _Error(msgspec.Struct):
    code: int | str = ""
    title: str = ""
    detail: str = ""


class _Message(msgspec.Struct):
    event: str
    stream_id: str = ""
    start: _Start | None = None
    media: _Media | None = None
    dtmf: _Dtmf | None = None
    mark: _Mark | None = None
    payload: _Error | None = None


_DECODER = msgspec.json.Decoder(_Message, strict=False)


class Telnyx:
    """One call."""

    vendor = "telnyx"

    def __init__(self) -> None:
        self._started = False

    def read(self, raw: str | bytes) -> Fact:
        """What a message says."""
        message = phone.decoded(_DECODER, raw)
        match message:
            case Malformed():
                return message
            case _Message(event="media", media=_Media(track="inbound" | "inbound_track") as media):
                return Media(media.payload, media.chunk, media.timestamp)
            case _Message(event="mark", mark=_Mark(name)):
                return Played(name)
            case _Message(event="dtmf", dtmf=_Dtmf(digit)):
                return Digit(digit)
            case _Message(event="start", start=_Start() as start):
                return self._begin(message.stream_id, start)
            case _Message(event="stop"):
                return Stopped()
            case _Message(event="error", payload=_Error() as error):
                return Complaint(f"{error.code} {error.title} {error.detail}".strip())
            case _Message(event="start" | "mark" | "dtmf" as event):
                return Malformed(f"{event} without its contents")
        return Other(message.event)

    def _begin(self, stream_id: str, start: _Start) -> Started:
        self._started = True
        form, params = start.media_format, phone.parameters(start.custom_parameters)
        return Started(
            stream_id, start.call_control_id, form.encoding, form.sample_rate, form.channels, params,
            start.user_id, start.caller, start.called,
        )  # fmt: skip

    def play(self, payload: bytes) -> list[str]:
        """Play this after what waits already: 20 ms to 30 s, whole packets."""
        return self._say({"event": "media", "media": {"payload": payload}})

    def checkpoint(self, name: str) -> list[str]:
        """Report when everything up to here was played."""
        return self._say({"event": "mark", "mark": {"name": name}})

    def flush(self) -> list[str]:
        """Throw away what was not played yet."""
        return self._say({"event": "clear"})

    def _say(self, message: dict[str, object]) -> list[str]:
        return phone.text(message) if self._started else []
