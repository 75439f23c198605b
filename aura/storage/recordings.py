"""Recordings on disk: one folder per conversation, `recordings/YYYY-MM-DD/<session>/`.

    journal.jsonl           every fact and what it led to (core/journal.py)
    tape.jsonl              everything that came from outside, in order (core/tape.py)
    in.pcm16.24000.flac     audio of the client; `in.pcmu.8000.flac` and so on for other formats
    voice.pcm16.24000.flac  audio as the voices made it
    out.pcm16.24000.flac    audio as it was sent

While a conversation goes on, its audio is appended to plain `.raw` files, which a crash leaves readable; they become
FLAC when it is over. A conversation only puts things into memory: one task per process hands them to a thread that
encodes and writes. When the disk cannot follow, the rest of that tape is given up, which stands on it.
"""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import structlog
import trio

from aura.core import tape
from aura.storage.journals import DAY, append, probe
from aura.storage.taping import HALF, Scribe, Taken, finish

log = structlog.get_logger()

HOUR_S = 3600.0
IDLE_S = 600.0
"""A recording that nobody wrote to for so long, and that this process does not make, has been left behind."""
BESIDES_BYTES, PORTION_BYTES = 1000, 32_000
"""About the memory of what a message brings about, besides its own; memory is reserved so much at a time."""


class RecordingSettings(msgspec.Struct, frozen=True):
    """What is recorded (with `storage.record` on) and for how long it is kept."""

    only: tuple[str, ...] = ()
    """Record only conversations with these models, personas or tenants, as named in the client's address
    (`?model=`, `?persona=`, `?tenant=`); empty: all."""
    retention_days: Annotated[float, msgspec.Meta(ge=0, le=36500)] = 14.0
    """Recordings of conversations that began longer ago are deleted; 0 keeps them for ever."""
    retention_mb: Annotated[float, msgspec.Meta(ge=0)] = 4096.0
    """Space for all recordings together, in megabytes; the oldest are deleted first. 0: no limit."""
    size_mb: Annotated[float, msgspec.Meta(gt=0)] = 512.0
    """One conversation is recorded up to this size on disk, in megabytes; then its tape ends."""
    flush_s: Annotated[float, msgspec.Meta(ge=0.01, le=60)] = 1.0
    """What happened reaches the disk this many seconds later, at most."""
    buffer_mb: Annotated[float, msgspec.Meta(ge=1)] = 64.0
    """Memory for what waits for the disk, of all conversations, in megabytes."""
    flac: bool = True
    """Compress the audio when a conversation is over."""
    close_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0
    """When the server ends, the last recordings get this many seconds to reach the disk."""

    def wants(self, query: dict[str, str]) -> bool:
        """Whether a client with this address is to be recorded."""
        asked = {query.get(name) for name in ("model", "persona", "tenant")}
        return not self.only or not asked.isdisjoint(self.only)


class Recording:
    """One conversation's tape while it is made: a sink that never waits and never raises."""

    def __init__(self, folder: Path, header: tape.TapeHeader, room: Callable[[int], bool]) -> None:
        self.folder, self._room = folder, room
        self.scribe = Scribe()
        self.waiting: list[Taken] = [header]
        self.held = self._left = 0
        """Memory reserved for what waits, and what is left of it. Bytes."""
        self.size = 0
        """Bytes on the disk."""
        self.taking = True
        """Until it is over or lost."""
        self.lost = self.closed = False

    def step(self, at: float, task: int) -> None:
        """A task goes on."""
        if self.taking:
            self.waiting.append((at, task))

    def outcome(self, at: float, task: int, outcome: tape.Outcome) -> None:
        """A task goes on out of a call to the outside."""
        if isinstance(outcome, tape.RawSound):
            self._weigh(len(outcome.chunk.pcm))
        if self.taking:
            self.waiting.append((at, task, outcome))

    def note(self, note: tape.Note) -> None:
        """Something to look at."""
        if self.taking:
            self.waiting.append(note)

    def received(self, message: str | bytes | tape.Lost | tape.Back) -> tape.Outcome:
        """A message of the client, or what became of its connection, as it stands on the tape."""
        if isinstance(message, tape.Lost | tape.Back):
            return message
        self._weigh(len(message))
        return tape.RawMessage(message)

    def sent(self, messages: tuple[str | bytes, ...]) -> None:
        """Messages go to the client now."""
        self._weigh(sum(map(len, messages)))
        if self.taking:
            self.waiting.append([*messages])

    def close(self, why: str) -> None:
        """The conversation is over; what waits is still written."""
        if self.taking:
            self.waiting.append(tape.TapeEnd(why))
        self.closed, self.taking = True, False

    def give_up(self, why: str) -> None:
        """Nothing more is recorded of this conversation."""
        if not self.lost:
            self.waiting.append(tape.LostSteps())
            self.lost, self.taking = True, False
            log.error("recording.incomplete", recording=self.folder.name, why=why)

    def take(self) -> tuple[list[Taken], int]:
        """What waits, and the memory that it takes. It waits no longer."""
        taken, self.waiting = self.waiting, []
        freed = self.held - max(0, self._left)
        self.held -= freed
        return taken, freed

    def _weigh(self, size: int) -> None:
        """Account for a message, and for the steps that it leads to."""
        self._left -= size + BESIDES_BYTES
        if self._left < 0 and self.taking:
            portion = PORTION_BYTES - self._left
            if self._room(portion):
                self.held, self._left = self.held + portion, self._left + portion
            else:
                self.give_up("the disk does not follow")


