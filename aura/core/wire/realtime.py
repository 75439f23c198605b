"""The conversation as a Realtime client sees it: verbs in, wire frames out, in the orders of realtime-protocol.md 1.7.

Verbs about a response that is done return nothing (trap 9), and without the client's opt-in no unknown event and no
binary frame is ever made (trap 4). Only the playout verbs (`hold`, `resume`, `flush`) also work after `response.done`:
the client may still be playing.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from aura.core.audio import AudioFormat
from aura.core.limits import RateLimit
from aura.core.ports import ToolCall
from aura.core.wire import own_events, server, shapes
from aura.core.wire.conversation import ConversationView, Frame
from aura.core.wire.formats import wire_format
from aura.core.wire.ids import NewId
from aura.core.wire.items import Item, Status
from aura.core.wire.reply import Head, Reply
from aura.core.wire.session_object import RealtimeSession
from aura.core.wire.shapes import CancelReason, IncompleteReason, Usage

__all__ = ["Frame", "RealtimeView", "Usage"]

_NO_USAGE = Usage()
TAIL = 8
"""So many of the last items are told to a client that comes back."""


class RealtimeView(ConversationView):
    """Turns what happens in a conversation into frames for its client."""

    def __init__(self, session: RealtimeSession, new_id: NewId) -> None:
        super().__init__(session, new_id)
        self._replies: dict[int, Reply] = {}
        self._reply_of: dict[str, int] = {}
        self._binary_item = ""

    # ---- a response ----------------------------------------------------------------------------------------------

    def response_created(
        self,
        reply: int,
        turn: int,
        metadata: dict[str, str] | None = None,
        *,
        modality: Literal["text", "audio"] | None = None,
        voice: str | None = None,
        output_format: AudioFormat | None = None,
        max_output_tokens: int | str | None = None,
        out_of_band: bool = False,
    ) -> list[Frame]:
        """The reply to `turn` begins. Its message is announced with its first text or audio.

        `metadata` is the client's own (LiveKit loses the reply without it); the options are the overrides of
        `response.create`, None: as the session says.
        """
        if reply in self._replies:
            return []
        written = wire_format(output_format) if output_format else self.session.audio.output.format
        output = {"format": msgspec.to_builtins(written), "voice": voice or self.session.voice}
        head = Head(
            response_id=self._new_id("resp"),
            item_id=self._new_id("item"),
            modality=modality or self.session.modality,
            conversation_id=None if out_of_band else self._conversation_id,
            audio={"output": output},
            max_output_tokens=max_output_tokens or self.session.max_output_tokens,
            metadata=metadata,
        )
        self._replies[reply] = Reply(head)
        self._reply_of[head.item_id], self._turn_of[head.item_id] = reply, turn
        return self._frames(server.ResponseCreated(self._replies[reply].response("in_progress")))

    def stand_in(self, reply: int, retry_of: int) -> None:
        """To the client, `reply` is the same response as the failed `retry_of`."""
        if retry_of in self._replies and reply not in self._replies:
            known = self._replies[reply] = self._replies[retry_of]
            known.before = "".join(known.texts)
            self._reply_of[known.head.item_id] = reply

    def say(self, reply: int, text: str) -> list[Frame]:
        """More of the reply's text."""
        known = self._live(reply)
        if known is None or not text:
            return []
        return self._frames(*self._opening(known), known.delta(text))

    def audio(self, reply: int, payload: bytes) -> list[Frame]:
        """More of the reply's audio, in the output format."""
        known = self._live(reply)
        if known is None or not payload or known.head.modality == "text":
            return []
        frames = self._frames(*self._opening(known)) if known.index is None else []
        if not self.session.binary:
            delta = b2a_base64(payload, newline=False).decode("ascii")
            frames.append(f'{known.audio_prefix}{self._new_id("event")}","delta":"{delta}"}}')
            return frames
        if self._binary_item != known.head.item_id:
            self._binary_item = known.head.item_id
            frames += self._frames(known.binary_follows())
        frames.append(payload)
        return frames

    def truncated(
        self, item_id: str, content_index: int, audio_end_ms: int, heard: str | None = "", event_id: str | None = None
    ) -> list[Frame]:
        """As of any item; one that is still being spoken goes on from the heard words."""
        frames = super().truncated(item_id, content_index, audio_end_ms, heard, event_id)
        known = self._live(self._reply_of.get(item_id, -1))
        if known is not None and heard is not None and known.head.modality == "audio":
            known.texts = [known.before + heard]
        return frames

    def cut(self, reply: int, heard: str) -> None:
        """Only these words of a reply that is about to end were heard: its item keeps no others."""
        known = self._live(reply)
        if known is not None:
            known.texts = [known.before + heard]

    def call(self, reply: int, call: ToolCall, *, spoken: bool = False) -> list[Frame]:
        """The reply wants one of the client's functions run. `spoken`: its message comes before it, told of or not."""
        known = self._live(reply)
        if known is None:
            return []
        item_id = self._new_id("item")
        opening = self._opening(known) if spoken else []
        item, events = known.call(call, item_id, self._history.last)
        if known.in_conversation:
            self._history.add(item_id, item)
        self._reply_of[item_id] = reply
        return self._frames(*opening, *events)

    def response_done(self, reply: int, usage: Usage) -> list[Frame]:
        """The reply is complete."""
        return self._end(reply, "completed", "completed", None, usage)

    def response_cancelled(self, reply: int, reason: CancelReason, usage: Usage = _NO_USAGE) -> list[Frame]:
        """The user (`turn_detected`) or the client cut the reply off."""
        details = shapes.StatusDetails("cancelled", reason)
        return self._end(reply, "cancelled", "incomplete", details, usage)

    def response_incomplete(self, reply: int, reason: IncompleteReason, usage: Usage = _NO_USAGE) -> list[Frame]:
        """The model stopped before it was finished."""
        details = shapes.StatusDetails("incomplete", reason)
        return self._end(reply, "incomplete", "incomplete", details, usage)

    def response_failed(self, reply: int, code: str, message: str, usage: Usage = _NO_USAGE) -> list[Frame]:
        """An engine failed and nothing could take its place."""
        error = shapes.PartError("server_error", code, message)
        return self._end(reply, "failed", "incomplete", shapes.StatusDetails("failed", error=error), usage)

    def rate_limits(self, limits: tuple[RateLimit, ...]) -> list[Frame]:
        """What is left of the limits; nothing where there are none."""
        return self._frames(server.RateLimitsUpdated(limits)) if limits else []

    def reopened(self, reply: int) -> list[Frame]:
        """The beginning of a response that is under way once more, for a new connection of the same client."""
        self._binary_item = ""
        known = self._live(reply)
        return [] if known is None else self._frames(*known.reopen(self._history.before(known.head.item_id)))

    # ---- AURA's own events: nothing without the opt-in -----------------------------------------------------------

    def state(self, was: str, now: str, cause: str) -> list[Frame]:
        """The conversation moved on."""
        return self._own(own_events.State(was, now, cause))

    def hold(self, reply: int) -> list[Frame]:
        """The client shall be silent and keep what it has."""
        return self._playout(reply, own_events.PlayoutHold)

    def resume(self, reply: int, from_ms: int) -> list[Frame]:
        """The client shall go on from that position."""
        return self._playout(reply, own_events.PlayoutResume, from_ms)

    def flush(self, reply: int, heard_ms: int) -> list[Frame]:
        """The client shall throw away what it has not played."""
        return self._playout(reply, own_events.PlayoutFlush, heard_ms)

    def resumed(self, input_bytes: int) -> list[Frame]:
        """The client is back."""
        final = [name for name in self._history.tail(TAIL) if self._live(self._reply_of.get(name, -1)) is None]
        items = tuple(item for name in final if (item := self.item(name)))
        return self._own(own_events.Resumed(self.session.id, self._conversation_id, input_bytes, items))

    def turn_metrics(self, turn: int, metrics: dict[str, Any]) -> list[Frame]:
        """How long the steps of a turn took."""
        return self._own(own_events.TurnMetrics(turn, self._turns.get(turn, ""), metrics))

    # ---- look-ups ------------------------------------------------------------------------------------------------

    def item(self, item_id: str) -> Item | None:
        """The item as it is now; one that is being spoken has the text so far."""
        kept = super().item(item_id)
        known = self._live(self._reply_of.get(item_id, -1))
        speaking = kept is not None and known is not None and item_id == known.head.item_id
        return known.message("in_progress") if speaking and known else kept

    def item_of(self, reply: int) -> str | None:
        """The id of the reply's message."""
        return self._replies[reply].head.item_id if reply in self._replies else None

    def response_of(self, reply: int) -> str | None:
        """The id of the reply's response."""
        return self._replies[reply].head.response_id if reply in self._replies else None

    def reply_of(self, item_id: str) -> int | None:
        """The reply that made this item."""
        return self._reply_of.get(item_id)

    def reply_named(self, response_id: str) -> int | None:
        """The reply whose response has this id."""
        numbers = reversed(self._replies)
        return next((number for number in numbers if self._replies[number].head.response_id == response_id), None)

    # ---- within --------------------------------------------------------------------------------------------------

    def _live(self, reply: int) -> Reply | None:
        """The reply, unless it is done or was never begun."""
        known = self._replies.get(reply)
        return None if known is None or known.done else known

    def _opening(self, known: Reply) -> list[server.ServerEvent]:
        """Begin the reply's message if that has not happened yet."""
        if known.index is not None:
            return []
        previous = self._history.last
        events = known.open(previous)
        if known.in_conversation:
            self._history.add(known.head.item_id, known.message("in_progress"))
        return events

    def _end(
        self,
        reply: int,
        status: shapes.ResponseStatus,
        item_status: Status,
        details: shapes.StatusDetails | None,
        usage: Usage,
    ) -> list[Frame]:
        known = self._live(reply)
        if known is None:
            return []
        item_id = known.head.item_id
        events = known.close(item_status, self._history.before(item_id))
        self._history.change(item_id, known.message(item_status))
        response = known.response(status, details, usage.wire())
        known.finish()
        return self._frames(*events, server.ResponseDone(response))

    def _playout(self, reply: int, kind: Callable[..., server.ServerEvent], *position_ms: int) -> list[Frame]:
        """An order to the client's player; nothing while there is nothing to play."""
        known = self._replies.get(reply)
        if known is None or known.index is None:
            return []
        return self._own(kind(known.head.response_id, known.head.item_id, *position_ms))

    def _own(self, event: server.ServerEvent) -> list[Frame]:
        return self._frames(event) if self.session.events else []
