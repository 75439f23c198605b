"""The oracle beside a live connection: it sees what passes, and knows what may still be on its way at the end."""

from __future__ import annotations

from aura.core.wire.grammar import Grammar, Violation

PATIENCE_S = 1.0
"""A message younger than this at the end of a connection need not have been answered."""


class Watch:
    """A grammar that is told the time. `at` never runs backwards."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._marks: list[tuple[float, int]] = []
        self._settled = 0

    def client(self, raw: str | bytes, at: float) -> list[Violation]:
        """A message of the client."""
        found = self._grammar.client(raw)
        self._note(at)
        return found

    def server(self, raw: str | bytes, at: float) -> list[Violation]:
        """A message of the server."""
        found = self._grammar.server(raw)
        self._note(at)
        return found

    def end(self, at: float, *, hung_up: bool) -> list[Violation]:
        """The connection is over; `hung_up`: by the client, or by the network."""
        self._note(at)
        return self._grammar.end(settled=self._settled, hung_up=hung_up)

    def _note(self, at: float) -> None:
        """Remember from time to time how many events there were."""
        while self._marks and at - self._marks[0][0] >= PATIENCE_S:
            self._settled = self._marks.pop(0)[1]
        if not self._marks or at - self._marks[-1][0] >= PATIENCE_S / 4:
            self._marks.append((at, self._grammar.events))
