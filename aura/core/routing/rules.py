"""The rules of the classifier and the router's strategies, made from rules.toml."""

from __future__ import annotations

import msgspec

from aura.core.routing.choose import Strategy


class Rules(msgspec.Struct, frozen=True):
    """All that rules.toml holds, ready for use."""

    strategies: dict[str, Strategy]

    def strategy(self, name: str) -> Strategy:
        """balanced, fastest, cheapest or best."""
        return self.strategies[name]


def load_rules(text: str) -> Rules:
    """Make the rules from the text of rules.toml. Raises ConfigError."""
    raise ValueError(text)
