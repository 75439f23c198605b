"""A conversation's lines of the structured log to a row. A log tells no orders: what became of a reply is seen from
the states. What only a log has (provider calls, texts of errors) is kept apart: a conversation may have a journal too.
"""

from __future__ import annotations

from datetime import timedelta
from sys import intern
from typing import Any

import msgspec

from aura.core.timing import TurnTimes
from aura.tools.logs.exact import TOTAL, exact
from aura.tools.logs.fold import OWN, Fold
from aura.tools.logs.model import CallRow, ErrorRow
from aura.tools.logs.problems import clean
from aura.tools.logs.shapes import FACTS, LogLine
from aura.tools.logs.when import moment

AUDIBLE = ("speaking", "interrupted")
GOES_ON = ("OverlapDismissed", "AudioCleared", "StageFailed", "PlayoutFinished")
"""Facts that leave these states without cancelling the reply."""
FAILED = ("stage.failed", "stage.crashed")
"""They tell the text of the `StageFailed` that follows."""
FINE = ("ok", "cancelled")
CALM = ("info", "debug")
TEXT_CHARS = 300
CUT_SHORT = "cut short"


class LogFold(Fold):
    """The lines of one conversation."""

    __slots__ = ("_audible", "_texts", "extra")

    def __init__(self, session: str, source: str, *, keep: bool, detail: bool) -> None:
        super().__init__(session, source, keep=keep, detail=detail)
        self.extra: list[ErrorRow] = []
        """Errors that were no facts."""
        self._texts: list[ErrorRow] = []
        self._audible: tuple[int, float] | None = None
        """The reply that is being heard, and since when."""

    def line(self, line: LogLine) -> str:
        """The next line; returns what is wrong with it, or an empty text."""
        row, name = self.row, line.event
        if not row.started:
            self._begin(line)
        if line.tenant and not row.tenant:
            row.tenant = line.tenant
        if row.outcome == CUT_SHORT:  # another server writes to the same file
            row.outcome = "running"
        if line.elapsed_ms is not None and line.was and line.now:
            return self._fact(line, name, line.was, line.now)
        if self.detail:
            self.count(name)
        if name == "provider.call":
            note_call(row.calls, call(line), alone=self.detail)
        elif name == "turn.times":
            return self._times(line)
        elif name == "conversation.ended":
            row.outcome = line.why or "closed"
        elif line.level not in CALM:
            self._trouble(line)
        return ""

    def _trouble(self, line: LogLine) -> None:
        if line.event in FAILED:
            self._texts.append(self._error(line, str(line.code or "internal"), line.stage or ""))
        elif line.level in ("error", "critical"):
            self.extra.append(self._error(line, str(line.code or line.event), line.event))

    def quiet(self, line: LogLine) -> bool:
        """Take a fact that need only be counted, which must be quick; False: this one needs more."""
        now, at = line.now, line.elapsed_ms
        if line.was != now or now == "interrupted" or at is None or line.verdict or line.text:
            return False
        row = self.row
        row.fact_count += 1
        row.ended_s = at / 1000
        if self.detail:
            self.count(line.event)
        return True

    def texts(self) -> list[ErrorRow]:
        """Failures of stages that no fact has followed."""
        return self._texts

    # ---- facts

    def _fact(self, line: LogLine, name: str, was: str, now: str) -> str:
        at = round((line.elapsed_ms or 0.0) / 1000, 6)
        if name == "StageFailed" and self._texts:
            self._give_text(line)
        self.fact(at, name, line, was, now, line.verdict or "stay")
        if name == "ReplyStarted":
            if not line.verdict:
                self._audible = (line.reply or 0, at)
        elif was != now and self._audible:
            self._heard(line, name, was, now)
        return "" if name in FACTS else f"unknown event {name[:40]}"

    def _heard(self, line: LogLine, name: str, was: str, now: str) -> None:
        assert self._audible
        if name == "PlayoutFinished":
            self.turns.ended(line.reply or 0, "completed" if now == "idle" else "failed", int(line.heard_ms or 0))
        elif was in AUDIBLE and now not in AUDIBLE and name not in GOES_ON:
            self.turns.ended(self._audible[0], "cancelled")
        else:
            return
        self._audible = None

    def _give_text(self, line: LogLine) -> None:
        for index, told in enumerate(self._texts):
            if (told.where, told.code) == (line.stage, str(line.code)):
                line.text = line.text or told.text
                del self._texts[index]
                return

    # ---- other lines

    def _begin(self, line: LogLine) -> None:
        told = moment(line.time)
        if told is None:
            return
        if line.event == "conversation.begun":
            self.row.started = told.isoformat()
        elif line.elapsed_ms is not None and line.was:
            self.row.started = (told - timedelta(milliseconds=line.elapsed_ms)).isoformat()

    def _times(self, line: LogLine) -> str:
        told: dict[str, Any] = line.ms or {}
        account = exact(TurnTimes(line.reply or 0, line.turn or 0, bool(line.draft), told))
        if account is None:
            return "the parts of a turn's time do not sum to its whole"
        if self._audible and self._audible[0] == account.reply:
            began = self._audible[1]
        else:
            began = self._since_start(line.time) or self.row.ended_s
        self.turns.audible(round(began - account.ms[TOTAL] / 1000, 6), account)
        return ""

    def _error(self, line: LogLine, code: str, where: str) -> ErrorRow:
        at = self._since_start(line.time)
        return ErrorRow(at, line.provider or OWN, code, where, said_text(line), line.time)

    def _since_start(self, time: str) -> float | None:
        now, began = moment(time), moment(self.row.started)
        return (now - began).total_seconds() if now and began else None


