"""A key or password that cannot slip into a log, a traceback or the journal."""

from __future__ import annotations


class Secret:
    """Wraps a secret text; only `reveal()` gives it away. An empty secret is false: nothing is set."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that sends it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(set)" if self._text else "Secret(not set)"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        # Worker processes may be handed settings; __slots__ alone would not pickle under every protocol.
        return Secret, (self._text,)
