"""Items that flow on the pipes between the stages. Data never meets the state machine."""

from __future__ import annotations

import msgspec

from aura.core.ports import WordTime


class Phrase(msgspec.Struct, frozen=True):
    """A sentence of a reply: what is shown and what is spoken."""

    index: int
    text: str
    spoken: str
    filler: bool = False
    """It only bridges a silence, and is no part of the answer."""


class Chunk(msgspec.Struct, frozen=True):
    """Reply audio in the client's format, ready to be sent."""

    payload: bytes
    seconds: float
    samples: int
    phrase: Phrase
    first: bool
    """First piece of its sentence."""
    last: bool
    """Last piece of its sentence."""
    words: tuple[WordTime, ...] = ()
