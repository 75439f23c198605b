"""`idle_timeout_ms`: after a reply, a long silence of the user becomes a turn, so that the assistant goes on."""

from __future__ import annotations

import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.wire.session_object import ServerVad
from aura.session.session import Fact, Session


class IdleWatch:
    """Counts from the end of a reply. A tap of its session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._since: float | None = None
        self._position_ms = 0

    def note(self, fact: Fact) -> None:
        """Begin to count when a reply was heard to its end, stop when something else happens."""
        if fact.step.now != "idle":
            self._since = None
        elif isinstance(fact.event, ev.ConnectionResumed) and self._since is not None:
            self._since = trio.current_time()  # the user could not be heard meanwhile
        elif any(isinstance(effect, fx.FinishReply) for effect in fact.step.effects):
            self._since, self._position_ms = trio.current_time(), self._session.listener.taker.position_ms

    def check(self) -> None:
        """Called by the clock."""
        detection = self._session.client.view.session.turn_detection
        limit_ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        if limit_ms is None or self._since is None or self._session.replies.away:
            return
        if trio.current_time() - self._since >= limit_ms / 1000:
            self._since = None
            self._session.tell(ev.IdleTimedOut(self._position_ms, self._session.listener.taker.position_ms))
