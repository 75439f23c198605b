"""The assistant's phrases as sentences: the corpus of the small language model that listens beside dictation.

Not a grammar: a trigram model is estimated from these lines, so new combinations of known pieces are understood too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

_UNITS = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMBERS: tuple[str, ...] = (
    *_UNITS,
    *_TEENS,
    *_TENS,
    *(f"{ten} {unit}" for ten in _TENS for unit in _UNITS),
    "a hundred",
    "one hundred",
    "two hundred",
    "five hundred",
    "a thousand",
    "one thousand",
    "two point five",
    "one point five",
    "zero",
)
_OPERATORS = ("times", "plus", "minus", "divided by", "multiplied by", "times", "plus", "to the power of")
_ASKING = ("what is", "what's", "how much is", "calculate", "what is", "what's")
_MEASURES = tuple(
    "miles kilometers meters feet inches yards centimeters pounds kilograms ounces grams gallons liters pints cups "
    "fahrenheit celsius degrees millimeters seconds minutes hours days weeks".split()
)
_SINGLES = tuple(
    "mile kilometer meter foot inch yard centimeter pound kilogram ounce gram gallon liter pint cup minute hour day "
    "week year".split()
)
_TIME_UNITS = ("seconds", "minutes", "hours", "seconds", "minutes")
_ONE_TIME_UNIT = ("second", "minute", "hour", "minute")
_SPELLED = tuple(
    "banana necessary apple beautiful computer orange elephant rhythm giraffe separate definitely chocolate weather "
    "accommodate receive believe restaurant february wednesday tomorrow friend because though through knowledge "
    "science business calendar embarrass environment government library neighbor occasion schedule hello house "
    "water mother school language conscience mississippi".split()
)
_CITIES = "london paris new-york tokyo berlin sydney los-angeles chicago madrid rome moscow beijing delhi".split()
_FIXED = """
what time is it;what's the time;what is the time;tell me the time;what time is it now;do you know what time it is
could you tell me the time;the time please;what day is it;what day is it today;what is the date;what's the date
what is the date today;what's today's date;what is today's date;what day of the week is it;what year is it
what month is it;who are you;what are you;what is your name;what's your name;are you a robot;are you real
who made you;what can you do;what do you do;how can you help me;help;help me;help me please;i need help
tell me a story;tell me another story;a story please;another story;can you tell me a story;tell me a joke
tell us a story;read me a story;another one;one more;stop;stop it;stop talking;stop please;please stop;never mind
cancel;cancel that;forget it;be quiet;quiet please;shut up;enough;that's enough;wait;wait a minute;hold on;pause
go on;continue;keep going;thank you;thanks;thank you very much;thanks a lot;many thanks;no thank you;no thanks
hello;hello there;hi;hi there;hey;hey there;good morning;good afternoon;good evening;good night;how are you
how are you today;how are you doing;nice to meet you;goodbye;bye;bye bye;see you later;see you tomorrow;that's all
yes;no;yes please;okay;all right;sure;of course;right;yeah;exactly;maybe;i don't know;no i don't;yes i do
say that again;say it again;again;repeat that;repeat that please;can you repeat that;what did you say;pardon;pardon me
excuse me;sorry;can you hear me;are you there;testing one two three;cancel the timer;cancel my timer;stop the timer
cancel all timers;cancel all my timers;delete the timer;list my timers;list timers;show my timers;what timers are set
what timers do i have;how many timers do i have;how much time is left;how much time is left on the timer
how long is left;is there a timer;do i have any timers;set a timer;start a timer;set a timer please
spell that;how do you spell that;repeat after me;repeat after me please;say hello;say good morning;say hello to everyone
what is the weather;what's the weather;what's the weather like today;play some music;turn on the lights
turn off the lights;what's the news;who is the president;call my mother;what is the capital of france
i don't understand;slow down;speak slower;louder please
half a minute;half an hour;a quarter of an hour;an hour and a half;set a timer for half an hour
set a timer for a minute;set a timer for an hour;set a timer for an hour and a half;set a timer for a minute and a half
set a timer for two and a half minutes
how many feet are in a mile;how many feet in a mile;how many inches in a foot;how many ounces in a pound
how many cups in a gallon;how many seconds in a day;how many minutes in a day;how many days in a year
how many hours in a week;how many seconds in an hour;how many seconds are in an hour;how many minutes in an hour
what is pi;what is half of fifty
"""


def corpus() -> Iterator[str]:
    """All lines, lower case, words of the pronouncing dictionary only; the same ones at every call."""
    for _ in range(6):  # whole phrases weigh more than the combinations below
        yield from (phrase.strip() for line in _FIXED.strip().splitlines() for phrase in line.split(";"))
    yield from _sums()
    yield from _timers()
    yield from _conversions()
    for word in _SPELLED:
        yield from (f"spell {word}", f"how do you spell {word}", f"can you spell {word}", f"spell the word {word}")
    for city in _CITIES:
        name = city.replace("-", " ")
        yield from (f"what time is it in {name}", f"what's the time in {name}")
    for word in ("hello", "good morning", "the weather is nice today", "i am happy", "my name is", "one two three"):
        yield f"repeat after me {word}"


def _sums() -> Iterator[str]:
    for index, first in enumerate(NUMBERS):
        for step in range(6):
            second = NUMBERS[(index * 7 + step * 5) % len(NUMBERS)]
            operator = _OPERATORS[(index + step) % len(_OPERATORS)]
            asking = _ASKING[step]
            yield f"{asking} {first} {operator} {second}"
        yield f"what is the square root of {first}"
        yield f"what's the square root of {first}"
        yield f"what is {first} percent of {NUMBERS[(index * 11) % len(NUMBERS)]}"
        yield f"what's {first} percent of {NUMBERS[(index * 13 + 3) % len(NUMBERS)]}"
        yield f"what is {first} squared"
        yield f"what is half of {first}"
        yield f"and {_OPERATORS[index % len(_OPERATORS)]} {first}"
        yield f"{first}"


def _timers() -> Iterator[str]:
    for index, number in enumerate(NUMBERS):
        unit = _TIME_UNITS[index % len(_TIME_UNITS)]
        other = _TIME_UNITS[(index + 1) % len(_TIME_UNITS)]
        single = _ONE_TIME_UNIT[index % len(_ONE_TIME_UNIT)]
        yield f"set a timer for {number} {unit}"
        yield f"set a timer for {number} {other}"
        yield f"set the timer for {number} {unit}"
        yield f"set timer for {number} {other}"
        yield f"start a timer for {number} {unit}"
        yield f"set a {number} {single} timer"
        yield f"start a {number} {single} timer"
        yield f"remind me in {number} {unit}"
        yield f"wake me up in {number} {other}"
        yield f"{number} {unit}"


def _conversions() -> Iterator[str]:
    for index, unit in enumerate(_MEASURES):
        for step in range(1, len(_MEASURES), 2):
            target = _MEASURES[(index + step) % len(_MEASURES)]
            number = NUMBERS[(index * 5 + step) % len(NUMBERS)]
            yield f"convert {number} {unit} to {target}"
            yield f"what is {number} {unit} in {target}"
            yield f"how many {target} are in {number} {unit}"
            yield f"how much is {number} {unit} in {target}"
        for step, single in enumerate(_SINGLES):
            if (step + index) % 2:
                article = "an" if single[0] in "aeiou" or single == "hour" else "a"
                yield f"how many {unit} are in {article} {single}"
                yield f"how many {unit} in {article} {single}"
        yield f"and in {unit}"
        yield f"what about {unit}"
        yield f"{NUMBERS[index]} degrees celsius in fahrenheit"
        yield f"convert {NUMBERS[index * 3]} degrees fahrenheit to celsius"


_CLASSES: dict[str, str] = {
    **dict.fromkeys(_SPELLED, "<word>"),
    **dict.fromkeys((part for city in _CITIES for part in city.split("-")), "<city>"),
    **dict.fromkeys(_MEASURES, "<units>"),
    **dict.fromkeys(_SINGLES, "<unit>"),
    **dict.fromkeys((part for number in NUMBERS for part in number.split() if part != "a"), "<number>"),
}


def novelty(words: Iterable[str]) -> float:
    """Share (0-1) of the triples of neighbouring words that no phrase has; numbers, units and names are alike."""
    triples = _triples(words)
    known = _known_triples()
    return sum(triple not in known for triple in triples) / len(triples) if triples else 1.0


@cache
def _known_triples() -> frozenset[tuple[str, str, str]]:
    return frozenset(triple for line in set(corpus()) for triple in _triples(line.split()))


def _triples(words: Iterable[str]) -> list[tuple[str, str, str]]:
    kinds = ["<s>"]
    for word in words:
        kind = _CLASSES.get(word, word)
        if not (kind == kinds[-1] == "<number>"):
            kinds.append(kind)
    kinds.append("</s>")
    return list(zip(kinds, kinds[1:], kinds[2:], strict=False)) if len(kinds) > 2 else []
