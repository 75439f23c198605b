"""Answers of a language model to questions that have nothing personal, kept in memory for whoever asks the same.

Only for a question alone: system instructions and one message of the user, no functions, and the router found nothing
personal in it. Off unless asked for: instructions may hold more than they seem to, such as the caller's name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import msgspec
import trio

from aura.core.ports import ChatItem, ChatModel, ChatRequest, Finished, TextDelta
from aura.providers.background import background
from aura.providers.meter import UNMETERED, Meter

from .settings import CacheSettings
from .shared import Shared

ANSWER_CHARS_MAX = 4 << 20
"""No answer is so long: its engine would never end."""


class Kept(msgspec.Struct, frozen=True):
    """An answer."""

    text: str
    finished: Finished
    until: float


class ReplyCache:
    """The answers of a process."""

    def __init__(self, settings: CacheSettings, shared: Shared[ChatItem], meter: Meter = UNMETERED) -> None:
        self.settings, self.meter = settings, meter
        self._shared = shared
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @asynccontextmanager
    async def reply(
        self, inner: ChatModel, request: ChatRequest, *, personal: bool, identity: str = ""
    ) -> AsyncIterator[AsyncIterator[ChatItem]]:
        """Stream the answer: a kept one, one that is under way, or the model's own.

        `identity` tells apart what the model's name does not: the model asked for, its settings, the tenant.
        """
        if not self.settings.replies or personal or not alone(request):
            async with inner.reply(request) as items:
                yield items
            return
        key = key_of(inner, request, identity)
        kept = self._find(key)
        result = "hit" if kept else "shared" if key in self._shared else "miss"
        self.meter.add("cache_requests", "replies", result)
        if kept is not None:
            yield Given(kept)
            return
        listener = self._shared.listen(key, lambda: inner.reply(request), lambda items: self._keep(key, items))
        async with listener:
            yield listener if listener.began else Unpaid(listener)

    def _find(self, key: bytes) -> Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.until <= trio.current_time():
            del self._kept[key]
            return None
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def _keep(self, key: bytes, items: list[ChatItem]) -> None:
        """Keep an answer that is complete in itself."""
        texts = [item.text for item in items if isinstance(item, TextDelta)]
        finished = items[-1] if items else None
        text = "".join(texts)
        whole = isinstance(finished, Finished) and finished.reason == "stop" and len(texts) == len(items) - 1
        if not whole or not text.strip() or len(text) > self.settings.reply_chars_max:
            return
        assert isinstance(finished, Finished)
        self._kept[key] = Kept(text, finished, trio.current_time() + self.settings.replies_keep_s)
        self._kept.move_to_end(key)
        while len(self._kept) > self.settings.replies_max:
            self._kept.popitem(last=False)


def alone(request: ChatRequest) -> bool:
    """Whether a question depends on nothing but itself and the instructions."""
    roles = [message.role for message in request.messages]
    return bool(roles) and roles.pop() == "user" and set(roles) <= {"system"} and not request.tools


def key_of(inner: ChatModel, request: ChatRequest, identity: str) -> bytes:
    """All that an answer depends on, as a digest."""
    asked = (inner.name, getattr(inner, "model", ""), identity, request)
    return sha256(msgspec.msgpack.encode(asked)).digest()


def unpaid(item: ChatItem) -> ChatItem:
    """The same, for those who cost nothing: one call is paid once."""
    return msgspec.structs.replace(item, cost_usd=0.0) if isinstance(item, Finished) else item


class Unpaid:
    """An answer that somebody else's call gets."""

    def __init__(self, items: AsyncIterator[ChatItem]) -> None:
        self._items = items

    def __aiter__(self) -> AsyncIterator[ChatItem]:
        return self

    async def __anext__(self) -> ChatItem:
        return unpaid(await self._items.__anext__())


class Given:
    """A kept answer as a model would give it."""

    def __init__(self, kept: Kept) -> None:
        self._items: list[ChatItem] = [unpaid(kept.finished), TextDelta(kept.text)]

    def __aiter__(self) -> AsyncIterator[ChatItem]:
        return self

    async def __anext__(self) -> ChatItem:
        await trio.lowlevel.checkpoint()
        if not self._items:
            raise StopAsyncIteration
        return self._items.pop()


@asynccontextmanager
async def open_reply_cache(settings: CacheSettings, meter: Meter = UNMETERED) -> AsyncIterator[ReplyCache]:
    """The answers of a process; leaving the context forgets them."""
    async with background() as nursery:

        def weigh(item: ChatItem) -> int:
            return len(item.text) if isinstance(item, TextDelta) else 1

        yield ReplyCache(settings, Shared[ChatItem](nursery, weigh, ANSWER_CHARS_MAX), meter)
