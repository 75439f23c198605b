"""A conversation's connection, as the session sees it."""

from __future__ import annotations

from typing import Protocol


class Ended(Exception):
    """The connection is over; str() says why."""


class Line(Protocol):
    """A client's connection."""

    async def receive(self) -> str | bytes:
        """The next message; raises Ended."""
        ...

    async def send(self, *messages: str | bytes) -> None:
        """Send messages in order; raises Ended."""
        ...
