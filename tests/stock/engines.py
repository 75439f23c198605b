"""The engines behind AURA while stock clients are tried: what a provider answers, made from what it is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.fakes.openai_server import Answer, FakeOpenAI, Seen, chat, sent_audio, speech, transcript
from tests.stock.speech import Ear, Said

LETTER_S = 0.05
"""Every letter of a reply sounds so long, so that a position in the audio is a position in the text."""
RATE_HZ, TONE_HZ, LOUD = 24_000, 440.0, 8000
LONGEST_S = 60
TONE = (LOUD * np.sin(2 * np.pi * TONE_HZ / RATE_HZ * np.arange(LONGEST_S * RATE_HZ))).astype("<i2").tobytes()

STORY = (
    "Once upon a time there was a lighthouse keeper who lived alone by the northern sea. Every night he lit the lamp "
    "and counted the ships that passed far out in the dark. One winter a storm came, and no ship passed for nine days. "
    "On the tenth morning a small boat drifted in, and in it sat a girl with a lantern of her own."
)
TYPED = "Please answer in writing."
TOOL = "make_ticket"
TICKET = "ticket 4711"


@dataclass
class Lines:
    """What the model says: a reply for each thing that can be said to it."""

    replies: Mapping[str, str]
    """By the words of the user; of several the one that was said last counts."""
    wish: str = ""
    """The saying that is answered with a call of the client's function first."""
    calls: int = field(default=0)

    def answer(self, seen: Seen) -> Answer:
        """What the model answers to a request."""
        messages = seen.json["messages"]
        if messages[-1]["role"] == "tool":
            result = messages[-1]["content"].strip(' "')
            return said(f"Done, you have {result}.")
        words, tools = last_words(messages), [tool["function"]["name"] for tool in seen.json.get("tools") or ()]
        if self.wish and self.wish in words and TOOL in tools:
            self.calls += 1
            return call(f"call_{self.calls:016d}", json.dumps({"wish": words}))
        return said(self.reply(words))

    def reply(self, words: str) -> str:
        """The reply to the latest of the known sayings."""
        found = [(words.rfind(text), reply) for text, reply in self.replies.items() if text in words]
        return max(found)[1] if found else f"I did not understand {words!r}."


def last_words(messages: list[dict[str, Any]]) -> str:
    """All that the user said last, without an answer in between."""
    words: list[str] = []
    for message in reversed(messages):
        if message["role"] != "user":
            break
        content = message["content"]
        parts = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
        words.insert(0, parts)
    return " ".join(words)


def said(text: str) -> Answer:
    """A reply as a fast model streams it."""
    return chat(text, ttft_s=0.15, gap_s=0.004)


def call(call_id: str, arguments: str) -> Answer:
    """A function call, its arguments in two pieces."""
    half = len(arguments) // 2
    head = {"index": 0, "id": call_id, "type": "function", "function": {"name": TOOL, "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": part}} for part in (arguments[:half], arguments[half:])]
    return chat("", ttft_s=0.15, finish="tool_calls", tool_deltas=[[head], *([piece] for piece in pieces)])


def voice(seen: Seen) -> Answer:
    """A tone as long as the text."""
    seconds = min(LONGEST_S, LETTER_S * len(seen.json["input"]))
    return speech(TONE[: 2 * int(seconds * RATE_HZ)], ttfb_s=0.1, gap_s=0.002)


def equip(fake: FakeOpenAI, lines: Lines, said_clips: dict[str, Said]) -> None:
    """Let the fake provider answer with these lines, hear these recordings, and forget what it was asked before."""
    ear = Ear(said_clips)
    fake.seen.clear()
    fake.default["chat"] = lines.answer
    fake.default["stt"] = lambda seen: transcript(ear.words(sent_audio(seen)), head_delay_s=0.1)
    fake.default["tts"] = voice


def conversations(fake: FakeOpenAI) -> Iterator[list[dict[str, Any]]]:
    """The messages of every request to the model."""
    for seen in fake.of("chat"):
        yield seen.json["messages"]
