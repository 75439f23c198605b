"""Journals on disk: one file of JSON lines per session, `journals/YYYY-MM-DD/<session>.jsonl`.

A conversation must never wait for a disk. `Journal.write` only puts a line into memory; one task per process carries
all lines to their files, in a thread, a batch at a time. A disk that is full or gone costs journal lines, which are
counted and marked in the file, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import trio

from aura.core.errors import ConfigError

log = structlog.get_logger()

HOUR_S = 3600.0
DAY = re.compile(r"\d{4}-\d\d-\d\d")


class StorageSettings(msgspec.Struct, frozen=True):
    """What is kept on disk, where and for how long."""

    data_dir: Path = Path("aura-data")
    """The folder for everything that AURA keeps."""
    record: bool = False
    """Whether journals and logs also hold what people said. Off: they only hold what happened."""
    retention_days: Annotated[float, msgspec.Meta(ge=0, le=36500)] = 14.0
    """Journals of conversations that began longer ago are deleted; 0 keeps them for ever."""
    retention_mb: Annotated[float, msgspec.Meta(ge=0)] = 1024.0
    """Space for all journals together, in megabytes; the oldest are deleted first. 0: no limit."""
    flush_s: Annotated[float, msgspec.Meta(ge=0.01, le=60)] = 0.5
    """Journal lines reach the disk this many seconds after they happened, at most."""
    batch_kb: Annotated[int, msgspec.Meta(ge=1)] = 256
    """Journal lines are written earlier when this many kilobytes wait."""
    buffer_kb: Annotated[int, msgspec.Meta(ge=16)] = 8192
    """Memory for waiting lines of all conversations, in kilobytes; beyond it lines are lost (and counted)."""
    close_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    """When the server ends, the last lines get this many seconds to reach the disk."""


def loss_mark(lines: int) -> bytes:
    """The line that stands in a journal where lines are missing."""
    return msgspec.json.encode({"type": "journal_lines_lost", "lines": lines}) + b"\n"


class Journal:
    """One session's file. Its methods are synchronous, never wait and never raise."""

    __slots__ = ("_journals", "closed", "lost", "path", "waiting")

    def __init__(self, journals: Journals, path: Path) -> None:
        self._journals, self.path = journals, path
        self.waiting: list[bytes] = []
        self.lost = 0
        """Lines dropped since the last one that was taken."""
        self.closed = False

    def write(self, line: bytes) -> None:
        """Take one line, with or without its line end."""
        if self.closed:
            return
        if not line.endswith(b"\n"):
            line += b"\n"
        if not self._take([self._journals.mark(self.lost), line] if self.lost else [line]):
            self.lost += 1
            self._journals.lost_lines += 1

    def close(self) -> None:
        """Take no further lines; those that wait are still written."""
        if self.lost and not self.closed:
            self._take([self._journals.mark(self.lost)])
        self.closed = True

    def _take(self, lines: list[bytes]) -> bool:
        if taken := self._journals.reserve(sum(map(len, lines))):
            self.waiting += lines
            self.lost = 0
        return taken


class Journals:
    """All journals of the process, and the lines that wait for the disk."""

    def __init__(self, settings: StorageSettings, today: Callable[[], date], mark: Callable[[int], bytes]) -> None:
        self.settings, self.today, self.mark = settings, today, mark
        self.folder = settings.data_dir / "journals"
        self.lost_lines = 0
        """Lines that found no room, since the start; for the metrics."""
        self._journals: set[Journal] = set()
        self._bytes = 0
        self._broken = False
        self._ending = False
        self._wake = trio.Event()

    def open(self, session_id: str, recording: Path | None = None) -> Journal:
        """Begin a session's journal, in the folder of its recording if it has one; the file appears with its lines."""
        name = re.sub(r"[^A-Za-z0-9_-]", "_", session_id)[:100] or "_"
        path = recording / "journal.jsonl" if recording else self.folder / self.today().isoformat() / f"{name}.jsonl"
        journal = Journal(self, path)
        self._journals.add(journal)
        return journal

    def reserve(self, size: int) -> bool:
        """Memory for lines of so many bytes; False when there is not enough left."""
        if self._bytes + size > self.settings.buffer_kb * 1024:
            return False
        self._bytes += size
        if self._bytes >= self.settings.batch_kb * 1024 and not self._broken:
            self._wake.set()
        return True

    async def run(self) -> None:
        """Carry lines to the disk until `end`."""
        while True:
            with trio.move_on_after(self.settings.flush_s):
                await self._wake.wait()
            self._wake = trio.Event()
            ending = self._ending
            await self.flush()
            if ending:
                return

    async def flush(self) -> None:
        """Write what waits now. What the disk refuses goes on waiting."""
        work = {journal: tuple(journal.waiting) for journal in self._journals if journal.waiting}
        if work:
            tasks = [(journal.path, lines) for journal, lines in work.items()]
            results = await trio.to_thread.run_sync(write_batch, tasks, abandon_on_cancel=True)
            for (journal, lines), error in zip(work.items(), results, strict=True):
                if not error:
                    del journal.waiting[: len(lines)]
                    self._bytes -= sum(map(len, lines))
            self.report(next(filter(None, results), ""))
        self._journals = {journal for journal in self._journals if journal.waiting or not journal.closed}

    def report(self, error: str) -> None:
        """One log line when the disk begins to refuse lines and one when it takes them again."""
        if bool(error) != self._broken:
            self._broken = bool(error)
            if error:
                log.error("journal.disk_refuses", folder=str(self.folder), error=error)
            else:
                log.info("journal.disk_works_again", lines_lost=self.lost_lines)

    def end(self) -> None:
        """Close all journals and let `run` write the rest and return."""
        for journal in self._journals:
            journal.close()
        self._ending = True
        self._wake.set()

    def unwritten(self) -> int:
        """Lines that still wait."""
        return sum(len(journal.waiting) for journal in self._journals)

    async def prune_hourly(self) -> None:
        """Keep to the limits of age and space."""
        while True:
            keep = frozenset(journal.path for journal in self._journals)
            work = partial(prune, self.folder, self.settings, self.today(), keep)
            deleted = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
            if deleted:
                log.info("journal.pruned", files=deleted)
            await trio.sleep(HOUR_S)


