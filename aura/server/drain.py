"""Leaving in good order: no new conversations, time for the running ones, then the end."""

from __future__ import annotations

import signal

import structlog
import trio

log = structlog.get_logger()

GOING_AWAY, RESTART = 1001, 1012
"""Close codes of RFC 6455. Clients that reconnect by themselves do so on either."""
REASONS = {GOING_AWAY: "server is shutting down", RESTART: "server is restarting"}
HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none


class Drain:
    """Whether the server is shutting down, and how long the running conversations still have."""

    def __init__(self) -> None:
        self.code = GOING_AWAY
        """How conversations are closed that have not ended by themselves."""
        self._begun = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def draining(self) -> bool:
        """No new conversations any more."""
        return self._begun.is_set()

    @property
    def reason(self) -> str:
        """What the close frame says."""
        return REASONS.get(self.code, REASONS[GOING_AWAY])

    def begin(self, grace_s: float, code: int = GOING_AWAY) -> None:
        """Stop taking conversations and end the running ones after `grace_s`; a second call ends them at once."""
        if self._begun.is_set():
            grace_s = 0.0
        else:
            self.code = code
        log.info("server.draining", grace_s=grace_s, close_code=self.code)
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
    drain: Drain,
    grace_s: float,
    close_code: int = GOING_AWAY,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Begin the drain on SIGTERM or SIGINT (Ctrl-C); a second signal means at once. Runs until cancelled.

    SIGHUP means that the server is being restarted, and the close code tells the clients so; a process that was told
    to ignore it (`nohup`) still does.
    """
    wanted = [signal.SIGTERM, signal.SIGINT]
    if HANG_UP is not None and signal.getsignal(HANG_UP) is not signal.SIG_IGN:
        wanted.append(HANG_UP)
    with trio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            log.info("server.signal", signal=signal.Signals(number).name)
            drain.begin(grace_s, RESTART if number == HANG_UP else close_code)
