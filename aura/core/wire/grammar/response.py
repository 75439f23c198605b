"""Responses and their items (realtime-protocol.md 1.6 and 1.7 A, D, F, G, H, K)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aura.core.wire.grammar.fields import Problem
from aura.core.wire.grammar.orders import SHORT, Track

ENDS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    # 1.6: status of a response: type of its status_details, status of the message that it closed last
    "completed": (None, ("completed",)),
    "cancelled": ("cancelled", ("incomplete",)),
    "incomplete": ("incomplete", ("incomplete",)),
    "failed": ("failed", ("incomplete", "completed")),
}
_DELTAS = ("said.delta", "text.delta", "arguments.delta", "mcp.delta")
_TEXTS = {"said.done": "transcript", "text.done": "text", "arguments.done": "arguments", "mcp.done": "arguments"}
_TEXT_OF = {"audio": "transcript", "text": "text", "output_audio": "transcript", "output_text": "text"}
_PART_OF = {"output_audio": "audio", "output_text": "text"}


class Output:
    """One item of a response."""

    def __init__(self, item: dict[str, Any], index: int, *, in_conversation: bool) -> None:
        self.item_id, self.index = item["id"], index
        kind = item["type"]
        pattern = kind if kind in ("message", "function_call") else "mcp"
        self.order = Track(pattern if in_conversation else f"{pattern} out of band")
        self.names = (item.get("call_id"), item.get("name"))
        self.said: list[str] = []
        self.parts: list[tuple[str, str]] = []
        """Type and whole text of each closed part."""
        self.text: str | None = None
        self.opened = ""
        """Type of the part that is open."""
        self.cut: list[str] | None = None
        """What was said before the client's truncate; the item keeps only a beginning of it."""
        self.short = False
        """The item keeps less than was sent: legal when its reply was cut off."""
        self.final: dict[str, Any] | None = None

    def step(self, kind: str, event: dict[str, Any], response_id: str) -> Iterator[Problem]:
        """One more event of this item."""
        name, what = SHORT[kind], f"{kind} of {self.item_id} in {response_id}"
        legal = self.order.take(name)
        if legal:
            yield f"order.{self.order.name.partition(' ')[0]}", f"{what} is not legal here: {legal} (1.7)"
        if event.get("output_index", self.index) != self.index:
            yield "output_index", f"{what}: output_index {event['output_index']} instead of {self.index} (1.5)"
        if name in _DELTAS:
            self.said.append(event["delta"])
        elif name in _TEXTS:
            yield from self._whole(what, event[_TEXTS[name]], arguments="arguments" in event)
        if "content_index" in event and event["content_index"] != len(self.parts):
            yield "content_index", f"{what}: content_index {event['content_index']} instead of {len(self.parts)} (1.5)"
        if "call_id" in event and (event["call_id"], event.get("name", self.names[1])) != self.names:
            yield "call", f"{what} names another call than its item (1.7 G)"
        if name in ("content_part.added", "content_part.done"):
            yield from self._part(what, event["part"], opens=name.endswith("added"))

    def _part(self, what: str, part: dict[str, Any], *, opens: bool) -> Iterator[Problem]:
        text = part[_TEXT_OF[part["type"]]]
        if opens:
            self.said, self.text, self.cut, self.opened = [text], None, None, part["type"]
            return
        self.parts.append((part["type"], text))
        expected = "said.done" if part["type"] == "audio" else "text.done"
        if text != self.text or part["type"] != self.opened or expected not in self.order.seen:
            yield "text.differs", f"{what}: the part is not what {expected} told (1.7)"

    def _whole(self, what: str, text: str, *, arguments: bool) -> Iterator[Problem]:
        """What a `done` tells is what its deltas told, even when cut off: pydantic-ai takes the rest for more text."""
        self.text, sent = text, "".join([*(self.cut or []), *self.said])
        if text != sent:
            rule, order = ("arguments.differ", "G") if arguments else ("text.differs", "A")
            yield rule, f"{what}: {len(text)} characters, the deltas had {len(sent)} (1.7 {order})"

    def truncated(self) -> None:
        """The client has heard less of this item than was sent."""
        self.cut = [*(self.cut or []), *self.said]
        self.said = []

    def close(self, kind: str, item: dict[str, Any], response_id: str) -> Iterator[Problem]:
        """`item.done` or `output_item.done`: both show the item as its events made it."""
        what = f"{kind} of {self.item_id} in {response_id}"
        if item.get("status") == "in_progress":
            yield "item.status", f"{what} with status in_progress (1.5)"
        if self.final is not None and item != self.final:
            yield "item.differs", f"{what}: not the same item as in conversation.item.done (1.7)"
        self.final = item
        if item["type"] == "function_call":
            if item["arguments"] != (self.text or ""):
                yield "arguments.differ", f"{what}: not the arguments of arguments.done (1.7 G)"
            if (item["call_id"], item["name"]) != self.names:
                yield "call", f"{what} names another call than when it was added (1.7 G)"
        elif item["type"] == "message":
            shown = [(_PART_OF.get(c["type"], c["type"]), c.get(_TEXT_OF.get(c["type"], ""))) for c in item["content"]]
            if shown != self.parts:
                yield from self._heard(what, shown)

    def _heard(self, what: str, shown: list[tuple[str, Any]]) -> Iterator[Problem]:
        """1.7 D, 3 (row 18): the item of a reply that was cut off keeps what was heard of its parts."""
        for number, ((kind, text), (closed, whole)) in enumerate(zip(shown, self.parts, strict=False), 1):
            if (kind, text) == (closed, whole):
                continue
            legal, short = text is not None and _keeps(text, "", whole), True
            if text is not None and self.cut is not None and number == len(self.parts):
                since = "".join(self.said)
                legal = legal or _keeps(text, "".join(self.cut), since)
                short = not text.endswith(since)
            self.short = self.short or short
            if kind != closed or not legal:
                yield "text.differs", f"{what}: not the parts that were closed, nor what was heard of them (1.7 D)"
        if len(shown) != len(self.parts):
            yield "text.differs", f"{what}: {len(shown)} parts, {len(self.parts)} were closed (1.7)"


