"""Playing along: facts when they came, both voices where they lie on the time axis; and recordings out of a .zip."""

from __future__ import annotations

import io
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from aura.core.errors import AuraError
from aura.core.journal import Entry, decode
from aura.tools.play import SoundDeviceError
from aura.tools.replay import play, unzip
from aura.tools.replay.source import find
from tests.script import Scene, stage

GOLDEN = Path(__file__).parent / "golden"
Patch = pytest.MonkeyPatch


async def barge_in(scene: Scene) -> None:
    """The answer is interrupted."""
    await scene.user.silent(0.3)
    await scene.user.says(0.4, "when does it open")
    await scene.user.until("speaking")
    await scene.user.silent(0.5)
    await scene.user.says(1.1, "wait, how much is a ticket")
    await scene.user.until("speaking")
    await scene.user.until("idle")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("play") / "r"

    async def hold() -> None:
        async with stage(
            ["It opens at nine, and on Sundays it is closed all day long.", "Ten."], record=folder
        ) as scene:
            await barge_in(scene)

    clock = MockClock(autojump_threshold=0)
    clock.jump(1000.0)
    trio.run(hold, clock=clock)
    return folder


def loaded(where: Path) -> play.Play:
    return play.load(find(str(where), Path()))


class Paper(io.StringIO):
    """A screen that remembers when each fact was written on it."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def write(self, text: str) -> int:
        self.times += [trio.current_time()] * (" s " in text)
        return super().write(text)


def sides(mix: play.Mix) -> npt.NDArray[np.int16]:
    """What is heard: one row for the user, one for the assistant."""
    return np.frombuffer(mix.pcm(0.0, mix.seconds), "<i2").reshape(-1, 2).T


def at_of(entries: tuple[Entry, ...], name: str, nth: int = 0) -> float:
    return [entry.at for entry in entries if type(entry.event).__name__ == name][nth]


# ---- facts and sound ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [1.0, 2.0])
async def test_each_fact_is_shown_when_it_came(recording: Path, speed: float, autojump_clock: MockClock) -> None:
    there, paper, begin = loaded(recording), Paper(), trio.current_time()
    await play.play(there, speed, None, Console(file=paper, width=300))
    expected = [begin + entry.at / speed for entry in there.entries]
    assert paper.times == pytest.approx(expected)
    text = paper.getvalue()
    assert "SpeechStarted" in text
    assert "speaking → interrupted" in text
    assert "hold reply 1: silence until it is decided" in text


async def test_sound_is_ready_before_it_is_due_and_none_is_left_out(recording: Path, autojump_clock: MockClock) -> None:
    there, begin = loaded(recording), trio.current_time()
    assert there.mix is not None
    heard: list[tuple[float, bytes]] = []
    await play.play(there, 1.0, lambda pcm: heard.append((trio.current_time(), pcm)), Console(file=Paper()))

    due, frame = begin, 4
    for at, pcm in heard:
        assert at <= due
        assert due - at <= 2 * play.AHEAD_S
        due += len(pcm) / frame / there.mix.rate_hz
    assert trio.current_time() == pytest.approx(begin + there.mix.seconds)
    pieces, whole = b"".join(pcm for _, pcm in heard), there.mix.pcm(0.0, there.mix.seconds)
    assert len(pieces) == len(whole)
    assert int(np.abs(np.frombuffer(pieces, "<i2") - np.frombuffer(whole, "<i2").astype(np.int32)).max()) <= 2


def test_the_user_is_on_the_left_when_they_spoke_and_the_assistant_on_the_right_until_it_was_held(
    recording: Path,
) -> None:
    mix = loaded(recording).mix
    assert mix is not None
    entries = decode((recording / "journal.jsonl").read_bytes()).entries
    user, assistant = sides(mix)

    def part(side: npt.NDArray[np.int16], begin: float, end: float) -> npt.NDArray[np.int16]:
        return side[round(begin * mix.rate_hz) : round(end * mix.rate_hz)]

    started, held = at_of(entries, "ReplyStarted"), at_of(entries, "SpeechStarted", 1)
    confirmed, again = at_of(entries, "OverlapConfirmed"), at_of(entries, "ReplyStarted", 1)
    assert np.abs(part(user, 0.0, 0.25)).max() < 5
    assert part(user, 0.4, 0.6).min() > 250
    assert not part(assistant, 0.0, started).any()
    assert (part(assistant, started + 0.1, held - 0.01) == 4096).all()
    assert not part(assistant, held + 0.01, confirmed).any()
    assert not part(assistant, confirmed, again).any()
    assert part(assistant, again + 0.1, again + 0.2).any()


def test_the_mix_is_written_to_a_file(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "mix.wav"
    assert play.run(str(recording), Path(), save=out, console=Console(file=io.StringIO())) == 0
    mix = loaded(recording).mix
    assert mix is not None
    with wave.open(str(out), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, mix.rate_hz)
        assert file.getnframes() == round(mix.seconds * mix.rate_hz)
        assert file.readframes(file.getnframes()) == mix.pcm(0.0, mix.seconds)


# ---- loudspeakers ------------------------------------------------------------------------------------------------


class Device:
    """Stands for the sounddevice library."""

    PortAudioError = RuntimeError

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    def RawOutputStream(self, rate_hz: int, callback: Callable[..., None], **options: Any) -> Device:  # noqa: N802
        if self.broken:
            raise RuntimeError("no such device")
        self.rate_hz, self.callback, self.options = rate_hz, callback, options
        return self

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.options = {}

    def plays(self, frames: int) -> bytes:
        out = bytearray(frames * 4)
        self.callback(memoryview(out), frames, None, None)
        return bytes(out)


def test_the_loudspeaker_plays_two_channels(recording: Path, monkeypatch: Patch) -> None:
    device, mix = Device(), loaded(recording).mix
    monkeypatch.setattr(play, "sounddevice", lambda: device)
    assert mix is not None
    with play.speaker(mix, 1.0, Console(file=io.StringIO())) as sink:
        assert sink is not None
        assert (device.rate_hz, device.options["channels"]) == (mix.rate_hz, 2)
        sink(b"lLrR" * 10)
        assert device.plays(10_000).strip(b"\0") == b"lLrR" * 10


@pytest.mark.parametrize("why", ["library", "device", "speed", "audio"])
def test_where_nothing_can_be_heard_one_line_says_why_and_it_goes_on(
    recording: Path, monkeypatch: Patch, why: str
) -> None:
    def sounddevice() -> Device:
        if why == "library":
            raise SoundDeviceError("microphone and loudspeaker need the sounddevice library")
        return Device(broken=True)

    monkeypatch.setattr(play, "sounddevice", sounddevice)
    screen = io.StringIO()
    where = GOLDEN / "plain.jsonl" if why == "audio" else recording
    speed = 2.0 if why == "speed" else 1.0
    with play.speaker(loaded(where).mix, speed, Console(file=screen, width=300)) as sink:
        assert sink is None
    said = {"library": "sounddevice library", "device": "no loudspeaker", "speed": "another speed", "audio": "no audio"}
    assert screen.getvalue().count("\n") == 1
    assert said[why] in screen.getvalue()


# ---- what is amiss -----------------------------------------------------------------------------------------------


def test_the_readable_part_of_a_damaged_journal_is_played(tmp_path: Path) -> None:
    lines = (GOLDEN / "plain.jsonl").read_bytes().splitlines(keepends=True)
    path, screen = tmp_path / "j.jsonl", io.StringIO()
    path.write_bytes(b"".join([*lines[:4], b"junk\n", *lines[4:6]]))
    with pytest.raises(AuraError, match=r"j\.jsonl:5") as error:
        play.run(str(path), Path(), speed=100, console=Console(file=screen, width=200))
    assert "\n" not in str(error.value)
    assert screen.getvalue().count(" s ") >= 5


def test_a_recording_without_its_audio_is_played_silently(recording: Path, tmp_path: Path) -> None:
    for name in ("journal.jsonl", "tape.jsonl"):
        (tmp_path / name).write_bytes((recording / name).read_bytes())
    there = loaded(tmp_path)
    assert len(there.entries) > 20
    assert any("is missing" in line for line in there.troubles)


@pytest.mark.parametrize("speed", [0.0, -1.0, 1000.0, float("nan")])
def test_a_speed_that_cannot_be_is_refused(speed: float) -> None:
    with pytest.raises(AuraError, match=r"from 0\.1 to 100"):
        play.run(str(GOLDEN / "plain.jsonl"), Path(), speed=speed)


def test_a_file_that_cannot_be_written_is_one_line(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(AuraError, match="cannot be written"):
        play.run(str(recording), Path(), save=tmp_path / "no" / "mix.wav")
    with pytest.raises(AuraError, match="no audio beside it"):
        play.run(str(GOLDEN / "plain.jsonl"), Path(), save=tmp_path / "mix.wav")


# ---- .zip --------------------------------------------------------------------------------------------------------


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_a_recording_in_a_zip_is_there_while_it_is_needed(tmp_path: Path) -> None:
    files = {
        f"2026-01-02/sess_1/{name}": name.encode() for name in ("journal.jsonl", "tape.jsonl", "in.pcm16.8000.flac")
    }
    path = packed(tmp_path / "a.zip", {**files, "2026-01-02/sess_1/README": b"", "notes.txt": b""})
    with unzip.opened(str(path)) as where:
        folder = Path(where)
        assert folder.name == "sess_1"
        assert {f.name: f.read_text() for f in folder.iterdir()} == {Path(n).name: d.decode() for n, d in files.items()}
    assert not folder.exists()


@pytest.mark.parametrize("where", ["-", "sess_1", "journal.jsonl", "", "no/such/file"])
def test_what_is_no_zip_is_handed_on(where: str) -> None:
    with unzip.opened(where) as same:
        assert same == where


def test_an_error_inside_is_not_taken_for_one_of_the_zip(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"s/journal.jsonl": b""})
    for where in (str(path), "sess_1"):
        with pytest.raises(FileNotFoundError), unzip.opened(where):
            raise FileNotFoundError(2, "mine")


@pytest.mark.parametrize("name", ["../journal.jsonl", "/journal.jsonl", "a/../../journal.jsonl", "x/..//journal.jsonl"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    folder = unzip.unpack(packed(tmp_path / "a.zip", {name: b"x"}), inside)
    assert folder.parent == inside
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "a.zip", "inside", f"inside/{folder.name}", f"inside/{folder.name}/journal.jsonl",
    ]  # fmt: skip


def bomb(path: Path) -> Path:
    return packed(path, {"s/journal.jsonl": bytes(10_000_000)})


def double(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("s/journal.jsonl", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("s/journal.jsonl", b"2")
    return path


def torn(path: Path) -> Path:
    data = packed(path, {"s/journal.jsonl": bytes(range(256)) * 99}).read_bytes()
    path.write_bytes(data[:40] + bytes(40) + data[80:])
    return path


def cut(path: Path) -> Path:
    path.write_bytes(packed(path, {"s/journal.jsonl": b"x" * 999}).read_bytes()[:-30])
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: packed(path, {}), "no recording"),
        (lambda path: packed(path, {"s/readme": b""}), "no recording"),
        (lambda path: packed(path, {"a/journal.jsonl": b"", "b/tape.jsonl": b""}), "2 recordings"),
        (lambda path: path, "No such file"),
        (bomb, "larger than"),
        (double, "no .zip that AURA wrote"),
        (torn, "cannot be unpacked"),
        (cut, "cannot be unpacked"),
    ],
)
def test_a_zip_that_will_not_do_is_one_line(
    tmp_path: Path, monkeypatch: Patch, make: Callable[[Path], Path], says: str
) -> None:
    monkeypatch.setattr(unzip, "BYTES_MAX", 5_000_000)
    path = make(tmp_path / "a.zip")
    with pytest.raises(unzip.UnzipError, match=says) as error, unzip.opened(str(path)):
        pass
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
