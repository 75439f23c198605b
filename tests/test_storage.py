"""Journals: what is written, lost, marked and deleted, with real files."""

from __future__ import annotations

import errno
import os
from datetime import date
from pathlib import Path

import msgspec
import pytest
import structlog
import trio

from aura.core.errors import ConfigError
from aura.storage.journals import Journals, StorageSettings, append, loss_mark, open_journals, prune

TODAY = date(2026, 3, 14)


@pytest.fixture
def settings(tmp_path):
    return StorageSettings(data_dir=tmp_path, flush_s=0.02)


def opened(settings):
    return open_journals(settings, today=lambda: TODAY)


def day(settings) -> Path:
    return settings.data_dir / "journals" / "2026-03-14"


async def until(condition):
    with trio.fail_after(2):
        while not condition():  # noqa: ASYNC110  a file appears, there is no event to wait for
            await trio.sleep(0.005)


async def test_lines_of_each_session_are_in_its_file_in_order(settings):
    async with opened(settings) as journals:
        sessions = [journals.open(f"s{n}") for n in range(3)]
        for line in range(50):
            for n, journal in enumerate(sessions):
                journal.write(b'{"n":%d,"line":%d}' % (n, line))
    for n in range(3):
        lines = [msgspec.json.decode(line) for line in (day(settings) / f"s{n}.jsonl").read_bytes().splitlines()]
        assert lines == [{"n": n, "line": line} for line in range(50)]


async def test_lines_reach_the_disk_while_the_session_runs(settings):
    async with opened(settings) as journals:
        journal = journals.open("s")
        journal.write(b"{}\n")
        await until((day(settings) / "s.jsonl").exists)


async def test_a_full_batch_does_not_wait_for_the_clock(tmp_path):
    settings = StorageSettings(data_dir=tmp_path, flush_s=60, batch_kb=1)
    async with opened(settings) as journals:
        journals.open("s").write(b"x" * 2000)
        await until((day(settings) / "s.jsonl").exists)


async def test_a_closed_journal_takes_nothing_more_but_keeps_what_it_took(settings):
    async with opened(settings) as journals:
        journal = journals.open("s")
        journal.write(b"1")
        journal.close()
        journal.write(b"2")
        journal.close()
    assert (day(settings) / "s.jsonl").read_bytes() == b"1\n"


async def test_a_session_without_lines_leaves_no_file(settings):
    async with opened(settings) as journals:
        journals.open("s").close()
    assert not day(settings).exists()


@pytest.mark.parametrize("session_id", ["../../etc/passwd", "a/b", "", "..", "x" * 500, "ä\n\0"])
async def test_no_session_id_leaves_the_folder(settings, session_id):
    async with opened(settings) as journals:
        journals.open(session_id).write(b"1")
    assert len(list(day(settings).iterdir())) == 1


async def test_two_journals_of_one_name_both_arrive(settings):
    async with opened(settings) as journals:
        for line in (b"1", b"2"):
            journals.open("s").write(line)
    assert sorted((day(settings) / "s.jsonl").read_bytes()) == sorted(b"1\n2\n")


async def test_only_the_owner_may_read_a_journal(settings):
    async with opened(settings) as journals:
        journals.open("s").write(b"1")
    assert (day(settings) / "s.jsonl").stat().st_mode & 0o077 == 0


async def test_what_exceeds_the_memory_is_counted_and_marked_where_it_is_missing(tmp_path):
    settings = StorageSettings(data_dir=tmp_path, flush_s=0.02, buffer_kb=16)
    async with opened(settings) as journals:
        journal = journals.open("s")
        for _ in range(20):
            journal.write(b"x" * 1023)
        assert (journal.lost, journals.lost_lines) == (4, 4)
        await until(lambda: not journal.waiting)
        journal.write(b"after")
    lines = (day(settings) / "s.jsonl").read_bytes().splitlines(keepends=True)
    assert [len(line) for line in lines[:16]] == [1024] * 16
    assert lines[16:] == [loss_mark(4), b"after\n"]


async def test_a_full_disk_costs_lines_and_one_log_line_until_it_works_again(settings):
    target = day(settings) / "s.jsonl"
    target.parent.mkdir(parents=True)
    target.symlink_to("/dev/full")
    with structlog.testing.capture_logs() as logged:
        async with opened(settings) as journals:
            journal = journals.open("s")
            journal.write(b"1")
            await until(lambda: logged)
            journal.write(b"2")
            await trio.sleep(0.1)
            target.unlink()
            await until(lambda: not journal.waiting)
            journal.write(b"3")
    assert target.read_bytes() == b"1\n2\n3\n"
    assert [line["event"] for line in logged] == ["journal.disk_refuses", "journal.disk_works_again"]
    assert os.strerror(errno.ENOSPC) in logged[0]["error"]


