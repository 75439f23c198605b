"""Which words of a text sound when, from the times of characters as voices give them.

Voices time the characters of the text as they read it: perhaps as it was sent, perhaps written out ("£5" → "five
pounds"), without some marks, in pieces. So words are matched, not characters: the same letters mean the same word,
and what lies between two matches sounded between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aura.core.ports import WordTime

LOOK_AHEAD = 6
"""Words of the text among which the next spoken word is looked for."""
OVERLAP_S = 0.05
"""Times that fall back by more than this are counted anew."""
_WORD = re.compile(r"\S+")
_LETTERS = re.compile(r"[\W_]+")
Timed = tuple[str, float, float]
"""A character (or several) and when it begins and ends, in seconds of the sentence."""


def bare(word: str) -> str:
    """The letters and digits by which words are compared."""
    return _LETTERS.sub("", word).casefold()


class WordAligner:
    """Timed characters as they come → times of the words of `text`, each once, in order."""

    def __init__(self, text: str) -> None:
        self._words = [(found.start(), found.end(), bare(found[0])) for found in _WORD.finditer(text)]
        self._next = 0
        self._open = ""
        self._begin_s = self._end_s = 0.0
        self._unmatched: tuple[float, float] | None = None

    @property
    def covered(self) -> bool:
        """Whether the last word of the text has sounded, as far as told."""
        last = self._words[-1][2] if self._words else ""
        return self._next >= len(self._words) or (
            self._next == len(self._words) - 1 and bare(self._open) == last and bool(last)
        )

    def push(self, characters: Iterable[Timed]) -> tuple[WordTime, ...]:
        """The words that ended with these characters."""
        found: list[WordTime] = []
        for text, begin_s, end_s in characters:
            if text.isspace() or not text:
                found += self._word_ends()
                continue
            if not self._open:
                self._begin_s = begin_s
            self._open += text
            self._end_s = max(end_s, begin_s)
        return tuple(found)

    def finish(self) -> tuple[WordTime, ...]:
        """The last word; words of the text that were not recognised share what is left."""
        found = self._word_ends()
        if self._unmatched is not None and self._next < len(self._words):
            found.append(self._span(self._next, len(self._words), *self._unmatched))
            self._next, self._unmatched = len(self._words), None
        return tuple(found)

    def _word_ends(self) -> list[WordTime]:
        said, self._open = bare(self._open), ""
        if not said:
            return []
        ahead = range(self._next, min(self._next + LOOK_AHEAD, len(self._words)))
        at = next((index for index in ahead if self._words[index][2] == said), None)
        if at is None:
            begin_s = self._begin_s if self._unmatched is None else self._unmatched[0]
            self._unmatched = (begin_s, self._end_s)
            return []
        found = []
        if at > self._next and self._unmatched is not None:
            found.append(self._span(self._next, at, *self._unmatched))
        found.append(self._span(at, at + 1, self._begin_s, self._end_s))
        self._next, self._unmatched = at + 1, None
        return found

    def _span(self, first: int, end: int, begin_s: float, end_s: float) -> WordTime:
        return WordTime(self._words[first][0], self._words[end - 1][1], begin_s, max(begin_s, end_s))


class Times:
    """Words timed by pieces whose clock may start with the sentence or with each piece."""

    def __init__(self, text: str) -> None:
        self._aligner = WordAligner(text)
        self._told_s = 0.0

    @property
    def covered(self) -> bool:
        """Whether the last word has come."""
        return self._aligner.covered

    def push(self, characters: list[Timed], sounded_s: float, *, relative: bool = False) -> tuple[WordTime, ...]:
        """`sounded_s`: the audio before the piece, which is added where the piece has a clock of its own."""
        if not characters:
            return ()
        if relative or characters[0][1] + OVERLAP_S < self._told_s:
            characters = [(text, begin + sounded_s, end + sounded_s) for text, begin, end in characters]
        self._told_s = characters[-1][2]
        return self._aligner.push(characters)

    def finish(self) -> tuple[WordTime, ...]:
        """The word that was being spoken."""
        return self._aligner.finish()
