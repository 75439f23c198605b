"""What stands in the cells of the tables: figures and words, short and safe to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.text import Text

from aura.tools.logs.model import ConversationRow
from aura.tools.logs.problems import clean
from aura.tools.logs.views import InterruptionLine, Look
from aura.tools.logs.when import moment

NONE = Text("·", "bright_black")
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
KINDS = 4
"""So many kinds are named; the rest is counted."""
SHORT_ID = 8
ENDINGS = {
    "completed": ("green", "✓", "ok"),
    "cancelled": ("yellow", "×", "x"),
    "failed": ("bold bright_red", "!", "!"),
    "running": ("cyan", "…", ">"),
}
"""Colour, sign, and sign in ASCII."""

BECAUSE = {
    "words": "words were recognised",
    "sustained": "it went on for {voiced_ms} ms",
    "backchannel": "only a backchannel, like “uh-huh”",
    "echo": "{echo:.0f} % of it were the assistant's own words",
    "no_words": "there were no words in it",
    "nothing_recognised": "nothing recognised {silence_ms} ms after it",
    "held_too_long": "still undecided after {held_ms} ms",
    "nothing_to_answer": "what was being answered had no words",
    "client_committed": "the client committed its audio",
    "client_cancelled": "the client stopped the answer",
    "client_cleared": "the client threw the audio away",
    "failed": "its words could not be recognised",
}


class Clock:
    """Shows points in time: the time of day, with the date where they are of several days."""

    def __init__(self, times: Iterable[str]) -> None:
        days = {told.date() for time in times if (told := moment(time))}
        self._form = "%H:%M:%S" if len(days) < 2 else "%m-%d %H:%M:%S"
        self.day = f", {days.pop()} UTC" if len(days) == 1 else ", UTC" if days else ""
        """For the title."""
        self.width = 8 if self._form == "%H:%M:%S" else 14

    def __call__(self, time: str) -> Text:
        """One point in time."""
        told = moment(time)
        return Text(told.strftime(self._form)) if told else NONE


def short(session: str) -> str:
    """The beginning of an id, enough to name it."""
    return clean(session.removeprefix("sess_"))[:SHORT_ID]


def cut(text: str, width: int) -> str:
    """A text of at most so many characters."""
    text = clean(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def number(value: float) -> Text:
    """A count; nothing is a dot, so that what is there stands out."""
    return Text(f"{value:.0f}") if value else NONE


def count(n: int, what: str) -> str:
    """1 turn, 2 turns."""
    return f"{n} {what}{'s' * (n != 1)}"


def ms(value: float | None) -> Text:
    """Milliseconds."""
    return NONE if value is None else Text(f"{value:.0f}")


def seconds(value: float) -> Text:
    """A length of time: 4.2 s, 3:05, 1:02:03."""
    if value < 60:
        return Text(f"{value:.1f} s")
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return Text(f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}")


def amount(value: float) -> Text:
    """A quantity in few signs: 940, 12.4k, 3.1M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return Text(f"{value / size:.{0 if value >= 100 * size else 1}f}{unit}")
    return number(value)


def usage(tokens: float, chars: float, audio_s: float) -> Text:
    """What was used, in one cell."""
    told = [f"{amount(value)} {unit}" for value, unit in ((tokens, "tok"), (chars, "ch")) if value]
    if audio_s:
        told.append(str(seconds(audio_s)))
    return Text(" ".join(told)) if told else NONE


def cost(value: float | None, currency: str, *, known: bool) -> Text:
    """An amount of money; `≥` where something has no price."""
    if value is None:
        return NONE
    if not value and not known:
        return Text("?", "yellow")
    digits = 2 if value >= 100 else 4 if value >= 1 or not value else 6
    return Text(f"{'' if known else '≥ '}{value:.{digits}f}{' ' * bool(currency)}{clean(currency)}")


def total(look: Look) -> Text:
    """What everything cost, and what of it is not known."""
    assert look.prices
    found = look.prices.cost(call for row in look.rows for call in row.calls)
    text = cost(found.amount, look.prices.currency, known=not found.unknown)
    if found.unknown:
        text.append(f"  (no price for what was used of: {', '.join(map(clean, found.unknown))})", "yellow")
    return text


def overlaps(meant: int, all_: int) -> Text:
    """Interruptions, and of how many times the assistant was spoken over."""
    if not all_:
        return NONE
    return Text(f"{meant}", "yellow") if meant == all_ else Text.assemble((str(meant), "yellow"), (f"/{all_}", "dim"))


def outcome(why: str) -> Text:
    """How a conversation ended."""
    style = "cyan" if why == "running" else "bold bright_red" if why == "cut short" or why.startswith("bug") else ""
    return Text(clean(why), style)


def ending(why: str, *, sign: bool = False, ascii_only: bool = False) -> Text:
    """How a reply ended, in a word or a sign."""
    style, mark, plain = ENDINGS.get(why, ("", why, why))
    return Text((plain if ascii_only else mark) if sign else why, style)


def counted(kinds: Counter[str]) -> str:
    """The most frequent kinds with their numbers."""
    named = [f"{clean(kind)} {count}" for kind, count in kinds.most_common(KINDS)]
    others = sum(kinds.values()) - sum(count for _, count in kinds.most_common(KINDS))
    return ", ".join([*named, *([f"others {others}"] if others else [])])


def because(line: InterruptionLine) -> str:
    """The judgement in words."""
    told = BECAUSE.get(line.why, clean(line.why))
    numbers = {"voiced_ms": line.voiced_ms, "silence_ms": line.silence_ms, "held_ms": line.held_ms}
    return told.format(**numbers, echo=100 * line.echo_share) if line.why in BECAUSE else told


def together(rows: Sequence[ConversationRow]) -> ConversationRow:
    """All calls as if they were one conversation's."""
    return ConversationRow("", calls=[call for row in rows for call in row.calls])
