"""The HTML report of conversations: one file that needs nothing else, to be kept, mailed and printed."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from aura.tools.logs import report_plots as plots
from aura.tools.logs.model import ConversationRow
from aura.tools.logs.prices import Cost, Prices
from aura.tools.logs.report_figures import NO_PRICES, Figures, Seen, Usage
from aura.tools.logs.report_file import written
from aura.tools.logs.report_html import Html, Inner, card, count, cut, empty, h, join, length, ms, table, when
from aura.tools.logs.report_lanes import LABELS
from aura.tools.logs.report_timeline import STATES, timelines

TIMELINES = 50
SLOWEST = 12
KINDS = 40
"""Rows of a table of errors, reasons or providers."""
SECONDS_BELOW_S = 600
"""Times are written with their seconds where all took less."""


def write_html(
    rows: Sequence[ConversationRow], path: Path, *, limit: int = TIMELINES, prices: Prices = NO_PRICES
) -> None:
    """Write the report, with timelines of at most `limit` conversations, and costs if there are prices.

    Raises ExportFailed.
    """
    data = page(Figures(rows, prices), limit).encode(errors="replace")
    with written(path) as out:
        out.write(data)


def page(figures: Figures, limit: int) -> str:
    """The whole document. Its policy allows the one script that is in it and nothing from elsewhere."""
    template = files("aura.tools.logs").joinpath("report.html").read_text(encoding="utf-8")
    found = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    assert found
    script = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    many = len(figures.rows)
    parts = {
        "title": join(f"AURA · {count(many)} conversation{'' if many == 1 else 's'}"),
        "policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'",
        "range": join(period(figures)),
        "body": join(body(figures, limit)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def body(figures: Figures, limit: int) -> list[Html]:
    """Everything below the head of the page."""
    if not figures.rows:
        return [empty("No conversations: the logs that were read hold none, or the filters left none.")]
    shown, places = timelines(figures.rows, limit, {seen.place for seen in figures.slowest[:SLOWEST]})
    top = [headline(figures)]
    if not figures.turns:
        return [*top, *trouble(figures), conversations(figures, shown)]
    return [*top, *latency(figures), slowest(figures, places), *trouble(figures), conversations(figures, shown)]


def period(figures: Figures) -> str:
    """From when to when."""
    if figures.range is None:
        return ""
    begin, end = figures.range
    time = "%H:%M:%S" if end - begin < SECONDS_BELOW_S else "%H:%M"
    short = when(end, time) if when(begin, "%F") == when(end, "%F") else when(end, f"%-d %b %Y, {time}")
    return f"{when(begin, f'%-d %b %Y, {time}')} – {short} UTC"


# ---- headline


def headline(figures: Figures) -> Html:
    """The figures that are looked at first."""
    v2v, turns = figures.v2v, len(figures.turns)
    bad = " bad" if figures.errors else ""
    tiles = [
        tile("Conversations", count(len(figures.rows)), f"{length(figures.talked_s)} together"),
        tile("Turns", count(turns), drafts(figures)),
        tile(
            "Interruptions",
            count(figures.confirmed),
            f"meant, {count(len(figures.overlaps) - figures.confirmed)} dismissed",
        ),
        tile(
            "Errors",
            count(figures.errors),
            f"in {count(hit(figures))} conversations" if figures.errors else "none",
            bad,
        ),
        tile(
            "Lines lost",
            count(figures.lost),
            "missing from the logs" if figures.lost else "nothing is missing",
            " bad" if figures.lost else "",
        ),
    ]
    value, unit = (f"{v2v.p50:,.0f}", "ms") if v2v.p50 is not None else ("–", "")
    hero = [
        h("h2", "Voice to voice"),
        h("p", value, h("small", unit), class_="figure"),
        h(
            "dl",
            [
                h("div", h("dt", name), h("dd", ms(found)))
                for name, found in (("p95", v2v.p95), ("p99", v2v.p99), ("slowest", v2v.max))
            ],
        ),
        h("p", "Median time from the user’s last sound to the first sound of the answer", class_="hint"),
    ]
    return h(
        "div", h("section", hero, class_="card hero"), h("div", tiles, class_="tiles"), class_="head", id="overview"
    )


def tile(name: str, value: str, detail: str, kind: str = "") -> Html:
    """One figure."""
    return h(
        "section",
        h("h2", name),
        h("p", value, class_="figure"),
        h("p", detail, class_="hint"),
        class_=f"card tile{kind}",
    )


def drafts(figures: Figures) -> str:
    """How many turns were answered from a draft that was begun while the user still might have gone on."""
    if not figures.turns:
        return "none was answered"
    return f"{100 * sum(seen.turn.times.draft for seen in figures.turns) / len(figures.turns):.0f} % from drafts"


def hit(figures: Figures) -> int:
    """Conversations with an error."""
    return sum(bool(row.errors) for row in figures.rows)


# ---- latency


def latency(figures: Figures) -> list[Html]:
    """Over time, its distribution, and where it goes."""
    turns = len(figures.turns)
    drawn = (
        f"{count(plots.POINTS)} of {count(turns)} turns drawn, the slowest among them" if turns > plots.POINTS else ""
    )
    keys = [
        ("dot plain", "turn"),
        ("dot draft", "from a draft"),
        ("dot failed", "failed"),
        ("key p50", "p50"),
        ("key p95", "p95"),
    ]
    return [
        card(
            "Voice to voice over time", legend(keys), plots.over_time(figures), note=drawn, ident="latency", wide=True
        ),
        card(
            "Distribution",
            plots.histogram([seen.v2v_ms for seen in figures.turns], figures.v2v),
            note="turns by milliseconds",
        ),
        card("Where the time goes", plots.waterfall(figures), note="means sum to voice to voice"),
    ]


def legend(keys: Sequence[tuple[str, str]]) -> Html:
    """What colours mean."""
    return h("p", [h("span", h("i", class_=kind), name) for kind, name in keys], class_="legend")


def slowest(figures: Figures, places: set[int]) -> Html:
    """The slowest turns, each with its parts."""
    turns = figures.slowest[:SLOWEST]
    end = turns[0].v2v_ms or 1.0
    words = any(seen.turn.said for seen in turns)
    rows = []
    for seen in turns:
        row: list[Inner] = [
            where(seen, places),
            h("b", ms(seen.v2v_ms)),
            strip(seen, end),
            when(seen.at),
            seen.turn.outcome,
        ]
        rows.append([*row, cut(seen.turn.said, 80)] if words else row)
    keys = [(f"key p-{part.name}", LABELS[part.name]) for part in figures.parts]
    heads = ["Turn", "Voice to voice", "Parts", "When (UTC)", "Outcome", *(["Said"] if words else [])]
    return card("Slowest turns", legend(keys), table(heads, rows, left=9), wide=True)


def where(seen: Seen, places: set[int]) -> Html:
    """The turn, as a link where its conversation is drawn below."""
    name = h("code", cut(seen.row.session, 28), title=seen.row.session)
    link = h("a", name, href=f"#c{seen.place}") if seen.place in places else name
    return h("span", link, h("small", f" turn {seen.turn.times.turn}"))


def strip(seen: Seen, end: float) -> Html:
    """The parts of one turn as a bar."""
    parts = [
        h("i", class_=f"p-{name}", style=f"width:{100 * value / end:.2f}%") for name, value in seen.parts if value > 0
    ]
    return h("span", parts, class_="strip", data_tip=plots.turn_tip(seen))


# ---- what went wrong, interruptions, providers


def trouble(figures: Figures) -> list[Html]:
    """Interruptions, errors and providers."""
    return [interruptions(figures), reasons(figures), errors(figures), usage(figures)]


def interruptions(figures: Figures) -> Html:
    """Each decision by its numbers."""
    if not figures.overlaps:
        return card("Interruptions", empty("Nobody spoke over a reply."), ident="interruptions")
    keys = legend([("dot yes", "meant"), ("dot no", "dismissed")])
    axes = "across: ms of voice, up: ms the output was held"
    return card("Interruptions", keys, plots.scatter(figures), note=axes, ident="interruptions")


def reasons(figures: Figures) -> Html:
    """Why speech over a reply was an interruption or not."""
    if not figures.reasons:
        return card("How they were judged", empty("No decisions."))
    most = max(yes + no for _, yes, no in figures.reasons)

    def bar(yes: int, no: int) -> Html:
        shares = (("yes", yes), ("no", no))
        parts = [h("i", class_=kind, style=f"width:{100 * n / most:.2f}%") for kind, n in shares if n]
        return h("span", parts, class_="strip", data_tip=f"{count(yes)} meant, {count(no)} dismissed")

    rows = [[cut(why, 60), bar(yes, no), count(yes), count(no)] for why, yes, no in figures.reasons[:KINDS]]
    return card("How they were judged", table(["Why", "", "Meant", "Dismissed"], rows, left=2), note="by reason")


def errors(figures: Figures) -> Html:
    """Errors by provider and code, and how conversations ended."""
    kinds = figures.failures[:KINDS]
    rows = [
        [
            h("b", cut(kind.provider, 40)),
            h("code", cut(kind.code, 40)),
            cut(" · ".join(filter(None, (kind.where, kind.text))), 160),
            count(kind.count),
            count(len(kind.sessions)),
            when(kind.last),
        ]
        for kind in kinds
    ]
    heads = ["Provider", "Code", "Where", "Count", "Conversations", "Last (UTC)"]
    found = table(heads, rows, left=3) if rows else empty("No errors.")
    ends = [h("span", h("b", count(n)), " ", cut(outcome, 50)) for outcome, n in figures.outcomes[:8]]
    return card("Errors", found, h("p", "How they ended: ", ends, class_="ends"), ident="errors", wide=True)


def usage(figures: Figures) -> Html:
    """What was asked of whom."""
    if not figures.usage:
        return card("Providers", empty("The logs tell of no provider calls."), ident="providers", wide=True)
    first = ["First byte p50", "p95", "Whole p50"]
    heads = ["Part", "Provider", "Calls", "Failed", "Cancelled", *first, "Tokens in", "cached", "out", "Chars", "Audio"]
    heads += [f"Cost, {figures.prices.currency}"] if figures.cost else []
    rows = [used(use) for use in figures.usage[:KINDS]]
    note = together(figures.cost, figures.prices.currency) if figures.cost else ""
    return card("Providers", table(heads, rows, left=2), note=note, ident="providers", wide=True)


def used(use: Usage) -> list[Inner]:
    """A row of the table of providers."""
    kind = use.part if use.part in ("stt", "chat", "tts", "tool") else "other"
    numbers = (use.input_tokens, use.cached_tokens, use.output_tokens, use.chars)
    row: list[Inner] = [
        h("span", h("i", class_=f"key k-{kind}"), cut(use.part, 20)),
        cut(use.provider, 40),
        count(use.calls),
        h("span", count(use.failed), class_="bad" if use.failed else None),
        count(use.cancelled),
        *(ms(value) for value in (use.first.p50, use.first.p95, use.total.p50)),
        *(count(value) if value else "–" for value in numbers),
        length(use.audio_s) if use.audio_s else "–",
    ]
    if use.cost:
        row.append("no price" if use.cost.unknown else f"{use.cost.amount:,.4f}")
    return row


def together(cost: Cost, currency: str) -> str:
    """The sum, and whose prices are not known."""
    missing = f", without {', '.join(cut(name, 30) for name in cost.unknown[:5])}" if cost.unknown else ""
    return f"{cost.amount:,.4f} {currency} together{missing}"


# ---- conversations


def conversations(figures: Figures, shown: list[Html]) -> Html:
    """The timelines."""
    some = len(shown) < len(figures.rows)
    note = (
        f"{count(len(shown))} of {count(len(figures.rows))}: slow turns, errors and interruptions first" if some else ""
    )
    states = legend([(f"key s-{state}", state) for state in STATES])
    marks = legend(
        [
            ("key user", "user speaks"),
            ("key heard", "reply heard"),
            ("dot yes", "interruption"),
            ("dot no", "dismissed"),
        ]
    )
    search = h("input", type="search", id="find", placeholder="Find a conversation…", aria_label="Find a conversation")
    more = h("button", "Open all", type="button", id="all", hidden=True)
    tools = h("div", search, more, class_="tools")
    return card("Conversations", tools, states, marks, *shown, note=note, ident="conversations", wide=True)