class Recordings:
    """All recordings of the process that are being made, and what waits for the disk."""

    def __init__(self, settings: RecordingSettings, data_dir: Path, today: Callable[[], date]) -> None:
        self.settings, self.today = settings, today
        self.folder = data_dir / "recordings"
        self._open: set[Recording] = set()
        self._waiting = 0
        self._ending = trio.Event()
        self._finishing = trio.CapacityLimiter(1)

    def begin(self, header: tape.TapeHeader) -> Recording:
        """Begin the recording of a conversation; its folder appears with the first flush."""
        name = re.sub(r"[^A-Za-z0-9_-]", "_", header.session)[:100] or "_"
        recording = Recording(self.folder / self.today().isoformat() / name, header, self._reserve)
        self._open.add(recording)
        return recording

    def _reserve(self, size: int) -> bool:
        if self._waiting + size > self.settings.buffer_mb * 1e6:
            return False
        self._waiting += size
        return True

    async def run(self, nursery: trio.Nursery) -> None:
        """Carry everything to the disk until `end`, and finish what is over."""
        finishing: set[Recording] = set()
        while True:
            with trio.move_on_after(self.settings.flush_s):
                await self._ending.wait()
            ending = self._ending.is_set()
            await self.flush()
            if ending:  # the disk gets no second chance
                await self.flush()
            over = {recording for recording in self._open if recording.closed and not recording.waiting} - finishing
            finishing = (finishing | over) & self._open
            for recording in over:
                nursery.start_soon(self.finish, recording)
            if ending:
                return

    async def flush(self) -> None:
        """Write what waits now. A recording that the disk refuses ends there, with a mark as soon as it has room."""
        work = [(recording, *recording.take()) for recording in self._open if recording.waiting]
        if not work:
            return
        jobs = [Job(recording.folder, recording.scribe, items) for recording, items, _ in work]
        results = await trio.to_thread.run_sync(write_all, jobs, abandon_on_cancel=True)
        self._waiting -= sum(held for _, _, held in work)
        for (recording, _, _), (error, size) in zip(work, results, strict=True):
            recording.size += size
            if error and not recording.lost:
                recording.give_up(error)
            elif error and not recording.closed:
                recording.waiting.append(tape.LostSteps())
            elif recording.taking and recording.size > self.settings.size_mb * 1e6:
                recording.give_up(f"longer than {self.settings.size_mb:g} MB")

    async def finish(self, recording: Recording) -> None:
        """A recording is complete: turn its audio into FLAC."""
        if self.settings.flac:
            await trio.to_thread.run_sync(compress, recording.folder, abandon_on_cancel=True, limiter=self._finishing)
        self._waiting -= recording.held
        self._open.discard(recording)

    def end(self) -> None:
        """Close all recordings and let `run` write the rest and return."""
        for recording in self._open:
            recording.close("cut short")
        self._ending.set()

    async def tidy_hourly(self) -> None:
        """Keep to the limits of age and space, and finish what a process that was killed has left."""
        while True:
            keep = frozenset(recording.folder for recording in self._open)
            work = partial(prune, self.folder, self.settings, self.today(), keep)
            deleted = await trio.to_thread.run_sync(work, abandon_on_cancel=True)
            if deleted:
                log.info("recording.pruned", recordings=deleted)
            if self.settings.flac:
                keep = frozenset(recording.folder for recording in self._open)
                left = partial(compress_left, self.folder, keep, time.time() - IDLE_S)
                await trio.to_thread.run_sync(left, abandon_on_cancel=True, limiter=self._finishing)
            await trio.sleep(HOUR_S)


