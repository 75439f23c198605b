"""Replies: each has a number, a gate and one cancel scope; what belongs to it dies with the scope.

A reply runs transcribe → think → … (`producer.py`) as tasks of one nursery. Cancelling the scope ends them and their
pipes; nothing is drained. A draft runs the same way behind a closed gate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.dialogue import Dialogue
from aura.core.overlap import classify
from aura.core.ports import Kit, Message, ToolCall, ToolHost
from aura.session.client import Client
from aura.session.ears import Ears
from aura.session.producer import Producer
from aura.session.reply import Reply
from aura.session.setup import Setup
from aura.session.steps import Steps
from aura.session.toolruns import ToolRuns
from aura.stages.filler import Choice, Filler
from aura.stages.think import Functions, think


class Past:
    """What is still known of replies that ended."""

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque(maxlen=4)
        self.rest = ""
        """What the last cancelled reply left unsaid."""
        self.dropped: Reply | None = None
        """The last one that ended, whose request another may have to fulfil."""
        self.fillers = Choice()


class Replies:
    """Starts, gates and ends replies. The session gives the orders."""

    def __init__(
        self,
        kit: Kit,
        dialogue: Dialogue,
        ears: Ears,
        setup: Setup,
        client: Client,
        tell: Callable[[ev.Event], Any],
        host: ToolHost,
        steps: Steps,
    ) -> None:
        self.kit, self.dialogue, self.ears, self.setup = kit, dialogue, ears, setup
        self.client, self.tell, self.steps = client, tell, steps
        self.tools = ToolRuns(kit.toolbox, dialogue, host, steps, tell)
        self.running: dict[int, Reply] = {}
        """With the asides, which are started and ended elsewhere."""
        self.past = Past()
        self.asked: Setup | None = None
        """What the request that is being carried out wants its reply to be like."""
        self.away = False
        """Whether the client's connection is lost."""

    def start(self, order: fx.StartReply, nursery: trio.Nursery) -> Reply:
        """Begin a reply in the session's nursery."""
        dropped = self.past.dropped
        before_s = 0.0
        setup = (None if order.draft else self.asked) or self.setup
        if dropped and dropped.order.reply == order.retry_of:  # to the client they are one
            setup, before_s = dropped.setup, dropped.clock.before_s + dropped.clock.sent_s
        reply = self.running[order.reply] = Reply(order, setup, before_s=before_s, away=self.away)
        calls = self.tools.begin(order, setup.think, nursery)
        filler = Filler(setup.think, reply.gate, reply.clock, calls.spoken, self.past.fillers, calls.running)
        calls.changed = filler.rearm
        self.steps.spawn(nursery, self._run, reply, filler)
        return reply

    def end(self, number: int) -> Reply | None:
        """Cancel what is left of a reply and forget it; returns its books."""
        reply = self.running.pop(number, None)
        if reply:
            if reply.sent:
                self.past.replies.append(reply)
            self.past.dropped = reply
            self.tools.end(number)
            reply.audio.forget()
            reply.scope.cancel()
        return reply

    def length_ms(self, number: int) -> int | None:
        """How much audio of a reply's item was sent, also of one that ended not long ago; None: that is not known."""
        reply = self.known(number)
        return reply.sent_ms() if reply else None

    def known(self, number: int) -> Reply | None:
        """A reply under way, or one that ended not long ago."""
        replies = (*self.past.replies, *self.running.values())
        return next((reply for reply in replies if reply.order.reply == number), None)

    def recent_words(self) -> str:
        """What the assistant is saying, for telling its echo from the user."""
        return " ".join(reply.said() for reply in self.running.values() if reply.sent and not reply.written)

    # ---- one reply

    async def _run(self, reply: Reply, filler: Filler) -> None:
        number = reply.order.reply
        producer = Producer(self.kit, self.client, self.steps, self.tell)
        with structlog.contextvars.bound_contextvars(turn=reply.order.turn, reply=number), reply.scope:
            if reply.order.source == "speech" and not await producer.guard(reply, "transcribe", self._hear, reply):
                return
            if reply.setup.reply.draft_depth == "stt":
                await reply.gate.wait_released()
            await producer.produce(reply, self._think, filler)

    async def _hear(self, reply: Reply) -> None:
        order = reply.order
        transcript = await self.ears.words(order.turn, final=reply.gate.released)
        reply.question = transcript.text.strip()
        kind = classify(reply.question, self.recent_words(), self.ears.listener.overlap.settings)
        self.tell(ev.TranscriptReady(order.reply, len(reply.question.split()), kind, reply.question))
        await trio.lowlevel.checkpoint()  # the table may have ended this reply

    async def _think(self, reply: Reply, words: trio.MemorySendChannel[str]) -> None:
        order, setup = reply.order, reply.setup
        texts = {"say": order.text, "apology": setup.reply.apology, "rest": self.past.rest}
        if text := texts.get(order.source):
            with words:
                await words.send(text)
            reply.complete = True
            return
        await self.ears.all_committed()
        await self.tools.settled(reply)
        self.client.limits.check(trio.current_time())
        functions = Functions(
            lambda calls: self.tools.run(reply, calls),
            frozenset(tool.name for tool in setup.functions),
            lambda call, spoken: self._hand_over(reply, call, spoken=spoken),
            self.tools.admit,
        )
        request = setup.request(self._messages(reply), self.kit.toolbox.tools())
        await think(
            request, words, self.kit.chat, functions, setup.think, self.tell, reply.spent.add, order.reply
        )  # fmt: skip
        reply.complete = True

    def _messages(self, reply: Reply) -> tuple[Message, ...]:
        setup = reply.setup
        if reply.question and setup.context is None:
            return self.dialogue.preview(reply.order.turn, reply.question, setup.instructions)
        return setup.messages(self.dialogue)

    async def _hand_over(self, reply: Reply, call: ToolCall, *, spoken: bool) -> None:
        """Ask the client to run one of its functions."""
        await reply.gate.wait_attended()  # or nobody would hear of it
        self.dialogue.tool(reply.order.reply, reply.order.turn, call)
        self.tell(ev.FunctionRequested(reply.order.reply, call.name))
        self.client.call(reply, call, spoken=spoken)
