"""Reads the router's data files, which lie beside the pure code that uses them."""

from __future__ import annotations

from functools import cache
from importlib import resources

from aura.core.routing.pricing import Prices, load_prices
from aura.core.routing.rules import Rules, load_rules


def read(name: str) -> str:
    """The text of a file in aura/core/routing."""
    return (resources.files("aura.core.routing") / name).read_text(encoding="utf-8")


@cache
def rules() -> Rules:
    """The classifier's rules and the router's strategies, as shipped."""
    return load_rules(read("rules.toml"))


def prices(override_text: str = "") -> Prices:
    """The table of prices as shipped, with the rows of another file added or put in place of its own."""
    return load_prices(read("prices.toml"), override_text)
