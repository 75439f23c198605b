"""The journal of a session: a header, then one fact with its consequences per JSON line.

Written while the session runs, read to explain it and to run it again. What people said stands in fields of type
`Private`; `redact` blanks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import zip_longest
from typing import Any, TypeVar

import msgspec

from aura.core.effects import AnyEffect
from aura.core.errors import AuraError
from aura.core.events import AnyEvent

VERSION = 1


class JournalError(AuraError):
    """A line of a journal cannot be read; the message names it."""

    code = "journal_error"


class Header(msgspec.Struct, frozen=True, rename={"version": "aura_journal"}):
    """The first line."""

    session: str
    started: str
    """Wall-clock time in UTC, ISO 8601: for people, no decision depends on it."""
    settings: dict[str, Any] = {}
    """What the session was set up with, without secrets."""
    version: int = VERSION


class Entry(msgspec.Struct, frozen=True):
    """One fact as it passed through the session's one door."""

    n: int
    """Number of the fact, from 1."""
    at: float
    """Seconds since the session began."""
    event: AnyEvent
    was: str
    """State before."""
    now: str
    """State after."""
    effects: tuple[AnyEffect, ...] = ()
    verdict: str = "move"


class Lost(msgspec.Struct, frozen=True, tag_field="type", tag="journal_lines_lost"):
    """Stands where the disk could not take so many lines."""

    lines: int


class Journal(msgspec.Struct, frozen=True):
    """A journal as far as it can be read."""

    header: Header
    entries: tuple[Entry, ...]
    lost: int = 0
    """Lines missing in the middle."""
    truncated: str = ""
    """Why the last line could not be read (a crash while it was written), or empty."""


class Divergence(msgspec.Struct, frozen=True):
    """Where two journals part."""

    index: int
    field: str
    """The differing part of the entry; `length` when one journal ends here."""
    left: Any
    right: Any


_encoder = msgspec.json.Encoder()
_entries = msgspec.json.Decoder(Entry)
_headers = msgspec.json.Decoder(Header)
_losses = msgspec.json.Decoder(Lost)
_LOSS = b'{"type":"journal_lines_lost"'

S = TypeVar("S", bound=msgspec.Struct)


def encode(line: Entry | Header | Lost) -> bytes:
    """One line, with its line end."""
    return _encoder.encode(line) + b"\n"


def decode(data: bytes) -> Journal:
    """Read a journal. Raises JournalError for an unusable line, unless it is the last one and has no line end."""
    lines = data.split(b"\n")
    tail = lines.pop()
    header = _line(_headers, lines[0] if lines else tail, 1)
    if header.version != VERSION:
        raise JournalError(f"journal version {header.version} is not known to this AURA (it reads {VERSION})")
    entries: list[Entry] = []
    lost = 0
    for number, line in enumerate(lines[1:], 2):
        if line.startswith(_LOSS):
            lost += _line(_losses, line, number).lines
        elif line:
            entries.append(_line(_entries, line, number))
    truncated = ""
    if tail and lines:
        try:
            entries.append(_line(_entries, tail, len(lines) + 1))
        except JournalError as error:
            truncated = str(error)
    return Journal(header, tuple(entries), lost, truncated)


T = TypeVar("T")


def _line(decoder: msgspec.json.Decoder[T], line: bytes, number: int) -> T:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JournalError(f"journal line {number} cannot be read: {error}") from None


def first_divergence(left: Iterable[Entry], right: Iterable[Entry], ignore: Sequence[str] = ()) -> Divergence | None:
    """Where two runs first differ, or None. `ignore` names fields of an entry that need not agree."""
    fields = [name for name in Entry.__struct_fields__ if name not in ignore]
    for index, (a, b) in enumerate(zip_longest(left, right)):
        if a is None or b is None:
            return Divergence(index, "length", a, b)
        for name in fields:
            if (x := getattr(a, name)) != (y := getattr(b, name)):
                return Divergence(index, name, x, y)
    return None


# ---- privacy


def redact(item: S) -> S:
    """The same event or effect with its private fields blank."""
    changes = {name: blank(getattr(item, name)) for name, blank in _private_fields(type(item))}
    return msgspec.structs.replace(item, **changes) if changes else item


@cache
def _private_fields(kind: type[msgspec.Struct]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """The fields that hold private text, directly or inside, and how to blank them."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return tuple((field.name, _blank) for field in info.fields if _holds_private(field.type))


def _holds_private(kind: msgspec.inspect.Type) -> bool:
    match kind:
        case msgspec.inspect.Metadata(type=inner, extra_json_schema=extra):
            return bool(extra and extra.get("private")) or _holds_private(inner)
        case msgspec.inspect.UnionType(types=types):
            return any(_holds_private(inner) for inner in types)
        case msgspec.inspect.VarTupleType(item_type=inner) | msgspec.inspect.ListType(item_type=inner):
            return _holds_private(inner)
        case msgspec.inspect.StructType(fields=fields):
            return any(_holds_private(field.type) for field in fields)
        case _:
            return False


def _blank(value: Any) -> Any:
    match value:
        case str():
            return ""
        case msgspec.Struct():
            return redact(value)
        case tuple() | list():
            return type(value)(_blank(inner) for inner in value)
        case _:
            return value
