"""Equal requests that are under way at the same time share one stream of the engine.

The stream runs in a nursery of the cache, not in the scope of whoever asked first: it lives for as long as anybody
listens. Each listener gets all items from the first one on, at its own pace; what came stays in memory until the stream
is over and its listeners have left, so that a slow one delays nobody.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, TypeVar

import trio
import trio.lowlevel

from aura.core.errors import ProviderError, StreamCut

T = TypeVar("T")
Begin = Callable[[], AbstractAsyncContextManager[AsyncIterator[T]]]
Complete = Callable[[list[T]], None]


class Flight(Generic[T]):
    """One stream of an engine and those who listen to it."""

    __slots__ = ("error", "items", "listeners", "lot", "over", "scope")

    def __init__(self) -> None:
        self.items: list[T] = []
        self.listeners = 0
        self.over = False
        self.error: Exception | None = None
        self.scope = trio.CancelScope()
        self.lot = trio.lowlevel.ParkingLot()


class Shared(Generic[T]):
    """The streams under way, by request. No stream may weigh more than `most`: an engine that never ends is cut off."""

    def __init__(self, nursery: trio.Nursery, weigh: Callable[[T], int], most: int) -> None:
        self._nursery, self._weigh, self._most = nursery, weigh, most
        self._flights: dict[bytes, Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: bytes) -> bool:
        return key in self._flights

    def listen(self, key: bytes, begin: Begin[T], complete: Complete[T]) -> Listener[T]:
        """The stream of an equal request, or the one that `begin` makes; `complete` gets all items if it ends well."""
        return Listener(self, key, begin, complete)

    def enter(self, key: bytes, begin: Begin[T], complete: Complete[T]) -> tuple[Flight[T], bool]:
        """The flight, with one listener more, and whether it begins now."""
        flight = self._flights.get(key)
        begins = flight is None
        if flight is None:
            flight = self._flights[key] = Flight()
            self._nursery.start_soon(self._fly, key, flight, begin, complete)
        flight.listeners += 1
        return flight, begins

    def leave(self, key: bytes, flight: Flight[T]) -> None:
        """One listener less. After the last one the engine is cancelled."""
        flight.listeners -= 1
        if not flight.listeners and not flight.over:
            self._forget(key, flight)
            flight.scope.cancel()

    def _forget(self, key: bytes, flight: Flight[T]) -> None:
        """Whoever comes now begins anew."""
        if self._flights.get(key) is flight:
            del self._flights[key]

    async def _fly(self, key: bytes, flight: Flight[T], begin: Begin[T], complete: Complete[T]) -> None:
        weight, whole = 0, False
        try:
            with flight.scope:
                async with begin() as items:
                    async for item in items:
                        weight += self._weigh(item)
                        if weight > self._most:
                            raise StreamCut("the engine did not end its answer, and was cut off")
                        flight.items.append(item)
                        flight.lot.unpark_all()
                whole = True
        except Exception as error:
            flight.error = error
        finally:
            if not whole and flight.error is None:
                flight.error = StreamCut("the stream was cancelled")  # by the end of the process: nobody else can
            flight.over = True
            self._forget(key, flight)
            flight.lot.unpark_all()
        if whole:
            complete(flight.items)


class Listener(Generic[T]):
    """One who listens to a stream that others may listen to as well."""

    __slots__ = ("_args", "_at", "_flight", "_key", "_raised", "_shared", "began")

    def __init__(self, shared: Shared[T], key: bytes, begin: Begin[T], complete: Complete[T]) -> None:
        self._shared, self._key, self._args = shared, key, (begin, complete)
        self._at = 0
        self._flight: Flight[T] | None = None
        self.began = False
        """Whether the stream is there because of this one."""

    async def __aenter__(self) -> Listener[T]:
        self._flight, self.began = self._shared.enter(self._key, *self._args)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._flight is not None:
            self._shared.leave(self._key, self._flight)
            self._flight = None

    def __aiter__(self) -> Listener[T]:
        return self

    async def __anext__(self) -> T:
        flight = self._flight
        if flight is None:
            raise StopAsyncIteration
        waited = False
        while self._at >= len(flight.items):
            if flight.over:
                if flight.error is not None:
                    raise own(flight.error)
                raise StopAsyncIteration
            await flight.lot.park()
            waited = True
        if not waited:
            await trio.lowlevel.checkpoint()
        self._at += 1
        return flight.items[self._at - 1]


def own(error: Exception) -> Exception:
    """The same failure for one more listener: tracebacks of several tasks do not belong on one object."""
    return copy.copy(error) if isinstance(error, ProviderError) else error
