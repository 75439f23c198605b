"""All responses of a connection: which may begin, and whose events these are (realtime-protocol.md 1.7 B, C, F, K)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from aura.core.wire.grammar.fields import Problem
from aura.core.wire.grammar.requests import FORCE_MESSAGE, Request, Requests
from aura.core.wire.grammar.response import Output, Response
from aura.core.wire.grammar.session import SessionWatch

DONE_KEPT = 1024
"""So many ids of finished responses are remembered."""


class ResponsesWatch:
    """The responses under way, and the ids of the finished ones."""

    def __init__(self, requests: Requests, session: SessionWatch) -> None:
        self._requests, self._session = requests, session
        self.live: dict[str, Response] = {}
        self._done: deque[str] = deque(maxlen=DONE_KEPT)
        self._items: dict[str, str] = {}  # of the live ones: item → response
        self._turns = 0  # that were committed and shall be answered unasked
        self.binary_item = ""

    def output(self, item_id: str) -> Output | None:
        """The item, while its response runs."""
        response = self.live.get(self._items.get(item_id, ""))
        return response.outputs.get(item_id) if response else None

    @property
    def _answers_by_itself(self) -> bool:
        detection = self._session.detection
        return detection is not None and bool(detection["create_response"])

    def committed(self) -> None:
        """A turn of the user: it will be answered unasked, if the session says so now."""
        self._turns += self._answers_by_itself

    def created(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """A response begins: because it was asked for, or by itself."""
        response = Response(event["response"])
        what = f"{kind} of {response.ident}"
        if response.ident in self.live or response.ident in self._done:
            yield "response.twice", f"{what}: there was one with this id (1.7)"
        conversation = event["response"]["conversation_id"]
        if conversation and self._session.conversation and conversation != self._session.conversation:
            yield "conversation.id", f"{what} names another conversation than {self._session.conversation} (1.6)"
        others = [other.ident for other in self.live.values() if other.in_conversation]
        if response.in_conversation and others:
            yield "response.two", f"{what} while {', '.join(others)} runs in the same conversation (1.8)"
        shown = event["response"]
        if shown["status"] != "in_progress" or shown["status_details"] or shown["output"] or shown["usage"]:
            yield "response.status", f"{what}: it must be in_progress and empty (1.6)"
        yield from self._why(what, response)
        self.live[response.ident] = response

    def _why(self, what: str, response: Response) -> Iterator[Problem]:
        """B, I: unasked only where the session says so; trap 5: with the metadata that it was asked with."""

        def fits(request: Request) -> bool:
            return request.metadata == (response.metadata or None) and request.out_of_band != response.in_conversation

        create, unasked = "response.create", self._turns or self._answers_by_itself
        asked = self._requests.first(create, fits) or self._requests.first(
            "conversation.item.create", lambda r: r.item_kind == FORCE_MESSAGE and fits(r)
        )
        if asked and unasked and response.in_conversation and not response.metadata:
            asked.maybe = True  # or it began by itself, and an error follows
        elif asked:
            self._requests.answered(asked)
        elif self._session.resumed:
            return
        elif response.metadata:
            yield "metadata", f"{what}: no response.create had this metadata (trap 5)"
        elif not response.in_conversation:
            yield "answer.unasked", f"{what}: out of band, but nobody asked for it (1.7 K)"
        elif self._turns:
            self._turns -= 1
        elif not self._answers_by_itself:
            yield "answer.unasked", f"{what}: create_response is off and nobody asked for it (1.7 B, I)"

    def of_it(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """Any event with the id of a response (1.7: nothing of a response comes after its `done`)."""
        response_id = event.get("response_id") or self._items.get(event.get("item_id", ""), "")
        response = self.live.get(response_id)
        if response is None:
            ended = response_id in self._done
            why = "after its response.done" if ended else "which was never created"
            yield "order.response", f"{kind} of {response_id or 'no response'} {why} (1.7, trap 9)"
            return
        if kind == "response.output_item.added":
            self._items[event["item"]["id"]] = response_id
            yield from response.add(kind, event)
            return
        item_id = event.get("item_id") or event["item"]["id"]
        output = response.outputs.get(item_id)
        if output is None:
            yield "order.response", f"{kind} of {item_id}, which {response_id} has not added (1.7)"
            return
        yield from output.step(kind, event, response_id)
        if kind == "response.output_item.done":
            yield from response.close(kind, event)
        elif kind == "response.output_audio.delta":
            self.binary_item = item_id

    def item(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """`conversation.item.added` or `.done` of a response's item."""
        output = self.output(event["item"]["id"])
        if output is None:
            return
        response_id = self._items[output.item_id]
        yield from output.step(kind, {}, response_id)
        if kind.endswith("done"):
            yield from output.close(kind, event["item"], response_id)

    def done(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """The one end of a response; perhaps the answer to a `response.cancel`."""
        shown = event["response"]
        response = self.live.pop(shown["id"], None)
        if response is None:
            yield "order.response", f"{kind} of {shown['id']}, which is not under way (1.7)"
            return
        self._done.append(response.ident)
        for item_id in response.outputs:
            self._items.pop(item_id, None)
        cancel = self._requests.first("response.cancel", lambda request: not request.maybe)
        if cancel:
            cancel.maybe = True  # or it came too late and an error follows
        yield from response.done(kind, shown)

    def truncated(self, item_id: str) -> None:
        """The client has heard less of an item than was sent."""
        output = self.output(item_id)
        if output is not None:
            output.truncated()

    def playout(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        """AURA's orders to a player are about a response that there is or was."""
        response_id = event["response_id"]
        if response_id not in self.live and response_id not in self._done and not self._session.resumed:
            yield "response.unknown", f"{kind} of {response_id}, which was never created"

    def sound(self) -> Iterator[Problem]:
        """A binary frame belongs to the item that the last audio delta named."""
        output = self.output(self.binary_item)
        if output is None or "audio.done" in output.order.seen or "content_part.added" not in output.order.seen:
            yield "binary.stray", "a binary frame that belongs to no part under way (own_events.py, trap 9)"
