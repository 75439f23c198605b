"""Bytes to lines, without ever holding more than a block and one line."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 16 << 20
"""A longer line is no log line: it is skipped."""
GZIP, AS_GZIP = b"\x1f\x8b", 31
"""How an archive begins, and what zlib calls the format."""

Trouble = Callable[[int, str], None]
"""Told of what cannot be read: number of the line (0: none in particular) and what it is."""


class Cutter:
    """Cuts blocks into lines; what a block leaves unfinished is kept for the next one."""

    def __init__(self, trouble: Trouble, longest: int = LONGEST_LINE) -> None:
        self._trouble, self._longest = trouble, longest
        self.number = 1
        """Of the line that comes next."""
        self.rest = b""
        """A line that has no end yet."""
        self._skipping = False

    def jump(self, block: bytes) -> None:
        """Leave out the lines that are complete now; they are counted."""
        if self._skipping:
            self.number += len(self.cut(block))
            return
        self.number += block.count(b"\n")
        _, end, rest = block.rpartition(b"\n")
        self.rest = rest if end else self.rest + rest

    def skip_line(self) -> None:
        """What comes first is the rest of a line: leave it out."""
        self._skipping = True

    def cut(self, block: bytes) -> list[bytes]:
        """The lines that are complete now; the caller adds their count to `number` when it has read them."""
        if self._skipping:
            _, end, block = block.partition(b"\n")
            if not end:
                return []
            self._skipping = False
            self.number += 1
        lines = (self.rest + block).split(b"\n") if self.rest else block.split(b"\n")
        self.rest = lines.pop()
        if len(self.rest) > self._longest:
            self._trouble(self.number + len(lines), f"a line of more than {self._longest >> 20} MB, skipped")
            self.rest, self._skipping = b"", True
        return lines


def blocks(stream: IO[bytes], trouble: Trouble, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """What is in a stream, unpacked where it is gzipped. An archive that is cut short is read as far as it goes."""
    first = stream.read(size)
    whole = chain([first], iter(lambda: stream.read(size), b""))
    return unpacked(whole, trouble) if first.startswith(GZIP) else (block for block in whole if block)


def unpacked(packed: Iterable[bytes], trouble: Trouble) -> Iterator[bytes]:
    """The contents of a gzip archive, all its members, at most a block at a time."""
    engine = zlib.decompressobj(AS_GZIP)
    begun = False
    try:
        for data in packed:
            while data:
                begun = True
                if block := engine.decompress(data, BLOCK_BYTES):
                    yield block
                data = engine.unconsumed_tail
                if engine.eof:
                    data = engine.unused_data.lstrip(b"\0")
                    engine, begun = zlib.decompressobj(AS_GZIP), False
    except zlib.error as error:
        trouble(0, f"the gzip archive is damaged ({error})")
    else:
        if begun:
            trouble(0, "the gzip archive is cut short")
