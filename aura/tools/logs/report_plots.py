"""Plots of the report as SVG, drawn in a square of 1000 by 1000 that the page stretches; the text around is HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from aura.tools.logs.report_figures import Figures, Seen, Spread, spread
from aura.tools.logs.report_html import Html, Inner, count, cut, h, ms, number, when
from aura.tools.logs.report_lanes import LABELS, seconds

POINTS = 2000
"""Drawn at most; the slowest turns are always among them."""
BUCKETS, EACH = 36, 16
TREND_FROM = 72
"""Turns that are needed before medians over time say anything: at most BUCKETS stretches, of EACH turns or more."""
BINS = 40
DAY_S = 86_400
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY_S)


class Tick(msgspec.Struct, frozen=True):
    """A mark on an axis; `at` from 0 to 1."""

    at: float
    text: str


def frame(inner: Inner, label: str, x: Sequence[Tick], y: Sequence[Tick], marks: Sequence[Html] = ()) -> Html:
    """A drawing with its axes."""
    grid = h("path", d="".join(f"M0 {number(1000 - 1000 * tick.at)}H1000" for tick in y), class_="grid")
    drawing = h("svg", grid, inner, viewBox="0 0 1000 1000", preserveAspectRatio="none", aria_hidden="true")
    ticks = [h("span", tick.text, class_="ty", style=f"bottom:{tick.at * 100:.2f}%") for tick in y]
    ticks += [
        h("span", tick.text, class_="tx odd" if i % 2 else "tx", style=f"left:{tick.at * 100:.2f}%")
        for i, tick in enumerate(x)
    ]
    return h("div", h("div", drawing, ticks, marks, class_="area"), class_="plot", role="img", aria_label=label)


def ticks(top: float, wanted: int = 4, unit: str = "") -> list[Tick]:
    """Round values from 0 to `top`."""
    step = nice(top / wanted)
    return [Tick(i * step / top, f"{i * step:,.0f}{unit}") for i in range(math.floor(top / step + 1e-9) + 1)]


def nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10, 20, … that is not smaller."""
    if value <= 1:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def top_of(values: Spread) -> float:
    """The end of an axis for these values: a few far out do not press all others together."""
    high = values.max or 1.0
    limit = max((values.p99 or high) * 1.15, (values.p95 or high) * 1.4)
    return ceiling(min(high * 1.05, limit))


def ceiling(value: float) -> float:
    """A round number that is not smaller and leaves little empty."""
    step = nice(value / 8)
    return max(step, math.ceil(value / step) * step)


# ---- voice to voice over time


def over_time(figures: Figures) -> Html:
    """A point for each turn, and how the median and the 95th percentile went."""
    timed = sorted((seen for seen in figures.turns if seen.at is not None), key=lambda seen: seen.at or 0)
    turns = timed or figures.turns
    top = top_of(figures.v2v)
    first, last = (timed[0].at or 0, timed[-1].at or 0) if timed else (0.0, float(len(turns) - 1))
    pad = max((last - first) * 0.015, 0.5)
    left, right = first - pad, last + pad

    def x(at: float) -> float:
        return (at - left) / (right - left)

    places = [x(seen.at if timed and seen.at is not None else float(i)) for i, seen in enumerate(turns)]
    chosen = sample(turns)
    points = [_point(seen, place, top) for seen, place in zip(turns, places, strict=True) if id(seen) in chosen]
    axis = time_ticks(left, right) if timed else turn_ticks(left, right)
    inner = [*trend(turns, places, top), *points]
    return frame(inner, "Voice to voice of each turn over time", axis, ticks(top), [limit_mark(figures.v2v, top)])


