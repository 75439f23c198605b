"""Phone calls over a WebSocket: the vocabulary that the vendors' protocols share (realtime-protocol.md 4).

A vendor's codec (`twilio.py`, `telnyx.py`, `plivo.py`) turns each of its messages into one fact and each of three
verbs into messages. There is no verb for hanging up: the end of the WebSocket ends the stream, and the call itself is
ended by the vendor's REST API (`providers/phone_calls.py`).
"""

from __future__ import annotations

import re
from typing import Any, Protocol, TypeVar

import msgspec

from aura.core.audio import MAX_RATE_HZ, MIN_RATE_HZ, AudioFormat

FRAME_MS = 20
"""Telephone networks carry audio in packets of this length."""
_ENCODINGS = {
    "audio/x-mulaw": "pcmu",
    "pcmu": "pcmu",
    "audio/x-alaw": "pcma",
    "pcma": "pcma",
    "audio/x-l16": "pcm16",
    "l16": "pcm16",
}
_PAIR = re.compile(r"\s*(?:X-PH-)?([\w.-]+)\s*[=:]\s*(.*?)\s*", re.IGNORECASE)


# ---- facts: what the vendor says


class Started(msgspec.Struct, frozen=True):
    """The stream of a call begins. `encoding` and `rate_hz` are of the caller's audio, as the vendor calls them."""

    stream_id: str
    call_id: str
    encoding: str
    rate_hz: int
    channels: int = 1
    params: dict[str, str] = {}
    """What the operator passes along: TwiML `<Parameter>`, Telnyx `custom_parameters`, Plivo `extraHeaders`."""
    account: str = ""
    caller: str = ""
    called: str = ""

    def audio(self) -> AudioFormat | None:
        """The format of the caller's audio; None where AURA cannot read it."""
        return audio_format(self.encoding, self.rate_hz) if self.channels == 1 else None


class Media(msgspec.Struct, frozen=True):
    """Audio of the caller."""

    payload: bytes
    chunk: int = -1
    """Its number in the stream; -1 where the vendor gives none."""
    timestamp_ms: int = -1
    """When it was said, since some moment of the vendor's; -1 where it gives none."""


class Digit(msgspec.Struct, frozen=True):
    """The caller pressed a key: 0-9, *, # or A-D."""

    digit: str


class Played(msgspec.Struct, frozen=True):
    """All audio before the checkpoint of this name was played, or thrown away."""

    name: str


class Flushed(msgspec.Struct, frozen=True):
    """The audio that was waiting has been thrown away."""


class Stopped(msgspec.Struct, frozen=True):
    """The call is over, or its stream is."""


class Complaint(msgspec.Struct, frozen=True):
    """The vendor did not like something that it was sent."""

    text: str


class Other(msgspec.Struct, frozen=True):
    """Something that is of no use here."""

    event: str


class Malformed(msgspec.Struct, frozen=True):
    """Not a message of the protocol."""

    why: str


Fact = Started | Media | Digit | Played | Flushed | Stopped | Complaint | Other | Malformed


class PhoneCodec(Protocol):
    """One call's side of a vendor's protocol. Before `Started` was read its verbs make no messages."""

    @property
    def vendor(self) -> str:
        """The vendor's name, as in the path and the settings."""
        ...

    def read(self, raw: str | bytes) -> Fact:
        """What a message says. Never raises."""
        ...

    def play(self, payload: bytes) -> list[str]:
        """Play this after what waits already."""
        ...

    def checkpoint(self, name: str) -> list[str]:
        """Report when everything up to here was played."""
        ...

    def flush(self) -> list[str]:
        """Throw away what was not played yet."""
        ...


# ---- what the codecs share


def audio_format(encoding: str, rate_hz: int) -> AudioFormat | None:
    """The format that a vendor's name means; None for one that AURA cannot read (Opus, AMR-WB, G.722).

    L16 is little-endian at both vendors that have it, unlike RTP's (RFC 3551): so Telnyx's own realtime-ai-demo and
    Plivo's own agent-transport read and write it.
    """
    known = _ENCODINGS.get(encoding.partition(";")[0].strip().lower())
    if known == "pcm16":
        return AudioFormat("pcm16", rate_hz) if MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ else None
    if known is None or rate_hz != 8_000:
        return None
    return AudioFormat("pcmu" if known == "pcmu" else "pcma", 8_000)


def silence(fmt: AudioFormat, ms: float) -> bytes:
    """Digital silence of that length."""
    return {"pcmu": b"\xff", "pcma": b"\xd5", "pcm16": b"\0"}[fmt.encoding] * fmt.bytes_for(ms)


def parameters(given: Any) -> dict[str, str]:
    """The operator's parameters in any of the shapes in which vendors hand them on; whatever else comes is left out.

    A table; a list of `{"name", "value"}` (Telnyx); or a text: `k=v;k=v`, `k=v,k=v`, a JSON object or `{k: v, k: v}`
    (all four are seen from Plivo), with the `X-PH-` that Plivo puts in front of names.
    """
    if isinstance(given, str):
        return _from_text(given)
    if isinstance(given, list):
        rows = [row for row in given if isinstance(row, dict) and isinstance(row.get("name"), str)]
        given = {row["name"]: row.get("value") for row in rows}
    if not isinstance(given, dict):
        return {}
    plain = {key: value for key, value in given.items() if isinstance(value, str | int | float)}
    return {key.removeprefix("X-PH-"): str(value) for key, value in plain.items()}


def _from_text(text: str) -> dict[str, str]:
    text = text.strip()
    if text.startswith("{"):
        try:
            return parameters(msgspec.json.decode(text, type=dict[str, Any]))
        except (msgspec.DecodeError, RecursionError):
            text = text.strip("{}")
    pieces = re.split(r"[;,]", text)
    return {found[1]: found[2] for piece in pieces if (found := _PAIR.fullmatch(piece))}


M = TypeVar("M")


def decoded(decoder: msgspec.json.Decoder[M], raw: str | bytes) -> M | Malformed:
    """A vendor's message, or what is wrong with it. The text is not quoted: it may hold a phone number."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        return Malformed(str(error))
    except (ValueError, RecursionError):  # not JSON, lone surrogates, absurd nesting
        return Malformed("not JSON")


def text(message: dict[str, object]) -> list[str]:
    """A message to the vendor."""
    return [msgspec.json.encode(message).decode()]
