"""For debugging: every message of a connection is checked against the protocol's grammar; violations are logged."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from aura.core.wire.grammar import Grammar, Violation
from aura.core.wire.grammar.watch import Watch
from aura.session.line import Ended, Line

log = structlog.get_logger()


class CheckedLine:
    """A client's connection that is watched. What is said is never logged; the conversation never suffers."""

    def __init__(self, line: Line, count: Callable[[str], None], *, resumed: bool = False) -> None:
        self._line, self._count = line, count
        self._watch: Watch | None = Watch(Grammar(resumed=resumed))

    async def receive(self) -> str | bytes:
        """The next message; raises Ended."""
        try:
            raw = await self._line.receive()
        except Ended:
            self.end(hung_up=True)
            raise
        self._look(lambda watch, at: watch.client(raw, at))
        return raw

    async def send(self, *messages: str | bytes) -> None:
        """Send messages in order; raises Ended."""
        self._look(lambda watch, at: [found for raw in messages for found in watch.server(raw, at)])
        try:
            await self._line.send(*messages)
        except Ended:
            self.end(hung_up=True)
            raise

    def end(self, *, hung_up: bool) -> None:
        """The connection is over: were all requests answered, all responses ended?"""
        self._look(lambda watch, at: watch.end(at, hung_up=hung_up))
        self._watch = None

    def _look(self, look: Callable[[Watch, float], list[Violation]]) -> None:
        if self._watch is None:
            return
        try:
            found = look(self._watch, trio.current_time())
        except Exception:
            log.exception("protocol.check_failed")
            self._watch = None
            return
        for violation in found:
            self._count(violation.rule)
            about = {"rule": violation.rule, "event_type": violation.kind, "number": violation.index}
            log.warning("protocol.violation", text=violation.text, **about)
