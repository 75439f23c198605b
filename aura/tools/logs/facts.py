"""The facts of one conversation as lines to read: when, in which state, what, and what it led to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from aura.tools.logs.cells import Clock, cut, outcome, seconds
from aura.tools.logs.model import ConversationRow, FactRow
from aura.tools.logs.problems import clean
from aura.tools.logs.sheet import Page
from aura.tools.logs.views import Look

STATES = {"idle": "bright_black", "listening": "cyan", "thinking": "magenta", "speaking": "green"}
STATES["interrupted"] = "yellow"
VERDICTS = {"late": ("late", "yellow"), "bug": ("BUG", "bold bright_red")}
VALUE_CHARS = 120


def facts(look: Look, page: Page) -> list[RenderableType]:
    """The conversations, one after the other."""
    found: list[RenderableType] = [Group(head(row), lines(row, page)) for row in look.rows if row.facts]
    return found or [Text("No facts.", "dim")]


def head(row: ConversationRow) -> RenderableType:
    """Which conversation it is."""
    clock = Clock([row.started])
    title = Text.assemble((clean(row.session), "bold cyan"), "  ", clock(row.started), clock.day.replace(",", ""), "  ")
    return Rule(title.append_text(seconds(row.ended_s)).append("  ").append_text(outcome(row.outcome)), align="left")


def lines(row: ConversationRow, page: Page) -> Table:
    """A line for each fact: the state is named where it changes, and coloured all along."""
    hidden = max(0, len(row.facts) - page.limit) if page.limit else 0
    shown = row.facts[hidden:]
    names = [named(fact) for fact in shown]
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify="right", no_wrap=True, min_width=8)
    table.add_column(justify="right", no_wrap=True, min_width=6)
    table.add_column(no_wrap=True, min_width=13)
    table.add_column(no_wrap=True, min_width=max(map(len, names)))
    table.add_column(ratio=1, overflow="fold")
    if hidden:
        table.add_row("", "", "", "", Text(f"{hidden} earlier facts are not shown: --limit 0 shows all", "dim"))
    before = row.facts[max(0, hidden - 1)].at_s
    for fact, name in zip(shown, names, strict=True):
        passed, before = fact.at_s - before, fact.at_s
        lane = Text(f"│ {cut(fact.now, 11)}" if fact.now != fact.was else "│", STATES.get(fact.now, ""))
        gap = Text(f"+{passed * 1000:.0f}" if 0 < passed < 100 else "", "bright_black")
        table.add_row(Text(f"{fact.at_s:.3f}"), gap, lane, name, details(fact))
    return table


def named(fact: FactRow) -> Text:
    """The fact's name; one that came too late or should not be says so."""
    name = Text(cut(fact.event, 24), "bold" if fact.now != fact.was else "")
    verdict, style = VERDICTS.get(fact.verdict, ("", ""))
    return name.append(f" {verdict}", style) if verdict else name


def details(fact: FactRow) -> Text:
    """What the fact tells, and the orders that followed."""
    text = fields(fact.fields)
    for effect in fact.effects:
        told = fields({name: value for name, value in effect.items() if name != "type"}, "bright_black")
        text.append("\n" if text else "").append("→ ", "dim").append(clean(str(effect.get("type", ""))), "bright_blue")
        text.append(" ").append_text(told)
    return text


def fields(told: Mapping[str, Any], style: str = "dim") -> Text:
    """Names and values; what is empty is left out."""
    text = Text()
    for name, value in told.items():
        if value in ("", None) or (name == "retry_of" and not value):
            continue
        shown = cut(f"“{value}”" if isinstance(value, str) and " " in value else str(value), VALUE_CHARS)
        text.append("  " if text else "").append(f"{cut(name, 40)} ", style).append(shown)
    return text
