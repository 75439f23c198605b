"""Who else is told: journal, log and metrics. A tap that breaks is removed; the conversation goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import msgspec
import structlog

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.fsm import Verdict
from aura.core.journal import Entry, encode, redact
from aura.core.timing import PARTS, Timeline, TurnTimes
from aura.session.session import Fact, Tap


class Counts(Protocol):
    """What is needed of the process's metrics."""

    def add(self, name: Any, *labels: str, by: float = 1) -> None:
        """Count."""
        ...

    def observe(self, name: Any, seconds: float, *labels: str) -> None:
        """Note a duration."""
        ...


log = structlog.get_logger()

_QUIET = (ev.SpeechSuspected, ev.SuspicionPassed)
"""Facts that come too often to be read by default."""


def journal_tap(write: Callable[[bytes], None], *, words: bool) -> Tap:
    """Every fact as a line; without `words` private fields are blank."""

    def tap(fact: Fact) -> None:
        step = fact.step
        event = cast("ev.AnyEvent", fact.event if words else redact(fact.event))
        effects = step.effects if words else tuple(redact(e) for e in step.effects)
        write(encode(Entry(fact.n, round(fact.at, 6), event, step.was, step.now, effects, step.verdict)))

    return tap


def log_tap(*, words: bool) -> Tap:
    """Every fact as a structured log line; session, turn and reply ids are there too."""

    def tap(fact: Fact) -> None:
        step = fact.step
        event = fact.event if words else redact(fact.event)
        fields = {k: v for k, v in msgspec.structs.asdict(event).items() if v != ""}
        line = log.debug if isinstance(fact.event, _QUIET) else log.info
        if step.verdict is Verdict.BUG:
            line = log.error
        line(
            type(event).__name__,
            turn=fact.turn,
            was=step.was,
            now=step.now,
            elapsed_ms=round(fact.at * 1000, 1),
            **({"verdict": str(step.verdict)} if step.verdict in (Verdict.LATE, Verdict.BUG) else {}),
            **fields,
        )

    return tap


def timing_tap(*tell: Callable[[TurnTimes], None]) -> Tap:
    """Accounts for each reply that becomes audible."""
    timeline = Timeline()

    def tap(fact: Fact) -> None:
        times = timeline.note(fact.at, fact.event, fact.step)
        if times:
            for take in tell:
                take(times)

    return tap


class Told(Protocol):
    """What is needed of a conversation that is told of elsewhere (OpenTelemetry)."""

    def fact(self, at: float, event: ev.Event) -> None:
        """A fact passed through the session's door."""
        ...

    def turn(self, at: float, times: TurnTimes) -> None:
        """A reply became audible."""
        ...


def spans_tap(told: Told) -> Tap:
    """Facts and the accounts of turns, for OpenTelemetry."""
    timeline = Timeline()

    def tap(fact: Fact) -> None:
        times = timeline.note(fact.at, fact.event, fact.step)
        told.fact(fact.at, fact.event)
        if times:
            told.turn(fact.at, times)

    return tap


def metrics_tap(metrics: Counts) -> Tap:
    """Counts turns, barge-ins, failures and late facts."""

    def tap(fact: Fact) -> None:
        event, step = fact.event, fact.step
        if step.verdict is Verdict.LATE:
            metrics.add("events_late")
        elif isinstance(event, ev.StageFailed):
            metrics.add("errors", event.provider or "aura", event.code)
        elif step.was == "interrupted" != step.now:
            confirmed = any(isinstance(effect, fx.ConfirmTurn) for effect in step.effects)
            metrics.add("barge_ins", "confirmed" if confirmed else "dismissed")
        if any(isinstance(effect, fx.EndTurn) for effect in step.effects):
            metrics.add("turns")

    return tap


def times_to_metrics(metrics: Counts) -> Callable[[TurnTimes], None]:
    """Where the turns' time goes, as histograms."""

    def take(times: TurnTimes) -> None:
        metrics.observe("voice_to_voice_seconds", times.ms["voice_to_voice"] / 1000)
        for part in PARTS:
            metrics.observe("stage_seconds", times.ms[part] / 1000, part)

    return take
