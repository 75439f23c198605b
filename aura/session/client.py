"""What the client is told: orders and facts become frames of its protocol, in the order in which they happen."""

from __future__ import annotations

from typing import Literal

import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.data import Chunk
from aura.core.errors import ProtocolFault
from aura.core.fsm import Step
from aura.core.limits import RateLimits
from aura.core.ports import ToolCall
from aura.core.timing import TurnTimes
from aura.core.wire import faults
from aura.core.wire.realtime import Frame, RealtimeView
from aura.core.wire.shapes import IncompleteReason
from aura.session.pipes import PIPES
from aura.session.reply import Reply
from aura.session.shelf import LISTENED, Shelf

Reason = Literal["turn_detected", "client_cancelled", "closing"]
INCOMPLETE: dict[str, IncompleteReason] = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Switch:
    """Stands in the queue where a new connection begins: what is behind it is for that one."""


class Last:
    """Stands in the queue behind the last message of a conversation that is ended on purpose."""

    def __init__(self) -> None:
        self.queued = trio.Event()
        """Set when the conversation is to end as soon as the client has been told why."""
        self.left = trio.Event()
        """Set when everything before it has left."""
        self.why = ""
        """Why the conversation is ended, by whichever side."""


Outgoing = Frame | Switch | Last
LONG = PIPES["out"].items - 64
"""From this length of the queue on replies wait; the rest is for control messages."""


