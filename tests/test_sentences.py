"""From streamed text to speakable sentences."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aura.core.sentences import Sentence, SentenceSettings, SentenceSplitter, next_end
from aura.core.speakable import raw_end, speakable, words

SINGLY = SentenceSettings(first_phrase_chars=10_000, min_chars=1)
"""Neither early phrases nor merged sentences."""


def split(deltas: list[str], config: SentenceSettings = SINGLY) -> list[Sentence]:
    splitter = SentenceSplitter(config)
    out = [sentence for delta in deltas for sentence in splitter.push(delta)]
    return out + splitter.finish()


def by_words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def texts(text: str, config: SentenceSettings = SINGLY) -> list[str]:
    return [sentence.text.strip() for sentence in split(by_words(text), config)]


WHOLE = [
    "Dr. Smith and Mrs. Jones live on St. James Street.",
    "Use a fruit, e.g. an apple, i.e. something sweet, vs. a cake.",
    "It costs 3.50 dollars, or 1,000,000 yen.",
    "Version 2.0.1 of aura.core runs on 198.51.100.1.",
    "See https://example.com/a.b?c=d!e for more.",
    "Write to anna.b@example.co.uk today.",
    "The U.S. Army and J. R. R. Tolkien met.",
    "At 9 a.m. on Jan. 5 it rained.",
    "Look at fig. 3 and no. 7 please.",
    "Wait... there is more.",
    "Well… maybe.",
    '"Really?" she asked.',
    "Das ist z.B. eine Straße, bzw. ein Weg.",
    "Yahoo!s are not sentences.",
    "What a mess?!?!",
    "He said hello.)",
    "Acme Inc. was founded in 1990.",
]
SPLITS = [
    ["It is fine today.", "You may go."],
    ["He lives in the U.S.", "The army is there."],
    ["We met at 9 a.m.", "Then we left."],
    ["No.", "I do not."],
    ["It costs 3.", "That is cheap."],
    ["Really?!", "Yes!", "Why?"],
    ['He said "yes."', "Then he left."],
    ["(It was late.)", "We slept."],
    ["**Bold end.**", "Next one."],
    ["Hmm...", "Perhaps."],
    ["Buy milk, eggs, etc.", "Then cook."],
    ["今天天气很好。", "你想去哪里？", "走吧！"],
    ["यह अच्छा है।", "हाँ।"],
    ["1. Open it. Then wait.", "2. Close it.", "3. Done!"],
    ["- apples", "- pears (two). Not three", "* plums"],
    ["A heading", "And a paragraph."],
    ["I am 5 ft. 3 in. tall.", "He is 42.", "She is not."],
]


@pytest.mark.parametrize("text", WHOLE)
def test_stops_inside_a_sentence_do_not_end_it(text: str) -> None:
    assert texts(text) == [text]


@pytest.mark.parametrize("want", SPLITS, ids=" ".join)
def test_sentences_are_told_apart(want: list[str]) -> None:
    if want[0].startswith(("1.", "-", "A heading")):
        assert texts("\n".join(["Look here.", *want])) == ["Look here.", *want]
    else:
        assert texts(("" if "。" in want[0] else " ").join(want)) == want


@pytest.mark.parametrize(
    ("deltas", "early"),
    [
        (["It is sunny", " today."], ["It is sunny today."]),
        (["Sure", "!"], ["Sure!"]),
        (["你好。"], ["你好。"]),
        (["Dr."], []),
        (["3."], []),
        (["The U.S."], []),
        (["See www.example."], []),
        (["See http://a.b/page."], []),
        (["See http://a.b/page?"], []),
        (['She said "hello there.'], []),
        (["Well, it depends on where you are,"], ["Well, it depends on where you are,"]),
        (["Well, it depends on where you are, and"], ["Well, it depends on where you are,"]),
        (["The house that I bought last year and", " then"], ["The house that I bought last year"]),
        (["It would cost you a sum of 1,"], []),
        (["It would cost you a sum of 1,", "000 dollars"], []),
        (["It happened at the old station at 10:"], []),
        (["We went to the seaside in May — it was"], ["We went to the seaside in May —"]),
        (["We went home,"], []),
        (["他们昨天去了城里的大公园，"], ["他们昨天去了城里的大公园，"]),
    ],
)
def test_the_first_phrase_comes_as_soon_as_it_is_safe(deltas: list[str], early: list[str]) -> None:
    splitter = SentenceSplitter(SentenceSettings())
    assert [sentence.text for delta in deltas for sentence in splitter.push(delta)] == early


def test_later_sentences_wait_for_what_follows_and_are_merged_when_short() -> None:
    splitter = SentenceSplitter(SentenceSettings(min_chars=20))
    assert [s.text for s in splitter.push("Hello there. ")] == ["Hello there."]
    assert splitter.push("I see. You ask. ") == []
    assert [s.text for s in splitter.push("Fine then. More")] == [" I see. You ask. Fine then."]
    assert [s.text for s in splitter.finish()] == [" More"]


def test_list_items_are_never_merged() -> None:
    got = texts("Buy this:\n\n- milk\n- **two** eggs\n- tea", SentenceSettings())
    assert got == ["Buy this:", "- milk", "- **two** eggs", "- tea"]


def test_long_sentences_are_cut_at_pauses() -> None:
    text = "start " + ", ".join(["this goes on and on for a while"] * 12) + "."
    pieces = texts(text, SentenceSettings(first_phrase_chars=10_000, max_chars=100))
    assert all(len(piece) <= 100 for piece in pieces)
    assert all(piece.endswith(",") for piece in pieces[:-1])


def test_text_without_any_space_is_cut_too() -> None:
    assert [len(s.text) for s in split(["x" * 1000], SentenceSettings(max_chars=240))] == [240, 240, 240, 240, 40]


def test_what_cannot_be_said_joins_the_next_sentence_or_stands_alone_at_the_end() -> None:
    config = SentenceSettings()
    assert split(["😀\n", "Hi!"], config) == [Sentence("😀\nHi!", "Hi!")]
    assert split(["That is all. ", "😀"], config) == [Sentence("That is all.", "That is all."), Sentence(" 😀", "")]
    assert split(["  \n "], config) == []


def test_a_splitter_begins_anew_after_the_end() -> None:
    splitter = SentenceSplitter(SentenceSettings())
    for _ in range(2):
        assert [s.text for s in splitter.push("Sure thing!")] == ["Sure thing!"]
        assert splitter.push(" And") == []
        assert [s.text for s in splitter.finish()] == [" And"]


WORDS = ["Hello", " world", "word", "ok", "Dr", "U.S.", "3.14", "1,000", " and ", " ", "\n", "\n\n", "你好", "。", "，"]
STOPS = [". ", ".", "! ", "?", "… ", "...", ", ", ",", "; ", " — ", '"', "”", "(", ")", "1. ", "- ", "| a |", "😀", "'"]
MARKUP = ["**", "`", "[x](y)", "[1]", "<b>", "[", "](", " http://a.b/c?d ", "\\", "_", "#", "🏽", "-", ":", "~~", "<"]
PIECE = st.sampled_from([*WORDS, *STOPS, *MARKUP])
TEXT = st.lists(PIECE, max_size=40).map("".join)
CONFIG = st.sampled_from(
    [SentenceSettings(), SINGLY, SentenceSettings(first_phrase_chars=5, min_chars=10, max_chars=25)]
)


@settings(max_examples=150, deadline=None)
@given(text=TEXT, cuts=st.lists(st.integers(0, 400), max_size=12), config=CONFIG)
@example(text="a" * 60, cuts=[], config=SentenceSettings(max_chars=25))
def test_nothing_is_lost_or_doubled_however_text_is_cut(text: str, cuts: list[int], config: SentenceSettings) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    out = split([text[a:b] for a, b in pairwise(edges)], config)
    assert "".join(s.text for s in out).rstrip() == text.rstrip()
    assert all(s.spoken for s in out[:-1])
    assert all(s.spoken == speakable(s.text) for s in out)


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.sampled_from([w for w in WORDS + STOPS if w != "| a |"]), max_size=60), size=st.integers(1, 9))
def test_every_word_is_spoken_once_and_in_order(parts: list[str], size: int) -> None:
    text = "".join(parts)
    out = split([text[at : at + size] for at in range(0, len(text), size)], SentenceSettings())
    assert re.findall(r"\w", "".join(s.spoken for s in out)) == re.findall(r"\w", text)


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_an_early_end_is_an_end_of_the_text_so_far(text: str) -> None:
    for first in (True, False):
        end = next_end(text, SentenceSettings(), first=first, final=False)
        assert 0 <= end <= len(text)
        assert end == 0 or text[:end].strip()


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Plain words, don't change: 3.5% of 1,000 & so on.", None),
        ("# Title", "Title"),
        ("This is **very** *important*, __really__ and ~~not~~ so.", "This is very important, really and not so."),
        ("**Half of it", "Half of it"),
        ("other half** is here", "other half is here"),
        ("snake_case_name and 2 * 3 = 6 and 5*3", None),
        ("See [the docs](https://a.b/c_(d)) now", "See the docs now"),
        ("![a cat](cat.png) sits", "a cat sits"),
        ("docs, which are](https://a.b) here", "docs, which are here"),
        ("[the docs](https://a", "the docs"),
        ("Use `pip install x` or ``y``", "Use pip install x or y"),
        ("```python\nrun()\n```", "run()"),
        ("```", ""),
        ("- one\n- two", "one. two"),
        ("* [x] done", "done"),
        ("1. first", "1. first"),
        ("> quoted\n> text", "quoted. text"),
        ("a<br/>b <b>bold</b> and a < b", "a b bold and a < b"),
        ("Known since 1990 [1][2, 3] 【4†source】.", "Known since 1990."),
        ("| Name | Age |\n|---|:-:|\n| Bob | 5 |", "Name, Age. Bob, 5"),
        ("Great 😀👍🏽! ✅ Done ➡️ go", "Great! Done go"),
        ("---", ""),
        ("Title\n\nBody here", "Title. Body here"),
        ("  spaced \t out  ", "spaced out"),
        ('." And then', "And then"),
        (", and more", "and more"),
        ("-5 degrees, .5 percent, 'tis", "-5 degrees, .5 percent, 'tis"),
        (".5 percent", None),
        ("\\*not bold\\*", "not bold"),
        ("C# and #1 cost $5", None),
        ("!?", ""),
        ("We went home -", "We went home,"),
        ("We went home —", "We went home,"),
        ("a well-known A- grade", None),
        ("", ""),
        ("你好，世界！", None),
    ],
)
def test_only_words_are_spoken(text: str, want: str | None) -> None:
    assert speakable(text) == (text if want is None else want)


@settings(max_examples=100, deadline=None)
@given(text=TEXT)
def test_the_spoken_form_is_final_enough_and_bounded(text: str) -> None:
    spoken = speakable(text)
    assert spoken == spoken.strip()
    assert "\n" not in spoken
    assert not re.search(r"[`😀]|\*\*", spoken)


@settings(max_examples=100, deadline=None)
@given(text=TEXT)
def test_a_spoken_position_is_found_in_the_text_and_never_moves_back(text: str) -> None:
    spoken = speakable(text)
    ends = [raw_end(text, spoken, end) for _, end in words(spoken)]
    assert ends == sorted(ends)
    assert all(0 <= end <= len(text) for end in ends)
    assert not ends or ends[-1] == len(text)
