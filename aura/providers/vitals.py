"""What an engine tells about itself beside its answers: how much of its limits is left, and whether it can be asked."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec


class Left(msgspec.Struct):
    """What an account may still use, as the headers of the last reply said. None: not said."""

    requests: float | None = None
    """Share of the requests of the present window that are left, 0-1."""
    tokens: float | None = None
    """The same of tokens, characters or credits."""
    concurrent_max: int | None = None
    """Requests that the account may have under way at a time."""


@runtime_checkable
class Vital(Protocol):
    """What engines on the network have besides the methods of their port. All are optional: ask with `getattr`."""

    model: str
    """The model that is asked, as the engine names it."""
    left: Left

    async def warm(self) -> None:
        """Connect in advance."""
        ...

    async def probe(self) -> None:
        """Find out whether key and server are good, without generating anything. Raises ProviderError."""
        ...