@asynccontextmanager
async def open_journals(
    settings: StorageSettings,
    today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    mark: Callable[[int], bytes] = loss_mark,
) -> AsyncIterator[Journals]:
    """The process's journals. Leaving writes what waits, for at most `close_s`.

    `mark` makes the line for lost lines. Raises ConfigError when the folder cannot be written.
    """
    journals = Journals(settings, today, mark)
    await trio.to_thread.run_sync(probe, journals.folder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journals.prune_hourly)
        writer_ended, writer_scope = trio.Event(), trio.CancelScope(shield=True)

        async def write() -> None:
            # Shielded: sessions that are being cancelled still write. The `finally` below ends it.
            with writer_scope:
                await journals.run()
            writer_ended.set()

        nursery.start_soon(write)
        try:
            yield journals
        finally:
            journals.end()
            with trio.move_on_after(settings.close_s, shield=True):
                await writer_ended.wait()
            writer_scope.cancel()
            nursery.cancel_scope.cancel()
            if journals.unwritten():
                log.error("journal.lines_lost_at_end", lines=journals.unwritten())


# ---- blocking work, run in threads --------------------------------------------------------------------------------


def probe(folder: Path) -> None:
    """Make the folder and see that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"storage.data_dir: cannot write to {folder}: {error.strerror}; choose another folder with "
            "--set storage.data_dir=DIR or mend its permissions"
        ) from None


def write_batch(work: list[tuple[Path, tuple[bytes, ...]]]) -> list[str]:
    """Append lines to files; per file why it took none of them, or an empty text."""
    reasons = []
    for path, lines in work:
        try:
            append(path, b"".join(lines))
            reasons.append("")
        except OSError as error:
            reasons.append(f"{type(error).__name__}: {error.strerror}")
    return reasons


def append(path: Path, data: bytes) -> None:
    """All of `data`, or OSError and nothing of it."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        file = os.open(path, flags, 0o600)  # it may hold what people said
    except FileNotFoundError:
        for folder in (path.parent.parent, path.parent):  # `mode` is that of the last folder alone
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, flags, 0o600)
    try:
        before, rest = os.fstat(file).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, before)
            raise
    finally:
        os.close(file)


def prune(folder: Path, settings: StorageSettings, today: date, keep: frozenset[Path]) -> int:
    """Delete journals that are too old, then the oldest until the rest fits; returns how many. `keep` stays."""
    files = []
    for path in folder.glob("*/*.jsonl"):
        if DAY.fullmatch(path.parent.name):
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((path.parent.name, status.st_mtime, status.st_size, path))
    files.sort(key=lambda row: row[:2])
    oldest_day = (today - timedelta(days=settings.retention_days)).isoformat() if settings.retention_days else ""
    excess = sum(size for _, _, size, _ in files) - settings.retention_mb * 1e6 if settings.retention_mb else 0
    deleted = 0
    for day, _, size, path in files:
        if (day < oldest_day or excess > 0) and path not in keep:
            with contextlib.suppress(OSError):
                path.unlink()
                deleted, excess = deleted + 1, excess - size
                path.parent.rmdir()  # fails, as it should, while other journals are in it
    return deleted
