"""A recording in one line. Only its journal, and the first and the last line of its tape are read."""

from __future__ import annotations

import mmap
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core import journal, tape
from aura.core.journal import JournalError
from aura.core.tape import TapeError
from aura.storage.tapes import taken_out
from aura.storage.taping import TAPE
from aura.tools.logs.when import moment
from aura.tools.recorded.find import JOURNAL

State = Literal["complete", "running", "cut short", "incomplete"]
"""incomplete: the disk could not follow, or it grew too long. cut short: the server ended first."""

BLOCK = 1 << 18
TAIL = 1 << 16
RUNNING_S = 30.0
"""A conversation that goes on writes at least so often."""
_CALL = re.compile(rb'\{"t":"call"[^\n]*\n')


class Summary(msgspec.Struct):
    """What is known of a recording at a glance."""

    id: str
    """`2026-11-22/sess_0123`: its folder."""
    session: str
    started: str = ""
    length_s: float = 0.0
    turns: int = 0
    interruptions: int = 0
    errors: int = 0
    bytes: int = 0
    """On the disk."""
    state: State = "cut short"
    outcome: str = ""
    """Why the conversation ended."""
    redacted: tuple[str, ...] = ()
    words: str = ""
    """What the user said in the first turn."""
    branch: bool = False
    """It is not what happened but what would have."""
    problem: str = ""
    """What of it cannot be read."""

    @property
    def began(self) -> datetime | None:
        """When, in UTC; None where it cannot be read."""
        return moment(self.started)


def summarise(folder: Path, needle: str = "", now: float | None = None) -> Summary | None:
    """Look into a recording. None: `needle` is given, and occurs neither in its id nor in what was said."""
    one = Summary(f"{folder.parent.name}/{folder.name}", folder.name)
    one.bytes = size_of(folder)
    head = _tape(folder, one, time.time() if now is None else now)
    texts = _journal(folder, one)
    if head:
        one.session, one.started = head.session, head.started or one.started
        one.branch = bool(head.from_fact or head.changed)
    if needle:
        needle = needle.casefold()
        told = (one.session, one.id, *texts)
        if not any(needle in text.casefold() for text in told) and needle not in _calls(folder).casefold():
            return None
    return one


def size_of(folder: Path) -> int:
    """Bytes on the disk."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:
        return 0


def _tape(folder: Path, one: Summary, now: float) -> tape.TapeHeader | None:
    path = folder / TAPE
    try:
        with path.open("rb") as file:
            line = file.readline(journal.LINE_MAX)
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            rest = file.read()
            fresh = now - path.stat().st_mtime < RUNNING_S
        head, one.redacted = tape.decode_header(line, TAPE), taken_out(line)
    except OSError as error:
        one.state, one.problem = "incomplete", f"{TAPE}: {error.strerror}"
        return None
    except TapeError as error:
        one.state, one.problem = "incomplete", str(error)
        return None
    last = rest[rest.rfind(b"\n", 0, -1) + 1 :]
    match _note(last) if last != line else None:
        case tape.TapeEnd(why):
            one.state = "cut short" if why == "cut short" else "complete"
            one.outcome = why
        case tape.LostSteps() if last.endswith(b"\n"):
            one.state = "incomplete"
        case _:
            one.state = "running" if fresh else "cut short"
    return head


def _note(line: bytes) -> tape.Line | None:
    try:
        return next(tape.decode([line]), None) if line.startswith(b"{") else None
    except TapeError:
        return None


def _journal(folder: Path, one: Summary) -> list[str]:
    """Count the facts; returns what was said."""
    texts: dict[int, str] = {}
    said: list[str] = []
    try:
        reader = journal.Reader(_blocks(folder / JOURNAL))
        one.session, one.started = reader.header.session, reader.header.started
        for line, piece in reader:
            match piece:
                case list():
                    for entry in piece:
                        _count(entry, one, texts)
                        if isinstance(entry.event, ev.TranscriptReady | ev.SayRequested) and entry.event.text:
                            said.append(entry.event.text)
                case journal.Lost():
                    one.state = "incomplete"
                case journal.Trouble(why=why, cut=cut) if not cut:
                    one.problem = one.problem or f"{JOURNAL}:{line}: {why}"
    except JournalError as error:
        one.problem = one.problem or f"{JOURNAL}:{error.line or 1}: {error}"
    one.words = one.words or next(iter(texts.values()), "")
    return said


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise JournalError(f"cannot be read: {error.strerror}") from None


def _count(entry: journal.Entry, one: Summary, texts: dict[int, str]) -> None:
    event = entry.event
    one.length_s = max(one.length_s, entry.at)
    if isinstance(event, ev.TranscriptReady) and event.text:
        texts[event.reply] = event.text
    elif isinstance(event, ev.SessionClosing):
        one.outcome = event.why
    if entry.verdict == "bug" or (isinstance(event, ev.StageFailed) and entry.verdict != "late"):
        one.errors += 1
    for effect in entry.effects:
        if isinstance(effect, fx.EndTurn):
            one.turns += 1
        elif isinstance(effect, fx.ConfirmTurn) and entry.was == "interrupted":
            one.interruptions += 1
        elif isinstance(effect, fx.Respond) and not one.words:
            one.words = texts.get(effect.reply, "")


def _calls(folder: Path) -> str:
    """What the engines were asked for: every sentence that was spoken, every text that was typed."""
    try:
        with (folder / TAPE).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            lines = [found[0] for found in _CALL.finditer(data)]
        return "\n".join(line.text for line in tape.decode(lines) if isinstance(line, tape.Call))
    except (OSError, ValueError, TapeError):  # ValueError: it is empty
        return ""
