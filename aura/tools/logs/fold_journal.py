"""A journal's entries to a row. Where a turn's time went is found as the server itself does it (core/timing.py)."""

from __future__ import annotations

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.fsm import Step, Verdict
from aura.core.timing import Timeline
from aura.tools.logs.exact import TOTAL, exact
from aura.tools.logs.fold import Ending, Fold
from aura.tools.logs.shapes import FACTS, Fact, Head, JournalLine, Order
from aura.tools.logs.when import moment

ENDS: dict[str, Ending] = {
    "FinishReply": "completed",
    "CancelReply": "cancelled",
    "FailReply": "failed",
    "DropReply": "failed",  # of a reply that was audible already: it is begun anew
}
MARKS: dict[str, type[ev.ReplyEvent]] = {
    "FirstTokenArrived": ev.FirstTokenArrived,
    "FirstAudioArrived": ev.FirstAudioArrived,
    "ReplyStarted": ev.ReplyStarted,
}
TIMED = {*MARKS, "SpeechPaused", "TurnEnded", "TranscriptReady", "SentenceReady", "FillerSaid"}
"""What the timeline looks at."""
_STAY = Step(Verdict.STAY, "idle", "idle")
_NOTHING = ev.SuspicionPassed()
_ENDED_REPLY: dict[str, type[fx.DropReply | fx.FinishReply]] = {
    "FinishReply": fx.FinishReply,
    "CancelReply": fx.DropReply,
    "FailReply": fx.DropReply,
    "DropReply": fx.DropReply,
}


class JournalFold(Fold):
    """One journal."""

    def __init__(self, head: Head, source: str, *, keep: bool, detail: bool, recorded: bool) -> None:
        super().__init__(head.session, source, keep=keep, detail=detail)
        began = moment(head.started)
        self.row.started, self.row.tenant = began.isoformat() if began else "", head.tenant
        self.recorded = recorded
        """Whether it belongs to a recording: with words, if they were not redacted."""
        self._timeline = Timeline()
        self._last_n, self._marked = 0, 0
        self._last_at = 0.0
        self._sentence: int | None = None
        """The reply that the last sentence belonged to."""

    def entry(self, line: JournalLine) -> list[tuple[str, str]]:
        """The next entry; returns what is wrong with its place, as kinds and details."""
        told, at = line.event, line.at
        name = told.type
        wrong = self._in_order(line) if line.n != self._last_n + 1 or at < self._last_at or self._marked else []
        self._last_n, self._last_at = line.n, at
        if name not in FACTS:
            wrong.append((f"unknown event {name[:40]}", ""))
        self.fact(at, name, told, line.was, line.now, line.verdict)
        if name == "PlayoutFinished" and line.verdict != "late":
            self.turns.heard(told.reply or 0, int(told.heard_ms or 0))
        event = timed(name, told) if name in TIMED and self._is_news(name, told.reply) else None
        if event is None and not line.effects:
            return wrong
        times = self._timeline.note(at, event or _NOTHING, step(line.effects))
        if times is not None:
            account = exact(times)
            if account is None:
                wrong.append(("the times of a turn contradict each other", ""))
            else:
                self.turns.audible(round(at - account.ms[TOTAL] / 1000, 6), account)
        for order in line.effects:
            if order.type in ENDS:
                self.turns.ended(order.reply, ENDS[order.type])
        return wrong

    def _is_news(self, name: str, reply: int | None) -> bool:
        """Only the first sentence of a reply counts, and there are many."""
        if name != "SentenceReady":
            return True
        before, self._sentence = self._sentence, reply
        return before != reply

    def lost(self, lines: int) -> None:
        """A mark for lines that the disk could not take."""
        self._marked += lines
        self.row.lost += lines

    def _in_order(self, line: JournalLine) -> list[tuple[str, str]]:
        wrong, last, marked = [], self._last_n, self._marked
        self._marked = 0
        if line.n <= last:
            wrong.append(("facts are out of order or twice", f": number {line.n} after {last}"))
        elif line.n - last - 1 > marked:
            missing = line.n - last - 1 - marked
            self.row.lost += missing
            wrong.append(("facts are missing", f": {missing} between number {last} and {line.n}"))
        if line.at < self._last_at:
            wrong.append(("the clock runs backwards", f": {line.at:.3f} s after {self._last_at:.3f} s"))
        return wrong


def timed(name: str, told: Fact) -> ev.Event | None:
    """The fact as the timeline wants it, or None where it does not look at it."""
    reply = told.reply or 0
    if kind := MARKS.get(name):
        return kind(reply)
    if name == "SpeechPaused":
        return ev.SpeechPaused(0, int(told.silence_ms or 0))
    if name == "TurnEnded":
        return ev.TurnEnded(0, int(told.silence_ms or 0))
    if name == "TranscriptReady":
        return ev.TranscriptReady(reply, 0, "words")
    if name == "SentenceReady":
        return ev.SentenceReady(reply, 0, 0)
    if name == "FillerSaid":
        return ev.FillerSaid(reply, "", 0, "model")
    return None


def step(orders: list[Order]) -> Step:
    """What the timeline looks at of a fact's consequences."""
    if not orders:
        return _STAY
    effects: list[fx.AnyEffect] = []
    for order in orders:
        if order.type == "StartReply":
            source: fx.Source = "speech" if order.source == "speech" else "request"
            effects.append(fx.StartReply(order.reply, order.turn, source, order.draft))
        elif ended := _ENDED_REPLY.get(order.type):
            effects.append(ended(order.reply))
    return Step(Verdict.STAY, "idle", "idle", tuple(effects))
