"""Recordings as a folder or a .zip, whole or with words or audio taken out, and back again."""

from __future__ import annotations

import io
import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
import soundfile
from rich.console import Console

from aura.core import tape
from aura.core.errors import AuraError
from aura.core.tape import TapeError
from aura.storage.tapes import read_tape
from aura.storage.taping import TAPE
from aura.tools.recorded import command, export
from aura.tools.recorded.find import JOURNAL, RecordingError, folder_of, opened
from aura.tools.replay import transitions
from aura.tools.replay.pipeline import replay
from tests.shelf import PRIVATE, STREAMS, Shelf, contents, screen
from tests.shelf import template as record


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def shelf(tmp_path: Path, template: Path) -> Shelf:
    return Shelf(tmp_path, template)


# ---- export


@pytest.mark.parametrize("out", ["copy", "copy.zip", "new/folder/copy.ZIP"])
def test_an_export_is_the_recording(shelf: Shelf, tmp_path: Path, out: str) -> None:
    folder, target = shelf.put("sess_a"), tmp_path / "out" / out
    assert command.export(shelf.folder, "a", target, console=Console(file=io.StringIO())) == 0
    assert contents(target) == contents(folder)
    assert list(target.parent.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) == (0o700 if target.is_dir() else 0o600)
    with opened(str(target), shelf.folder) as there:
        assert read_tape(there).ended
    with pytest.raises(RecordingError, match="is there already"):
        command.export(shelf.folder, "a", target, console=Console(file=io.StringIO()))


def test_an_unpacked_export_is_a_recording_again(shelf: Shelf, tmp_path: Path) -> None:
    folder, target = shelf.put("sess_a"), tmp_path / "a.zip"
    command.export(shelf.folder, "a", target, console=Console(file=io.StringIO()))
    before = contents(folder)
    shutil.rmtree(folder)
    with zipfile.ZipFile(target) as packed:
        packed.extractall(shelf.folder / "recordings")
    assert contents(folder_of("sess_a", shelf.folder)) == before


def test_of_a_recording_nothing_else_is_exported(shelf: Shelf, tmp_path: Path) -> None:
    (shelf.put("sess_a") / "notes.txt").write_text("mine")
    command.export(shelf.folder, "a", tmp_path / "out", console=Console(file=io.StringIO()))
    assert not (tmp_path / "out" / "notes.txt").exists()


def test_words_can_be_taken_out(shelf: Shelf, tmp_path: Path) -> None:
    folder, target = shelf.put("sess_a"), tmp_path / "out"
    before = contents(folder)
    assert {word for word in PRIVATE if word.encode() in before[TAPE] + before[JOURNAL]} == set(PRIVATE)
    text = io.StringIO()
    command.export(shelf.folder, "a", target, redact="words", console=Console(file=text, width=200))
    assert "can still be heard" in text.getvalue()
    after = contents(target)
    left = {word for word in PRIVATE if any(word.encode() in data.lower() for data in after.values())}
    assert left == set()
    assert {name: after[name] for name in after if name.endswith(".flac")} == {
        name: before[name] for name in before if name.endswith(".flac")
    }


def shape(line: tape.Line) -> object:
    """What has to stay: types, times, sizes, ids."""
    if isinstance(line, tape.Step):
        return line.at, line.task, type(line.outcome), getattr(line.outcome, "bytes", 0)
    if isinstance(line, tape.Sent):
        told = json.loads(line.text)
        return (
            told["type"],
            told.get("event_id"),
            told.get("item_id"),
            told.get("response_id"),
            told.get("audio_end_ms"),
        )
    return type(line), getattr(line, "bytes", 0), getattr(line, "item", ""), getattr(line, "part", "")


@pytest.mark.parametrize("kinds", ["words", "audio", "audio, words"])
def test_what_is_left_keeps_its_shape_and_replays_as_far_as_it_can(shelf: Shelf, tmp_path: Path, kinds: str) -> None:
    folder, target = shelf.put("sess_a"), tmp_path / "out"
    done = export.export(folder, target, export.kinds_of(kinds))
    read = read_tape(target, redacted=True)
    assert done.redacted == read.redacted == tuple(sorted({part.strip() for part in kinds.split(",")}, reverse=True))
    assert [shape(line) for line in read.lines] == [shape(line) for line in read_tape(folder).lines]
    text = io.StringIO()
    assert transitions.run(str(target), shelf.folder, console=Console(file=text, width=200)) == 0
    assert "every decision is as recorded" in text.getvalue()
    with pytest.raises(TapeError, match=r"tape\.jsonl:1: .* without .* .--depth transitions"):
        replay(target)
    with screen() as (out, shown):
        assert command.show(shelf.folder, str(target), out=out) == 0
    assert "redacted" in shown.getvalue()


