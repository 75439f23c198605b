"""Finds steps of tasks that block the event loop.

One real clock reading per step of any task: the end of a step is the beginning of the next, or of the wait for I/O.
`time.perf_counter` is used on purpose. Trio's clock stands still in tests, and what is measured here is the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import structlog
import trio

log = structlog.get_logger()


def log_stall(task: str, seconds: float) -> None:
    """Write one line about a stall."""
    log.warning("loop.stalled", task=task, ms=round(seconds * 1e3, 1))


class StallWatch(trio.abc.Instrument):
    """Reports every step longer than `limit_s`: `trio.lowlevel.add_instrument(StallWatch(0.1, log_stall))`.

    `report` gets the task's name and the seconds; it runs inside Trio's scheduler, so it must be quick and not raise.
    """

    def __init__(self, limit_s: float, report: Callable[[str, float], None] = log_stall) -> None:
        self.limit_s = limit_s
        self.longest_s = 0.0
        self._report = report
        self._task: trio.lowlevel.Task | None = None
        self._began = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Trio calls this before every step."""
        now = perf_counter()
        if self._task is not None and now - self._began > self.limit_s:
            self._stalled(now)
        self._task = task
        self._began = now

    def before_io_wait(self, timeout: float) -> None:
        """Trio calls this after the steps of one round."""
        now = perf_counter()
        if self._task is not None and now - self._began > self.limit_s:
            self._stalled(now)
        self._task = None

    def _stalled(self, now: float) -> None:
        took, task = now - self._began, self._task
        self.longest_s = max(self.longest_s, took)
        if task is not None:
            self._report(task.name, took)


class PassWatch(trio.abc.Instrument):
    """The cheap watch for production: one clock reading per pass of the event loop instead of per step of a task.

    It sees that the loop was blocked for longer than `limit_s`, not by whom. The first time it does, it calls in a
    `StallWatch`, which names the task from then on and costs about 3 % of a busy server's time.
    """

    def __init__(self, limit_s: float, report: Callable[[str, float], None] = log_stall) -> None:
        self.limit_s = limit_s
        self._report = report
        self._began = perf_counter()
        self._named = False

    def after_io_wait(self, timeout: float) -> None:
        """Trio calls this when a pass begins."""
        self._began = perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """Trio calls this when all tasks that could run have had their step."""
        blocked_s = perf_counter() - self._began
        if blocked_s > self.limit_s and not self._named:
            self._named = True
            self._report("unknown", blocked_s)
            trio.lowlevel.add_instrument(StallWatch(self.limit_s, self._report))
