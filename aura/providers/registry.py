"""Engines by name. An engine's module is imported when somebody first asks for the engine.

A factory takes the engine's own section of the configuration and the process's HTTP connections, and returns a context
manager: inside it the engine is ready, outside all it held is freed. Engines that hold nothing have plain classes,
which are wrapped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any, Literal, cast

import msgspec

from aura.core.errors import ConfigError
from aura.core.ports import ChatModel, SpeechToText, TextToSpeech
from aura.providers.http import Http

Part = Literal["stt", "chat", "tts"]


class Engine(msgspec.Struct, frozen=True):
    """Where an engine's part is made."""

    factory: str
    """`module:name` of a callable (settings, http, *, name) → the part, or an async context manager of it."""
    section: str
    """Section of the configuration that the factory is given."""


OPENAI, OFFLINE = "aura.providers.openai", "aura.providers.offline"

ENGINES: Mapping[Part, Mapping[str, Engine]] = {
    "stt": {
        "offline": Engine(f"{OFFLINE}.stt:open_stt", "offline_stt"),
        "openai": Engine(f"{OPENAI}.stt:OpenAITranscriber", "openai"),
        "compatible": Engine(f"{OPENAI}.stt:OpenAITranscriber", "compatible"),
    },
    "chat": {
        "offline": Engine(f"{OFFLINE}.chat:open_chat", "assistant"),
        "openai": Engine(f"{OPENAI}.chat:OpenAIChat", "openai"),
        "compatible": Engine(f"{OPENAI}.chat:OpenAIChat", "compatible"),
    },
    "tts": {
        "offline": Engine(f"{OFFLINE}.tts:open_tts", "offline_tts"),
        "openai": Engine(f"{OPENAI}.tts:OpenAISpeaker", "openai"),
        "compatible": Engine(f"{OPENAI}.tts:OpenAISpeaker", "compatible"),
    },
}


def engine(part: Part, name: str) -> Engine:
    """The entry of the table. Raises ConfigError naming what there is."""
    found = ENGINES[part].get(name)
    if found is None:
        raise ConfigError(f"there is no {part} engine {name!r}; choose one of {', '.join(ENGINES[part])}")
    return found


def open_stt(name: str, settings: object, http: Http) -> AbstractAsyncContextManager[SpeechToText]:
    """The recogniser of that name; `settings` is the section `engine("stt", name).section`."""
    return cast("AbstractAsyncContextManager[SpeechToText]", _open("stt", name, settings, http))


def open_chat(name: str, settings: object, http: Http) -> AbstractAsyncContextManager[ChatModel]:
    """The language model of that name."""
    return cast("AbstractAsyncContextManager[ChatModel]", _open("chat", name, settings, http))


def open_tts(name: str, settings: object, http: Http) -> AbstractAsyncContextManager[TextToSpeech]:
    """The voice of that name."""
    return cast("AbstractAsyncContextManager[TextToSpeech]", _open("tts", name, settings, http))


@asynccontextmanager
async def _open(part: Part, name: str, settings: object, http: Http) -> AsyncIterator[Any]:
    module, _, attribute = engine(part, name).factory.partition(":")
    factory: Callable[..., Any] = getattr(import_module(module), attribute)
    made = factory(settings, http, name=name)
    if isinstance(made, AbstractAsyncContextManager):
        async with made as ready:
            yield ready
    else:
        yield made