def test_audio_that_is_taken_out_becomes_silence_of_the_same_length(shelf: Shelf, tmp_path: Path) -> None:
    folder = shelf.put("sess_a")
    (folder / "in.pcmu.8000.raw").write_bytes(bytes(range(256)) * 10)
    (folder / "out.pcma.8000.flac").write_bytes(b"damaged")
    done = export.export(folder, tmp_path / "out", frozenset({"audio"}))
    assert done.notes == ["out.pcma.8000.flac cannot be read and is left out"]
    for stream in STREAMS:
        quiet, rate = soundfile.read(tmp_path / "out" / f"{stream}.flac", dtype="int16")
        assert (len(quiet), rate, quiet.any()) == (
            soundfile.info(str(folder / f"{stream}.flac")).frames,
            int(stream[-5:]),
            False,
        )
    assert soundfile.info(str(tmp_path / "out" / "in.pcmu.8000.flac")).frames == 2560
    assert all(
        line.digest == ""
        for line in read_tape(tmp_path / "out", redacted=True).lines
        if isinstance(line, tape.SentAudio)
    )
    assert "zebra" in (tmp_path / "out" / JOURNAL).read_text()


def test_what_has_been_taken_out_once_stays_out(shelf: Shelf, tmp_path: Path) -> None:
    export.export(shelf.put("sess_a"), tmp_path / "out", frozenset({"words"}))
    export.export(tmp_path / "out", tmp_path / "again", frozenset({"audio"}))
    export.export(tmp_path / "again", tmp_path / "third")
    assert read_tape(tmp_path / "third", redacted=True).redacted == ("words", "audio")


def test_lines_that_cannot_be_read_are_left_out_and_told_of(shelf: Shelf, tmp_path: Path) -> None:
    folder = shelf.put("sess_a")
    for name in (TAPE, JOURNAL):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        lines.insert(5, b'{"t":"unknown","text":"a zebra"}\n')
        (folder / name).write_bytes(b"".join([*lines, b'{"zebra']))
    done = export.export(folder, tmp_path / "out", frozenset({"words"}))
    assert all(b"zebra" not in data for data in contents(tmp_path / "out").values())
    assert done.notes[0] == f"{TAPE}: 1 line cannot be read and is left out"


@pytest.mark.parametrize(("kinds", "why"), [("", "say what is to be taken out"), ("faces", "nothing is called faces")])
def test_only_words_and_audio_can_be_taken_out(kinds: str, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        export.kinds_of(kinds)


def test_an_export_that_fails_leaves_nothing_behind(shelf: Shelf, tmp_path: Path) -> None:
    folder = shelf.put("sess_a")
    (folder / TAPE).write_bytes(b"junk\n")
    (tmp_path / "file").write_text("")
    for target, kinds in ((tmp_path / "out", frozenset({"words"})), (tmp_path / "file" / "out.zip", frozenset())):
        with pytest.raises(RecordingError) as error:
            export.export(folder, target, kinds)
        assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "recordings"]


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "there is no recording"),
        ({f"a/{TAPE}": b"", f"b/{TAPE}": b""}, "there are 2 recordings"),
        ({"readme.txt": b"hello"}, "there is no recording"),
    ],
)
def test_a_foreign_zip_is_refused(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(AuraError, match=why), opened(str(packed(tmp_path / "x.zip", files)), tmp_path):
        pass


def test_a_zip_writes_nowhere_but_in_its_temporary_folder(tmp_path: Path) -> None:
    evil = packed(tmp_path / "x.zip", {f"../../up/{TAPE}": b"x", "../../up/evil.sh": b"x"})
    with opened(str(evil), tmp_path) as folder:
        assert [file.name for file in folder.iterdir()] == [TAPE]
        inside = folder
    assert not inside.exists()
    assert not (tmp_path.parent / "up").exists()


def test_a_damaged_zip_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    export.export(shelf.put("sess_a"), tmp_path / "x.zip")
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[200:260] = b"\0" * 60
    (tmp_path / "bad.zip").write_bytes(data)
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    for name in ("bad.zip", "cut.zip"):
        with pytest.raises(AuraError, match=r"\.zip: "), opened(str(tmp_path / name), tmp_path):
            pass
