"""Spoken sentences on disk: one file each, named by the digest of all that makes its sound; no text is kept.

Raw samples, not FLAC: measured on a sentence of 4 s, FLAC saves 48 % of the bytes (93 of 175 kB) but takes 1.9 ms of
CPU at every hit against 0.1 ms for the checksum, and what the server itself says fits into the space many times over.

Several processes may share the folder: files appear whole (written aside, then renamed), a broken one is deleted, one
that somebody else deleted is a miss, and each process looks again twice a minute at what there is.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from zlib import crc32

import msgspec
import structlog
import trio

from aura.core.ports import SpeechChunk, WordTime
from aura.providers.background import background
from aura.providers.meter import UNMETERED, Meter

log = structlog.get_logger()

LOOK_EVERY_S = 30.0
PART_AGE_S = 600.0
"""Files that a process left half written are deleted when they are so old."""
CLOSE_S = 2.0
"""The last sentences get so long to reach the disk when the process ends."""
WRITES_MAX = 16
"""More sentences do not wait for the disk at the same time."""
FILL = 0.9
"""Share of the space that is kept when files are deleted, so that this does not happen at every new one."""
MAGIC = b"AURAsnd1"
HEAD = struct.Struct("<8sIII")
"""Magic, checksum of all that follows, length of the heading, length of the samples."""
NAME = re.compile(r"[0-9a-f]{64}\.sound")


class Heading(msgspec.Struct, frozen=True, array_like=True):
    """What a file says about its samples."""

    rate_hz: int
    words: tuple[WordTime, ...]
    served_by: str


class Sound(msgspec.Struct, frozen=True):
    """A whole spoken sentence."""

    heading: Heading
    pcm: bytes


def sound_of(chunks: Sequence[SpeechChunk]) -> Sound | None:
    """The chunks of a sentence as one; None where nothing can be made of them."""
    pcm = b"".join(chunk.pcm for chunk in chunks)
    rates = {chunk.rate_hz for chunk in chunks}
    if not pcm or len(pcm) % 2 or len(rates) != 1:
        return None
    words = tuple(word for chunk in chunks for word in chunk.words)
    return Sound(Heading(rates.pop(), words, chunks[0].served_by), pcm)


def encode(sound: Sound) -> bytes:
    """A file."""
    heading = msgspec.msgpack.encode(sound.heading)
    check = crc32(sound.pcm, crc32(heading))
    return HEAD.pack(MAGIC, check, len(heading), len(sound.pcm)) + heading + sound.pcm


def decode(data: bytes) -> Sound | None:
    """What a file holds; None if it is broken."""
    try:
        magic, check, heading_bytes, pcm_bytes = HEAD.unpack_from(data)
        if magic != MAGIC or len(data) != HEAD.size + heading_bytes + pcm_bytes or crc32(data[HEAD.size :]) != check:
            return None
        heading = msgspec.msgpack.decode(data[HEAD.size : HEAD.size + heading_bytes], type=Heading)
    except (struct.error, msgspec.DecodeError):
        return None
    return Sound(heading, data[HEAD.size + heading_bytes :])


# ---- in threads ---------------------------------------------------------------------------------------------------


def read(path: Path) -> Sound | None:
    """Read a file and note that it was used. Raises OSError; a broken file is deleted and None."""
    sound = decode(path.read_bytes())
    if sound is None:
        path.unlink(missing_ok=True)
        return None
    with suppress(OSError):
        os.utime(path)
    return sound


def write(path: Path, sound: Sound) -> int:
    """Write a file so that it is there as a whole or not at all; returns its size. Raises OSError."""
    data = encode(sound)
    file, part = tempfile.mkstemp(suffix=".part", dir=path.parent)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(data)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return len(data)


def look(folder: Path, limit: int) -> dict[str, int]:
    """The files there are and their sizes, after deleting what is too much, longest unused first. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found, now = [], time.time()
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # deleted meanwhile
                stat = entry.stat(follow_symlinks=False)
                if NAME.fullmatch(entry.name):
                    found.append((stat.st_mtime_ns, entry.name, stat.st_size))
                elif entry.name.endswith(".part") and now - stat.st_mtime > PART_AGE_S:
                    Path(entry.path).unlink()
    found.sort()
    total = sum(size for *_, size in found)
    goal = limit * FILL if total > limit else limit
    kept: dict[str, int] = {}
    for _, name, size in found:
        if total > goal:
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
            total -= size
        else:
            kept[name] = size
    return kept


