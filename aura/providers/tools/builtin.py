"""The tools that every conversation has: clock, sums, units, timers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from msgspec import Meta

from aura.providers.tools import arithmetic, units
from aura.providers.tools.clock import Clock, local_now
from aura.providers.tools.registry import Toolbox, tool
from aura.providers.tools.timers import Timers


@tool
def calculate(
    expression: Annotated[
        str, Meta(description="Numbers with + - * / ** % ( ), sqrt, abs, round, pi; e.g. (3 + 4) * 2 or 20% of 50")
    ],
) -> str:
    """Work out a sum exactly."""
    return f"{expression.strip()} = {arithmetic.show(arithmetic.evaluate(expression))}"


@tool
def convert_units(
    value: Annotated[float, Meta(description="How many of the first unit")],
    unit_from: Annotated[str, Meta(description="Unit to convert from, e.g. miles, kg, cups, fahrenheit, mph, hours")],
    unit_to: Annotated[str, Meta(description="Unit to convert to")],
) -> str:
    """Convert between units of length, mass, volume (US), temperature, speed or time."""
    source, target = units.choose(unit_from, unit_to)
    result = units.convert(value, source, target)
    shown, given = arithmetic.show(float(f"{result:.10g}")), arithmetic.show(value)
    return f"{units.amount(value, given, source)} = {units.amount(result, shown, target)}"


def default_toolbox(now: Callable[[], datetime] = local_now) -> Toolbox:
    """The tools of a server; `now` gives an aware local time."""
    timers = Timers()
    return Toolbox(
        tool(Clock(now).current_time),
        calculate,
        convert_units,
        tool(timers.set_timer),
        tool(timers.list_timers),
        tool(timers.cancel_timer),
    )
