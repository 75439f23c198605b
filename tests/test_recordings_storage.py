"""Recordings on disk: what is written and read back, lost, marked, compressed and deleted, with real files."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from aura.core import tape
from aura.core.errors import AuraError
from aura.core.ports import SpeechChunk, TextDelta
from aura.core.tape import TapeError
from aura.core.wire import client
from aura.storage import recordings as storage
from aura.storage.recordings import RecordingSettings
from aura.storage.tapes import Sounds, read_tape
from aura.storage.taping import TAPE, appended, finish
from tests.recorder import (
    SOUND,
    append_message,
    delta_message,
    describes,
    ends_with,
    head,
    opened,
    place,
    receive,
    until,
)

# ---- what is written comes back


async def test_everything_that_happened_is_on_the_tape_in_its_order_and_the_audio_beside_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as recordings:
        recording = recordings.begin(head())
        recording.step(5.1, 0)
        receive(recording, 5.2, append_message(SOUND, event_id="mine"))
        receive(recording, 5.3, '{"type":"response.create"}')
        recording.outcome(5.4, 3, tape.RawSound(SpeechChunk(SOUND, 22_050)))
        recording.note(tape.Call(3, "tts", "offline", "00", "Hello."))
        recording.sent((delta_message(SOUND), '{"type":"response.done"}'))
        recording.close("closed 1000")
    read = read_tape(place(tmp_path))
    assert read.header == head()
    assert [line for line in read.lines if not isinstance(line, tape.SentAudio)] == [
        tape.Step(5.1, 0),
        tape.Step(5.2, 2, tape.Audio(1024, "pcm16.24000", event_id="mine")),
        tape.Step(5.3, 2, tape.Text('{"type":"response.create"}')),
        tape.Step(5.4, 3, tape.Sound(1024, 22_050)),
        tape.Call(3, "tts", "offline", "00", "Hello."),
        tape.Sent('{"type":"response.done"}'),
        tape.TapeEnd("closed 1000"),
    ]
    sounds = Sounds(read.folder)
    assert [sounds.take(stream, 1024) for stream in ("in.pcm16.24000", "voice.pcm16.22050", "out.pcm16.24000")] == [
        SOUND
    ] * 3
    sounds.close()


async def test_a_conversation_that_changes_its_formats_has_a_file_for_each(tmp_path: Path) -> None:
    async with opened(tmp_path) as recordings:
        recording = recordings.begin(head())
        receive(recording, 5.1, append_message(SOUND))
        recording.sent((describes("pcmu", "pcma"),))
        receive(recording, 5.2, append_message(SOUND[:100]))
        receive(recording, 5.3, SOUND[:60])
        recording.sent((SOUND[:50],))
        recording.close("bye")
    read = read_tape(place(tmp_path))
    audio = [step.outcome for step in read.steps]
    assert audio == [
        tape.Audio(1024, "pcm16.24000"),
        tape.Audio(100, "pcmu.8000"),
        tape.Audio(60, "pcmu.8000", binary=True),
    ]
    sounds = Sounds(read.folder)
    assert sounds.take("in.pcmu.8000", 160) == SOUND[:100] + SOUND[:60]
    assert sounds.take("out.pcma.8000", 50) == SOUND[:50]
    assert sounds.take("in.pcm16.24000", 1024) == SOUND
    sounds.close()


BASE64 = st.text('ABCabc012+/= -_\\n"', max_size=12)


FORMS = (
    '{{"type":"input_audio_buffer.append","audio":"{}"}}',
    '{{"audio":"{}","type":"input_audio_buffer.append"}}',
    '{{"type":"input_audio_buffer.append","audio":"{}","event_id":5}}',
    '{{"type":"input_audio_buffer.append", "audio": "{}"',
)


@given(st.sampled_from(FORMS), BASE64)
def test_a_message_counts_as_audio_exactly_when_the_conversation_takes_it_as_such(form: str, audio: str) -> None:
    message = form.format(audio)
    try:
        taken = client.decode(message)
    except AuraError:
        taken = None
    wanted = taken if isinstance(taken, client.Append) and taken.audio else None
    assert appended(message) == wanted


@pytest.mark.parametrize("size", [0, 1, 2, 255, 4096, 4097, 600_001])
@pytest.mark.parametrize("stream", ["in.pcm16.24000", "in.pcm16.8000", "out.pcmu.8000", "voice.pcma.8000"])
def test_compressing_loses_nothing(tmp_path: Path, stream: str, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]  # in µ-law this holds both zeros
    raw = tmp_path / f"{stream}.raw"
    raw.write_bytes(data)
    finish(tmp_path)
    compressed = size > 0 and (size % 2 == 0 or "pcm16" not in stream)
    assert raw.exists() != compressed
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*.flac")] == [0o600] * compressed
    sounds = Sounds(tmp_path)
    half = size // 3
    assert sounds.take(stream, half) + sounds.take(stream, size - half) == data
    if size:
        with pytest.raises(TapeError, match="1 bytes of audio are missing"):
            sounds.take(stream, 1)
    sounds.close()


async def test_nobody_else_may_look_into_recordings(tmp_path: Path) -> None:
    async with opened(tmp_path) as recordings:
        for session in ("one", "two"):
            recording = recordings.begin(head(session))
            receive(recording, 5.1, append_message(SOUND))
            if session == "one":
                recording.close("bye")
        await until((place(tmp_path, "one") / "in.pcm16.24000.flac").exists)
        assert (place(tmp_path, "two") / "in.pcm16.24000.raw").exists()
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "recordings").rglob("*") if path.is_file()}
        assert modes == {0o600}
        folders = [path for path in (tmp_path / "recordings").rglob("*") if path.is_dir()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "recordings", *folders]} == {0o700}


# ---- a disk that refuses, or cannot follow


async def test_a_full_disk_costs_the_recording_and_nothing_else(tmp_path: Path) -> None:
    place(tmp_path, "bad").mkdir(parents=True)
    full = place(tmp_path, "bad") / "in.pcm16.24000.raw"
    full.symlink_to("/dev/full")
    with structlog.testing.capture_logs() as logged:
        async with opened(tmp_path) as recordings:
            bad, good = recordings.begin(head("bad")), recordings.begin(head("good"))
            bad.step(5.1, 0)
            await until((place(tmp_path, "bad") / TAPE).exists)
            for at in range(6, 30):
                receive(bad, float(at), append_message(SOUND))
                receive(good, float(at), append_message(SOUND))
                await trio.sleep(0.002)
            await until(lambda: ends_with(place(tmp_path, "bad"), tape.LostSteps))
            bad.close("bye")
            good.close("bye")
    assert [(line["event"], line["recording"], os.strerror(errno.ENOSPC) in line["why"]) for line in logged] == [
        ("recording.incomplete", "bad", True)
    ]
    assert read_tape(place(tmp_path, "bad")).lines == (tape.Step(5.1, 0), tape.LostSteps())
    whole = read_tape(place(tmp_path, "good"))
    assert whole.ended
    assert len(whole.steps) == 24


async def test_the_mark_is_set_as_soon_as_there_is_room_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True
    real = storage.append

    def append(path: Path, data: bytes) -> None:
        if full and path.name == TAPE and b"aura_tape" not in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(storage, "append", append)
    with structlog.testing.capture_logs() as logged:
        async with opened(tmp_path) as recordings:
            recording = recordings.begin(head())
            await until((place(tmp_path) / TAPE).exists)
            recording.step(5.1, 0)
            await until(lambda: recording.lost)
            await trio.sleep(0.05)
            full = False
            await until(lambda: ends_with(place(tmp_path), tape.LostSteps))
            recording.close("bye")
    assert read_tape(place(tmp_path)).lines == (tape.LostSteps(),)
    assert len(logged) == 1


async def test_a_disk_that_refuses_the_end_leaves_a_recording_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = storage.append

    def append(path: Path, data: bytes) -> None:
        if b'"t":"end"' in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, data)

    monkeypatch.setattr(storage, "append", append)
    with structlog.testing.capture_logs() as logged:
        async with opened(tmp_path) as recordings:
            recordings.begin(head()).close("bye")
    assert [line["event"] for line in logged] == ["recording.incomplete"]


async def test_a_recording_that_is_too_long_ends_with_a_mark(tmp_path: Path) -> None:
    chosen = RecordingSettings(flush_s=0.01, size_mb=0.05)
    async with opened(tmp_path, chosen) as recordings:
        recording = recordings.begin(head())
        for at in range(6, 206):
            receive(recording, float(at), append_message(SOUND))
            if at % 20 == 0:
                await trio.sleep(0.03)
        assert recording.lost
        recording.close("bye")
    read = read_tape(place(tmp_path))
    assert isinstance(read.lines[-1], tape.LostSteps)
    audio = sum(step.outcome.bytes for step in read.steps if isinstance(step.outcome, tape.Audio))
    assert 50_000 < audio < 120_000
    assert len(Sounds(read.folder).take("in.pcm16.24000", audio)) == audio


async def test_memory_is_bounded_while_the_disk_hangs_and_free_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = storage.write_all

    def hanging(jobs: list[storage.Job]) -> list[tuple[str, int]]:
        go_on.wait(5)
        return real(jobs)

    monkeypatch.setattr(storage, "write_all", hanging)
    async with opened(tmp_path, RecordingSettings(flush_s=0.01, buffer_mb=1.0)) as recordings:
        talking = [recordings.begin(head(f"s{n}")) for n in range(3)]
        await trio.sleep(0.03)
        for at in range(6, 2006):
            for recording in talking:
                receive(recording, float(at), append_message(SOUND))
                recording.step(float(at), 3)
        assert all(recording.lost for recording in talking)
        assert sum(len(recording.waiting) for recording in talking) < 1500
        go_on.set()
        for recording in talking:
            await until(lambda recording=recording: ends_with(recording.folder, tape.LostSteps))
        await until(lambda: recordings._waiting < 1e5)
        after = recordings.begin(head("after"))
        receive(after, 5.1, append_message(SOUND))
        for recording in (*talking, after):
            recording.close("bye")
        await until(lambda: not recordings._open)
        assert recordings._waiting == 0
    assert read_tape(place(tmp_path, "after")).ended


async def test_what_cannot_be_encoded_ends_its_own_recording_only(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with opened(tmp_path) as recordings:
            odd, fine = recordings.begin(head("odd")), recordings.begin(head("fine"))
            await until((place(tmp_path, "odd") / TAPE).exists)
            odd.outcome(5.1, 1, tape.Item(TextDelta(object())))  # type: ignore[arg-type]
            fine.step(5.1, 1)
            await until(lambda: odd.lost)
            odd.close("bye")
            fine.close("bye")
    assert {line["event"] for line in logged} == {"recording.broken", "recording.incomplete"}
    assert isinstance(read_tape(place(tmp_path, "odd")).lines[-1], tape.LostSteps)
    assert read_tape(place(tmp_path, "fine")).ended


async def test_a_recording_that_somebody_deletes_while_it_is_made_does_not_come_back(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        async with opened(tmp_path) as recordings:
            recording = recordings.begin(head())
            await until((place(tmp_path) / TAPE).exists)
            (place(tmp_path) / TAPE).unlink()
            place(tmp_path).rmdir()
            recording.step(5.1, 0)
            await until(lambda: recording.lost)
            recording.close("bye")
    assert not place(tmp_path).exists()
    assert [line["why"] for line in logged] == ["FileNotFoundError: its folder is gone"]
