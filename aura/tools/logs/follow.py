"""What happens in conversations, told as it happens: `aura logs --follow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import trio

from aura.tools.logs.collect import Book
from aura.tools.logs.exact import TOTAL
from aura.tools.logs.merge import rows
from aura.tools.logs.model import ConversationRow, ErrorRow, FactRow, OverlapRow
from aura.tools.logs.problems import Problems
from aura.tools.logs.select import Filter
from aura.tools.logs.tail import Tails
from aura.tools.logs.views import clock

POLL_S = 0.25
KEPT_S = 10.0
"""A conversation that is over is remembered for so long: its journal and its log do not end at the same moment."""
KINDS = ("began", "turn", "overlap", "error", "fact", "ended")


class News(msgspec.Struct, frozen=True):
    """Something that has just become known."""

    kind: str
    """One of KINDS."""
    row: ConversationRow
    index: int = 0
    """Which of the row's turns, overlaps, errors or facts."""

    @property
    def time(self) -> str:
        """When it happened: an answer when it began to be heard."""
        at: float | None = {"began": 0.0, "ended": self.row.ended_s}.get(self.kind)
        if self.kind == "turn":
            turn = self.row.turns[self.index]
            at = turn.at_s + turn.times.ms[TOTAL] / 1000
        elif at is None:
            items: dict[str, Sequence[OverlapRow | ErrorRow | FactRow]] = {
                "overlap": self.row.overlaps,
                "error": self.row.errors,
                "fact": self.row.facts,
            }
            at = items[self.kind][self.index].at_s
        return clock(self.row.started, at)


class _Told(msgspec.Struct):
    """How far a conversation was told."""

    began: bool = False
    turns: int = 0
    overlaps: int = 0
    errors: int = 0
    facts: int = 0
    ended_at: float | None = None


class Watch:
    """Notes what is new about conversations."""

    def __init__(self, book: Book, chosen: Filter, now: Callable[[], datetime]) -> None:
        self._book, self._chosen, self._now = book, chosen, now
        self._told: dict[str, _Told] = {}
        self._over: set[str] = set()
        """What has been forgotten; a few late lines must not bring it back."""

    def news(self, at: float) -> list[News]:
        """What has become known since the last time; `at` is a time in seconds."""
        found: list[News] = []
        for row in rows(self._book, self._now()):
            if row.session in self._over:
                self._book.forget(row.session)
                continue
            told = self._told.setdefault(row.session, _Told())
            kept = self._chosen.keep(row)
            if kept is not None:
                found += self._of(kept, told)
            if row.outcome != "running":
                told.ended_at = at if told.ended_at is None else told.ended_at
            else:
                told.ended_at = None
            if told.ended_at is not None and at - told.ended_at >= KEPT_S:
                self._forget(row.session)
        return sorted(found, key=lambda news: news.time)

    def skip(self, at: float) -> None:
        """Tell nothing of what is known by now."""
        self.news(at)

    def _of(self, row: ConversationRow, told: _Told) -> Iterator[News]:
        if not told.began:
            told.began = True
            yield News("began", row)
        for kind, name in (("fact", "facts"), ("turn", "turns"), ("overlap", "overlaps"), ("error", "errors")):
            count = len(getattr(row, name))
            for index in range(getattr(told, name), count):
                yield News(kind, row, index)
            setattr(told, name, max(count, getattr(told, name)))
        if row.outcome != "running" and told.ended_at is None:
            yield News("ended", row)

    def _forget(self, session: str) -> None:
        self._book.forget(session)
        del self._told[session]
        self._over.add(session)


async def follow(
    places: Sequence[str | Path],
    tell: Callable[[News], None],
    chosen: Filter,
    *,
    problems: Problems,
    now: Callable[[], datetime],
    facts: bool = False,
    seconds: float | None = None,
) -> None:
    """Tell what happens from now on (from `chosen.since` on, where there is one), for so many seconds or for ever."""
    book = Book(problems, "all" if facts else "none", chosen.wanted)
    tails = Tails(places, book, now, whole=chosen.since is not None)
    watch = Watch(book, chosen, now)
    try:
        tails.poll()
        if chosen.since is None:
            watch.skip(trio.current_time())
        with trio.move_on_after(float("inf") if seconds is None else seconds):
            while True:
                for news in watch.news(trio.current_time()):
                    tell(news)
                await trio.sleep(POLL_S)
                tails.poll()
    finally:
        tails.close()
