"""`aura replay`, first depth: a journal's facts through the table of states, every decision compared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from aura.core.errors import AuraError
from aura.core.journal import Header, JournalError
from aura.core.rerun import Outcome, Parting, rerun
from aura.tools.replay.show import FIELDS, divergence_data, plain, show_divergence, show_place
from aura.tools.replay.source import Source, find, read

LARGE_BYTES = 20_000_000
"""A journal of this size gets a progress bar."""


class Screen(Console):
    """Standard output; whoever reads it may stop early."""

    def on_broken_pipe(self) -> None:
        """End with one line and not with the code of a divergence."""
        with contextlib.suppress(SystemExit):
            super().on_broken_pipe()
        raise AuraError("standard output: it was closed early; the rest is not shown")


class Replay(msgspec.Struct, frozen=True):
    """A journal that was run again."""

    source: Source
    header: Header
    outcome: Outcome
    seconds: float
    """Time that it took, reading included."""

    @property
    def ok(self) -> bool:
        """Every fact was decided as it was recorded."""
        return self.outcome.parting is None and not self.outcome.troubles


def replay(source: Source, seen: Callable[[int], None] | None = None) -> Replay:
    """Run a journal again. Raises JournalError where it cannot be read at all."""
    begin = perf_counter()
    reader = read(source, seen)
    try:
        outcome = rerun(reader)
    except JournalError as error:
        raise source.error(str(error), error.line) from None
    return Replay(source, reader.header, outcome, perf_counter() - begin)


def run(
    where: str, data_dir: Path, *, as_json: bool = False, step: bool = False, console: Console | None = None
) -> int:
    """Run a journal again and show what came of it; the exit code: 0 all equal, 1 a divergence.

    `where` is a file, `-` for standard input, a recording's folder or a conversation's id under `data_dir`. Raises
    JournalError, when all that could be read was shown, where the journal itself is amiss.
    """
    source = find(where, data_dir)
    console = console or Screen()
    if step:
        from aura.tools.replay.step import walk

        return walk(source, console)
    with _progress(source) as seen:
        result = replay(source, seen)
    if as_json:
        console.out(msgspec.json.encode(data(result)).decode(), highlight=False)
    else:
        show(console, result)
    outcome = result.outcome
    if outcome.parting is None and outcome.troubles:
        raise source.trouble(outcome.troubles[-1])
    return 0 if outcome.parting is None else 1


@contextmanager
def _progress(source: Source) -> Iterator[Callable[[int], None] | None]:
    """A bar on a terminal while a large journal is read."""
    terminal = Console(stderr=True)
    size = source.path.stat().st_size if source.path else 0
    if size < LARGE_BYTES or not terminal.is_terminal:
        yield None
        return
    with Progress(console=terminal, transient=True) as bar:
        task = bar.add_task("replay", total=size)
        yield lambda done: bar.update(task, completed=done)


# ---- what is shown


def why(parting: Parting) -> str:
    """One line about the first fact that is decided otherwise."""
    fields = " and ".join(FIELDS[name] for name in parting.fields)
    return f"fact {parting.recorded.n} ({type(parting.recorded.event).__name__}) is decided otherwise: {fields}"


def show(console: Console, result: Replay) -> None:
    """What came of it, for people."""
    outcome, header, source = result.outcome, result.header, result.source
    began = f", began {header.started[:19].replace('T', ' ')} UTC" if header.started else ""
    length = f", {outcome.duration_s:.1f} s" if outcome.duration_s > 0 else ""
    turns = f", {outcome.turns} turn{'s' * (outcome.turns != 1)}"
    console.print(
        f"[bold]{escape(plain(header.session))}[/bold]{escape(plain(began))}{length}{turns}",
        highlight=False,
        soft_wrap=True,
    )
    parting = outcome.parting
    if parting is not None:
        text = f"{source.name}:{parting.line}: {why(parting)}"
        show_divergence(console, outcome.context, outcome.stopped_at, parting.recorded, parting.replayed, text)
        console.print()
    elif outcome.context:
        title = "what follows, as recorded: it cannot be run again"
        show_place(console, outcome.context, outcome.stopped_at, title=title)
        console.print()
    for trouble in outcome.troubles[: len(outcome.troubles) - (parting is None)]:  # the last one ends the command
        console.print(f"[yellow]{escape(str(source.trouble(trouble)))}[/yellow]", highlight=False, soft_wrap=True)
    console.print(_verdict(outcome), highlight=False, soft_wrap=True)
    console.print(f"[dim]{_speed(result)}[/dim]", highlight=False, soft_wrap=True)


def _verdict(outcome: Outcome) -> str:
    equal = outcome.facts - (outcome.parting is not None)
    kinds = f"{outcome.moves} moves, {outcome.stays} stays, {outcome.late} late"
    kinds += f", {outcome.bugs} bugs" if outcome.bugs else ""
    counted = f"{equal} fact{'s' * (equal != 1)}"
    if outcome.parting is not None:
        return f"{counted} before it decided as recorded."
    if outcome.context or outcome.troubles:
        return f"{counted} ({kinds}) decided as recorded, as far as the journal can be run."
    end = "" if outcome.closed else "\n[dim]The end of the conversation is not in the journal.[/dim]"
    return f"[bold green]✓[/bold green] {counted} ({kinds}): every decision is as recorded.{end}"


def _speed(result: Replay) -> str:
    facts, seconds = result.outcome.facts, result.seconds
    times = f", {result.outcome.duration_s / seconds:,.0f} times real time" if result.outcome.duration_s > 0 else ""
    return f"{facts / seconds:,.0f} facts/s{times} ({seconds:.3f} s)"


def data(result: Replay) -> dict[str, object]:
    """The same for machines, as one object."""
    outcome, parting = result.outcome, result.outcome.parting
    return {
        "ok": result.ok,
        "depth": "transitions",
        "source": result.source.name,
        "session": result.header.session,
        "started": result.header.started,
        "facts": outcome.facts,
        "moves": outcome.moves,
        "stays": outcome.stays,
        "late": outcome.late,
        "bugs": outcome.bugs,
        "turns": outcome.turns,
        "duration_s": outcome.duration_s,
        "closed": outcome.closed,
        "seconds": round(result.seconds, 6),
        "facts_per_s": round(outcome.facts / result.seconds),
        "troubles": [{"line": trouble.line, "why": trouble.why} for trouble in outcome.troubles],
        "divergence": divergence_data(parting.recorded, parting.replayed, why(parting), line=parting.line)
        if parting
        else None,
    }
