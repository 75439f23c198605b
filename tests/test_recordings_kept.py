"""What is left of recordings when the process is killed, and how long they are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aura.client import connect
from aura.core import tape
from aura.core.tape import TapeError
from aura.storage import recordings as storage
from aura.storage.recordings import RecordingSettings, prune
from aura.storage.tapes import Sounds, read_tape
from aura.storage.taping import HALF, TAPE, finish
from aura.tools.caller import Caller
from aura.tools.recordings import shipped
from aura.tools.replay.pipeline import replay
from tests.recorder import (
    SOUND,
    TODAY,
    head,
    opened,
    place,
    until,
)

# ---- a process that is killed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, 400))
def test_a_tape_that_breaks_off_anywhere_is_read_up_to_there(tmp_path: Path, cut: int) -> None:
    lines: list[Any] = [
        head(),
        tape.Step(5.1, 0),
        tape.Step(5.2, 2, tape.Text("hé")),
        tape.Sent("x"),
        tape.TapeEnd("bye"),
    ]
    data = tape.encode(lines)[:cut]
    (tmp_path / TAPE).write_bytes(data)
    if cut < len(tape.encode(lines[:1])) - 1:
        with pytest.raises(TapeError, match=r"tape\.jsonl:1: "):
            read_tape(tmp_path)
        return
    read = [line for line in read_tape(tmp_path).lines if not isinstance(line, tape.LostSteps)]
    assert read == lines[1 : len(read) + 1]
    assert len(read) >= data.count(b"\n") - 1


def test_what_a_killed_process_has_left_is_finished_by_the_next_one(tmp_path: Path) -> None:
    def left(session: str, *, fresh: bool = False) -> Path:
        folder = place(tmp_path, session)
        folder.mkdir(parents=True)
        for name, data in (
            (TAPE, tape.encode([head(session)])),
            ("in.pcm16.24000.raw", SOUND),
            (f"in.flac{HALF}", b"half"),
        ):
            (folder / name).write_bytes(data)
            if not fresh:
                os.utime(folder / name, (1e9, 1e9))
        return folder

    old, going_on, own = left("old"), left("going_on", fresh=True), left("own")
    foreign = tmp_path / "recordings" / "somewhere" / "else"
    foreign.mkdir(parents=True)
    (foreign / "in.pcm16.24000.raw").write_bytes(SOUND)
    os.utime(foreign / "in.pcm16.24000.raw", (1e9, 1e9))
    storage.compress_left(tmp_path / "recordings", frozenset({own}), time.time() - storage.IDLE_S)
    assert sorted(file.name for file in old.iterdir()) == ["in.pcm16.24000.flac", TAPE]
    assert Sounds(old).take("in.pcm16.24000", 1024) == SOUND
    for folder in (going_on, own, foreign):
        assert (folder / "in.pcm16.24000.raw").exists()


def test_a_crash_between_compressing_and_tidying_up_is_tidied_up(tmp_path: Path) -> None:
    raw = tmp_path / "in.pcm16.24000.raw"
    raw.write_bytes(SOUND)
    finish(tmp_path)
    raw.write_bytes(SOUND)
    finish(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["in.pcm16.24000.flac"]


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server that records, as a user starts it."""
    options = ["--set", f"storage.data_dir={folder}", "--set", "recording.flush_s=0.1", "--set", "storage.flush_s=0.1"]
    engines = [f"--set=engines.{part}=offline" for part in ("stt", "chat", "tts")]
    arguments = [
        sys.executable,
        "-m",
        "aura",
        "serve",
        "--record",
        "--port",
        "0",
        "--log-format",
        "json",
        *options,
        *engines,
    ]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert process.stderr is not None
    try:
        lines = (msgspec.json.decode(line) for line in process.stderr if line.startswith(b"{"))
        yield process, next(line["port"] for line in lines if line["event"] == "server.listening")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.e2e
async def test_a_killed_server_leaves_recordings_that_can_be_read_and_replayed(tmp_path: Path) -> None:
    with server(tmp_path) as (process, port):
        async with connect(f"ws://127.0.0.1:{port}/v1/realtime") as call, trio.open_nursery() as nursery:
            who = Caller(call)
            nursery.start_soon(who.speak)
            nursery.start_soon(who.listen)
            await who.wait(0.3)
            said = who.say(shipped(24_000)["ask_story"])
            assert await who.reply_begins(said.end, 8.0)
            await who.wait(0.4)
            process.send_signal(signal.SIGKILL)
            nursery.cancel_scope.cancel()
    (folder,) = (tmp_path / "recordings").glob("*/*")
    assert {file.suffix for file in folder.iterdir()} == {".raw", ".jsonl"}
    with (folder / TAPE).open("ab") as torn:
        torn.write(b'[99999999.5,3,{"t":"aud')
    read = read_tape(folder)
    assert not read.ended
    again = await trio.to_thread.run_sync(replay, folder)
    assert (again.why, again.complete) == ("", False)
    assert again.facts > 5
    assert again.recorded_s > 2.0


# ---- how long they are kept


def aged(folder: Path, day: str, session: str, size: int) -> Path:
    path = folder / day / session
    path.mkdir(parents=True)
    (path / TAPE).write_bytes(b"x" * size)
    return path


@pytest.mark.parametrize(
    ("days", "megabytes", "gone"),
    [
        (0.0, 0.0, ""),
        (14.0, 0.0, "a"),
        (14.0, 0.0025, "a c"),
        (0.0, 0.0015, "a c d"),
        (1.0, 0.000001, "a c d e"),
    ],
)
def test_old_recordings_go_then_the_oldest_and_never_one_that_is_being_made(
    tmp_path: Path, days: float, megabytes: float, gone: str
) -> None:
    paths = {
        "a": aged(tmp_path, "2026-02-01", "a", 1000),
        "open": aged(tmp_path, "2026-02-01", "open", 1000),
        "c": aged(tmp_path, "2026-03-12", "c", 1000),
        "d": aged(tmp_path, "2026-03-13", "d", 1000),
        "e": aged(tmp_path, "2026-03-14", "e", 500),
        "foreign": aged(tmp_path, "notes", "mine", 1000),
    }
    os.utime(paths["d"] / TAPE, (1e9, 1e9))
    chosen = RecordingSettings(retention_days=days, retention_mb=megabytes)
    assert prune(tmp_path, chosen, TODAY, frozenset({paths["open"]})) == len(gone.split())
    assert {name for name, path in paths.items() if not path.exists()} == set(gone.split())
    assert (tmp_path / "2026-03-12").exists() == ("c" not in gone)


async def test_a_recording_that_is_being_made_outlives_every_limit(tmp_path: Path) -> None:
    before = aged(tmp_path / "recordings", "2026-03-13", "before", 10)
    async with opened(tmp_path, RecordingSettings(flush_s=0.01, retention_mb=0.000001)) as recordings:
        await until(lambda: not before.exists())
        recording = recordings.begin(head())
        await until((place(tmp_path) / TAPE).exists)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recordings.tidy_hourly)
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        recording.step(5.1, 0)
        recording.close("bye")
    assert read_tape(place(tmp_path)).ended
