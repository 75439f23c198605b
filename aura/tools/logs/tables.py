"""The views as tables for people, from 80 columns up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from aura.core.timing import PARTS
from aura.tools.logs import cells, views
from aura.tools.logs.cells import Clock, count, cut, number, seconds, short
from aura.tools.logs.exact import TOTAL, shown
from aura.tools.logs.problems import clean
from aura.tools.logs.views import Look
from aura.tools.logs.waterfall import HEADINGS, Bars

WIDE = 140
"""Columns from which on there is room for whole ids, words and texts."""


class Page(msgspec.Struct):
    """A terminal, and how many lines it is to show."""

    console: Console
    limit: int = 0
    """So many of the latest lines; 0: all."""

    @property
    def wide(self) -> bool:
        """Whether there is room for more than what matters most."""
        return self.console.width >= WIDE

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
    """An empty table; its figures stand to the right, the columns in `left` to the left."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    table.padding = (0, 1, 0, 0)
    texts = {"time", "session", *left}
    for heading in headings:
        table.add_column(heading, justify="left" if heading in texts else "right", no_wrap=True)
    return table


def flexible(table: Table, heading: str) -> None:
    """One more column, which takes the room that is left and wraps."""
    table.add_column(heading, overflow="fold", ratio=1)
    table.expand = True


# ---- conversations ------------------------------------------------------------------------------------------------


def conversations(look: Look, page: Page) -> list[RenderableType]:
    """The conversations and what they come to."""
    lines = views.conversations(look)
    clock = Clock(line.time for line in lines)
    tenants, losses = any(line.tenant for line in lines), any(line.lost or line.late for line in lines)
    names = ["time", "session", *(["tenant"] if tenants else []), "length", "turns", "barge-ins", "errors"]
    names += [*(["late", "lost"] if losses and page.wide else []), "p50", "p95", "cost" if look.prices else "usage"]
    table = grid(f"Conversations{clock.day}", *names, left=["tenant", "cost", "usage"])
    flexible(table, "outcome")
    for line in page.latest(lines, table):
        row = [clock(line.time), page.session(line.session), *([Text(cut(line.tenant, 16))] if tenants else [])]
        row += [seconds(line.length_s), number(line.turns), cells.overlaps(line.interruptions, line.overlaps)]
        row.append(Text(str(line.errors), "bold red") if line.errors else cells.NONE)
        if losses and page.wide:
            row += [number(line.late), Text(str(line.lost), "red") if line.lost else cells.NONE]
        row += [cells.ms(line.v2v_p50_ms), cells.ms(line.v2v_p95_ms)]
        if look.prices:
            row.append(cells.cost(line.cost, look.prices.currency, known=not line.cost_unknown))
        else:
            row.append(cells.usage(line.input_tokens + line.output_tokens, line.chars, line.audio_s))
        table.add_row(*row, cells.outcome(line.outcome))
    return [table, summary(look, lines)]


def summary(look: Look, lines: Sequence[views.ConversationLine]) -> Table:
    """What all of them come to."""
    times = [turn.times.ms[TOTAL] for row in look.rows for turn in row.turns]
    facts = Table.grid(padding=(0, 2))
    talked, named = sum(line.length_s for line in lines), Text(count(len(lines), "conversation"), "bold")
    facts.add_row(named, f"{seconds(talked)} long, {count(len(times), 'turn')} answered")
    if times:
        quantiles = [f"{name} {views.quantile(times, share):.0f}" for name, share in cells.QUANTILES]
        facts.add_row("voice to voice", f"{'  '.join(quantiles)} ms")
    over, meant = sum(line.overlaps for line in lines), sum(line.interruptions for line in lines)
    if over:
        facts.add_row("spoken over", f"{count(over, 'time')}: {count(meant, 'interruption')}, {over - meant} not meant")
    failed = Counter(f"{error.provider} {error.code}" for row in look.rows for error in row.errors)
    failed.update(f"{error.provider} {error.code}" for error in look.process_errors)
    if failed:
        facts.add_row(Text("errors", "red"), cells.counted(failed))
    facts.add_row("ended", cells.counted(Counter(line.outcome for line in lines)))
    use = views.used(*look.rows)
    if use.calls:
        amounts = cells.usage(use.input_tokens + use.output_tokens, use.chars, use.audio_s)
        facts.add_row("used", Text.assemble(f"{count(use.calls, 'call')}, ", amounts))
    if look.prices:
        facts.add_row("cost", cells.total(look))
    if lost := sum(line.lost for line in lines):
        facts.add_row(Text("lost", "red"), f"{count(lost, 'line')} of journals")
    return facts


