"""A recording in memory, tape, audio and journal, so that parts of it can be left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from aura.core import journal, tape
from aura.core.journal import Entry
from aura.storage.tapes import Sounds, Tape, read_tape
from aura.storage.taping import Taken


class Strip(msgspec.Struct, frozen=True):
    """A recording in memory, or a part of one."""

    read: Tape
    audio: tuple[bytes, ...]
    """What the steps with audio gave, in their order."""
    kept: journal.Journal

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The facts."""
        return self.kept.entries


def load(folder: Path) -> Strip:
    """A recording with its audio. Raises AuraError."""
    read = read_tape(folder)
    kept = journal.decode((folder / "journal.jsonl").read_bytes())
    sounds = Sounds(folder)
    audio = []
    for step in read.steps:
        match step.outcome:
            case tape.Audio(size, form):
                audio.append(sounds.take(f"in.{form}", size))
            case tape.Sound(size, rate_hz):
                audio.append(sounds.take(f"voice.pcm16.{rate_hz}", size))
    sounds.close()
    return Strip(read, tuple(audio), kept)


class Pieces:
    """Audio out of memory; stands in for `Sounds`."""

    def __init__(self, audio: Sequence[bytes]) -> None:
        self._audio = iter(audio)

    def take(self, stream: str, size: int) -> bytes:
        """The next piece, whatever the stream."""
        return next(self._audio)


def kept_steps(kept: Sequence[Taken]) -> Iterator[Taken]:
    """The tape of a run without what it did in its last step."""
    last = max((index for index, item in enumerate(kept) if is_step(item)), default=-1)
    yield from kept[: last + 1]


def is_step(item: Taken) -> bool:
    """Whether it is a step, and no note or message."""
    return isinstance(item, tuple) and bool(item) and isinstance(item[0], float)
