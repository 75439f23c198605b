"""reply deltas → text for the client: the last stage of a reply that is read instead of heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from aura.core import events as ev
from aura.core.data import Phrase
from aura.stages.playout import Gate
from aura.stages.think import BREAKS_OFF, STANDS_ALONE


async def display(
    words: trio.MemoryReceiveChannel[str],
    gate: Gate,
    send: Callable[[Phrase], Awaitable[None]],
    tell: Callable[[ev.Event], Any],
    reply: int,
) -> None:
    """Send each delta as soon as the reply may be shown. What was sent counts as read."""
    index = 0
    with words:
        async for delta in words:
            if delta in (STANDS_ALONE, BREAKS_OFF):
                continue
            await gate.wait_open()
            if not index:
                tell(ev.ReplyStarted(reply))
            await send(Phrase(index, delta, ""))
            index += 1
    await gate.wait_released()
    await gate.wait_unheld()
    tell(ev.PlayoutFinished(reply, 0))
