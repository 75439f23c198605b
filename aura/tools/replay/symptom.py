"""What is wrong with a conversation, said by its user: a fact, an order or a verdict that should not be there.

StageFailed                       this fact
StageFailed:code=timed_out        with this in a field; more fields after commas
CancelReply:reason=turn_detected  this order
verdict=bug, or bug, or late      a fact on which this was the verdict
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.errors import AuraError
from aura.core.fsm import Verdict
from aura.core.journal import Entry

KINDS: dict[str, type[msgspec.Struct]] = {kind.__name__: kind for kind in (*ev.EVENTS, *fx.EFFECTS)}
VERDICTS = {str(verdict) for verdict in Verdict}


class SymptomError(AuraError):
    """A symptom cannot be understood; the message says what can."""

    code = "symptom_error"


class Symptom(msgspec.Struct, frozen=True):
    """Something that should not be in a journal."""

    text: str
    """As it was written."""
    kind: str = ""
    """Name of a fact or an order; empty: any fact."""
    verdict: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    def shown_by(self, entry: Entry) -> bool:
        """Whether this fact, or what followed from it, is the symptom."""
        if self.verdict and entry.verdict != self.verdict:
            return False
        return not self.kind or any(self._is(item) for item in (entry.event, *entry.effects))

    def _is(self, item: msgspec.Struct) -> bool:
        return type(item).__name__ == self.kind and all(
            _text(getattr(item, name)) == value for name, value in self.fields
        )

    def first(self, entries: Iterable[Entry]) -> Entry | None:
        """The first fact that shows it."""
        return next((entry for entry in entries if self.shown_by(entry)), None)


def parse(text: str) -> Symptom:
    """Read a symptom. Raises SymptomError."""
    text = text.strip()
    kind, _, rest = text.partition(":")
    bare = text.removeprefix("verdict=")
    if bare in VERDICTS:
        return Symptom(text, verdict=bare)
    if kind not in KINDS:
        known = sorted([*KINDS, *VERDICTS])
        near = get_close_matches(kind, known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "write a fact or an order such as StageFailed, or late, or bug"
        raise SymptomError(f"--symptom {text!r}: there is no {kind or 'empty name'!r}; {hint}")
    fields = []
    for part in rest.split(",") if rest else ():
        name, equals, value = part.partition("=")
        possible = KINDS[kind].__struct_fields__
        if not equals or name.strip() not in possible:
            names = ", ".join(possible) or "(it has none)"
            raise SymptomError(f"--symptom {text!r}: write {kind}:FIELD=VALUE with one of the fields {names}")
        fields.append((name.strip(), value.strip()))
    return Symptom(text, kind, fields=tuple(fields))


def _text(value: object) -> str:
    """A value as it is written on the command line."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
