"""Lines of any kind to conversations: which line it is, whose it is, and what is wrong with it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal

import msgspec

from aura.core.journal import VERSION
from aura.tools.logs import shapes
from aura.tools.logs.fold import QUIET
from aura.tools.logs.fold_journal import JournalFold
from aura.tools.logs.fold_log import CUT_SHORT, LogFold, process_error
from aura.tools.logs.model import ErrorRow
from aura.tools.logs.problems import Problems, excerpt
from aura.tools.logs.shapes import UNREADABLE, Head, LogLine
from aura.tools.logs.when import moment

LOG, ENTRY, LOSS = b'{"time":', b'{"n":', b'{"type":"journal_lines_lost"'
TIME_AT = slice(9, 28)
"""Where a log line has its time, to the second."""
SLACK_S = 1.0
"""Threads may write their lines this much out of order."""
IN_JOURNAL, HEAD = re.compile(re.escape(ENTRY)), b'"aura_journal"'
"""What only a journal has (a pattern is found faster than the same bytes, which nearly occur everywhere)."""
NEW_SERVER = b'"event":"server.listening"'
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
NO_LOG = "not a line of a log or journal"

Keep = Literal["none", "one", "all"]
"""Whose facts are kept: nobody's, those of the only conversation there is, everybody's."""


class Wanted(msgspec.Struct, frozen=True):
    """What need not even be decoded when it is something else."""

    session: str = ""
    """How the session's id begins, with or without its `sess_`."""
    since: datetime | None = None
    """Older log lines are left out (a journal is read whole: it is one conversation)."""

    def has(self, session: str) -> bool:
        """Whether a conversation is looked for."""
        return session.startswith((self.session, f"sess_{self.session}"))


class Book:
    """All conversations that were met so far."""

    def __init__(
        self,
        problems: Problems,
        keep: Keep = "none",
        wanted: Wanted = Wanted(),  # noqa: B008
        *,
        detail: bool = True,
    ) -> None:
        self.problems, self.wanted = problems, wanted
        self.logs: dict[str, LogFold] = {}
        self.journals: dict[str, list[JournalFold]] = {}
        self.process_errors: list[ErrorRow] = []
        """Trouble that belongs to no conversation."""
        self._keep, self._detail = keep, detail
        self._open: dict[str, list[LogFold]] = {}

    def log(self, session: str, file: str, family: str) -> LogFold:
        """The conversation that log lines with this id belong to."""
        fold = self.logs.get(session)
        if fold is None:
            fold = self.logs[session] = LogFold(session, file, keep=self._keeps(session), detail=self._detail)
            self._open.setdefault(family, []).append(fold)
        return fold

    def journal(self, head: Head, file: str, *, recorded: bool) -> JournalFold:
        """A journal begins."""
        fold = JournalFold(head, file, keep=self._keeps(head.session), detail=self._detail, recorded=recorded)
        self.journals.setdefault(head.session, []).append(fold)
        return fold

    def server_began(self, family: str) -> None:
        """A new process writes to this log: what the one before had not ended is over."""
        for fold in self._open.pop(family, []):
            if fold.row.outcome == "running":
                fold.row.outcome = CUT_SHORT

    def forget(self, session: str) -> None:
        """A conversation that is over need not be kept (a log may be followed for weeks)."""
        self.journals.pop(session, None)
        gone = self.logs.pop(session, None)
        for folds in self._open.values() if gone else ():
            folds[:] = [fold for fold in folds if fold is not gone]

    def _keeps(self, session: str) -> bool:
        if self._keep == "one" and (self.logs.keys() | self.journals.keys()) - {session}:
            self._keep = "none"
            for fold in [*self.logs.values(), *(fold for folds in self.journals.values() for fold in folds)]:
                fold.keep = False
                fold.row.facts.clear()
        return self._keep != "none"


