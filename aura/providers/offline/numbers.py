"""Spoken numbers and sums: words in, figures out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

Words = Sequence[str]

_SMALL: Mapping[str, int] = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
} | {"dozen": 12}
_TENS: Mapping[str, int] = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
} | {"fourty": 40}
_LARGE: Mapping[str, int] = {"thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS: Mapping[str, float] = {"half": 0.5, "quarter": 0.25}
_NAMED: Mapping[str, str] = {"pi": "pi"}
SOUND_ALIKE: Mapping[str, str] = {
    "for": "four", "fore": "four", "to": "two", "too": "two", "won": "one", "ate": "eight", "tree": "three",
    "free": "three", "sex": "six", "sicks": "six", "tin": "ten", "tan": "ten", "nein": "nine", "fife": "five",
    "hive": "five", "oh": "zero", "o": "zero", "nought": "zero", "naught": "zero", "forte": "forty",
}  # fmt: skip
"""Words that a recogniser writes for a number. Only believed where nothing but a number makes sense."""


class Found(msgspec.Struct, frozen=True):
    """A number in a list of words: `words[begin:end]`."""

    value: float
    begin: int
    end: int


def number_at(words: Words, begin: int) -> Found | None:
    """The longest number that begins there; `a` counts before hundred, thousand, half, dozen, quarter."""
    at, sign = begin, 1.0
    if words[at : at + 1] and words[at] in ("minus", "negative"):
        at, sign = at + 1, -1.0
    if at >= len(words):
        return None
    found = _figures(words, at) or _fraction(words, at) or _cardinal(words, at)
    if found is None:
        return None
    value, end = found
    end, value = _and_a_part(words, end, value)
    return Found(sign * value, begin, end)


def number_before(words: Words, end: int) -> Found | None:
    """The longest number that ends there (exclusive)."""
    for begin in range(max(0, end - 12), end):
        found = number_at(words, begin)
        if found and found.end == end:
            return found
    return None


def _figures(words: Words, at: int) -> tuple[float, int] | None:
    word = words[at]
    if not word[0].isdigit() and not (word[0] == "." and word[1:].isdigit()):
        return None
    try:
        value = float(word)
    except ValueError:
        return None
    end = at + 1
    while end < len(words) and words[end] in _LARGE:
        value, end = value * _LARGE[words[end]], end + 1
    return value, end


def _fraction(words: Words, at: int) -> tuple[float, int] | None:
    """half (a/an) · a half · a quarter (of a/an) · a couple (of)"""
    end = at + 1 if words[at] in ("a", "one") and at + 1 < len(words) else at
    word = words[end]
    if word == "couple":
        return 2.0, end + 2 if words[end + 1 : end + 2] == ["of"] else end + 1
    if word == "quarter" and end == at:
        return None
    return (_PARTS[word], end + 1) if word in _PARTS else None


def _cardinal(words: Words, at: int) -> tuple[float, int] | None:
    """seven hundred and three · a hundred · two thousand twenty six"""
    end = at + 1 if words[at] in ("a", "an") else at
    total, group = 0, 1 if words[end : end + 1] and words[end] in {"hundred", *_LARGE} else 0
    room, read = (0 if group else 1000), 0
    while end < len(words):
        word, small = words[end], _small(words, end)
        if 0 <= small < room:
            group, room = group + small, 10 if small >= 20 else 0
        elif word == "hundred" and 0 < group < 100:
            group, room = group * 100, 100
        elif word in _LARGE and group:
            total, group, room = total + group * _LARGE[word], 0, 1000
        elif word == "and" and read and words[end - 1] in {"hundred", *_LARGE} and _small(words, end + 1) > 0:
            read -= 1
        else:
            break
        end, read = end + 1, read + 1
    if not read or (words[at] in ("a", "an") and words[at + 1] not in {"hundred", "dozen", *_LARGE}):
        return None
    return _decimals(words, end, float(total + group))


def _small(words: Words, at: int) -> int:
    """A number word below one hundred, else -1."""
    return _SMALL.get(words[at], _TENS.get(words[at], -1)) if at < len(words) else -1


def _decimals(words: Words, end: int, whole: float) -> tuple[float, int]:
    digits, at = "", end + 1
    if words[end : end + 1] == ["point"]:
        while at < len(words):
            digit = 0 if words[at] == "oh" else _small(words, at)
            if digit < 0:
                break
            digits, at = digits + str(digit), at + 1
    return (float(f"{whole:.0f}.{digits}"), at) if digits else (whole, end)


def _and_a_part(words: Words, end: int, value: float) -> tuple[int, float]:
    """two *and a half*"""
    rest = list(words[end : end + 3])
    if rest[:2] == ["and", "a"] and len(rest) == 3 and rest[2] in _PARTS:
        return end + 3, value + _PARTS[rest[2]]
    return end, value


def figure(value: float) -> str:
    """A number as an expression has it."""
    return str(int(value)) if value == int(value) and abs(value) < 10**15 else f"{value:.12g}"


# ---- sums ------------------------------------------------------------------------------------------------------

_OPERATORS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("to", "the", "power", "of"), "**"), (("to", "the", "power"), "**"), (("raised", "to"), "**"),
    (("multiplied", "by"), "*"), (("multiply", "by"), "*"), (("divided", "by"), "/"), (("divide", "by"), "/"),
    (("take", "away"), "-"), (("added", "to"), "+"), (("modulo",), "%"), (("mod",), "%"), (("plus",), "+"),
    (("minus",), "-"), (("less",), "-"), (("times",), "*"), (("over",), "/"), (("divided",), "/"),
    (("multiplied",), "*"), (("+",), "+"), (("-",), "-"), (("*",), "*"), (("/",), "/"), (("^",), "**"), (("x",), "*"),
)  # fmt: skip
_LENIENT_OPERATORS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("divided", "buy"), "/"), (("divided", "bye"), "/"), (("divide", "buy"), "/"), (("time",), "*"), (("tines",), "*"),
    (("dimes",), "*"), (("thyme",), "*"), (("pluss",), "+"), (("pass",), "+"), (("place",), "+"),
)  # fmt: skip
_BEFORE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("the", "square", "root", "of"), "sqrt"), (("square", "root", "of"), "sqrt"), (("square", "root"), "sqrt"),
    (("root", "of"), "sqrt"), (("half", "of"), "0.5*"), (("a", "half", "of"), "0.5*"), (("half",), "0.5*"),
    (("a", "quarter", "of"), "0.25*"), (("a", "third", "of"), "1/3*"), (("double",), "2*"), (("twice",), "2*"),
)  # fmt: skip
_AFTER: tuple[tuple[tuple[str, ...], str], ...] = (
    (("squared",), "**2"), (("cubed",), "**3"), (("percent", "of"), "%of"), (("per", "cent", "of"), "%of"),
    (("%", "of"), "%of"), (("percent", "off"), "%of"), (("percent",), "%"), (("per", "cent"), "%"), (("%",), "%"),
)  # fmt: skip


_VERBS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("divide",), ("by",), "/"), (("multiply",), ("by", "with", "and"), "*"), (("add",), ("and", "to", "plus"), "+"),
    (("sum", "of"), ("and",), "+"), (("product", "of"), ("and",), "*"), (("subtract",), ("from",), "-"),
    (("times",), ("by",), "*"), (("difference", "between"), ("and",), "-"), (("take",), ("from",), "-"),
)  # fmt: skip


class Sum(msgspec.Struct, frozen=True):
    """An expression for the calculator, found in `words[begin:end]`."""

    expression: str
    begin: int
    end: int
    continues: bool = False
    """Begins with an operator: the result before belongs in front."""


def find_sum(words: Words, *, lenient: bool = False) -> Sum | None:
    """The first sum with at least one operator; `lenient` takes words for numbers that only sound like them."""
    if lenient:
        words = [SOUND_ALIKE.get(word, word) if not _is_operator(words, i) else word for i, word in enumerate(words)]
    words = list(words)
    for verb, joining, sign in _VERBS:
        found = _with_verb(words, verb, joining, sign)
        if found:
            return found
    for begin in range(len(words)):
        found = _Reader(words, begin, lenient).sum()
        if found:
            return found
    return None


def _with_verb(words: list[str], verb: tuple[str, ...], joining: tuple[str, ...], sign: str) -> Sum | None:
    """divide *ten* by *four* · divide *that* by *four*"""
    size = len(verb)
    begin = next((at for at in range(len(words)) if tuple(words[at : at + size]) == verb), -1)
    if begin < 0:
        return None
    last = words[begin + size : begin + size + 1] in (["that"], ["it"], ["this"])
    first = None if last else number_at(words, begin + size)
    end = begin + size + 1 if last else first.end if first else len(words)
    second = number_at(words, end + 1) if words[end : end + 1] and words[end] in joining else None
    if second is None:
        return None
    a, b = (figure(first.value) if first else ""), figure(second.value)
    if joining == ("from",):
        return Sum(f"{b} {sign} {a}", begin, second.end) if first else None
    return Sum(f"{a} {sign} {b}".strip(), begin, second.end, continues=last)


def _is_operator(words: Words, at: int) -> bool:
    """`to` in `to the power of` is no two."""
    power = words[at] == "to" and tuple(words[at + 1 : at + 3]) == ("the", "power")
    return power or tuple(words[max(0, at - 1) : at]) == ("raised",)


class _Reader:
    """Reads a sum from left to right."""

    def __init__(self, words: Words, begin: int, lenient: bool) -> None:
        self._words, self._begin, self._at = words, begin, begin
        self._operators = (_LENIENT_OPERATORS if lenient else ()) + _OPERATORS
        self._operations = 0

    def sum(self) -> Sum | None:
        parts: list[str] = []
        first = self._take(self._operators)
        continues = bool(first) and self._words[self._begin] not in ("-", "minus", "time", "place", "pass")
        if first and not continues:
            self._at, self._operations = self._begin, 0
        elif first:
            parts.append(first)
        while True:
            operand = self._operand()
            if operand is None:
                break
            parts.append(operand)
            end = self._at
            operator = self._take(self._operators)
            if not operator:
                break
            parts.append(operator)
        if not parts:
            return None
        if operand is None:  # an operator without its number at the end
            parts.pop()
            self._operations -= 1
        if not parts or self._operations < 1 or (continues and len(parts) < 2):
            return None
        return Sum(" ".join(parts), self._begin, end if operand is None else self._at, continues)

    def _operand(self) -> str | None:
        before = self._take(_BEFORE)
        if before:
            inner = self._operand()
            if inner is None:
                return None
            return f"sqrt({inner})" if before == "sqrt" else f"{before.replace('*', ' * ')}{inner}"
        text = self._number()
        if text is None:
            return None
        while after := self._take(_AFTER):
            if after == "%of":
                inner = self._operand()
                return None if inner is None else f"{text}% of {inner}"
            text += after
        return text

    def _number(self) -> str | None:
        if self._at < len(self._words) and self._words[self._at] in _NAMED:
            self._at += 1
            return _NAMED[self._words[self._at - 1]]
        found = number_at(self._words, self._at)
        if found is None:
            return None
        self._at = found.end
        return figure(found.value) if found.value >= 0 else f"({figure(found.value)})"

    def _take(self, table: Sequence[tuple[tuple[str, ...], str]]) -> str:
        for phrase, meaning in table:
            if tuple(self._words[self._at : self._at + len(phrase)]) == phrase:
                self._at += len(phrase)
                self._operations += 1
                return meaning
        return ""