class Client:
    """The outgoing side of a conversation. Nothing here waits but `audio` and `text`."""

    def __init__(
        self, view: RealtimeView, out: trio.MemorySendChannel[Outgoing], shelf: Shelf, limits: RateLimits
    ) -> None:
        self.view, self.out, self.shelf, self.limits = view, out, shelf, limits
        self.overflow = trio.Event()
        """Set when the client reads so slowly that not even control messages fit any more."""
        self.last = Last()
        self.room = trio.lowlevel.ParkingLot()
        """Who waits until the queue has got shorter."""
        self.cause: str | None = None
        """The client's own id of the message that is being obeyed."""
        self.input_bytes = 0
        """How much of the client's audio has arrived, in its input format."""
        self._failures: list[tuple[Reply, str]] = []
        """Replies that failed while the client was away, which is told when it is back."""
        self._onsets: dict[int, int] = {}
        self._told: dict[int, str | None] = {}
        """Words of a turn that the client was shown while it was going on; None: it was shown all of them."""

    def post(self, frames: list[Frame]) -> None:
        """Queue control messages."""
        self._queue(*frames)

    async def _wait_for_room(self) -> None:
        """Wait while the queue is long. What is posted after it is complete: nothing can be cancelled in between."""
        await trio.lowlevel.checkpoint()
        while self.out.statistics().current_buffer_used >= LONG:
            await self.room.park()

    def _queue(self, *frames: Outgoing) -> None:
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

    def turn_ended(self, turn: int, at_ms: int | None) -> None:
        """The user's turn is complete; None: because the client said so, who is not told that speech stopped."""
        if at_ms is not None:
            self.post(self.view.speech_stopped(turn, at_ms))
        self.committed(turn)

    def committed(self, turn: int) -> None:
        """The turn's audio became an item."""
        self.post(self.view.committed(turn))

    def timed_out(self, turn: int, start_ms: int, end_ms: int) -> None:
        """A silence became a turn without words."""
        self.post(self.view.idle_timeout(turn, start_ms, end_ms))
        self.committed(turn)
        self.transcript(turn, "", 0.0)

    def sound(self, turn: int, audio: bytes) -> None:
        """What the user said, as it was listened to."""
        self.shelf.add(self.view.item_of_turn(turn) or "", LISTENED, audio)

    def words(self, turn: int, text: str) -> None:
        """The words of a turn so far. What a recogniser takes back cannot be unsaid: then only the end tells."""
        told = self._told.get(turn, "")
        if told is not None and turn not in self._onsets and text.startswith(told):
            self.post(self.view.transcript_delta(turn, text[len(told) :]))
            self._told[turn] = text

    def transcript(self, turn: int, text: str, seconds: float) -> None:
        """What the user said."""
        self.words(turn, text)
        self._told[turn] = None
        self.post(self.view.transcript(turn, text, seconds))

    def transcript_failed(self, turn: int, code: str, message: str) -> None:
        """It could not be transcribed."""
        self.post(self.view.transcript_failed(turn, code, message))

    # ---- replies

    def reply_begins(self, order: fx.StartReply) -> None:
        """A retry stands in for the failed reply."""
        if order.retry_of:
            self.view.stand_in(order.reply, order.retry_of)

    def responding(self, reply: Reply, turn: int, *, out_of_band: bool = False) -> None:
        """The reply is announced."""
        setup = reply.setup
        self.post(
            self.view.response_created(
                reply.order.reply,
                turn,
                setup.metadata,
                modality=setup.modality,
                voice=setup.speak.voice,
                output_format=setup.output,
                max_output_tokens=setup.max_tokens,
                out_of_band=out_of_band,
            )
        )

    async def audio(self, reply: Reply, chunk: Chunk) -> None:
        """Send audio, with its sentence's text in front of the first of it. Waits while the client's queue is full."""
        await self._wait_for_room()
        number = reply.order.reply
        if chunk.first:
            reply.sent = max(reply.sent, chunk.phrase.index + 1)
            self.post(self.view.say(number, chunk.phrase.text))
        reply.audio.add(reply.ledger.sent / reply.setup.output.rate_hz, chunk)
        reply.ledger.add(
            chunk.phrase.text,
            chunk.samples,
            first=chunk.first,
            last=chunk.last,
            words=chunk.words,
            spoken=chunk.phrase.spoken,
            filler=chunk.phrase.filler,
        )
        self.post(self.view.audio(number, chunk.payload))
        self.shelf.add(self.view.item_of(number) or "", reply.setup.output, chunk.payload)

    async def text(self, reply: Reply, delta: str) -> None:
        """Send text of a reply that is read. Waits while the client's queue is full."""
        await self._wait_for_room()
        reply.sent = len(reply.phrases)
        self.post(self.view.say(reply.order.reply, delta))

    def call(self, reply: Reply, call: ToolCall, *, spoken: bool) -> None:
        """The client is asked to run one of its functions; `spoken`: the reply has words, which come before it."""
        self.post(self.view.call(reply.order.reply, call, spoken=spoken))

    def finished(self, reply: Reply) -> None:
        """The reply was heard to its end."""
        number, usage, reason = reply.order.reply, reply.usage(), INCOMPLETE.get(reply.spent.reason)
        if reason:
            self.post(self.view.response_incomplete(number, reason, usage))
        else:
            self.post(self.view.response_done(number, usage))
        self._account(reply)

    def cancelled(self, reply: Reply, reason: Reason, heard: str, heard_ms: int) -> None:
        """The reply was cut off; `heard` and `heard_ms` are what the user heard of it."""
        number = reply.order.reply
        if self.view.response_of(number) is None and reason != "closing":
            self.responding(reply, reply.order.turn)  # it was asked for, and cancelled before its question was known
        if not reply.written:
            self.view.cut(number, heard)
            self.shelf.cut(self.view.item_of(number) or "", heard_ms)
        why = "client_cancelled" if reason == "closing" else reason
        self.post(self.view.response_cancelled(number, why, reply.usage()))
        self.post(self.view.flush(number, heard_ms))
        self._account(reply)

    def failed(self, reply: Reply, code: str) -> None:
        """The reply ended in an error."""
        if reply.gate.away:
            self._failures.append((reply, code))
            return
        message = "The reply could not be made."
        self.post(self.view.response_failed(reply.order.reply, code, message, reply.usage()))
        self._account(reply)

    def _account(self, reply: Reply) -> None:
        now = trio.current_time()
        self.limits.spend(now, reply.usage().wire().total_tokens)
        self.post(self.view.rate_limits(self.limits.shown(now)))

    def hold(self, reply: int) -> bool:
        """Be silent for now; returns whether the client understands that."""
        frames = self.view.hold(reply)
        self.post(frames)
        return bool(frames)

    def resume(self, reply: int, from_ms: int) -> None:
        """Go on playing."""
        self.post(self.view.resume(reply, from_ms))

    # ---- the rest

    def restored(self, running: list[Reply]) -> None:
        """The client is back: tell it where the conversation stands, and play on from what it has heard."""
        now = trio.current_time()
        self._queue(Switch())
        self.post(self.view.hello())
        self.post(self.view.resumed(self.input_bytes))
        for reply in running:
            number = reply.order.reply
            opened = self.view.reopened(number)
            self.post(opened)
            if not opened or reply.written:
                reply.clock.resume(now)
            else:
                begin_s, pieces = reply.audio.since(reply.clock.heard(now))
                self.resume(number, round((begin_s + reply.clock.before_s) * 1000))
                reply.clock.rewind(now, begin_s)
                for payload in pieces:
                    self.post(self.view.audio(number, payload))
        failures, self._failures = self._failures, []
        for reply, code in failures:
            reply.gate.change(away=False)
            self.post(self.view.reopened(reply.order.reply))
            self.failed(reply, code)

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
        self.fault(faults.already_active(running, self.cause) if active else faults.no_active_response(self.cause))

    def fault(self, fault: ProtocolFault) -> None:
        """A message could not be obeyed."""
        self.post(self.view.fault(fault))

    def leave(self, why: str) -> None:
        """End the conversation as soon as the client was told all that is on its way."""
        if not self.last.queued.is_set():
            self.last.why = why
            self._queue(self.last)
            self.last.queued.set()

    def closing(self, why: str) -> None:
        """The conversation ends; the reason is for the close frame."""
        self.last.why = why
