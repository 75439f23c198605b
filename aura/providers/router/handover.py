"""Items from one task to one other.

A memory channel costs each item a turn of the event loop on either side. Here who has nothing to wait for goes on, so
that the reader is woken once for all that one read of a socket gave.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

M = TypeVar("M")


class Handover(Generic[M]):
    """A queue with one writer and one reader. A checkpoint only for who has to wait."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[M] = deque()
        self._closed = False
        self._writer = Sleeper()
        self._reader = Sleeper()

    async def put(self, item: M) -> None:
        """Give an item; waits while the reader is too far behind."""
        self._items.append(item)
        self._reader.wake()
        while len(self._items) > self._room:
            await self._writer.sleep()

    def close(self) -> None:
        """Nothing more will come. What is there can still be taken."""
        self._closed = True
        self._reader.wake()

    def take(self) -> M | None:
        """The next item if it is there."""
        if not self._items:
            return None
        item = self._items.popleft()
        if len(self._items) <= self._room:
            self._writer.wake()
        return item

    async def get(self) -> M | None:
        """The next item; None when there will be none."""
        while not (self._items or self._closed):
            await self._reader.sleep()
        return self.take()


class Sleeper:
    """A place where one task waits to be woken."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def sleep(self) -> None:
        """Wait."""
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, raise_cancel: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        """Let the task that waits go on, if there is one."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)
