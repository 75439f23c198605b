"""The tape of a recorded conversation: everything that reached it from outside, in the order in which it went on.

A conversation is a set of tasks of which one runs at a time. All that can differ between two runs of the same code
is the order in which the tasks go on, the time at which each does, and what came from outside: messages of the client,
items and errors of the engines. The tape holds exactly that. Its first line is a `TapeHeader`; then every line is

    [at, task]            the task went on at this time (seconds of the session's clock, absolute)
    [at, task, outcome]   the same, out of a call to the outside, with what the call gave
    {"t": …}              something to look at or to compare with: messages to the client, calls that began

Audio is not on the tape but beside it, one file per stream and format (`in.pcm16.24000`): the tape says how many bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from aura.core.errors import AuraError
from aura.core.ports import ChatItem, HearingEvent, SpeechChunk, Tool, ToolOutcome, Transcript, WordTime

VERSION = 1
CUT = -1
"""Stands for a task in the step at which the whole conversation was cancelled from outside."""


class TapeError(AuraError):
    """A tape cannot be read; the message names the line."""

    code = "tape_error"


class TapeHeader(msgspec.Struct, frozen=True, rename={"version": "aura_tape"}):
    """The first line."""

    session: str
    started: str
    """Wall-clock time in UTC, ISO 8601."""
    base: float
    """The session's clock when the conversation began; all times on the tape are on this clock."""
    settings: dict[str, Any]
    """All sections of the configuration that a conversation is built from; no secrets."""
    query: dict[str, str] = {}
    """What the client asked for in its address."""
    engines: dict[str, str] = {}
    """Name of the engine that answered for each part: stt, chat, tts, backup_tts."""
    tools: tuple[Tool, ...] = ()
    software: str = ""
    """Version of AURA that made it."""
    from_fact: int = 0
    """A branch had `settings` up to this fact, and `changed` from there on."""
    changed: dict[str, Any] = {}
    patch: dict[str, Any] = {}
    """The session configuration that the client's secret carried."""
    expires_at: int = 0
    """When the session was to end, Unix seconds."""
    version: int = VERSION


# ---- what a call to the outside gave ----------------------------------------------------------------------------


