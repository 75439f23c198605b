"""The numbers of the report."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

import msgspec

from aura.tools.logs import report_lanes as lanes
from aura.tools.logs.model import CallRow, ConversationRow, OverlapRow, TurnRow
from aura.tools.logs.prices import Cost, Prices

NO_PRICES = Prices()


class Spread(msgspec.Struct, frozen=True):
    """How values are spread; quantiles by nearest rank, as `aura bench` has them. All None where there are none."""

    n: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


def spread(values: Iterable[float]) -> Spread:
    """Count, mean and quantiles."""
    known = sorted(values)
    if not known:
        return Spread()

    def rank(share: float) -> float:
        return known[min(len(known) - 1, int(share * len(known)))]

    return Spread(len(known), statistics.fmean(known), rank(0.5), rank(0.95), rank(0.99), known[-1])


class Seen(msgspec.Struct, frozen=True):
    """A turn with what is known around it."""

    row: ConversationRow
    place: int
    """Number of its conversation among all."""
    turn: TurnRow
    v2v_ms: float
    parts: list[tuple[str, float]]
    at: float | None
    """Seconds since 1970; None where the conversation's beginning is not known."""


class Part(msgspec.Struct, frozen=True):
    """One part of voice-to-voice over all turns, in ms."""

    name: str
    mean: float
    p95: float


class Failure(msgspec.Struct):
    """Errors of one kind."""

    provider: str
    code: str
    count: int = 0
    sessions: set[str] = set()
    where: str = ""
    text: str = ""
    last: float | None = None


class Usage(msgspec.Struct, frozen=True):
    """The calls of one provider for one part."""

    part: str
    provider: str
    calls: int
    cancelled: int
    failed: int
    first: Spread
    total: Spread
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    chars: int
    audio_s: float
    cost: Cost | None
    """None without prices."""


class Figures:
    """What is computed from all conversations, each when it is asked for."""

    def __init__(self, rows: Sequence[ConversationRow], prices: Prices = NO_PRICES) -> None:
        self.rows, self.prices = rows, prices

    @cached_property
    def turns(self) -> list[Seen]:
        """Every turn that became audible."""
        found = []
        for place, row in enumerate(self.rows):
            began = lanes.started_s(row)
            for turn in row.turns:
                parts = lanes.parts(turn.times)
                at = None if began is None else began + lanes.seconds(turn.at_s)
                found.append(Seen(row, place, turn, sum(ms for _, ms in parts), parts, at))
        return found

    @cached_property
    def v2v(self) -> Spread:
        """Voice to voice, in ms."""
        return spread(seen.v2v_ms for seen in self.turns)

    @cached_property
    def parts(self) -> list[Part]:
        """Where the time goes: the means sum to the mean of voice-to-voice."""
        times: dict[str, list[float]] = {name: [] for name in lanes.LABELS}
        for seen in self.turns:
            for name, ms in seen.parts:
                times[name].append(ms)
        whole = len(self.turns)
        return [Part(name, sum(found) / whole, spread(found).p95 or 0.0) for name, found in times.items() if any(found)]

    @cached_property
    def slowest(self) -> list[Seen]:
        """The slowest first."""
        return sorted(self.turns, key=lambda seen: -seen.v2v_ms)

    @cached_property
    def overlaps(self) -> list[tuple[ConversationRow, OverlapRow]]:
        """Every decision about speech over a reply."""
        return [(row, overlap) for row in self.rows for overlap in row.overlaps]

    @cached_property
    def confirmed(self) -> int:
        """How many of them were interruptions."""
        return sum(overlap.confirmed for _, overlap in self.overlaps)

    @cached_property
    def reasons(self) -> list[tuple[str, int, int]]:
        """Why, how often confirmed, how often dismissed; the most frequent first."""
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for _, overlap in self.overlaps:
            counts[overlap.why or "unknown"][not overlap.confirmed] += 1
        return sorted(((why, yes, no) for why, (yes, no) in counts.items()), key=lambda row: -(row[1] + row[2]))

    @cached_property
    def failures(self) -> list[Failure]:
        """Errors by provider and code, the most frequent first."""
        kinds: dict[tuple[str, str], Failure] = {}
        for row in self.rows:
            began = lanes.started_s(row)
            for error in row.errors:
                kind = kinds.setdefault(
                    (error.provider, error.code), Failure(error.provider, error.code, sessions=set())
                )
                kind.count += 1
                kind.sessions.add(row.session)
                kind.where, kind.text = error.where or kind.where, error.text or kind.text
                if began is not None and error.at_s is not None:
                    kind.last = max(kind.last or 0.0, began + lanes.seconds(error.at_s))
        return sorted(kinds.values(), key=lambda kind: -kind.count)

    @cached_property
    def errors(self) -> int:
        """All errors."""
        return sum(len(row.errors) for row in self.rows)

    @cached_property
    def usage(self) -> list[Usage]:
        """Calls by part and provider."""
        calls: dict[tuple[str, str], list[CallRow]] = defaultdict(list)
        for row in self.rows:
            for call in row.calls:
                calls[call.part, call.provider].append(call)
        order = ["stt", "chat", "tts", "tool"]
        known = sorted(calls.items(), key=lambda item: (order.index(item[0][0]) if item[0][0] in order else 9, item[0]))
        return [_usage(part, provider, found, self.prices) for (part, provider), found in known]

    @cached_property
    def cost(self) -> Cost | None:
        """What all calls came to; None without prices."""
        if not self.prices.known:
            return None
        return self.prices.cost(call for row in self.rows for call in row.calls)

    @cached_property
    def outcomes(self) -> list[tuple[str, int]]:
        """How the conversations ended, the most frequent first."""
        return Counter(row.outcome or "unknown" for row in self.rows).most_common()

    @cached_property
    def lost(self) -> int:
        """Lines that are known to be missing."""
        return sum(row.lost for row in self.rows)

    @cached_property
    def talked_s(self) -> float:
        """The length of all conversations together."""
        return sum(map(lanes.length_s, self.rows))

    @cached_property
    def range(self) -> tuple[float, float] | None:
        """From the first beginning to the last end, in seconds since 1970; None where no beginning is known."""
        known = [
            (began, began + lanes.length_s(row)) for row in self.rows if (began := lanes.started_s(row)) is not None
        ]
        return (min(begin for begin, _ in known), max(end for _, end in known)) if known else None


def _usage(part: str, provider: str, calls: list[CallRow], prices: Prices) -> Usage:
    cancelled = sum(call.outcome == "cancelled" for call in calls)
    return Usage(
        part,
        provider,
        calls=len(calls),
        cancelled=cancelled,
        failed=sum(call.outcome not in ("ok", "cancelled", "") for call in calls),
        first=spread(lanes.seconds(call.ttfb_ms) for call in calls if call.ttfb_ms is not None),
        total=spread(lanes.seconds(call.total_ms) for call in calls if call.outcome == "ok"),
        input_tokens=sum(call.input_tokens for call in calls),
        output_tokens=sum(call.output_tokens for call in calls),
        cached_tokens=sum(call.cached_tokens for call in calls),
        chars=sum(call.chars for call in calls),
        audio_s=sum(lanes.seconds(call.audio_s) for call in calls),
        cost=prices.cost(calls) if prices.known else None,
    )
