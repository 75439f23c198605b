"""A recording's two files, as far as they can be read. Nothing here raises for what is in them: it is told in lines.

Files are read in small blocks with a breath between them: the thread that does it shares the interpreter with
conversations, which would otherwise get it a few times a second only.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from aura.core import journal, tape
from aura.core.journal import JournalError
from aura.core.tape import TapeError
from aura.storage.taping import TAPE

JOURNAL = "journal.jsonl"
BLOCK = 1 << 16
BREATH_S = 0.0002
_never = threading.Event()
READ_MAX = 512 << 20
"""No file is read beyond this, in bytes."""
TROUBLES_MAX = 8


class Troubles:
    """What cannot be read, one line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._left_out = 0

    def add(self, line: str) -> None:
        """Note one, unless there are many already."""
        if len(self.lines) < TROUBLES_MAX:
            self.lines.append(line)
        else:
            self._left_out += 1

    def all(self) -> list[str]:
        """The lines, with a count of those left out."""
        return [*self.lines, *([f"and {self._left_out} more"] if self._left_out else [])]


def blocks(path: Path, troubles: Troubles) -> Iterator[bytes]:
    """A file from its beginning, up to `READ_MAX`."""
    read = 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block
                _never.wait(BREATH_S)
                read += len(block)
                if read >= READ_MAX:
                    troubles.add(f"{path.name}: longer than {READ_MAX >> 20} MB: the rest is not shown")
                    return
    except OSError as error:
        troubles.add(f"{path.name}: {error.strerror}")


def read_journal(folder: Path, troubles: Troubles) -> tuple[journal.Header | None, list[journal.Entry]]:
    """The facts; no header where there is no journal that can be read."""
    path = folder / JOURNAL
    entries: list[journal.Entry] = []
    if not path.is_file():
        troubles.add(f"{JOURNAL} is missing: states, decisions and times of turns are not known")
        return None, entries
    try:
        reader = journal.Reader(blocks(path, troubles))
    except JournalError as error:
        troubles.add(f"{JOURNAL}:{error.line or 1}: {error}")
        return None, entries
    for line, piece in reader:
        match piece:
            case list():
                entries += piece
            case journal.Lost():
                troubles.add(f"{JOURNAL}:{line}: {piece.lines} lines are missing here: the disk was too slow for them")
            case journal.Trouble() if piece.cut:
                troubles.add(f"{JOURNAL}:{line}: it breaks off here, as after a crash")
            case journal.Trouble():
                troubles.add(f"{JOURNAL}:{line}: cannot be read: {piece.why}")
    return reader.header, entries


def lines(path: Path, troubles: Troubles) -> Iterator[tuple[int, list[bytes]]]:
    """Batches of whole lines, each with the number of its first one. The last line of all may lack its end."""
    number, rest = 1, b""
    for block in blocks(path, troubles):
        *whole, rest = (rest + block).split(b"\n")
        if whole:
            yield number, whole
            number += len(whole)
        if len(rest) > journal.LINE_MAX:
            troubles.add(f"{path.name}:{number}: the line is longer than {journal.LINE_MAX >> 20} MB")
            return
    if rest:
        yield number, [rest + b"\0"]


CUT = b"\0"
"""Stands at the end of a last line that has no line end."""

_steps = msgspec.json.Decoder(tape.Step)
_notes = msgspec.json.Decoder(tape.AnyNote)
_AUDIO = re.compile(rb'\[([0-9.e+-]+),[0-9]+,\{"t":"audio","bytes":([0-9]+),"format":"([a-z0-9]+\.[0-9]+)"[^{}]*\}\]$')
"""Half of all lines with an outcome, so they are read in a shorter way."""


class _Streams(dict[bytes, str]):
    """Names of streams by their format."""

    def __missing__(self, form: bytes) -> str:
        name = self[form] = f"in.{form.decode()}"
        return name


_STREAMS = _Streams()


