"""Which orders of events are legal: one pattern for each thing that events are about (realtime-protocol.md 1.7, A-N).

A pattern is read like a regular expression over event names: `a b` first a then b, `a | b` either, `a?` perhaps, `a*`
any number. Names are the protocol's without their first word (`conversation.item.added` is `item.added`).
"""

from __future__ import annotations

import re
from collections import deque

ORDERS: dict[str, str] = {
    # M and N: a connection. A refusal (wrong key, no model) is an error before anything else. After `aura.resume` the
    # session is described anew. `other` is every event that is about something below.
    "connection": "error* (session.created conversation.created? aura.resumed? other*)*",
    # A, B, D: the user is heard (a client's commit may end the turn before speech_stopped); I: push to talk and J:
    # typed begin further right; L: nobody spoke. A turn that turns out to be noise may end anywhere.
    "item": "(speech_started speech_stopped? | timeout_triggered)? committed? item.added item.done",
    # 1.5: asynchronous to everything but its own end.
    "transcription": "(transcription.delta | transcription.segment)* (transcription.completed | transcription.failed)",
    # A, D, F, H: a response from its beginning to its one end; `of it` are the events that carry its id.
    "response": "created of_it* done",
    # A, D, F: what is spoken and H: what is written. A cut reply closes everything that it opened.
    "message": "output_item.added item.added {part}* item.done output_item.done",
    # G: both `arguments.done` and `output_item.done` run functions, in different clients.
    "function_call": "output_item.added item.added {arguments} item.done output_item.done",
    # 1.5: remote tools.
    "mcp": "output_item.added item.added {remote}* item.done output_item.done",
    # K: out of band the same without any conversation.item.* event.
    "message out of band": "output_item.added {part}* output_item.done",
    "function_call out of band": "output_item.added {arguments} output_item.done",
    "mcp out of band": "output_item.added {remote}* output_item.done",
}
PARTS: dict[str, str] = {
    "part": "(content_part.added (audio.delta | said.delta)* audio.done said.done content_part.done"
    " | content_part.added text.delta* text.done content_part.done)",
    "arguments": "arguments.delta* arguments.done",
    "remote": "(mcp.delta | mcp.done | mcp.in_progress | mcp.completed | mcp.failed)",
}
SHORT: dict[str, str] = {
    "input_audio_buffer.speech_started": "speech_started",
    "input_audio_buffer.speech_stopped": "speech_stopped",
    "input_audio_buffer.timeout_triggered": "timeout_triggered",
    "input_audio_buffer.committed": "committed",
    "conversation.item.added": "item.added",
    "conversation.item.done": "item.done",
    "conversation.item.input_audio_transcription.delta": "transcription.delta",
    "conversation.item.input_audio_transcription.segment": "transcription.segment",
    "conversation.item.input_audio_transcription.completed": "transcription.completed",
    "conversation.item.input_audio_transcription.failed": "transcription.failed",
    "response.output_item.added": "output_item.added",
    "response.output_item.done": "output_item.done",
    "response.content_part.added": "content_part.added",
    "response.content_part.done": "content_part.done",
    "response.output_audio.delta": "audio.delta",
    "response.output_audio.done": "audio.done",
    "response.output_audio_transcript.delta": "said.delta",
    "response.output_audio_transcript.done": "said.done",
    "response.output_text.delta": "text.delta",
    "response.output_text.done": "text.done",
    "response.function_call_arguments.delta": "arguments.delta",
    "response.function_call_arguments.done": "arguments.done",
    "response.mcp_call_arguments.delta": "mcp.delta",
    "response.mcp_call_arguments.done": "mcp.done",
    "response.mcp_call.in_progress": "mcp.in_progress",
    "response.mcp_call.completed": "mcp.completed",
    "response.mcp_call.failed": "mcp.failed",
}
"""The names that the patterns use."""

State = frozenset[int]


class Pattern:
    """A pattern as the automaton of its names (Glushkov's): a state is the set of places that were just passed."""

    def __init__(self, text: str) -> None:
        self.names = [""]
        self._follow: list[set[int]] = [set()]
        self._steps: dict[tuple[State, str], State] = {}
        tokens = deque(re.findall(r"[\w.]+|[()|?*]", text))
        empty, first, last = self._choice(tokens)
        self._follow[0] |= first
        self._final = last | ({0} if empty else set())

    def step(self, state: State, name: str) -> State:
        """The state after one more event; empty: it is not legal here."""
        key = (state, name)
        if key not in self._steps:
            after = {place for at in state for place in self._follow[at] if self.names[place] == name}
            self._steps[key] = frozenset(after)
        return self._steps[key]

    def places(self, name: str) -> State:
        """Everywhere that this event could be: where to go on after one that was out of order."""
        return frozenset(place for place, known in enumerate(self.names) if known == name)

    def expects(self, state: State) -> list[str]:
        """What would be legal now."""
        return sorted({self.names[place] for at in state for place in self._follow[at]})

    def complete(self, state: State) -> bool:
        """Whether it may end here."""
        return not self._final.isdisjoint(state)

    # Each returns: may it be empty, the places it may begin with, the places it may end with.

    def _choice(self, tokens: deque[str]) -> tuple[bool, set[int], set[int]]:
        empty, first, last = self._sequence(tokens)
        while tokens and tokens[0] == "|":
            tokens.popleft()
            other = self._sequence(tokens)
            empty, first, last = empty or other[0], first | other[1], last | other[2]
        return empty, first, last

    def _sequence(self, tokens: deque[str]) -> tuple[bool, set[int], set[int]]:
        empty, first, last = True, set[int](), set[int]()
        while tokens and tokens[0] not in ")|":
            also = self._repeated(tokens)
            for place in last:
                self._follow[place] |= also[1]
            first = first | also[1] if empty else first
            last = last | also[2] if also[0] else also[2]
            empty = empty and also[0]
        return empty, first, last

    def _repeated(self, tokens: deque[str]) -> tuple[bool, set[int], set[int]]:
        token = tokens.popleft()
        if token == "(":
            empty, first, last = self._choice(tokens)
            tokens.popleft()
        else:
            self.names.append(token)
            self._follow.append(set())
            empty, first, last = False, {len(self.names) - 1}, {len(self.names) - 1}
        while tokens and tokens[0] in ("?", "*"):
            empty = True
            if tokens.popleft() == "*":
                for place in last:
                    self._follow[place] |= first
        return empty, first, last


PATTERNS: dict[str, Pattern] = {name: Pattern(text.format(**PARTS)) for name, text in ORDERS.items()}
_START: State = frozenset({0})


class Track:
    """How far one thing has come on its pattern."""

    __slots__ = ("name", "seen", "state")

    def __init__(self, name: str) -> None:
        self.name, self.state = name, _START
        self.seen: set[str] = set()

    def take(self, name: str) -> str:
        """One more event; "" or what would have been legal. Goes on behind an event that was out of order."""
        pattern = PATTERNS[self.name]
        after, before = pattern.step(self.state, name), self.state
        self.state = after or pattern.places(name) or before
        self.seen.add(name)
        return "" if after else " or ".join(pattern.expects(before)) or "nothing more"

    @property
    def complete(self) -> bool:
        """Whether nothing more has to come."""
        return PATTERNS[self.name].complete(self.state)
