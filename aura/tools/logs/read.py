"""Sources to rows: the whole of the reading in one call."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from aura.tools.logs.collect import Book, Keep, Reader, Wanted
from aura.tools.logs.lines import Cutter, blocks
from aura.tools.logs.merge import rows
from aura.tools.logs.model import ConversationRow, ErrorRow
from aura.tools.logs.problems import Problems
from aura.tools.logs.sources import Source, find

Progress = Callable[[str, int], None]
"""Told which source is being read and how many more of its bytes (unpacked) were."""


class Found(msgspec.Struct):
    """What was read."""

    rows: list[ConversationRow]
    """In the order in which the conversations began."""
    process_errors: list[ErrorRow]
    """Trouble that belongs to no conversation."""
    problems: Problems
    bytes: int = 0


def read(
    sources: Sequence[str | Path],
    *,
    keep: Keep = "none",
    detail: bool = True,
    wanted: Wanted = Wanted(),  # noqa: B008  (frozen)
    now: datetime | None = None,
    progress: Progress | None = None,
    problems: Problems | None = None,
) -> Found:
    """Read logs and journals (files, folders, `-`) as far as they can be read; `Found.problems` tells the rest.

    Facts are kept where `keep` says so, moves and counts of events unless `detail` is off.
    """
    problems, total = Problems() if problems is None else problems, 0
    book = Book(problems, keep, wanted, detail=detail)
    with no_collector():
        for source in find(sources, problems):
            for size in pour(source, book, problems):
                total += size
                if progress:
                    progress(source.name, size)
        found = rows(book, now or datetime.now(UTC))
    return Found(found, book.process_errors, problems, total)


def pour(source: Source, book: Book, problems: Problems) -> Iterator[int]:
    """Read one source into the book; yields the size of each block."""
    reader = Reader(book, source.name, family=source.family, stem=source.stem, recorded=source.recorded)
    broken = False

    def trouble(line: int, what: str) -> None:
        nonlocal broken
        broken = broken or not line
        problems.add(source.name, line, what)

    cutter = Cutter(trouble)
    try:
        with source.open() as stream:
            for block in blocks(stream, trouble):
                if reader.ignores(cutter.rest + block):
                    cutter.jump(block)
                else:
                    lines = cutter.cut(block)
                    reader.take(cutter.number, lines)
                    cutter.number += len(lines)
                yield len(block)
    except OSError as error:
        problems.add(source.name, 0, f"cannot be read ({error.strerror or error})")
    if not broken:
        reader.end(cutter.number, cutter.rest)


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the garbage collector: a million rows are alive and none of them is in a circle."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
