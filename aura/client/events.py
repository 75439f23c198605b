"""What a call tells: the events of the Realtime protocol, AURA's own, and the client's.

Shapes: realtime-protocol.md 1.5-1.7 and DESIGN.md 4. Unknown types become `Other`, unknown keys are ignored: a newer
server must not break an older client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base; `at` is the time of arrival (Trio's clock, seconds), `type` the name on the wire."""

    at: float = 0.0
    type: str = ""


class SessionCreated(Event, frozen=True, kw_only=True):
    """The first event: the session as the server made it."""

    session: dict[str, Any]


class SessionUpdated(SessionCreated, frozen=True, kw_only=True):
    """The session after a change."""


class SpeechStarted(Event, frozen=True, kw_only=True):
    """The server hears the user."""

    item_id: str = ""
    audio_start_ms: int = 0
    """Where that began in the audio that was sent."""


class SpeechStopped(Event, frozen=True, kw_only=True):
    """The user's turn is over."""

    item_id: str = ""


class UserSaid(Event, frozen=True, kw_only=True):
    """What the recogniser understood."""

    item_id: str = ""
    transcript: str = ""


class ReplyCreated(Event, frozen=True, kw_only=True):
    """A reply is being made."""

    response: dict[str, Any] = {}


class ReplyText(Event, frozen=True, kw_only=True):
    """More of the reply's words (written, or spoken in the audio)."""

    item_id: str = ""
    delta: str = ""
    anew: bool = False
    """After a lost connection: the words so far, once more; they replace what came before."""


class ReplyAudio(Event, frozen=True, kw_only=True):
    """More of the reply's sound, 16-bit PCM."""

    item_id: str
    pcm: bytes
    voiced: bool


class _AudioDelta(msgspec.Struct, frozen=True):
    """Reply audio in JSON. With an empty delta: the binary messages that follow belong to this item."""

    delta: bytes
    item_id: str = ""


class ReplyDone(Event, frozen=True, kw_only=True):
    """The reply is complete, cancelled, cut or failed."""

    response: dict[str, Any]

    @property
    def status(self) -> str:
        """completed, cancelled, incomplete or failed."""
        return str(self.response.get("status", ""))


class ItemDone(Event, frozen=True, kw_only=True):
    """An entry of the conversation is final; also the answer to a question for it."""

    item: dict[str, Any]

    @property
    def text(self) -> str:
        """Its words, as far as the server shows them."""
        parts = self.item.get("content") or ()
        return " ".join(filter(None, (part.get("transcript") or part.get("text") for part in parts)))


class Fault(Event, frozen=True, kw_only=True):
    """The server could not obey a message, or something failed."""

    error: dict[str, Any] = {}

    @property
    def message(self) -> str:
        """For people."""
        return str(self.error.get("message", "the server reports an error"))


class State(Event, frozen=True, kw_only=True):
    """AURA: the conversation's state machine moved."""

    was: str = ""
    now: str = ""
    cause: str = ""


class Hold(Event, frozen=True, kw_only=True):
    """AURA: fall silent, keep the audio."""


class Resume(Event, frozen=True, kw_only=True):
    """AURA: go on playing, from this position of the item's audio."""

    item_id: str = ""
    from_ms: int = 0


class Reconnecting(Event, frozen=True, kw_only=True):
    """Of the client itself: the connection is lost and will be made again."""

    code: int = 1006
    reason: str = ""


class Resumed(Event, frozen=True, kw_only=True):
    """There is a connection again."""

    same: bool = True
    """The same session goes on; else a new one has been told what was said before."""
    gap_s: float = 0.0
    """How long there was none."""
    lost_audio_s: float = 0.0
    """Microphone audio that was too old to be kept."""
    input_bytes: int | None = None
    """AURA: how much of the microphone's audio the server had taken."""
    items: list[dict[str, Any]] = []
    """AURA: the end of the conversation as it stands."""


class Flush(Event, frozen=True, kw_only=True):
    """AURA: throw unplayed audio away; the server reckons that so much of the item was heard."""

    item_id: str = ""
    heard_ms: int = 0


class TurnMetrics(Event, frozen=True, kw_only=True):
    """AURA: where the time of a turn went."""

    turn: int = 0
    metrics: dict[str, Any] = {}
    ms: dict[str, float | None] = {}

    @property
    def stages(self) -> dict[str, float]:
        """Milliseconds by stage; the names are the server's."""
        given = self.metrics.get("ms") or self.ms
        return {stage: float(ms) for stage, ms in given.items() if isinstance(ms, (int, float))}


class Other(Event, frozen=True, kw_only=True):
    """Any other event."""

    data: dict[str, Any]


TYPES: dict[str, type[Event]] = {
    "session.created": SessionCreated,
    "session.updated": SessionUpdated,
    "input_audio_buffer.speech_started": SpeechStarted,
    "input_audio_buffer.speech_stopped": SpeechStopped,
    "conversation.item.input_audio_transcription.completed": UserSaid,
    "conversation.item.done": ItemDone,
    "conversation.item.retrieved": ItemDone,
    "response.created": ReplyCreated,
    "response.output_audio_transcript.delta": ReplyText,
    "response.output_text.delta": ReplyText,
    "response.done": ReplyDone,
    "error": Fault,
    "aura.state": State,
    "aura.playout.hold": Hold,
    "aura.playout.resume": Resume,
    "aura.playout.flush": Flush,
    "aura.resumed": Resumed,
    "aura.turn.metrics": TurnMetrics,
}
AUDIO_DELTA = "response.output_audio.delta"


class _Head(msgspec.Struct, frozen=True):
    type: str = ""


_HEAD = msgspec.json.Decoder(_Head)
_BY_TYPE = {name: msgspec.json.Decoder(kind) for name, kind in TYPES.items()}
_DELTA = msgspec.json.Decoder(_AudioDelta)


class Decoder:
    """Messages of one connection to events; remembers which item the binary audio belongs to."""

    def __init__(self, voiced: Callable[[bytes], bool]) -> None:
        self._voiced, self._item_id = voiced, ""

    def decode(self, raw: str | bytes, at: float) -> Event | None:
        """The event, or None for what only announces audio. Raises ValueError for what is no event at all."""
        if isinstance(raw, bytes):
            return ReplyAudio(at=at, item_id=self._item_id, pcm=raw, voiced=self._voiced(raw))
        kind = _HEAD.decode(raw).type
        if kind == AUDIO_DELTA:
            audio = _DELTA.decode(raw)
            self._item_id = audio.item_id
            if not audio.delta:
                return None
            return ReplyAudio(at=at, item_id=audio.item_id, pcm=audio.delta, voiced=self._voiced(audio.delta))
        known = _BY_TYPE.get(kind)
        event = known.decode(raw) if known else Other(type=kind, data=msgspec.json.decode(raw))
        msgspec.structs.force_setattr(event, "at", at)
        return event
