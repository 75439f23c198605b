"""What the client has asked for and not been answered yet (realtime-protocol.md 1.4 and 1.8).

An offence of the client is no violation, but it too must be answered: by an `error`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from aura.core.wire.grammar.fields import Problem, is_base64, read, read_huge

ANSWERS: dict[str, str] = {
    "session.update": "session.updated",
    "input_audio_buffer.append": "",
    "input_audio_buffer.commit": "input_audio_buffer.committed",
    "input_audio_buffer.clear": "input_audio_buffer.cleared",
    "conversation.item.create": "conversation.item.added",
    "conversation.item.retrieve": "conversation.item.retrieved",
    "conversation.item.delete": "conversation.item.deleted",
    "conversation.item.truncate": "conversation.item.truncated",
    "response.create": "response.created",
    "response.cancel": "response.done",
    "output_audio_buffer.clear": "",  # WebRTC's; over WebSocket an error, or taken as a cancel
    "aura.playout.ack": "",
    "aura.resume": "session.created",
}
"""1.4: every message of a client and its answer, where there is one. Each may be answered by `error` instead."""

REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "session.update": {"session": dict},
    "input_audio_buffer.append": {"audio": str},
    "conversation.item.create": {"item": dict},
    "conversation.item.retrieve": {"item_id": str},
    "conversation.item.delete": {"item_id": str},
    "conversation.item.truncate": {"item_id": str, "audio_end_ms": (int, float)},
    "aura.playout.ack": {"item_id": str, "played_ms": (int, float)},
    "aura.resume": {"session_id": str},
}
"""1.4: what a message must hold; without it an `error` must follow."""

BAD_ID = "an event_id that is no string"
NOT_JSON, BINARY, UNKNOWN = "no JSON object", "binary frame", "unknown event"
"""Kinds of messages that have none."""

CAUSES: dict[str, tuple[str, ...]] = {
    "input_audio_buffer_commit_empty": ("input_audio_buffer.commit",),
    "item_create_duplicate_item_id": ("conversation.item.create",),
    "item_retrieve_invalid_item_id": ("conversation.item.retrieve",),
    "item_delete_invalid_item_id": ("conversation.item.delete",),
    "item_truncate_invalid_item_id": ("conversation.item.truncate",),
    "response_cancel_not_active": ("response.cancel",),
    "conversation_already_has_active_response": ("response.create",),
    "invalid_json": (NOT_JSON,),
    "invalid_event": (NOT_JSON, BINARY),
    "param session": ("session.update",),
    "param audio": ("input_audio_buffer.append",),
    "param item": ("conversation.item.create",),
    "param previous_item_id": ("conversation.item.create",),
    "param item_id": tuple(kind for kind, fields in REQUIRED.items() if "item_id" in fields),
    "param content_index": ("conversation.item.truncate",),
    "param audio_end_ms": ("conversation.item.truncate",),
    "param played_ms": ("aura.playout.ack",),
    "param session_id": ("aura.resume",),
    "param response": ("response.create",),
    "param response_id": ("response.cancel",),
    "param type": (UNKNOWN, "aura.resume"),
}
"""1.8: which messages an error can answer that names none: by its code, or by the first word of its param."""
FORCE_MESSAGE = "force_message"
"""1.9: xAI's order to speak a text."""
IDS_KEPT = 4096
"""So many of the client's ids are remembered."""
MAYBE_KEPT = 32
"""So many messages are kept that may have been answered already."""


class Request(msgspec.Struct):
    """A message of the client that waits for its answer."""

    kind: str
    index: int
    event_id: str | None
    offence: str = ""
    """Why only an `error` can answer it."""
    maybe: bool = False
    """It may have been answered already: nothing more must come."""
    item_id: str = ""
    item_kind: str = ""
    at_root: bool = False
    content_index: int = 0
    end_ms: float = 0.0
    out_of_band: bool = False
    metadata: dict[str, Any] | None = None

    def __str__(self) -> str:
        named = f" {self.event_id[:64]}" if self.event_id else ""
        return f"{self.kind}{named} (event {self.index})"


def _request(event: dict[str, Any], index: int) -> Request:
    kind, event_id = event.get("type"), event.get("event_id")
    request = Request(
        kind if isinstance(kind, str) and kind in ANSWERS else UNKNOWN,
        index,
        event_id if isinstance(event_id, str) and event_id else None,
    )
    request.offence = _offence(event)
    if request.offence:
        return request
    item, response = _dict(event.get("item")), _dict(event.get("response"))
    named = item.get("id") if kind == "conversation.item.create" else event.get("item_id")
    request.item_id = str(named or "")
    request.item_kind = kind_of(item)
    request.at_root = event.get("previous_item_id") == "root"
    request.content_index = _number(event.get("content_index"))
    request.end_ms = event.get("audio_end_ms", 0.0)
    request.out_of_band = response.get("conversation") == "none"
    request.metadata = response.get("metadata") or None
    return request


def kind_of(item: dict[str, Any]) -> str:
    """What an item is, as far as its request and its event agree on that."""
    return f"{item.get('type')} {item.get('role')}" if item.get("type") == "message" else str(item.get("type"))