def sample(turns: Sequence[Seen]) -> set[int]:
    """The ids of the turns that are drawn: all, or the slowest and an even choice of the others."""
    if len(turns) <= POINTS:
        return {id(seen) for seen in turns}
    slowest = sorted(turns, key=lambda seen: -seen.v2v_ms)[: POINTS // 8]
    step = len(turns) / (POINTS - len(slowest))
    even = (turns[int(i * step)] for i in range(POINTS - len(slowest)))
    return {id(seen) for seen in (*slowest, *even)}


def _point(seen: Seen, place: float, top: float) -> Html:
    over = seen.v2v_ms > top
    kind = "failed" if seen.turn.outcome == "failed" else "draft" if seen.turn.times.draft else "plain"
    height = 1000 - 1000 * min(seen.v2v_ms / top, 0.985)
    path = f"M{number(place * 1000)} {number(height)}h0"
    return h("path", d=path, class_=f"dot {kind}{' over' if over else ''}", data_tip=turn_tip(seen))


def turn_tip(seen: Seen) -> str:
    """What is shown when somebody points at a turn."""
    named = [f"{LABELS[name]} {value:,.0f}" for name, value in seen.parts if value >= 0.5]
    draft = ", from a draft" if seen.turn.times.draft else ""
    place = f"{cut(seen.row.session, 40)}, turn {seen.turn.times.turn}"
    return "\n".join([f"{ms(seen.v2v_ms)} voice to voice{draft}", " · ".join(named), place, when(seen.at)])


def trend(turns: Sequence[Seen], places: Sequence[float], top: float) -> list[Html]:
    """Median and 95th percentile: of stretches of time where there are many turns, else of all."""
    many = min(BUCKETS, len(turns) // EACH) if len(turns) >= TREND_FROM else 1
    buckets: list[list[float]] = [[] for _ in range(many)]
    for seen, place in zip(turns, places, strict=True):
        buckets[min(int(place * len(buckets)), len(buckets) - 1)].append(seen.v2v_ms)
    middle: dict[str, list[tuple[float, float]]] = {"p95": [], "p50": []}
    for i, values in enumerate(buckets):
        if len(values) >= min(3, len(turns)):
            found = spread(values)
            middle["p50"].append(((i + 0.5) / len(buckets), found.p50 or 0))
            middle["p95"].append(((i + 0.5) / len(buckets), found.p95 or 0))
    return [
        h("path", d=_line([(0.0, way[0][1]), *way, (1.0, way[-1][1])], top), class_=f"line {name}")
        for name, way in middle.items()
        if way
    ]


def _line(way: Sequence[tuple[float, float]], top: float) -> str:
    return "M" + "L".join(f"{number(x * 1000)} {number(1000 - 1000 * min(y / top, 1))}" for x, y in way)


def limit_mark(values: Spread, top: float) -> Html:
    """Says that some are further out than the plot reaches."""
    beyond = (values.max or 0) > top
    return h("span", f"↑ slowest {ms(values.max)}", class_="beyond") if beyond else Html("")


def time_ticks(left: float, right: float) -> list[Tick]:
    """Round times of day, or days."""
    span = right - left
    step = next((step for step in STEPS_S if span / step <= 6), DAY_S * math.ceil(span / DAY_S / 6))
    form = "%-d %b" if step >= DAY_S else "%H:%M:%S" if step < 60 else "%H:%M" if span < DAY_S else "%-d %b %H:%M"
    begin = math.ceil(left / step) * step
    return [
        Tick((at - left) / span, when(at, form))
        for at in (begin + i * step for i in range(int(span / step) + 1))
        if at <= right
    ]


def turn_ticks(left: float, right: float) -> list[Tick]:
    """Numbers of turns, where no time is known."""
    step = max(1, int(nice((right - left) / 6)))
    return [Tick((i - left) / (right - left), f"#{i + 1}") for i in range(0, int(right) + 1, step)]


# ---- distribution


def histogram(values: Sequence[float], known: Spread) -> Html:
    """How many turns took how long, with the median and the 95th percentile."""
    top = top_of(known)
    width = nice(top / BINS)
    bins = [0] * math.ceil(top / width + 1e-9)
    for value in values:
        bins[min(int(value / width), len(bins) - 1)] += 1
    end, most = width * len(bins), max(bins)
    tall = ceiling(most * 1.08)
    bars = []
    for i, found in enumerate(bins):
        if found:
            upto = (
                f"{i * width:,.0f} ms and more" if i == len(bins) - 1 else f"{i * width:,.0f}–{(i + 1) * width:,.0f} ms"
            )
            left, height = i * 1000 / len(bins), 1000 * found / tall
            size = {"x": left, "y": 1000 - height, "width": 1000 / len(bins), "height": height}
            share = f"{100 * found / len(values):.1f} % of the turns"
            bars.append(h("rect", class_="bar", data_tip=f"{upto}\n{count(found)} turns, {share}", **size))
    marks = [quantile_mark(name, value, end) for name, value in (("p50", known.p50), ("p95", known.p95))]
    label = "Distribution of voice to voice"
    return frame(bars, label, ticks(end, 5), ticks(tall, 3), marks)


def quantile_mark(name: str, value: float | None, end: float) -> Html:
    """A vertical line with its number."""
    share = min((value or 0) / end, 1)
    text = h("b", f"{name} {ms(value)}")
    return h("span", text, class_=f"mark {name}{' flip' if share > 0.7 else ''}", style=f"left:{share * 100:.2f}%")


# ---- parts


def waterfall(figures: Figures) -> Html:
    """Where the time goes: each part begins where the mean of those before it ends; the thin bar reaches its p95."""
    whole, total = figures.v2v, figures.v2v.mean or 0.0
    starts = [sum(part.mean for part in figures.parts[:i]) for i in range(len(figures.parts))]
    reach = [start + max(part.mean, part.p95) for start, part in zip(starts, figures.parts, strict=True)]
    end = max([total, whole.p95 or 0, *reach, 1.0])
    rows = [
        _fall(LABELS[part.name], f"p-{part.name}", start, part.mean, part.p95, end, total)
        for start, part in zip(starts, figures.parts, strict=True)
    ]
    heads = [h("span", text) for text in ("", "", "mean", "p95")]
    sum_ = _fall("voice to voice", "p-total", 0.0, total, whole.p95 or 0, end, total)
    return h("div", h("div", heads, class_="fall head"), rows, h("div", sum_, class_="sum"), class_="falls")


def _fall(name: str, kind: str, start: float, mean: float, p95: float, end: float, total: float) -> Html:
    def place(begin: float, long: float) -> str:
        return f"left:{100 * begin / end:.2f}%;width:{100 * long / end:.2f}%"

    bars = [
        h("i", class_=f"reach {kind}", style=place(start, max(p95, mean))),
        h("i", class_=f"mean {kind}", style=place(start, mean)),
    ]
    share = f"{100 * mean / total:.0f} % of the mean" if total else ""
    tip = f"{name}\nmean {ms(mean)}, p95 {ms(p95)}\n{share}"
    cells = [h("span", name, class_="name"), h("span", bars, class_="track"), h("span", ms(mean)), h("span", ms(p95))]
    return h("div", cells, class_="fall", data_tip=tip)


# ---- interruptions


def scatter(figures: Figures) -> Html:
    """Each decision: how long somebody had spoken, and how long the output had been held."""
    shown = figures.overlaps[-POINTS:]
    wide = ceiling(max([1.0, *(seconds(o.voiced_ms) for _, o in shown)]) * 1.06)
    tall = ceiling(max([1.0, *(seconds(o.held_ms) for _, o in shown)]) * 1.08)
    points = []
    for row, o in shown:
        what = "interruption" if o.confirmed else "dismissed"
        said = "" if o.said is None else f"words: {o.said or 'none'}"
        echo = f"echo {100 * seconds(o.echo_share):.0f} %" if o.echo_share else ""
        numbers = f"voiced {o.voiced_ms} of {o.needed_ms} ms needed, then silent {o.silence_ms} ms, held {o.held_ms} ms"
        more = " · ".join(filter(None, (said, echo, cut(row.session, 40))))
        x, y = 1000 * seconds(o.voiced_ms) / wide, 1000 - 1000 * seconds(o.held_ms) / tall
        tip = f"{what}: {cut(o.why, 80)}\n{numbers}\n{more}"
        kind = "yes" if o.confirmed else "no"
        points.append(h("path", d=f"M{number(x)} {number(y)}h0", class_=f"dot {kind}", data_tip=tip))
    label = "Speech over a reply: time voiced and time held"
    return frame(points, label, ticks(wide, 5), ticks(tall, 4))