class Sink(Protocol):
    """Takes what stands on a tape; times are seconds since the conversation began."""

    def audio(self, at: float, size: int, stream: str) -> None:
        """Bytes of the user's audio."""
        ...

    def take(self, at: float, line: tape.Line) -> None:
        """Another outcome, or a note."""
        ...


def read_tape(folder: Path, troubles: Troubles, sink: Sink) -> tuple[tape.TapeHeader | None, float]:
    """The tape's header, and the conversation's length.

    Times count from the first step, in which the conversation began: those of the journal do, too. Steps without an
    outcome, which are most lines, are skipped.
    """
    path = folder / TAPE
    if not path.is_file():
        troubles.add(f"{TAPE} is missing: there are no calls, no words of the assistant and no times of the audio")
        return None, 0.0
    batches = lines(path, troubles)
    number, batch = next(batches, (1, [b""]))
    try:
        header = tape.decode_header(batch[0], TAPE)
    except TapeError as error:
        troubles.add(str(error))
        return None, 0.0
    scan = _Scan(troubles, sink)
    scan.batch(number + 1, batch[1:])
    for number, batch in batches:
        scan.batch(number, batch)
    return header, scan.now()


def read_head(folder: Path) -> tape.TapeHeader | None:
    """The tape's header alone; None where it cannot be read."""
    try:
        with (folder / TAPE).open("rb") as file:
            return tape.decode_header(file.readline(journal.LINE_MAX), TAPE)
    except (OSError, TapeError):
        return None


class _Scan:
    """Goes over the lines of a tape."""

    def __init__(self, troubles: Troubles, sink: Sink) -> None:
        self._troubles, self._sink = troubles, sink
        self._plain = b""
        """The last line, if it tells nothing but the time: that is only read when somebody asks."""
        self._began: float | None = None
        self._last = 0.0

    def now(self) -> float:
        """Time of the last step."""
        if self._plain:
            line, self._plain = self._plain, b""
            try:
                self._advance(float(line[1 : line.index(b",")]), 0)
            except ValueError:
                self._troubles.add(f"{TAPE}: cannot be read: {line[:60]!r}")
        return self._last

    def _advance(self, at: float, number: int) -> float:
        if self._began is None:
            self._began = at
        now = round(at - self._began, 6)
        if now < self._last:  # it goes on from where it was
            where = f":{number}" if number else ""
            self._troubles.add(f"{TAPE}{where}: the clock runs backwards by {self._last - now:.3f} s")
            self._began, now = at - self._last, self._last
        self._last = now
        return now

    def batch(self, number: int, batch: list[bytes]) -> None:
        """Take some lines, the first of which has this number. Most tell nothing but the time: these cost little."""
        plain = -1
        for index, line in enumerate(batch):
            if line[-5:] == b"null]" or line[-8:] == b'"done"}]':
                plain = index
                if self._began is None:
                    self._plain = line
                    self.now()
            elif line:
                if line[:1] != b"[" and plain >= 0:
                    self._plain = batch[plain]
                plain = -1
                if found := _AUDIO.match(line):
                    self._audio(number + index, *found.groups())
                else:
                    self._line(number + index, line)
        if plain >= 0:
            self._plain = batch[plain]

    def _audio(self, number: int, at: bytes, size: bytes, form: bytes) -> None:
        self._plain = b""
        try:
            self._sink.audio(self._advance(float(at), number), int(size), _STREAMS[form])
        except ValueError as error:
            self._troubles.add(f"{TAPE}:{number}: cannot be read: {error}")

    def _line(self, number: int, line: bytes) -> None:
        try:
            if line[:1] == b"[":
                step = _steps.decode(line)
                self._plain = b""
                now = self._advance(step.at, number)
                if step.outcome is not None:
                    self._sink.take(now, step)
            else:
                self._sink.take(self.now(), _notes.decode(line))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            if line.endswith(CUT):
                self._troubles.add(f"{TAPE}:{number}: it breaks off here, as after a crash")
            else:
                self._troubles.add(f"{TAPE}:{number}: cannot be read: {error}")
