"""Conversations as timelines: what was said, thought, held and called, on one axis."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence

from aura.tools.logs import report_lanes as lanes
from aura.tools.logs.model import CallRow, ConversationRow, TurnRow
from aura.tools.logs.report_figures import spread
from aura.tools.logs.report_html import Html, clock, count, cut, h, ms, number, when
from aura.tools.logs.report_lanes import Slice
from aura.tools.logs.report_plots import STEPS_S

NARROWEST_PX, WIDEST_PX = 1040, 16_000
PX_PER_S = 14.0
"""Long conversations are drawn at this scale, to be scrolled."""
PIECES = 16_000
"""Elements of all timelines together: a browser stays quick, and a file below 5 MB."""
PIECES_EACH = 4_000
CALL_LANES = 6
OPEN = 2
"""Timelines that are open when the page is."""
STATES = ("idle", "listening", "thinking", "speaking", "interrupted")
MARKS_Y, STATE_Y, USER_Y, REPLY_Y, HEARD_Y, CALLS_Y = 9, 24, 38, 60, 82, 108
BAR, CALL, CALL_STEP = 16, 7, 10


def timelines(rows: Sequence[ConversationRow], limit: int, first: Collection[int]) -> tuple[list[Html], set[int]]:
    """The timelines that are worth most, `first` above all, in their order, and which conversations those are."""
    chosen: set[int] = set()
    left = PIECES
    ranked = sorted(range(len(rows)), key=lambda place: (place in first, *interest(rows[place])), reverse=True)
    for place in ranked[:limit]:
        if chosen and pieces(rows[place]) > left:
            continue
        chosen.add(place)
        left -= pieces(rows[place])
    shown = sorted(chosen)
    return [timeline(rows[place], place, opened=i < OPEN) for i, place in enumerate(shown)], chosen


def interest(row: ConversationRow) -> tuple[bool, int, float]:
    """What is looked at first: errors, then interruptions, then slow turns."""
    slowest = max((lanes.voice_to_voice(turn.times) for turn in row.turns), default=0.0)
    return bool(row.errors or row.lost), len(row.overlaps), slowest


def pieces(row: ConversationRow) -> int:
    """Elements that the drawing takes, about."""
    many = 12 * len(row.turns) + len(row.calls) + len(row.overlaps) + len(row.errors) + len(row.moves) // 4 + 40
    return min(many, PIECES_EACH)


def timeline(row: ConversationRow, place: int, *, opened: bool) -> Html:
    """One conversation: a line that says what there is, and its drawing."""
    return h("details", h("summary", *_summary(row)), _drawing(row), class_="conv", id=f"c{place}", open=opened)


def _summary(row: ConversationRow) -> Iterator[Html]:
    v2v = spread(lanes.voice_to_voice(turn.times) for turn in row.turns)
    yield h("code", cut(row.session, 60), title=row.session)
    facts = [when(lanes.started_s(row)), clock(lanes.length_s(row)), f"{count(len(row.turns))} turns"]
    if v2v.n:
        facts.append(f"p50 {ms(v2v.p50)}")
    if row.tenant:
        facts.append(cut(row.tenant, 30))
    yield h("span", [h("span", fact) for fact in facts], class_="facts")
    badges = (
        [h("b", f"{len(row.errors)} errors" if len(row.errors) > 1 else "1 error", class_="bad")] if row.errors else []
    )
    if row.overlaps:
        confirmed = sum(overlap.confirmed for overlap in row.overlaps)
        badges.append(h("b", f"{confirmed} of {len(row.overlaps)} interruptions meant", class_="over"))
    if row.lost:
        badges.append(h("b", f"{count(row.lost)} lines lost", class_="bad"))
    yield h("span", *badges, h("span", cut(row.outcome, 40), class_="outcome"), class_="badges")


def _drawing(row: ConversationRow) -> Html:
    long = max(lanes.length_s(row), 0.001)
    wide = min(max(NARROWEST_PX, long * PX_PER_S), WIDEST_PX)
    calls = call_lanes(row.calls)
    tall = CALLS_Y + CALL_STEP * max(1, len(calls)) + 26
    draw = Drawing(wide / long)
    inner = [
        draw.axis(long, tall),
        *draw.states(row),
        *draw.user(row),
        *(draw.turn(turn) for turn in row.turns[: PIECES_EACH // 12]),
        *(draw.heard(turn) for turn in row.turns if lanes.heard_ms(turn)),
        *draw.calls(calls),
        *draw.marks(row),
    ]
    names = [("", MARKS_Y), ("state", STATE_Y + 4), ("user", USER_Y + 8), ("wait", REPLY_Y + 8), ("reply", HEARD_Y + 8)]
    if calls:
        names.append(("calls", CALLS_Y + CALL_STEP * len(calls) // 2 - 2))
    labels = h("div", [h("span", name, style=f"top:{y}px") for name, y in names], class_="lanes")
    size: dict[str, str | float] = {
        "width": wide + 24,
        "height": tall,
        "viewBox": f"-4 0 {number(wide + 24)} {number(tall)}",
    }
    label = f"Timeline of {cut(row.session, 60)}"
    drawing = h("div", h("svg", inner, role="img", aria_label=label, **size), class_="scroll", tabindex="0")
    return h("div", labels, drawing, class_="timeline")


class Drawing:
    """Draws at a scale of so many pixels for a second."""

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def x(self, at_s: float) -> str:
        """Where a point in time is."""
        return number(lanes.seconds(at_s) * self._scale)

    def bar(self, piece: Slice, y: int, height: int, kind: str, tip: str | None = None, radius: int = 3) -> Html:
        """A slice as a bar, wide enough to be seen."""
        wide = max((piece.end_s - piece.begin_s) * self._scale, 1.5)
        size = {"x": self.x(piece.begin_s), "y": str(y), "width": number(wide), "height": str(height)}
        return h("rect", class_=kind, rx=min(radius, wide / 2), data_tip=tip, **size)

    def axis(self, long: float, tall: int) -> Html:
        """Lines and times."""
        step = next((step for step in STEPS_S if step * self._scale >= 80), math.ceil(90 / self._scale))
        times = [i * step for i in range(int(long / step) + 1)]
        lines = "".join(f"M{self.x(at)} 18V{tall - 20}" for at in times)
        texts = [h("text", clock(at), x=self.x(at), y=str(tall - 5)) for at in times]
        return h("g", h("path", d=lines), texts, class_="axis")

    def states(self, row: ConversationRow) -> Iterator[Html]:
        """The state lane: a path for each state, since there are many stretches."""
        ways: dict[str, list[str]] = {}
        drawn = 0.0
        for piece in lanes.state_slices(row):
            left, right = piece.begin_s * self._scale, piece.end_s * self._scale
            if right - left < 0.4 and left < drawn + 0.4:
                continue  # nobody could see it
            drawn = right
            ways.setdefault(piece.name, []).append(
                f"M{number(left)} {STATE_Y}h{number(max(right - left, 0.5))}v8H{number(left)}z"
            )
        for name, way in ways.items():
            yield h("path", d="".join(way), class_=f"s-{name}" if name in STATES else "s-idle")

    def user(self, row: ConversationRow) -> Iterator[Html]:
        """Where the user spoke."""
        said = {turn.times.turn: turn.said for turn in row.turns if turn.said}
        for piece in lanes.user_slices(row)[:PIECES_EACH]:
            words = next((text for turn, text in said.items() if piece.name == f"user, turn {turn}"), "")
            tip = f"{piece.name}\n{span_text(piece)}" + (f"\n“{cut(words, 200)}”" if words else "")
            kind = "user no" if piece.name.endswith("dismissed") else "user"
            yield self.bar(piece, USER_Y, BAR, kind, tip, 5)

    def turn(self, turn: TurnRow) -> Html:
        """From the user's last sound to the reply's first, in its parts."""
        inner = [self.bar(piece, REPLY_Y, BAR, f"p-{piece.name}", None, 1) for piece in lanes.part_slices(turn)]
        named = [f"{lanes.LABELS[name]} {value:,.0f}" for name, value in lanes.parts(turn.times) if value >= 0.5]
        tip = f"turn {turn.times.turn}: {ms(lanes.voice_to_voice(turn.times))} voice to voice\n{' · '.join(named)}"
        return h("g", inner, data_tip=tip)

    def heard(self, turn: TurnRow) -> Html:
        """What was heard of the reply."""
        piece = lanes.heard_slice(turn)
        assert piece
        tip = f"reply {turn.times.reply}, {turn.outcome}\nheard for {ms(lanes.heard_ms(turn))}"
        return self.bar(piece, HEARD_Y, BAR, f"heard {turn.outcome}", tip, 5)

    def calls(self, found: Sequence[Sequence[tuple[Slice, CallRow]]]) -> Iterator[Html]:
        """Provider calls; those that overlap below each other."""
        for i, lane in enumerate(found):
            for piece, call in lane:
                kind = "ok" if call.outcome in ("ok", "") else "cancelled" if call.outcome == "cancelled" else "bad"
                first = "" if call.ttfb_ms is None else f", first byte after {ms(call.ttfb_ms)}"
                tokens = f"\n{call.input_tokens} tokens in, {call.output_tokens} out" if call.input_tokens else ""
                took = f"{ms(call.total_ms)}{first}"
                tip = f"{call.part} · {cut(call.provider, 40)}: {cut(call.outcome, 40)}\n{took}{tokens}"
                yield self.bar(piece, CALLS_Y + i * CALL_STEP, CALL, f"call {kind} k-{part_of(call)}", tip, 3)

    def marks(self, row: ConversationRow) -> Iterator[Html]:
        """Decisions about speech over the reply, and errors."""
        for overlap in row.overlaps[:PIECES_EACH]:
            what = "interruption" if overlap.confirmed else "dismissed"
            tip = f"{what}: {cut(overlap.why, 80)}\nvoiced {overlap.voiced_ms} ms, held {overlap.held_ms} ms"
            at = float(self.x(overlap.at_s))
            d = f"M{number(at)} {MARKS_Y - 5}l5 5l-5 5l-5-5z"
            yield h("path", d=d, class_=f"mark-{'yes' if overlap.confirmed else 'no'}", data_tip=tip)
        for error in row.errors[:PIECES_EACH]:
            at = float(self.x(error.at_s or 0.0))
            tip = f"{cut(error.provider, 40)}: {cut(error.code, 60)}\n{cut(' '.join((error.where, error.text)), 200)}"
            d = f"M{number(at - 4)} {MARKS_Y - 4}l8 8m0-8l-8 8"
            yield h("path", d=d, class_="mark-bad", data_tip=tip)


def part_of(call: CallRow) -> str:
    """The part of a call as a name for a colour."""
    return call.part if call.part in ("stt", "chat", "tts", "tool") else "other"


def call_lanes(calls: Iterable[CallRow]) -> list[list[tuple[Slice, CallRow]]]:
    """Calls on as few lanes as they need; what would need more lanes than are drawn is left out."""
    found: list[list[tuple[Slice, CallRow]]] = []
    for call in sorted(calls, key=lambda call: lanes.seconds(call.at_s))[:PIECES_EACH]:
        begin = lanes.seconds(call.at_s)
        piece = Slice(begin, begin + lanes.seconds(call.total_ms) / 1000, call.part)
        lane = next((lane for lane in found if lane[-1][0].end_s <= begin), None)
        if lane is not None:
            lane.append((piece, call))
        elif len(found) < CALL_LANES:
            found.append([(piece, call)])
    return found


def span_text(piece: Slice) -> str:
    """From when to when."""
    return f"{piece.begin_s:.2f}–{piece.end_s:.2f} s, {ms((piece.end_s - piece.begin_s) * 1000)}"