class Outcome(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of all results."""


class Text(Outcome, frozen=True, tag="text"):
    """A message of the client that is not audio."""

    text: str


class Audio(Outcome, frozen=True, tag="audio"):
    """Audio of the client: the next bytes of the stream `in`, in this format."""

    bytes: int
    format: str
    binary: bool = False
    event_id: str | None = None


class Gone(Outcome, frozen=True, tag="gone"):
    """The connection ended."""

    why: str


class Lost(Outcome, frozen=True, tag="lost_line"):
    """The connection broke off; the client may come back."""

    why: str


class Back(Outcome, frozen=True, tag="back"):
    """The client is back on a new connection."""

    item_id: str = ""
    """What it was playing when it came back, where it says so."""
    played_ms: int = 0


class Interrupted(Outcome, frozen=True, tag="interrupted"):
    """Nothing could be sent: the connection was lost."""


class Done(Outcome, frozen=True, tag="done"):
    """It worked, there is nothing to tell."""


class Heard(Outcome, frozen=True, tag="heard"):
    """What the recogniser understood."""

    transcript: Transcript


class Noticed(Outcome, frozen=True, tag="noticed"):
    """What the recogniser noticed while the user spoke; None: it will notice nothing more."""

    event: HearingEvent | None = None


class Item(Outcome, frozen=True, tag="item"):
    """What the model sent."""

    item: ChatItem


class Sound(Outcome, frozen=True, tag="sound"):
    """What the voice sent: the next bytes of the stream `voice`, PCM16 at this rate."""

    bytes: int
    rate_hz: int
    words: tuple[WordTime, ...] = ()


class HostCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tool asked of the conversation: to say something later, or (`cancels` counts from 1) not to."""

    after_s: float = 0.0
    text: str = ""
    cancels: int = 0


class ToolDone(Outcome, frozen=True, tag="tool"):
    """A tool's result."""

    text: str
    host: tuple[HostCall, ...] = ()
    outcome: ToolOutcome = "ok"


class Stop(Outcome, frozen=True, tag="stop"):
    """A stream ended."""


class Failed(Outcome, frozen=True, tag="failed"):
    """An engine failed; `code` is that of the ProviderError."""

    code: str
    message: str
    provider: str = ""
    retry_after_s: float | None = None
    spent: bool = False
    """Whether all that could be tried had been tried, though it is an error that a second try may cure."""


class Crashed(Outcome, frozen=True, tag="crashed"):
    """Something else was raised: a bug."""

    error: str


class Cancelled(Outcome, frozen=True, tag="cancelled"):
    """Nobody wanted it any more, or its time was over."""


class RawMessage(Outcome, frozen=True):
    """A message of the client before it is put on the tape as `Text` or `Audio`."""

    message: str | bytes


class RawSound(Outcome, frozen=True):
    """Audio of a voice before it is put on the tape as `Sound`."""

    chunk: SpeechChunk


AnyOutcome = (
    Text
    | Audio
    | Gone
    | Lost
    | Back
    | Interrupted
    | Done
    | Heard
    | Noticed
    | Item
    | Sound
    | ToolDone
    | Stop
    | Failed
    | Crashed
    | Cancelled
)


class Step(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A task went on."""

    at: float
    task: int
    outcome: AnyOutcome | None = None


# ---- what is there to look at and to compare with ---------------------------------------------------------------


class Note(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True):
    """Base of all notes."""


class Sent(Note, frozen=True, tag="sent"):
    """A message to the client that is not audio."""

    text: str


class SentAudio(Note, frozen=True, tag="sent_audio"):
    """Audio to the client: the next bytes of the stream `out`, in this format."""

    bytes: int
    format: str
    digest: str
    """Hash of the whole message (`digest`)."""
    item: str = ""
    """Id of the item it belongs to."""


class Call(Note, frozen=True, tag="call"):
    """A task calls an engine; the outcomes that follow for this task are its answers, until `Left`."""

    task: int
    part: str
    """stt, chat, tts or tool."""
    provider: str
    digest: str = ""
    """Hash of the request."""
    text: str = ""
    """The last message (chat), the sentence (tts), the arguments (tool), seconds of audio (stt)."""


class Left(Note, frozen=True, tag="left"):
    """The call is over."""

    task: int
    outcome: str
    """ok, cancelled or the error's code."""


class LostSteps(Note, frozen=True, tag="lost"):
    """From here on the tape is missing: it could not be written as fast as the conversation went on."""


class TapeEnd(Note, frozen=True, tag="end"):
    """The conversation ended, and the tape is complete."""

    why: str


AnyNote = Sent | SentAudio | Call | Left | LostSteps | TapeEnd
Line = Step | AnyNote

_encoder = msgspec.json.Encoder()
_steps = msgspec.json.Decoder(Step)
_notes = msgspec.json.Decoder(AnyNote)
_headers = msgspec.json.Decoder(TapeHeader)


def encode(lines: Iterable[Line | TapeHeader]) -> bytes:
    """Lines, each with its line end."""
    return _encoder.encode_lines(lines)


def decode_header(line: bytes, where: str = "tape.jsonl") -> TapeHeader:
    """The first line. Raises TapeError."""
    try:
        header = _headers.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TapeError(f"{where}:1: this is no tape of an AURA conversation") from None
    if header.version != VERSION:
        raise TapeError(
            f"{where}:1: written in format {header.version}, this AURA reads {VERSION}: replay it with the version "
            f"of AURA that recorded it ({header.software or 'unknown'}), or record anew"
        )
    return header


def decode(lines: Iterable[bytes], where: str = "tape.jsonl") -> Iterator[Line]:
    """The lines after the first. A broken last line without a line end (a crash) ends the tape like `LostSteps`.

    Raises TapeError naming the line that cannot be read, or at which the clock runs backwards.
    """
    last = float("-inf")
    for number, line in enumerate(lines, 2):
        try:
            if line[:1] == b"[":
                step = _steps.decode(line)
                if step.at < last:
                    raise TapeError(f"{where}:{number}: the clock runs backwards ({step.at} after {last})")
                last = step.at
                yield step
            elif line.strip():
                yield _notes.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not line.endswith(b"\n"):
                yield LostSteps()
                return
            raise TapeError(f"{where}:{number}: cannot be read: {error}") from None


def digest(message: str | bytes) -> str:
    """A short hash that tells two messages apart."""
    data = message.encode(errors="surrogatepass") if isinstance(message, str) else message
    return hashlib.blake2b(data, digest_size=8).hexdigest()
