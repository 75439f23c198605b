"""`aura talk --check`: is what the server sends legal in the Realtime protocol?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import trio
from rich.console import Console

from aura.core.wire.grammar import Grammar, Violation
from aura.core.wire.grammar.watch import Watch

LOST = 1006
"""Close code of a connection that ended without a word: nobody's fault."""


class ProtocolCheck:
    """Watches a call's raw messages (the `observer` of `connect`) and tells of violations as they happen."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self._watch = Watch(Grammar())
        self._messages = 0
        self._found: Counter[str] = Counter()

    def __call__(self, direction: str, raw: str | bytes) -> None:
        """A message was `sent` or `received`."""
        self._messages += 1
        look = self._watch.client if direction == "sent" else self._watch.server
        self._note(look(raw, trio.current_time()))

    def end(self, closed: tuple[int, str] | None) -> None:
        """The call is over; `closed` is how the server ended it, None when we hang up."""
        self._note(self._watch.end(trio.current_time(), hung_up=closed is None or closed[0] == LOST))

    def sum_up(self, console: Console) -> bool:
        """Print the result; whether all was well."""
        rules = ", ".join(f"{rule} {count}" for rule, count in self._found.most_common())
        total = self._found.total()
        console.print(f"protocol: {self._messages} messages, {total or 'no'} violations{': ' if rules else ''}{rules}")
        return not total

    def _note(self, violations: list[Violation]) -> None:
        for violation in violations:
            self._found[violation.rule] += 1
            self.tell(f"{violation.rule}: {violation.text}")
