"""The views as tables for people, from 80 columns up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from aura.core.timing import PARTS
from aura.tools.logs import cells, views
from aura.tools.logs.cells import Clock, count, cut, number, seconds
from aura.tools.logs.exact import TOTAL, shown
from aura.tools.logs.problems import clean
from aura.tools.logs.sheet import Column, Page, fill, flexible, grid
from aura.tools.logs.views import Look
from aura.tools.logs.waterfall import HEADINGS, Bars

# ---- conversations ------------------------------------------------------------------------------------------------


def conversations(look: Look, page: Page) -> list[RenderableType]:
    """The conversations and what they come to."""
    lines = views.conversations(look)
    clock = Clock(line.time for line in lines)
    columns: dict[str, Column] = {
        "time": lambda line: clock(line.time),
        "session": lambda line: page.session(line.session),
    }
    if any(line.tenant for line in lines):
        columns["tenant"] = lambda line: Text(cut(line.tenant, 16))
    columns |= {
        "length": lambda line: seconds(line.length_s),
        "turns": lambda line: number(line.turns),
        "barge-ins": lambda line: cells.overlaps(line.interruptions, line.overlaps),
        "errors": lambda line: bad(line.errors),
    }
    if any(line.late for line in lines):
        columns["late"] = lambda line: number(line.late)
    if any(line.lost for line in lines):
        columns["lost"] = lambda line: bad(line.lost)
    columns |= {"p50": lambda line: cells.ms(line.v2v_p50_ms), "p95": lambda line: cells.ms(line.v2v_p95_ms)}
    if look.prices:
        money = f"cost {clean(look.prices.currency)}".strip()
        columns[money] = lambda line: cells.cost(line.cost, "", known=not line.cost_unknown)
    elif any(line.calls for line in lines):
        columns["usage"] = lambda line: cells.usage(line.input_tokens + line.output_tokens, line.chars, line.audio_s)
    table = fill(
        f"Conversations{clock.day}",
        page,
        lines,
        columns,
        drop=("late", "usage", "p95", "length", "tenant", "lost"),
        last=("outcome", lambda line: cells.outcome(line.outcome)),
    )
    return [table, summary(look, lines)]


def bad(count: int) -> Text:
    """A count of what should not be."""
    return Text(str(count), "bold bright_red") if count else cells.NONE


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
        facts.add_row(Text("errors", "bright_red"), cells.counted(failed))
    facts.add_row("ended", cells.counted(Counter(line.outcome for line in lines)))
    use = views.used(*look.rows)
    if use.calls:
        amounts = {"tokens": use.input_tokens + use.output_tokens, "characters": use.chars}
        told = [
            count(use.calls, "call"),
            *(f"{cells.amount(value)} {unit}" for unit, value in amounts.items() if value),
        ]
        facts.add_row("used", ", ".join([*told, *([f"{seconds(use.audio_s)} of audio"] if use.audio_s else [])]))
    if look.prices:
        facts.add_row("cost", cells.total(look))
    if lost := sum(line.lost for line in lines):
        facts.add_row(Text("lost", "bright_red"), f"{count(lost, 'line')} of journals")
    return facts


# ---- turns --------------------------------------------------------------------------------------------------------

BAR_LEAST, BAR_MOST = 9, 72
WATERFALL = ("where the time went", "waterfall")


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
    table.add_column(WATERFALL[width < len(WATERFALL[0])], no_wrap=True)
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
            Text(cut(line.code, 30), "bright_red"),
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
    whose: dict[str, Column] = {
        "time": lambda line: clock(line.time),
        "session": lambda line: page.session(line.session),
    }
    columns = _usage_columns(lines, look)
    drop = ("ttfb", "total", "cached", "time", "failed")
    totals = views.usage(Look([cells.together(look.rows)], prices=look.prices))
    notes: list[RenderableType] = [
        fill(f"Usage{clock.day}", page, lines, {**whose, **columns}, drop=drop),
        fill("In all", Page(page.console), totals, columns, drop=drop),
    ]
    if look.prices:
        notes.append(Text.assemble("cost ", cells.total(look)))
        if look.prices.note:
            notes.append(Text(look.prices.note, "dim"))
    else:
        notes.append(Text("Prices are not known: give --prices FILE.toml to see the cost.", "dim"))
    return notes


def _usage_columns(lines: Sequence[views.UsageLine], look: Look) -> dict[str, Column]:
    """The columns with anything in them."""
    money = f"cost {clean(look.prices.currency)}".strip() if look.prices else ""
    columns: dict[str, tuple[str, Column]] = {
        "provider": ("provider", lambda line: Text(cut(line.provider, 12), "bold")),
        "part": ("part", lambda line: Text(cut(line.part, 6))),
        "calls": ("calls", lambda line: number(line.calls)),
        "failed": ("failed", lambda line: bad(line.failed)),
        "ttfb": ("ttfb_p50_ms", lambda line: cells.ms(line.ttfb_p50_ms)),
        "total": ("total_p50_ms", lambda line: cells.ms(line.total_p50_ms)),
        "tok in": ("input_tokens", lambda line: cells.amount(line.input_tokens)),
        "cached": ("cached_tokens", lambda line: cells.amount(line.cached_tokens)),
        "out": ("output_tokens", lambda line: cells.amount(line.output_tokens)),
        "chars": ("chars", lambda line: cells.amount(line.chars)),
        "audio": ("audio_s", lambda line: seconds(line.audio_s) if line.audio_s else cells.NONE),
        money: ("calls", lambda line: cells.cost(line.cost, "", known=not line.cost_unknown)),
    }
    used = {heading: cell for heading, (name, cell) in columns.items() if any(getattr(line, name) for line in lines)}
    if not look.prices:
        used.pop(money, None)
    return used


TABLES: dict[str, Callable[[Look, Page], list[RenderableType]]] = {
    "conversations": conversations,
    "turns": turns,
    "errors": errors,
    "interruptions": interruptions,
    "cost": cost,
}
