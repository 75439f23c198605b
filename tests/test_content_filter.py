"""An answer that the engine's filter stops in mid-sentence ends, for the ear, with its last full sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

from aura.core.data import Phrase
from aura.core.ports import ChatRequest, Finished, Message
from aura.core.sentences import SentenceSettings, SentenceSplitter
from aura.providers.http import open_http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.settings import OpenAISettings
from aura.stages.phrase import phrase
from aura.stages.think import Functions, ThinkSettings, think
from tests.fakes.openai_server import Answer, chat, serve

ASK = ChatRequest((Message("user", "Tell me"),))


async def never(calls: Any) -> list[str]:
    raise AssertionError(calls)


async def spoken(*answers: Answer) -> tuple[list[str], list[Finished]]:
    """What is said of these answers, through the real adapter and the two stages."""
    ends: list[Finished] = []
    phrases: list[Phrase] = []
    words, deltas = trio.open_memory_channel[str](64)
    sentences, pieces = trio.open_memory_channel[Phrase](math.inf)
    async with serve(*answers) as fake, open_http() as http, trio.open_nursery() as nursery:
        model = OpenAIChat(OpenAISettings(base_url=fake.base_url), http)
        nursery.start_soon(
            think,
            ASK,
            words,
            model,
            Functions(never),
            ThinkSettings(),
            lambda _: None,
            lambda _, end, __: ends.append(end),
            1,
        )
        nursery.start_soon(phrase, deltas, sentences, SentenceSplitter(SentenceSettings()), phrases.append)
        async with pieces:
            async for _ in pieces:
                pass
    return [piece.text.strip() for piece in phrases], ends


CASES = {
    "in mid-sentence": ("I can tell you that much. But you take the wire and then", ["I can tell you that much."]),
    "after a full sentence": ("I can tell you that much.", ["I can tell you that much."]),
    "two sentences": (
        "I can tell you that much. It is not safe at all. First",
        ["I can tell you that much.", "It is not safe at all."],
    ),
    "in the first sentence": ("You take", []),
    "before the first word": ("", []),
}


@pytest.mark.parametrize("case", CASES)
async def test_nothing_is_said_after_the_last_full_sentence(case: str) -> None:
    text, expected = CASES[case]
    said, ends = await spoken(chat(text, finish="content_filter"))
    assert said == expected
    assert [end.reason for end in ends] == ["content_filter"]


@pytest.mark.parametrize("finish", ["stop", "length"])
async def test_any_other_end_says_all_that_there_is(finish: str) -> None:
    said, _ = await spoken(chat("I can tell you that much. But you take", finish=finish))
    assert said == ["I can tell you that much.", "But you take"]


def test_the_next_text_begins_afresh() -> None:
    splitter = SentenceSplitter(SentenceSettings())
    splitter.push("You take the")
    assert splitter.break_off() == []
    assert [sentence.text for sentence in (*splitter.push("Well. "), *splitter.finish())] == ["Well."]
