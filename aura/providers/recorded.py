"""Engines that are only names: what they gave stands on a tape, and the seam in front of them takes it from there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from aura.core.ports import (
    ChatItem,
    ChatRequest,
    Hearing,
    Kit,
    SpeechChunk,
    SpeechRequest,
    Tool,
    ToolCall,
    ToolHost,
    ToolResult,
    VoiceDetector,
)
from aura.core.tape import TapeHeader


class NotAsked(RuntimeError):
    """An engine was reached behind a tape, which must not happen."""


class Name:
    """An engine of any kind that cannot be used."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __aenter__(self) -> None:
        raise NotAsked(self.name)

    async def __aexit__(self, *_: object) -> None:
        raise NotAsked(self.name)


class RecordedStt(Name):
    """Stands for a recogniser."""

    def feed(self, pcm: bytes) -> None:
        """Nobody hears it."""

    def open(self) -> AbstractAsyncContextManager[Hearing]:
        """Not to be entered."""
        return self  # type: ignore[return-value]


class RecordedChat(Name):
    """Stands for a model."""

    def reply(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatItem]]:
        """Not to be entered."""
        return self  # type: ignore[return-value]


class RecordedTts(Name):
    """Stands for a voice."""

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Not to be entered."""
        return self  # type: ignore[return-value]


class RecordedTools:
    """Declares the functions that the recorded conversation had."""

    def __init__(self, tools: tuple[Tool, ...]) -> None:
        self._tools = tools

    def tools(self) -> tuple[Tool, ...]:
        """What was declared to the model."""
        return self._tools

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Not to be called."""
        raise NotAsked(call.name)


def recorded_kit(header: TapeHeader, detector: Callable[[], VoiceDetector]) -> Kit:
    """The engines of a recorded conversation, by name. The detector is a real one: it hears the recorded audio."""
    names = header.engines
    return Kit(
        RecordedStt(names.get("stt", "")),
        RecordedChat(names.get("chat", "")),
        RecordedTts(names.get("tts", "")),
        RecordedTts(names.get("backup_tts", "")),
        detector,
        RecordedTools(header.tools),
    )
