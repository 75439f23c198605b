"""Conversations as a Chrome trace: opens in ui.perfetto.dev and chrome://tracing.

A conversation is a process, its lanes are threads. Timestamps are whole microseconds since 1970 where the beginning of
a conversation is known; the others begin with the earliest of those (or at 0).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aura.tools.logs import report_lanes as lanes
from aura.tools.logs.model import ConversationRow, TurnRow
from aura.tools.logs.report_file import to_json, written
from aura.tools.logs.report_lanes import Slice

STATE, USER, REPLY, HEARD, OVERLAP, ERRORS, FACTS = range(1, 8)
LANES = {
    STATE: "state",
    USER: "user",
    REPLY: "voice to voice",
    HEARD: "reply heard",
    OVERLAP: "speech over the reply",
    ERRORS: "errors",
    FACTS: "facts",
}
"""Thread number → name. Slices of one lane that overlap continue in a lane of the number + 10, + 20, …"""
FURTHER = 10

Event = dict[str, Any]


class Piece(msgspec.Struct, frozen=True):
    """A slice with what is shown when it is clicked, and the slices inside it."""

    slice: Slice
    args: dict[str, Any] = {}
    inner: list[Slice] = []


def write_perfetto(rows: Sequence[ConversationRow], path: Path) -> None:
    """Write the trace to `path`, gzipped where it ends in `.gz`. Raises ExportFailed."""
    with written(path) as out:
        out.write(b'{"displayTimeUnit":"ms","traceEvents":[')
        between = b"\n"
        for pid, (row, began) in enumerate(zip(rows, lanes.begins_s(rows), strict=True), 1):
            for event in Conversation(row, pid, began).events():
                out.write(between + to_json(event))
                between = b",\n"
        out.write(b"\n]}\n")


class Conversation:
    """One conversation as trace events."""

    def __init__(self, row: ConversationRow, pid: int, began_s: float) -> None:
        self._row, self._pid, self._began_us = row, pid, round(began_s * 1e6)

    def events(self) -> Iterator[Event]:
        """Names first, then lane by lane, each in order of time."""
        row = self._row
        yield self._named("process_name", 0, name=f"{row.session} ({row.outcome})")
        yield self._named("process_labels", 0, labels=row.started or "beginning not known")
        yield self._named("process_sort_index", 0, sort_index=self._pid)
        yield from self._lane(STATE, [Piece(piece) for piece in lanes.state_slices(row)])
        yield from self._lane(USER, [Piece(piece) for piece in lanes.user_slices(row)])
        yield from self._lane(REPLY, [self._turn(turn) for turn in row.turns])
        yield from self._lane(HEARD, [Piece(heard) for turn in row.turns if (heard := lanes.heard_slice(turn))])
        yield from self._instants(OVERLAP, list(self._overlaps()))
        yield from self._instants(ERRORS, list(self._errors()))
        yield from self._instants(FACTS, list(self._facts()))
        yield from self._calls()

    # ---- what is told

    def _turn(self, turn: TurnRow) -> Piece:
        times = turn.times
        args = {"reply": times.reply, "draft": times.draft, "outcome": turn.outcome, "heard_ms": turn.heard_ms}
        said = {"said": turn.said} if turn.said else {}
        return Piece(lanes.turn_slice(turn), {**args, **said, "ms": times.ms}, lanes.part_slices(turn))

    def _overlaps(self) -> Iterator[tuple[float, str, dict[str, Any]]]:
        for overlap in self._row.overlaps:
            decision = "interruption confirmed" if overlap.confirmed else "interruption dismissed"
            yield overlap.at_s, f"{decision}: {overlap.why}", msgspec.structs.asdict(overlap)

    def _errors(self) -> Iterator[tuple[float, str, dict[str, Any]]]:
        for error in self._row.errors:
            args = {"where": error.where, "text": error.text, "time_known": error.at_s is not None}
            yield error.at_s or 0.0, f"{error.provider}: {error.code}", args
        if self._row.lost:
            yield 0.0, f"{self._row.lost} lines lost", {"lines": self._row.lost}

    def _facts(self) -> Iterator[tuple[float, str, dict[str, Any]]]:
        for fact in self._row.facts:
            how = {"n": fact.n, "was": fact.was, "now": fact.now, "verdict": fact.verdict}
            led_to = {"effects": fact.effects} if fact.effects else {}
            yield fact.at_s, fact.event, {**fact.fields, **how, **led_to}

    # ---- as events

    def _us(self, at_s: float) -> int:
        return self._began_us + round(lanes.seconds(at_s) * 1e6)

    def _event(self, phase: str, name: str, tid: int, at_s: float, **more: Any) -> Event:
        return {"ph": phase, "name": name or "?", "pid": self._pid, "tid": tid, "ts": self._us(at_s), **more}

    def _named(self, what: str, tid: int, **args: Any) -> Event:
        return {"ph": "M", "name": what, "pid": self._pid, "tid": tid, "args": args}

    def _thread(self, tid: int) -> Iterator[Event]:
        name, again = LANES[tid % FURTHER], tid // FURTHER
        yield self._named("thread_name", tid, name=f"{name} ({again + 1})" if again else name)
        yield self._named("thread_sort_index", tid, sort_index=tid % FURTHER * 100 + again)

    def _lane(self, tid: int, pieces: list[Piece]) -> Iterator[Event]:
        """Slices; a trace must not hold two on a thread that overlap without one being inside the other."""
        by_slice = {id(piece.slice): piece for piece in pieces}
        for again, lane in enumerate(lanes.in_lanes(piece.slice for piece in pieces)):
            thread = tid + again * FURTHER
            yield from self._thread(thread)
            for stretch in lane:
                piece = by_slice[id(stretch)]
                yield self._complete(stretch, thread, piece.args)
                yield from (self._complete(inner, thread, {}) for inner in piece.inner)

    def _complete(self, stretch: Slice, tid: int, args: dict[str, Any]) -> Event:
        lasted = self._us(stretch.end_s) - self._us(stretch.begin_s)
        name = lanes.LABELS.get(stretch.name, stretch.name)
        return self._event("X", name, tid, stretch.begin_s, dur=lasted, args=args)

    def _instants(self, tid: int, found: list[tuple[float, str, dict[str, Any]]]) -> Iterator[Event]:
        if found:
            yield from self._thread(tid)
        for at, name, args in sorted(found, key=lambda instant: lanes.seconds(instant[0])):
            yield self._event("i", name, tid, at, s="t", args=args)

    def _calls(self) -> Iterator[Event]:
        """Calls may overlap in any way: asynchronous slices, which are laid out by whoever shows them."""
        for n, call in enumerate(sorted(self._row.calls, key=lambda call: lanes.seconds(call.at_s)), 1):
            name = f"{call.part} {call.provider}"
            ident: dict[str, Any] = {"cat": "call", "id": hex(self._pid << 24 | n)}
            begin = lanes.seconds(call.at_s)
            end = begin + lanes.seconds(call.total_ms) / 1000
            args = msgspec.structs.asdict(call)
            yield self._event("b", name, 0, begin, **ident, args=args)
            if call.ttfb_ms is not None:
                first = min(begin + lanes.seconds(call.ttfb_ms) / 1000, end)
                yield self._event("n", "first byte", 0, first, **ident)
            yield self._event("e", name, 0, end, **ident)
