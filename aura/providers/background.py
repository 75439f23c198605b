"""A nursery for tasks that help whoever is inside, and end with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """A nursery that is cancelled when the context is left; what the inside raises comes out as it was, in no group."""
    failed: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                failed = error
                raise
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        failed = _most_telling(group, failed)
    if failed is not None:
        raise failed


def _most_telling(group: BaseExceptionGroup[BaseException], inside: BaseException | None) -> BaseException:
    """One exception for all: what the inside raised, unless it was only cancelled because a helper had failed."""
    if inside is not None and not isinstance(inside, trio.Cancelled):
        return inside
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if not isinstance(error, trio.Cancelled)), inside or leaves[0])
