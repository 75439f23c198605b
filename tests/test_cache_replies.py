"""Answers given again: only where asked for, only to questions that stand alone, never a broken one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from aura.core.errors import StreamCut
from aura.core.ports import ChatItem, ChatRequest, Finished, Message, TextDelta, Tool, ToolCall
from aura.observe.metrics import Metrics
from aura.providers.cache.replies import ReplyCache, open_reply_cache
from aura.providers.cache.settings import CacheSettings

SYSTEM, USER = Message("system", "Be brief."), Message("user", "How high is Mont Blanc?")
QUESTION = ChatRequest((SYSTEM, USER))
DONE = Finished("stop", 20, 6, 0, 0.25, "acme/model-1")
ANSWER: tuple[ChatItem, ...] = (TextDelta("4806 "), TextDelta("metres."), DONE)


class Model:
    """Gives the answer it was told to, slowly."""

    name, model = "acme", "model-1"

    def __init__(self, *items: ChatItem, error: Exception | None = None) -> None:
        self.items, self.error, self.asked = items or ANSWER, error, 0

    @asynccontextmanager
    async def reply(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatItem]]:
        self.asked += 1
        yield self._items()

    async def _items(self) -> AsyncIterator[ChatItem]:
        for item in self.items:
            await trio.sleep(0.1)
            yield item
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def cache(metrics: Metrics | None = None, **changes: Any) -> AsyncIterator[ReplyCache]:
    async with open_reply_cache(CacheSettings(**{"replies": True, **changes}), metrics or Metrics()) as made:
        yield made


async def ask(
    cache: ReplyCache, model: Model, request: ChatRequest = QUESTION, *, personal: bool = False, identity: str = ""
) -> tuple[str, Finished | None]:
    async with cache.reply(model, request, personal=personal, identity=identity) as items:
        got = [item async for item in items]
    text = "".join(item.text for item in got if isinstance(item, TextDelta))
    return text, next((item for item in got if isinstance(item, Finished)), None)


def results(metrics: Metrics) -> list[float]:
    return [metrics.value("cache_requests", "replies", result) for result in ("hit", "shared", "miss")]


async def test_the_same_question_is_answered_again_for_nothing(autojump_clock: trio.testing.MockClock) -> None:
    model, metrics = Model(), Metrics()
    async with cache(metrics) as replies:
        first = await ask(replies, model)
        began = trio.current_time()
        again = await ask(replies, model)
    assert first == ("4806 metres.", DONE)
    assert again == ("4806 metres.", Finished("stop", 20, 6, 0, 0.0, "acme/model-1"))
    assert (model.asked, results(metrics)) == (1, [1, 0, 1])
    assert trio.current_time() == began


async def test_equal_questions_under_way_are_asked_once_and_paid_once(autojump_clock: trio.testing.MockClock) -> None:
    model, metrics, costs = Model(), Metrics(), []
    async with cache(metrics) as replies, trio.open_nursery() as nursery:

        async def one() -> None:
            text, finished = await ask(replies, model)
            assert text == "4806 metres."
            assert finished is not None
            costs.append(finished.cost_usd)

        for _ in range(3):
            nursery.start_soon(one)
    assert (model.asked, sorted(costs), results(metrics)) == (1, [0.0, 0.0, 0.25], [0, 2, 1])


TOOL = Tool("now", "The time.", {})
NEVER: dict[str, tuple[ChatRequest, dict[str, bool]]] = {
    "switched off": (QUESTION, {"replies": False}),
    "personal": (QUESTION, {"personal": True}),
    "functions": (ChatRequest((SYSTEM, USER), (TOOL,)), {}),
    "a conversation": (ChatRequest((SYSTEM, USER, Message("assistant", "Hm."), USER)), {}),
    "two messages": (ChatRequest((SYSTEM, USER, USER)), {}),
    "no question": (ChatRequest((SYSTEM,)), {}),
    "nothing": (ChatRequest(()), {}),
    "an earlier answer": (ChatRequest((SYSTEM, Message("tool", "12:00", tool_call_id="x"), USER)), {}),
}


@pytest.mark.parametrize("why", NEVER)
async def test_these_are_always_asked_of_the_model(why: str, autojump_clock: trio.testing.MockClock) -> None:
    request, how = NEVER[why]
    model, metrics = Model(), Metrics()
    async with cache(metrics, replies=how.get("replies", True)) as replies, trio.open_nursery() as nursery:
        for _ in range(2):  # not even at the same time
            nursery.start_soon(lambda: ask(replies, model, request, personal=how.get("personal", False)))
    assert (model.asked, len(replies), results(metrics)) == (2, 0, [0, 0, 0])


@pytest.mark.parametrize(
    "changed",
    [
        {"request": ChatRequest((SYSTEM, Message("user", "How high is Mont Blanc")))},
        {"request": ChatRequest((Message("system", "Be long."), USER))},
        {"request": ChatRequest((SYSTEM, USER), max_tokens=9)},
        {"identity": "tenant b"},
    ],
)
async def test_only_exactly_the_same_is_the_same(
    changed: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    model = Model()
    async with cache() as replies:
        await ask(replies, model)
        await ask(replies, model, **changed)
        other = Model()
        other.model = "model-2"
        await ask(replies, other)
    assert (model.asked, other.asked) == (2, 1)


BROKEN: dict[str, Model] = {
    "cut": Model(TextDelta("4806 "), error=StreamCut("cut")),
    "too long for the model": Model(TextDelta("4806 "), Finished("length")),
    "filtered": Model(TextDelta("4806 "), Finished("content_filter")),
    "empty": Model(Finished("stop")),
    "blank": Model(TextDelta(" "), Finished("stop")),
    "nothing at all": Model(TextDelta("4806 ")),
    "a call of a function": Model(TextDelta("4806 "), ToolCall("1", "f", "{}"), Finished("stop")),
    "too long to keep": Model(TextDelta("4806 " * 10), Finished("stop")),
}


@pytest.mark.parametrize("why", BROKEN)
async def test_an_answer_that_is_not_whole_is_not_given_again(why: str, autojump_clock: trio.testing.MockClock) -> None:
    model = BROKEN[why]
    async with cache(reply_chars_max=40) as replies:
        for _ in range(2):
            try:
                await ask(replies, model)
            except StreamCut:
                assert why == "cut"
        assert (model.asked, len(replies)) == (2, 0)


async def test_answers_grow_old_and_make_room(autojump_clock: trio.testing.MockClock) -> None:
    model = Model()
    numbered = [ChatRequest((Message("user", f"{number}?"),)) for number in range(4)]
    async with cache(replies_max=2, replies_keep_s=100.0) as replies:
        for request in (numbered[0], numbered[1], numbered[0], numbered[2]):
            await ask(replies, model, request)
        assert (model.asked, len(replies)) == (3, 2)
        await ask(replies, model, numbered[0])  # used last, so the other one had to go
        assert model.asked == 3
        await ask(replies, model, numbered[1])
        assert model.asked == 4
        await trio.sleep(101)
        await ask(replies, model, numbered[1])
        assert model.asked == 5
