"""What was used, and what it cost: by the prices of a file that the user gives, else by the table that AURA brings
(aura/core/routing/prices.toml, in USD, dated). What the log itself says that a call cost is better than the table;
where it tells no model either, the one counts that AURA asks by itself. A file looks like this:

    currency = "USD"

    [openai.chat]                          # a provider, or one part of it (stt, chat, tts)
    input_tokens_per_million = 0.15
    cached_tokens_per_million = 0.075      # of the input; without it they cost what the others do
    output_tokens_per_million = 0.60

    [openai.tts]
    chars_per_million = 15.0

    [openai.stt]
    audio_per_minute = 0.006

    ["openai/gpt-6.1-sol"]                 # one model
    input_tokens_per_million = 2.0

What a provider used and has no price is not free but unknown, and is said to be. The offline engines are free.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from aura.core.routing import pricing
from aura.core.routing.pricing import Usage
from aura.providers import routing_data
from aura.tools.logs.model import CallRow
from aura.tools.logs.problems import LogsError

PARTS = ("stt", "chat", "tts", "tool")
FREE = frozenset({"offline", "aura"})
MILLION = 1e6
CURRENCY = "USD"
"""Of the built-in table: prices in another currency are not mixed with it."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one provider, or one part of it; None: not known."""

    input_tokens_per_million: float | None = None
    cached_tokens_per_million: float | None = None
    output_tokens_per_million: float | None = None
    chars_per_million: float | None = None
    audio_per_minute: float | None = None


class Use(msgspec.Struct):
    """What was used."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    chars: int = 0
    audio_s: float = 0.0

    def add(self, call: CallRow) -> None:
        """One call more."""
        self.calls += call.count
        self.failed += call.outcome not in ("ok", "cancelled")
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens
        self.cached_tokens += call.cached_tokens
        self.chars += call.chars
        self.audio_s = round(self.audio_s + call.audio_s, 3)


class Cost(msgspec.Struct, frozen=True):
    """What it came to."""

    amount: float
    unknown: tuple[str, ...] = ()
    """Providers and parts that used something for which there is no price."""


class Prices(msgspec.Struct, frozen=True):
    """All that are known."""

    currency: str = ""
    of: dict[tuple[str, str], Price] = {}
    """By provider and part; an empty part is all of them."""
    table: pricing.Prices | None = None
    """What comes into play where the user gave no price."""

    @property
    def known(self) -> bool:
        """Whether there are any."""
        return bool(self.of) or self.table is not None

    @property
    def note(self) -> str:
        """How old the built-in ones are, if they count."""
        if self.table is None:
            return ""
        checked = min((row.checked_on for row in self.table.rows if row.checked_on), default="an unknown day")
        return f"Where you gave none, list prices as of {checked} count; --prices FILE.toml replaces them."

    def _given(self, call: CallRow) -> Price | None:
        """The user's own price: of the model, the part or the whole provider."""
        names = (f"{call.provider}/{call.model}", call.provider)
        keys = ((name, part) for name in names for part in (call.part, ""))
        return next((self.of[key] for key in keys if key in self.of), None)

    def cost(self, calls: Iterable[CallRow]) -> Cost:
        """The sum over calls."""
        amount, unknown = 0.0, dict[str, None]()
        for call in calls:
            if call.provider in FREE or call.part == "tool":
                continue
            price = self._given(call)
            if price is None and self.table is not None:
                usd = listed(self.table, call) if call.cost_usd is None else call.cost_usd
                amount += usd or 0.0
                if usd is None:
                    unknown[f"{call.provider} {call.part}"] = None
                continue
            price = price or Price()
            for quantity, each in bill(call, price):
                if each is not None:
                    amount += quantity * each
                elif quantity:
                    unknown[f"{call.provider} {call.part}"] = None
        return Cost(round(amount, 9), tuple(unknown))


def listed(table: pricing.Prices, call: CallRow) -> float | None:
    """What calls cost by the built-in table; None if it has no price for what they used."""
    known = table.find(call.provider, call.model, call.part) if call.model else None
    row = known or (None if call.model else table.default(call.provider, call.part))
    each = Usage(call.input_tokens, call.cached_tokens, call.output_tokens, audio_s=call.audio_s, chars=call.chars)
    if each == Usage():
        return 0.0
    if call.count > 1 and row is not None:  # a sum over calls says nothing of how long each prompt was
        row = msgspec.structs.replace(row, long_context_threshold=None)
    return pricing.cost(row, each)


def bill(call: CallRow, price: Price) -> list[tuple[float, float | None]]:
    """Quantities with their prices."""
    cached = min(call.cached_tokens, call.input_tokens)
    cached_price = price.cached_tokens_per_million
    if cached_price is None:
        cached_price = price.input_tokens_per_million
    return [
        ((call.input_tokens - cached) / MILLION, price.input_tokens_per_million),
        (cached / MILLION, cached_price),
        (call.output_tokens / MILLION, price.output_tokens_per_million),
        *_speech(call, price),
    ]


def _speech(call: CallRow, price: Price) -> list[tuple[float, float | None]]:
    """Characters and audio seconds are two measures of the same speech, and tokens a third: one price suffices."""
    measures: list[tuple[float, float | None]] = [
        (call.chars / MILLION, price.chars_per_million),
        (call.audio_s / 60, price.audio_per_minute),
    ]
    used = [(quantity, each) for quantity, each in measures if quantity]
    priced: list[tuple[float, float | None]] = [(quantity, each) for quantity, each in used if each is not None]
    by_token = price.input_tokens_per_million is not None and call.input_tokens > 0
    return priced or ([] if by_token else used)


def builtin() -> Prices:
    """The table that AURA brings."""
    return Prices(CURRENCY, table=routing_data.prices())


def load(path: Path) -> Prices:
    """Read a file of prices. Raises LogsError."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LogsError(f"--prices: {path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LogsError(f"--prices: {path}: {error}") from None
    currency = given.pop("currency", "")
    if not isinstance(currency, str):
        raise LogsError(f'--prices: {path}: currency must be a text, like "USD"')
    of: dict[tuple[str, str], Price] = {}
    for provider, table in given.items():
        if not isinstance(table, dict):
            raise LogsError(f"--prices: {path}: {provider} must be a table: [{provider}]")
        parts = {name: inner for name, inner in table.items() if isinstance(inner, dict)}
        own = {name: value for name, value in table.items() if name not in parts}
        for part, prices in {**({"": own} if own else {}), **parts}.items():
            of[provider, part] = _price(path, provider, part, prices)
    if currency not in ("", CURRENCY):
        return Prices(currency, of)
    return Prices(CURRENCY, of, routing_data.prices())


def _price(path: Path, provider: str, part: str, given: dict[str, Any]) -> Price:
    where = f"--prices: {path}: [{provider}{'.' * bool(part)}{part}]"
    if part and part not in PARTS:
        raise LogsError(f"{where}: there is no part “{part}”; there are {', '.join(PARTS[:3])}")
    names = Price.__struct_fields__
    for name, value in given.items():
        if name not in names:
            near = get_close_matches(name, names, 1, 0.4) or names
            raise LogsError(f"{where}: {name} is no price; did you mean {near[0]}?")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise LogsError(f"{where}: {name} must be a number of at least 0")
    return msgspec.convert(given, Price)
