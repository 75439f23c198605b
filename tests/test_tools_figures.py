"""Sums and units, as the tools work them out."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.ports import ToolCall
from aura.providers.tools import units
from aura.providers.tools.arithmetic import evaluate, show
from aura.providers.tools.builtin import default_toolbox
from aura.providers.tools.registry import ToolFault


class Silent:
    """A conversation that says nothing."""

    def say_later(self, after_s: float, text: str) -> Callable[[], None]:
        return lambda: None


# ---- sums


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 * 8", "56"),
        ("7×8 =", "56"),
        ("(3 + 4) * 2", "14"),
        ("20% of 50", "10"),
        ("50 * 20%", "10"),
        ("12.5 percent of 80", "10"),
        ("10 % 3", "1"),
        ("7 // 2", "3"),
        ("2^10", "1024"),
        ("-2 ** 2", "-4"),
        ("sqrt(81)", "9"),
        ("√2", "1.41421356237"),
        ("math.sqrt(16)", "4"),
        ("0.1 + 0.2", "0.3"),
        ("1,000,000 / 8", "125000"),
        ("007 + 1", "8"),
        ("100.05 - 0", "100.05"),
        ("1e3 + 1", "1001"),
        ("round(pi, 2)", "3.14"),
        ("abs(-3)", "3"),
        ("10 ÷ 4", "2.5"),
        ("3x4", "12"),
        ("2**100", "1.26765060023e+30"),
    ],
)
def test_sums(expression, value):
    assert show(evaluate(expression)) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "Cannot read"),
        ("__import__('os')", "Cannot read"),
        ("a + 1", "Cannot read"),
        ("1 if 2 else 3", "Cannot read"),
        ("'a' * 9", "Cannot read"),
        ("1_000", "Cannot read"),
        ("2 +", "incomplete"),
        ("((1)", "incomplete"),
        ("1 / 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("9 ** 9 ** 9", "too large"),
        ("9.0 ** 9999", "too large"),
        ("2 ** 2047 * 4", "too large"),
        ("1e999", "too large"),
        ("(-1) ** 0.5", "not a real number"),
        ("sqrt(-1)", "not a real number"),
        ("sqrt(1, 2)", "one number"),
        ("sqrt", "Only numbers"),
        ("(1, 2)", "Only numbers"),
        ("1 + " * 60 + "1", "too long"),
    ],
)
def test_bad_sums_are_explained(expression, why):
    with pytest.raises(ToolFault, match=why):
        evaluate(expression)


@given(st.text(alphabet="0123456789+-*/%^(). ,esqrtpiabound×√", max_size=60))
@settings(max_examples=400, deadline=200)
def test_any_text_is_a_number_or_a_fault(expression):
    try:
        value = evaluate(expression)
    except ToolFault:
        return
    assert math.isfinite(value)
    assert show(value)


numbers = st.integers(-(10**6), 10**6)
operands = st.recursive(
    numbers.map(str),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=8,
)


@given(operands)
@settings(max_examples=150)
def test_sums_agree_with_python(expression):
    assert evaluate(expression) == eval(expression)


# ---- units


@pytest.mark.parametrize(
    ("value", "source", "target", "answer"),
    [
        (1, "mile", "feet", "1 mile = 5280 feet"),
        (10, "miles", "km", "10 miles = 16.09344 kilometers"),
        (72, "fahrenheit", "C", "72 degrees Fahrenheit = 22.22222222 degrees Celsius"),
        (-40, "degrees celsius", "°F", "-40 degrees Celsius = -40 degrees Fahrenheit"),
        (0, "kelvin", "Celsius", "0 kelvins = -273.15 degrees Celsius"),
        (16, "oz", "lb", "16 ounces = 1 pound"),
        (8, "ounces", "cup", "8 fluid ounces = 1 cup"),
        (1, "gallon", "liters", "1 gallon = 3.785411784 liters"),
        (1, "tablespoon", "teaspoons", "1 tablespoon = 3 teaspoons"),
        (100, "km/h", "mph", "100 kilometers per hour = 62.13711922 miles per hour"),
        (100, "kilometres per hour", "meters per second", "27.77777778 meters per second"),
        (1.5, "hours", "min", "1.5 hours = 90 minutes"),
        (2, "Kilos", "Pounds", "2 kilograms = 4.409245244 pounds"),
        (3, "foot", "inches", "3 feet = 36 inches"),
        (1, "mile", "hours", "miles measure length, but hours measure time."),
        (1, "furlong", "miles", "The unit 'furlong' is not known."),
    ],
)
async def test_units(value, source, target, answer):
    arguments = msgspec.json.encode({"value": value, "unit_from": source, "unit_to": target}).decode()
    text = (await default_toolbox().call(ToolCall("1", "convert_units", arguments), Silent())).text
    assert answer in text


def test_no_name_means_two_units_of_one_kind():
    for unit in units.UNITS:
        for name in (unit.one, unit.many, *unit.also):
            kinds = [found.kind for found in units.named(name)]
            assert unit in units.named(name)
            assert len(set(kinds)) == len(kinds), name


@given(st.sampled_from(units.UNITS), st.sampled_from(units.UNITS), st.floats(-1e6, 1e6))
@settings(max_examples=150)
def test_conversion_there_and_back_is_the_identity(a, b, value):
    if a.kind == b.kind:
        there = units.convert(value, a, b)
        assert units.convert(there, b, a) == pytest.approx(value, rel=1e-9, abs=1e-6)
