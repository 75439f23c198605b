"""Where a journal comes from, and what is said, and still shown, of one that is amiss."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from aura.core.journal import JournalError, Lost, encode
from aura.tools.replay import transitions
from aura.tools.replay.source import find, read

PLAIN = (Path(__file__).parent / "golden" / "plain.jsonl").read_bytes()
"""Twelve facts, in lines 2 to 13."""
LINES = PLAIN.splitlines(keepends=True)


def replayed(where: str | Path, data_dir: Path = Path("nowhere")) -> tuple[str, str, int]:
    """Output, the one line of an error (or an empty text), and the exit code."""
    out = io.StringIO()
    try:
        code, error = transitions.run(str(where), data_dir, console=Console(file=out, width=110)), ""
    except JournalError as caught:
        code, error = 2, str(caught)
    return out.getvalue(), error, code


# ---- where it is -------------------------------------------------------------------------------------------------


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Three conversations; one was recorded, and has a journal besides."""
    files = {
        "journals/2026-01-01/sess_aa11.jsonl": PLAIN,
        "journals/2026-01-02/sess_aa22.jsonl": PLAIN,
        "journals/2026-01-02/sess_bb33.jsonl": PLAIN,
        "recordings/2026-01-02/sess_bb33/journal.jsonl": PLAIN,
        "recordings/2026-01-02/sess_bb33/tape.jsonl": b"",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("sess_aa11", "journals/2026-01-01/sess_aa11.jsonl"),
        ("sess_aa2", "journals/2026-01-02/sess_aa22.jsonl"),
        ("sess_bb33", "recordings/2026-01-02/sess_bb33/journal.jsonl"),
        ("sess_b", "recordings/2026-01-02/sess_bb33/journal.jsonl"),
        ("{}/recordings/2026-01-02/sess_bb33", "recordings/2026-01-02/sess_bb33/journal.jsonl"),
        ("{}/journals/2026-01-02/sess_aa22.jsonl", "journals/2026-01-02/sess_aa22.jsonl"),
    ],
)
def test_a_conversation_is_found_by_its_file_folder_or_id(data_dir: Path, where: str, name: str) -> None:
    source = find(where.format(data_dir), data_dir)

    assert source.path == data_dir / name
    assert read(source).header.session == "golden"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("sess_a", "sess_a: 2 conversations begin like this: sess_aa11, sess_aa22"),
        ("sess_c", "sess_c: there is no such file, and {} holds no conversation of this name"),
        ("{}/nothing.jsonl", "{}/nothing.jsonl: there is no such file or folder"),
        ("", "(no name): there is no such file or folder"),
        ("x" * 5000, "x" * 5000 + ": cannot be read: File name too long"),
        ("{}/recordings", "{}/recordings: there is no journal.jsonl in this folder; name the folder of one recording"),
    ],
)
def test_what_cannot_be_found_is_one_line(data_dir: Path, where: str, said: str) -> None:
    with pytest.raises(JournalError) as caught:
        find(where.format(data_dir), data_dir)
    assert str(caught.value) == said.format(data_dir)


def test_a_recording_without_its_journal_says_so(data_dir: Path) -> None:
    folder = data_dir / "recordings" / "2026-01-02" / "sess_bb33"
    (folder / "journal.jsonl").unlink()

    with pytest.raises(JournalError, match=r"sess_bb33: there is no journal\.jsonl in this folder; it holds a tape"):
        find("sess_bb33", data_dir)


def test_a_compressed_journal_is_read_like_any_other(tmp_path: Path) -> None:
    for path in (tmp_path / "journal.jsonl.gz", tmp_path / "without_its_suffix"):
        path.write_bytes(gzip.compress(PLAIN))
        assert replayed(path)[1:] == ("", 0)
    assert replayed(tmp_path)[1:] == ("", 0)  # as the folder of a recording


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_read(pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(pack(PLAIN)))))

    assert replayed("-")[1:] == ("", 0)
    with pytest.raises(JournalError, match="standard input: --step takes its commands from there"):
        transitions.run("-", Path(), step=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(PLAIN)
    (tmp_path / "j").chmod(0)

    assert replayed(tmp_path / "j")[1:] == (f"{tmp_path / 'j'}: cannot be read: Permission denied", 2)


# ---- what is wrong with it ---------------------------------------------------------------------------------------


def edited(*changes: tuple[int, bytes, bytes]) -> bytes:
    """The journal with something replaced in lines."""
    lines = list(LINES)
    for line, old, new in changes:
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new)
    return b"".join(lines)


