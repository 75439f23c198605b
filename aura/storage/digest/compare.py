"""Two recordings side by side: where their journals part, and how their settings differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from aura.core.journal import Entry, first_divergence
from aura.storage.digest.reading import Troubles, read_head, read_journal

BEFORE, AFTER = 3, 6
"""Facts shown around the place."""
JITTER_MS = 40
"""Times of two runs that differ by less nearly agree."""


class Fact(msgspec.Struct, frozen=True):
    """One entry of a journal, for people."""

    n: int
    at: float
    event: str
    was: str
    now: str
    fields: dict[str, Any]
    orders: list[str]


class Parting(msgspec.Struct, frozen=True):
    """Where two journals part; `at` is None on a side that is already over there."""

    index: int
    what: str
    """The part of the entry that differs."""
    left_at: float | None
    right_at: float | None
    left: list[Fact]
    right: list[Fact]
    """The facts around it, of each side."""


class Difference(msgspec.Struct, frozen=True):
    """A setting that is not the same."""

    name: str
    left: Any
    right: Any


class Comparison(msgspec.Struct, frozen=True):
    """Two conversations, as far as they differ."""

    identical: bool
    """Whether every fact is the same, to the microsecond."""
    parted: Parting | None
    """The first fact that is another one or leads to something else; times that nearly agree do not count."""
    course: Parting | None
    """The first fact of another kind, or one that was decided otherwise: from here on another conversation is held."""
    settings: list[Difference]
    unreadable: list[str]


def compare(left: Path, right: Path) -> Comparison:
    """Compare two recordings. Never raises for what is in them."""
    troubles = [Troubles(), Troubles()]
    read = [read_journal(folder, mine) for folder, mine in zip((left, right), troubles, strict=True)]
    (_, ours), (_, theirs) = read
    parted = first_divergence(ours, [*map(_steady, theirs, ours), *theirs[len(ours) :]], ignore=("at",))
    pairs = enumerate(zip_longest(ours, theirs))
    other = next((index for index, (mine, yours) in pairs if _course(mine) != _course(yours)), None)
    settings = [
        {**(head.settings if head else {}), **(tape.settings if tape else {}), **(tape.changed if tape else {})}
        for (head, _), tape in zip(read, map(read_head, (left, right)), strict=True)
    ]
    return Comparison(
        first_divergence(ours, theirs) is None,
        _parting(parted.index, parted.field, ours, theirs) if parted else None,
        _parting(other, "course", ours, theirs) if other is not None else None,
        differences(*settings),
        [f"{folder.name}: {line}" for folder, t in zip((left, right), troubles, strict=True) for line in t.all()],
    )


def _steady(entry: Entry, like: Entry) -> Entry:
    """The entry with the other's times where they nearly agree."""
    event, other = entry.event, like.event
    if type(event) is not type(other):
        return entry
    pairs = [(name, getattr(event, name), getattr(other, name)) for name in event.__struct_fields__ if "_ms" in name]
    near = {name: theirs for name, mine, theirs in pairs if abs(mine - theirs) < JITTER_MS}
    return msgspec.structs.replace(entry, event=msgspec.structs.replace(event, **near)) if near else entry


def _course(entry: Entry | None) -> tuple[Any, ...] | None:
    """What of a fact tells which way the conversation takes."""
    if entry is None:
        return None
    orders = tuple(type(order) for order in entry.effects)
    return type(entry.event), entry.was, entry.now, entry.verdict, orders


def _parting(index: int, what: str, left: Sequence[Entry], right: Sequence[Entry]) -> Parting:
    ats = [entries[index].at if index < len(entries) else None for entries in (left, right)]
    around = [[*_facts(entries[max(0, index - BEFORE) : index + AFTER])] for entries in (left, right)]
    return Parting(index, what, ats[0], ats[1], around[0], around[1])


def _facts(entries: Sequence[Entry]) -> Iterator[Fact]:
    for entry in entries:
        fields = msgspec.to_builtins(entry.event)
        orders = [type(order).__name__ for order in entry.effects]
        yield Fact(entry.n, entry.at, fields.pop("type"), entry.was, entry.now, fields, orders)


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[Difference]:
    """Settings that differ, by their dotted names. What only one side knows does not count."""
    ours, theirs = dict(flat(left)), dict(flat(right))
    return [
        Difference(name, value, theirs[name])
        for name, value in ours.items()
        if name in theirs and theirs[name] != value
    ]


def flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as dotted names."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
