"""What a conversation amounts to in figures, to set a branch beside its recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import mean
from typing import cast

import msgspec

from aura.core import events as ev
from aura.core.fsm import Step, Verdict
from aura.core.journal import Entry
from aura.core.table import State
from aura.core.timing import Timeline
from aura.providers.observed import CallDone

CUT_IN_MS = 1500
"""A user who speaks on so soon after their turn was taken to have ended was cut in upon."""


class Figures(msgspec.Struct, frozen=True):
    """One run of a conversation."""

    turns: int
    answered: int
    """Turns whose reply became audible."""
    voice_to_voice_ms: float | None
    """Mean; None when nothing was answered."""
    endpoint_ms: float | None
    """Mean part of it that is the wait for the end of the turn."""
    interruptions: int
    dismissed: int
    """Overlaps that were taken for noise, echo or a backchannel."""
    cut_ins: int
    failures: int
    replies: int
    """Replies that were asked for, drafts included: what the engines cost."""
    spoken_ms: int
    """How much of the replies was heard."""


def account(entries: Sequence[Entry]) -> Figures:
    """The figures of a journal."""
    timeline = Timeline()
    kinds: Counter[type] = Counter(type(entry.event) for entry in entries)
    times, ended_ms, cut_ins, replies, spoken = [], None, 0, 0, 0
    for entry in entries:
        event = entry.event
        step = Step(Verdict(entry.verdict), cast("State", entry.was), cast("State", entry.now), entry.effects)
        if done := timeline.note(entry.at, event, step):
            times.append(done.ms)
        if isinstance(event, ev.TurnEnded) and entry.was == "listening":
            ended_ms = event.at_ms
        elif isinstance(event, ev.SpeechStarted):
            cut_ins += ended_ms is not None and event.at_ms - ended_ms < CUT_IN_MS
            ended_ms = None
        elif isinstance(event, ev.PlayoutFinished):
            spoken += event.heard_ms
        replies += sum(type(effect).__name__ == "StartReply" for effect in entry.effects)
    return Figures(
        turns=sum(type(effect).__name__ == "EndTurn" for entry in entries for effect in entry.effects),
        answered=len(times),
        voice_to_voice_ms=round(mean(ms["voice_to_voice"] for ms in times), 1) if times else None,
        endpoint_ms=round(mean(ms["endpoint"] for ms in times), 1) if times else None,
        interruptions=sum(entry.verdict == "move" for entry in entries if isinstance(entry.event, ev.OverlapConfirmed)),
        dismissed=sum(entry.verdict == "move" for entry in entries if isinstance(entry.event, ev.OverlapDismissed)),
        cut_ins=cut_ins,
        failures=kinds[ev.StageFailed],
        replies=replies,
        spoken_ms=spoken,
    )


LABELS = {
    "turns": "turns", "answered": "answered aloud", "voice_to_voice_ms": "voice to voice, mean ms",
    "endpoint_ms": "of it until the reply is asked for", "interruptions": "interruptions",
    "dismissed": "overlaps dismissed", "cut_ins": "cut-ins", "failures": "failures",
    "replies": "replies asked for (cost)", "spoken_ms": "heard to the end, ms",
}  # fmt: skip


def rows(before: Figures, after: Figures) -> Iterator[tuple[str, str, str, str]]:
    """Label, value then, value now, change."""
    for name, label in LABELS.items():
        was, now = getattr(before, name), getattr(after, name)
        change = "" if was is None or now is None or was == now else f"{now - was:+g}"
        yield label, shown(was), shown(now), change


def shown(value: float | None) -> str:
    """A figure, or a dash."""
    return "–" if value is None else f"{value:g}"


def usage(calls: Iterable[CallDone]) -> dict[str, dict[str, float]]:
    """What the engines were asked to do, by part."""
    totals: dict[str, Counter[str]] = {}
    for call in calls:
        total = totals.setdefault(call.part, Counter())
        total["calls"] += 1
        for name in ("input_tokens", "output_tokens", "cached_tokens", "chars", "audio_s"):
            total[name] += getattr(call, name) or 0
    return {part: {name: round(value, 3) for name, value in total.items() if value} for part, total in totals.items()}
