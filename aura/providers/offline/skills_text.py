"""From what a recogniser writes to plain words, and from words that are nearly right to the ones that were meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from aura.providers.offline.skills_vocabulary import SOUND_ALIKE, VOCABULARY

_PLAIN: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[’`´]"), "'"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\b(what|how|who|where|when|that|it|there)'?s\b(?!')"), r"\1 is"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\b(can|do|does|is|did)n't\b"), r"\1 not"),
    (re.compile(r"\bcan't\b"), "can not"),
    (re.compile(r"'(?:s|re|ll|d|ve)\b"), ""),
    (re.compile(r"°\s*(?=[cfk]\b)"), " degrees "),
    (re.compile(r"%"), " percent "),
    (re.compile(r"[×✕⋅·*]"), " times "),
    (re.compile(r"÷|(?<=[\d\s])/(?=[\d\s])"), " divided by "),
    (re.compile(r"\^|\*\*"), " to the power of "),
    (re.compile(r"\+"), " plus "),
    (re.compile(r"(?<=\d)\s*[−–-]\s*(?=\d)|(?<=\s)[−–-]\s*(?=\d)"), " minus "),
    (re.compile(r"^[−–-]\s*(?=\d)"), "minus "),
    (re.compile(r"(?<=\d)\s*x\s*(?=\d)"), " times "),
    (re.compile(r"(?<=\d)(?=[a-z])(?!(?:st|nd|rd|th)\b)"), " "),
    (re.compile(r"\bper cent\b"), "percent"),
    (re.compile(r"\bkilo (?=meter|metre|gram)"), "kilo"),
    (re.compile(r"[^\w\s.'/]|_"), " "),
    (re.compile(r"(?<!\d)\.(?!\d)|(?<=\d)\.(?!\d)|(?<!\w)'|'(?!\w)"), " "),
)


@lru_cache(maxsize=256)
def plain(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation, contractions and signs: `What's 3 × 4?` gives `what is 3 times 4`."""
    text = text.lower()
    for pattern, replacement in _PLAIN:
        text = pattern.sub(replacement, text)
    return tuple(text.split())


def corrected(words: Iterable[str]) -> tuple[str, ...]:
    """The words with those that the assistant does not know replaced by similar ones that it knows."""
    return tuple(meant for word in words for meant in correct(word).split())


@lru_cache(maxsize=4096)
def correct(word: str) -> str:
    """The known word that was meant: it sounds alike, or one letter differs (two in long words)."""
    if word in SOUND_ALIKE:
        return SOUND_ALIKE[word]
    if word in VOCABULARY or len(word) < 4 or not word.isalpha():
        return word
    near = {known for piece in _without_letters(word) for known in _NEAR.get(piece, ())}
    ranked = sorted((distance, known) for known in near if (distance := _distance(word, known)) <= _allowed(word))
    return ranked[0][1] if ranked else word


def _allowed(word: str) -> int:
    return 2 if len(word) >= 7 else 1


def _without_letters(word: str) -> Iterator[str]:
    """The word, and all that is left of it without one letter, or without two if it is long."""
    yield word
    for at in range(len(word)):
        shorter = word[:at] + word[at + 1 :]
        yield shorter
        if len(word) >= 7:
            yield from (shorter[:n] + shorter[n + 1 :] for n in range(at, len(shorter)))


def _index() -> dict[str, set[str]]:
    """Known words by what is left of them without letters: finds neighbours without comparing with each word."""
    index: dict[str, set[str]] = {}
    for word in VOCABULARY:
        if len(word) >= 4:
            for piece in _without_letters(word):
                index.setdefault(piece, set()).add(word)
    return index


_NEAR = _index()


def _distance(a: str, b: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (letter != other))
    return row[-1]
