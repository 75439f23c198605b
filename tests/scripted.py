"""The scripted engines of `tests/script.py`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import trio

from aura.core.errors import ProviderError
from aura.core.ports import (
    ChatItem,
    ChatRequest,
    Finished,
    SpeechChunk,
    SpeechRequest,
    TextDelta,
    Tool,
    ToolCall,
    ToolHost,
    ToolResult,
    Transcript,
    Voice,
)

RATE_HZ = 24_000


class Detector:
    """Speech where the frame says so."""

    def step(self, frame: bytes) -> Voice:
        return Voice(0.95, -20.0) if frame[0] else Voice(0.0, -70.0, gate=False)

    def reset(self) -> None:
        pass


class Recogniser:
    """Hears what the scripted user is saying at the moment; `failures` are raised first, one per request."""

    name = "scripted"

    def __init__(self, delay_s: float) -> None:
        self.delay_s, self.text = delay_s, ""
        self.failures: list[ProviderError] = []
        self.requests = 0
        self.open_now = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Utterance]:
        self.open_now += 1
        try:
            yield Utterance(self)
        finally:
            self.open_now -= 1


class Utterance:
    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser, self.frames = recogniser, 0

    def feed(self, pcm: bytes) -> None:
        self.frames += 1

    async def so_far(self) -> Transcript:
        stt = self.recogniser
        stt.requests += 1
        text = stt.text if self.frames else ""
        await trio.sleep(stt.delay_s)
        if stt.failures:
            raise stt.failures.pop(0)
        return Transcript(text)

    final = so_far


class Model:
    """Gives the scripted answers in turn: text, a list of items, or an error to raise."""

    name = "scripted"

    def __init__(self, answers: list[Any], first_s: float, token_s: float) -> None:
        self.answers, self.first_s, self.token_s = answers, first_s, token_s
        self.requests: list[ChatRequest] = []
        self.cancelled = 0

    @asynccontextmanager
    async def reply(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatItem]]:
        self.requests.append(request)
        done = False

        async def items() -> AsyncIterator[ChatItem]:
            nonlocal done
            await trio.sleep(self.first_s)
            answer = self.answers.pop(0) if self.answers else "I have nothing more to say."
            if isinstance(answer, ProviderError):
                raise answer
            for item in answer.split(" ") if isinstance(answer, str) else answer:
                if isinstance(item, ProviderError):
                    raise item
                yield TextDelta(item + " ") if isinstance(item, str) else item
                await trio.sleep(self.token_s)
            done = True
            yield Finished("stop")

        try:
            async with aclosing(items()) as stream:
                yield stream
        finally:
            self.cancelled += not done


class Voicebox:
    """60 ms of a tone per character, five times faster than real time."""

    name = "scripted"

    def __init__(self, first_s: float) -> None:
        self.first_s = first_s
        self.said: list[str] = []
        self.failures: list[ProviderError] = []
        self.cancelled = 0

    @asynccontextmanager
    async def speak(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        self.said.append(request.text)
        done = False

        async def pieces() -> AsyncIterator[SpeechChunk]:
            nonlocal done
            await trio.sleep(self.first_s)
            if self.failures:
                raise self.failures.pop(0)
            for _ in range(max(1, round(len(request.text) * 0.6))):
                yield SpeechChunk(b"\x00\x10" * (RATE_HZ // 10), RATE_HZ)
                await trio.sleep(0.02)
            done = True

        try:
            async with aclosing(pieces()) as stream:
                yield stream
        finally:
            self.cancelled += not done


class Tools:
    """One tool, `wait`, that takes as long as it is told."""

    def tools(self) -> tuple[Tool, ...]:
        return (Tool("wait", "Waits.", {"type": "object", "properties": {"seconds": {"type": "number"}}}),)

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        seconds = json.loads(call.arguments)["seconds"]
        host.say_later(seconds, "Time is up.")
        return ToolResult("done")
