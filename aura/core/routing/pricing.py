"""What engines cost: a dated table (prices.toml beside this file), and sums made with it.

Prices are USD: per million tokens, per minute of audio, per million characters. None means not known, never free.
A figure that a provider itself gives is better than any of this.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from aura.core.errors import ConfigError

MILLION = 1e6


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's row of the table."""

    provider: str
    model: str
    """Its name at the provider; a * at the end stands for any ending."""
    part: str = "chat"
    """stt, chat or tts."""
    aliases: tuple[str, ...] = ()
    default: bool = False
    """AURA asks this one when the settings name no other."""
    input: float | None = None
    """Per million tokens of the prompt (speech engines: of the text to say)."""
    cached: float | None = None
    """Per million of those that were in the provider's prompt cache. None: as the others."""
    cache_write: float | None = None
    """Per million of those that were newly put there. None: as the others."""
    output: float | None = None
    """Per million tokens of the answer (speech engines: of audio)."""
    audio_input: float | None = None
    audio_output: float | None = None
    """Per million audio tokens of models that hear and speak themselves."""
    per_minute: float | None = None
    per_1m_chars: float | None = None
    long_context_threshold: int | None = None
    """Prompts of more tokens than this cost more."""
    long_input_factor: float = 1.0
    long_output_factor: float = 1.0
    tiers: dict[str, float] = {}
    """Factors of the service tiers (flex, batch, priority …)."""
    source: str = ""
    checked_on: str = ""
    """Day on which somebody looked at the source (ISO date)."""
    shutdown_on: str = ""
    """Last day on which the model may be asked (ISO date)."""
    successor: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """provider/model."""
        return f"{self.provider}/{self.model}"


class Usage(msgspec.Struct, frozen=True):
    """What a call used. Cached and newly written tokens are part of the input."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    audio_s: float = 0.0
    chars: int = 0
    audio_input_tokens: int = 0
    """Part of the input, where a model hears by itself."""
    audio_output_tokens: int = 0
    """Part of the output, where a model speaks by itself."""
    estimated: bool = False
    """Counted here, as the engine did not say."""


class Amount(msgspec.Struct, frozen=True):
    """What a call cost."""

    usd: float | None
    """None: there is no price."""
    exact: bool = False
    """The provider said so itself."""


class Ending(msgspec.Struct, frozen=True):
    """A model that is or will be shut down."""

    provider: str
    model: str
    on: str
    days_left: int
    """Negative: it is past."""
    successor: str = ""


class Prices:
    """The table. Later rows win over earlier ones of the same provider, part and model."""

    def __init__(self, rows: Iterable[Price], currency: str = "USD") -> None:
        by_key = {(row.provider, row.part, row.model): row for row in rows}
        self.rows: tuple[Price, ...] = tuple(by_key.values())
        self.currency = currency
        self._exact: dict[tuple[str, str], list[Price]] = {}
        self._open: dict[str, list[tuple[str, Price]]] = {}
        for row in self.rows:
            for name in (row.model.lower(), *map(str.lower, row.aliases)):
                if name.endswith("*"):
                    self._open.setdefault(row.provider, []).append((name[:-1], row))
                else:
                    self._exact.setdefault((row.provider, name), []).append(row)
        for found in self._open.values():
            found.sort(key=lambda pair: -len(pair[0]))

    def find(self, provider: str, model: str, part: str = "") -> Price | None:
        """The row of a model, also under a dated name (gpt-4o-2024-08-06, grok-4.20-0309-non-reasoning)."""
        names = _names(model)
        for name in names:
            for row in self._exact.get((provider, name), ()):
                if part in ("", row.part):
                    return row
        for beginning, row in self._open.get(provider, ()):
            if part in ("", row.part) and any(name.startswith(beginning) for name in names):
                return row
        return None

    def default(self, provider: str, part: str) -> Price | None:
        """The row of the model that AURA asks by itself."""
        return next((row for row in self.rows if row.default and (row.provider, row.part) == (provider, part)), None)


_DATE = re.compile(r"-(?:20\d\d-[01]\d-[0-3]\d|20\d\d[01]\d[0-3]\d|[01]\d[0-3]\d)(?=-|$)")
_LATEST = re.compile(r"[-:]latest$")


def _names(model: str) -> list[str]:
    """The names under which a model may stand in the table, the most exact first."""
    name = model.lower().strip()
    short = name.rpartition("/")[2]
    names = [name, short, _DATE.sub("", short), _LATEST.sub("", short)]
    return list(dict.fromkeys(names))


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of prices."""

    defaults: dict[str, Any] = {}
    price: list[dict[str, Any]] = []


def load_prices(text: str, override_text: str = "") -> Prices:
    """Make the table from the built-in file and one that adds or replaces rows. Raises ConfigError."""
    rows: list[Price] = []
    for where, content in (("prices.toml", text), ("the prices that were given", override_text)):
        try:
            given = msgspec.convert(tomllib.loads(content), _File)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise ConfigError(f"{where}: {error}") from None
        rows += [_row(where, number, {**given.defaults, **row}) for number, row in enumerate(given.price, 1)]
    return Prices(rows)


