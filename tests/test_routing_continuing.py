"""Going on after a cut: nothing is said twice, nothing new is lost, whatever the second model begins with."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aura.core.ports import Message, WordTime
from aura.core.routing.continuing import _SMALL, ANCHOR_WORDS, Continuing, continuation, rest_of


def joined(said: str, deltas: list[str]) -> str:
    it = Continuing(said)
    return said + "".join([*(it.push(delta) for delta in deltas), it.finish()])


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


FOX = "The quick brown fox jumps over the lazy dog, and then it sleeps."


@pytest.mark.parametrize(
    ("said", "answer", "whole"),
    [
        ("The quick brown fox", " jumps over", "The quick brown fox jumps over"),
        ("The quick brown fox", "jumps over", "The quick brown fox jumps over"),
        ("The quick brown fox ", " jumps over", "The quick brown fox jumps over"),
        ("The quick brown fox", ", who jumps", "The quick brown fox, who jumps"),
        ("The quick brown fox", FOX, FOX),
        ("The quick bro", FOX, FOX),
        ("The quick bro", "quick brown fox jumps", "The quick brown fox jumps"),
        ("The quick brown fox", "…brown fox jumps", "The quick brown fox jumps"),
        ("The quick brown fox", "quick, brown fox jumps", "The quick brown fox jumps"),
        ("It is Paris, ", "It is Paris, on the Seine.", "It is Paris, on the Seine."),
        ("It is Paris,", "It is Paris. And more", "It is Paris, And more"),
        ("Paris, which lies on", "Paris, which lies by the", "Paris, which lies on Paris, which lies by the"),
        ("We can go by train or by car, and it takes about", "We can go by train or by car, and that's it",
         "We can go by train or by car, and it takes about that's it"),
        ("over the", "the lazy dog", "over the lazy dog"),
        ("it is very", "very good", "it is very very good"),
        ("my number is 5 5", "5 1 2", "my number is 5 5 5 1 2"),
        ("my number is 5 5", "number is 5 5 1 2", "my number is 5 5 1 2"),
        ("今天天气很好，我们", "天气很好，我们去公园", "今天天气很好，我们去公园"),
        ("今天天气很好，我们", "去公园", "今天天气很好，我们去公园"),
        ("Hello", "", "Hello"),
        ("", "Hello you", "Hello you"),
        ("He said \"", "yes\" and left", "He said \"yes\" and left"),
        ("...", "Well then", "... Well then"),
    ],
)  # fmt: skip
def test_how_answers_are_joined(said, answer, whole):
    assert joined(said, [answer]) == whole
    assert joined(said, list(answer)) == whole


unique = st.lists(st.text(st.characters(categories=["Ll"], max_codepoint=0x24F), min_size=2, max_size=9), min_size=6,
                  max_size=40, unique_by=str.lower)  # fmt: skip


def cut(data: st.DataObject, text: str) -> list[str]:
    places = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(unique, st.data())
def test_a_repetition_of_any_length_is_taken_away_and_nothing_else(vocabulary, data):
    assume(not any(a != b and b.lower().startswith(a.lower()) for a in vocabulary for b in vocabulary))
    text = " ".join(vocabulary)
    said_words = data.draw(st.integers(3, len(vocabulary) - 1))
    back = data.draw(st.integers(0, said_words))
    assume(back != 1)  # a single word may be meant
    said = " ".join(vocabulary[:said_words])
    answer = " ".join(vocabulary[said_words - back :])
    assert joined(said, cut(data, answer)) == text


@given(unique, st.data())
def test_a_cut_inside_a_word_is_mended_when_the_last_words_are_repeated(vocabulary, data):
    assume(not any(a != b and b.lower().startswith(a.lower()) for a in vocabulary for b in vocabulary))
    text = " ".join(vocabulary)
    number = data.draw(st.integers(3, len(vocabulary) - 2))
    part = data.draw(st.integers(1, len(vocabulary[number])))
    said = " ".join([*vocabulary[:number], vocabulary[number][:part]])
    assume(vocabulary[number][:part].lower() not in _SMALL)  # a whole word, for all that can be known
    answer = " ".join(vocabulary[number - 2 :])
    assert joined(said, cut(data, answer)) == text


pieces = st.text(st.sampled_from("ab cd, e.f\n我们'5\""), max_size=60)


@given(pieces, pieces, st.data())
def test_new_words_are_never_lost_and_the_cutting_does_not_matter(said, answer, data):
    whole = joined(said, [answer])
    assert whole.startswith(said)
    assert joined(said, cut(data, answer)) == whole
    new = words(whole[len(said) :])
    letters = "".join(words(answer))
    assert letters.endswith("".join(new))
    lost = letters[: len(letters) - len("".join(new))]
    assert lost in "".join(words(said)) or "".join(words(said)) in lost


def test_the_next_model_is_shown_what_was_said_and_asked_to_begin_with_its_last_words():
    asked = (Message("system", "Be nice."), Message("user", "What now?"))
    *before, answer, order = continuation(asked, "One two three four five six, ")
    assert tuple(before) == asked
    assert answer == Message("assistant", "One two three four five six,")
    assert order.role == "user"
    assert "“three four five six,”" in order.text
    assert len("three four five six".split()) == ANCHOR_WORDS
    assert continuation(asked, "  ") == asked


# ---- speech ------------------------------------------------------------------------------------------------------

TIMES = (WordTime(0, 5, 0.0, 0.4), WordTime(6, 9, 0.5, 0.8), WordTime(10, 16, 0.9, 1.4))


@pytest.mark.parametrize(
    ("spoken_s", "rest"),
    [
        (0.0, "hello big world!"),
        (0.3, "hello big world!"),
        (0.4, "big world!"),
        (0.79, "big world!"),
        (1.0, "world!"),
        (1.4, ""),
        (9.0, ""),
    ],
)
def test_the_rest_of_a_sentence_begins_with_the_word_that_was_being_said(spoken_s, rest):
    text = "hello big world!"
    assert text[rest_of(text, spoken_s, TIMES) :] == rest


def test_words_without_times_follow_in_proportion():
    text = "hello big world and more"
    assert text[rest_of(text, 1.5, TIMES[:2], chars_per_s=10) :] == "and more"
    assert text[rest_of(text, 1.0, chars_per_s=10) :] == "world and more"
    assert "我们去公园玩吧"[rest_of("我们去公园玩吧", 1.0) :] == "玩吧"


@given(st.text("ab ,.我\n", max_size=60), st.floats(0, 10), st.floats(0, 10), st.data())
def test_more_speech_never_leaves_more_text_and_the_rest_begins_with_a_word(text, first_s, second_s, data):
    times, at = [], 0.0
    for match in re.finditer(r"\w+", text):
        if data.draw(st.booleans()):
            begin = at + data.draw(st.floats(0, 0.5))
            at = begin + data.draw(st.floats(0, 0.5))
            times.append(WordTime(*match.span(), begin, at))
    early, late = sorted((first_s, second_s))
    one, other = rest_of(text, early, times), rest_of(text, late, times)
    assert one <= other
    assert rest_of(text, 0.0, times) == 0
    assert one in (0, len(text)) or (not text[one].isspace() and (text[one - 1].isspace() or "我" in text))
