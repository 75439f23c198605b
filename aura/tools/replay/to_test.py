"""`aura replay --to-test`: from a bug to a test, with the least of the recording that still fails in the same way.

What is wrong is either that this AURA decides or does otherwise than the recording (the test then wants what is
recorded), or a symptom that the user names (the test then wants it not to come when the input is run).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from aura.core import journal
from aura.core.errors import AuraError
from aura.core.journal import Entry, Header, Journal
from aura.core.rerun import Parting, fsm_settings
from aura.storage.taping import TAPE, Scribe, Taken, finish
from aura.tools.replay import check, cut, free, shrink, symptom, transitions, trial
from aura.tools.replay.ddmin import Budget
from aura.tools.replay.show import plain
from aura.tools.replay.source import JOURNAL, Source, find, read
from aura.tools.replay.strip import Strip, load
from aura.tools.replay.trial import Detector

RECORDINGS = "recordings"
"""Folder beside the test in which its recording lies."""
BUDGET_S = 60.0
"""Shrinking takes no longer than about this."""
WHAT_MAX = 112
"""Characters for what is wrong in the test's first line."""
DIFFERENCE = "difference(RECORDING)"


class Size(msgspec.Struct, frozen=True):
    """How much there is of a recording."""

    facts: int
    messages: int = 0
    """Of the client."""
    steps: int = 0
    bytes: int = 0


class Made(msgspec.Struct, frozen=True):
    """A test that was written."""

    path: Path
    recording: Path
    fails: str
    """What is wrong, in one line, as the test says it."""
    before: Size
    after: Size
    attempts: int


class Wrong(msgspec.Struct, frozen=True):
    """What a test is to be about."""

    what: str
    title: str
    """The test's name says it."""
    ask: str
    """The test's question, one of `check`, as it is written."""
    answer: Callable[[Path], str]
    """The same for a recording."""
    shrink: Callable[[Path, Budget], None]
    """Makes a folder with the least of the recording."""


def run(
    where: str,
    data_dir: Path,
    out: Path | None = None,
    *,
    wrong: str = "",
    budget_s: float = BUDGET_S,
    as_json: bool = False,
    console: Console | None = None,
) -> int:
    """Write a test from a recording, or a journal, and say so; returns 0. Raises AuraError: exit code 2.

    `wrong` is a symptom (`symptom`); without one, what is wrong is where this AURA parts from the recording.
    """
    console = console or transitions.Screen()
    with Console(stderr=True).status("looking for what is wrong") as status:
        made = make(find(where, data_dir), out, wrong=wrong, budget=Budget(budget_s, status.update))
    if as_json:
        console.print_json(msgspec.json.encode(made).decode())
    else:
        show(console, made)
    return 0


