"""What kind of question it is: accuracy, time, and what else the router and the caches need to know."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import ConfigError
from aura.core.routing.classify import classify
from aura.core.routing.query import Query
from aura.core.routing.rules import KINDS, load_rules
from aura.providers.routing_data import read as read_data
from aura.providers.routing_data import rules
from tests.routing_accuracy import HELD_OUT, TOOLS, TUNED, judge, percentile_ms, read, share

RULES = rules()


def ask(text: str, tools: tuple[str, ...] = (), **more: object) -> Query:
    return classify(text, RULES, tools=tools, **more)  # type: ignore[arg-type] # of the right types


@pytest.mark.parametrize(
    ("path", "part", "floor"),
    [
        (TUNED, "kind", 0.97), (TUNED, "tier", 0.97), (TUNED, "language", 0.98),
        (HELD_OUT, "kind", 0.9), (HELD_OUT, "tier", 0.9), (HELD_OUT, "language", 0.97),
    ],
)  # fmt: skip
def test_most_labelled_questions_are_judged_right(path, part, floor):
    judged = judge(read(path), RULES)
    assert len(judged) >= (300 if path == TUNED else 70)
    assert share(judged, part) >= floor


def test_no_question_is_in_both_files_or_twice():
    texts = [one[0] for path in (TUNED, HELD_OUT) for one in read(path)]
    assert len(texts) == len(set(texts))


def test_one_takes_less_than_a_millisecond():
    texts = [one[0] for path in (TUNED, HELD_OUT) for one in read(path)]
    assert percentile_ms(RULES, texts, 0.99, rounds=3) < 1.0


def test_a_very_long_text_takes_no_longer_than_its_beginning_and_end():
    text = " ".join(one[0] for one in read(TUNED) if one[3] == "en") * 10
    assert len(text) > 40_000
    assert percentile_ms(RULES, [text], 0.5) < 3.0
    assert ask(text).kind == "long"


def test_the_accuracy_is_printed_by_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "tests.routing_accuracy"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "queries_held_out: 78 questions" in done.stdout
    assert all(kind in done.stdout for kind in KINDS)


@pytest.mark.parametrize(
    ("text", "personal"),
    [
        ("what is the capital of france", False),
        ("wie hoch ist der eiffelturm", False),
        ("qui a écrit les misérables", False),
        ("cuál es la capital de perú", False),
        ("who painted the mona lisa", False),
        ("why is the sky blue", False),
        ("what is my name", True),
        ("and what about berlin", True),
        ("tell me more about that", True),
        ("how old is he", True),
        ("wie heißt mein hund", True),
        ("und wie weit ist das", True),
        ("quel est mon âge", True),
        ("cuál es mi nombre", True),
        ("come mi chiamo io", True),
        ("qual é o meu nome", True),
        ("wat is mijn naam", True),
        ("как меня зовут", True),
        ("我叫什么", True),
        ("are you sure", True),
    ],
)
def test_what_refers_to_the_talk_or_its_people_is_personal(text, personal):
    assert ask(text).personal == personal


@pytest.mark.parametrize(
    ("text", "timely"),
    [
        ("what time is it", True),
        ("will it rain tomorrow", True),
        ("wer ist der aktuelle bundeskanzler", True),
        ("what's the latest news", True),
        ("what is the capital of france", False),
        ("why is the sky blue", False),
    ],
)
def test_what_is_only_true_for_a_while_is_timely(text, timely):
    assert ask(text).timely == timely


@pytest.mark.parametrize(
    ("text", "tools", "kind", "needs_tools"),
    [
        ("set a timer for ten minutes", ("set_timer",), "tool", True),
        ("set a timer for ten minutes", ("getWeather",), "small_talk", False),
        ("will it rain tomorrow", ("getWeatherForecast",), "tool", True),
        ("will it rain tomorrow", (), "factual", False),
        ("what is seventeen times three", ("calculate",), "tool", True),
        ("what is seventeen times three", (), "factual", False),
        ("where is my parcel now", ("track_parcel",), "tool", True),
        ("where is my parcel now", ("get_user_data",), "factual", False),
        ("hello there", TOOLS, "small_talk", False),
        ("write a python script that sets a timer", TOOLS, "code", True),
    ],
)
def test_only_functions_that_are_there_are_needed(text, tools, kind, needs_tools):
    found = ask(text, tools)
    assert (found.kind, found.needs_tools) == (kind, needs_tools)


def test_much_history_and_many_words_ask_for_more():
    assert ask("should i rent or buy a flat").tier == "standard"
    assert ask("should i rent or buy a flat", history_chars=20_000).tier == "quality"
    assert ask("hello", history_chars=20_000).tier == "fast"


@pytest.mark.parametrize(
    ("text", "hint", "language"),
    [
        ("kubernetes", "", ""),
        ("kubernetes", "de", "de"),
        ("berlin", "pt-BR", "pt"),
        ("what is the capital of france", "de", "en"),
        ("ciao", "", "it"),
        ("сколько это стоит", "", "ru"),
        ("колко струва", "bg", "bg"),
        ("скільки це коштує", "", "uk"),
        ("چطوری", "", "fa"),
        ("ραντεβού αύριο", "", "el"),
        ("你好", "", "zh"),
        ("ありがとう", "", "ja"),
        ("今何時", "ja", "ja"),
        ("今何時", "de", "zh"),
    ],
)
def test_languages_are_told_by_script_words_and_hint(text, hint, language):
    assert ask(text, language=hint).language == language


def test_fillers_and_courtesies_do_not_matter():
    plain = ask("what is the capital of france")
    for opening in ("um so ", "hey aura could you please tell me ", "okay quick question "):
        found = ask(opening + "what is the capital of france")
        assert (found.kind, found.tier) == (plain.kind, plain.tier)


def test_capitals_and_marks_do_not_matter():
    for text in ("What's the capital of France?", "what’s the capital of france", "WHAT'S THE CAPITAL, OF FRANCE?!"):
        assert msgspec_view(ask(text)) == msgspec_view(ask("what's the capital of france"))


def msgspec_view(query: Query) -> tuple[str, str, str, tuple[str, ...]]:
    return query.kind, query.tier, query.language, query.why


@given(st.text(max_size=300) | st.text("helo what is 是のаб#* ,'’.5%\n", max_size=300), st.lists(st.text(max_size=12)))
def test_any_text_is_classified(text, tools):
    found = classify(text, RULES, tools=tools)
    assert found.kind in KINDS
    assert 0 <= found.confidence <= 1
    assert found == classify(text, RULES, tools=tools)


@given(st.sampled_from([one[0] for one in read(TUNED)]), st.integers(0, 60))
def test_every_beginning_of_a_question_is_classified(text, length):
    assert ask(text[:length], TOOLS).kind in KINDS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[scale]", "[scala]"), "scale"),
        (("long_words = 90", 'long_words = "many"'), "long_words"),
        (("tier_only", "tier_onyl"), "tier_onyl"),
        (("[strategies.fastest]\nquality", "[strategies.fastest]\nqualty"), "qualty"),
        (("kinds = { code", "kinds = { coding"), "coding"),
        (("\\\\w\\\\(\\\\)", "\\\\w("), "routing rules"),
        (("[scale]", "[[["), "routing rules"),
    ],
)
def test_broken_rules_are_refused(change, message):
    text = read_data("rules.toml")
    assert change[0] in text
    with pytest.raises(ConfigError, match=message):
        load_rules(text.replace(*change))
