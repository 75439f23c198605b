"""One row per conversation, from its journal and its log lines: nothing is counted twice.

A journal wins for facts and all that follows from them; a log adds provider calls, the texts of errors and errors
that were no facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from aura.tools.logs.collect import Book
from aura.tools.logs.fold_journal import JournalFold
from aura.tools.logs.fold_log import CUT_SHORT, LogFold, with_text
from aura.tools.logs.model import CallRow, ConversationRow, ErrorRow
from aura.tools.logs.when import moment

NO_ERROR = ("ok", "cancelled", "")
SAME_FAILURE_S = 2.0
"""A call and a stage that failed in the same way so close to each other are one failure."""
GIVEN_UP = timedelta(hours=6)
"""A conversation without a sign of life for so long has no process any more."""


def rows(book: Book, now: datetime) -> list[ConversationRow]:
    """All conversations, in the order in which they began."""
    sessions = dict.fromkeys([*book.journals, *book.logs])
    made = [row(book, session, now) for session in sessions]
    return sorted(made, key=lambda made: (made.started, made.session))


def row(book: Book, session: str, now: datetime) -> ConversationRow:
    """One conversation. Its folds are not changed, apart from the order of their rows."""
    journal, log = best(book.journals.get(session, ())), book.logs.get(session)
    if journal is None:
        assert log is not None
        made = _copy(log.row)
        made.errors += [*log.extra, *log.texts()]
    else:
        made = _copy(journal.row)
        if log is not None:
            _add(made, log)
    made.errors += _failed_calls(made.calls, made.errors)
    made.errors.sort(key=lambda error: error.at_s or 0.0)
    began = moment(made.started)
    if made.outcome == "running" and began and began + timedelta(seconds=made.ended_s) + GIVEN_UP < now:
        made.outcome = CUT_SHORT
    return made


def best(journals: Sequence[JournalFold]) -> JournalFold | None:
    """The one that tells most, where a conversation has several (the normal one and that of its recording)."""
    return max(journals, key=lambda fold: (fold.row.fact_count, fold.recorded), default=None)


def _copy(row: ConversationRow) -> ConversationRow:
    """The lists that are added to are its own; the others are shared."""
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    return ConversationRow(**{**fields, "errors": [*row.errors]})


def _add(made: ConversationRow, log: LogFold) -> None:
    """What only the log knows."""
    told = log.row
    texts = [*told.errors, *log.texts()]
    made.errors = [with_text(error, texts) for error in made.errors] + log.extra
    made.calls = told.calls
    made.started = made.started or told.started
    made.tenant = made.tenant or told.tenant
    if made.outcome == "running":
        made.outcome = told.outcome
    others = {name: count for name, count in told.event_counts.items() if name not in made.event_counts}
    made.event_counts = {**others, **made.event_counts}


def _failed_calls(calls: Sequence[CallRow], errors: Sequence[ErrorRow]) -> list[ErrorRow]:
    """Calls that failed without the failure of a stage: a commit's, or one that was tried again."""
    open_errors = [error for error in errors if error.at_s is not None]
    found = []
    for call in calls:
        if call.outcome in NO_ERROR:
            continue
        ended = call.at_s + call.total_ms / 1000
        same = next((error for error in open_errors if _is_same(error, call, ended)), None)
        if same is not None:
            open_errors.remove(same)
        else:
            found.append(ErrorRow(ended, call.provider, call.outcome, call.part))
    return found


def _is_same(error: ErrorRow, call: CallRow, ended: float) -> bool:
    near = abs((error.at_s or 0.0) - ended) < SAME_FAILURE_S
    return near and (error.provider, error.code) == (call.provider, call.outcome)
