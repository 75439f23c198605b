"""Sums as text, evaluated safely: only numbers, operators and a few functions, with limits on length and size."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from typing import Any

from aura.providers.tools.registry import ToolFault

Number = int | float

MAX_CHARS = 200
MAX_BITS = 2048
"""Whole numbers never grow beyond this, so that every step is quick."""
EXACT_BELOW = 10**15
DIGITS = 12
"""Significant digits of a result; hides the rounding of binary fractions (0.1 + 0.2)."""

_ALLOWED = re.compile(
    r"(?:\s+|\d+(?:\.\d*)?(?:e[+-]?\d+)?(?![\w.])|\.\d+(?![\w.])|[-+*/%^(),]|(?:sqrt|abs|round|pi)(?!\w))*"
)
_REWRITTEN: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<=\d)[,\u202f\u00a0'](?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?:=|\?)\s*$"), ""),
    (re.compile(r"[×·⋅]|(?<=[\d)\s])x(?=[\d(\s])"), "*"),
    (re.compile(r"÷|:"), "/"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"√\s*(\d+(?:\.\d+)?)"), r"sqrt(\1)"),
    (re.compile(r"√"), "sqrt"),
    (re.compile(r"\bmath\."), ""),
    (re.compile(r"(?<![\d.])0+(?=\d)"), ""),
    (re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent\b)\s*of\b"), r"(\1/100)*"),
    (re.compile(r"(\d+(?:\.\d+)?)\s*(?:%(?!\s*[\w(.])|percent\b)"), r"(\1/100)"),
    (re.compile(r"\^"), "**"),
)
_CONSTANTS = {"pi": math.pi}


def evaluate(expression: str) -> Number:
    """The value of a sum such as `2 * (3 + 4)`, `20% of 50` or `sqrt(81)`.

    Knows + - * / // % ** ^, parentheses, sqrt, abs, round, pi, percent. Raises ToolFault saying what is wrong.
    """
    text = expression.strip().lower()
    if len(text) > MAX_CHARS:
        raise ToolFault(f"The expression is too long; at most {MAX_CHARS} characters.")
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    text = text.strip()
    if not text or not _ALLOWED.fullmatch(text):
        raise ToolFault("Cannot read that expression; use numbers, + - * / ** % ( ), sqrt, abs, round and pi.")
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except SyntaxError as error:
        raise ToolFault("The expression is incomplete; check its operators and parentheses.") from error
    except ZeroDivisionError as error:
        raise ToolFault("It would be a division by zero, which has no result.") from error
    except (OverflowError, RecursionError, MemoryError) as error:
        raise ToolFault("The numbers are too large.") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise ToolFault("The numbers are too large.")
    return value


def show(value: Number) -> str:
    """A number as short text: whole where it is whole, else with up to twelve significant digits."""
    if abs(value) < EXACT_BELOW and (value == int(value)):
        return str(int(value))
    return f"{float(value):.{DIGITS}g}"


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            return _checked(_SIGNS[type(op)](_value(operand)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _checked(_OPERATORS[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            function, most = _FUNCTIONS[name]
            if not 1 <= len(args) <= most:
                raise ToolFault(f"{name} takes {'one number' if most == 1 else 'one or two numbers'}.")
            return _checked(function(*(_value(arg) for arg in args)))
        case _:
            raise ToolFault("Only numbers, + - * / ** % ( ), sqrt, abs, round and pi are possible.")


def _checked(value: Any) -> Number:
    if isinstance(value, complex):
        raise ToolFault("The result is not a real number.")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError
    return value if isinstance(value, int) else float(value)


def _power(base: Number, exponent: Number) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        if base.bit_length() * exponent > MAX_BITS and abs(base) > 1:
            raise OverflowError
        return base**exponent
    return float(base) ** float(exponent)


def _sqrt(value: Number) -> Number:
    if value < 0:
        raise ToolFault("The square root of a negative number is not a real number.")
    if isinstance(value, int):
        root = math.isqrt(value)
        if root * root == value:
            return root
    return math.sqrt(value)


def _round(value: Number, digits: Number = 0) -> Number:
    return round(value, max(-DIGITS, min(DIGITS, int(digits))))


_SIGNS: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int]] = {"sqrt": (_sqrt, 1), "abs": (abs, 1), "round": (_round, 2)}
