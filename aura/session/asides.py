"""Responses outside the conversation (`conversation: "none"`): made beside it, they have nothing to do with the floor.

An aside has its own number, far from those of replies. It may be spoken or written and may call the client's functions,
never the server's; nothing of it gets into the history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import structlog
import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.errors import ProtocolFault
from aura.core.ports import Kit, ToolCall
from aura.session.client import Client
from aura.session.producer import Producer
from aura.session.reply import Reply
from aura.session.session import Session
from aura.session.setup import Setup
from aura.stages.think import Functions, think

FIRST = 1_000_000_000
"""Number of the first aside; replies count from 1."""


class Asides:
    """The asides of one conversation."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._made = 0

    @property
    def _kit(self) -> Kit:
        return self._session.replies.kit

    @property
    def _client(self) -> Client:
        return self._session.client

    def start(self, setup: Setup) -> None:
        """Begin one. Raises `ProtocolFault` when too many are being made."""
        session = self._session
        limit = session.settings.asides_max
        if len(self._running) >= limit:
            raise ProtocolFault("rate_limit_exceeded", f"At most {limit} responses outside the conversation at a time.")
        number = FIRST + self._made
        self._made += 1
        reply = Reply(fx.StartReply(number, 0, "request", draft=False), setup)
        session.replies.running[number] = reply  # so that a lost connection holds it too
        session.tell(ev.AsideBegan(number))
        self._client.responding(reply, 0, out_of_band=True)
        if session.nursery:
            session.steps.spawn(session.nursery, self._run, reply)

    def cancel(self, number: int) -> bool:
        """The client does not want it any more; False if it is not being made."""
        reply = self._session.replies.running.get(number) if number >= FIRST else None
        if reply is not None:
            reply.scope.cancel()
            self._end(reply, "cancelled", lambda: self._client.cancelled(reply, "client_cancelled", "", 0))
        return reply is not None

    @property
    def _running(self) -> list[Reply]:
        return [reply for number, reply in self._session.replies.running.items() if number >= FIRST]

    async def _run(self, reply: Reply) -> None:
        failures: list[ev.StageFailed] = []

        def tell(event: ev.Event) -> None:
            if isinstance(event, ev.StageFailed):
                failures.append(event)
                reply.scope.cancel()

        producer = Producer(self._kit, self._client, self._session.steps, tell)
        with structlog.contextvars.bound_contextvars(aside=reply.order.reply), reply.scope:
            await producer.produce(reply, partial(self._think, producer))
        if failures:
            self._end(reply, "failed", lambda: self._client.failed(reply, failures[0].code))
        else:
            self._end(reply, "completed", lambda: self._client.finished(reply))

    def _end(self, reply: Reply, status: str, tell_client: Callable[[], None]) -> None:
        if self._session.replies.running.pop(reply.order.reply, None) is not None:
            tell_client()
            self._session.tell(ev.AsideEnded(reply.order.reply, status))

    async def _think(self, producer: Producer, reply: Reply, words: trio.MemorySendChannel[str]) -> None:
        setup = reply.setup
        self._client.limits.check(trio.current_time())
        functions = Functions(_none, frozenset(tool.name for tool in setup.functions), partial(self._call, reply))
        request = setup.request(setup.messages(self._session.dialogue), ())
        await think(
            request, words, self._kit.chat, functions, setup.think, producer.tell, reply.spent.add, reply.order.reply
        )  # fmt: skip
        reply.complete = True

    async def _call(self, reply: Reply, call: ToolCall, spoken: bool) -> None:
        await reply.gate.wait_attended()
        self._client.call(reply, call, spoken=spoken)


async def _none(calls: Sequence[ToolCall]) -> list[str]:
    """None of the server's functions is offered to an aside."""
    return [f"there is no function {call.name}" for call in calls]