class Response:
    """A response under way."""

    def __init__(self, response: dict[str, Any]) -> None:
        self.ident: str = response["id"]
        self.in_conversation = response["conversation_id"] is not None
        self.metadata = response["metadata"]
        self.outputs: dict[str, Output] = {}
        self.last = ""
        """The item that was closed last."""

    def add(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """`output_item.added`."""
        item, index = event["item"], len(self.outputs)
        what = f"{kind} of {item['id']} in {self.ident}"
        if event["output_index"] != index:
            yield "output_index", f"{what}: output_index {event['output_index']} instead of {index} (1.5)"
        if item["id"] in self.outputs:
            yield "item.twice", f"{what}: it was added before (1.7)"
            return
        output = self.outputs[item["id"]] = Output(item, index, in_conversation=self.in_conversation)
        output.order.take("output_item.added")
        if item.get("status") != "in_progress" or item.get("content") or item.get("arguments"):
            yield "item.open", f"{what}: it must be in_progress and empty (1.5)"

    def close(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """`output_item.done`."""
        output = self.outputs[event["item"]["id"]]
        yield from output.close(kind, event["item"], self.ident)
        self.last = output.item_id

    def done(self, kind: str, response: dict[str, Any]) -> Iterator[Problem]:
        """`response.done`: what it says of itself and of its items (1.6)."""
        what, status = f"{kind} of {self.ident}", response["status"]
        if status not in ENDS:
            yield "response.status", f"{what} with status {status} (1.6)"
            return
        open_items = [output.item_id for output in self.outputs.values() if not output.order.complete]
        if open_items:
            yield "response.open_item", f"{what}, but {', '.join(open_items)} is not complete (1.7)"
        if list(response["output"]) != [output.final for output in self.outputs.values()]:
            yield "response.output", f"{what}: its output is not what its items were when they were done (1.6)"
        details, message = ENDS[status]
        if (response["status_details"] or {}).get("type") != details:
            yield "response.status", f"{what}: status {status} with other status_details (1.6)"
        last = self.outputs[self.last].final if self.last in self.outputs else None
        if last and last["type"] == "message" and last.get("status") not in message:
            yield "item.status", f"{what}: status {status}, but its message {self.last} is {last.get('status')} (1.7 D)"
        if status == "completed" and any(output.short for output in self.outputs.values()):
            yield "text.differs", f"{what}: completed, but its item is less than its parts (1.7)"
        if response["usage"] is None and status != "failed" and self.outputs:
            yield "usage", f"{what} without usage (1.6)"
        usage = response["usage"]
        if usage and usage["total_tokens"] != usage["input_tokens"] + usage["output_tokens"]:
            yield "usage", f"{what}: total_tokens is not the sum (1.6)"
        if response["metadata"] != self.metadata:
            yield "metadata", f"{what}: other metadata than in response.created (trap 5)"


def _keeps(text: str, before: str, since: str) -> bool:
    """Whether a text is, by whole words, a beginning of `before` and behind it a beginning of `since`."""
    words, old, new = text.split(), before.split(), since.split()
    same = next((at for at, (a, b) in enumerate(zip(words, old, strict=False)) if a != b), min(len(words), len(old)))
    return any(words[at:] == new[: len(words) - at] for at in range(same + 1))
