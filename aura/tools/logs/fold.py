"""One conversation, fact by fact: what the lines of a log and the entries of a journal have in common."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from aura.core.table import STATES
from aura.core.timing import TurnTimes
from aura.tools.logs.model import ConversationRow, ErrorRow, FactRow, Moved, OverlapRow, TurnRow
from aura.tools.logs.shapes import FACTS, Told

NAMES = {name: name for name in (*FACTS, *STATES)}
"""Each name once: a million rows share them."""

OWN = "aura"
"""Stands for the provider where no engine failed."""

JUDGED = {
    "OverlapConfirmed": True,
    "OverlapDismissed": False,
    "TranscriptReady": True,
    "AudioCommitted": True,
    "ReplyCancelled": True,
    "AudioCleared": False,
    "StageFailed": False,
}
"""Facts that end the state `interrupted`, and whether the speech then was an interruption."""
OTHER_WHY = {
    "AudioCommitted": "client_committed",
    "ReplyCancelled": "client_cancelled",
    "AudioCleared": "client_cleared",
    "StageFailed": "failed",
}

FINE = ("move", "stay")
TELLING = frozenset({"StageFailed", "SpeechPaused", "SessionClosing", "TranscriptReady"})
QUIET = FACTS - {"StageFailed", "SessionClosing", "ReplyStarted", "PlayoutFinished", *JUDGED} | {"TranscriptReady"}
"""Facts that need only be counted where they change no state: most lines are of these."""

Ending = Literal["completed", "cancelled", "failed", "running"]


class Turns:
    """The turns that became audible, until their replies have ended."""

    __slots__ = ("_open", "_rows", "_words")

    def __init__(self, rows: list[TurnRow]) -> None:
        self._rows = rows
        self._words: dict[int, str] = {}
        self._open: dict[int, int] = {}

    def words(self, reply: int, text: str) -> None:
        """What a reply answers."""
        self._words[reply] = text

    def audible(self, at: float, times: TurnTimes) -> None:
        """A reply began to be heard; `at` is when the user's speech ended."""
        self._open[times.reply] = len(self._rows)
        self._rows.append(TurnRow(at, times, said=self._words.pop(times.reply, "")))

    def ended(self, reply: int, outcome: Ending, heard_ms: int | None = None) -> None:
        """A reply is over, audible or not."""
        self._words.pop(reply, None)
        index = self._open.pop(reply, None)
        if index is not None:
            row = self._rows[index]
            heard = row.heard_ms if heard_ms is None else heard_ms
            self._rows[index] = msgspec.structs.replace(row, outcome=outcome, heard_ms=heard)

    def heard(self, reply: int, heard_ms: int) -> None:
        """How much was heard of a reply that is about to end."""
        index = self._open.get(reply)
        if index is not None:
            self._rows[index] = msgspec.structs.replace(self._rows[index], heard_ms=heard_ms)


class Fold:
    """Takes the facts of one conversation and keeps what the views need."""

    __slots__ = ("_interrupted_at", "_voiced_ms", "detail", "keep", "row", "turns")

    def __init__(self, session: str, source: str, *, keep: bool, detail: bool) -> None:
        self.row = ConversationRow(session, source=source)
        self.turns = Turns(self.row.turns)
        self.keep = keep
        """Whether every fact is kept."""
        self.detail = detail
        """Whether moves and counts of events are kept."""
        self._interrupted_at = 0.0
        self._voiced_ms = 0

    def fact(self, at: float, name: str, told: Told, was: str, now: str, verdict: str) -> None:
        """One fact, with the state before and after."""
        row = self.row
        row.fact_count += 1
        if self.detail:
            self.count(name)
        if at > row.ended_s:
            row.ended_s = at
        if was != now:
            if self.detail:
                row.moves.append(Moved(at, NAMES.get(now, now), NAMES.get(name, name)))
            if now == "interrupted":
                self._interrupted_at, self._voiced_ms = at, 0
            elif was == "interrupted" and name in JUDGED:
                row.overlaps.append(self._judged(at, name, told))
        if verdict not in FINE:
            self._odd(at, name, was, verdict)
        if name in TELLING:
            self._told(at, name, told)

    def count(self, name: str) -> None:
        """One event more."""
        counts = self.row.event_counts
        if name in counts:
            counts[name] += 1
        else:
            counts[NAMES.get(name, name)] = 1

    def _odd(self, at: float, name: str, was: str, verdict: str) -> None:
        row = self.row
        if verdict == "late":
            row.late_count += 1
        elif verdict == "bug":
            row.errors.append(ErrorRow(at, OWN, "bug", name, f"{name} while {was}"))

    def _told(self, at: float, name: str, told: Told) -> None:
        """Facts that tell more than a state."""
        row = self.row
        if name == "StageFailed":
            row.errors.append(
                ErrorRow(at, told.provider or OWN, str(told.code or "unknown"), told.stage or "", told.text or "")
            )
        elif name == "SpeechPaused":
            self._voiced_ms = int(told.voiced_ms or 0)
        elif name == "SessionClosing":
            row.outcome = told.why or "closed"
        elif name == "TranscriptReady" and told.text:
            self.turns.words(told.reply or 0, told.text)

    def keep_fact(self, at: float, name: str, n: int, moved: tuple[str, str, str], told: dict[str, Any]) -> None:
        """Remember a fact with all that it tells; `told` is its own afterwards."""
        effects = told.pop("effects", [])
        self.row.facts.append(FactRow(n, at, NAMES.get(name, name), *moved, told, effects))

    def _judged(self, at: float, name: str, told: Told) -> OverlapRow:
        if name.startswith("Overlap"):
            return OverlapRow(
                at,
                JUDGED[name],
                told.why or "",
                int(told.voiced_ms or 0),
                int(told.silence_ms or 0),
                int(told.held_ms or 0),
                int(told.needed_ms or 0),
                told.said,
                float(told.echo_share or 0.0),
            )
        words = "words" if told.kind == "words" else "nothing_to_answer"
        why = words if name == "TranscriptReady" else OTHER_WHY[name]
        held_ms = round((at - self._interrupted_at) * 1000)
        said = told.kind if name == "TranscriptReady" else None
        return OverlapRow(at, JUDGED[name], why, self._voiced_ms, held_ms=held_ms, said=said)
