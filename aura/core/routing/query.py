"""What kind of question a user asks, as far as the router needs to know."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["small_talk", "factual", "reasoning", "code", "tool", "long"]
Tier = Literal["fast", "standard", "quality"]


class Query(msgspec.Struct, frozen=True):
    """A classified question."""

    kind: Kind = "small_talk"
    tier: Tier = "standard"
    """How good the model should be."""
    language: str = ""
    """ISO code; empty: not known."""
    needs_tools: bool = False
    """A function that is declared is probably needed."""
    personal: bool = False
    """It refers to the user, the assistant or what was said before: the answer is no one else's."""
    timely: bool = False
    """The answer depends on when it is given (today's weather, the time, the news)."""
    confidence: float = 0.0
    """How clear the kind is, 0-1."""
    why: tuple[str, ...] = ()
    """Names of the rules that fired."""
