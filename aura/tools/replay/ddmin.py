"""Delta debugging: the smallest part of a list that still fails, found by leaving out ever smaller chunks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def smallest(
    items: Sequence[T], fails: Callable[[list[T]], bool], enough: Callable[[], bool] = lambda: False
) -> list[T]:
    """A part of `items`, which fail, that fails too and, unless `enough` said stop, from which no item can be left out.

    `fails` is asked about parts only, never about the whole. Items keep their order.
    """
    kept, chunk = list(items), len(items)
    while kept and chunk and not enough():
        begin, shrunk = 0, False
        while begin < len(kept) and not enough():
            rest = kept[:begin] + kept[begin + chunk :]
            if fails(rest):
                kept, shrunk = rest, True
            else:
                begin += chunk
        if chunk == 1 and not shrunk:
            break
        chunk = min(max(1, chunk // 2), len(kept)) if chunk > 1 else 1
    return kept


class Budget:
    """The time that shrinking may take, and who is told how it goes."""

    def __init__(self, seconds: float, say: Callable[[str], None] = lambda _: None) -> None:
        self._until = time.monotonic() + seconds
        self._say = say
        self.tries = 0

    def spent(self) -> bool:
        """Whether to make do with what there is."""
        return time.monotonic() >= self._until

    def tried(self, left: int, what: str) -> None:
        """Another attempt, with so many of them left."""
        self.tries += 1
        self._say(f"attempt {self.tries}, {left} {what}")
