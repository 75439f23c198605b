"""The lines of each view, as data: what `--json` and `--csv` write and what the tables show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

import msgspec

from aura.core.timing import PARTS
from aura.tools.logs.exact import TOTAL
from aura.tools.logs.model import ConversationRow, ErrorRow, TurnRow
from aura.tools.logs.prices import Prices, Use
from aura.tools.logs.when import moment


class Look(msgspec.Struct, frozen=True):
    """What is looked at."""

    rows: Sequence[ConversationRow]
    process_errors: Sequence[ErrorRow] = ()
    prices: Prices | None = None
    slowest: int | None = None
    """Only so many turns, the slowest first."""


class ConversationLine(msgspec.Struct):
    """One conversation in short."""

    time: str
    session: str
    tenant: str
    length_s: float
    turns: int
    interruptions: int
    overlaps: int
    """All speech over the assistant, meant or not."""
    errors: int
    facts: int
    late: int
    lost: int
    v2v_p50_ms: float | None
    v2v_p95_ms: float | None
    calls: int
    input_tokens: int
    output_tokens: int
    chars: int
    audio_s: float
    cost: float | None
    cost_unknown: list[str]
    outcome: str
    source: str


class TurnLine(msgspec.Struct):
    """One turn that was answered; the parts sum exactly to `voice_to_voice_ms`."""

    time: str
    session: str
    at_s: float
    turn: int
    reply: int
    voice_to_voice_ms: float
    parts_ms: dict[str, float]
    draft: bool
    outcome: str
    heard_ms: int | None
    said: str


class ErrorLine(msgspec.Struct):
    """One kind of failure."""

    provider: str
    code: str
    where: str
    count: int
    conversations: int
    first: str
    last: str
    session: str
    """The last one that it happened to."""
    text: str


class InterruptionLine(msgspec.Struct):
    """Speech over the assistant and how it was judged."""

    time: str
    session: str
    at_s: float
    interrupted: bool
    why: str
    voiced_ms: int
    needed_ms: int
    silence_ms: int
    held_ms: int
    said: str | None
    echo_share: float


class FactLine(msgspec.Struct):
    """One fact."""

    time: str
    session: str
    n: int
    at_s: float
    event: str
    was: str
    now: str
    verdict: str
    fields: dict[str, Any]
    effects: list[dict[str, Any]]


class UsageLine(msgspec.Struct):
    """What one conversation used of one provider."""

    time: str
    session: str
    tenant: str
    provider: str
    part: str
    calls: int
    failed: int
    ttfb_p50_ms: float | None
    total_p50_ms: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    chars: int
    audio_s: float
    cost: float | None
    cost_unknown: bool


def conversations(look: Look) -> list[ConversationLine]:
    """The conversations."""
    return [_conversation(row, look.prices) for row in look.rows]


def _conversation(row: ConversationRow, prices: Prices | None) -> ConversationLine:
    times, use = [turn.times.ms[TOTAL] for turn in row.turns], used(row)
    cost = prices.cost(row.calls) if prices else None
    return ConversationLine(
        time=row.started,
        session=row.session,
        tenant=row.tenant,
        length_s=round(row.ended_s, 3),
        turns=len(row.turns),
        interruptions=sum(overlap.confirmed for overlap in row.overlaps),
        overlaps=len(row.overlaps),
        errors=len(row.errors),
        facts=row.fact_count,
        late=row.late_count,
        lost=row.lost,
        v2v_p50_ms=quantile(times, 0.5),
        v2v_p95_ms=quantile(times, 0.95),
        calls=use.calls,
        input_tokens=use.input_tokens,
        output_tokens=use.output_tokens,
        chars=use.chars,
        audio_s=use.audio_s,
        cost=cost.amount if cost else None,
        cost_unknown=list(cost.unknown) if cost else [],
        outcome=row.outcome,
        source=row.source,
    )


def used(*rows: ConversationRow) -> Use:
    """Everything that conversations used."""
    use = Use()
    for row in rows:
        for call in row.calls:
            use.add(call)
    return use


def turns(look: Look) -> list[TurnLine]:
    """The turns, in the order in which they happened or the slowest first."""
    found = [turn_line(row, turn) for row in look.rows for turn in row.turns]
    if look.slowest is None:
        return sorted(found, key=lambda line: (line.time, line.session, line.at_s))
    return sorted(found, key=lambda line: -line.voice_to_voice_ms)[: look.slowest]


def turn_line(row: ConversationRow, turn: TurnRow) -> TurnLine:
    """One turn."""
    ms = turn.times.ms
    return TurnLine(
        time=clock(row.started, turn.at_s),
        session=row.session,
        at_s=turn.at_s,
        turn=turn.times.turn,
        reply=turn.times.reply,
        voice_to_voice_ms=ms[TOTAL],
        parts_ms={name: ms[name] for name in PARTS},
        draft=turn.times.draft,
        outcome=turn.outcome,
        heard_ms=turn.heard_ms,
        said=turn.said,
    )


def errors(look: Look) -> list[ErrorLine]:
    """Failures by provider, class and place, the most frequent first."""
    kinds: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    for row in look.rows:
        for error in row.errors:
            at = clock(row.started, error.at_s) or error.time
            kinds.setdefault((error.provider, error.code, error.where), []).append((at, row.session, error.text))
    for error in look.process_errors:
        kinds.setdefault((error.provider, error.code, error.where), []).append((error.time, "", error.text))
    lines = []
    for (provider, code, where), seen in kinds.items():
        seen.sort(key=lambda item: item[0])
        text = next((text for _, _, text in reversed(seen) if text), "")
        sessions = {session for _, session, _ in seen if session}
        last, session, _ = seen[-1]
        lines.append(
            ErrorLine(provider, code, where, len(seen), len(sessions), seen[0][0], last, session, text),
        )
    return sorted(lines, key=lambda line: (-line.count, line.provider, line.code, line.where))


def interruptions(look: Look) -> list[InterruptionLine]:
    """All speech over the assistant."""
    found = [
        InterruptionLine(
            time=clock(row.started, over.at_s),
            session=row.session,
            at_s=over.at_s,
            interrupted=over.confirmed,
            why=over.why,
            voiced_ms=over.voiced_ms,
            needed_ms=over.needed_ms,
            silence_ms=over.silence_ms,
            held_ms=over.held_ms,
            said=over.said,
            echo_share=over.echo_share,
        )
        for row in look.rows
        for over in row.overlaps
    ]
    return sorted(found, key=lambda line: (line.time, line.session, line.at_s))


def facts(look: Look) -> list[FactLine]:
    """Every fact, conversation after conversation."""
    return [
        FactLine(
            clock(row.started, fact.at_s),
            row.session,
            fact.n,
            fact.at_s,
            fact.event,
            fact.was,
            fact.now,
            fact.verdict,
            fact.fields,
            fact.effects,
        )
        for row in look.rows
        for fact in row.facts
    ]


def usage(look: Look) -> list[UsageLine]:
    """What each conversation used of each provider and part."""
    lines = []
    for row in look.rows:
        ordered = sorted(row.calls, key=lambda call: (call.provider, call.part))
        for (provider, part), group in groupby(ordered, key=lambda call: (call.provider, call.part)):
            calls, use = list(group), Use()
            for call in calls:
                use.add(call)
            cost = look.prices.cost(calls) if look.prices else None
            lines.append(
                UsageLine(
                    time=row.started,
                    session=row.session,
                    tenant=row.tenant,
                    provider=provider,
                    part=part,
                    calls=use.calls,
                    failed=use.failed,
                    ttfb_p50_ms=quantile([call.ttfb_ms for call in calls if call.ttfb_ms is not None], 0.5),
                    total_p50_ms=quantile([call.total_ms for call in calls], 0.5),
                    input_tokens=use.input_tokens,
                    cached_tokens=use.cached_tokens,
                    output_tokens=use.output_tokens,
                    chars=use.chars,
                    audio_s=use.audio_s,
                    cost=cost.amount if cost else None,
                    cost_unknown=bool(cost and cost.unknown),
                )
            )
    return lines


VIEWS: dict[str, Callable[[Look], Sequence[msgspec.Struct]]] = {
    "conversations": conversations,
    "turns": turns,
    "errors": errors,
    "interruptions": interruptions,
    "cost": usage,
    "facts": facts,
}
LINES: dict[str, type[msgspec.Struct]] = {
    "conversations": ConversationLine,
    "turns": TurnLine,
    "errors": ErrorLine,
    "interruptions": InterruptionLine,
    "cost": UsageLine,
    "facts": FactLine,
}
"""What each view's lines are."""


# ---- figures ------------------------------------------------------------------------------------------------------


def quantile(values: Iterable[float], share: float) -> float | None:
    """By nearest rank, as `aura bench` does it; None without any values."""
    known = sorted(values)
    return known[min(len(known) - 1, int(share * len(known)))] if known else None


def clock(started: str, at_s: float | None) -> str:
    """Wall-clock time of something in a conversation; empty where it is not known."""
    began = moment(started)
    return (began + timedelta(seconds=at_s)).isoformat() if began and at_s is not None else ""
