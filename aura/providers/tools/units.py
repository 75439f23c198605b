"""Units of measure and conversion between them.

Factors are exact by definition where there is one: international yard and pound agreement of 1959, US customary volumes
(gallon of 231 cubic inches), NIST SP 811.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

import msgspec

from aura.providers.tools.registry import ToolFault

Kind = Literal["length", "mass", "volume", "temperature", "speed", "time"]


class Unit(msgspec.Struct, frozen=True):
    """A unit: `factor` × value + `offset` gives the value in the base unit of its kind (m, kg, l, K, m/s, s)."""

    kind: Kind
    one: str
    """Name of a single one."""
    many: str
    factor: float
    also: tuple[str, ...] = ()
    """Other names and abbreviations, singular or plural as said."""
    offset: float = 0.0


def _u(kind: Kind, one: str, many: str, factor: float, also: str = "", offset: float = 0.0) -> Unit:
    return Unit(kind, one, many, factor, tuple(filter(None, also.split("|"))), offset)


UNITS: tuple[Unit, ...] = (
    _u("length", "millimeter", "millimeters", 0.001, "mm|millimetre"),
    _u("length", "centimeter", "centimeters", 0.01, "cm|centimetre"),
    _u("length", "meter", "meters", 1.0, "m|metre"),
    _u("length", "kilometer", "kilometers", 1000.0, "km|kilometre|kms"),
    _u("length", "inch", "inches", 0.0254, 'in|"'),
    _u("length", "foot", "feet", 0.3048, "ft|'"),
    _u("length", "yard", "yards", 0.9144, "yd"),
    _u("length", "mile", "miles", 1609.344, "mi"),
    _u("length", "nautical mile", "nautical miles", 1852.0, "nmi"),
    _u("mass", "milligram", "milligrams", 1e-6, "mg|milligramme"),
    _u("mass", "gram", "grams", 0.001, "g|gramme"),
    _u("mass", "kilogram", "kilograms", 1.0, "kg|kilo|kilogramme|kgs"),
    _u("mass", "tonne", "tonnes", 1000.0, "metric ton|t"),
    _u("mass", "ton", "tons", 907.18474, "short ton|us ton"),
    _u("mass", "ounce", "ounces", 0.028349523125, "oz"),
    _u("mass", "pound", "pounds", 0.45359237, "lb|lbs"),
    _u("mass", "stone", "stone", 6.35029318, "st|stones"),
    _u("volume", "milliliter", "milliliters", 0.001, "ml|millilitre"),
    _u("volume", "centiliter", "centiliters", 0.01, "cl|centilitre"),
    _u("volume", "liter", "liters", 1.0, "l|litre"),
    _u("volume", "cubic meter", "cubic meters", 1000.0, "m3|m³|cubic metre"),
    _u("volume", "teaspoon", "teaspoons", 0.00492892159375, "tsp"),
    _u("volume", "tablespoon", "tablespoons", 0.01478676478125, "tbsp"),
    _u("volume", "fluid ounce", "fluid ounces", 0.0295735295625, "fl oz|floz|ounce|oz"),
    _u("volume", "cup", "cups", 0.2365882365, ""),
    _u("volume", "pint", "pints", 0.473176473, "pt"),
    _u("volume", "quart", "quarts", 0.946352946, "qt"),
    _u("volume", "gallon", "gallons", 3.785411784, "gal"),
    _u("temperature", "degree Celsius", "degrees Celsius", 1.0, "c|°c|celsius|centigrade|deg c", 273.15),
    _u("temperature", "degree Fahrenheit", "degrees Fahrenheit", 5 / 9, "f|°f|fahrenheit|deg f", 459.67 * 5 / 9),
    _u("temperature", "kelvin", "kelvins", 1.0, "k|°k"),
    _u("speed", "meter per second", "meters per second", 1.0, "m/s|mps|metre per second|metres per second"),
    _u(
        "speed", "kilometer per hour", "kilometers per hour", 1 / 3.6,
        "km/h|kmh|kph|kilometre per hour|kilometres per hour|kilometers an hour|kilometres an hour",
    ),
    _u("speed", "mile per hour", "miles per hour", 0.44704, "mph|mi/h|miles an hour|mile an hour"),
    _u("speed", "foot per second", "feet per second", 0.3048, "ft/s|fps"),
    _u("speed", "knot", "knots", 1852 / 3600, "kn|kt"),
    _u("time", "millisecond", "milliseconds", 0.001, "ms"),
    _u("time", "second", "seconds", 1.0, "s|sec"),
    _u("time", "minute", "minutes", 60.0, "min"),
    _u("time", "hour", "hours", 3600.0, "h|hr"),
    _u("time", "day", "days", 86_400.0, "d"),
    _u("time", "week", "weeks", 604_800.0, "wk"),
    _u("time", "month", "months", 2_629_746.0, ""),
    _u("time", "year", "years", 31_556_952.0, "yr"),
)  # fmt: skip
"""Months and years are the mean ones of the Gregorian calendar."""

_NOISE = re.compile(r"^(?:degrees?|deg\.?)\s+|[.]$")


@cache
def _names() -> dict[str, tuple[Unit, ...]]:
    names: dict[str, tuple[Unit, ...]] = {}
    for unit in UNITS:
        for name in {unit.one.lower(), unit.many.lower(), *unit.also}:
            names[name] = (*names.get(name, ()), unit)
    return names


def named(name: str) -> tuple[Unit, ...]:
    """The units that a name may mean, in any case, singular or plural: none, one, or two (ounce)."""
    key = " ".join(name.lower().split())
    names = _names()
    plain = _NOISE.sub("", key)
    single = plain.removesuffix("s") if len(plain) > 2 else plain
    return tuple(dict.fromkeys(unit for spelling in (key, plain, single) for unit in names.get(spelling, ())))


def choose(unit_from: str, unit_to: str) -> tuple[Unit, Unit]:
    """The two units meant, of one kind. Raises ToolFault."""
    sources, targets = named(unit_from), named(unit_to)
    for name, found in ((unit_from, sources), (unit_to, targets)):
        if not found:
            raise ToolFault(f"The unit {name!r} is not known.")
    for source in sources:
        for target in targets:
            if source.kind == target.kind:
                return source, target
    raise ToolFault(f"{sources[0].many} measure {sources[0].kind}, but {targets[0].many} measure {targets[0].kind}.")


def convert(value: float, source: Unit, target: Unit) -> float:
    """A value in another unit of the same kind."""
    if source == target:
        return value
    return (value * source.factor + source.offset - target.offset) / target.factor


def amount(value: float, text: str, unit: Unit) -> str:
    """`text`, which shows `value`, with the unit's name."""
    return f"{text} {unit.one if value == 1 else unit.many}"