BAD: dict[str, tuple[bytes, str, int]] = {
    # what is in the file, what is said after its name, how many facts are still replayed
    "empty": (b"", ": it is empty", 0),
    "foreign": (b"\x7fELF\x00\n\x00", ":1: not a journal of AURA", 0),
    "format 1": (edited((1, b'"aura_journal":2', b'"aura_journal":1')), ":1: written by an older AURA (format 1)", 0),
    "no header": (b"".join(LINES[1:]), ":1: the header is missing", 0),
    "cut line": (PLAIN[:-30], ":13: the line is cut off", 11),
    "unknown event": (edited((5, b"TranscriptReady", b"MindRead")), ":5: unknown event 'MindRead'", 3),
    "junk": (edited((5, b'{"n"', b"\xff\xfe")), ":5: ", 3),
    "swapped lines": (
        b"".join([*LINES[:4], LINES[5], LINES[4], *LINES[6:]]),
        ":5: fact 4 is missing before fact 5: lines were removed or reordered",
        3,
    ),
    "repeated line": (
        b"".join([*LINES[:5], *LINES[4:]]),
        ":6: fact 4 stands here, after fact 4: lines were reordered or repeated",
        4,
    ),
    "removed lines": (b"".join([*LINES[:4], *LINES[7:]]), ":5: facts 4 to 6 are missing before fact 7", 3),
    "lost lines": (
        b"".join([*LINES[:4], encode(Lost(3)), *LINES[7:]]),
        ":5: 3 lines are missing, which the disk could not take",
        3,
    ),
    "another begins": (PLAIN + PLAIN, ":14: another journal begins here", 12),
    "changed state": (
        edited((6, b'"was":"listening"', b'"was":"idle"')),
        ":6: fact 5 begins in 'idle', but fact 4 ended in listening: the file was changed",
        4,
    ),
    "clock": (
        edited((6, b'"at":0.0', b'"at":7.5'), (7, b'"at":0.0', b'"at":7.25')),
        ":7: the clock runs backwards, from 7.500 s to 7.250 s",
        12,
    ),
    "cut gzip": (gzip.compress(PLAIN)[:-20], ": the compressed data ends too early", 0),
    "damaged gzip": (gzip.compress(PLAIN)[:60] + b"x" * 200, "the compressed data is damaged", 0),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_journal_is_one_line_with_its_place_and_the_rest_is_shown(name: str, tmp_path: Path) -> None:
    data, said, facts = BAD[name]
    path = tmp_path / "j"
    path.write_bytes(data)

    out, error, code = replayed(path)

    assert code == 2
    assert error.startswith(str(path))
    assert said in error
    assert "\n" not in error
    assert (f"{facts} facts (" in out) == bool(facts)
    if 0 < facts < 11:
        assert "what follows, as recorded: it cannot be run again" in out


def test_a_divergence_counts_more_than_a_clock(tmp_path: Path) -> None:
    path = tmp_path / "j"
    changes = ((6, b'"at":0.0', b'"at":7.5'), (9, b'"verdict":"move"', b'"verdict":"stay"'))
    path.write_bytes(edited(*changes))

    out, error, code = replayed(path)

    assert (error, code) == ("", 1)
    assert ":7: the clock runs backwards" in out
    assert "fact 8 (TurnEnded) is decided otherwise: verdict" in out


def test_a_conversation_whose_end_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"".join(LINES[:-1]))

    out, error, code = replayed(path)

    assert (error, code) == ("", 0)
    assert "The end of the conversation is not in the journal." in out


def test_output_that_is_closed_early_is_no_divergence(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    program = (
        "import sys; from pathlib import Path; from aura.tools.replay.transitions import run; run(sys.argv[1], Path())"
    )
    (tmp_path / "journal.jsonl").write_bytes(PLAIN)

    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, check=False, stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)

    assert "AuraError: standard output: it was closed early" in done.stderr.splitlines()[-1]
