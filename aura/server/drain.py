"""Leaving in good order: no new conversations, time for the running ones, then the end."""

from __future__ import annotations

import signal

import structlog
import trio

log = structlog.get_logger()


class Drain:
    """Whether the server is shutting down, and how long the running conversations still have."""

    def __init__(self) -> None:
        self._begun = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def draining(self) -> bool:
        """No new conversations any more."""
        return self._begun.is_set()

    def begin(self, grace_s: float) -> None:
        """Stop taking conversations and end the running ones after `grace_s`; a second call ends them at once."""
        if self._begun.is_set():
            grace_s = 0.0
        log.info("server.draining", grace_s=grace_s)
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + grace_s)
        self._begun.set()

    async def begun(self) -> None:
        """Wait until the drain begins."""
        await self._begun.wait()

    async def over(self, quiet: trio.Event) -> None:
        """Wait until the grace has passed, or `quiet` is set because no conversation is left. For one task."""
        await self._begun.wait()
        with self._scope:
            await quiet.wait()


async def drain_on_signal(
    drain: Drain, grace_s: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Begin the drain on SIGTERM or SIGINT (Ctrl-C); a second signal means at once. Runs until cancelled."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("server.signal", signal=signal.Signals(number).name)
            drain.begin(grace_s)
