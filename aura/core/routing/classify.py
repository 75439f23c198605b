"""What kind of question it is, by rules, in well under a millisecond; also of a sentence that is still being said."""

from __future__ import annotations

from collections.abc import Sequence

from aura.core.routing.query import Query
from aura.core.routing.rules import Rules


def classify(
    text: str, rules: Rules, *, tools: Sequence[str] = (), history_chars: int = 0, language: str = ""
) -> Query:
    """Classify what the user said. `language` is what the recogniser thinks, if it does."""
    return Query(why=("",), language=language)
