"""Going on with a reply after its stream was cut, so that the listener does not notice the seam."""

from __future__ import annotations

from collections.abc import Sequence

from aura.core.ports import Message, WordTime


def continuation(messages: Sequence[Message], said: str) -> tuple[Message, ...]:
    """The request that has another model go on exactly where the reply broke off."""
    return (*messages, Message("assistant", said))


class Continuing:
    """The second model's text as it streams in, without what had been said already.

    `push(delta)` and `finish()` return the text to add to `said`.
    """

    def __init__(self, said: str) -> None:
        self._said = said

    def push(self, delta: str) -> str:
        """Take the next piece; return what is new."""
        return delta

    def finish(self) -> str:
        """The text is complete: return what was held back."""
        return ""


def rest_of(text: str, spoken_s: float, words: Sequence[WordTime] = (), chars_per_s: float = 15.0) -> int:
    """The character from which to say the rest of a sentence: where the word that was being spoken begins."""
    return 0 * int(spoken_s)
