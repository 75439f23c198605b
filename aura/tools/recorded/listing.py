"""`aura recordings list`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from aura.tools.logs.cells import NONE, Clock, count, cut, number, seconds
from aura.tools.logs.output import Output
from aura.tools.logs.read import no_collector
from aura.tools.logs.sheet import Page, flexible, grid
from aura.tools.logs.when import asked
from aura.tools.recorded.find import recordings
from aura.tools.recorded.summary import Summary, summarise

DEFAULT_LIMIT = 50
STYLES = {"complete": "green", "running": "cyan", "cut short": "yellow", "incomplete": "red"}


def chosen(
    data_dir: Path,
    *,
    since: str | None = None,
    until: str | None = None,
    session: str | None = None,
    search: str | None = None,
    now: datetime | None = None,
) -> list[Summary]:
    """The recordings that are asked for, in the order in which they began. Raises AuraError."""
    now = now or datetime.now(UTC)
    begin = asked(since, "--since", now) if since else None
    end = asked(until, "--until", now) if until else None
    folders = recordings(data_dir)
    if begin:  # a conversation lies in the folder of the day on which it began
        folders = [folder for folder in folders if folder.parent.name >= begin.date().isoformat()]
    if end:
        folders = [folder for folder in folders if folder.parent.name <= end.date().isoformat()]
    if session:
        folders = [folder for folder in folders if folder.name.startswith((session, f"sess_{session}"))]
    with no_collector():
        found = [one for folder in folders if (one := summarise(folder, search or ""))]
    if begin or end:
        found = [one for one in found if (at := one.began) and (not begin or at >= begin) and (not end or at < end)]
    return sorted(found, key=lambda one: (one.started or one.id, one.id))


def show(found: Sequence[Summary], out: Output, limit: int = DEFAULT_LIMIT) -> None:
    """The table, the latest at the bottom; its last line counts."""
    out.show(table(found, Page(out.console, limit)))


def table(found: Sequence[Summary], page: Page) -> list[RenderableType]:
    """The recordings, one per line."""
    clock = Clock(one.started for one in found)
    names = ("started", "session", "length", "turns", "barge-ins" if page.wide else "barge", "errors", "size", "state")
    rows = grid(f"Recordings{clock.day}", *names, left=["started", "state"])
    flexible(rows, "first words")
    rows.columns[-1].overflow, rows.columns[-1].no_wrap = "ellipsis", True
    for one in page.latest(found, rows):
        session = page.session(one.session)
        rows.add_row(
            clock(one.started),
            Text.assemble(session, ("⎇", "magenta")) if one.branch else session,
            seconds(one.length_s),
            number(one.turns),
            number(one.interruptions),
            Text(str(one.errors), "bold red") if one.errors else NONE,
            Text(size(one.bytes)),
            Text("redacted", "magenta") if one.redacted else Text(one.state, STYLES[one.state]),
            Text(one.problem, "red") if one.problem else Text(cut(one.words, 200), "italic"),
        )
    talked = sum(one.length_s for one in found)
    total = f"{count(len(found), 'recording')}, {seconds(talked)} long, {size(sum(one.bytes for one in found))}"
    return [rows, Text(total, "bold")]


def size(value: int) -> str:
    """Bytes in few signs."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= least:
            return f"{value / least:.{0 if value >= 100 * least else 1}f} {unit}"
    return f"{value} B"
