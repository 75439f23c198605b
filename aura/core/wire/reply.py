"""One response on the wire: what has been opened, said and closed, and the events for it in their order.

Orders A, D, F, G, H and K of realtime-protocol.md 1.7. The message item is opened by the first text or audio, so that
a reply which only calls a function has no empty message in front of the call.
"""

from __future__ import annotations

import msgspec

from aura.core.ports import ToolCall
from aura.core.wire import server, shapes
from aura.core.wire.items import FunctionCall, Item, Message, OutputAudio, OutputText, Status


class Head(msgspec.Struct, frozen=True):
    """What stays the same in all events of a response."""

    response_id: str
    item_id: str
    """Id of the message, known before the message is opened."""
    modality: str
    conversation_id: str | None
    """None: out of band, no conversation.item.* events."""
    audio: dict[str, object]
    max_output_tokens: int | str
    metadata: dict[str, str] | None


class Reply:
    """A response from `response.created` to `response.done`."""

    __slots__ = ("audio_prefix", "before", "done", "head", "index", "outputs", "spoken", "texts")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.texts: list[str] = []
        """What the item keeps: only what was heard, once that is known."""
        self.before = ""
        """What was said by a reply that failed, and for which this one goes on."""
        self.spoken: list[str] = []
        """All that the client was told of it: pydantic-ai takes what does not go on from the deltas for more text."""
        self.outputs: list[Item] = []
        self.index: int | None = None
        self.audio_prefix = ""
        self.done = False

    @property
    def in_conversation(self) -> bool:
        """Whether its items belong to the conversation."""
        return self.head.conversation_id is not None

    def response(
        self,
        status: shapes.ResponseStatus,
        details: shapes.StatusDetails | None = None,
        usage: shapes.WireUsage | None = None,
    ) -> shapes.Response:
        """The response as a whole."""
        head = self.head
        return shapes.Response(
            id=head.response_id,
            status=status,
            status_details=details,
            output=() if status == "in_progress" else tuple(self.outputs),
            conversation_id=head.conversation_id,
            output_modalities=(head.modality,),
            max_output_tokens=head.max_output_tokens,
            audio=head.audio,
            usage=usage,
            metadata=head.metadata,
        )

    def message(self, status: Status) -> Message:
        """The message with all that was said so far; of one that was cut off, with what was heard."""
        text = "".join(self.texts)
        part = OutputAudio(text) if self.head.modality == "audio" else OutputText(text)
        return Message("assistant", (part,), self.head.item_id, status)

    def open(self, previous: str | None) -> list[server.ServerEvent]:
        """Begin the message."""
        head = self.head
        empty = Message("assistant", (), head.item_id, "in_progress")
        self.index = len(self.outputs)
        self.outputs.append(empty)
        part = shapes.AudioPart("") if head.modality == "audio" else shapes.TextPart("")
        self.audio_prefix = self._audio_prefix()
        return [
            server.OutputItemAdded(head.response_id, self.index, empty),
            *([server.ItemAdded(empty, previous)] if self.in_conversation else []),
            server.ContentPartAdded(*self._place(), part),
        ]

    def reopen(self, previous: str | None) -> list[server.ServerEvent]:
        """The beginning once more, with the text so far."""
        events: list[server.ServerEvent] = [server.ResponseCreated(self.response("in_progress"))]
        if self.index is None:
            return events
        outputs, self.outputs = self.outputs, self.outputs[: self.index]
        events += self.open(previous)
        self.outputs = outputs
        text = "".join(self.texts)
        self.spoken = [text]
        kind = server.SpokenDelta if self.head.modality == "audio" else server.TextDelta
        return [*events, *([kind(*self._place(), text)] if text else [])]

    def delta(self, text: str) -> server.ServerEvent:
        """More text."""
        self.texts.append(text)
        self.spoken.append(text)
        kind = server.SpokenDelta if self.head.modality == "audio" else server.TextDelta
        return kind(*self._place(), text)

    def binary_follows(self) -> server.ServerEvent:
        """Names the item that the next binary frames belong to."""
        return server.AudioDelta(*self._place(), "")

    def close(self, status: Status, previous: str | None) -> list[server.ServerEvent]:
        """End the message, if it was begun."""
        if self.index is None:
            return []
        place, message, text = self._place(), self.message(status), "".join(self.spoken)
        self.outputs[self.index] = message
        if self.head.modality == "audio":
            ends = [server.AudioDone(*place), server.SpokenDone(*place, text)]
            part: shapes.AudioPart | shapes.TextPart = shapes.AudioPart(text)
        else:
            ends, part = [server.TextDone(*place, text)], shapes.TextPart(text)
        return [
            *ends,
            server.ContentPartDone(*place, part),
            *([server.ItemDone(message, previous)] if self.in_conversation else []),
            server.OutputItemDone(self.head.response_id, self.index, message),
        ]

    def call(self, call: ToolCall, item_id: str, previous: str | None) -> tuple[FunctionCall, list[server.ServerEvent]]:
        """A function call from beginning to end, and its item."""
        response_id, index = self.head.response_id, len(self.outputs)
        begun = FunctionCall(call.name, "", call.id, item_id, "in_progress")
        whole = FunctionCall(call.name, call.arguments, call.id, item_id, "completed")
        self.outputs.append(whole)
        return whole, [
            server.OutputItemAdded(response_id, index, begun),
            *([server.ItemAdded(begun, previous)] if self.in_conversation else []),
            server.ArgumentsDelta(response_id, item_id, index, call.id, call.arguments),
            server.ArgumentsDone(response_id, item_id, index, call.id, call.name, call.arguments),
            *([server.ItemDone(whole, previous)] if self.in_conversation else []),
            server.OutputItemDone(response_id, index, whole),
        ]

    def finish(self) -> None:
        """Forget all but the ids: the history keeps the text."""
        self.done = True
        self.texts, self.spoken, self.outputs, self.audio_prefix = [], [], [], ""

    def _place(self) -> tuple[str, str, int, int]:
        return self.head.response_id, self.head.item_id, self.index or 0, 0

    def _audio_prefix(self) -> str:
        """An audio delta up to its event id: all audio deltas of a message begin alike."""
        begin, end = '{"event_id":"",', '"delta":""}'
        constant = server.stamped(server.AudioDelta(*self._place(), ""), "").removeprefix(begin).removesuffix(end)
        return f'{{{constant}"event_id":"'
