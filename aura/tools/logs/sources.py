"""What to read and in which order: files, folders, standard input; plain, gzipped, rotated."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

import msgspec

from aura.tools.logs.lines import blocks
from aura.tools.logs.problems import Problems

STDIN = "-"
READ = re.compile(r"\.(jsonl|ndjson|log)([.-][\w.:+-]*)?$")
"""Names of the files in a folder that are read: `x.jsonl`, `x.log`, `x.log.1`, `x.log-20260301.gz`."""
NOT_READ = frozenset({"tape.jsonl", "tape.jsonl.gz"})
RECORDINGS = "recordings"
_STEM = re.compile(r"(.*?)\.(?:jsonl|ndjson|log)\b.*$")
PEEKED_BYTES, PEEKED_LINES = 1 << 16, 50

Kind = Literal["journal", "log", "stream"]


class Source(msgspec.Struct, frozen=True):
    """One file, or standard input."""

    name: str
    """As the user knows it."""
    path: Path | None
    kind: Kind
    first: str = ""
    """Its first line with a time: what puts rotated files into their order."""
    size: int = 0

    @property
    def stem(self) -> str:
        """The session, as far as the name tells."""
        path = Path(self.name)
        found = _STEM.match(path.name)
        stem = found[1] if found else path.name
        return path.absolute().parent.name if stem == "journal" else stem

    @property
    def family(self) -> str:
        """The same for a log and its rotated predecessors."""
        found = re.match(r"(.*?\.log)\b", self.name)
        return found[1] if found else self.name

    @property
    def recorded(self) -> bool:
        """Whether it lies in the folder of a recording."""
        return Path(self.name).name == "journal.jsonl"

    def open(self) -> IO[bytes]:
        """Begin to read. Raises OSError."""
        return sys.stdin.buffer if self.path is None else self.path.open("rb", buffering=0)


def find(arguments: Sequence[str | Path], problems: Problems) -> list[Source]:
    """The sources that are meant, in the order in which they are to be read; each file once."""
    found: dict[Path | None, Source] = {}
    for argument in map(str, arguments):
        if argument == STDIN:
            found[None] = Source("(stdin)", None, "stream")
            continue
        path = Path(argument)
        files = list(_inside(path, problems)) if path.is_dir() else [path]
        if not files:
            problems.add(argument, 0, "no logs or journals in this folder")
        for file in files:
            if source := _looked_at(file, problems, quiet=path.is_dir()):
                found.setdefault(file.resolve(), source)
    journals = [source for source in found.values() if source.kind == "journal"]
    logs = sorted((source for source in found.values() if source.kind == "log"), key=lambda source: source.first)
    streams = [source for source in found.values() if source.kind == "stream"]
    return [*without_copies(logs), *journals, *streams]


def wanted(name: str) -> bool:
    """Whether a file in a folder is one to read."""
    return name not in NOT_READ and READ.search(name) is not None


def without_copies(logs: list[Source]) -> list[Source]:
    """Logs that begin with the same line are the same log (one may be packed, or a copy): the longer is read."""
    longest: dict[str, Source] = {}
    for source in logs:
        key = source.first or source.name
        known = longest.get(key)
        if known is None or _length(source) > _length(known):
            longest[key] = source
    return list(longest.values())


def _length(source: Source) -> float:
    return source.size * (10.0 if source.name.endswith(".gz") else 1.0)


def _inside(folder: Path, problems: Problems) -> Iterator[Path]:
    def complain(error: OSError) -> None:
        problems.add(str(error.filename), 0, f"cannot be read ({error.strerror})")

    for here, folders, names in os.walk(folder, onerror=complain):
        folders.sort()
        yield from (Path(here) / name for name in sorted(names) if wanted(name))


def _looked_at(path: Path, problems: Problems, *, quiet: bool) -> Source | None:
    """What a file is, seen from its beginning; None (and a problem) where it cannot be read."""
    name = str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe can be read only once
            return Source(name, path, "stream")
        with path.open("rb", buffering=0) as file:
            head = next(blocks(file, lambda *_: None, PEEKED_BYTES), b"")
    except OSError as error:
        problems.add(
            name, 0, "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        )
        return None
    if not head:
        if status.st_size:  # a broken archive says so when it is read
            return Source(name, path, "stream", "", status.st_size)
        if not quiet or not path.name.endswith(".log"):  # a log is empty after its rotation
            problems.add(name, 0, "is empty")
        return None
    lines = head.split(b"\n", PEEKED_LINES)[:PEEKED_LINES]
    if b'"aura_journal"' in lines[0] or lines[0].startswith((b'{"session":', b'{"n":')):
        return Source(name, path, "journal", size=status.st_size)
    first = next((line[at:] for line in lines if (at := line.find(b'"time":')) >= 0), b"")
    return Source(name, path, "log", first.decode(errors="replace"), status.st_size)
