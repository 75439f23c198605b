"""What a new session must be told when the old one is gone: the client's settings, and what was said so far."""

from __future__ import annotations

from typing import Any

import msgspec

from aura.client.events import (
    Event,
    Flush,
    ItemDone,
    Other,
    ReplyAudio,
    ReplyDone,
    ReplyText,
    Resumed,
    SpeechStarted,
    UserSaid,
)
from aura.core.heard import LETTERS_PER_S

KEPT_ITEMS = 40


class Entry(msgspec.Struct):
    """Something said."""

    role: str
    text: str = ""
    received_ms: float = 0.0
    """Audio of it."""
    complete: bool = False
    """No more of it will come."""
    final: bool = False
    """What was heard of it is known."""


class Story:
    """Follows one call."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        """Everything that the client changed in the session."""
        self.entries: dict[str, Entry] = {}
        """By item, in the order of the conversation."""
        self.unanswered_ms: int | None = None
        """Where the user's latest utterance began, unless its words are known or it was answered."""

    def updated(self, session: dict[str, Any]) -> None:
        """The client changes its session."""
        self.settings = _merged(self.settings, session)

    def take(self, event: Event, rate_hz: int) -> None:
        """Something was said."""
        match event:
            case ItemDone():
                self.item(event.item)
            case UserSaid():
                self._entry(event.item_id, "user").text = event.transcript
                self.unanswered_ms = None
            case SpeechStarted():
                self.unanswered_ms = event.audio_start_ms
            case ReplyText():
                self._said(event)
            case ReplyAudio():
                self._entry(event.item_id, "assistant").received_ms += len(event.pcm) / 2 / rate_hz * 1000
            case ReplyDone(status="completed"):
                self.unanswered_ms = None
            case _:
                self._corrected(event)

    def _said(self, event: ReplyText) -> None:
        entry = self._entry(event.item_id, "assistant")
        entry.text = event.delta if event.anew else entry.text + event.delta

    def _corrected(self, event: Event) -> None:
        match event:
            case Resumed():
                for item in event.items:
                    self.item(item)
            case Flush():
                self.cut(event.item_id, event.heard_ms)
            case Other(type="conversation.item.truncated"):
                self.cut(str(event.data.get("item_id", "")), float(event.data.get("audio_end_ms", 0)))
            case Other(type="conversation.item.deleted"):
                self.entries.pop(str(event.data.get("item_id", "")), None)
            case _:
                pass

    def item(self, item: dict[str, Any]) -> None:
        """An item as it stands in the conversation."""
        if item.get("type", "message") != "message" or not item.get("role"):
            return
        entry = self._entry(str(item.get("id", "")), str(item["role"]))
        text = ItemDone(item=item).text
        if text and not (entry.final and entry.role == "assistant"):
            entry.text = text
        entry.complete = entry.complete or item.get("status") == "completed"
        entry.final = entry.final or item.get("status") == "incomplete"

    def replies(self) -> set[str]:
        """Items of the assistant."""
        return {name for name, entry in self.entries.items() if entry.role == "assistant"}

    def rewound(self, item_id: str, from_ms: float) -> None:
        """Its audio comes again from here on."""
        self._entry(item_id, "assistant").received_ms = from_ms

    def cut(self, item_id: str, heard_ms: float) -> None:
        """No more than this was heard of a reply; the words are estimated unless the server has told them."""
        entry = self.entries.get(item_id)
        if entry is None or entry.final:
            return
        expected_ms = 0.0 if entry.complete else len(entry.text) / LETTERS_PER_S * 1000
        whole_ms = max(entry.received_ms, expected_ms, 1.0)
        letters = round(len(entry.text) * min(1.0, heard_ms / whole_ms))
        if letters < len(entry.text):
            entry.text = entry.text[:letters].rpartition(" ")[0]
        entry.final = True

    def items(self) -> list[dict[str, Any]]:
        """To be told to a new session, under the old names."""
        kinds = {"assistant": "output_text"}
        return [
            {
                "id": name, "type": "message", "role": entry.role,
                "content": [{"type": kinds.get(entry.role, "input_text"), "text": entry.text}],
            }
            for name, entry in self.entries.items()
            if entry.text.strip()
        ]  # fmt: skip

    def _entry(self, item_id: str, role: str) -> Entry:
        entry = self.entries.setdefault(item_id, Entry(role))
        while len(self.entries) > KEPT_ITEMS:
            del self.entries[next(iter(self.entries))]
        return entry


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Two changes of the session as one."""
    both = dict(old)
    for key, value in new.items():
        before = both.get(key)
        both[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both
