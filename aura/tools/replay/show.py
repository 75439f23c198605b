"""How facts, orders and the place where two runs part are shown: on the terminal, and as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.journal import Entry

BEFORE, AFTER = 5, 5
"""So many facts are shown around a place."""
STYLES = {
    "idle": "bright_black",
    "listening": "green",
    "thinking": "yellow",
    "speaking": "cyan",
    "interrupted": "magenta",
}
"""Colours of the states."""
FIELDS = {
    "event": "fact",
    "was": "state before",
    "now": "state after",
    "effects": "orders",
    "n": "number",
    "at": "time",
    "verdict": "verdict",
}
"""What the fields of an entry are called."""

Row = tuple[str, str, str]
"""What is compared, and the two sides of it; an empty side is not there."""


# ---- words


def plain(text: str) -> str:
    """Text from a file, safe to show: nothing in it moves the cursor."""
    return "".join(char if char.isprintable() else "·" for char in text)


def fact_words(event: ev.Event) -> str:
    """The numbers of a fact: "reply 2, silence 540 ms"."""
    return ", ".join(filter(None, (_field(name, value) for name, value in msgspec.structs.asdict(event).items())))


def _field(name: str, value: object) -> str:
    match name, value:
        case _, "" | None:
            return ""
        case "at_ms", int():
            return f"at {value / 1000:.2f} s of the microphone"
        case "text", str():
            return f"“{plain(value)}”"
        case _, bool():
            return name if value else f"not {name}"
        case _, int() if name.endswith("_ms"):
            return f"{name.removesuffix('_ms')} {value} ms"
        case _, float():
            return f"{name} {value:g}"
        case _:
            return f"{name} {plain(str(value))}"


def _start(order: fx.StartReply) -> str:
    what = {
        "speech": f"answer turn {order.turn}",
        "request": "answer the history as it is",
        "say": "say something of the server's own",
        "apology": "apologise",
        "rest": "say the unheard rest of the last one",
    }[order.source]
    begin = "start a draft, reply" if order.draft else "start reply"
    again = f" in place of reply {order.retry_of}" if order.retry_of else ""
    said = f": “{plain(order.text)}”" if order.text else ""
    return f"{begin} {order.reply}{again}, to {what}{said}"


def _open(order: fx.OpenTurn) -> str:
    maybe = ", which may be no interruption" if order.tentative else ""
    return f"open turn {order.turn} at {_microphone(order.at_ms)}{maybe}"


def _microphone(at_ms: int) -> str:
    return "this moment" if at_ms < 0 else f"{at_ms / 1000:.2f} s of the microphone"


WORDS: dict[type[fx.Effect], Callable[[Any], str]] = {
    fx.OpenTurn: _open,
    fx.ConfirmTurn: lambda o: f"turn {o.turn} is meant: it is a real interruption",
    fx.DropTurn: lambda o: f"forget turn {o.turn}",
    fx.EndTurn: lambda o: f"turn {o.turn} is complete at {_microphone(o.at_ms)}",
    fx.CommitTurn: lambda o: f"put turn {o.turn} into the history, unanswered",
    fx.StartReply: _start,
    fx.ReleaseReply: lambda o: f"let reply {o.reply} out of its draft",
    fx.Respond: lambda o: f"reply {o.reply} answers turn {o.turn}: tell history and client",
    fx.DropReply: lambda o: f"drop reply {o.reply}",
    fx.CancelReply: lambda o: f"cancel reply {o.reply} ({o.reason}): only what was heard stays",
    fx.FinishReply: lambda o: f"reply {o.reply} was heard to its end",
    fx.FailReply: lambda o: f"reply {o.reply} fails ({plain(o.code)}): what was heard stays",
    fx.BrakeOutput: lambda o: f"send no more of reply {o.reply} than is on its way",
    fx.UnbrakeOutput: lambda o: f"send reply {o.reply} as usual again",
    fx.HoldOutput: lambda o: f"hold reply {o.reply}: silence until it is decided",
    fx.ResumeOutput: lambda o: f"resume reply {o.reply} where it was heard to",
    fx.TimeOut: lambda o: f"turn {o.turn} is a silence of {(o.end_ms - o.start_ms) / 1000:.1f} s",
    fx.Suspend: lambda _: "keep everything as it is: the client is gone",
    fx.Restore: lambda _: "the client is back: tell it where things stand, go on from what was heard",
    fx.Postpone: lambda o: "say it later" + (f": “{plain(o.text)}”" if o.text else ""),
    fx.Refuse: lambda o: f"refuse the client's request ({plain(o.code)})",
    fx.Close: lambda o: f"close the conversation ({plain(o.why)})",
}
"""Orders in words."""


def order_words(order: fx.Effect) -> str:
    """What an order says."""
    return WORDS[type(order)](order)


def state_text(name: str) -> Text:
    """A state in its colour."""
    return Text(plain(name), STYLES.get(name, "red"))


def move_text(entry: Entry) -> Text:
    """The states around a fact."""
    if entry.was == entry.now:
        return state_text(entry.now)
    return Text.assemble(state_text(entry.was), " → ", state_text(entry.now))


# ---- a list of facts


def facts_table(entries: Sequence[Entry], marked: int | None = None) -> Table:
    """Facts with what followed from them, one marked."""
    table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("n", justify="right")
    table.add_column("s", justify="right")
    for name in ("state", "fact", "orders"):
        table.add_column(name, overflow="fold")
    for index, entry in enumerate(entries):
        fact = Text(type(entry.event).__name__, "bold" if index == marked else "")
        if words := fact_words(entry.event):
            fact.append(f" {words}", "dim")
        if entry.verdict not in ("move", "stay"):
            fact.append(f" {plain(entry.verdict)}", "red")
        orders = Text("\n".join(map(order_words, entry.effects)), "" if index == marked else "dim")
        mark = Text("▶" if index == marked else " ", "bold red")
        table.add_row(mark, str(entry.n), f"{entry.at:.3f}", move_text(entry), fact, orders)
    return table


# ---- where two runs part


def show_divergence(
    console: Console,
    recorded: Sequence[Entry],
    at_index: int,
    expected: Entry | None,
    actual: Entry | None,
    why: str,
    *,
    names: tuple[str, str] = ("recorded", "replayed"),
) -> None:
    """Show the place where two runs part: the facts before it, both sides of it, and what followed in the first run.

    `recorded` may be the whole run or a part of it around `at_index`. `expected` or `actual` is None where that run
    has no fact there. `why` is one line about what differs; `names` are those of the two runs.
    """
    console.print(f"[bold red]✗[/bold red] {escape(plain(why))}", highlight=False, soft_wrap=True)
    before, after = _around(recorded, at_index, skip=expected is not None)
    if before:
        console.print("\n[dim]before it[/dim]")
        console.print(facts_table(before))
    console.print()
    console.print(_sides(expected, actual, names))
    if after:
        console.print(f"\n[dim]what followed, as {escape(names[0])}[/dim]")
        console.print(facts_table(after))
    elif expected is not None:
        console.print(f"\n[dim]nothing followed, as {escape(names[0])}[/dim]")


def show_place(console: Console, entries: Sequence[Entry], at_index: int, *, title: str) -> None:
    """Show the facts around a place between two of them."""
    before, after = _around(entries, at_index, skip=False)
    for name, part in (("before it", before), (title, after)):
        if part:
            console.print(f"\n[dim]{escape(name)}[/dim]")
            console.print(facts_table(part))


def _around(entries: Sequence[Entry], index: int, *, skip: bool) -> tuple[Sequence[Entry], Sequence[Entry]]:
    behind = index + skip
    return entries[max(0, index - BEFORE) : index], entries[behind : behind + AFTER]


def _sides(expected: Entry | None, actual: Entry | None, names: tuple[str, str]) -> Table:
    table = Table(padding=(0, 1), header_style="bold", border_style="red")
    entry = expected or actual
    table.add_column(f"fact {entry.n}" if entry else "", style="dim")
    for name in names:
        table.add_column(name, overflow="fold", ratio=1)
    table.add_column("")
    for name, left, right in compare(expected, actual):
        same = left == right
        left_text, right_text = _marked(left, right) if not same else (Text(left, "dim"), Text(right, "dim"))
        table.add_row(name, left_text, right_text, Text("" if same else "≠", "bold red"))
    return table


def compare(expected: Entry | None, actual: Entry | None) -> list[Row]:
    """Both sides in words, part by part; orders stand beside those of their kind."""
    only = expected or actual
    if only is None:
        return []
    if expected is None or actual is None:
        there = [(name, text) for name, text, _ in compare(only, only)]
        gone = ["nothing: it has ended", *[""] * (len(there) - 1)]
        rows = zip(there, gone, strict=True)
        return [(name, none, text) if expected is None else (name, text, none) for (name, text), none in rows]
    return [
        ("fact", _fact(expected), _fact(actual)),
        *([("time", f"{expected.at:.3f} s", f"{actual.at:.3f} s")] if expected.at != actual.at else []),
        ("state before", plain(expected.was), plain(actual.was)),
        ("verdict", plain(expected.verdict), plain(actual.verdict)),
        ("state after", plain(expected.now), plain(actual.now)),
        *_orders(expected.effects, actual.effects),
    ]


def _fact(entry: Entry) -> str:
    return f"{type(entry.event).__name__} {fact_words(entry.event)}".strip()


def _orders(left: Sequence[fx.Effect], right: Sequence[fx.Effect]) -> list[Row]:
    if not left and not right:
        return [("orders", "none", "none")]
    pairs: list[tuple[str, str]] = []
    kinds = [[type(order).__name__ for order in side] for side in (left, right)]
    for _, i, end_i, j, end_j in SequenceMatcher(a=kinds[0], b=kinds[1], autojunk=False).get_opcodes():
        pairs += [_pair(a, b) for a, b in zip_longest(left[i:end_i], right[j:end_j])]
    return [("orders" if not number else "", a, b) for number, (a, b) in enumerate(pairs)]


def _pair(left: fx.Effect | None, right: fx.Effect | None) -> tuple[str, str]:
    """Two orders in words that tell them apart."""
    a, b = order_words(left) if left else "", order_words(right) if right else ""
    if left and right and a == b and left != right:  # they differ in what the words leave out
        return f"{a} {plain(str(msgspec.structs.asdict(left)))}", f"{b} {plain(str(msgspec.structs.asdict(right)))}"
    return a, b


def _marked(left: str, right: str) -> tuple[Text, Text]:
    """Both texts, with the words in which they differ standing out."""
    a, b = left.split(" "), right.split(" ")
    changed: tuple[set[int], set[int]] = (set(), set())
    for tag, i, end_i, j, end_j in SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if tag != "equal":
            changed[0].update(range(i, end_i))
            changed[1].update(range(j, end_j))
    return _stressed(a, changed[0], "bold green"), _stressed(b, changed[1], "bold red")


def _stressed(words: Iterable[str], changed: set[int], style: str) -> Text:
    pieces = ((word, style if index in changed else "") for index, word in enumerate(words))
    return Text(" ").join(Text(word, look) for word, look in pieces)


# ---- as data


def differing(expected: Entry | None, actual: Entry | None) -> list[str]:
    """Names of the fields in which two entries differ; `length` where there is only one."""
    if expected is None or actual is None:
        return ["length"]
    return [name for name in Entry.__struct_fields__ if getattr(expected, name) != getattr(actual, name)]


def divergence_data(
    expected: Entry | None, actual: Entry | None, why: str, *, line: int | None = None
) -> dict[str, object]:
    """The same place for machines: where it is, which fields differ, and both sides whole."""
    entry = expected or actual
    return {
        "n": entry.n if entry else None,
        "at_s": entry.at if entry else None,
        "line": line,
        "event": type(entry.event).__name__ if entry else None,
        "fields": differing(expected, actual),
        "why": why,
        "expected": msgspec.to_builtins(expected),
        "actual": msgspec.to_builtins(actual),
    }