def show(console: Console, made: Made) -> None:
    """What was written, and how small it is."""
    before, after = made.before, made.after
    rows = [("facts", before.facts, after.facts), ("client messages", before.messages, after.messages)]
    rows += [("steps of tasks", before.steps, after.steps), ("kB", before.bytes // 1000, after.bytes // 1000)]
    sizes = ", ".join(f"{was} → {now} {name}" for name, was, now in rows if was)
    for line in (
        f"[bold green]✓[/bold green] {escape(plain(str(made.path)))} fails now as the recording does",
        f"[dim]why[/dim]        {escape(plain(made.fails))}",
        f"[dim]recording[/dim]  {escape(plain(str(made.recording)))}: {sizes} ({made.attempts} attempts)",
        "[yellow]It holds what was said.[/yellow]",
        f"[dim]run it[/dim]     python -m pytest {escape(plain(str(made.path)))}",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def make(
    source: Source, out: Path | None, *, wrong: str = "", budget: Budget, detector: Detector | None = None
) -> Made:
    """Write a test. Raises AuraError where nothing is wrong, or it cannot be written."""
    if source.path is None:
        raise AuraError("standard input: a test needs the recording or the journal as a file")
    folder = source.path.parent if source.path.name == JOURNAL else None
    taped = folder is not None and (folder / TAPE).exists()
    if wrong and not taped:
        raise AuraError(f"{source.name}: there is no tape beside this journal, so its input cannot be run again")
    found = (
        by_symptom(folder, wrong, detector) if folder and wrong
        else by_decision(source) or (by_difference(folder, detector) if folder and taped else None)
    )  # fmt: skip
    if found is None:
        raise AuraError(
            f"{source.name}: it comes out as recorded, so nothing is wrong to test; name what is, with "
            "--symptom StageFailed:code=timed_out (a fact or an order, [:FIELD=VALUE]), or late, or bug"
        )
    path, recording = names(out, _session(source))
    recording.parent.mkdir(parents=True, exist_ok=True)
    with removed_on_error(recording):
        found.shrink(recording, budget)
        fails = found.answer(recording)
        if not fails:
            raise AuraError(f"{source.name}: what is wrong does not come every time: {found.what}")
        before, after = size(folder or source.path), size(recording)
        path.write_text(text(found, path, _session(source), (before, after)), encoding="utf-8")
    return Made(path, recording, fails, before, after, budget.tries)


def names(out: Path | None, session: str) -> tuple[Path, Path]:
    """The test file and the folder of its recording. Raises AuraError where something is there already."""
    slug = re.sub(r"\W+", "_", session.lower()).strip("_") or "recording"
    tests = Path("tests")
    path = out or (tests if tests.is_dir() else Path()) / f"test_{slug}.py"
    if path.suffix != ".py" or not re.fullmatch(r"test_\w+", path.stem):
        raise AuraError(f"{path}: pytest finds tests in files like test_cut_off.py: name it so")
    recording = path.parent / RECORDINGS / path.stem.removeprefix("test_")
    for there in (path, recording):
        if there.exists():
            raise AuraError(f"{there}: exists already; name another file")
    if not path.parent.is_dir():
        raise AuraError(f"{path.parent}: there is no such folder")
    return path, recording


@contextmanager
def removed_on_error(folder: Path) -> Iterator[None]:
    """A folder that stays only if all goes well. What the disk refuses becomes an AuraError."""
    try:
        yield
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise AuraError(f"{error.filename or folder}: {error.strerror}") from None
        raise


# ---- what is wrong -----------------------------------------------------------------------------------------------


def by_decision(source: Source) -> Wrong | None:
    """The table decides otherwise. Raises JournalError when the journal cannot be read up to there."""
    result = transitions.replay(source)
    parting = result.outcome.parting
    if parting is None:
        return None

    def shrunk(folder: Path, budget: Budget) -> None:
        entries = facts_until(source, parting)
        kept = shrink.fewest_facts(fsm_settings(result.header), entries, parting, budget)
        folder.mkdir()
        write_journal(folder, result.header, kept)

    return Wrong(transitions.why(parting), "is_decided_as_recorded", DIFFERENCE, check.difference, shrunk)


def facts_until(source: Source, parting: Parting) -> list[Entry]:
    """The facts up to the first that is decided otherwise."""
    entries: list[Entry] = []
    for line, piece in read(source):
        if isinstance(piece, list):
            entries += piece[: max(0, parting.line - line + 1)]
        if line > parting.line:
            break
    return entries


def by_difference(folder: Path, detector: Detector | None) -> Wrong | None:
    """The real stages do otherwise. Raises AuraError for a recording that cannot be read."""
    strip = load(folder)
    parted = trial.run(strip, detector)
    if parted.parted is None:
        return None

    def shrunk(out: Path, budget: Budget) -> None:
        short = cut.shortest(strip, parted, budget, detector)
        for attempt in (short, cut.whole_tail(strip, parted)):
            shutil.rmtree(out, ignore_errors=True)
            write(out, attempt)
            if trial.run(load(out), detector).parted == parted.parted:
                return
        shutil.rmtree(out)
        shutil.copytree(folder, out)

    answer = partial(check.difference, detector=detector)
    return Wrong(trial.one_line(parted), "comes_out_as_recorded", DIFFERENCE, answer, shrunk)


def by_symptom(folder: Path, wanted: str, detector: Detector | None) -> Wrong:
    """Something happens that should not. Raises AuraError where it does not, or cannot be brought about again."""
    wrong = symptom.parse(wanted)
    given = free.input_of(folder)
    found = wrong.first(given.entries)
    if found is None:
        raise AuraError(f"{folder}: {wanted} does not happen in this conversation: there is nothing to test")

    def shrunk(out: Path, budget: Budget) -> None:
        try:
            least = shrink.fewest_messages(given, wrong, budget, detector)
        except shrink.NotShown as error:
            raise AuraError(f"{folder}: {error}; it may be mended already, or be a matter of load") from None
        free.run(given, least.plan, least.end, out=out, detector=detector)
        for sent in out.glob("out.*"):  # for a test it is enough to know its hash
            sent.unlink()

    what = f"fact {found.n} at {found.at:.3f} s: {found.event}"
    answer = partial(check.occurrence, wanted, detector=detector)
    return Wrong(what, "does_not_happen", f"occurrence({quoted(wanted)}, RECORDING)", answer, shrunk)


# ---- files -------------------------------------------------------------------------------------------------------


def write_journal(folder: Path, header: Header, entries: list[Entry]) -> None:
    """A journal."""
    (folder / JOURNAL).write_bytes(b"".join([journal.encode(header), *map(journal.encode, entries)]))


def write(folder: Path, recording: cut.Cut) -> None:
    """A recording, with its audio as FLAC."""
    folder.mkdir()
    items: list[Taken] = list(recording.items)
    for name, data in Scribe().encode(items).items():
        (folder / name).write_bytes(data)
    finish(folder)
    write_journal(folder, recording.strip.kept.header, list(recording.strip.entries))


def size(where: Path) -> Size:
    """How much there is."""
    if where.is_dir() and (where / TAPE).exists():
        strip: Strip = load(where)
        outcomes = [step.outcome for step in strip.read.steps]
        messages = sum(type(outcome).__name__ in ("Text", "Audio", "Gone") for outcome in outcomes)
        held = sum(path.stat().st_size for path in where.iterdir())
        return Size(len(strip.entries), messages, len(outcomes), held)
    path = where / JOURNAL if where.is_dir() else where
    lines: Journal = journal.decode(path.read_bytes())
    return Size(len(lines.entries), bytes=path.stat().st_size)


def _session(source: Source) -> str:
    return read(source).header.session


def quoted(text: str) -> str:
    """A string as Python writes it, in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def text(wrong: Wrong, path: Path, session: str, sizes: tuple[Size, Size]) -> str:
    """The test."""
    before, after = sizes
    much = f"{before.facts} facts to {after.facts}"
    if before.messages:
        much += f" and {before.messages} messages of the client to {after.messages}"
    return TEMPLATE.format(
        what=plain(wrong.what).replace("\\", "/").replace('"', "'")[:WHAT_MAX].strip(),
        session=plain(session),
        much=much,
        name=path.stem.removeprefix("test_"),
        title=wrong.title,
        ask=wrong.ask,
        asked=wrong.ask.partition("(")[0],
    )


TEMPLATE = '''"""{what}

Made by `aura replay --to-test` from {session}.
Cut down from {much}.
"""

from __future__ import annotations

from pathlib import Path

from aura.tools.replay.check import {asked}

RECORDING = Path(__file__).parent / "recordings" / "{name}"


def test_{name}_{title}() -> None:
    assert {ask} == ""
'''
