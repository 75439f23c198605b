"""The user's turns and the items of the conversation (realtime-protocol.md 1.7 A-E, G, I, J, L)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aura.core.wire.grammar.fields import Problem
from aura.core.wire.grammar.orders import SHORT, Track
from aura.core.wire.grammar.requests import Request, Requests, kind_of
from aura.core.wire.grammar.session import SessionWatch


class ItemSeen:
    """What is known of an item."""

    __slots__ = ("deleted", "order", "sounds", "speaks", "start_ms", "words")

    def __init__(self) -> None:
        self.order = Track("item")
        self.words = Track("transcription")
        self.start_ms = 0
        self.deleted = self.sounds = self.speaks = False


class ConversationWatch:
    """The order of the items, and how each of them came about."""

    def __init__(self, requests: Requests, session: SessionWatch) -> None:
        self._requests, self._session = requests, session
        self._order: list[str] = []
        self._items: dict[str, ItemSeen] = {}

    def of(self, item_id: str) -> ItemSeen:
        """What is known of the item."""
        return self._items.setdefault(item_id, ItemSeen())

    def knows(self, item_id: str) -> bool:
        """Whether the item is in the conversation (or may be, where not all of it was seen)."""
        return item_id in self._order or self._session.resumed

    def restore(self, items: list[dict[str, Any]]) -> None:
        """Items of a resumed conversation."""
        for item in items:
            known = self.of(item["id"])
            known.speaks = item.get("role") == "assistant"
            if item["id"] not in self._order:
                self._order.append(item["id"])

    # ---- the user's turn

    def heard(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """A, D, L: speech_started, speech_stopped, timeout_triggered: only while the server finds the turns."""
        item_id, detection = event["item_id"], self._session.detection
        if detection is None:
            yield "speech.off", f"{kind} of {item_id} in a push-to-talk session (1.7 I)"
        elif kind.endswith("timeout_triggered") and not detection.get("idle_timeout_ms"):
            yield "speech.off", f"{kind} of {item_id} without an idle_timeout_ms (1.7 L)"
        known = self.of(item_id)
        if kind.endswith("speech_stopped") and self._session.resumed and not known.order.seen:
            known.order.take("speech_started")  # on the connection before this one
        yield from self._step(kind, item_id)
        if kind.endswith("speech_started"):
            known.start_ms = event["audio_start_ms"]
        elif event["audio_end_ms"] < event.get("audio_start_ms", known.start_ms):
            yield "speech.time", f"{kind} of {item_id} lies before its start (1.2)"

    def committed(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """By the server's own turn detection, by an idle timeout, or because the client asked."""
        item_id = event["item_id"]
        yield from self._step(kind, item_id)
        yield from self._behind(kind, item_id, event)
        ended = self.of(item_id).order.seen & {"speech_stopped", "timeout_triggered"}
        asked = self._requests.first("input_audio_buffer.commit", lambda request: not (ended and request.maybe))
        if asked and ended:
            asked.maybe = True  # which of the two ended the turn cannot be told
        elif asked:
            self._requests.answered(asked)
        elif not ended and not self._session.resumed:
            yield "answer.unasked", f"{kind} of {item_id}: nobody asked for it and no speech has ended (1.4)"

    def cleared(self, kind: str, _: dict[str, Any]) -> Iterator[Problem]:
        """Only when asked."""
        yield from self._requests.answer("input_audio_buffer.clear", lambda _: True, kind)

    def transcription(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """1.3: none at all while transcription is off; the end of it only for an item that is committed."""
        item_id, name = event["item_id"], SHORT[kind]
        if not self._session.transcribes:
            yield "transcription.off", f"{kind} of {item_id} while transcription is off (1.3)"
        known = self.of(item_id)
        legal = known.words.take(name)
        if legal:
            yield "order.transcription", f"{kind} of {item_id} is not legal here: {legal} (1.5)"
        final = name in ("transcription.completed", "transcription.failed")
        if final and "committed" not in known.order.seen and not known.sounds and not self._session.resumed:
            yield "transcription.early", f"{kind} of {item_id} before it is committed (1.7 A)"

    # ---- items

    def added(self, kind: str, event: dict[str, Any], *, output: bool) -> Iterator[Problem]:
        """Of the user's turn, of a response (`output`), or as the answer to conversation.item.create."""
        item = event["item"]
        item_id = item["id"]
        if item_id in self._order:
            yield "item.twice", f"{kind} of {item_id}, which is in the conversation already (1.5)"
        if self.of(item_id).deleted:
            self._items[item_id] = ItemSeen()  # the id was free again
        known = self.of(item_id)
        known.speaks = item.get("role") == "assistant"
        known.sounds = any(part.get("type") == "input_audio" for part in item.get("content") or ())
        asked = None if output else self._asked(item)
        if asked:
            self._requests.answered(asked)
        elif not output and "committed" not in known.order.seen and not self._session.resumed:
            yield "answer.unasked", f"{kind} of {item_id}: no turn, no response and no client made it (1.5)"
        if not output:
            yield from self._step(kind, item_id)
        yield from self._behind(kind, item_id, event, at_root=bool(asked and asked.at_root))
        previous = event.get("previous_item_id")
        if previous in self._order:
            self._order.insert(self._order.index(previous) + 1, item_id)
        elif previous is None and not self._session.resumed:
            self._order.insert(0, item_id)
        else:
            self._order.append(item_id)

    def done(self, kind: str, event: dict[str, Any], *, output: bool) -> Iterator[Problem]:
        """The item is final."""
        item_id = event["item"]["id"]
        if not output and (item_id in self._items or not self._session.resumed):
            yield from self._step(kind, item_id)
        if event["item"].get("status") == "in_progress":
            yield "item.status", f"{kind} of {item_id} with status in_progress (1.5)"
        yield from self._behind(kind, item_id, event)

    def retrieved(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """The answer to conversation.item.retrieve."""
        item_id = event["item"]["id"]
        fits = _of(item_id)
        yield from self._requests.answer("conversation.item.retrieve", fits, f"{kind} of {item_id}")
        if not self.knows(item_id):
            yield "item.unknown", f"{kind} of {item_id}, which is not in the conversation"

    def deleted(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """The answer to conversation.item.delete."""
        item_id = event["item_id"]
        yield from self._requests.answer("conversation.item.delete", _of(item_id), f"{kind} of {item_id}")
        if item_id in self._order:
            self._order.remove(item_id)
            self.of(item_id).deleted = True
        elif not self._session.resumed:
            yield "item.unknown", f"{kind} of {item_id}, which is not in the conversation"

    def truncated(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """The answer to conversation.item.truncate: of the assistant's item, and no longer than asked for."""
        item_id = event["item_id"]
        asked = self._requests.first("conversation.item.truncate", _of(item_id))
        yield from self._requests.answer("conversation.item.truncate", _of(item_id), f"{kind} of {item_id}")
        if asked and (event["content_index"] != asked.content_index or event["audio_end_ms"] > asked.end_ms):
            yield "truncated", f"{kind} of {item_id} says something else than {asked} (1.4)"
        if not self.knows(item_id) or not (self.of(item_id).speaks or self._session.resumed):
            yield "item.unknown", f"{kind} of {item_id}, which is no item of the assistant's"

    def unfinished(self) -> Iterator[str]:
        """Items that were added and are not done; those of responses are told of there."""
        for item_id, known in self._items.items():
            if "item.added" in known.order.seen and not known.order.complete:
                yield item_id

    # ---- within

    def _asked(self, item: dict[str, Any]) -> Request | None:
        """The conversation.item.create that this item answers: by its id, or of the same kind and without one."""
        kind = kind_of(item)
        create = "conversation.item.create"
        named = self._requests.first(create, _of(item["id"]))
        if named or "committed" in self.of(item["id"]).order.seen:
            return named
        return self._requests.first(create, lambda r: not r.item_id and r.item_kind == kind)

    def _step(self, kind: str, item_id: str) -> Iterator[Problem]:
        legal = self.of(item_id).order.take(SHORT[kind])
        if legal:
            yield "order.item", f"{kind} of {item_id} is not legal here: {legal} (1.7 A, J, L)"

    def _behind(self, kind: str, item_id: str, event: dict[str, Any], *, at_root: bool = False) -> Iterator[Problem]:
        """1.5: previous_item_id names an item of the conversation; null is for the first one."""
        previous = event.get("previous_item_id")
        if self._session.resumed or self.of(item_id).deleted:
            return
        if previous is None:
            first = not self._order or self._order[0] == item_id
            if not first and not at_root:
                yield "item.previous", f"{kind} of {item_id} stands behind nothing, but there are items (1.5)"
        elif previous not in self._order or previous == item_id:
            yield "item.previous", f"{kind} of {item_id} stands behind an item that is not there (1.5)"


def _of(item_id: str) -> Any:
    return lambda request: request.item_id == item_id
