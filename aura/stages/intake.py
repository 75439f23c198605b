"""client messages → frames and facts: reads the socket and hands every message on, in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

EVERY = 32
"""Messages in a row without a pause after which other conversations get their turn."""


async def intake(
    receive: Callable[[], Awaitable[str | bytes]],
    take: Callable[[str | bytes], bool],
    catch_up: Callable[[], Awaitable[None]],
) -> None:
    """Read until the connection ends, which `receive` raises. Reads no further while `take` wants `catch_up`."""
    count = 0
    while True:
        if take(await receive()):
            await catch_up()
        count += 1
        if count % EVERY == 0:  # a flood in one packet must not hold the event loop
            await trio.lowlevel.checkpoint()