# ---- turns --------------------------------------------------------------------------------------------------------

BAR_LEAST, BAR_MOST = 8, 72
WATERFALL = "where the time went"


def turns(look: Look, page: Page) -> list[RenderableType]:
    """The turns with their waterfalls."""
    lines = views.turns(look)
    if not lines:
        return [Text("No turn was answered.", "dim")]
    clock, bars = Clock(line.time for line in lines), Bars(page.console)
    title = "Turns" if look.slowest is None else f"The {len(lines)} slowest turns"
    table = grid(f"{title}{clock.day}, ms", "time", "session", "turn", "v2v", *HEADINGS.values())
    words = page.wide and any(line.said for line in lines)
    visible = page.latest(lines, table) if look.slowest is None else lines
    longest = max(line.voice_to_voice_ms for line in visible)
    width = bar_width(page, clock, visible, words=words)
    table.add_column(cut(WATERFALL, width), no_wrap=True)
    table.add_column("reply" if page.wide else "", no_wrap=True)
    if words:
        flexible(table, "said")
    for line in visible:
        parts, total = shown({**line.parts_ms, TOTAL: line.voice_to_voice_ms})
        table.add_row(
            clock(line.time),
            page.session(line.session),
            number(line.turn),
            Text(str(total), "bold"),
            *(number(part) for part in parts),
            bars.parts([line.parts_ms[name] for name in PARTS], longest, width),
            cells.ending(line.outcome, sign=not page.wide, ascii_only=bars.ascii),
            *([Text(cut(line.said, 200), "italic")] if words else []),
        )
    return [table, bars.legend()]


def bar_width(page: Page, clock: Clock, lines: Sequence[views.TurnLine], *, words: bool) -> int:
    """What the other columns leave for the bar."""
    session = max(7, *(len(page.session(line.session)) for line in lines))
    digits = len(str(round(max(line.voice_to_voice_ms for line in lines))))
    outcome = 9 if page.wide else 1
    columns = [clock.width, session, 4, max(3, digits), *[max(3, digits)] * 5, max(4, digits), outcome]
    room = page.console.width - sum(columns) - 2 * (len(columns) + words) - 1
    return max(BAR_LEAST, min(BAR_MOST, room - 30 if words else room))


# ---- errors, interruptions ----------------------------------------------------------------------------------------


def errors(look: Look, page: Page) -> list[RenderableType]:
    """Failures by provider and class."""
    lines = views.errors(look)
    if not lines:
        return [Text("No errors.", "green")]
    clock = Clock(line.last for line in lines)
    names = ("provider", "code", "where", "count", "calls", "last seen", "session")
    table = grid(f"Errors{clock.day}", *names, left=["provider", "code", "where", "last seen"])
    table.columns[4].header = "in conversations" if page.wide else "convs"
    flexible(table, "text")
    for line in lines:
        table.add_row(
            Text(cut(line.provider, 20), "bold"),
            Text(cut(line.code, 30), "red"),
            Text(cut(line.where, 24)),
            Text(str(line.count), "bold"),
            number(line.conversations),
            clock(line.last),
            page.session(line.session),
            Text(clean(line.text), "dim"),
        )
    return [table]


