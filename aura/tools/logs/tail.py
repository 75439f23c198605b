"""Reads on as files grow, like `tail -F`: a file may be cut, moved away or appear later; a folder gets new files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from aura.tools.logs.collect import Book, Reader
from aura.tools.logs.lines import BLOCK_BYTES, Cutter
from aura.tools.logs.merge import GIVEN_UP
from aura.tools.logs.problems import LogsError
from aura.tools.logs.sources import STDIN, Source, wanted

HISTORY_BYTES = 4 << 20
"""Of a file that is longer only so much is read before what is new."""
WALK_EVERY = 4
"""Folders are searched for new files at every fourth look."""


class Tail:
    """The end of one file."""

    def __init__(self, path: Path, book: Book, *, whole: bool) -> None:
        self._path, self._book, self._whole = path, book, whole
        self._file: IO[bytes] | None = None
        self._identity = (0, 0)
        self._missed = False
        self._begin(1)

    def poll(self) -> bool:
        """Read what is new; whether there was anything."""
        try:
            now = self._path.stat()
        except OSError:
            now = None
            if not self._file and not self._missed:
                self._missed = True
                self._book.problems.add(str(self._path), 0, "is not there yet: waiting for it")
        grown = self._read()
        if now and stat.S_ISREG(now.st_mode) and (now.st_dev, now.st_ino) != self._identity:
            self._reopen(now)
            return self._read() or grown
        if now and self._file and now.st_size < self._file.tell():  # cut, and written anew
            self._file.seek(0)
            self._begin(1)
            return self._read() or grown
        return grown

    def close(self) -> None:
        """Read no further."""
        if self._file:
            self._file.close()
            self._file = None

    def _begin(self, number: int) -> None:
        name = str(self._path)
        source = Source(name, self._path, "log")
        self._reader = Reader(self._book, name, family=source.family, stem=source.stem, recorded=source.recorded)
        self._cutter = Cutter(lambda line, what: self._book.problems.add(name, line, what))
        self._cutter.number = number

    def _reopen(self, now: os.stat_result) -> None:
        first = not any(self._identity)
        if self._file:
            self._reader.end(self._cutter.number, self._cutter.rest)
        self.close()
        self._identity = (now.st_dev, now.st_ino)
        try:
            self._file = self._path.open("rb", buffering=0)
        except OSError as error:
            self._book.problems.add(str(self._path), 0, f"cannot be read ({error.strerror})")
            return
        self._begin(1)
        if first and not self._whole and now.st_size > HISTORY_BYTES and self._path.suffix != ".jsonl":
            self._file.seek(now.st_size - HISTORY_BYTES)
            self._cutter.skip_line()

    def _read(self) -> bool:
        grown = False
        while self._file and (block := self._file.read(BLOCK_BYTES)):
            lines = self._cutter.cut(block)
            self._reader.take(self._cutter.number, lines)
            self._cutter.number += len(lines)
            grown = True
        return grown


class Tails:
    """All files that are followed. `whole`: also what they hold already is of interest, however much it is."""

    def __init__(
        self, places: Sequence[str | Path], book: Book, clock: Callable[[], datetime], *, whole: bool = False
    ) -> None:
        if STDIN in map(str, places):
            raise LogsError("--follow reads files and folders; standard input is read to its end without it")
        self._book, self._clock, self._whole = book, clock, whole
        self._places = [Path(place) for place in places]
        self._tails: dict[Path, Tail] = {}
        self._looks = 0

    def poll(self) -> bool:
        """Read what is new in all files; whether there was anything."""
        if self._looks % WALK_EVERY == 0:
            for path in self._paths():
                if path not in self._tails:
                    self._tails[path] = Tail(path, self._book, whole=self._whole)
        self._looks += 1
        grown = [tail.poll() for tail in self._tails.values()]  # all of them, not only up to the first
        return any(grown)

    def close(self) -> None:
        """Read no further."""
        for tail in self._tails.values():
            tail.close()

    def _paths(self) -> Iterator[Path]:
        oldest = (self._clock() - GIVEN_UP).timestamp()
        for place in self._places:
            if place.is_dir():
                yield from _growing(place, oldest)
            else:
                yield place


def _growing(folder: Path, oldest: float) -> Iterator[Path]:
    """Files in a folder that may grow: neither packed nor untouched for long."""
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(here) / name
            try:
                if wanted(name) and not name.endswith(".gz") and path.stat().st_mtime >= oldest:
                    yield path
            except OSError:
                continue
