"""`aura replay`: which depth, with what, and what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aura.config import SECTIONS, Config, build, nearest
from aura.config_sources import from_options
from aura.core import journal
from aura.core.errors import AuraError, ConfigError
from aura.core.journal import Entry
from aura.core.tape import TapeError
from aura.session.build import Sections
from aura.storage.tapes import read_tape
from aura.storage.taping import TAPE
from aura.tools.replay import branch, figures, pipeline, play, to_test, transitions
from aura.tools.replay.show import divergence_data, plain, show_divergence
from aura.tools.replay.source import JOURNAL, find
from aura.tools.replay.unzip import opened

Depth = Literal["auto", "transitions", "pipeline"]
PERSONA = "assistant.instructions"
"""What `--set persona=…` changes."""


class Request(msgspec.Struct, frozen=True):
    """What the user asked for."""

    where: str
    depth: Depth = "auto"
    from_fact: int | None = None
    """Branch from this fact on."""
    changes: tuple[str, ...] = ()
    """`section.key=value` of the branch."""
    edits: tuple[str, ...] = ()
    """`old=new` in the user's words."""
    engines: Literal["offline", "configured"] = "offline"
    out: Path | None = None
    as_json: bool = False
    step: bool = False
    play: bool = False
    """Along with time, and with the audio."""
    speed: float = 1.0
    save: Path | None = None
    """Write what would be heard to this file."""
    to_test: bool = False
    """Write a test; `out` is where, `symptom` what is wrong if it is no divergence."""
    symptom: str = ""

    @property
    def branches(self) -> bool:
        """Whether something is to be different."""
        return self.from_fact is not None or bool(self.changes or self.edits)


def run(request: Request, config: Config, console: Console | None = None) -> int:
    """Replay; 0 when all is equal (or a branch or test was made), 1 when not. Raises AuraError: exit code 2."""
    console = console or transitions.Screen()
    with opened(request.where) as where:
        return run_folder(msgspec.structs.replace(request, where=where), config, console)


def run_folder(request: Request, config: Config, console: Console) -> int:
    """The same, once an archive is unpacked."""
    data_dir = config.storage.data_dir
    if request.to_test:
        return to_test.run(
            request.where, data_dir, request.out, wrong=request.symptom, as_json=request.as_json, console=console
        )
    if request.symptom:
        raise AuraError("--symptom says what a test is about: give --to-test too")
    if request.play or request.save:
        return play.run(request.where, data_dir, speed=request.speed, save=request.save, console=console)
    folder = folder_of(request.where, data_dir)
    has_tape = folder is not None and (folder / TAPE).exists()
    if request.branches:
        return run_branch(request, config, taped(request, folder), console)
    if request.step or request.depth == "transitions" or (request.depth == "auto" and not has_tape):
        return transitions.run(request.where, data_dir, as_json=request.as_json, step=request.step, console=console)
    return run_pipeline(taped(request, folder), request.as_json, console)


def folder_of(where: str, data_dir: Path) -> Path | None:
    """The folder of a recording that `where` names; None where it is a journal alone. Raises JournalError."""
    source = find(where, data_dir)
    if source.path is None:
        return None
    return source.path.parent if source.path.name.startswith(JOURNAL) else None


def taped(request: Request, folder: Path | None) -> Path:
    """The folder with the tape that this depth needs. Raises TapeError."""
    if folder is None or not (folder / TAPE).exists():
        raise TapeError(
            f"{request.where}: there is no tape beside this journal, only its transitions can be replayed; "
            "conversations held with `aura serve --record` have one"
        )
    return folder


# ---- the real stages ---------------------------------------------------------------------------------------------


def run_pipeline(folder: Path, as_json: bool, console: Console) -> int:
    """The second depth."""
    done = pipeline.replay(folder)
    if as_json:
        data: dict[str, Any] = {
            "ok": not done.why, "depth": "pipeline", "facts": done.facts, "messages": done.messages,
            "recorded_s": round(done.recorded_s, 3), "seconds": round(done.took_s, 3), "speed": round(done.speed, 1),
            "complete": done.complete,
        }  # fmt: skip
        if done.why:
            sides = divergence_data(done.expected, done.actual, done.why)
            data["divergence"] = sides
        console.print_json(data=data)
        return 1 if done.why else 0
    if done.why:
        entries = journal.decode((folder / JOURNAL).read_bytes()).entries
        show_divergence(console, entries, done.at_fact, done.expected, done.actual, done.why)
        return 1
    console.print(
        f"[green]✓[/green] {done.facts} facts and {done.messages} messages to the client came out equal: "
        f"{done.recorded_s:.1f} s of conversation in {done.took_s:.2f} s, {done.speed:.0f} times as fast",
        highlight=False,
    )
    if not done.complete:
        console.print("[yellow]The recording breaks off; it was replayed to its last step.[/yellow]")
    return 0


