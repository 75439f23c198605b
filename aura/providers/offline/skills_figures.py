"""Sums, units, and the clock."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from aura.providers.offline import wording
from aura.providers.offline.numbers import Found, figure, find_sum, number_at, number_before
from aura.providers.offline.skills_base import Answer, Ask, View
from aura.providers.offline.skills_phrases import GOOD_MATCH, match
from aura.providers.offline.skills_text import corrected, plain
from aura.providers.tools import arithmetic, units
from aura.providers.tools.clock import ZONES
from aura.providers.tools.registry import ToolFault

# ---- sums

_LAST_NUMBER = re.compile(r"\bis (?:about )?(?P<value>(?:minus )?\d+(?:\.\d+)?)[^\d]*$")


def sums(ask: Ask) -> Answer | None:
    """Work out what is asked, also when it goes on with the last result (`and times three`)."""
    found = find_sum(ask.words, lenient=ask.guessing)
    if found is None:
        return _constant(ask)
    expression = found.expression
    if found.continues:
        last = _LAST_NUMBER.search(ask.view.last_said())
        if last is None or _odd_words(ask.words[: found.begin] + ask.words[found.end :]):
            return None
        expression = f"{last['value'].replace('minus ', '-')} {expression}"
    elif _odd_words(ask.words[: found.begin] + ask.words[found.end :]) > 2:
        return None
    use = ask.view.use("calculate", expression=expression)
    if use is not None:
        return use
    try:
        return wording.sum_said(expression, arithmetic.evaluate(expression))
    except ToolFault as fault:
        return str(fault)


_AROUND_SUMS = frozenset(
    "what is how much the of please calculate compute tell me can you could do does make equal equals to and a so "
    "then now work out know i want would like give result answer sum for okay stop wait no hey hi hello aura um uh "
    "well".split()
)


def _odd_words(words: Sequence[str]) -> int:
    """How many words have no business beside a sum."""
    return sum(word not in _AROUND_SUMS for word in words)


def _constant(ask: Ask) -> Answer | None:
    return "Pi is about 3.14159." if ask.words[-1:] == ("pi",) and ask.has("what", "is") else None


# ---- units


class Asked(msgspec.Struct, frozen=True):
    """A conversion somebody asks for; `source` is empty in `and in kilometers`."""

    value: float
    source: str
    target: str


class _Mention(msgspec.Struct, frozen=True):
    unit: str
    begin: int
    end: int
    number: Found | None


_SHORT: Mapping[str, str] = {
    word: word for word in "km kms cm mm kg kgs mg lb lbs oz ft yd mi ml cl l tsp tbsp mph kph kmh".split()
}
_AFTER_NUMBER: Mapping[str, str] = {"f": "f", "c": "c", "k": "k", "m": "m", "g": "g", "see": "c", "sea": "c"}
"""Only units after a number, after `degrees`, or at the end of `in …`."""
_NAMES: frozenset[str] = frozenset(
    name
    for unit in units.UNITS
    for plural in (unit.one, unit.many, *unit.also, *(f"{other}s" for other in unit.also))
    if len(name := plural.lower().removeprefix("degree ").removeprefix("degrees ")) > 3
    or name in ("foot", "ton", "cup", "day")
)
_LEADS_ON = frozenset("in into to about many as".split())
_GOES_ON = _LEADS_ON | frozenset("and what how is are that it this then okay now please convert say the same".split())
"""Words around the new unit in `and in kilometers`, `how many feet is that`."""
_CUES = frozenset("how convert in into to is what change turn make equal equals are".split())


def conversions(ask: Ask) -> Answer | None:
    """Convert units, also when only the new unit is said (`and in kilometers`)."""
    asked = _conversion(ask.words)
    if asked is None:
        return None
    if not asked.source:
        before = _last_conversion(ask.view)
        if before is None:
            return None
        asked = Asked(before.value, before.source, asked.target)
    use = ask.view.use("convert_units", value=asked.value, unit_from=asked.source, unit_to=asked.target)
    if use is not None:
        return use
    try:
        source, target = units.choose(asked.source, asked.target)
    except ToolFault as fault:
        return str(fault)
    return wording.conversion_said(asked.value, source, units.convert(asked.value, source, target), target)


def _last_conversion(view: View) -> Asked | None:
    """The last complete one that the user asked for."""
    for text in reversed(view.asked()[:-1]):
        for words in (plain(text), corrected(plain(text))):
            asked = _conversion(words)
            if asked and asked.source:
                return asked
    return None


def _conversion(words: Sequence[str]) -> Asked | None:
    mentions = _mentions(words)
    if not mentions or not _CUES.intersection((*words, "to" if len(mentions) > 1 else "")):
        return None
    if len(mentions) == 1:
        return _half_a_conversion(words, mentions[0])
    counted = [mention for mention in mentions if mention.number]
    first = mentions[0]
    if first.begin > 1 and tuple(words[first.begin - 2 : first.begin]) == ("how", "many"):
        return Asked(_value(mentions[1]), mentions[1].unit, first.unit)
    if len(mentions) == 3 and len(counted) >= 2:
        return _two_parts(mentions)
    if len(mentions) != 2:
        return None
    source, target = (mentions[1], first) if counted == [mentions[1]] else (first, mentions[1])
    if source.unit == target.unit:
        return None
    return Asked(_value(source), source.unit, target.unit)


def _half_a_conversion(words: Sequence[str], mention: _Mention) -> Asked | None:
    """`and in kilometers`, or `72 degrees in celsius`: from the other temperature."""
    degrees = next((at for at, word in enumerate(words) if word in ("degrees", "degree")), -1)
    other = {"celsius": "fahrenheit", "centigrade": "fahrenheit", "c": "fahrenheit"}.get(mention.unit, "celsius")
    number = number_before(words, degrees) if 0 < degrees < mention.begin - 1 else None
    if number and units.named(mention.unit)[0].kind == "temperature":
        return Asked(number.value, other, mention.unit)
    others = {*words[: mention.begin], *words[mention.end :]}
    return (
        Asked(1.0, "", mention.unit) if mention.number is None and others & _LEADS_ON and others <= _GOES_ON else None
    )


def _two_parts(mentions: Sequence[_Mention]) -> Asked | None:
    """`five feet eleven inches in centimeters`"""
    large, small, target = mentions
    try:
        value = _value(small) + units.convert(_value(large), *units.choose(large.unit, small.unit))
    except ToolFault:
        return None
    return Asked(float(f"{value:.10g}"), small.unit, target.unit)


def _value(mention: _Mention) -> float:
    return mention.number.value if mention.number else 1.0


def _mentions(words: Sequence[str]) -> list[_Mention]:
    """The units in an utterance, each with the number before it."""
    found: list[_Mention] = []
    at = 0
    while at < len(words):
        name, end = _unit_at(words, at)
        if not name:
            at += 1
            continue
        begin = at - 1 if at and words[at - 1] in ("degrees", "degree") else at
        number = number_before(words, begin)
        if number is None and words[begin - 1 : begin] in (["a"], ["an"], ("a",), ("an",)):
            number = Found(1.0, begin - 1, begin)
        found.append(_Mention(name, number.begin if number else begin, end, number))
        at = end
    return found


def _unit_at(words: Sequence[str], at: int) -> tuple[str, int]:
    for size in (3, 2, 1):
        name = " ".join(words[at : at + size])
        if name in _NAMES and len(words) >= at + size:
            return name, at + size
    word = words[at]
    if word in _SHORT:
        return _SHORT[word], at + 1
    before = words[at - 1] if at else ""
    if word in _AFTER_NUMBER and (
        before in ("degrees", "degree") or number_before(words, at) or (before in ("in", "to") and at + 1 == len(words))
    ):
        return _AFTER_NUMBER[word], at + 1
    return "", at


# ---- the clock

_CLOCK = ("time", "date", "date_and_time", "year", "month")
_PLACE = ("in", "at", "for", "about")


def clock(ask: Ask) -> Answer | None:
    """The time and the date, here or in a city."""
    place, rest = _place(ask.words)
    intent, score = match(rest)
    follows = place and wording.told_the_time(ask.view.last_said()) and set(rest) <= {"and", "what", "how", "now"}
    if not follows and (score < GOOD_MATCH or intent not in _CLOCK):
        return None
    if place:
        place = " ".join(word.capitalize() for word in place.split())
    use = ask.view.use("current_time", timezone=ZONES.get(place.lower(), place))
    if use is None and place and ask.view.use("current_time"):
        return "I only know the time here."
    return use or "I have no clock in this conversation, so I cannot tell."


def wanted(words: Sequence[str]) -> str:
    """What of the clock is asked for."""
    _, rest = _place(words)
    intent, score = match(rest)
    return intent if intent in _CLOCK and score >= GOOD_MATCH else "time"


def _place(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """`what time is it` *in london*, and the words before it."""
    for at in range(len(words) - 1, 0, -1):
        if words[at - 1] in _PLACE and 0 < len(words) - at <= 3:
            place = [word for word in words[at:] if word not in ("now", "please", "the", "right")]
            if place and place[0] not in ("it", "me", "today", "this", "that"):
                return " ".join(place), words[: at - 1]
    return "", words


def number_said(words: Sequence[str]) -> str:
    """The first number in the words as figures, or empty."""
    found = next((found for at in range(len(words)) if (found := number_at(words, at))), None)
    return figure(found.value) if found else ""
