"""Which conversations, and what of them, are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from aura.core.table import STATES
from aura.tools.logs.collect import Wanted
from aura.tools.logs.model import ConversationRow, ErrorRow, FactRow
from aura.tools.logs.problems import LogsError
from aura.tools.logs.shapes import FACTS
from aura.tools.logs.when import asked, moment


class Filter(msgspec.Struct, frozen=True):
    """What a row must be; empty: anything."""

    since: datetime | None = None
    until: datetime | None = None
    """Of what happened, not of the conversations: one that began before is shown with what falls into the time."""
    session: str = ""
    """How its id begins, with or without `sess_`."""
    tenant: str = ""
    state: str = ""
    """The conversation was in this state; facts: happened in it."""
    event: str = ""
    """It happened in the conversation; facts: it is one."""
    provider: str = ""
    """It was called or failed; calls and errors: of this one only."""

    @property
    def wanted(self) -> Wanted:
        """What need not be decoded."""
        return Wanted(self.session, self.since)

    def keep(self, row: ConversationRow) -> ConversationRow | None:
        """The row with what is looked at, or None."""
        if not self.wanted.has(row.session) or (self.tenant and row.tenant != self.tenant):
            return None
        if self.state and not (self.state == "idle" or any(move.state == self.state for move in row.moves)):
            return None
        if self.event and not any(name.lower() == self.event.lower() for name in row.event_counts):
            return None
        if (there := self._in_time(row)) is None:
            return None
        row = there
        if self.provider:
            row = changed(
                row,
                calls=[call for call in row.calls if call.provider == self.provider],
                errors=[error for error in row.errors if error.provider == self.provider],
            )
            if not row.calls and not row.errors:
                return None
        return changed(row, facts=[fact for fact in row.facts if self._is_fact(fact)]) if row.facts else row

    def keep_error(self, error: ErrorRow) -> bool:
        """Whether trouble of the process as a whole is looked at."""
        at = moment(error.time)
        early = self.since is not None and (at is None or at < self.since)
        late = self.until is not None and (at is None or at > self.until)
        of_one = self.session or self.tenant or self.state or self.event
        return not (early or late or of_one) and self.provider in ("", error.provider)

    def _is_fact(self, fact: FactRow) -> bool:
        in_state = not self.state or self.state in (fact.was, fact.now)
        return in_state and (not self.event or fact.event.lower() == self.event.lower())

    def _in_time(self, row: ConversationRow) -> ConversationRow | None:
        if not self.since and not self.until:
            return row
        began = moment(row.started)
        if began is None:
            return None
        first = (self.since - began).total_seconds() if self.since else float("-inf")
        last = (self.until - began).total_seconds() if self.until else float("inf")
        if row.ended_s < first or last < 0:
            return None

        def inside(items: Iterable[Timed]) -> list[Timed]:
            return [item for item in items if first <= getattr(item, "at_s", 0.0) <= last]

        return changed(
            row,
            facts=inside(row.facts),
            moves=inside(row.moves),
            turns=inside(row.turns),
            calls=inside(row.calls),
            overlaps=inside(row.overlaps),
            errors=[error for error in row.errors if error.at_s is None or first <= error.at_s <= last],
        )


Timed = TypeVar("Timed", bound=msgspec.Struct)


def changed(row: ConversationRow, **changes: Any) -> ConversationRow:
    """A copy with other values."""
    fields: dict[str, Any] = {name: changes.get(name, getattr(row, name)) for name in row.__struct_fields__}
    return ConversationRow(**fields)


def make_filter(
    now: datetime,
    *,
    since: str | None = None,
    until: str | None = None,
    session: str | None = None,
    tenant: str | None = None,
    state: str | None = None,
    event: str | None = None,
    provider: str | None = None,
) -> Filter:
    """The filter that a user asked for. Raises LogsError."""
    if state and state not in STATES:
        raise LogsError(f"--state: there is no state “{state}”; there are {', '.join(STATES)}")
    begin = asked(since, "--since", now) if since else None
    end = asked(until, "--until", now) if until else None
    if begin and end and end < begin:
        raise LogsError("--until lies before --since: nothing can match")
    return Filter(begin, end, session or "", tenant or "", state or "", event or "", provider or "")


def select(rows: Sequence[ConversationRow], chosen: Filter) -> list[ConversationRow]:
    """The rows that are looked at."""
    return [kept for row in rows if (kept := chosen.keep(row)) is not None]


def providers(row: ConversationRow) -> set[str]:
    """Whoever was called in a conversation or failed in it."""
    return {call.provider for call in row.calls} | {error.provider for error in row.errors}


def hint(rows: Sequence[ConversationRow], chosen: Filter) -> str:
    """Why nothing matched, where a name was perhaps misspelt."""
    known = {
        "--session": (chosen.session, {row.session for row in rows}),
        "--tenant": (chosen.tenant, {row.tenant for row in rows} - {""}),
        "--event": (chosen.event, {*FACTS, *(name for row in rows for name in row.event_counts)}),
        "--provider": (chosen.provider, {name for row in rows for name in providers(row)}),
    }
    for option, (given, names) in known.items():
        exact = {name.lower() for name in names}
        if given and given.lower() not in exact and not (option == "--session" and any(map(chosen.wanted.has, names))):
            near = get_close_matches(given, names, 3, 0.5) if option != "--session" else []
            return f"nothing has {option} {given}" + (f"; did you mean {' or '.join(near)}?" if near else "")
    return "nothing matches"
