"""A conversation's connection, as the session sees it. It may be lost, and come back as another one."""

from __future__ import annotations

from typing import Protocol

from aura.core.tape import Back, Lost

__all__ = ["Back", "Ended", "Interrupted", "Line", "Lost", "Received"]


class Ended(Exception):
    """The connection is over for good; str() says why."""


class Interrupted(Exception):
    """Nothing can be sent at the moment: the connection is lost."""


Received = str | bytes | Lost | Back
"""A message, or what became of the connection, which is told in the words of the tape."""


class Line(Protocol):
    """A client's connection."""

    async def receive(self) -> Received:
        """The next message, or what became of the connection; raises Ended."""
        ...

    async def send(self, *messages: str | bytes) -> None:
        """Send messages in order; raises Ended or Interrupted."""
        ...

    def switch(self) -> None:
        """What is sent from now on is for the client that came back: use its new connection."""
        ...
