"""audio → client: never more than `lead_s` ahead of what is heard, silent while the gate is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from aura.core import events as ev
from aura.core.data import Chunk
from aura.core.pacing import PlayClock


class Gate:
    """Whether a reply may be heard: closed for drafts, held during an overlap, braked on a mere suspicion.

    While the client's connection is lost it is `away`, whatever else holds it.
    """

    def __init__(self, *, released: bool, away: bool = False) -> None:
        self.released, self.held, self.braked, self.away = released, False, False, away
        self.released_at = trio.current_time()
        """Since when the user waits for it, where it is released."""
        self.on_change: Callable[[], None] | None = None
        self._changed = trio.Event()

    def change(
        self,
        *,
        released: bool | None = None,
        held: bool | None = None,
        braked: bool | None = None,
        away: bool | None = None,
    ) -> None:
        """Set what is given and wake whoever waits."""
        if released and not self.released:
            self.released_at = trio.current_time()
        self.released = self.released if released is None else released
        self.held = self.held if held is None else held
        self.braked = self.braked if braked is None else braked
        self.away = self.away if away is None else away
        self._changed.set()
        self._changed = trio.Event()
        if self.on_change is not None:
            self.on_change()

    async def wait_released(self) -> None:
        """Wait until the reply is no draft any more."""
        while not self.released:
            await self._changed.wait()

    async def wait_attended(self) -> None:
        """Wait until the reply is no draft any more and the client is there."""
        while not self.released or self.away:
            await self._changed.wait()

    async def wait_open(self) -> None:
        """Wait until audio may be sent."""
        while not self.is_open:
            await self._changed.wait()

    @property
    def is_open(self) -> bool:
        """Whether audio may be sent."""
        return self.released and not (self.held or self.braked or self.away)

    @property
    def paused(self) -> bool:
        """Whether nothing is being heard just now, though it may be later."""
        return self.held or self.away

    async def wait_unheld(self) -> None:
        """Wait until nobody holds the reply."""
        while self.paused:
            await self._changed.wait()


async def playout(
    voice: trio.MemoryReceiveChannel[Chunk],
    gate: Gate,
    clock: PlayClock,
    send: Callable[[Chunk], Awaitable[None]],
    tell: Callable[[ev.Event], Any],
    reply: int,
) -> None:
    """Send chunks as they fall due, then wait until they have been heard."""
    started = False
    with voice:
        async for chunk in voice:
            await _until_due(gate, clock)
            if not started and chunk.samples:
                started = True
                tell(ev.ReplyStarted(reply))
            clock.send(trio.current_time(), chunk.seconds)
            await send(chunk)
    await gate.wait_released()
    while gate.paused or (left := clock.done(trio.current_time()) - trio.current_time()) > 0:
        if gate.paused:
            await gate.wait_unheld()
        else:
            await trio.sleep(left)
    tell(ev.PlayoutFinished(reply, round(clock.heard(trio.current_time()) * 1000)))


async def _until_due(gate: Gate, clock: PlayClock) -> None:
    await gate.wait_open()
    while (wait := clock.due(trio.current_time()) - trio.current_time()) > 0:
        await trio.sleep(wait)
        await gate.wait_open()