def interruptions(look: Look, page: Page) -> list[RenderableType]:
    """Speech over the assistant, with the numbers behind each judgement."""
    lines = views.interruptions(look)
    if not lines:
        return [Text("Nobody spoke over the assistant.", "dim")]
    clock, bars = Clock(line.time for line in lines), Bars(page.console)
    roomy = page.console.width >= 100
    numbers = ["voiced", "of", "silence", "held", *(["said", "echo"] if roomy else [])]
    table = grid(f"Speech over the assistant{clock.day}, ms", "time", "session")
    for heading in ("verdict", *([""] if roomy else []), *numbers):
        left = heading in ("verdict", "", "said")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    flexible(table, "because")
    for line in page.latest(lines, table):
        color = "yellow" if line.interrupted else "green"
        gauge = bars.gauge(line.voiced_ms, line.needed_ms, 16 if page.wide else 6, color) if line.needed_ms else ""
        heard = Text(cut(line.said or "", 12))
        echo = f"{100 * line.echo_share:.0f} %" if line.echo_share else cells.NONE
        table.add_row(
            clock(line.time),
            page.session(line.session),
            Text("stopped" if line.interrupted else "went on", color),
            *([gauge] if roomy else []),
            *(number(value) for value in (line.voiced_ms, line.needed_ms, line.silence_ms, line.held_ms)),
            *([heard, echo] if roomy else []),
            Text(cells.because(line), "dim"),
        )
    meant = sum(line.interrupted for line in lines)
    note = "voiced: speech so far; of: what would have sufficed without words"
    return [table, Text(f"{meant} stopped the answer, {len(lines) - meant} did not.  {note}", "dim")]


# ---- cost ---------------------------------------------------------------------------------------------------------

NO_CALLS = "No provider calls: they stand in logs (aura serve --log-format json), not in journals."


def cost(look: Look, page: Page) -> list[RenderableType]:
    """What was used of whom, per conversation and in all."""
    lines = views.usage(look)
    if not lines:
        return [Text(NO_CALLS, "dim")]
    clock = Clock(line.time for line in lines)
    columns = _usage_columns(lines, look, page)
    table = grid(f"Usage{clock.day}", "time", "session", "provider", "part", *columns, left=["provider", "part"])
    for line in page.latest(lines, table):
        table.add_row(clock(line.time), page.session(line.session), *_usage(line, columns))
    totals = grid("In all", "provider", "part", *columns, left=["provider", "part"])
    for line in views.usage(Look([cells.together(look.rows)], prices=look.prices)):
        totals.add_row(*_usage(line, columns))
    notes: list[RenderableType] = [table, totals]
    if look.prices:
        notes.append(Text.assemble("cost ", cells.total(look)))
    else:
        notes.append(Text("No prices are built in: give --prices FILE.toml to see the cost.", "dim"))
    return notes


Column = Callable[[views.UsageLine], RenderableType]


def _usage_columns(lines: Sequence[views.UsageLine], look: Look, page: Page) -> dict[str, Column]:
    """The columns with anything in them, as far as there is room."""
    currency = look.prices.currency if look.prices else ""
    columns: dict[str, tuple[str, Column]] = {
        "calls": ("calls", lambda line: number(line.calls)),
        "failed": ("failed", lambda line: Text(str(line.failed), "red") if line.failed else cells.NONE),
        "ttfb": ("ttfb_p50_ms", lambda line: cells.ms(line.ttfb_p50_ms)),
        "total": ("total_p50_ms", lambda line: cells.ms(line.total_p50_ms)),
        "tok in": ("input_tokens", lambda line: cells.amount(line.input_tokens)),
        "cached": ("cached_tokens", lambda line: cells.amount(line.cached_tokens)),
        "out": ("output_tokens", lambda line: cells.amount(line.output_tokens)),
        "chars": ("chars", lambda line: cells.amount(line.chars)),
        "audio": ("audio_s", lambda line: seconds(line.audio_s) if line.audio_s else cells.NONE),
        "cost": ("calls", lambda line: cells.cost(line.cost, currency, known=not line.cost_unknown)),
    }
    hidden = {"cost"} if look.prices is None else {"ttfb", "cached"} if page.console.width < 100 else set[str]()
    return {
        heading: cell
        for heading, (field, cell) in columns.items()
        if heading not in hidden and any(getattr(line, field) for line in lines)
    }


def _usage(line: views.UsageLine, columns: Mapping[str, Column]) -> list[RenderableType]:
    names = [Text(cut(line.provider, 12), "bold"), Text(cut(line.part, 6))]
    return [*names, *(cell(line) for cell in columns.values())]


TABLES: dict[str, Callable[[Look, Page], list[RenderableType]]] = {
    "conversations": conversations,
    "turns": turns,
    "errors": errors,
    "interruptions": interruptions,
    "cost": cost,
}
