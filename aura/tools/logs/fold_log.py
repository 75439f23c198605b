"""A conversation's lines of the structured log to a row. A log tells no orders: what became of a reply is seen from
the states. What only a log has (provider calls, texts of errors) is kept apart: a conversation may have a journal too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from aura.core.timing import TurnTimes
from aura.tools.logs.exact import TOTAL, exact
from aura.tools.logs.fold import NAMES, OWN, Fold
from aura.tools.logs.model import CallRow, ErrorRow
from aura.tools.logs.problems import clean
from aura.tools.logs.shapes import FACTS, LogLine
from aura.tools.logs.when import moment

AUDIBLE = ("speaking", "interrupted")
GOES_ON = ("OverlapDismissed", "AudioCleared", "StageFailed", "PlayoutFinished")
"""Facts that leave these states without cancelling the reply."""
FAILED = ("stage.failed", "stage.crashed")
"""They tell the text of the `StageFailed` that follows."""
TEXT_CHARS = 300
CUT_SHORT = "cut short"


class LogFold(Fold):
    """The lines of one conversation."""

    def __init__(self, session: str, source: str, *, keep: bool) -> None:
        super().__init__(session, source, keep=keep)
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
        if row.outcome == CUT_SHORT:  # another server writes to the same file
            row.outcome = "running"
        if line.tenant and not row.tenant:
            row.tenant = line.tenant
        if line.was and line.now and line.elapsed_ms is not None:
            return self._fact(line, name)
        row.event_counts[name] = row.event_counts.get(name, 0) + 1
        if name == "turn.times":
            return self._times(line)
        if name == "provider.call":
            self.row.calls.append(call(line))
        elif name == "conversation.ended":
            row.outcome = line.why or "closed"
        elif name in FAILED:
            code = str(line.code or "internal")
            self._texts.append(self._trouble(line, line.provider or OWN, code, line.stage or ""))
        elif line.level in ("error", "critical"):
            self.extra.append(self._trouble(line, line.provider or OWN, str(line.code or name), name))
        return ""

    def quiet(self, line: LogLine) -> bool:
        """Take a fact that need only be counted, which must be quick; False: this one needs more."""
        now, at = line.now, line.elapsed_ms
        if line.was != now or now == "interrupted" or at is None or line.verdict or line.text:
            return False
        row, name = self.row, line.event
        row.fact_count += 1
        row.ended_s = at / 1000
        counts = row.event_counts
        if name in counts:
            counts[name] += 1
        else:
            counts[NAMES[name]] = 1
        return True

    def texts(self) -> list[ErrorRow]:
        """Failures of stages that no fact has followed."""
        return self._texts

    # ---- facts

    def _fact(self, line: LogLine, name: str) -> str:
        at = round(float(line.elapsed_ms or 0) / 1000, 6)
        was, now, verdict = line.was or "", line.now or "", line.verdict or ""
        if name == "StageFailed" and self._texts:
            self._give_text(line)
        self.fact(at, name, line, was, now, verdict or ("move" if was != now else "stay"))
        if verdict != "late":
            if name == "ReplyStarted":
                self._audible = (line.reply or 0, at)
            elif self._audible and was != now:
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

    def _trouble(self, line: LogLine, provider: str, code: str, where: str) -> ErrorRow:
        return ErrorRow(self._since_start(line.time), provider, code, where, said_text(line), line.time)

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
        at_s=float(line.elapsed_ms or 0) / 1000,
        part=line.part or "",
        provider=line.provider or "",
        outcome=line.outcome or "",
        total_ms=float(line.total_ms or 0),
        ttfb_ms=None if line.ttfb_ms is None else float(line.ttfb_ms),
        turn=line.turn or 0,
        reply=line.reply or 0,
        input_tokens=line.input_tokens or 0,
        output_tokens=line.output_tokens or 0,
        cached_tokens=line.cached_tokens or 0,
        chars=line.chars or 0,
        audio_s=float(line.audio_s or 0),
    )


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
