"""Recordings run again at the first two depths, in processes of their own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import msgspec
import structlog

from aura.core import rerun
from aura.core.errors import AuraError
from aura.tools.replay import pipeline, transitions
from aura.tools.replay.source import Source, find, read

PROCESSES = 2
AGAIN = "if on purpose, re-record it (python -m tests.proof record-corpus) and say why in the commit"


class Result(msgspec.Struct, frozen=True):
    """What came of one recording."""

    folder: Path
    facts: int
    """Facts that were equal at the second depth."""
    decided: int
    """Facts that were equal at the first depth."""
    messages: int
    seconds: float
    """Length of the conversation."""
    took_s: float
    """Time of the second depth."""
    complete: bool
    divergence: str = ""
    """Empty when there was none."""
    at_fact: int = 0
    """Number of the fact at which the second depth parted, from 1."""


def run_again(folder: Path) -> Result:
    """Replay one recording at both depths."""
    try:
        source = find(str(folder), folder)
        outcome = rerun.rerun(read(source))
        began = time.process_time()
        replayed = pipeline.replay(folder)
        took_s = time.process_time() - began
    except AuraError as error:
        return Result(folder, 0, 0, 0, 0.0, 0.0, complete=False, divergence=str(error))
    decided = outcome.facts - (outcome.parting is not None)
    return Result(
        folder, replayed.facts, decided, replayed.messages, replayed.recorded_s, took_s, replayed.complete,
        _at_first_depth(source, outcome) or _at_second_depth(folder, replayed), replayed.at_fact + 1,
    )  # fmt: skip


def _at_first_depth(source: Source, outcome: rerun.Outcome) -> str:
    if outcome.parting is not None:
        return f"transitions: {source.name}:{outcome.parting.line}: {transitions.why(outcome.parting)}"
    return "".join(f"transitions: {source.trouble(trouble)}" for trouble in outcome.troubles if not trouble.cut)


def _at_second_depth(folder: Path, replayed: pipeline.Replayed) -> str:
    if not replayed.why:
        return ""
    then, now = (repr(entry) if entry else "nothing" for entry in (replayed.expected, replayed.actual))
    return f"pipeline: at fact {replayed.at_fact + 1} of {folder}: {replayed.why}\n    then: {then}\n    now:  {now}"


def behaviour_changed(result: Result) -> str:
    """For whoever changed something: what, where, and what to do about it."""
    return f"behaviour changed at fact {result.at_fact} of {result.folder.name}: {result.divergence}; {AGAIN}"


def be_quiet() -> None:
    """A replay logs all that the conversation did."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@contextmanager
def processes() -> Iterator[Executor]:
    """Fresh processes, with hash seeds of their own."""
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"), initializer=be_quiet) as executor:
        yield executor


def run_all(folders: Sequence[Path], seen: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """Replay all of them."""
    results = []
    with processes() as executor:
        for result in executor.map(run_again, folders, chunksize=4):
            seen(result)
            results.append(result)
    return results


def in_one_process(folders: Iterable[Path]) -> list[Result]:
    """Replay a few of them here."""
    return list(map(partial(run_again), folders))