async def test_one_broken_file_does_not_hold_up_the_others(settings):
    (day(settings) / "bad.jsonl").mkdir(parents=True)
    async with opened(settings) as journals:
        journals.open("bad").write(b"1")
        journals.open("good").write(b"1")
        await until((day(settings) / "good.jsonl").exists)


async def test_a_disk_that_stays_broken_costs_bounded_memory(tmp_path):
    settings = StorageSettings(data_dir=tmp_path, buffer_kb=16)
    journals = Journals(settings, lambda: TODAY, loss_mark)
    day(settings).parent.mkdir()
    day(settings).write_text("a file where the folder should be")
    for n in range(300):
        journal = journals.open(str(n))
        for _ in range(10):
            journal.write(b"x" * 99)
        journal.close()
        if n % 100 == 99:
            await journals.flush()
    assert journals.lost_lines == 3000 - 163
    assert journals.unwritten() <= 163 + 2  # and the marks that still fitted


async def test_lines_written_while_being_cancelled_still_arrive(settings):
    with trio.CancelScope() as scope:
        async with opened(settings) as journals:
            journal = journals.open("s")
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                journal.write(b"last")
    assert (day(settings) / "s.jsonl").read_bytes() == b"last\n"


async def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path):
    settings = StorageSettings(data_dir=tmp_path, flush_s=0.02, close_s=0.1)
    day(settings).mkdir(parents=True)
    pipe = day(settings) / "s.jsonl"
    os.mkfifo(pipe)  # opening it for writing blocks until somebody reads
    with structlog.testing.capture_logs() as logged:
        with trio.fail_after(2):
            async with opened(settings) as journals:
                journals.open("s").write(b"1")
    assert [line["event"] for line in logged] == ["journal.lines_lost_at_end"]
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # lets the thread go
    os.close(reader)


async def test_an_unusable_folder_is_told_before_anything_starts(tmp_path):
    (tmp_path / "file").write_text("")
    settings = StorageSettings(data_dir=tmp_path / "file" / "data")
    with pytest.raises(ConfigError, match=r"storage\.data_dir: cannot write to .*; choose another folder"):
        async with opened(settings):
            raise AssertionError("started")


def test_a_failed_append_leaves_no_torn_line(tmp_path):
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    path = tmp_path / "s.jsonl"
    append(path, b"whole\n")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            append(path, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"whole\n"


# ---- retention ----------------------------------------------------------------------------------------------------


def make(folder: Path, days: dict[str, int], size: int = 1000) -> None:
    for name, count in days.items():
        (folder / name).mkdir(parents=True)
        for n in range(count):
            path = folder / name / f"s{n}.jsonl"
            path.write_bytes(b"x" * size)
            os.utime(path, (1000 + n, 1000 + n))


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def test_old_journals_go_and_their_empty_folders_with_them(tmp_path):
    make(tmp_path, {"2026-03-01": 2, "2026-03-07": 1, "2026-03-14": 1})
    assert prune(tmp_path, StorageSettings(retention_days=7), TODAY, frozenset()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-03-07", "2026-03-14"]


def test_the_oldest_journals_make_room(tmp_path):
    make(tmp_path, {"2026-03-13": 3, "2026-03-14": 1})
    prune(tmp_path, StorageSettings(retention_mb=0.002), TODAY, frozenset())
    assert left(tmp_path) == ["2026-03-13/s2.jsonl", "2026-03-14/s0.jsonl"]


def test_zero_keeps_everything(tmp_path):
    make(tmp_path, {"1999-01-01": 2})
    assert prune(tmp_path, StorageSettings(retention_days=0, retention_mb=0), TODAY, frozenset()) == 0


def test_an_open_journal_and_strange_files_stay(tmp_path):
    make(tmp_path, {"2020-01-01": 2, "notes": 1})
    (tmp_path / "2020-01-01" / "README").write_text("mine")
    keep = frozenset({tmp_path / "2020-01-01" / "s0.jsonl"})
    prune(tmp_path, StorageSettings(retention_mb=0.0001), TODAY, keep)
    assert left(tmp_path) == ["2020-01-01/README", "2020-01-01/s0.jsonl", "notes/s0.jsonl"]


async def test_retention_is_applied_at_the_start(settings):
    make(settings.data_dir / "journals", {"2020-01-01": 1})
    async with opened(settings):
        await until(lambda: not (settings.data_dir / "journals" / "2020-01-01").exists())
