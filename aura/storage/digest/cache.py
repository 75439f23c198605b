"""Keeps what was used last, up to a weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lru(Generic[K, V]):
    """Values by key; beyond `most` the one that was used longest ago goes. For any number of threads."""

    def __init__(self, most: float, weigh: Callable[[V], float]) -> None:
        self._most, self._weigh = most, weigh
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._weight = 0.0
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """The value, if it is still there."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value. One that is heavier than all may be together is not kept."""
        weight = self._weigh(value)
        with self._lock:
            if key in self._kept:
                self._weight -= self._weigh(self._kept.pop(key))
            if weight > self._most:
                return
            self._kept[key] = value
            self._weight += weight
            while self._weight > self._most:
                _, gone = self._kept.popitem(last=False)
                self._weight -= self._weigh(gone)
