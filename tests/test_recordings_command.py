"""`aura recordings`: found, listed, shown, deleted and exported, with recordings of real conversations."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from aura.core import tape
from aura.core.errors import AuraError
from aura.storage.taping import TAPE
from aura.tools.recorded import command, deletion
from aura.tools.recorded.find import JOURNAL, RecordingError, folder_of
from aura.tools.recorded.summary import summarise
from tests.shelf import NOW, STREAMS, Shelf, contents, screen
from tests.shelf import template as record


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def shelf(tmp_path: Path, template: Path) -> Shelf:
    return Shelf(tmp_path, template)


# ---- which one is meant


@pytest.mark.parametrize("name", ["sess_aa11", "aa11", "sess_aa", "aa", "2026-03-14/sess_aa11"])
def test_a_recording_is_found_by_its_id_or_the_beginning_of_it(shelf: Shelf, name: str) -> None:
    folder = shelf.put("sess_aa11")
    shelf.put("sess_bb22")
    assert folder_of(name, shelf.folder) == folder
    assert folder_of(str(folder), shelf.folder) == folder
    assert folder_of(str(folder / TAPE), shelf.folder) == folder


def test_an_id_that_another_one_begins_with_is_still_that_one(shelf: Shelf) -> None:
    folder = shelf.put("sess_aa")
    shelf.put("sess_aa-branch-1")
    assert folder_of("sess_aa", shelf.folder) == folder


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sess_", "2 recordings begin like this: sess_aa11, sess_aa22"),
        ("zz", "holds no recording of this name"),
        ("no/such/folder", "there is no such file or folder"),
        ("", "no recording is named"),
        (".", "this is no folder of a recording"),
        ("../../nowhere", "there is no such file or folder"),
        ("zz\x1b[2J", r"zz·[2J"),
        (__file__, "this is no file of a recording"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(shelf: Shelf, name: str, why: str) -> None:
    shelf.put("sess_aa11")
    shelf.put("sess_aa22")
    with pytest.raises(RecordingError) as error:
        folder_of(name, shelf.folder)
    assert why in str(error.value)
    assert "\n" not in str(error.value)


# ---- list


def test_the_list_tells_what_happened(shelf: Shelf) -> None:
    shelf.put("sess_aa11")
    (one,) = shelf.listed()
    assert (one.session, one.started, one.state) == ("sess_aa11", "2026-03-14T09:26:53+00:00", "complete")
    assert (one.turns, one.interruptions, one.errors) == (2, 1, 2)
    assert one.words == "how tall is the zebra"
    assert one.length_s > 10
    assert one.bytes == sum(map(len, contents(shelf.put("sess_bb22")).values()))
    with screen(80) as (out, text):
        assert command.list_(shelf.folder, out=out) == 0
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert "aa11" in text.getvalue()
    assert "2 recordings" in text.getvalue()


def test_the_list_is_in_the_order_in_which_conversations_began_and_can_be_narrowed(shelf: Shelf) -> None:
    for session, started in (("sess_b", "2026-03-14T09:00:00+00:00"), ("sess_a", "2026-03-14T10:00:00+00:00"),
                             ("sess_old", "2026-03-01T10:00:00+00:00")):  # fmt: skip
        shelf.put(session, started)

    def found(**options: object) -> list[str]:
        return [one.session for one in shelf.listed(**options)]

    assert found() == ["sess_old", "sess_b", "sess_a"]
    assert found(since="1d") == ["sess_b", "sess_a"]
    assert found(since="2026-03-14T09:30") == ["sess_a"]
    assert found(until="2026-03-14T09:30") == ["sess_old", "sess_b"]
    assert found(session="a") == ["sess_a"]
    assert found(search="ZEBRA") == found(search="marmalade") == found(search="a pelican") == found()
    assert found(search="sess_old") == ["sess_old"]
    assert found(search="unicorn") == []
    with pytest.raises(AuraError, match="--since: cannot read"):
        found(since="soon")


def test_machines_get_one_object_per_line(shelf: Shelf) -> None:
    shelf.put("sess_a")
    shelf.put("sess_b", "2026-03-14T10:00:00+00:00")
    with screen() as (out, text):
        command.list_(shelf.folder, json=True, out=out)
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [line["id"] for line in lines] == ["2026-03-14/sess_a", "2026-03-14/sess_b"]


def test_an_empty_list_says_what_to_do(shelf: Shelf) -> None:
    err = io.StringIO()
    with screen() as (out, text):
        assert command.list_(shelf.folder, out=out, err=Console(file=err, width=200)) == 0
    assert (text.getvalue(), "aura serve --record" in err.getvalue()) == ("", True)


def written(folder: Path, data: bytes, *, fresh: bool = False) -> None:
    (folder / TAPE).write_bytes(data)
    if not fresh:
        os.utime(folder / TAPE, (1.7e9, 1.7e9))


def test_how_a_recording_ended_is_told_from_its_last_line(shelf: Shelf) -> None:
    folder = shelf.put("sess_aa11")
    whole = (folder / TAPE).read_bytes()
    body = whole[: whole.rindex(b"{")]

    def state(data: bytes, *, fresh: bool = False) -> str:
        written(folder, data, fresh=fresh)
        one = summarise(folder)
        assert one is not None
        return one.state

    assert state(whole) == "complete"
    assert state(body) == state(body + b'[9.0,1,{"t"') == state(body + b'{"t":"se') == "cut short"
    assert state(body, fresh=True) == "running"
    assert state(body + tape.encode([tape.TapeEnd("cut short")])) == "cut short"
    assert state(body + tape.encode([tape.LostSteps()])) == "incomplete"
    assert state(whole.partition(b"\n")[0] + b"\n") == "cut short"
    assert state(b"") == state(b"junk\n" * 9) == "incomplete"


@pytest.mark.parametrize("name", [TAPE, JOURNAL])
@pytest.mark.parametrize(
    "data", [b"", b"{}\n", b"\xff\xfe\n", b"[" * 100_000, b'{"aura_journal":1}\n', b'{"aura_tape":9}\n', None]
)
def test_a_broken_recording_is_listed_and_shown_as_far_as_it_can_be_read(
    shelf: Shelf, name: str, data: bytes | None
) -> None:
    folder = shelf.put("sess_aa11")
    if data is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(data)
    shelf.put("sess_bb22")
    with screen() as (out, text):
        assert command.list_(shelf.folder, out=out) == 0
    assert name in text.getvalue()
    with screen() as (out, text):
        assert command.show(shelf.folder, "aa11", out=out) == 2
    assert name in text.getvalue()
    assert ("how tall is the zebra" in text.getvalue()) or name == JOURNAL


# ---- show


def test_a_recording_is_shown_with_words_turns_files_and_settings(shelf: Shelf) -> None:
    shelf.put("sess_aa11")
    with screen() as (out, text):
        assert command.show(shelf.folder, "aa11", out=out) == 0
    shown = text.getvalue()
    for what in ("sess_aa11", "2026-03-14 09:26:53 UTC", "scripted", "complete", "in.pcm16.16000.flac", "saxophone",
                 "session.greeting", "Have some marmalade.", "how tall is the zebra", "interruption"):  # fmt: skip
        assert what in shown
    assert "⟨not heard: " in shown or "⟨not sent: " in shown
    assert "turns.silence_s" not in shown
    with screen() as (out, text):
        command.show(shelf.folder, "aa11", json=True, out=out)
    told = json.loads(text.getvalue())
    assert told["summary"]["turns"] == 2
    assert {file["name"] for file in told["files"]} == {TAPE, JOURNAL, *(f"{stream}.flac" for stream in STREAMS)}
    assert {one["setting"] for one in told["changed"]} >= {"session.greeting", "transcribe.answer_s"}
    assert told["conversation"]["latencies"][0]["ms"]["voice_to_voice"] > 0


# ---- delete


def answer(yes: bool, asked: list[str]) -> object:
    def ask(question: str) -> bool:
        asked.append(question)
        return yes

    return ask


def test_deleting_asks_and_takes_only_what_was_named(shelf: Shelf) -> None:
    for session in ("sess_a", "sess_b", "sess_c"):
        shelf.put(session)
    asked: list[str] = []
    quiet = Console(file=io.StringIO())
    assert command.delete(shelf.folder, ["a"], console=quiet, ask=answer(False, asked)) == 1  # type: ignore[arg-type]
    assert shelf.names() == ["sess_a", "sess_b", "sess_c"]
    assert command.delete(shelf.folder, ["a", "sess_a", "c"], console=quiet, ask=answer(True, asked)) == 0  # type: ignore[arg-type]
    assert shelf.names() == ["sess_b"]
    assert [question[:20] for question in asked] == ["Delete 1 recording, ", "Delete 2 recordings,"]
    with pytest.raises(RecordingError, match="give --yes"):
        command.delete(shelf.folder, everything=True, console=quiet)
    assert command.delete(shelf.folder, everything=True, yes=True, console=quiet) == 0
    assert not list((shelf.folder / "recordings").iterdir())
    assert command.delete(shelf.folder, everything=True, yes=True, console=quiet) == 0


def test_deleting_by_age_goes_by_when_the_conversation_began(shelf: Shelf) -> None:
    for session, started in (("sess_a", "2026-02-01T10:00:00+00:00"), ("sess_b", "2026-03-13T11:00:00+00:00"),
                             ("sess_c", "2026-03-13T13:00:00+00:00")):  # fmt: skip
        shelf.put(session, started)

    def old(age: str) -> list[str]:
        return [one.session for _, one in deletion.doomed(shelf.folder, older_than=age, now=NOW)]

    assert (old("30d"), old("1d"), old("23h"), old("1h")) == (
        ["sess_a"],
        ["sess_a", "sess_b"],
        ["sess_a", "sess_b"],
        old("0d"),
    )
    with pytest.raises(RecordingError, match="--older-than: cannot read"):
        old("a month")


def test_nothing_outside_the_recordings_is_ever_deleted(shelf: Shelf, tmp_path: Path, template: Path) -> None:
    shelf.put("sess_a")
    elsewhere = tmp_path / "mine" / "2026-03-14" / "sess_x"
    shutil.copytree(template, elsewhere)
    day = shelf.folder / "recordings" / "2026-03-14"
    (day / "sess_link").symlink_to(elsewhere)
    (shelf.folder / "recordings" / "2026-03-15").symlink_to(elsewhere.parent)
    deep = day / "sess_a" / "deeper"
    shutil.copytree(template, deep)
    for name in (str(elsewhere), str(day / "sess_link"), "2026-03-15/sess_x", str(deep), str(day), str(shelf.folder)):
        with pytest.raises(RecordingError):
            command.delete(shelf.folder, [name], yes=True, console=Console(file=io.StringIO()))
    with pytest.raises(RecordingError):
        command.delete(shelf.folder, [], yes=True, console=Console(file=io.StringIO()))
    with pytest.raises(RecordingError):
        command.delete(shelf.folder, ["a"], everything=True, yes=True, console=Console(file=io.StringIO()))
    assert command.delete(shelf.folder, ["a"], yes=True, console=Console(file=io.StringIO())) == 0
    assert (elsewhere / TAPE).exists()


def test_a_conversation_that_is_going_on_is_not_deleted(shelf: Shelf) -> None:
    folder = shelf.put("sess_a")
    written(folder, tape.encode([tape.TapeHeader("sess_a", "", 0.0, {})]), fresh=True)
    text = io.StringIO()
    assert command.delete(shelf.folder, ["a"], yes=True, console=Console(file=text)) == 2
    assert "still being recorded" in text.getvalue()
    assert shelf.names() == ["sess_a"]
