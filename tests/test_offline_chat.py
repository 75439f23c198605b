"""The offline assistant: what it understands, also of what a recogniser gets wrong, and what it answers."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median
from time import thread_time

import msgspec
import pytest

from aura.core.ports import ChatRequest, Message, TextDelta, Tool, ToolCall
from aura.providers.offline.chat import decide
from aura.providers.offline.numbers import find_sum, number_at
from aura.providers.offline.phrases import corpus
from aura.providers.offline.skills_text import correct, plain
from aura.providers.offline.stories import STORIES
from aura.providers.tools.builtin import default_toolbox

NOW = datetime(2026, 11, 22, 14, 54, tzinfo=UTC)
TOOLS = default_toolbox(lambda: NOW).tools()
BEYOND = "That is beyond me while I am offline."


def asked(text: str, tools: tuple[Tool, ...] = TOOLS) -> str | tuple[str, dict[str, object]]:
    """The tool with its arguments that an utterance leads to, or the answer."""
    items = decide(ChatRequest((Message("user", text),), tools))
    first = items[0]
    if isinstance(first, ToolCall):
        return first.name, msgspec.json.decode(first.arguments)
    return "".join(item.text for item in items if isinstance(item, TextDelta))


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        *((text, ("current_time", {})) for text in (
            "what time is it", "What's the time?", "tell me the time", "what time it", "what thyme is it",
            "could you please tell me what time it is", "um what's the time now", "stop wait what is the date today",
            "what is today's date", "what day is it", "what they is it", "what year is it",
            "what tim is it", "what time is it what is the date", "no stop what's the time",
            "do you know what time it is aura",
        )),
        ("what time is it in new york", ("current_time", {"timezone": "New York"})),
        ("what's the time in delhi", ("current_time", {"timezone": "Asia/Kolkata"})),
        *((text, ("calculate", {"expression": expression})) for text, expression in (
            ("what's seven times eight", "7 * 8"),
            ("what is twenty five times four", "25 * 4"),
            ("what is for times ate", "4 * 8"),
            ("what is to plus too", "2 + 2"),
            ("seven time eight", "7 * 8"),
            ("seven tines eight", "7 * 8"),
            ("won plus tree", "1 + 3"),
            ("twenty percent of fifty", "20% of 50"),
            ("what's 15% of 80?", "15% of 80"),
            ("square root of eighty one", "sqrt(81)"),
            ("what is the squire root of nine", "sqrt(9)"),
            ("what's the square route of nine", "sqrt(9)"),
            ("seven hundred and three minus twelve", "703 - 12"),
            ("ten divided by four", "10 / 4"),
            ("ten divide by four", "10 / 4"),
            ("ten devided by four", "10 / 4"),
            ("ten divided buy four", "10 / 4"),
            ("divide ten by four", "10 / 4"),
            ("subtract three from ten", "10 - 3"),
            ("what is the sum of two and three", "2 + 3"),
            ("how much is 3 × 4", "3 * 4"),
            ("3-1", "3 - 1"),
            ("two to the power of ten", "2 ** 10"),
            ("what is five squared", "5**2"),
            ("what is half of fifty", "0.5 * 50"),
            ("what is minus five plus three", "(-5) + 3"),
            ("what is two and a half times four", "2.5 * 4"),
            ("what is three point one four times two please", "3.14 * 2"),
        )),
        *((text, ("set_timer", arguments)) for text, arguments in (
            ("set a timer for ten seconds", {"seconds": 10}),
            ("set a timer for five minutes", {"seconds": 300}),
            ("sat a timer for five minute", {"seconds": 300}),
            ("set timer for five minuets", {"seconds": 300}),
            ("set a tymer for for minutes", {"seconds": 240}),
            ("set a timer for to minutes", {"seconds": 120}),
            ("set a timer for won minute", {"seconds": 60}),
            ("set the time for ten minutes", {"seconds": 600}),
            ("set a timber for ten minutes", {"seconds": 600}),
            ("start a ten minute timer", {"seconds": 600}),
            ("five minute timer please", {"seconds": 300}),
            ("set a timer for an hour and a half", {"seconds": 5400}),
            ("set a timer for half an hour", {"seconds": 1800}),
            ("set a timer for a quarter of an hour", {"seconds": 900}),
            ("set a timer for two and a half minutes", {"seconds": 150}),
            ("set a timer for one hour and thirty minutes", {"seconds": 5400}),
            ("set a timer for 90 seconds", {"seconds": 90}),
            ("set a tea timer for three minutes", {"seconds": 180, "label": "tea"}),
            ("set a timer for three minutes for the eggs", {"seconds": 180, "label": "eggs"}),
            ("remind me in ten seconds to call my mother",
             {"seconds": 10, "label": "call my mother", "message": "Here is your reminder: call your mother."}),
            ("remind me to check the oven in twenty minutes",
             {"seconds": 1200, "label": "check the oven", "message": "Here is your reminder: check the oven."}),
            ("remained me in ten minutes", {"seconds": 600, "message": "Here is your reminder."}),
        )),
        *((text, ("list_timers", {})) for text in (
            "list my timers", "what timers do i have", "how much time is left", "how many timers are running",
        )),
        ("cancel the timer", ("cancel_timer", {})),
        ("cancel timer", ("cancel_timer", {})),
        ("cancel the tea timer", ("cancel_timer", {"label": "tea"})),
        ("stop the ten minute timer", ("cancel_timer", {"label": "10 minute"})),
        ("cancel all my timers", ("cancel_timer", {"label": "all"})),
        *((text, ("convert_units", {"value": value, "unit_from": a, "unit_to": b})) for text, value, a, b in (
            ("how many feet are in a mile", 1, "mile", "feet"),
            ("how many feat in a mile", 1, "mile", "feet"),
            ("how many minuets are in an hour", 1, "hour", "minutes"),
            ("convert ten miles to kilometers", 10, "miles", "kilometers"),
            ("convent ten miles to kilometers", 10, "miles", "kilometers"),
            ("convert ten miles to kilo meters", 10, "miles", "kilometers"),
            ("ten mile in killometers", 10, "mile", "kilometers"),
            ("what is ten pounds in kilograms", 10, "pounds", "kilograms"),
            ("72 fahrenheit in celsius", 72, "fahrenheit", "celsius"),
            ("seventy two degrees farenheit in celcius", 72, "fahrenheit", "celsius"),
            ("what is seventy two degrees in celsius", 72, "fahrenheit", "celsius"),
            ("72°F in °C", 72, "f", "c"),
            ("minus ten celsius in fahrenheit", -10, "celsius", "fahrenheit"),
            ("five feet eleven inches in centimeters", 71, "inches", "centimeters"),
            ("10km in miles", 10, "km", "miles"),
        )),
    ],
)  # fmt: skip
def test_what_calls_a_tool(heard, expected):
    assert asked(heard) == expected


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        ("who are you", "I am AURA's offline assistant: a small set of rules, not a language model."),
        ("are you a robot", "not a language model"),
        ("what can you do", "I can tell the time"),
        ("help", "I can tell the time"),
        ("hello", "Hello!"),
        ("hallo", "Hello!"),
        ("good mourning", "Good morning!"),
        ("how are you today", "thank you"),
        ("thank you very much", "You are welcome."),
        ("goodbye", "Goodbye!"),
        ("stop", "Okay."),
        ("never mind", "never mind"),
        ("wait", "take your time"),
        ("weight", "take your time"),
        ("can you hear me", "I can hear you"),
        ("i don't understand", "Sorry"),
        ("tell me a story", "lighthouse"),
        ("tell me a store", "lighthouse"),
        ("could you tell us a story please", "lighthouse"),
        ("tell me a jock", "microphone"),
        ("spell necessary", "Necessary: N, E, C, E, S, S, A, R, Y."),
        ("how do you spell sea", "Sea: S, E, A."),
        ("spill banana", "Banana: B, A, N, A, N, A."),
        ("can you spell the word rhythm please", "Rhythm: R, H, Y, T, H, M."),
        ("how is cat spelled", "Cat: C, A, T."),
        ("repeat after me the sea is blue", "The sea is blue."),
        ("Repeat after me: I am Bob!", "I am Bob!"),
        ("please say hello to everyone", "Hello to everyone."),
        ("set a timer", "For how long"),
        ("set an alarm for seven", "in how many minutes"),
        ("set a timer for thirty hours", "too long"),
        ("wake me up in forty two hours", "too long"),
        ("what did i just say", "not said anything before"),
        ("say that again", "I have not said anything yet."),
        ("another one", "stories and jokes"),
        ("what is pi", "3.14159"),
        ("what is the capital of france", f"I heard: what is the capital of france. {BEYOND} Ask me for the time"),
        ("what's the weather?", f"I heard: what's the weather. {BEYOND}"),
        ("i had two plus ones with me at the party yesterday", BEYOND),
        ("wie spät ist es", BEYOND),
        ("", "I did not catch that."),
        ("...", "I did not catch that."),
    ],
)
def test_what_is_answered_at_once(heard, answer):
    assert answer in asked(heard)


def test_deciding_takes_less_than_a_millisecond():
    lines = list(dict.fromkeys(corpus()))[::23]
    history = tuple(
        message
        for number in range(60)
        for message in (Message("user", f"what is {number} plus two"), Message("assistant", STORIES[number % 4]))
    )
    spent = []
    for line in lines:
        began = thread_time()
        decide(ChatRequest((*history, Message("user", line)), TOOLS))
        spent.append(thread_time() - began)
    assert median(spent) < 0.001


def test_a_torrent_of_words_is_answered_in_time():
    words = " ".join(line for line in list(corpus())[3000:3400])
    began = thread_time()
    decide(ChatRequest((Message("user", words),), TOOLS))
    assert thread_time() - began < 0.05


def test_what_the_recogniser_listens_for_is_understood():
    starts = ("what's", "what is", "how many", "how much", "set", "start", "spell", "convert", "remind", "wake", "tell")
    lines = [line for line in dict.fromkeys(corpus()) if line.startswith(starts)]
    lines = [line for line in lines if "degrees" not in line or "celsius" in line or "fahrenheit" in line]
    lost = [line for line in lines if BEYOND in str(asked(line))]
    assert len(lines) > 1000
    assert len(lost) < 0.005 * len(lines), lost


# ---- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's 3 × 4?", "what is 3 times 4"),
        ("1,200 - 5", "1200 minus 5"),
        ("-5 + 3", "minus 5 plus 3"),
        ("It’s 72°F.", "it is 72 degrees f"),
        ("10km, please!", "10 km please"),
        ("twenty-five", "twenty five"),
        ("2.5 cups.", "2.5 cups"),
        ("today's date", "today date"),
        ("I can't", "i can not"),
    ],
)
def test_plain_words(text, words):
    assert " ".join(plain(text)) == words


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ("storie", "stories"), ("kilometrs", "kilometers"), ("farenheight", "fahrenheit"), ("multiplyed", "multiplied"),
        ("calculat", "calculate"), ("thyme", "time"), ("cat", "cat"), ("elephant", "elephant"), ("time", "time"),
    ],
)  # fmt: skip
def test_words_are_corrected_to_known_ones(heard, meant):
    assert correct(heard) == meant


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("seven", 7), ("twenty five", 25), ("one hundred", 100), ("a hundred and five", 105), ("hundred", 100),
        ("seven hundred and three", 703), ("two thousand and twenty six", 2026), ("nineteen", 19), ("a dozen", 12),
        ("one hundred twenty three thousand four hundred fifty six", 123456), ("three million", 3_000_000),
        ("three point one four", 3.14), ("zero point oh five", 0.05), ("two and a half", 2.5), ("half", 0.5),
        ("minus ten", -10), ("2.5", 2.5), ("3 million", 3_000_000), ("a couple of", 2), ("twelve hundred", 1200),
    ],
)  # fmt: skip
def test_spoken_numbers(words, value):
    found = number_at(words.split(), 0)
    assert found is not None
    assert (found.value, found.end) == (value, len(words.split()))


@pytest.mark.parametrize("words", ["", "a", "an apple", "and", "point five", "story", "minus", "thousands"])
def test_not_numbers(words):
    assert number_at(words.split(), 0) is None


@pytest.mark.parametrize(
    "words", ["seven", "seven over", "plus", "one two three", "what is", "times", "divide ten", ""]
)
def test_not_sums(words):
    assert find_sum(words.split()) is None
