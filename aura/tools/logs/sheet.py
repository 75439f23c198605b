"""Tables that fit their terminal: what matters least goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aura.tools.logs.cells import cut, short

WIDE = 140
"""Columns from which on there is room for whole ids, words and texts."""
TO_THE_LEFT = frozenset({"time", "session", "tenant", "usage", "provider", "part", "code", "where", "last seen"})
"""Columns of words; figures stand to the right."""

Column = Callable[[Any], Text]
"""Makes the cell of a line."""


class Page(msgspec.Struct):
    """A terminal, and how many lines it is to show."""

    console: Console
    limit: int = 0
    """So many of the latest lines; 0: all."""

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self.console.width

    @property
    def wide(self) -> bool:
        """Whether there is room for more than what matters most."""
        return self.width >= WIDE

    def session(self, session: str) -> Text:
        """Its id, in short where there is little room; `--session` takes it either way."""
        return Text(cut(session, 40) if self.wide else short(session), "cyan")

    def latest(self, lines: Sequence[Any], table: Table) -> Sequence[Any]:
        """The lines that are shown; the table says how many are not."""
        hidden = max(0, len(lines) - self.limit) if self.limit else 0
        if hidden:
            table.caption = f"{hidden} earlier ones are not shown: --limit 0 shows all"
            table.caption_justify = "left"
        return lines[hidden:]


def grid(title: str, *headings: str, left: Iterable[str] = ()) -> Table:
    """An empty table; the columns in `left` hold words too."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in TO_THE_LEFT.union(left) else "right", no_wrap=True)
    return table


def flexible(table: Table, heading: str) -> None:
    """One more column, which takes the room that is left and wraps."""
    table.add_column(heading, overflow="fold", ratio=1)
    table.expand = True


def fill(
    title: str,
    page: Page,
    lines: Sequence[Any],
    columns: Mapping[str, Column],
    *,
    drop: Sequence[str] = (),
    last: tuple[str, Column] | None = None,
    last_width: int = 12,
) -> Table:
    """A table of `columns`; where the page is too narrow the ones in `drop` go, in this order.

    `last` is a column that takes the room that is left, at least `last_width`.
    """
    probe = Table()
    shown = page.latest(lines, probe)
    made = {heading: [cell(line) for line in shown] for heading, cell in columns.items()}
    widths = {heading: max([len(heading), *map(len, texts)]) + 2 for heading, texts in made.items()}
    room = page.width - (last_width if last else 0)
    for heading in drop:
        if sum(widths.values()) > room and heading in made:
            del made[heading], widths[heading]
    table = grid(title, *made)
    table.caption, table.caption_justify = probe.caption, "left"
    if last:
        flexible(table, last[0])
    for index, line in enumerate(shown):
        table.add_row(*(texts[index] for texts in made.values()), *([last[1](line)] if last else []))
    return table