@asynccontextmanager
async def open_recordings(
    settings: RecordingSettings, data_dir: Path, today: Callable[[], date] = lambda: datetime.now(UTC).date()
) -> AsyncIterator[Recordings]:
    """The process's recordings. Leaving writes what waits, for at most `close_s`.

    Raises ConfigError when the folder cannot be written.
    """
    recordings = Recordings(settings, data_dir, today)
    await trio.to_thread.run_sync(probe, recordings.folder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recordings.tidy_hourly)
        ended, scope = trio.Event(), trio.CancelScope(shield=True)

        async def write() -> None:
            with scope:  # shielded: conversations that are being cancelled are still recorded
                async with trio.open_nursery() as finishing:
                    await recordings.run(finishing)
            ended.set()

        nursery.start_soon(write)
        try:
            yield recordings
        finally:
            recordings.end()
            with trio.move_on_after(settings.close_s, shield=True):
                await ended.wait()
            scope.cancel()
            nursery.cancel_scope.cancel()


# ---- blocking work, run in threads --------------------------------------------------------------------------------


class Job(NamedTuple):
    """What is to be written of one conversation."""

    folder: Path
    scribe: Scribe
    items: list[Taken]


def write_all(jobs: list[Job]) -> list[tuple[str, int]]:
    """Append to files; per conversation why it could not be done, or an empty text, and how many bytes were."""
    results = []
    for folder, scribe, items in jobs:
        size = 0
        try:
            if isinstance(items[0], tape.TapeHeader):
                private(folder)
            elif not folder.is_dir():  # somebody deleted it: without its beginning it is nothing
                raise FileNotFoundError(errno.ENOENT, "its folder is gone")
            for name, data in scribe.encode(items).items():
                append(folder / name, data)
                size += len(data)
            results.append(("", size))
        except OSError as error:
            results.append((f"{type(error).__name__}: {error.strerror}", size))
        except Exception as error:  # a message that cannot be encoded must not end the recording of the others
            log.exception("recording.broken", recording=folder.name)
            results.append((type(error).__name__, size))
    return results


def private(folder: Path) -> None:
    """Make the folder of a recording and that of its day, for nobody else to look into."""
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def compress(folder: Path) -> None:
    """Turn the audio of a conversation that is over into FLAC."""
    try:
        finish(folder)
    except Exception as error:  # the raw audio is still there and can be read
        log.warning("recording.not_compressed", recording=folder.name, error=f"{type(error).__name__}: {error}")


def compress_left(folder: Path, keep: frozenset[Path], before: float) -> None:
    """Compress what a process that was killed has left: recordings that nobody has written to since `before`."""
    for path in sorted({file.parent for kind in ("raw", f"flac{HALF}") for file in folder.glob(f"*/*/*.{kind}")}):
        if DAY.fullmatch(path.parent.name) and path not in keep:
            with contextlib.suppress(OSError):
                if max(file.stat().st_mtime for file in path.iterdir()) < before:
                    compress(path)


def prune(folder: Path, settings: RecordingSettings, today: date, keep: frozenset[Path]) -> int:
    """Delete recordings that are too old, then the oldest until the rest fits; returns how many. `keep` stays."""
    found = []
    for path in folder.glob("*/*"):
        if DAY.fullmatch(path.parent.name) and path.is_dir():
            with contextlib.suppress(OSError):
                sizes = [(file.stat().st_size, file.stat().st_mtime) for file in path.iterdir()]
                found.append(
                    (path.parent.name, max((t for _, t in sizes), default=0.0), sum(s for s, _ in sizes), path)
                )
    found.sort(key=lambda row: row[:2])
    oldest_day = (today - timedelta(days=settings.retention_days)).isoformat() if settings.retention_days else ""
    excess = sum(size for _, _, size, _ in found) - settings.retention_mb * 1e6 if settings.retention_mb else 0
    deleted = 0
    for day, _, size, path in found:
        if (day < oldest_day or excess > 0) and path not in keep:
            shutil.rmtree(path, ignore_errors=True)
            deleted, excess = deleted + 1, excess - size
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # fails, as it should, while other recordings are in it
    return deleted
