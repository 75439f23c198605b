"""`aura replay --step`: walk through a conversation fact by fact, with what the table knew at each.

On a terminal one key is one command; elsewhere commands are read as lines, so that a walk can be scripted.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice

import msgspec
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aura.core.journal import Header, JournalError, Trouble
from aura.core.rerun import Frame, frames
from aura.core.table import STATES
from aura.tools.replay.show import STYLES, compare, fact_words, move_text, order_words, plain, state_text
from aura.tools.replay.source import Source, read

FACTS_MAX = 100_000
"""A walk goes through the beginning of a journal, so many facts at most: they are all kept."""
HELP = (
    "n or Enter next · p previous · s next change of state · t next turn · d where the replay parts · "
    "g N go to fact N · /TEXT search (/ again) · h this help · q quit"
)
KEYS = {"\x1b[C": "n", "\x1b[B": "n", "\x1b[D": "p", "\x1b[A": "p", "\r": "", "\n": "", " ": "n", "\x04": "q"}
"""Keys that stand for a command."""
PROMPTS = {"g": "go to fact: ", "/": "search: "}
"""Commands that ask for more."""


class Walk(msgspec.Struct):
    """Where a walk through the facts of a conversation is."""

    source: Source
    header: Header
    frames: list[Frame]
    troubles: list[Trouble]
    more: bool = False
    """The journal is longer than a walk may be."""
    at: int = 0
    """Index of the fact that is shown."""
    sought: str = ""

    @property
    def frame(self) -> Frame:
        """The fact that is shown."""
        return self.frames[self.at]

    def obey(self, command: str) -> str:
        """Carry out a command; returns what to tell the user if the walk did not move."""
        name, rest = (command[:1], command[1:].strip()) if command else ("n", "")
        frame = self.frame
        match name:
            case "n":
                return self._to(self.at + 1, "this is the last fact")
            case "p":
                return self._to(self.at - 1, "this is the first fact")
            case "s":
                return self._next(lambda f: f.entry.was != f.entry.now, "the state does not change any more")
            case "t":
                return self._next(lambda f: f.turn != frame.turn, "there is no further turn")
            case "d":
                return self._next(lambda f: f.replay == "other", "the replay is as recorded", wrap=True)
            case "g":
                return self._go(rest)
            case "/":
                self.sought = rest.casefold() or self.sought
                found = self._next(self._matches, f"“{self.sought}” is not found", wrap=True)
                return found if self.sought else "what to search? /TEXT"
            case _:
                return HELP

    def _to(self, index: int, otherwise: str) -> str:
        if not 0 <= index < len(self.frames):
            return otherwise
        self.at = index
        return ""

    def _next(self, wanted: Callable[[Frame], bool], otherwise: str, *, wrap: bool = False) -> str:
        behind = range(self.at + 1, len(self.frames))
        before = range(self.at + 1) if wrap else ()
        for index in (*behind, *before):
            if wanted(self.frames[index]):
                return self._to(index, otherwise)
        return otherwise

    def _go(self, number: str) -> str:
        if not number.isdecimal():
            return "which one? g N, such as g 12"
        found = [index for index, frame in enumerate(self.frames) if str(frame.entry.n) == number]
        return self._to(found[0], "") if found else f"there is no fact {number}"

    def _matches(self, frame: Frame) -> bool:
        return bool(self.sought) and self.sought in _words(frame).casefold()


def _words(frame: Frame) -> str:
    entry = frame.entry
    orders = [f"{type(order).__name__} {order_words(order)}" for order in entry.effects]
    return " ".join([type(entry.event).__name__, fact_words(entry.event), entry.was, entry.now, entry.verdict, *orders])


def walk(source: Source, console: Console) -> int:
    """Walk through a journal until the user ends it; the exit code: 1 when the replay parts from it, else 0.

    Raises JournalError where the journal cannot be read at all, or (when the walk is over) in part.
    """
    if source.path is None:
        raise source.error("--step takes its commands from there: name a file")
    there = begin(source)
    terminal = console.is_terminal and sys.stdin.isatty()
    commands = _keys(console) if terminal else (line.decode(errors="replace").strip() for line in sys.stdin.buffer)
    console.print(f"[dim]{escape(HELP)}[/dim]", highlight=False, soft_wrap=True)
    for line in summary(there):
        console.print(line, highlight=False, soft_wrap=True)
    take(there, commands, console)
    if any(frame.replay == "other" for frame in there.frames):
        return 1
    if there.troubles:
        raise source.trouble(there.troubles[-1])
    return 0


def begin(source: Source) -> Walk:
    """A walk at its first fact. Raises JournalError when there is none."""
    reader = read(source)
    items = frames(reader)
    try:
        first = list(islice(items, FACTS_MAX))
        more = next(items, None) is not None
    except JournalError as error:
        raise source.error(str(error), error.line) from None
    items.close()
    found = [item for item in first if isinstance(item, Frame)]
    troubles = [item for item in first if isinstance(item, Trouble)]
    if not found:
        raise source.trouble(troubles[0]) if troubles else source.error("there is no fact in it", 1)
    return Walk(source, reader.header, found, troubles, more)


def summary(there: Walk) -> Iterator[Text]:
    """What there is to know before the first step."""
    frames_ = there.frames
    many = f"the first {len(frames_)} facts" if there.more else f"{len(frames_)} fact{'s' * (len(frames_) != 1)}"
    yield Text(f"{plain(there.header.session)}, {many}", "bold")
    parting = next((frame for frame in frames_ if frame.replay == "other"), None)
    if parting is not None:
        yield Text(f"the replay parts from the recording at fact {parting.entry.n}: d goes there", "red")
    for trouble in islice(there.troubles, 5):
        yield Text(plain(str(there.source.trouble(trouble))), "yellow")


def take(there: Walk, commands: Iterable[str], console: Console) -> None:
    """Obey commands until there are no more, or one says so."""
    console.print(view(there, console.width))
    for command in commands:
        if command.startswith("q"):
            return
        said = there.obey(command)
        console.print(Text(said, "yellow") if said else view(there, console.width))


# ---- what is shown


def view(there: Walk, width: int) -> RenderableType:
    """The fact that is shown, and where in the conversation it stands."""
    frame = there.frame
    entry = frame.entry
    since = entry.at - there.frames[there.at - 1].entry.at if there.at else entry.at
    total = f"{len(there.frames)}{'+' if there.more else ''}"
    head = Text.assemble(
        ("─ ", "dim"),
        (f"fact {entry.n}", "bold"),
        (f" of {total}   {entry.at:.3f} s   {since * 1000:+.1f} ms   line {frame.line}   ", "dim"),
        _replay(frame),
    )
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", min_width=7)
    grid.add_column(overflow="fold")
    grid.add_row("fact", Text.assemble((type(entry.event).__name__, "bold"), f"  {fact_words(entry.event)}"))
    verdict = "" if entry.verdict in ("move", "stay") else f"  {plain(entry.verdict)}"
    grid.add_row("state", Text.assemble(move_text(entry), (verdict, "red")))
    grid.add_row("turn", _books(frame))
    grid.add_row("orders", Text("\n".join(map(order_words, entry.effects)) or "none"))
    if frame.replayed:
        for name, left, right in compare(entry, frame.replayed):
            if left != right:
                both = f"{name or 'orders'}: {right or 'nothing'}   (recorded: {left or 'nothing'})"
                grid.add_row("today", Text(both, "red"))
    return Group(head, grid, *lane(there, width), Text())


def _replay(frame: Frame) -> Text:
    return {
        "same": Text("✓ decided so today too", "green"),
        "other": Text("✗ decided otherwise today", "bold red"),
    }.get(frame.replay, Text("not run", "yellow"))


def _books(frame: Frame) -> Text:
    """Turn, reply and draft after the fact."""
    parts = [f"turn {frame.turn}" if frame.turn else "no turn yet"]
    if frame.replay == "same":
        known = "" if frame.known else ", its words not known yet"
        parts.append(f"reply {frame.reply} ({frame.source}{known})" if frame.reply else "no reply")
        parts.append(f"draft {frame.draft}" if frame.draft else "no draft")
        parts += [f"{frame.held} if it is no interruption"] if frame.held else []
    return Text(" · ".join(parts))


def lane(there: Walk, width: int) -> tuple[Text, Text]:
    """The states of the whole conversation along one line, and a mark where the walk is."""
    walked = there.frames
    width = max(20, min(width - 1, 120))
    end = max(frame.entry.at for frame in walked)
    places = [frame.entry.at / end if end > 0 else i / len(walked) for i, frame in enumerate(walked)]
    columns = [min(width - 1, max(0, int(place * (width - 1)))) for place in places]
    states: list[str] = ["idle"] * width
    for index, column in enumerate(columns):
        states[column:] = [walked[index].entry.now] * (width - column)
    line = Text()
    for state in states:
        line.append(BLOCKS.get(state, "?"), STYLES.get(state, "red"))
    mark = Text(" " * columns[there.at] + "▲ ", "bold")
    mark.append_text(state_text(there.frame.entry.now))
    return line, mark


BLOCKS = dict(zip(STATES, "▁▃▄▆█", strict=True))
"""Height of the states in the lane, for those who see no colours."""


# ---- keys


def _keys(console: Console) -> Iterator[str]:
    """One command per key; some ask for more."""
    while True:
        with _single_keys():
            typed = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
        if not typed:
            return
        for key in [typed] if typed in KEYS else typed:
            command = KEYS.get(key, key)
            if command in PROMPTS:
                with suppress(EOFError):
                    command += " " + console.input(PROMPTS[command])
            yield command


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys arrive as they are pressed, and are not shown."""
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
