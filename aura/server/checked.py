"""For debugging: every message of a connection is checked against the protocol's grammar; violations are logged."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from aura.core.wire.grammar import Grammar, Violation
from aura.core.wire.grammar.watch import Watch
from aura.session.line import Back, Ended, Line, Lost, Received

log = structlog.get_logger()


class CheckedLine:
    """A client's connection that is watched. What is said is never logged; the conversation never suffers."""

    def __init__(self, line: Line, count: Callable[[str], None]) -> None:
        self._line, self._count = line, count
        self._watch: Watch | None = Watch(Grammar())
        self._next: Watch | None = None
        """Of a connection that the client is back on and that nothing was sent to yet."""

    async def receive(self) -> Received:
        """The next message, or what became of the connection; raises Ended."""
        try:
            raw = await self._line.receive()
        except Ended:
            self.end(hung_up=True)
            raise
        if isinstance(raw, Lost):
            self.end(hung_up=True)
        elif isinstance(raw, Back):
            self._next = Watch(Grammar(resumed=True))
        else:
            self._look(lambda watch, at: watch.client(raw, at), self._next or self._watch)
        return raw

    async def send(self, *messages: str | bytes) -> None:
        """Send messages in order; raises Ended or Interrupted."""
        self._look(lambda watch, at: [found for raw in messages for found in watch.server(raw, at)], self._watch)
        await self._line.send(*messages)

    def switch(self) -> None:
        """Use the new connection from now on."""
        self._watch, self._next = self._next, None
        self._line.switch()

    def end(self, *, hung_up: bool) -> None:
        """The connection is over: were all requests answered, all responses ended?"""
        self._look(lambda watch, at: watch.end(at, hung_up=hung_up), self._watch)
        self._watch = None

    def _look(self, look: Callable[[Watch, float], list[Violation]], watch: Watch | None) -> None:
        if watch is None:
            return
        try:
            found = look(watch, trio.current_time())
        except Exception:
            log.exception("protocol.check_failed")
            self._watch = self._next = None
            return
        for violation in found:
            self._count(violation.rule)
            about = {"rule": violation.rule, "event_type": violation.kind, "number": violation.index}
            log.warning("protocol.violation", text=violation.text, **about)
