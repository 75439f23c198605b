"""Names of voices that clients may ask for, by the engine that speaks."""

from __future__ import annotations

OPENAI = frozenset("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split())
"""OpenAI's, which its SDKs choose by default (ash, marin, alloy)."""
XAI = frozenset("ara eve leo rex sal una".split())
"""xAI's, for clients that speak its dialect; other engines speak them with their own default voice."""
_FIXED = {"offline": OPENAI | XAI, "openai": OPENAI | XAI}


def known_voices(engine: str, *more: str) -> frozenset[str]:
    """The voices of an engine and `more`; empty when any name may be one, as with servers of all kinds."""
    fixed = _FIXED.get(engine)
    return frozenset() if fixed is None else fixed | set(more)
