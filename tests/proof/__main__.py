"""The command that CI runs."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from aura.core.errors import AuraError
from tests.proof import again, corpus, coverage, rules
from tests.proof.again import Result
from tests.proof.nights import Recorded, record_all
from tests.proof.speech import speech

LEAST = 200
"""Conversations in a full run."""
TRIES = 3
"""So many recordings are replayed under each changed rule."""
console = Console(highlight=False, soft_wrap=True)


def prove(conversations: int, folder: Path, seed: int) -> int:
    """Record, replay, compare; the exit code."""
    voices = "human speech" if speech(24_000).human else "shipped clips only: the folder `shared` is missing"
    console.print(f"recording {conversations} conversations into {folder}, seed {seed}, {voices}")
    began = time.monotonic()
    nights = trio.run(record_all, conversations, folder, seed)
    console.print(f"recorded in {time.monotonic() - began:.0f} s; replaying at two depths")
    began = time.monotonic()
    folders = [recording for night in nights for recording in night.folders]
    with again.processes() as executor:
        results = list(executor.map(again.run_again, folders, chunksize=4))
        took_s = time.monotonic() - began
        found = sum(executor.map(coverage.happened, folders, chunksize=8), Counter[str]())
        caught = changed_rules(executor, folders)
    show(nights, results, found, took_s)
    problems = [result.divergence for result in results if result.divergence]
    problems += [
        f"{n} times in the log of `{night.night}`: {what}" for night in nights for what, n in night.errors.items()
    ]
    problems += caught
    if conversations >= LEAST:
        problems += [f"only {len(folders)} conversations, {LEAST} are needed"] if len(folders) < LEAST else []
        problems += [f"happened too rarely: {what}" for what in coverage.missing(found)]
    for problem in problems:
        console.print(f"[red]✗[/red] {problem}", markup=True)
    if not problems:
        console.print("[green]✓[/green] every conversation came out equal")
    return 1 if problems else 0


def changed_rules(executor: Executor, folders: Sequence[Path]) -> list[str]:
    """Changed rules that were not caught where they first matter."""
    problems = []
    entries = [(folder, coverage.read(folder)[1]) for folder in folders]
    for number, rule in enumerate(rules.RULES):
        chosen = [folder for folder, facts in entries if rules.first(rule, facts)][:TRIES]
        wrong = list(filter(None, executor.map(rules.caught, [number] * len(chosen), chosen)))
        console.print(f"changed on purpose: {rule.name}: caught in {len(chosen) - len(wrong)} of {len(chosen)}")
        problems += wrong if chosen else [f"{rule.name}: no recording to catch it in"]
    return problems


def show(nights: Sequence[Recorded], results: Sequence[Result], found: Counter[str], took_s: float) -> None:
    """Everything in figures."""
    seconds, cpu_s = sum(r.seconds for r in results), sum(r.took_s for r in results)
    table = Table("what happened", "how often", "needed", box=None, header_style="dim")
    for name, count in sorted(found.items()):
        table.add_row(name, str(count), str(coverage.LEAST.get(name, "")))
    console.print(table)
    speed = f"{seconds / cpu_s:.0f} × real time" if cpu_s else "-"
    figures = {
        "conversations": ", ".join(f"{len(night.folders)} {night.night}" for night in nights),
        "that break off": sum(not r.complete for r in results),
        "minutes": f"{seconds / 60:.1f}",
        "facts decided equally": sum(r.decided for r in results),
        "facts told equally": sum(r.facts for r in results),
        "messages equal": sum(r.messages for r in results),
        "replayed": f"in {took_s:.0f} s by {again.PROCESSES} processes, at {speed} each",
        "divergences": sum(bool(r.divergence) for r in results),
    }
    grid = Table(show_header=False, box=None)
    for what, value in figures.items():
        grid.add_row(what, str(value))
    console.print(grid)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["prove", "record-corpus"], default="prove")
    parser.add_argument("--conversations", type=int, default=235)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="leave the recordings in this folder")
    chosen = parser.parse_args()
    try:
        if chosen.what == "record-corpus":
            return corpus.record(console)
        if chosen.keep:
            return prove(chosen.conversations, chosen.keep, chosen.seed)
        with tempfile.TemporaryDirectory(prefix="aura-proof-") as folder:
            return prove(chosen.conversations, Path(folder), chosen.seed)
    except AuraError as error:
        console.print(f"[red]✗[/red] {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
