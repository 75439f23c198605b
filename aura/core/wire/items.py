"""Items of a conversation in the protocol's shape (realtime-protocol.md 1.6), read from clients and written to them.

`placed` gives a client's item its id and the shape in which it is shown; `History` is the order of the items.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

Status = Literal["in_progress", "completed", "incomplete"]
ItemId = Annotated[str, msgspec.Meta(max_length=512)]
Role = Literal["system", "user", "assistant"]


class InputText(msgspec.Struct, frozen=True, tag="input_text"):
    """Text of the user or of the system."""

    text: str


class InputAudio(msgspec.Struct, frozen=True, tag="input_audio"):
    """The user's speech. `transcript` is always written: its absence kills @openai/agents-realtime."""

    transcript: str | None = None
    audio: bytes | UnsetType | None = UNSET


class OutputText(msgspec.Struct, frozen=True, tag="output_text"):
    """Text of the assistant."""

    text: str


class OutputAudio(msgspec.Struct, frozen=True, tag="output_audio"):
    """The assistant's speech."""

    transcript: str | None = ""
    audio: bytes | UnsetType | None = UNSET


class BetaText(msgspec.Struct, frozen=True, tag="text"):
    """The beta name of a text part; never written."""

    text: str


class BetaAudio(msgspec.Struct, frozen=True, tag="audio"):
    """The beta name of an audio part; never written."""

    transcript: str | None = None
    audio: bytes | UnsetType | None = UNSET


Part = InputText | InputAudio | OutputText | OutputAudio | BetaText | BetaAudio


class Message(msgspec.Struct, frozen=True, tag="message"):
    """Something said or written."""

    role: Role
    content: tuple[Part, ...]
    id: ItemId | None = None
    status: Status | None = "completed"


class FunctionCall(msgspec.Struct, frozen=True, tag="function_call"):
    """The model wants a function run by the client. `arguments` is JSON text, "" while in progress."""

    name: str
    arguments: str
    call_id: ItemId = ""
    id: ItemId | None = None
    status: Status | None = "completed"


class FunctionCallOutput(msgspec.Struct, frozen=True, tag="function_call_output"):
    """What the client's function returned."""

    call_id: ItemId
    output: str
    id: ItemId | None = None


class ForceMessage(msgspec.Struct, frozen=True, tag="force_message"):
    """xAI's order to speak this text as it stands; it becomes no item of its own, the spoken reply does."""

    text: str = ""
    content: tuple[Part, ...] = ()
    id: ItemId | None = None


class ItemReference(msgspec.Struct, frozen=True, tag="item_reference"):
    """An item of the conversation, named in the `input` of a response."""

    id: ItemId


Item = Message | FunctionCall | FunctionCallOutput
ClientItem = Message | FunctionCall | FunctionCallOutput | ForceMessage


def text_of(item: ClientItem) -> str:
    """The words of an item: its texts and transcripts, the result of a function; "" for a call."""
    match item:
        case Message() | ForceMessage():
            texts = [item.text] if isinstance(item, ForceMessage) and item.text else []
            return " ".join([*texts, *(text for text in map(_words, item.content) if text)])
        case FunctionCallOutput():
            return item.output
        case FunctionCall():
            return ""


def audio_of(item: ClientItem) -> bytes:
    """The audio that a client put into an item, as sent (in the session's input format)."""
    parts = item.content if isinstance(item, Message) else ()
    return b"".join(audio for part in parts if isinstance(audio := getattr(part, "audio", UNSET), bytes))


def placed(item: Item, item_id: str) -> Item:
    """The item as it is kept and shown: with its id, GA part names, and without audio bytes."""
    if isinstance(item, Message):
        content = tuple(_shown(part, item.role) for part in item.content)
        return msgspec.structs.replace(item, id=item_id, content=content, status=item.status or "completed")
    if isinstance(item, FunctionCall):
        return msgspec.structs.replace(item, id=item_id, status=item.status or "completed")
    return msgspec.structs.replace(item, id=item_id)


def _words(part: Part) -> str:
    return part.text if isinstance(part, (InputText, OutputText, BetaText)) else part.transcript or ""


def _shown(part: Part, role: Role) -> Part:
    """The part as the GA protocol writes it for this role: strict clients know no other names."""
    if isinstance(part, (InputText, OutputText, BetaText)):
        return OutputText(part.text) if role == "assistant" else InputText(part.text)
    return OutputAudio(part.transcript or "") if role == "assistant" else InputAudio(part.transcript)


class History:
    """The items of a conversation in their order."""

    def __init__(self) -> None:
        self._order: list[str] = []
        self._items: dict[str, Item] = {}

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    @property
    def last(self) -> str | None:
        """The id of the last item."""
        return self._order[-1] if self._order else None

    def get(self, item_id: str) -> Item | None:
        """The item, or None when there is none of that id."""
        return self._items.get(item_id)

    def tail(self, count: int) -> list[str]:
        """The ids of the last items."""
        return self._order[-count:]

    def before(self, item_id: str) -> str | None:
        """The id of the item in front of this one; None for the first and for one that is not here."""
        if item_id not in self._items:
            return None
        # From the end: it is nearly always the newest item that is asked about, in a list of thousands.
        place = next(place for place in reversed(range(len(self._order))) if self._order[place] == item_id)
        return self._order[place - 1] if place else None

    def add(self, item_id: str, item: Item, after: str | None = None) -> None:
        """Put an item at the end, behind `after`, or with "root" in front of all."""
        place = len(self._order) if after is None else 0 if after == "root" else self._order.index(after) + 1
        self._order.insert(place, item_id)
        self._items[item_id] = item

    def change(self, item_id: str, item: Item) -> None:
        """Keep the item's new state; one that was deleted meanwhile stays deleted."""
        if item_id in self._items:
            self._items[item_id] = item

    def remove(self, item_id: str) -> None:
        """Forget an item."""
        del self._items[item_id]
        self._order.remove(item_id)


def with_audio(item: Item, audio: bytes) -> Item:
    """The item with its audio in the first part that can hold some, for `conversation.item.retrieved`."""
    if not isinstance(item, Message):
        return item
    content: list[Any] = list(item.content)
    for index, part in enumerate(content):
        if isinstance(part, (InputAudio, OutputAudio)):
            content[index] = msgspec.structs.replace(part, audio=audio)
            break
    return msgspec.structs.replace(item, content=tuple(content))
