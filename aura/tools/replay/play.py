"""`aura replay --play`: a recorded conversation as it went, at real speed: its facts as they came, and its sound.

What was said is heard where it lies on the time axis (`storage.digest`): the user on the left when it arrived, the
assistant on the right as far as a client played it.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aura.client import Heard
from aura.core.errors import AuraError
from aura.core.journal import Entry, Lost, Trouble
from aura.storage.digest.conversation import digest
from aura.storage.digest.shapes import Track
from aura.storage.digest.sound import rate_of, samples
from aura.storage.taping import TAPE
from aura.tools.play import Loudspeaker, SoundDeviceError, sounddevice
from aura.tools.replay.show import STYLES, fact_words, move_text, order_words, plain
from aura.tools.replay.source import JOURNAL, Source, find, read
from aura.tools.replay.step import BLOCKS
from aura.tools.replay.transitions import Screen

BLOCK_S = 0.25
"""So much sound is prepared at once."""
AHEAD_S = 0.25
"""And so long before it is heard."""
EDGE_S = 0.05
"""Pieces are cut out of longer ones: where the rate is changed, their edges would be heard."""
SAVED_S = 10.0
"""At once for a file."""
TICK_S = 0.5
"""The lane of states in front of a fact has one block for so much time, and no more than `LANE_MAX` blocks."""
LANE_MAX = 12

Sink = Callable[[bytes], None]
"""Takes stereo PCM16."""


class Mix(msgspec.Struct, frozen=True):
    """Both sides' audio."""

    folder: Path
    user: Sequence[Track]
    assistant: Sequence[Track]
    seconds: float

    @property
    def rate_hz(self) -> int:
        """Samples a second of each channel."""
        return rate_of([*self.user, *self.assistant])

    def pcm(self, begin: float, end: float) -> bytes:
        """What sounds between two moments: the user on the left, the assistant on the right."""
        from_s = max(0.0, begin - EDGE_S)
        both = (self.user, self.assistant)
        sides = [samples(self.folder, side, from_s, end + EDGE_S, self.rate_hz) for side in both]
        first, count = round((begin - from_s) * self.rate_hz), round((end - begin) * self.rate_hz)
        return np.stack(sides, axis=1)[first : first + count].astype("<i2").tobytes()

    def blocks(self, length_s: float) -> Iterator[tuple[float, bytes]]:
        """All of it in pieces, each with its beginning."""
        for index in range(int(np.ceil(self.seconds / length_s))):
            begin = index * length_s
            yield begin, self.pcm(begin, min(begin + length_s, self.seconds))


class Play(msgspec.Struct, frozen=True):
    """What is to be played."""

    entries: Sequence[Entry]
    mix: Mix | None
    """None: there is no audio."""
    troubles: Sequence[str] = ()
    """What of it cannot be read; the last may be why its end is missing."""


def load(source: Source) -> Play:
    """The readable part of a journal and, where there is one, of the recording around it. Raises JournalError."""
    entries: list[Entry] = []
    troubles: list[str] = []
    for line, piece in read(source):
        match piece:
            case list():
                entries += piece
            case Lost(lines):
                troubles.append(f"{source.name}:{line}: {lines} lines are missing here: the disk could not take them")
            case Trouble():
                troubles.append(str(source.trouble(piece)))
    entries.sort(key=lambda entry: entry.at)
    if source.path is None or not (source.path.parent / TAPE).exists():
        return Play(entries, None, troubles)
    told = digest(source.path.parent)
    troubles += [line for line in told.unreadable if not line.startswith(JOURNAL)]
    mix = Mix(source.path.parent, told.user, told.assistant, told.seconds)
    return Play(entries, mix if mix.user or mix.assistant else None, troubles)


