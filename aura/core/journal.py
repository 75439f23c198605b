"""The journal of a session: a header, then one fact with its consequences per JSON line.

Written while the session runs, read to explain it and to run it again: `Reader` takes one of any size piece by piece
and goes on behind what it cannot read, `decode` takes a whole one. What people said stands in fields of type
`Private`; `redact` blanks them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, zip_longest
from typing import Any, TypeVar

import msgspec

from aura.core.effects import AnyEffect
from aura.core.errors import AuraError
from aura.core.events import AnyEvent

VERSION = 2


LINE_MAX = 8 * 1024 * 1024
"""No line of a journal is longer, in bytes."""


class JournalError(AuraError):
    """A line of a journal cannot be read; the message names it, and so does `line` (0: it is not about one line)."""

    code = "journal_error"

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Header(msgspec.Struct, frozen=True, rename={"version": "aura_journal"}):
    """The first line."""

    session: str
    started: str
    """Wall-clock time in UTC, ISO 8601: for people, no decision depends on it."""
    settings: dict[str, Any] = {}
    """What the session was set up with, without secrets."""
    version: int = VERSION
    tenant: str = ""
    """Whom the conversation belongs to, where the client's address says it (`?tenant=`)."""


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

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line raises."""

S = TypeVar("S", bound=msgspec.Struct)


def encode(line: Entry | Header | Lost) -> bytes:
    """One line, with its line end."""
    return _encoder.encode(line) + b"\n"


# ---- reading


class Trouble(msgspec.Struct, frozen=True):
    """A place in a journal that cannot be taken as it stands."""

    line: int
    why: str
    cut: bool = False
    """It is the last line and has no line end: whoever wrote it was stopped there."""


Piece = list[Entry] | Lost | Trouble
"""Entries that stand on consecutive lines, or what stands there instead."""


class Reader:
    """A journal, read piece by piece from blocks of bytes of any size: `header`, then pieces with the line of each.

    Raises JournalError when the first line is not the header of a journal that this AURA reads. What comes after it
    never raises: it is a `Trouble`, also when `blocks` raises a JournalError (a file that cannot be read on).
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        head = bytearray()
        for block in self._blocks:
            head += block
            if b"\n" in block or len(head) > LINE_MAX:
                break
        if not head.strip():
            raise JournalError("it is empty")
        line, _, rest = bytes(head).partition(b"\n")
        self.header = _header(line)
        self._blocks = chain([rest], self._blocks)

    def __iter__(self) -> Iterator[tuple[int, Piece]]:
        line = 2
        for block in self._whole_lines():
            if isinstance(block, Trouble):
                yield line, msgspec.structs.replace(block, line=line)
                return
            yield from _pieces(block, line)
            line += block.count(b"\n")

    def _whole_lines(self) -> Iterator[bytes | Trouble]:
        """The blocks again, but none ends inside a line except the last."""
        begun = bytearray()
        try:
            for block in self._blocks:
                end = block.rfind(b"\n") + 1
                if end:
                    yield bytes(begun) + block[:end]
                    begun.clear()
                begun += block[end:]
                if len(begun) > LINE_MAX:
                    yield Trouble(0, f"the line is longer than {LINE_MAX >> 20} MB")
                    return
        except JournalError as error:
            yield Trouble(0, str(error), cut=True)
        else:
            if begun:
                yield bytes(begun)


def decode(data: bytes) -> Journal:
    """Read a journal. Raises JournalError for an unusable line, unless it is the last one and has no line end."""
    try:
        reader = Reader([data])
    except JournalError as error:
        raise JournalError(f"journal line {error.line or 1} cannot be read: {error}", error.line) from None
    entries: list[Entry] = []
    lost, truncated = 0, ""
    for line, piece in reader:
        match piece:
            case list():
                entries += piece
            case Lost():
                lost += piece.lines
            case Trouble():
                message = f"journal line {line} cannot be read: {piece.why}"
                if not piece.cut:
                    raise JournalError(message, line)
                truncated = message
    return Journal(reader.header, tuple(entries), lost, truncated)


class _Version(msgspec.Struct, frozen=True):
    aura_journal: int


_versions = msgspec.json.Decoder(_Version)


def _header(line: bytes) -> Header:
    try:
        version = _versions.decode(line).aura_journal
    except UNREADABLE:
        raise JournalError(_stranger(line), 1) from None
    if version != VERSION:
        age, cure = ("an older", "use that one") if version < VERSION else ("a newer", "update this one")
        raise JournalError(f"written by {age} AURA (format {version}), this one reads {VERSION}: {cure}", 1)
    try:
        return _headers.decode(line)
    except UNREADABLE as error:
        raise JournalError(_why(error), 1) from None


def _stranger(line: bytes) -> str:
    """Why a first line is no header, as helpfully as can be."""
    try:
        _entries.decode(line)
    except UNREADABLE:
        pass
    else:
        return "the header is missing: the first line is already a fact"
    if line.startswith(b"{") and b'"aura_tape":' in line:
        return "this is the tape of a recording: name its folder, or the journal.jsonl in it"
    if line.startswith(b"{") and b'"level":' in line and b'"event":' in line:
        return "this is a log, not a journal: `aura logs` reads it"
    return "not a journal of AURA"


def _pieces(block: bytes, first: int) -> Iterator[tuple[int, Piece]]:
    """The lines of a block that begins with line `first`."""
    if _LOSS not in block:
        try:
            entries = _entries.decode_lines(block)
        except UNREADABLE:
            pass
        else:
            if len(entries) == block.count(b"\n") + (not block.endswith(b"\n")):  # else: blank lines
                yield first, entries
                return
    entries, begin = [], first
    lines = block.split(b"\n")
    for number, line in enumerate(lines, first):
        piece = _one(line, number, cut=number == first + len(lines) - 1)
        if isinstance(piece, Entry):
            begin = begin if entries else number
            entries.append(piece)
            continue
        if entries:
            yield begin, entries
            entries = []
        if piece:
            yield number, piece
    if entries:
        yield begin, entries


def _one(line: bytes, number: int, *, cut: bool) -> Entry | Lost | Trouble | None:
    """One line; None for a blank one."""
    if not line.strip():
        return None
    try:
        return _losses.decode(line) if line.startswith(_LOSS) else _entries.decode(line)
    except UNREADABLE as error:
        why = f"the line is cut off ({error})" if cut else _why(error)
        if b'"aura_journal":' in line:
            why = "another journal begins here: take them apart"
        return Trouble(number, why, cut)


def _why(error: Exception) -> str:
    unknown = re.match(r"Invalid value '(.*)' - at `\$\.(event|effects)\b.*type`", str(error))
    if unknown:
        return f"unknown {unknown[2].removesuffix('s')} '{unknown[1]}'"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


# ---- comparing


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
