"""The assistant that needs no network: rules behind the port of a language model."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from hashlib import blake2b

import msgspec
import trio

from aura.core.ports import ChatItem, ChatRequest, Finished, Message, TextDelta, ToolCall
from aura.providers.http import Http
from aura.providers.offline.skills import Use, answer
from aura.providers.offline.skills_tools import forced


class OfflineChat:
    """Answers by rules, deterministically: the same conversation always gets the same answer."""

    def __init__(self, name: str = "offline") -> None:
        self.name = name

    def reply(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatItem]]:
        """Stream the answer word by word. Deciding takes well under a millisecond; nothing can fail."""
        return nullcontext(Stream(decide(request)))


class Stream:
    """The items of one answer. It holds nothing, so it may be left at any time."""

    def __init__(self, items: Sequence[ChatItem]) -> None:
        self._items = deque(items)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> ChatItem:
        await trio.lowlevel.checkpoint()
        if not self._items:
            raise StopAsyncIteration
        return self._items.popleft()


def decide(request: ChatRequest) -> list[ChatItem]:
    """All items of the answer, `Finished` last."""
    reply = answer(request)
    if request.tool_choice not in ("auto", "none") and not isinstance(reply, Use):
        reply = forced(request) or reply
    if isinstance(reply, Use):
        arguments = msgspec.json.encode(reply.arguments).decode()
        return [ToolCall(_call_id(request.messages), reply.tool, arguments), Finished("tool_calls")]
    words = reply.split(" ")
    shown = words[: request.max_tokens or None]
    deltas: list[ChatItem] = [TextDelta(word if index == 0 else f" {word}") for index, word in enumerate(shown)]
    return [*deltas, Finished("stop" if len(shown) == len(words) else "length", output_tokens=len(shown))]


def _call_id(messages: Sequence[Message]) -> str:
    """An id of its own for each call of a conversation, and the same one when the conversation is replayed."""
    digest = blake2b(digest_size=8)
    for message in messages:
        digest.update(f"{message.role}\0{message.text}\0{message.tool_call_id}\0".encode())
    return f"call_{digest.hexdigest()}"


def open_chat(settings: object, http: Http, *, name: str = "offline") -> OfflineChat:
    """The factory of `aura.providers.registry`; needs neither settings nor connections."""
    del settings, http
    return OfflineChat(name)
