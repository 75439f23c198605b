"""From samples to heard words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.heard import Ledger
from aura.core.ports import WordTime
from aura.core.speakable import speakable, words

RATE = 1000
"""One sample is a millisecond."""


def timed(text: str, begins_ms: list[int], end_ms: int) -> tuple[WordTime, ...]:
    edges = [*begins_ms, end_ms]
    return tuple(
        WordTime(a, b, edges[n] / 1000, edges[n + 1] / 1000)
        for n, (a, b) in enumerate(words(text))
        if n < len(begins_ms)
    )


def ledger_of(*sentences: tuple[str, int]) -> Ledger:
    ledger = Ledger(RATE)
    for text, ms in sentences:
        ledger.add(text, ms, first=True, last=True)
    return ledger


@pytest.mark.parametrize(
    ("ms", "heard", "sentence"),
    [
        (0, "", 0),
        (100, "", 0),
        (550, "One", 0),
        (850, "One two", 0),
        (1999, "One two three.", 0),
        (2000, "One two three.", 1),
        (2600, "One two three. Four", 1),
        (9000, "One two three. Four five.", 1),
    ],
)
def test_without_times_words_are_heard_in_proportion_to_their_letters(ms: int, heard: str, sentence: int) -> None:
    ledger = ledger_of(("One two three.", 2000), (" Four five.", 1000))
    got = ledger.heard(ms)
    assert (got.text, got.sentence, got.complete) == (heard, sentence, ms >= 3000)
    assert ledger.text.startswith(got.text)


@pytest.mark.parametrize(
    ("ms", "heard"), [(0, ""), (159, ""), (161, "Oh"), (1300, "Oh"), (1561, "Oh wait."), (2000, "Oh wait.")]
)
def test_times_of_the_voice_decide_where_it_gives_them(ms: int, heard: str) -> None:
    ledger, text = Ledger(RATE), "Oh wait."
    times = (WordTime(0, 2, 0.1, 0.2), WordTime(3, 8, 1.5, 1.6))
    ledger.add(text, 2000, first=True, last=True, words=times)
    assert ledger.heard(ms).text == heard


def test_times_of_single_letters_make_words() -> None:
    ledger, text = Ledger(RATE), "Hi you"
    ledger.add(text, 1000, first=True, last=True, words=[WordTime(n, n + 1, n / 10, (n + 1) / 10) for n in range(6)])
    assert [ledger.heard(ms).text for ms in (100, 130, 470, 490)] == ["", "Hi", "Hi", "Hi you"]


def test_while_a_sentence_still_comes_its_length_is_estimated() -> None:
    text = "Ten letters and some more words follow here."
    ledger = Ledger(RATE)
    ledger.add(text, 500, first=True, last=False)
    assert ledger.heard(500).text == "Ten"
    assert not ledger.heard(500).complete
    ledger.add(text, 1000, first=False, last=True)
    assert ledger.heard(500).text == "Ten letters and"
    assert ledger.heard(1500).text == text


def test_the_speech_rate_is_learned_from_finished_sentences() -> None:
    slow, text = "A slow voice said this.", "And now it says this."
    ledger = ledger_of((slow, 20_000))
    ledger.add(" " + text, 2000, first=True, last=False)
    assert ledger.heard(20_900).text == slow
    assert ledger.heard(22_000).text == slow + " And"


def test_a_sentence_that_broke_off_keeps_what_sounded() -> None:
    text = "This will never be said to its end."
    ledger = Ledger(RATE)
    ledger.add(text, 500, first=True, last=False)
    ledger.add(" Sorry.", 500, first=True, last=True)
    assert ledger.text == "This will Sorry."
    assert ledger.heard(1000).complete


def test_marks_that_are_not_spoken_belong_to_the_word_before() -> None:
    text = "See **the docs**, [here](http://x.y/z)[1], now."
    ledger = ledger_of((text, 2000), (" 😀", 0))
    steps = {ledger.heard(ms).text for ms in range(0, 2000, 10)}
    assert steps == {"", "See", "See **the", "See **the docs**,", text[: text.index(" now")], text}
    assert ledger.heard(2000).text == text + " 😀"


def test_chinese_is_heard_by_character() -> None:
    ledger = ledger_of(("你好，我在。", 600))
    assert ledger.heard(300).text == "你好，"


def test_a_sentence_whose_length_is_known_before_it_was_all_sent_is_heard_in_proportion() -> None:
    ledger = Ledger(RATE)
    ledger.expect(0, 2000)
    ledger.add("One two three.", 1000, first=True, last=False)
    assert ledger.heard(1000).text == "One two"


def test_an_empty_ledger_is_complete() -> None:
    assert Ledger(RATE).heard(0).complete


WORDS = st.lists(
    st.sampled_from(["I", "see", "**that**", "you", "`code`", "[a b](http://c.d)", "don't", "1,000", "我们", "x!"]),
    min_size=1,
)
REPLY = st.lists(st.tuples(WORDS, st.integers(0, 3000), st.booleans(), st.booleans()), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(reply=REPLY, unfinished=st.booleans())
def test_more_samples_never_give_fewer_words(reply: list[tuple[list[str], int, bool, bool]], unfinished: bool) -> None:
    ledger = Ledger(RATE)
    for number, (parts, ms, with_times, in_two) in enumerate(reply):
        text = (" " if number else "") + " ".join(parts) + "."
        spoken = speakable(text)
        spans = words(spoken)
        times = tuple(
            WordTime(a, b, n * ms / 1000 / len(spans), (n + 1) * ms / 1000 / len(spans))
            for n, (a, b) in enumerate(spans)
        )
        half = len(times) // 2
        last = not (unfinished and number == len(reply) - 1)
        if in_two:
            ledger.add(text, ms // 2, first=True, last=False, words=times[:half] if with_times else (), spoken=spoken)
        ledger.add(
            text,
            ms - ms // 2 * in_two,
            first=not in_two,
            last=last,
            words=times[half * in_two :] if with_times else (),
            spoken=spoken,
        )
    total = ledger.sent
    heard = [ledger.heard(at).text for at in range(0, total + 1, max(1, total // 60))]
    for shorter, longer in zip(heard, [*heard[1:], ledger.heard(total).text], strict=True):
        assert longer.startswith(shorter)
    for text in heard:
        assert ledger.text.startswith(text)
    if not unfinished:
        assert ledger.heard(total).text == ledger.text
        assert ledger.heard(total).complete
