"""Fixtures for every test file."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import thread_time

import pytest
import structlog
import trio

from aura.observe.stalls import StallWatch

STALL_S = 0.010
"""The longest that one step of a task may keep the event loop."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with speech and reference material beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder `shared` beside the repository")
    return folder


class FairStallWatch(StallWatch):
    """Collects stalls that are our own doing.

    Where other processes share the cores, a step may take long because the kernel ran somebody else meanwhile. Such a
    step only counts if it used too much processor time itself. Waiting for a lock, a disk or the GIL always counts.
    """

    def __init__(self, limit_s: float = STALL_S) -> None:
        super().__init__(limit_s, self.collect)
        self.stalls: list[tuple[str, float]] = []
        self.used_s, self.preempted = thread_time(), 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Judge the step that ended, then remember where this one begins."""
        super().before_task_step(task)
        self.used_s = thread_time()
        self.preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw

    def collect(self, task: str, seconds: float) -> None:
        """Keep a stall, unless the kernel made it."""
        preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw > self.preempted
        if not preempted or thread_time() - self.used_s > self.limit_s:
            self.stalls.append((task, seconds))


@pytest.fixture
async def no_stalls() -> AsyncIterator[FairStallWatch]:
    """Fails the test when a task kept the event loop for more than 10 ms."""
    watch = FairStallWatch()
    trio.lowlevel.add_instrument(watch)
    yield watch
    trio.lowlevel.remove_instrument(watch)
    assert watch.stalls == [], watch.stalls


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """What a test does to the logs of the process ends with it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