# ---- the store ----------------------------------------------------------------------------------------------------


class AudioStore:
    """The sentences of one folder. A disk that fails costs hits, never a sentence."""

    def __init__(
        self, folder: Path, limit_bytes: int, nursery: trio.Nursery, *, wait_s: float, meter: Meter = UNMETERED
    ) -> None:
        self.folder, self.limit_bytes, self.wait_s = folder, limit_bytes, wait_s
        self._nursery, self._meter = nursery, meter
        self._files: dict[str, int] = {}
        self._disk = trio.Lock()
        """Writing and looking change what there is: one at a time."""
        self._readers = trio.CapacityLimiter(4)
        self._writing: set[str] = set()
        self._idle = trio.Event()
        self._idle.set()
        self._failed = False

    @property
    def size(self) -> int:
        """What the files take, as far as this process knows."""
        return sum(self._files.values())

    def holds(self, key: bytes) -> bool:
        """Whether the sentence is probably there."""
        return name_of(key) in self._files

    async def get(self, key: bytes) -> Sound | None:
        """The sentence, if it is there and the disk is quick enough."""
        name = name_of(key)
        if name not in self._files:
            return None
        sound, broken = None, False
        with trio.move_on_after(self.wait_s):
            try:
                job = partial(read, self.folder / name)
                sound = await trio.to_thread.run_sync(job, limiter=self._readers, abandon_on_cancel=True)
                broken = sound is None
            except OSError as error:
                self._files.pop(name, None)
                if not isinstance(error, FileNotFoundError):
                    self._trouble("read", error)
        if broken:
            self._files.pop(name, None)
            self._meter.add("cache_requests", "audio", "corrupt")
            log.warning("cache.broken_file", file=name)
        return sound

    def put(self, key: bytes, sound: Sound) -> None:
        """Keep a sentence. It is written later, or not at all where too many wait."""
        name = name_of(key)
        if name in self._files or name in self._writing or len(self._writing) >= WRITES_MAX:
            return
        if len(sound.pcm) <= self.limit_bytes // 2:
            self._writing.add(name)
            self._idle = trio.Event() if self._idle.is_set() else self._idle
            self._nursery.start_soon(self._write, name, sound)

    async def _write(self, name: str, sound: Sound) -> None:
        try:
            async with self._disk:
                job = partial(write, self.folder / name, sound)
                self._files[name] = await trio.to_thread.run_sync(job, abandon_on_cancel=True)
                self._failed = False
                if self.size > self.limit_bytes:
                    await self._look()
            self._meter.set("cache_bytes", self.size, "audio")
        except OSError as error:
            self._trouble("write", error)
        finally:
            self._writing.discard(name)
            if not self._writing:
                self._idle.set()

    async def look(self) -> None:
        """Learn what there is, and delete what is too much."""
        try:
            async with self._disk:
                await self._look()
            self._meter.set("cache_bytes", self.size, "audio")
        except OSError as error:
            self._trouble("read", error)

    async def _look(self) -> None:
        job = partial(look, self.folder, self.limit_bytes)
        self._files = await trio.to_thread.run_sync(job, abandon_on_cancel=True)

    async def watch(self) -> None:
        """Look again and again: other processes write and delete, too."""
        while True:
            await trio.sleep(LOOK_EVERY_S)
            await self.look()

    async def written(self) -> None:
        """Wait until nothing waits for the disk."""
        await self._idle.wait()

    def _trouble(self, what: str, error: OSError) -> None:
        if not self._failed:  # a full disk is told once, until it works again
            log.warning("cache.disk_failed", what=what, folder=str(self.folder), error=error.strerror)
        self._failed = True


def name_of(key: bytes) -> str:
    """The file of a sentence."""
    return f"{key.hex()}.sound"


@asynccontextmanager
async def open_store(
    folder: Path, limit_bytes: int, *, wait_s: float = 0.2, meter: Meter = UNMETERED
) -> AsyncIterator[AudioStore]:
    """The store of a folder, which is made if it is not there."""
    async with background() as nursery:
        store = AudioStore(folder, limit_bytes, nursery, wait_s=wait_s, meter=meter)
        await store.look()
        nursery.start_soon(store.watch)
        yield store
        with trio.move_on_after(CLOSE_S):
            await store.written()
