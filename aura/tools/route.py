"""`aura route`: what kind of question it is, and which language model would answer it. Nobody is asked."""

from __future__ import annotations

from time import perf_counter, strftime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aura.config import Config
from aura.core.routing.choose import Budget, Choice, choose
from aura.core.routing.classify import classify
from aura.core.routing.query import Query
from aura.providers.router.opening import candidate_of
from aura.providers.routing_data import prices, rules
from aura.providers.tools.builtin import default_toolbox

TYPICAL_INPUT_TOKENS = 600
"""Instructions and a few turns."""


def run(config: Config, text: str, console: Console | None = None) -> int:
    """Print the query and the ranking; 0 when somebody can answer."""
    console = console or Console()
    known, table = rules(), prices()
    tools = [tool.name for tool in default_toolbox().tools()] if config.tools.builtin else []
    began = perf_counter()
    query = classify(text, known, tools=tools)
    took_ms = (perf_counter() - began) * 1000
    candidates = [candidate_of("chat", one, table, config.router) for one in config.chosen("chat")]
    budget = Budget(today=strftime("%Y-%m-%d"), input_tokens=TYPICAL_INPUT_TOKENS)
    choice = choose(candidates, query, {}, budget, known.strategy(config.router.strategy))
    console.print(query_table(query, took_ms))
    console.print(choice_table(choice, config.router.strategy))
    return 0 if choice.order else 1


def query_table(query: Query, took_ms: float) -> Table:
    """What was found out about it."""
    table = Table(
        "kind", "tier", "language", "tools", "personal", "timely", "sure", "by", title=f"Query ({took_ms:.2f} ms)"
    )
    flags = ["yes" if flag else "no" for flag in (query.needs_tools, query.personal, query.timely)]
    table.add_row(
        query.kind, query.tier, query.language or "?", *flags, f"{query.confidence:.0%}", ", ".join(query.why)
    )
    return table


def choice_table(choice: Choice, strategy: str) -> Table:
    """Who would be asked first, and why not the others."""
    table = Table("", "engine/model", "score", "first word", "USD", "why not", title=f"Language models, {strategy}")
    reasons = {rejected.key: f"{rejected.reason}: {rejected.detail}" for rejected in choice.rejected}
    for place, scored in enumerate(choice.order, 1):
        cost = "?" if scored.cost_usd is None else f"{scored.cost_usd:.6f}"
        key = scored.candidate.key
        why = escape(reasons.pop(key, ""))
        table.add_row(str(place), escape(key), f"{scored.score:.2f}", f"{scored.ttft_s:.2f} s", cost, why)
    for key, why in reasons.items():
        table.add_row("-", escape(key), "", "", "", escape(why))
    return table
