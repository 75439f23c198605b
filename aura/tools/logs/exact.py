"""Parts that sum exactly to their total, also after rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from aura.core.timing import PARTS, TurnTimes

TOTAL = "voice_to_voice"
NUMBER = (int, float)
SLACK_US = len(PARTS) + 1
"""Parts and total were rounded one by one: their sums may differ by so many microseconds."""


def shares(parts: Sequence[float], total: int) -> list[int]:
    """Whole numbers next to `parts` whose sum is `total` (largest remainder), where the sum of `parts` rounds to it."""
    whole = [int(part // 1) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda i: whole[i] - parts[i])
    for index in by_remainder[: max(0, total - sum(whole))]:
        whole[index] += 1
    return whole


def exact(times: TurnTimes) -> TurnTimes | None:
    """The same with parts that sum to the total to the microsecond; None where they are far from it.

    A part that is missing, or is no number, is what the others leave of the total.
    """
    known = times.ms
    try:
        total = round(known[TOTAL] * 1000)
        parts = [round(known[name] * 1000) for name in PARTS]
    except (KeyError, TypeError, ValueError, OverflowError):
        filled = _filled(known)
        return None if filled is None else exact(msgspec.structs.replace(times, ms=filled))
    rest = total - sum(parts)
    if not -SLACK_US <= rest <= SLACK_US:
        return None
    if total < 0 or min(parts) < 0:
        return None
    if not rest:
        return times
    parts[parts.index(max(parts))] += rest
    if min(parts) < 0:
        return None
    ms = {name: us / 1000 for name, us in zip(PARTS, parts, strict=True)}
    ms[TOTAL] = total / 1000
    return TurnTimes(times.reply, times.turn, times.draft, ms)


def _filled(known: Mapping[str, object]) -> dict[str, float] | None:
    """All parts, where no more than one is missing."""
    numbers = {name: ms for name, ms in known.items() if isinstance(ms, NUMBER) and -1e12 < ms < 1e12}
    missing = [name for name in PARTS if name not in numbers]
    if TOTAL not in numbers or len(missing) != 1:
        return None
    rest = numbers[TOTAL] - sum(numbers[name] for name in PARTS if name in numbers)
    return {**numbers, missing[0]: max(0.0, rest)}


def shown(ms: Mapping[str, float]) -> tuple[list[int], int]:
    """The parts of an exact account in whole milliseconds, and their sum."""
    total = round(ms[TOTAL])
    return shares([ms[name] for name in PARTS], total), total