# ---- what if -----------------------------------------------------------------------------------------------------


def run_branch(request: Request, config: Config, folder: Path, console: Console) -> int:
    """The third depth."""
    read = read_tape(folder)
    plan = branch.Plan(
        request.from_fact or 0,
        changed_sections(pipeline.recorded_sections(read), request.changes),
        dict(edit(text) for text in request.edits),
        request.engines,
    )
    out = request.out or new_folder(folder)
    made = branch.branch(folder, plan, config, out)
    if made.why:
        raise AuraError(
            f"{folder}: it does not come to fact {plan.from_fact} as it did: {made.why}. See `aura replay {folder}`"
        )
    recorded = journal.decode((folder / JOURNAL).read_bytes()).entries
    before, after = figures.account(recorded), figures.account(made.entries)
    parted = branch.parted_at(recorded, made.entries)
    if request.as_json:
        data = {
            "ok": True, "depth": "branch", "folder": str(out), "from": plan.from_fact, "seconds": round(made.took_s, 3),
            "asked": made.asked, "left_out": made.left_out, "recorded": msgspec.to_builtins(before),
            "branch": msgspec.to_builtins(after), "usage": figures.usage(made.calls),
            "divergence": divergence_of(parted, recorded, made.entries),
        }  # fmt: skip
        console.print_json(data=data)
        return 0
    show_branch(console, request, recorded, made, (before, after))
    return 0


def divergence_of(
    parted: journal.Divergence | None, recorded: Sequence[Entry], made: Sequence[Entry]
) -> dict[str, Any] | None:
    """Where the branch parts from the recording, as data."""
    if parted is None:
        return None
    sides = [side[parted.index] if parted.index < len(side) else None for side in (recorded, made)]
    return divergence_data(sides[0], sides[1], f"the branch differs in {parted.field}")


def show_branch(
    console: Console,
    request: Request,
    recorded: Sequence[Entry],
    made: branch.Branched,
    accounts: tuple[figures.Figures, figures.Figures],
) -> None:
    """The first difference, the figures side by side, and where to look further."""
    parted = branch.parted_at(recorded, made.entries)
    if parted is None:
        console.print("[green]✓[/green] nothing is decided otherwise: every fact is the same", highlight=False)
    else:
        sides = [side[parted.index] if parted.index < len(side) else None for side in (recorded, made.entries)]
        why = f"from fact {parted.index + 1} on the branch goes another way ({parted.field})"
        show_divergence(console, recorded, parted.index, sides[0], sides[1], why, names=("recorded", "branch"))
    table = Table("", "recorded", "branch", "change", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, was, now, change in figures.rows(*accounts):
        table.add_row(label, was, now, change)
    console.print()
    console.print(table)
    answered = ", ".join(f"{count} × {who}" for who, count in sorted(made.asked.items()))
    console.print(f"\nanswered by: {escape(answered or 'nobody')}", highlight=False, soft_wrap=True)
    if made.left_out:
        console.print(f"{made.left_out} messages about what was played then were left out", highlight=False)
    console.print(f"the branch   {escape(plain(str(made.folder)))}", highlight=False, soft_wrap=True)


def changed_sections(recorded: Sections, changes: Sequence[str]) -> Sections:
    """The recorded settings with changes. Raises ConfigError naming what cannot be changed."""
    given = []
    for item in from_options([f"{PERSONA}={text[8:]}" if text.startswith("persona=") else text for text in changes]):
        section = item.key.partition(".")[0]
        if section in SECTIONS and section not in Sections.__struct_fields__:
            possible = ", ".join(Sections.__struct_fields__)
            raise ConfigError(f"{item.key}: a conversation does not depend on it; a branch may change: {possible}")
        given.append(item)
    wanted = build(given)
    for item in given:
        section, _, name = item.key.partition(".")
        if item.key not in wanted.origins:
            raise ConfigError(f"unknown setting {item.key}; {nearest(item.key, ())}")
        new = msgspec.structs.replace(getattr(recorded, section), **{name: getattr(getattr(wanted, section), name)})
        recorded = msgspec.structs.replace(recorded, **{section: new})
    return recorded


def edit(text: str) -> tuple[str, str]:
    """`old=new`. Raises ConfigError."""
    old, equals, new = text.partition("=")
    if not equals or not old:
        raise ConfigError(f"--edit {text!r}: write OLD=NEW, words of the user and what they are to be instead")
    return old, new


def new_folder(folder: Path) -> Path:
    """Beside the recording."""
    stamp = datetime.now(UTC).strftime("%H%M%S%f")[:9]
    return folder.with_name(f"{folder.name.partition('-branch-')[0]}-branch-{stamp}")
