"""Connections that may be lost and come back: a conversation goes on when its client dials again.

A client that hangs up properly (1000, 1001, or a close without a code) ends its conversation. One whose connection
breaks off has `server.resume_grace_s` to come back: with `resume=SESSION_ID` or `conversation_id=ID` in its address, or
with `aura.resume` as its first message on a fresh connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog
import trio

from aura.core import tape
from aura.core.errors import ProtocolFault
from aura.core.wire.client import Resume, decode
from aura.server.budget import Budget
from aura.server.denial import FLOODING, turn_away
from aura.server.socket import Closed, Socket
from aura.server.wire import UNREAD
from aura.session.line import Back, Ended, Interrupted, Lost, Received

log = structlog.get_logger()

NO_ANSWER = "no answer to a ping"
"""What the reason begins with when we closed a connection because the client was gone."""
GIVEN_UP = 4001
"""How a page closes a connection that is stuck: a browser cannot say 1006."""
REASON_CHARS = 200
ASKS_AT_FIRST = 2
"""`aura.resume` may be one of so many first messages: a client may have sent its settings before it."""


def broken(end: Closed) -> bool:
    """Whether the connection broke off, rather than being closed by somebody who meant it.

    One that takes nothing any more is nearly always one whose network is gone: the reply has filled the buffers.
    """
    return end.code in (1006, GIVEN_UP) or end.reason.startswith((NO_ANSWER, UNREAD))


def said_played(query: dict[str, str]) -> tape.Back:
    """What the client says it was playing: `played=ITEM_ID:MS` in its address."""
    item_id, _, ms = query.get("played", "").rpartition(":")
    return Back(item_id, int(ms)) if item_id and ms.isdecimal() and len(ms) < 10 else Back()


class Attached:
    """One connection of a conversation; its task waits until the conversation has let go of it."""

    def __init__(self, socket: Socket, budget: Budget | None = None) -> None:
        self.socket, self._budget = socket, budget
        self.released = trio.Event()

    async def receive(self) -> str | bytes:
        """The next message. Raises Closed, also when the client sends too many."""
        message = await self.socket.receive()
        if self._budget is None or self._budget.spend():
            return message
        log.warning("client.flooding", messages=self.socket.messages_in)
        await turn_away(self.socket, FLOODING)
        raise Closed(FLOODING.close_code, FLOODING.reason)


class SocketLine:
    """The server's sockets, one after the other, as the session's line."""

    def __init__(self, attached: Attached, lines: Lines, ident: str, owner: str) -> None:
        self._lines, self.ident, self.owner = lines, ident, owner
        self.receiving: Attached | None = attached
        self._sending: Attached | None = self.receiving
        self._reading = trio.CancelScope()
        self._coming: tuple[Attached, tape.Back] | None = None
        self._came = trio.Event()
        self._asks = ASKS_AT_FIRST if lines.grace_s else 0
        self._arrived: deque[Attached] = deque()
        """Connections that came back and that the sending side has still to turn to."""
        self.over = False
        """Whether nobody can go on with this conversation any more."""

    # ---- the session's side

    async def receive(self) -> Received:
        """The next message, or what became of the connection; raises Ended."""
        if self.receiving is None:
            return await self._wait()
        self._reading = trio.CancelScope()
        if self._coming is not None:
            return self._let_go("another connection took its place")
        try:
            with self._reading:
                message = await self.receiving.receive()
                return self._look(message) if self._asks else message
        except Closed as end:
            why = f"closed {end.code} {end.reason}".strip()
            if not self._goes_on(end):
                raise self._end(why) from None
            return self._let_go(why)
        return self._let_go("another connection took its place")

    async def send(self, *messages: str | bytes) -> None:
        """Send messages; raises Interrupted (that the line has ended shows where it is read)."""
        if self._sending is None or self._sending.released.is_set():
            raise Interrupted
        try:
            await self._sending.socket.send(*messages)
        except Closed:
            raise Interrupted from None

    def switch(self) -> None:
        """What follows is for the new connection."""
        self._sending = self._arrived.popleft()

    async def _wait(self) -> Received:
        with trio.move_on_after(self._lines.grace_s):
            await self._came.wait()
        if self._coming is None:
            raise self._end(f"the client did not come back within {self._lines.grace_s:g} s")
        (attached, back), self._coming, self._came = self._coming, None, trio.Event()
        self.receiving = attached
        self._arrived.append(attached)
        return back

    def _goes_on(self, end: Closed) -> bool:
        """Whether the client is back, or may come back, after this end of its connection."""
        return self._coming is not None or (broken(end) and self._lines.grace_s > 0)

    def _end(self, why: str) -> Ended:
        """The line is over for good: who comes now begins a new conversation."""
        self.over = True
        return Ended(why)

    def _let_go(self, why: str) -> tape.Lost:
        """The present connection is over."""
        if self.receiving is not None:
            self.receiving.released.set()
            self.receiving = None
        return Lost(why)

    def _look(self, message: str | bytes) -> str | bytes:
        """Whether the client wants to go on with an earlier conversation; raises Ended when it does."""
        self._asks -= 1
        if not isinstance(message, str) or "aura.resume" not in message or self.receiving is None:
            return message
        try:
            asked = decode(message)
        except ProtocolFault:
            return message
        earlier = self._lines.find(asked.session_id, self.owner) if isinstance(asked, Resume) else None
        if earlier is None or earlier is self:
            return message
        attached, self.receiving, self._sending = self.receiving, None, None
        earlier.take_over(attached, Back())
        raise self._end("the client goes on with an earlier conversation")

    # ---- the server's side

    def take_over(self, attached: Attached, back: tape.Back) -> None:
        """The client is back on this connection."""
        if self._coming is not None:  # and again, before anybody noticed
            self._coming[0].released.set()
        self._coming = (attached, back)
        self._came.set()
        self._reading.cancel()

    async def close(self, code: int, reason: str) -> None:
        """The conversation is over: close the connection that it has, and let go of all."""
        self.over = True
        ends = [self.receiving, self._coming[0] if self._coming else None]
        for attached in filter(None, ends):
            await attached.socket.close(code, reason[:REASON_CHARS])
            attached.released.set()


class Lines:
    """The lines of all conversations, by what their clients may call them."""

    def __init__(self, grace_s: float, most: int) -> None:
        self._grace_s, self._most = grace_s, most
        self._lines: dict[str, SocketLine] = {}
        self._names: dict[str, str] = {}

    @property
    def grace_s(self) -> float:
        """How long a client has to come back; no time at all where too many are waited for."""
        return self._grace_s if len(self._lines) < self._most else 0.0

    def enter(self, line: SocketLine, conversation_id: str) -> Callable[[], None]:
        """The line can be found from now on; returns what ends that."""
        self._lines[line.ident] = line
        self._names[conversation_id] = line.ident

        def leave() -> None:
            del self._lines[line.ident], self._names[conversation_id]

        return leave

    def find(self, name: str, owner: str) -> SocketLine | None:
        """The line of a session or conversation of this owner (the key it was begun with)."""
        line = self._lines.get(self._names.get(name, name))
        return line if line is not None and line.owner == owner and not line.over else None


NO_RETURN = Lines(0.0, 0)
"""For connections that nobody can come back to, such as phone calls."""