def _row(where: str, number: int, given: Mapping[str, object]) -> Price:
    place = f"{where}: price {number} ({given.get('provider', '?')}/{given.get('model', '?')})"
    try:
        row = msgspec.convert(given, Price)
        for day in filter(None, (row.checked_on, row.shutdown_on)):
            date.fromisoformat(day)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from None
    if any(isinstance(value, int | float) and value < 0 for value in msgspec.structs.astuple(row)):
        raise ConfigError(f"{place}: no price is below 0")
    return row


def cost(price: Price | None, usage: Usage, tier: str = "") -> float | None:
    """What a call costs in USD; None if that is not known.

    Tokens, characters and seconds are measures of the same speech: the first for which there is a price decides.
    """
    if price is None:
        return None
    factor = price.tiers.get(tier, 1.0)
    if usage.input_tokens or usage.output_tokens:
        amount = _tokens(price, usage)
        if amount is not None:
            return amount * factor
    if usage.chars and price.per_1m_chars is not None:
        return usage.chars / MILLION * price.per_1m_chars * factor
    if usage.audio_s and price.per_minute is not None:
        return usage.audio_s / 60 * price.per_minute * factor
    used = usage.input_tokens or usage.output_tokens or usage.chars or usage.audio_s
    return None if used else 0.0


def _tokens(price: Price, usage: Usage) -> float | None:
    if price.input is None or (price.output is None and usage.output_tokens):
        return None
    heard = min(usage.audio_input_tokens, usage.input_tokens)
    spoken = min(usage.audio_output_tokens, usage.output_tokens)
    cached = min(usage.cached_tokens, usage.input_tokens - heard)
    written = min(usage.cache_write_tokens, usage.input_tokens - heard - cached)
    entered = (
        (usage.input_tokens - heard - cached - written) * price.input
        + cached * (price.input if price.cached is None else price.cached)
        + written * (price.input if price.cache_write is None else price.cache_write)
        + heard * (price.input if price.audio_input is None else price.audio_input)
    )
    each = price.output or 0.0
    answered = (usage.output_tokens - spoken) * each + spoken * (
        each if price.audio_output is None else price.audio_output
    )
    if price.long_context_threshold is not None and usage.input_tokens > price.long_context_threshold:
        entered, answered = entered * price.long_input_factor, answered * price.long_output_factor
    return (entered + answered) / MILLION


_WIDE = re.compile(r"[\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_NARROW = re.compile(r"[^\x00-\u024f\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
LETTERS_PER_TOKEN = 4
"""Usual in English."""
_OTHER_LETTERS_PER_TOKEN = 2.5
_MESSAGE_TOKENS = 4
"""What a message costs beside its text."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: 4 Latin letters each, 2.5 of other alphabets, a Chinese character alone."""
    wide, other = len(_WIDE.findall(text)), len(_NARROW.findall(text))
    rest = len(text) - wide - other
    return round(wide + other / _OTHER_LETTERS_PER_TOKEN + rest / LETTERS_PER_TOKEN + 0.49)


def estimated(texts: Sequence[str], answer: str) -> Usage:
    """The use of a call whose stream was cut before the engine told it: the prompt's texts, and what had come."""
    entered = sum(estimate_tokens(text) + _MESSAGE_TOKENS for text in texts)
    return Usage(input_tokens=entered, output_tokens=estimate_tokens(answer), estimated=True)


def amount(price: Price | None, usage: Usage, stated_usd: float | None = None, tier: str = "") -> Amount:
    """What a call cost: the provider's own figure, else by the table."""
    if stated_usd is not None:
        return Amount(stated_usd, exact=True)
    return Amount(cost(price, usage, tier))


def shutdowns(
    prices: Prices, today: str, within_days: int, models: Iterable[tuple[str, str]] | None = None
) -> tuple[Ending, ...]:
    """The models that end within so many days or have ended, the soonest first; of `models` (provider, model) only."""
    day = date.fromisoformat(today)
    if models is None:
        rows = [(row.provider, row.model, row) for row in prices.rows]
    else:
        named = [(provider, model, prices.find(provider, model)) for provider, model in models]
        rows = [(provider, model, row) for provider, model, row in named if row is not None]
    found = [
        Ending(provider, model, row.shutdown_on, (date.fromisoformat(row.shutdown_on) - day).days, row.successor)
        for provider, model, row in rows
        if row.shutdown_on
    ]
    return tuple(sorted((end for end in found if end.days_left <= within_days), key=lambda end: (end.on, end.model)))


def stale(prices: Prices, today: str, days: int) -> tuple[Price, ...]:
    """The rows that nobody has checked for more than so many days."""
    day = date.fromisoformat(today)
    return tuple(
        row for row in prices.rows if row.checked_on and (day - date.fromisoformat(row.checked_on)).days > days
    )
