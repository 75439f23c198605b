"""Results in words that are pleasant to hear."""

from __future__ import annotations

import re
from contextlib import suppress
from math import isfinite

import msgspec

from aura.providers.offline.skills_base import round_for_speech
from aura.providers.tools.units import Unit, amount

MAX_RESULT_CHARS = 400

_SPOKEN: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"sqrt\(([^()]*)\)"), r"the square root of \1"),
    (re.compile(r"\((-?[\d.]+)\)"), r"\1"),
    (re.compile(r"\*\* ?2\b(?!\d)"), " squared"),
    (re.compile(r"\*\* ?3\b(?!\d)"), " cubed"),
    (re.compile(r" ?\*\* ?"), " to the power of "),
    (re.compile(r"% of"), " percent of"),
    (re.compile(r"%(?= \d)"), " modulo"),
    (re.compile(r"%"), " percent"),
    (re.compile(r"\b0\.5 \* "), "half of "),
    (re.compile(r" ?\* ?"), " times "),
    (re.compile(r" ?/ ?"), " divided by "),
    (re.compile(r" ?\+ ?"), " plus "),
    (re.compile(r"(?<=[\d)]) - "), " minus "),
    (re.compile(r"(?<!\w)-(?=\d)"), "minus "),
    (re.compile(r"\s+"), " "),
)


def sum_said(expression: str, value: float) -> str:
    """`25 * 4`, 100 → 25 times 4 is 100."""
    spoken = expression
    for pattern, replacement in _SPOKEN:
        spoken = pattern.sub(replacement, spoken)
    spoken = spoken.strip()
    text, rounded = round_for_speech(value)
    return f"{spoken[0].upper()}{spoken[1:]} is {'about ' if rounded else ''}{text}."


def conversion_said(value: float, source: Unit, result: float, target: Unit) -> str:
    """`10 miles is about 16.09 kilometers.`"""
    given, _ = round_for_speech(value)
    text, rounded = round_for_speech(result)
    begin, end = amount(value, given, source), amount(result, text, target)
    return f"{begin[0].upper()}{begin[1:]} is {'about ' if rounded else ''}{end}."


_EQUATION = re.compile(r"(?P<left>.+?) = (?P<value>-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?P<unit>\D*)", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def calculated(expression: str, result: str) -> str:
    """The result of `calculate`."""
    found = _EQUATION.fullmatch(result.strip())
    text = found["value"] if found else result.strip()
    known = bool(_NUMBER.fullmatch(text)) and bool(expression.strip()) and isfinite(float(text))
    return sum_said(expression, float(text)) if known else plain_result(result)


def converted(result: str) -> str:
    """The result of `convert_units`."""
    found = _EQUATION.fullmatch(result.strip())
    if found is None or not isfinite(float(found["value"])):
        return plain_result(result)
    text, rounded = round_for_speech(float(found["value"]))
    left = found["left"].replace("-", "minus ")
    return f"{left[0].upper()}{left[1:]} is {'about ' if rounded else ''}{text}{found['unit']}."


_WHEN = re.compile(r"(?P<weekday>\w+day), (?P<day>\d+) (?P<month>\w+) (?P<year>\d{4}), (?P<hour>\d\d):(?P<minute>\d\d)")
_TIME_SAID = re.compile(r"^(?:It is \d+(?::\d\d)? [AP]M|Today is )")


def clock_read(wanted: str, place: str, result: str) -> str:
    """The result of `current_time`, as far as it was asked for."""
    found = _WHEN.match(result)
    if found is None:
        return plain_result(result.partition(";")[0])
    hour, minute = int(found["hour"]), found["minute"]
    exact = f"{hour % 12 or 12}{'' if minute == '00' else f':{minute}'} {'AM' if hour < 12 else 'PM'}"
    where = f" in {place.rpartition('/')[2].replace('_', ' ')}" if place else ""
    day = f"{found['weekday']}, the {_ordinal(int(found['day']))} of {found['month']} {found['year']}"
    return {
        "date": f"{f'In {where[4:]} it' if where else 'Today'} is {day}.",
        "date_and_time": f"It is {exact}{where} on {day}.",
        "year": f"It is the year {found['year']}.",
        "month": f"It is {found['month']} {found['year']}.",
    }.get(wanted, f"It is {exact}{where}.")


def told_the_time(said: str) -> bool:
    """Whether an answer of ours told the time or the date."""
    return bool(_TIME_SAID.match(said))


def _ordinal(day: int) -> str:
    return f"{day}{'th' if 10 < day < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


_TIMER_SET = re.compile(r"Timer set for (?P<time>[^()]+?)(?: \((?P<label>.*)\))?\.")


def timer_set(result: str, *, reminder: bool) -> str:
    """The result of `set_timer`."""
    found = _TIMER_SET.fullmatch(result.strip())
    if found is None:
        return plain_result(result)
    if reminder:
        return f"I will remind you in {found['time']}."
    return f"Your {found['label']} timer is set for {found['time']}." if found["label"] else result.strip()


def timers_listed(result: str) -> str:
    """The result of `list_timers`."""
    entries = [entry.partition(": ") for entry in result.strip().removesuffix(".").split("; ")]
    if not all(rest.endswith(" left") for _, _, rest in entries):
        return plain_result(result)
    said = [f"the {name} has {rest}" for name, _, rest in entries]
    joined = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    count = "" if len(said) == 1 else f"You have {len(said)} timers: "
    return f"{count}{joined}."[:1].upper() + f"{count}{joined}."[1:]


def timer_cancelled(result: str) -> str:
    """The result of `cancel_timer`."""
    head, _, names = result.strip().removesuffix(".").partition(": ")
    if head != "Cancelled":
        return plain_result(result)
    return f"I cancelled the {' and the '.join(names.split(', '))}."


def plain_result(result: str) -> str:
    """Any tool's result: text as it is, JSON as a list of names and values."""
    text = result.strip()
    if not text:
        return "That is done."
    if text[0] in '{["':
        with suppress(msgspec.DecodeError):
            text = _said(msgspec.json.decode(text)) or "That is done."
    text = text[0].upper() + text[1:]
    if len(text) > MAX_RESULT_CHARS:
        text = f"{text[:MAX_RESULT_CHARS].rpartition(' ')[0]} and so on"
    return text if text[-1] in ".!?…" else f"{text}."


def _said(value: object) -> str:
    match value:
        case dict():
            return ", ".join(f"{str(key).replace('_', ' ')}: {_said(inner)}" for key, inner in value.items())
        case list():
            return ", ".join(map(_said, value))
        case bool():
            return "yes" if value else "no"
        case None:
            return "nothing"
        case _:
            return str(value)
