"""Times of characters, told in any pieces and in any wording, become times of the words of the text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.aligning import Timed, Times, WordAligner
from aura.core.ports import WordTime

LETTER_S = 0.1


def timed(text: str, begin_s: float = 0.0) -> list[Timed]:
    return [(c, begin_s + i * LETTER_S, begin_s + (i + 1) * LETTER_S) for i, c in enumerate(text)]


def aligned(text: str, spoken: str, sizes: list[int] | None = None) -> list[WordTime]:
    aligner, found, rest = WordAligner(text), [], timed(spoken)
    for size in (sizes or [len(spoken)]) * len(spoken):
        found += aligner.push(rest[:size])
        rest = rest[size:]
    return [*found, *aligner.finish()]


WORDS = st.lists(st.text("abcdefgh'é1,.!", min_size=1, max_size=7), min_size=1, max_size=12).map(" ".join)


@given(WORDS, st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_what_is_said_as_it_stands_is_timed_word_by_word(text: str, sizes: list[int]) -> None:
    got = aligned(text, text, sizes)
    assert got == aligned(text, text), "any cut gives the same"
    for word in got:
        assert word.begin_s == pytest.approx(word.start * LETTER_S)
        assert word.end_s == pytest.approx(word.end * LETTER_S)
    lettered = [word for word in text.split() if any(c.isalnum() for c in word)]
    assert [text[word.start : word.end] for word in got] == lettered


@given(WORDS, WORDS, st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_whatever_is_said_words_stay_in_order_and_inside(text: str, spoken: str, sizes: list[int]) -> None:
    got = aligned(text, spoken, sizes)
    assert all(0 <= word.start < word.end <= len(text) and word.begin_s <= word.end_s for word in got)
    assert all(a.end <= b.start and a.begin_s <= b.begin_s for a, b in pairwise(got))


CASES = {
    "an amount": ("It costs £5.50 today.", "It costs five pounds fifty today.", {"£5.50": (9, 26)}),
    "an amount at the end": ("You owe me £5", "You owe me five pounds", {"£5": (11, 22)}),
    "an amount at the beginning": ("£5 a day", "five pounds a day", {"£5": (0, 11), "a": (12, 13)}),
    "two in a row": ("at 10:30 PM, sharp", "at ten thirty p m sharp", {"10:30 PM,": (3, 17), "sharp": (18, 23)}),
    "marks left out": ("Well — yes, indeed!", "Well yes indeed", {"yes,": (5, 8), "indeed!": (9, 15)}),
    "other case": ("NASA says Hello", "nasa says hello", {"NASA": (0, 4)}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_out_is_heard_between_its_neighbours(case: str) -> None:
    text, spoken, expected = CASES[case]
    got = {text[word.start : word.end]: word for word in aligned(text, spoken)}
    for piece, (begin, end) in expected.items():
        assert got[piece].begin_s == pytest.approx(begin * LETTER_S)
        assert got[piece].end_s == pytest.approx(end * LETTER_S)
    assert text.split()[-1] in " ".join(got)


@pytest.mark.parametrize("relative", [True, False])
def test_pieces_with_a_clock_of_their_own_are_recognised(relative: bool) -> None:
    times, found = Times("one two three four"), []
    for at, piece in ((0, "one tw"), (6, "o three"), (13, " four")):
        begin = 0.0 if relative else at * LETTER_S
        found += times.push(timed(piece, begin), at * LETTER_S)
    found += times.finish()
    assert [(word.start, round(word.begin_s, 3)) for word in found] == [(0, 0.0), (4, 0.4), (8, 0.8), (14, 1.4)]


def test_the_last_word_is_known_to_have_come() -> None:
    aligner = WordAligner("Good day, sir.")
    aligner.push(timed("Good day, si"))
    assert not aligner.covered
    aligner.push(timed("r"))
    assert aligner.covered
