"""Chance that leaves nothing out."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Deck(Generic[T]):
    """Cards are drawn until there are none left; then they are shuffled anew. Rare ones come rarely, but surely."""

    def __init__(self, cards: Iterable[tuple[T, int]], rng: Random) -> None:
        self._cards = [card for card, times in cards for _ in range(times)]
        self._rng = rng
        self._left: list[T] = []

    def draw(self) -> T:
        """The next card."""
        if not self._left:
            self._left = self._rng.sample(self._cards, len(self._cards))
        return self._left.pop()
