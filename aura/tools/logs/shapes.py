"""Lines of logs and journals as they are read: flat, with no more fields than are used, so that a line is decoded once.

`core/journal.py` has the full and strict shapes, which a replay needs. Here an event of another version is no reason
to refuse a line.
"""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin

import msgspec

from aura.core import events as ev

FACTS = frozenset(kind.__name__ for kind in ev.EVENTS)

Number = float | None


class LogLine(msgspec.Struct, gc=False):
    """A line of the structured log. The fields stand in the order in which lines have them: so they are found fast."""

    time: str = ""
    level: str | None = ""
    event: str = ""
    turn: int | None = 0
    was: str | None = ""
    now: str | None = ""
    elapsed_ms: Number = None
    verdict: str | None = ""
    # facts (class Fact)
    reply: int | None = 0
    stage: str | None = ""
    silence_ms: Number = 0
    heard_ms: Number = 0
    kind: str | None = ""
    text: str | None = ""
    why: str | None = ""
    voiced_ms: Number = 0
    held_ms: Number = 0
    needed_ms: Number = 0
    said: str | None = None
    echo_share: Number = 0.0
    # turn.times
    draft: bool | None = False
    ms: dict[str, float | str | None] | None = None
    # provider.call
    part: str | None = ""
    provider: str | None = ""
    total_ms: Number = 0.0
    outcome: str | None = ""
    ttfb_ms: Number = None
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cached_tokens: int | None = 0
    chars: int | None = 0
    audio_s: Number = 0.0
    model: str | None = ""
    cost_usd: Number = None
    # lines that tell of trouble
    code: str | int | None = ""
    error: Any = None
    message: Any = None
    exception: Any = None
    tenant: str | None = ""
    session: str | None = ""


class Fact(msgspec.Struct, gc=False):
    """The event of a journal's entry: all kinds in one shape."""

    type: str
    at_ms: Any = None
    reply: int | None = 0
    stage: str | None = ""
    silence_ms: Number = 0
    heard_ms: Number = 0
    kind: str | None = ""
    text: str | None = ""
    why: str | None = ""
    voiced_ms: Number = 0
    held_ms: Number = 0
    needed_ms: Number = 0
    said: str | None = None
    echo_share: Number = 0.0
    code: str | int | None = ""
    provider: str | None = ""


Told = Fact | LogLine
"""What both tell of a fact, under the same names."""


class Order(msgspec.Struct, gc=False):
    """An effect of a journal's entry."""

    type: str
    reply: int = 0
    turn: int = 0
    source: str = ""
    draft: bool = False


class JournalLine(msgspec.Struct, gc=False):
    """An entry of a journal."""

    n: int
    at: float
    event: Fact
    was: str
    now: str
    effects: list[Order] = []
    verdict: str = "move"


class Head(msgspec.Struct, rename={"version": "aura_journal"}):
    """The first line of a journal."""

    session: str
    version: int
    started: str = ""
    tenant: str = ""


class Loss(msgspec.Struct):
    """Stands where a journal misses lines."""

    lines: int


log_line = msgspec.json.Decoder(LogLine)
journal_line = msgspec.json.Decoder(JournalLine)
head = msgspec.json.Decoder(Head)
loss = msgspec.json.Decoder(Loss)
anything = msgspec.json.Decoder()

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for a bad line. A line of the right syntax and the wrong types is a ValidationError too."""


def lenient(fields: dict[str, Any]) -> LogLine:
    """A line as far as its fields have the right types: other libraries' lines use the same names for other things."""
    fits: dict[str, Any] = {
        name: value for name, kind in _KINDS.items() if _is(value := fields.get(name), kind) and name in fields
    }
    return LogLine(**fits)


_KINDS: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(LogLine)}


def _is(value: object, kind: Any) -> bool:
    if kind is Any:
        return True
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(_is(value, inner) for inner in get_args(kind))
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, origin or kind)


STRAY = ("time", "level", "event", "session", "turn", "was", "now", "elapsed_ms", "verdict")


def log_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """What a fact's line tells beyond what every line has."""
    return {name: value for name, value in fields.items() if name not in STRAY}
