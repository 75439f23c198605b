"""Bars for the terminal: where a turn's time went, and how near a number came to its limit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from rich.console import Console
from rich.style import Style
from rich.text import Text

from aura.core.timing import PARTS

COLORS = dict(zip(PARTS, ("bright_black", "cyan", "magenta", "bright_blue", "green", "yellow"), strict=True))
HEADINGS = dict(zip(PARTS, ("end", "stt", "llm", "sent", "tts", "out"), strict=True))
"""Short ones, for a narrow terminal."""
MEANINGS = dict(
    zip(
        PARTS,
        (
            "silence until a reply was begun",
            "words known",
            "first token",
            "first sentence",
            "first audio made",
            "until sent",
        ),
        strict=True,
    )
)
EIGHTHS = " ▏▎▍▌▋▊▉█"
SHADES, ASCII = "·░▒▓█─", ".-=+#~"
"""One sign for each part, where there are no colours."""


class Bars:
    """Draws bars for one console: eighths of a cell in colour, else one sign for each part."""

    def __init__(self, console: Console) -> None:
        self.ascii = console.options.ascii_only
        self.coloured = console.color_system is not None and not console.no_color and not self.ascii
        self.signs = ASCII if self.ascii else SHADES

    def parts(self, ms: Sequence[float], longest_ms: float, width: int) -> Text:
        """The parts of one turn; `longest_ms` fills the width."""
        scale = width / longest_ms if longest_ms > 0 else 0.0
        edges = [0.0, *accumulate(part * scale for part in ms)]
        if self.coloured:
            return _smooth(edges, list(COLORS.values()))
        ends = [round(edge) for edge in edges]
        return Text("".join(sign * (b - a) for sign, (a, b) in zip(self.signs, pairwise(ends), strict=True)))

    def gauge(self, value: float, limit: float, width: int, color: str) -> Text:
        """How much of a limit was reached; full where it is passed."""
        filled = width * min(1.0, value / limit) if limit > 0 else 0.0
        if self.coloured:
            return _smooth([0.0, filled, float(width)], [color, "grey23"])
        whole = round(filled)
        return Text((("#" if self.ascii else "█") * whole).ljust(width, "-" if self.ascii else "·"))

    def legend(self) -> Text:
        """What the colours or signs mean."""
        text = Text()
        for sign, part in zip(self.signs, PARTS, strict=True):
            mark = Text("■ " if self.coloured else f"{sign} ", COLORS[part] if self.coloured else "")
            text.append_text(mark).append(f"{HEADINGS[part]} ", "bold").append(f"{MEANINGS[part]}   ", "dim")
        text.rstrip()
        return text


def _smooth(edges: Sequence[float], colors: Sequence[str]) -> Text:
    """Segments side by side, exact to an eighth of a cell: a cell may hold the end of one and the start of the next."""
    text = Text()
    for cell in range(int(edges[-1] + 0.999)):
        inside = [
            (min(end, cell + 1.0) - max(start, float(cell)), color)
            for (start, end), color in zip(pairwise(edges), colors, strict=True)
        ]
        there = [(share, color) for share, color in inside if share > 0]
        if not there:
            continue
        (first, left), rest = there[0], there[1:]
        right = max(rest)[1] if rest else None
        eighths = min(8, max(0 if right else 1, round(first * 8)))
        if eighths == 0:
            text.append(EIGHTHS[8], Style(color=right))
        elif eighths == 8 or right is None:
            text.append(EIGHTHS[eighths], Style(color=left))
        else:
            text.append(EIGHTHS[eighths], Style(color=left, bgcolor=right))
    return text
