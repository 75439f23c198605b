"""What the client is told: orders and facts become frames of its protocol, in the order in which they happen."""

from __future__ import annotations

from typing import Literal

import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.data import Chunk
from aura.core.errors import ProtocolFault
from aura.core.fsm import Step
from aura.core.timing import TurnTimes
from aura.core.wire import faults
from aura.core.wire.realtime import Frame, RealtimeView, Usage
from aura.session.replies import Reply

Reason = Literal["turn_detected", "client_cancelled", "closing"]


class Client:
    """The outgoing side of a conversation. Nothing here waits but `audio`."""

    def __init__(self, view: RealtimeView, out: trio.MemorySendChannel[Frame]) -> None:
        self.view, self.out = view, out
        self.overflow = trio.Event()
        """Set when the client reads so slowly that not even control messages fit any more."""
        self.why_closed = ""
        self.metadata: dict[str, str] | None = None
        """What the client wants to find again in the response it asks for."""
        self._onsets: dict[int, int] = {}

    def post(self, frames: list[Frame]) -> None:
        """Queue control messages."""
        try:
            for frame in frames:
                self.out.send_nowait(frame)
        except trio.WouldBlock:
            self.overflow.set()
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass  # the connection is gone: the session is about to learn of it

    # ---- the user's turn

    def speech(self, turn: int, at_ms: int, *, tentative: bool) -> None:
        """The user speaks. A tentative turn stays unmentioned: a stock client would throw the reply away."""
        self._onsets[turn] = at_ms
        if not tentative:
            self.speech_confirmed(turn)

    def speech_confirmed(self, turn: int) -> None:
        """The user means it."""
        self.post(self.view.speech_started(turn, self._onsets.pop(turn, 0)))

    def turn_ended(self, turn: int, at_ms: int) -> None:
        """The user's turn is complete."""
        self.post(self.view.speech_stopped(turn, at_ms))
        self.committed(turn)

    def committed(self, turn: int) -> None:
        """The turn's audio became an item."""
        self.post(self.view.committed(turn))

    def transcript(self, turn: int, text: str, seconds: float) -> None:
        """What the user said."""
        self.post(self.view.transcript(turn, text, seconds))

    def transcript_failed(self, turn: int, code: str, message: str) -> None:
        """It could not be transcribed."""
        self.post(self.view.transcript_failed(turn, code, message))

    # ---- replies

    def reply_begins(self, order: fx.StartReply) -> None:
        """A retry stands in for the failed reply."""
        if order.retry_of:
            self.view.stand_in(order.reply, order.retry_of)

    def responding(self, reply: int, turn: int) -> None:
        """The reply is announced."""
        metadata, self.metadata = self.metadata, None
        self.post(self.view.response_created(reply, turn, metadata))

    async def audio(self, reply: Reply, chunk: Chunk) -> None:
        """Send audio, with its sentence's text in front of the first of it. Waits while the client's queue is full."""
        number = reply.order.reply
        if chunk.first:
            reply.sent = max(reply.sent, chunk.phrase.index + 1)
            self.post(self.view.say(number, chunk.phrase.text))
        reply.ledger.add(
            chunk.phrase.text,
            chunk.samples,
            first=chunk.first,
            last=chunk.last,
            words=chunk.words,
            spoken=chunk.phrase.spoken,
        )
        for frame in self.view.audio(number, chunk.payload):
            await self.out.send(frame)

    def finished(self, reply: int) -> None:
        """The reply was heard to its end."""
        self.post(self.view.response_done(reply, Usage()))

    def cancelled(self, reply: int, reason: Reason, heard: str, heard_ms: int) -> None:
        """The reply was cut off; `heard` and `heard_ms` are what the user heard of it."""
        self.view.cut(reply, heard)
        self.post(self.view.response_cancelled(reply, "client_cancelled" if reason == "closing" else reason))
        self.post(self.view.flush(reply, heard_ms))

    def failed(self, reply: int, code: str) -> None:
        """The reply ended in an error."""
        self.post(self.view.response_failed(reply, code, "The reply could not be made."))

    def hold(self, reply: int) -> bool:
        """Be silent for now; returns whether the client understands that."""
        frames = self.view.hold(reply)
        self.post(frames)
        return bool(frames)

    def resume(self, reply: int, from_ms: int) -> None:
        """Go on playing."""
        self.post(self.view.resume(reply, from_ms))

    # ---- the rest

    def moved(self, step: Step, event: ev.Event) -> None:
        """The conversation changed its state."""
        if step.was != step.now:
            self.post(self.view.state(step.was, step.now, type(event).__name__))

    def metrics(self, times: TurnTimes) -> None:
        """Where the time of a turn went."""
        self.post(self.view.turn_metrics(times.turn, {"reply": times.reply, "draft": times.draft, "ms": times.ms}))

    def refused(self, code: str, reply: int) -> None:
        """What the client asked for cannot be done while `reply` (0: none) is the current one."""
        active = code == "conversation_already_has_active_response"
        running = self.view.response_of(reply) or "not announced yet"
        self.fault(faults.already_active(running) if active else faults.no_active_response())

    def fault(self, fault: ProtocolFault) -> None:
        """A message could not be obeyed."""
        self.post(self.view.fault(fault))

    def closing(self, why: str) -> None:
        """The conversation ends; the reason is for the close frame."""
        self.why_closed = why