class Reader:
    """Reads the lines of one file into the book."""

    def __init__(self, book: Book, file: str, *, family: str = "", stem: str = "", recorded: bool = False) -> None:
        self.book, self.file, self.family, self.stem, self.recorded = book, file, family or file, stem, recorded
        self.number = 0
        """Of the line that is read."""
        self._time = ""
        self._journal: JournalFold | None = None
        self._skips = False
        """Entries belong to a journal that is not wanted or not readable."""
        self._needle = book.wanted.session.removeprefix("sess_").encode()
        self._since = f"{book.wanted.since:%Y-%m-%dT%H:%M:%S}".encode() if book.wanted.since else b""

    def take(self, number: int, lines: list[bytes]) -> None:
        """Read complete lines; `number` is that of the first."""
        book, needle, since, decode = self.book, self._needle, self._since, shapes.log_line.decode
        logs, last = book.logs, self._time
        for at, line in enumerate(lines, number):
            if line.startswith(LOG):
                if (since and line[TIME_AT] < since) or (needle and needle not in line and NEW_SERVER not in line):
                    continue
                try:
                    told = decode(line)
                except UNREADABLE:
                    self.number = at
                    self._odd_log_line(line)
                    continue
                time, session = told.time, told.session
                if time < last:
                    self.number = at
                    self._backwards(last, time)
                last = time
                fold = logs.get(session) if session else None
                if fold is None or fold.keep:
                    self.number = at
                    self._log(told, line)
                elif not (told.event in QUIET and fold.quiet(told)) and (wrong := fold.line(told)):
                    self.number = at
                    self.wrong(wrong)
            elif line:
                self.number = at
                (self._entry if line.startswith(ENTRY) else self._other)(line)
        self._time = last

    def ignores(self, data: bytes) -> bool:
        """Whether nothing in a stretch of a file is of interest: it need not even be cut into lines."""
        if not self._needle and not self._since:
            return False
        if IN_JOURNAL.search(data) or HEAD in data:
            return False
        if self._needle and self._needle not in data and NEW_SERVER not in data:
            return True
        last = data.rfind(LOG)
        time = data[last + TIME_AT.start : last + TIME_AT.stop]
        return bool(self._since) and last >= 0 and len(time) == len(self._since) and time < self._since

    def end(self, number: int, rest: bytes) -> None:
        """The file is over; `rest` is what follows its last line end."""
        self.number = number
        if rest.startswith(b"{") and not _is_json(rest):
            self.wrong("cut short in the middle of its last line")
        elif rest.strip():
            self.take(number, [rest])

    def wrong(self, kind: str, detail: str = "") -> None:
        """The line that is being read has something wrong with it."""
        self.book.problems.add(self.file, self.number, kind, detail)

    # ---- lines of a log

    def _log(self, told: LogLine, line: bytes) -> None:
        """The slower way, for a line of no conversation, of a new one, or of one whose facts are kept."""
        session, book = told.session, self.book
        if not session:
            if told.event == "server.listening":
                book.server_began(self.family)
            elif told.level in ("error", "critical"):
                book.process_errors.append(process_error(told))
            return
        if not book.wanted.has(session):
            return
        fold = book.log(session, self.file, self.family)
        if wrong := fold.line(told):
            self.wrong(wrong)
        if fold.keep and told.was and told.elapsed_ms is not None:
            moved = (told.was, told.now or "", told.verdict or ("move" if told.was != told.now else "stay"))
            tells = shapes.log_fields(self._whole(line))
            fold.keep_fact(told.elapsed_ms / 1000, told.event, len(fold.row.facts) + 1, moved, tells)

    def _odd_log_line(self, line: bytes) -> None:
        """A line that begins as one of the log: broken, or a library's whose fields mean something else."""
        try:
            fields = shapes.anything.decode(line)
        except UNREADABLE:
            self._unreadable(line)
            return
        self._foreign(fields, line)

    def _foreign(self, fields: Any, line: bytes) -> None:
        if isinstance(fields, dict) and isinstance(fields.get("event"), str) and isinstance(fields.get("time"), str):
            self._log(shapes.lenient(fields), line)
            return
        self.wrong(NO_LOG, f": {excerpt(line)}")

    def _backwards(self, last: str, time: str) -> None:
        before, now = moment(last), moment(time)
        if before and now and (before - now).total_seconds() > SLACK_S:
            self.wrong("the clock runs backwards", f": {time} after {last}")

    # ---- lines of a journal, and what is neither

    def _other(self, line: bytes) -> None:
        if line.startswith(LOSS):
            self._loss(line)
        elif HEAD in line:
            self._head(line)
        elif line.strip():
            self._neither(line)

    def _head(self, line: bytes) -> None:
        self._journal, self._skips = None, True
        try:
            head = shapes.head.decode(line)
        except UNREADABLE as error:
            self.wrong("the journal's first line cannot be read", f" ({error})")
            return
        if head.version != VERSION:
            whose = "an older" if head.version < VERSION else "a newer"
            self.wrong(f"a journal of format {head.version}, by {whose} AURA: not read (this one reads {VERSION})")
            return
        if self.book.wanted.has(head.session):
            self._skips = False
            self._journal = self.book.journal(head, self.file, recorded=self.recorded)

    def _entry(self, line: bytes) -> None:
        if self._skips:
            return
        if self._journal is None:
            self.wrong("the journal has no first line: its session is taken from the file's name")
            head = Head(self.stem or self.file, VERSION)
            self._skips = not self.book.wanted.has(head.session)
            if self._skips:
                return
            self._journal = self.book.journal(head, self.file, recorded=self.recorded)
        try:
            entry = shapes.journal_line.decode(line)
        except UNREADABLE as error:
            if isinstance(error, msgspec.ValidationError):
                self.wrong("an entry cannot be read", f" ({error})")
            else:
                self._unreadable(line)
            return
        fold = self._journal
        for kind, detail in fold.entry(entry):
            self.wrong(kind, detail)
        if fold.keep:
            fields = self._whole(line)
            tells = {name: value for name, value in fields.get("event", {}).items() if name != "type"}
            tells["effects"] = fields.get("effects") or []
            fold.keep_fact(entry.at, entry.event.type, entry.n, (entry.was, entry.now, entry.verdict), tells)

    def _loss(self, line: bytes) -> None:
        try:
            lost = shapes.loss.decode(line).lines
        except UNREADABLE:
            self._unreadable(line)
        else:
            if self._journal:
                self._journal.lost(lost)

    def _neither(self, line: bytes) -> None:
        inside = line.find(LOG)
        if inside > 0:  # what collects logs puts a time or a container's name before each line
            self.take(self.number, [line[inside:]])
            return
        try:
            fields = shapes.anything.decode(line.removeprefix(b"\xef\xbb\xbf"))
        except UNREADABLE:
            self._unreadable(line)
            return
        if isinstance(fields, dict) and {"n", "at", "event"} <= fields.keys():
            self._entry(line)
        elif isinstance(fields, dict) and "aura_tape" in fields:
            self.wrong("the tape of a recording: the journal beside it is what is read here")
            self._skips = True
        elif not (self._skips and isinstance(fields, list)):
            self._foreign(fields, line)

    def _whole(self, line: bytes) -> dict[str, Any]:
        """All of a line that was read in part already; what nobody looked at may still be broken."""
        try:
            return dict(shapes.anything.decode(line))
        except UNREADABLE:
            self._unreadable(line)
            return {}

    def _unreadable(self, line: bytes) -> None:
        if BINARY.search(line) or not _is_text(line):
            self.wrong("no text (binary or not UTF-8), skipped", f": {excerpt(line)}")
        elif line.startswith((LOG, ENTRY)):
            self.wrong("a broken line, skipped", f": {excerpt(line)}")
        else:
            self.wrong(NO_LOG, f": {excerpt(line)}")


def _is_json(line: bytes) -> bool:
    try:
        shapes.anything.decode(line)
    except UNREADABLE:
        return False
    return True


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