def _offence(event: dict[str, Any]) -> str:
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in ANSWERS:
        return "an unknown type of event"
    if not isinstance(event.get("event_id"), str | None):
        return BAD_ID
    for name, wanted in REQUIRED.get(kind, {}).items():
        value = event.get(name)
        if not isinstance(value, wanted) or isinstance(value, bool):
            return f"{name} is missing or of the wrong type"
    return "no base64" if "audio" in REQUIRED.get(kind, ()) and not is_base64(event["audio"]) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


class Requests:
    """The client's messages and their answers."""

    def __init__(self, *, resumed: bool) -> None:
        self.waiting: list[Request] = []
        self.resumed = resumed
        self._errors = 0  # that name no message and may answer any
        self._ids: dict[str, bool] = {}  # the client's ids; true: answered, and nothing more may come

    def take(self, event: dict[str, Any] | str | bytes, index: int, *, binary: bool) -> dict[str, Any]:
        """A message of the client; the event that it is, {} for audio and for what is none."""
        if isinstance(event, bytes):
            if not binary and not self.first("session.update"):  # which may turn binary frames on
                self._wait(Request(BINARY, index, None, "binary frames were not asked for"))
            return {}
        known = read(event) if isinstance(event, str) else event
        huge = known is None and isinstance(event, str) and (known := read_huge(event)) is not None
        if known is None:
            self._wait(Request(NOT_JSON, index, None, "it is no JSON object"))
            return {}
        request = _request(known, index)
        request.maybe = huge  # a reader may pass over a number that it cannot hold, or refuse it
        if request.event_id:
            self._ids[request.event_id] = False
            if len(self._ids) > IDS_KEPT:
                del self._ids[next(iter(self._ids))]
        spoken = request.item_kind == FORCE_MESSAGE and not request.offence
        request.maybe = request.maybe or spoken  # no item answers it, but a response that speaks it
        if request.offence or ANSWERS[request.kind]:
            self._wait(request)
        return {} if request.offence else known

    def _wait(self, request: Request) -> None:
        self.waiting.append(request)
        settled = [one for one in self.waiting if one.maybe]
        if len(settled) > MAYBE_KEPT:
            self.waiting.remove(settled[0])

    def first(self, kind: str, fits: Callable[[Request], bool] = lambda _: True) -> Request | None:
        """The first message of this kind that has no answer yet; an undecided one comes last."""
        fitting = (r for r in self.waiting if r.kind == kind and not r.offence and fits(r))
        return min(fitting, key=lambda request: request.maybe, default=None)

    def answered(self, request: Request) -> None:
        """Its answer has come."""
        self.waiting.remove(request)
        if request.event_id and not request.maybe:
            self._ids[request.event_id] = True

    def answer(self, kind: str, fits: Callable[[Request], bool], what: str) -> Iterator[Problem]:
        """An event that is only legal as the answer to such a message."""
        request = self.first(kind, fits)
        if request is not None:
            self.answered(request)
        else:
            yield "answer.unasked", f"{what}: no {kind} asked for it"

    def error(self, detail: dict[str, Any]) -> Iterator[Problem]:
        """An `error`, which answers the message that it names, or (without a name) the one that its code tells of."""
        named = detail.get("event_id")
        if named:
            yield from self._named(str(named), final=detail.get("type") != "server_error")
            return
        nameless = [request for request in self.waiting if request.event_id is None]
        param = str(detail.get("param") or "").partition(".")[0].partition("[")[0]
        causes = CAUSES.get(str(detail.get("code"))) or CAUSES.get(f"param {param}") or ()
        fitting = [r for r in nameless if r.kind in causes or (param == "event_id" and r.offence == BAD_ID)]
        if "response.create" in causes or any(request.maybe for request in fitting):
            for request in fitting:
                request.maybe = True  # one was refused, and another may yet be answered: nobody can tell
        elif fitting:
            self.waiting.remove(fitting[0])
        elif not causes and detail.get("type") != "server_error":
            self._errors += 1

    def _named(self, event_id: str, *, final: bool) -> Iterator[Problem]:
        request = min((r for r in self.waiting if r.event_id == event_id), key=lambda r: r.maybe, default=None)
        if request is None:
            shown = event_id[:64]
            if self._ids.get(event_id) and final:
                yield "answer.twice", f"error names {shown}, which has been answered already (1.4)"
            elif event_id not in self._ids and not self.resumed:
                yield "error.event_id", f"error names {shown}, which the client never sent (1.8)"
            return
        earlier = self.first("session.update") if request.kind == "session.update" else None
        if earlier and earlier.index < request.index and not earlier.maybe:
            yield "update.order", f"error answers {request} before an earlier session.update is answered (trap 17)"
        self.answered(request)

    def end(self, settled: int) -> Iterator[tuple[int, Problem]]:
        """Messages up to the event with that number that never got their answer, with the numbers of these."""
        for request in self.waiting:
            if request.maybe or request.index > settled:
                continue
            if request.event_id is None and self._errors:
                self._errors -= 1  # an error that named nobody may have been the answer
                continue
            wanted = f"error ({request.offence})" if request.offence else f"{ANSWERS[request.kind]} or error"
            yield request.index, ("answer.missing", f"{request} got no answer: {wanted} must follow (1.4)")