def said_text(line: LogLine) -> str:
    """What a line of trouble tells, in one line."""
    exception = line.exception.strip().rpartition("\n")[2] if isinstance(line.exception, str) else ""
    texts = (line.error, line.text, exception, line.message)
    return clean(next((text for text in texts if isinstance(text, str) and text), ""))[:TEXT_CHARS]


def call(line: LogLine) -> CallRow:
    """The account of one provider call."""
    return CallRow(
        (line.elapsed_ms or 0.0) / 1000,
        intern(line.part or ""),
        intern(line.provider or ""),
        intern(line.outcome or ""),
        line.total_ms or 0.0,
        line.ttfb_ms,
        line.turn or 0,
        line.reply or 0,
        line.input_tokens or 0,
        line.output_tokens or 0,
        line.cached_tokens or 0,
        line.chars or 0,
        line.audio_s or 0.0,
        model=intern(line.model or ""),
        cost_usd=line.cost_usd,
    )


def _kind(row: CallRow) -> tuple[object, ...]:
    return row.part, row.provider, row.outcome, row.model, row.cost_usd is None


def note_call(calls: list[CallRow], new: CallRow, *, alone: bool) -> None:
    """Add a call: `alone`, or to the row that stands for its kind if it went well."""
    for index, old in enumerate(calls if not alone and new.outcome in FINE else ()):
        if _kind(old) == _kind(new):
            calls[index] = CallRow(
                old.at_s,
                new.part,
                new.provider,
                new.outcome,
                old.total_ms + new.total_ms,
                None,
                0,
                0,
                old.input_tokens + new.input_tokens,
                old.output_tokens + new.output_tokens,
                old.cached_tokens + new.cached_tokens,
                old.chars + new.chars,
                round(old.audio_s + new.audio_s, 3),
                old.count + 1,
                new.model,
                None if new.cost_usd is None else round((old.cost_usd or 0.0) + new.cost_usd, 9),
            )
            return
    calls.append(new)


def process_error(line: LogLine) -> ErrorRow:
    """Trouble that belongs to no conversation."""
    return ErrorRow(None, line.provider or OWN, str(line.code or line.event), line.event, said_text(line), line.time)


def with_text(error: ErrorRow, texts: list[ErrorRow]) -> ErrorRow:
    """A journal's error with the text that the log has for it."""
    for told in texts:
        near = told.at_s is not None and error.at_s is not None and abs(told.at_s - error.at_s) < 1.0
        if near and told.text and (told.where, told.code) == (error.where, error.code):
            return msgspec.structs.replace(error, text=told.text)
    return error