def run(
    where: str, data_dir: Path, *, speed: float = 1.0, save: Path | None = None, console: Console | None = None
) -> int:
    """Play along, or write what would be heard to a WAV file; returns 0.

    `where` is a file, a recording's folder or a conversation's id. Raises AuraError (exit code 2): it cannot be read,
    or not to its end.
    """
    console = console or Screen()
    source = find(where, data_dir)
    if not 0.1 <= speed <= 100:
        raise AuraError(f"--speed {speed:g}: give a number from 0.1 to 100; 1 is real time")
    there = load(source)
    if save is not None:
        write_wav(there, save, source.name)
        console.print(f"[green]✓[/green] {escape(plain(str(save)))}", highlight=False, soft_wrap=True)
    else:
        with speaker(there.mix, speed, console) as sink:
            trio.run(play, there, speed, sink, console)
    for trouble in there.troubles[:-1]:
        console.print(f"[yellow]{escape(plain(trouble))}[/yellow]", highlight=False, soft_wrap=True)
    if there.troubles:
        raise AuraError(there.troubles[-1])
    return 0


def write_wav(there: Play, path: Path, name: str) -> None:
    """Write the mix. Raises AuraError."""
    if there.mix is None:
        raise AuraError(f"{name}: there is no audio beside it")
    try:
        with path.open("wb") as file, wave.open(file, "wb") as out:
            out.setnchannels(2)
            out.setsampwidth(2)
            out.setframerate(there.mix.rate_hz)
            for _, pcm in there.mix.blocks(SAVED_S):
                out.writeframes(pcm)
    except OSError as error:
        raise AuraError(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def speaker(mix: Mix | None, speed: float, console: Console) -> Iterator[Sink | None]:
    """The loudspeaker; None, after one line that says why, where nothing can be heard."""
    why = "there is no audio beside this journal" if mix is None else "at another speed there is no sound"
    if mix is not None and speed == 1:
        try:
            with _stereo(mix.rate_hz) as sink:
                yield sink
                return
        except SoundDeviceError as error:
            why = f"{error}; --save mix.wav writes what there is to hear"
    console.print(f"[yellow]silent: {escape(plain(why))}[/yellow]", highlight=False, soft_wrap=True)
    yield None


@contextmanager
def _stereo(rate_hz: int) -> Iterator[Sink]:
    library = sounddevice()
    device = Loudspeaker(rate_hz)
    try:
        stream = library.RawOutputStream(rate_hz, channels=2, dtype="int16", latency="low", callback=device.fill)
    except library.PortAudioError as error:
        raise SoundDeviceError(f"no loudspeaker can be opened: {error}") from None
    with stream:
        yield lambda pcm: device(Heard("", 0.0, pcm, 0.0, voiced=True))


# ---- playing -----------------------------------------------------------------------------------------------------


async def play(there: Play, speed: float, sink: Sink | None, console: Console) -> None:
    """Show facts when they come, and sound shortly before it is to be heard, until both are over."""
    begin = trio.current_time()

    async def facts() -> None:
        for index, entry in enumerate(there.entries):
            await trio.sleep_until(begin + entry.at / speed)
            console.print(row(there.entries, index))

    async def sound(mix: Mix, out: Sink) -> None:
        for at, pcm in mix.blocks(BLOCK_S):
            await trio.sleep_until(begin + at - AHEAD_S)
            out(pcm)
        await trio.sleep_until(begin + mix.seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(facts)
        if sink is not None and there.mix is not None:
            nursery.start_soon(sound, there.mix, sink)


def row(entries: Sequence[Entry], index: int) -> Table:
    """A fact: when, in which states the conversation has been since the one before, what it was and what followed."""
    entry = entries[index]
    what = move_text(entry) if entry.was != entry.now else Text(plain(entry.now), "dim")
    what = what.copy().append("  ").append(type(entry.event).__name__, "bold")
    if words := fact_words(entry.event):
        what.append(f" {words}")
    if entry.verdict not in ("move", "stay"):
        what.append(f" {plain(entry.verdict)}", "red")
    if entry.effects:
        what.append("\n→ " + "; ".join(map(order_words, entry.effects)), "dim")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="dim", min_width=10, justify="right", no_wrap=True)
    grid.add_column(min_width=LANE_MAX + 1, justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(f"{entry.at:.3f} s", lane(entries[index - 1].at if index else 0.0, entry), what)
    return grid


def lane(since: float, entry: Entry) -> Text:
    """The state that ends here, as long as it lasted, and the one that begins."""
    long = min(LANE_MAX, int((entry.at - since) / TICK_S))
    line = Text(BLOCKS.get(entry.was, "?") * long, STYLES.get(entry.was, "red"))
    return line.append(BLOCKS.get(entry.now, "?"), STYLES.get(entry.now, "red"))
