"""What a recogniser notices, on its way to whoever wants to know."""

from __future__ import annotations

from collections import deque

import trio

from aura.core.errors import ProviderError
from aura.core.ports import HearingEvent, Interim

KEPT = 64
"""Events that are kept for a reader who is late or never comes."""


class Notices:
    """Events on their way to one reader, who may be late: newer tentative words replace older ones."""

    def __init__(self) -> None:
        self._waiting: deque[HearingEvent] = deque(maxlen=KEPT)
        self._over = False
        self._error: ProviderError | None = None
        self._news = trio.Event()

    def put(self, event: HearingEvent) -> None:
        """The next one."""
        if self._waiting and isinstance(event, Interim) and isinstance(self._waiting[-1], Interim):
            self._waiting.pop()
        self._waiting.append(event)
        self._news.set()

    def end(self, error: ProviderError | None = None) -> None:
        """There will be no more; the error, if any, is raised to the reader."""
        if not self._over:
            self._over, self._error = True, error
            self._news.set()

    def __aiter__(self) -> Notices:
        return self

    async def __anext__(self) -> HearingEvent:
        while not self._waiting:
            if self._over:
                await trio.lowlevel.checkpoint()
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._news = trio.Event()
            await self._news.wait()  # bounded: the utterance ends it
        return self._waiting.popleft()
