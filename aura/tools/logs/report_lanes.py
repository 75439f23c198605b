"""What fills the time of a conversation, as slices: states, user speech, turns and their parts, audio heard.

The rows come from files that anybody may have written: here impossible times become possible ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from aura.core.timing import PARTS, TurnTimes
from aura.tools.logs.model import ConversationRow, Moved, TurnRow

LONGEST_S = 1e9
"""No time in a conversation is later than this (30 years); what says so is wrong."""
LATEST_S = 8e9
"""No conversation began later (in 2223): what follows must fit in 63 bits of nanoseconds."""
LABELS = {
    "endpoint": "end of turn",
    "stt": "transcript",
    "llm_first_token": "first token",
    "first_sentence": "first sentence",
    "tts_first_audio": "first audio",
    "playout": "playout",
    "other": "other",
}
"""What the parts of voice-to-voice are called for people."""
FLOOR = ("listening", "interrupted")
"""States in which the user speaks."""


class Slice(msgspec.Struct, frozen=True):
    """A stretch of a conversation, in seconds since it began."""

    begin_s: float
    end_s: float
    name: str


def seconds(value: float) -> float:
    """A time that can be drawn and exported: finite and not negative."""
    return min(max(value, 0.0), LONGEST_S) if math.isfinite(value) else 0.0


def started_s(row: ConversationRow) -> float | None:
    """When it began in seconds since 1970 (UTC), or None where that is not known."""
    try:
        began = datetime.fromisoformat(row.started)
    except ValueError:
        return None
    seconds_since = (began if began.tzinfo else began.replace(tzinfo=UTC)).timestamp()
    return seconds_since if 0 <= seconds_since < LATEST_S else None


def begins_s(rows: Iterable[ConversationRow]) -> list[float]:
    """When each begins, in seconds since 1970; where that is not known, with the earliest of the others (or 0)."""
    known = [started_s(row) for row in rows]
    earliest = min((began for began in known if began is not None), default=0.0)
    return [earliest if began is None else began for began in known]


def length_s(row: ConversationRow) -> float:
    """Until its end, or until the last thing that is known of it."""
    return max(map(seconds, _times(row)))


def _times(row: ConversationRow) -> Iterator[float]:
    yield row.ended_s
    for move in row.moves:
        yield move.at_s
    for turn in row.turns:
        yield turn.at_s + (voice_to_voice(turn.times) + heard_ms(turn)) / 1000
    for call in row.calls:
        yield call.at_s + seconds(call.total_ms) / 1000
    for overlap in row.overlaps:
        yield overlap.at_s
    for error in row.errors:
        yield error.at_s or 0.0
    for fact in row.facts:
        yield fact.at_s


def heard_ms(turn: TurnRow) -> float:
    """Milliseconds of the reply that were heard; 0 where that is not known."""
    return seconds(turn.heard_ms or 0)


def parts(times: TurnTimes) -> list[tuple[str, float]]:
    """The parts of voice-to-voice in their order, in ms; `other` is what they leave of it."""
    known = [(part, seconds(times.ms.get(part, 0.0))) for part in PARTS]
    rest = seconds(times.ms.get("voice_to_voice", 0.0)) - sum(ms for _, ms in known)
    return [*known, ("other", round(rest, 3))] if rest >= 0.5 else known


def voice_to_voice(times: TurnTimes) -> float:
    """Milliseconds from the user's last sound to the reply's first: the sum of the parts."""
    return sum(ms for _, ms in parts(times))


def turn_slice(turn: TurnRow) -> Slice:
    """From the end of the user's speech to the first sound of the reply."""
    begin = seconds(turn.at_s)
    return Slice(begin, begin + voice_to_voice(turn.times) / 1000, f"turn {turn.times.turn}")


def part_slices(turn: TurnRow) -> list[Slice]:
    """The parts of a turn, one after the other; those that took no time are left out."""
    found, now = [], seconds(turn.at_s)
    for name, ms in parts(turn.times):
        if ms > 0:
            found.append(Slice(now, now := now + ms / 1000, name))
    return found


def heard_slice(turn: TurnRow) -> Slice | None:
    """Where the reply was heard, as far as that is known."""
    begin = turn_slice(turn).end_s
    return Slice(begin, begin + heard_ms(turn) / 1000, f"reply {turn.times.reply}") if heard_ms(turn) else None


def state_slices(row: ConversationRow) -> list[Slice]:
    """The states, without gaps, from the beginning (idle) to the end."""
    end = length_s(row)
    found, since, state = [], 0.0, "idle"
    for move in in_order(row.moves):
        at = seconds(move.at_s)
        if move.state != state:
            if at > since:
                found.append(Slice(since, at, state))
            since, state = at, move.state
    return [*found, Slice(since, end, state)] if end > since else found


def in_order(moves: Iterable[Moved]) -> list[Moved]:
    """By time: a log may be out of order."""
    return sorted(moves, key=lambda move: seconds(move.at_s))


def user_slices(row: ConversationRow) -> list[Slice]:
    """Where the user spoke: as long as they had the floor or talked over the reply, up to their last sound."""
    stretches: list[tuple[float, float, bool]] = []
    begin: float | None = None
    over = False
    pieces = state_slices(row)
    for piece in pieces:
        if piece.name in FLOOR:
            begin, over = (piece.begin_s if begin is None else begin), piece.name == "interrupted"
        elif begin is not None:
            stretches.append((begin, piece.begin_s, over))
            begin = None
    if begin is not None:
        stretches.append((begin, pieces[-1].end_s, over))
    return [_spoken(row, *stretch) for stretch in stretches]


def _spoken(row: ConversationRow, begin: float, end: float, over: bool) -> Slice:
    turns = [turn for turn in row.turns if begin <= seconds(turn.at_s) <= end]
    if turns:
        last = max(turns, key=lambda turn: turn.at_s)
        return Slice(begin, seconds(last.at_s), f"user, turn {last.times.turn}")
    dismissed = over and any(not o.confirmed and begin <= o.at_s <= end + 0.001 for o in row.overlaps)
    return Slice(begin, end, "user, dismissed" if dismissed else "user")


def in_lanes(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Slices that overlap go to lanes of their own; each lane is in order."""
    lanes: list[list[Slice]] = []
    for piece in sorted(slices, key=lambda piece: (piece.begin_s, -piece.end_s)):
        lane = next((lane for lane in lanes if lane[-1].end_s <= piece.begin_s), None)
        if lane is None:
            lanes.append([piece])
        else:
            lane.append(piece)
    return lanes
