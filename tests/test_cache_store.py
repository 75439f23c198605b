"""The folder of kept sentences: room, several processes, broken files and disks."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from aura.core.ports import WordTime
from aura.providers.cache import store as disk
from aura.providers.cache.store import Heading, Sound, decode, encode, open_store

ROOT = Path(__file__).resolve().parents[1]
RATE_HZ = 24_000


def files(folder: Path, pattern: str = "*.sound") -> list[Path]:
    return sorted(folder.glob(pattern))


# ---- room ---------------------------------------------------------------------------------------------------------


def sound_of_size(size: int) -> Sound:
    return Sound(Heading(RATE_HZ, (), ""), bytes(size))


async def test_the_longest_unused_make_room(tmp_path: Path) -> None:
    keys = [bytes([number]) * 32 for number in range(12)]
    async with open_store(tmp_path, 100_000, wait_s=5) as store:
        for number, key in enumerate(keys[:9]):
            store.put(key, sound_of_size(10_000))
            await store.written()
            os.utime(tmp_path / disk.name_of(key), (number, number))
        assert await store.get(keys[0]) is not None  # used: now the newest
        store.put(keys[9], sound_of_size(10_000))
        await store.written()
        assert store.size <= 100_000
        kept = [number for number, key in enumerate(keys) if store.holds(key)]
    assert kept == [0, 3, 4, 5, 6, 7, 8, 9]  # 10 % more than needed went
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 100_000


async def test_what_would_fill_half_the_space_is_not_kept(tmp_path: Path) -> None:
    async with open_store(tmp_path, 100_000) as store:
        store.put(bytes(32), sound_of_size(60_000))
        await store.written()
    assert files(tmp_path) == []


async def test_many_sentences_at_once_do_not_all_wait_for_the_disk(tmp_path: Path) -> None:
    async with open_store(tmp_path, 10_000_000) as store:
        for number in range(200):
            store.put(bytes([number]) * 32, sound_of_size(1000))
    assert len(files(tmp_path)) == disk.WRITES_MAX


async def test_half_written_files_of_a_dead_process_go_when_they_are_old(tmp_path: Path) -> None:
    for name, age_s in (("old.part", 3600), ("new.part", 5), ("other.txt", 3600)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    async with open_store(tmp_path, 1000):
        pass
    assert [path.name for path in files(tmp_path, "*")] == ["new.part", "other.txt"]


# ---- several processes --------------------------------------------------------------------------------------------

WRITER = """
import sys, trio
from pathlib import Path
from aura.providers.cache.store import Heading, Sound, open_store

async def main(folder, seed):
    async with open_store(Path(folder), 400_000) as store:
        for number in range(40):
            store.put(bytes([number % 20, seed * (number % 2)]) * 16, Sound(Heading(16000, (), ""), bytes(20_000)))
            await store.written()
            await store.get(bytes([number % 20, 0]) * 16)
        await store.look()

trio.run(main, sys.argv[1], int(sys.argv[2]))
"""


async def test_processes_share_a_folder(tmp_path: Path) -> None:
    async with open_store(tmp_path, 400_000, wait_s=5) as store, trio.open_nursery() as nursery:
        for seed in "123":
            command = [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path), seed]
            nursery.start_soon(partial(trio.run_process, command, cwd=ROOT, capture_stderr=True))
    async with open_store(tmp_path, 400_000, wait_s=5) as store:
        assert 0 < store.size <= 400_000
        assert store.size == sum(path.stat().st_size for path in files(tmp_path))
        assert files(tmp_path, "*") == files(tmp_path)
        for path in files(tmp_path):
            assert await store.get(bytes.fromhex(path.stem)) == sound_of_16k(20_000)


def sound_of_16k(size: int) -> Sound:
    return Sound(Heading(16_000, (), ""), bytes(size))


async def test_what_another_process_wrote_or_deleted_is_noticed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = float("inf")
    key, other = b"a" * 32, b"b" * 32
    async with open_store(tmp_path, 100_000, wait_s=50) as store:
        store.put(key, sound_of_size(100))
        await store.written()
        files(tmp_path)[0].unlink()
        assert store.holds(key)
        assert await store.get(key) is None
        assert not store.holds(key)
        disk.write(tmp_path / disk.name_of(other), sound_of_size(100))
        autojump_clock.jump(disk.LOOK_EVERY_S + 1)
        with trio.fail_after(5):
            while not store.holds(other):
                await trio.to_thread.run_sync(time.monotonic)
        assert await store.get(other) == sound_of_size(100)


# ---- broken -------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_any_bytes_are_a_file_or_broken(data: bytes) -> None:
    assert decode(data) is None
    assert decode(disk.HEAD.pack(disk.MAGIC, 0, len(data), 0) + data) is None
    whole = encode(Sound(Heading(8000, (WordTime(0, 1, 0.5, 1.0),), "x"), data))
    assert decode(whole) == Sound(Heading(8000, (WordTime(0, 1, 0.5, 1.0),), "x"), data)
    assert decode(whole[:-1]) is None


async def test_a_disk_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / disk.name_of(bytes(32))
    os.mkfifo(file)  # whoever opens it to read waits until somebody writes
    async with open_store(file.parent, 1_000_000, wait_s=0.05) as store:
        store._files[file.name] = 1
        with trio.fail_after(2):
            assert await store.get(bytes.fromhex(file.stem)) is None
        os.close(os.open(file, os.O_WRONLY))  # lets the thread go
