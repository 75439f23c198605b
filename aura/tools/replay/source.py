"""Where a journal comes from: a file (compressed or not), standard input, a recording's folder, a conversation's id."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import cast

import msgspec

from aura.core.journal import JournalError, Reader, Trouble

JOURNAL = "journal.jsonl"
"""Name of the journal in the folder of a recording."""
BLOCK_BYTES = 128 * 1024
"""Read at once. Larger blocks are slower: what they decode to no longer fits the caches."""
SHOWN_MAX = 5
"""So many conversations are named where an id could mean any of them."""


class Source(msgspec.Struct, frozen=True):
    """A journal that was found."""

    name: str
    """As a user would write it."""
    path: Path | None = None
    """None: standard input."""

    def error(self, why: str, line: int = 0) -> JournalError:
        """What is wrong with it, and where."""
        return JournalError(f"{self.name}:{line}: {why}" if line else f"{self.name}: {why}", line)

    def trouble(self, trouble: Trouble) -> JournalError:
        """The same of something that reading it met."""
        return self.error(trouble.why, trouble.line)


def find(where: str, data_dir: Path) -> Source:
    """The journal that `where` names: `-`, a file, a recording's folder, or (the beginning of) a conversation's id.

    Raises JournalError where there is none, or more than one.
    """
    if where == "-":
        return Source("standard input")
    path = Path(where)
    try:
        if where and path.is_dir():
            return _in_folder(path)
        if where and path.exists():
            return Source(where, path)
    except OSError as error:
        raise JournalError(f"{where}: cannot be read: {error.strerror}") from None
    if not where or path.name != where:
        raise JournalError(f"{where or '(no name)'}: there is no such file or folder")
    return _by_id(where, data_dir)


def _in_folder(folder: Path) -> Source:
    for name in (JOURNAL, f"{JOURNAL}.gz"):
        if (folder / name).is_file():
            return Source(str(folder / name), folder / name)
    why = "it holds a tape" if (folder / "tape.jsonl").is_file() else "name the folder of one recording"
    raise JournalError(f"{folder}: there is no {JOURNAL} in this folder; {why}")


def _by_id(ident: str, data_dir: Path) -> Source:
    """A conversation by its id or the beginning of it; its recording, where there is one, else its journal."""
    found: dict[str, Path] = {}
    for path in [*_days(data_dir / "journals"), *_days(data_dir / "recordings")]:
        name = path.name.removesuffix(".gz").removesuffix(".jsonl")
        if name.startswith(ident):
            found[name] = path
    if not found:
        raise JournalError(f"{ident}: there is no such file, and {data_dir} holds no conversation of this name")
    if len(found) > 1 and ident not in found:
        some = ", ".join(sorted(found)[:SHOWN_MAX]) + (", …" if len(found) > SHOWN_MAX else "")
        raise JournalError(f"{ident}: {len(found)} conversations begin like this: {some}")
    path = found.get(ident) or next(iter(found.values()))
    return _in_folder(path) if path.is_dir() else Source(str(path), path)


def _days(folder: Path) -> Iterator[Path]:
    """What lies in the folders of all days."""
    try:
        for day in sorted(folder.iterdir()):
            if day.is_dir():
                yield from sorted(day.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError(f"{folder}: cannot be read: {error.strerror}") from None


def read(source: Source, seen: Callable[[int], None] | None = None) -> Reader:
    """Begin to read a journal; `seen` is told how many bytes of it are done (as they lie on the disk).

    Raises JournalError when it is no journal of this AURA.
    """
    try:
        return Reader(_blocks(source, seen))
    except JournalError as error:
        raise source.error(str(error), error.line) from None


def _blocks(source: Source, seen: Callable[[int], None] | None) -> Iterator[bytes]:
    """The bytes of a journal, uncompressed. Raises JournalError where they cannot be had."""
    try:
        if source.path is None:
            yield from _unpacked(cast("BufferedReader", sys.stdin.buffer), None)
        else:
            with source.path.open("rb") as file:
                yield from _unpacked(file, seen)
    except EOFError:
        raise JournalError("the compressed data ends too early") from None
    except (gzip.BadGzipFile, zlib.error):
        raise JournalError("the compressed data is damaged") from None
    except OSError as error:
        raise JournalError(f"cannot be read: {error.strerror or error}") from None


def _unpacked(file: BufferedReader, seen: Callable[[int], None] | None) -> Iterator[bytes]:
    packed = file.peek(2)[:2] == b"\x1f\x8b"
    plain: gzip.GzipFile | BufferedReader = gzip.GzipFile(fileobj=file) if packed else file
    while block := plain.read1(BLOCK_BYTES):
        yield block
        if seen:
            seen(file.tell())
