"""The half of a conversation's wire view that needs no replies: session, turns of the user, items.

Pure: no clock, ids from an injected generator. `RealtimeView` adds the replies.
"""

from __future__ import annotations

import msgspec

from aura.core.errors import ProtocolFault
from aura.core.wire import faults, server, shapes
from aura.core.wire.client import ItemCreate, ItemDelete, ItemRetrieve
from aura.core.wire.ids import NewId
from aura.core.wire.items import (
    ForceMessage,
    History,
    InputAudio,
    Item,
    Message,
    OutputAudio,
    placed,
    with_audio,
)
from aura.core.wire.session_object import RealtimeSession

Frame = str | bytes
"""A text frame or a binary frame."""

_ERROR_TYPES = {"server_error": "server_error", "rate_limit_exceeded": "rate_limit_error"}


class ConversationView:
    """Turns what the user says and what the client does to the history into frames for the client."""

    def __init__(self, session: RealtimeSession, new_id: NewId) -> None:
        self.session = session
        self._new_id = new_id
        self._conversation_id = new_id("conv")
        self._history = History()
        self._turns: dict[int, str] = {}
        self._turn_of: dict[str, int] = {}
        self._committed: set[int] = set()

    # ---- session -------------------------------------------------------------------------------------------------

    def hello(self) -> list[Frame]:
        """The first frames of all, before any of the client's."""
        conversation = {"id": self._conversation_id, "object": "realtime.conversation"}
        return self._frames(server.SessionCreated(self.session.echo()), server.ConversationCreated(conversation))

    def updated(self, session: RealtimeSession) -> list[Frame]:
        """The session is now this one (`session.apply(...)` accepted the update)."""
        self.session = session
        return self._frames(server.SessionUpdated(session.echo()))

    def fault(self, fault: ProtocolFault) -> list[Frame]:
        """A message of the client was not obeyed, or (code `server_error`) the server failed."""
        kind = _ERROR_TYPES.get(fault.code, "invalid_request_error")
        return self._frames(
            server.Error(shapes.ErrorDetail(kind, fault.code, str(fault), fault.param, fault.event_id)),
        )

    # ---- the user's turn -----------------------------------------------------------------------------------------

    def speech_started(self, turn: int, at_ms: int) -> list[Frame]:
        """The user speaks; `at_ms` of microphone time, prefix padding already taken off."""
        return self._heard(turn, server.SpeechStarted(self._turn_item(turn), max(0, at_ms)))

    def speech_stopped(self, turn: int, at_ms: int) -> list[Frame]:
        """The user has stopped; `at_ms` of microphone time."""
        return self._heard(turn, server.SpeechStopped(self._turn_item(turn), max(0, at_ms)))

    def idle_timeout(self, turn: int, start_ms: int, end_ms: int) -> list[Frame]:
        """Nobody spoke for idle_timeout_ms; `committed` and a response follow."""
        return self._heard(turn, server.TimeoutTriggered(self._turn_item(turn), max(0, start_ms), max(0, end_ms)))

    def committed(self, turn: int) -> list[Frame]:
        """The turn's audio is an utterance: it becomes an item of the conversation."""
        if turn in self._committed:
            return []
        self._committed.add(turn)
        item_id = self._turn_item(turn)
        item = Message("user", (InputAudio(),), item_id)
        self._history.add(item_id, item)
        previous = self._history.before(item_id)
        return self._frames(
            server.Committed(item_id, previous), server.ItemAdded(item, previous), server.ItemDone(item, previous)
        )

    def cleared(self) -> list[Frame]:
        """The input buffer was thrown away."""
        return self._frames(server.Cleared())

    def transcript_delta(self, turn: int, text: str) -> list[Frame]:
        """More of what the user said; only for clients that asked for transcription."""
        if not self.session.transcribes or not text:
            return []
        return self._frames(server.TranscriptDelta(self._turn_item(turn), 0, text))

    def transcript(self, turn: int, text: str, seconds: float) -> list[Frame]:
        """What the user said in `seconds` of audio ("" when there were no words)."""
        if not self.session.transcribes:
            return []
        item_id = self._turn_item(turn)
        self._history.change(item_id, Message("user", (InputAudio(text),), item_id))
        return self._frames(server.TranscriptCompleted(item_id, 0, text, shapes.Duration(seconds)))

    def transcript_failed(self, turn: int, code: str, message: str) -> list[Frame]:
        """The words are not known; the turn goes on all the same."""
        if not self.session.transcribes:
            return []
        error = shapes.PartError("server_error", code, message)
        return self._frames(server.TranscriptFailed(self._turn_item(turn), 0, error))

    # ---- the client's work on the history ------------------------------------------------------------------------

    def admit(self, message: ItemCreate) -> ItemCreate:
        """The same message with an id for its item. Raises `ProtocolFault` when it cannot be inserted; changes nothing.

        Optional before `text_item`, for those who need the id first.
        """
        item_id, after = message.item.id, message.previous_item_id
        if item_id and item_id in self._history:
            raise faults.duplicate_item(item_id, message.event_id)
        if after not in (None, "root") and after not in self._history:
            raise faults.unknown_previous(str(after), message.event_id)
        if item_id:
            return message
        return msgspec.structs.replace(message, item=msgspec.structs.replace(message.item, id=self._new_id("item")))

    def text_item(self, message: ItemCreate) -> list[Frame]:
        """The client's item joins the conversation. Raises `ProtocolFault` like `admit`."""
        message = self.admit(message)
        if isinstance(message.item, ForceMessage):
            return []  # the spoken reply brings the item
        item_id = message.item.id or ""
        item = placed(message.item, item_id)
        self._history.add(item_id, item, message.previous_item_id)
        previous = self._history.before(item_id)
        return self._frames(server.ItemAdded(item, previous), server.ItemDone(item, previous))

    def retrieved(self, message: ItemRetrieve, audio: bytes | None = None) -> list[Frame]:
        """The item as it is now, with its audio where given. Raises `ProtocolFault` when it is not known."""
        item = self.item(message.item_id)
        if item is None:
            raise faults.unknown_item("retrieve", message.item_id, message.event_id)
        return self._frames(server.ItemRetrieved(with_audio(item, audio) if audio else item))

    def deleted(self, message: ItemDelete) -> list[Frame]:
        """The item leaves the conversation. Raises `ProtocolFault` when it is not known."""
        if message.item_id not in self._history:
            raise faults.unknown_item("delete", message.item_id, message.event_id)
        self._history.remove(message.item_id)
        return self._frames(server.ItemDeleted(message.item_id))

    def truncated(
        self, item_id: str, content_index: int, audio_end_ms: int, heard: str | None = "", event_id: str | None = None
    ) -> list[Frame]:
        """Only the words `heard` of the assistant's item count from now on; the item may be long finished (trap 8).

        None: which they are is not known any more, and its text stays.

        Raises `ProtocolFault` when there is no such item or it is not the assistant's speech.
        """
        item = self.item(item_id)
        if not isinstance(item, Message) or item.role != "assistant":
            raise faults.unknown_item("truncate", item_id, event_id)
        if heard is not None and any(isinstance(part, OutputAudio) for part in item.content):
            self._history.change(item_id, msgspec.structs.replace(item, content=(OutputAudio(heard),)))
        return self._frames(server.ItemTruncated(item_id, content_index, audio_end_ms))

    # ---- look-ups ------------------------------------------------------------------------------------------------

    def item(self, item_id: str) -> Item | None:
        """The item as it is now."""
        return self._history.get(item_id)

    def item_of_turn(self, turn: int) -> str | None:
        """The id of the user's item of this turn."""
        return self._turns.get(turn)

    def turn_for(self, item_id: str) -> int:
        """A number that stands for the turn of a user's item that the client made itself; real turns count from 1."""
        turn = -1 - len(self._turns)
        self._turns[turn] = item_id
        self._turn_of[item_id] = turn
        return turn

    def turn_of(self, item_id: str) -> int | None:
        """The turn in which this item was said, or which it answers."""
        return self._turn_of.get(item_id)

    def _frames(self, *events: server.ServerEvent) -> list[Frame]:
        return [server.stamped(event, self._new_id("event")) for event in events]

    def _heard(self, turn: int, event: server.ServerEvent) -> list[Frame]:
        """Nothing in push-to-talk sessions, nor for a turn that is over."""
        return [] if self.session.turn_detection is None or turn in self._committed else self._frames(event)

    def _turn_item(self, turn: int) -> str:
        """The id that the turn's item has or will have."""
        if turn not in self._turns:
            self._turns[turn] = self._new_id("item")
            self._turn_of[self._turns[turn]] = turn
        return self._turns[turn]
