"""An oracle for the Realtime protocol: is this sequence of events legal? (realtime-protocol.md 1.3 to 1.8, 2.3, 5)

    grammar = Grammar()
    for violation in grammar.server(event): ...

What events hold is a table in `fields.py`, in which orders they come one in `orders.py`, what answers what one in
`requests.py`. Pure, and independent of the code that writes the events. Texts of violations name types, ids and rules
and never what was said.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from aura.core.wire.grammar.conversation import ConversationWatch
from aura.core.wire.grammar.fields import EVENTS, Problem, check, read
from aura.core.wire.grammar.requests import Requests
from aura.core.wire.grammar.responses import ResponsesWatch
from aura.core.wire.grammar.session import SessionWatch

__all__ = ["FRAME_BYTES_MAX", "Grammar", "Violation"]

FRAME_BYTES_MAX = 512 * 1024
"""1.1: clients' receive limits begin at 1 MiB."""
IDS_KEPT = 4096
"""An event_id may not come again among so many."""
EVERYTHING = 2**62


class Violation(msgspec.Struct, frozen=True):
    """A rule that was broken."""

    rule: str
    """Stable code."""
    text: str
    """One line: the event's type, ids and the rule."""
    index: int
    """Number of the event that broke it (of the client's message that got no answer), from 1, both directions."""
    kind: str = ""
    """Type of that event."""


class Grammar:
    """Checks one connection, from its first event to its end.

    `resumed`: the conversation is older than the connection (a stock client that came back; with AURA's events it is
    seen from `aura.resumed`). `rates` are those that were asked for elsewhere, such as in a client secret.
    """

    def __init__(self, *, resumed: bool = False, rates: Collection[int] = ()) -> None:
        self.events = 0
        """How many events there were, both directions."""
        self._misshapen = False  # from then on what is known may be of any shape
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._requests = Requests(resumed=resumed)
        self._session = SessionWatch(self._requests, rates, resumed=resumed)
        self._items = ConversationWatch(self._requests, self._session)
        self._responses = ResponsesWatch(self._requests, self._session)

    def client(self, event: dict[str, Any] | str | bytes) -> list[Violation]:
        """A message of the client; bytes are a binary frame. What a client does wrong is no violation."""
        self.events += 1
        known = self._requests.take(event, self.events, binary=self._session.binary)
        if known.get("type") == "session.update":
            self._session.asked(known)
        return []

    def server(self, event: dict[str, Any] | str | bytes) -> list[Violation]:
        """An event of the server; bytes are a binary frame."""
        self.events += 1
        if isinstance(event, bytes):
            return self._found("binary frame", [*self._session.binary_frame(), *self._responses.sound()])
        problems: list[Problem] = []
        if isinstance(event, str):
            if len(event) > FRAME_BYTES_MAX:
                problems.append(("frame.size", f"a frame of {len(event)} bytes, {FRAME_BYTES_MAX} are allowed (1.1)"))
            known = read(event)
        else:
            known = event
        kind = known.get("type") if known is not None else None
        if known is None or not isinstance(kind, str) or kind not in EVENTS or kind.startswith("output_audio_buffer."):
            shown = str(kind)[:64] if kind else "no JSON object with a type"
            problems.append(("type", f"{shown} is none of the protocol's events over WebSocket (1.5, trap 4)"))
            return self._found(str(kind or ""), problems)
        fields = check(kind, known)
        self._misshapen = self._misshapen or bool(fields)
        problems += [(rule, f"{kind}: {text} (1.5)") for rule, text in fields]
        problems += self._unique(kind, known)
        problems += self._session.order(kind)
        try:
            for problem in self._meaning(kind, known):
                problems.append(problem)
        except (KeyError, TypeError, AttributeError, ValueError):
            if not self._misshapen:
                raise
        return self._found(kind, problems)

    def end(self, *, settled: int = EVERYTHING, hung_up: bool = False) -> list[Violation]:
        """The connection ended cleanly: all messages up to the event number `settled` must have been answered.

        When the client has `hung_up`, what is under way may stay unfinished.
        """
        found = [Violation(rule, text, index, "") for index, (rule, text) in self._requests.end(settled)]
        if not hung_up:
            live = self._responses.live
            text = "{} has no response.done: it always comes, whatever the end (1.5)"
            found += [Violation("response.unfinished", text.format(ident), self.events) for ident in live]
            text = "{} has no conversation.item.done (1.7)"
            found += [
                Violation("item.unfinished", text.format(ident), self.events) for ident in self._items.unfinished()
            ]
        return found

    # ---- within

    def _found(self, kind: str, problems: list[Problem]) -> list[Violation]:
        return [Violation(rule, text, self.events, kind) for rule, text in problems]

    def _unique(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:
        event_id = event.get("event_id")
        if not isinstance(event_id, str):
            return
        if event_id in self._ids:
            yield "event_id.twice", f"{kind}: its event_id was used before (1.5)"
        self._ids[event_id] = None
        if len(self._ids) > IDS_KEPT:
            self._ids.popitem(last=False)

    def _meaning(self, kind: str, event: dict[str, Any]) -> Iterator[Problem]:  # noqa: C901  (a table: one case per kind)
        session, items, responses = self._session, self._items, self._responses
        match kind.split("."):
            case ["session", "created"]:
                yield from session.created(event)
            case ["session", "updated"]:
                yield from session.updated(event)
            case ["conversation", "created"]:
                yield from session.conversation_created(event)
            case ["error"]:
                yield from session.fault(event)
            case ["input_audio_buffer", "committed"]:
                yield from items.committed(kind, event)
                responses.committed()
            case ["input_audio_buffer", "cleared"]:
                yield from items.cleared(kind, event)
            case ["input_audio_buffer", "speech_started" | "speech_stopped" | "timeout_triggered"]:
                yield from items.heard(kind, event)
            case ["conversation", "item", "input_audio_transcription", _]:
                yield from items.transcription(kind, event)
            case ["conversation", "item", "added" | "done" as what]:
                output = responses.output(event["item"]["id"]) is not None
                yield from responses.item(kind, event)
                yield from (items.added if what == "added" else items.done)(kind, event, output=output)
            case ["conversation", "item", "retrieved"]:
                yield from items.retrieved(kind, event)
            case ["conversation", "item", "deleted"]:
                yield from items.deleted(kind, event)
            case ["conversation", "item", "truncated"]:
                yield from items.truncated(kind, event)
                responses.truncated(event["item_id"])
            case ["response", "created"]:
                yield from responses.created(kind, event)
            case ["response", "done"]:
                yield from responses.done(kind, event)
            case ["response", *_]:
                yield from responses.of_it(kind, event)
            case ["aura", "playout", _]:
                yield from responses.playout(kind, event)
            case ["aura", "resumed"]:
                yield from session.continues(event)
                items.restore(event["items"])
            case _:
                pass
