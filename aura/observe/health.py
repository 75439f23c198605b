"""Whether AURA can serve: named checks, asked when somebody wants to know."""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], str | None]
"""Says why something is not ready, or None when it is. Synchronous and quick: it looks at state, it tests nothing."""


class Health:
    """The checks of one process."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Ask `check` from now on; a name that is there already is replaced."""
        self._checks[name] = check

    def remove(self, name: str) -> None:
        """Ask no more."""
        self._checks.pop(name, None)

    def reasons(self) -> dict[str, str]:
        """Why AURA is not ready, by name of the check; empty when it is."""
        answers = {name: check() for name, check in self._checks.items()}
        return {name: why for name, why in answers.items() if why is not None}
