"""Names of voices that clients may ask for, by the engine that speaks."""

from __future__ import annotations

OPENAI = frozenset("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split())
"""OpenAI's, which its SDKs choose by default (ash, marin, alloy)."""
XAI = frozenset("ara eve leo rex sal una".split())
"""xAI's, for clients that speak its dialect; other engines speak them with their own default voice."""
_FIXED = {"offline": OPENAI | XAI, "openai": OPENAI | XAI}


def known_voices(engine: str, *more: str) -> frozenset[str]:
    """The voices of an engine (of several, their names joined by +) and `more`; empty when any name may be one."""
    fixed = [_FIXED.get(name) for name in engine.split("+")]
    return frozenset().union(*(voices or () for voices in fixed), more) if all(fixed) else frozenset()
