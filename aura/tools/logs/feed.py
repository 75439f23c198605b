"""One line for each thing that happens, for `--follow`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from aura.core.timing import PARTS
from aura.tools.logs import cells, views
from aura.tools.logs.cells import Clock, cut, seconds, short
from aura.tools.logs.exact import TOTAL, shown
from aura.tools.logs.facts import STATES, details
from aura.tools.logs.follow import News
from aura.tools.logs.model import ConversationRow
from aura.tools.logs.problems import clean
from aura.tools.logs.views import Look
from aura.tools.logs.waterfall import COLORS, HEADINGS, Bars

BAR_MS, BAR_CELLS = 1600.0, 24
"""A bar of full width; longer turns have longer bars, up to twice as long."""
SHOWN: dict[str, frozenset[str]] = {
    "conversations": frozenset({"began", "turn", "overlap", "error", "ended"}),
    "turns": frozenset({"turn"}),
    "errors": frozenset({"error"}),
    "interruptions": frozenset({"overlap"}),
    "facts": frozenset({"fact"}),
    "cost": frozenset({"ended"}),
}
"""What of the news belongs to a view."""


def kinds(names: Collection[str]) -> frozenset[str]:
    """What is told where these views were asked for."""
    return frozenset().union(*(SHOWN[name] for name in names))


def data(news: News) -> dict[str, Any]:
    """Something new as JSON: the line of its view, and which kind it is."""
    return {"kind": news.kind, **msgspec.structs.asdict(view_line(news))}


def view_line(news: News) -> msgspec.Struct:
    """Something new as a line of its view."""
    row, index = news.row, news.index
    if news.kind in ("began", "ended"):
        return views.conversations(Look([row]))[0]
    if news.kind == "turn":
        return views.turn_line(row, row.turns[index])
    name = {"overlap": "overlaps", "error": "errors", "fact": "facts"}[news.kind]
    empty: dict[str, Any] = {"turns": [], "overlaps": [], "errors": [], "facts": []}
    alone = ConversationRow(row.session, row.started, **{**empty, name: [getattr(row, name)[index]]})
    make: Any = {"overlap": views.interruptions, "error": views.errors, "fact": views.facts}[news.kind]
    line: msgspec.Struct = make(Look([alone]))[0]
    return line


def text(news: News, console: Console) -> Text:
    """Something new for people."""
    row, line = news.row, view_line(news)
    head = Text.assemble(Clock([])(news.time), "  ", (short(row.session), "cyan"), "  ")
    if isinstance(line, views.TurnLine):
        return head.append_text(_turn(line, console))
    if isinstance(line, views.InterruptionLine):
        verdict = ("stopped  ", "yellow") if line.interrupted else ("went on  ", "green")
        head.append(*verdict).append(cells.because(line))
        return head.append(f"  ({line.needed_ms} ms suffice)" if line.needed_ms else "", "dim")
    if isinstance(line, views.ErrorLine):
        head.append("error    ", "bold bright_red").append(f"{clean(line.provider)} {clean(line.code)}", "bold")
        return head.append(f"  {clean(line.where)}  {clean(line.text)}", "dim")
    if isinstance(line, views.FactLine):
        fact = row.facts[news.index]
        state = Text(cut(fact.now, 11).ljust(12), STATES.get(fact.now, ""))
        return (
            head.append(f"{fact.at_s:8.3f}  ")
            .append_text(state)
            .append(f"{clean(fact.event):<18}")
            .append_text(Text(" ").join([details(fact)]))
        )
    return head.append_text(_conversation(line, news.kind))


def _turn(line: views.TurnLine, console: Console) -> Text:
    ms = [line.parts_ms[name] for name in PARTS]
    parts, total = shown({**line.parts_ms, TOTAL: line.voice_to_voice_ms})
    width = min(2 * BAR_CELLS, max(1, round(BAR_CELLS * total / BAR_MS)))
    bar = Bars(console).parts(ms, line.voice_to_voice_ms, width)
    text = Text.assemble(("turn     ", "bold"), (f"{total:>5} ms  ", "bold"), bar, " " * max(1, BAR_CELLS + 1 - width))
    for name, part in zip(PARTS, parts, strict=True):
        if part:
            text.append(f" {HEADINGS[name]} ", COLORS[name]).append(str(part))
    return text


def _conversation(line: Any, kind: str) -> Text:
    if kind == "began":
        return Text("began", "dim")
    told = [cells.count(line.turns, "turn"), cells.count(line.interruptions, "barge-in")]
    if line.errors:
        told.append(cells.count(line.errors, "error"))
    if line.v2v_p50_ms is not None:
        told.append(f"p50 {line.v2v_p50_ms:.0f} ms")
    return Text.assemble("ended    ", cells.outcome(line.outcome), f"  {seconds(line.length_s)}, {', '.join(told)}")
