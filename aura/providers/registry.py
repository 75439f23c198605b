"""Engines by name. An engine's module is imported when somebody first asks for the engine.

A factory takes the engine's own section of the configuration and the process's HTTP connections, and returns a context
manager: inside it the engine is ready, outside all it held is freed. Engines that hold nothing have plain classes,
which are wrapped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any, Literal

import msgspec

from aura.core.errors import ConfigError
from aura.providers.http import Http

Part = Literal["stt", "chat", "tts"]


class Engine(msgspec.Struct, frozen=True):
    """Where an engine's part is made."""

    factory: str
    """`module:name` of a callable (settings, http, *, name) → the part, or an async context manager of it."""
    section: str
    """Section of the configuration that the factory is given."""
    model: str = ""
    """Field of that section that names the model; empty: there is only one."""
    usual_model: str = ""
    """`module:name` of a callable (settings) → the model that is asked when that field is empty."""


HERE = "aura.providers"

ENGINES: Mapping[Part, Mapping[str, Engine]] = {
    "stt": {
        "offline": Engine(f"{HERE}.offline.stt:open_stt", "offline_stt"),
        "openai": Engine(f"{HERE}.openai.stt:OpenAITranscriber", "openai", "stt_model"),
        "openai-live": Engine(f"{HERE}.openai.live_stt:OpenAILive", "openai", "live_stt_model"),
        "xai": Engine(f"{HERE}.xai.stt:XaiTranscriber", "xai"),
        "deepgram": Engine(f"{HERE}.deepgram.nova:DeepgramNova", "deepgram", "nova_model"),
        "deepgram-flux": Engine(f"{HERE}.deepgram.flux:DeepgramFlux", "deepgram", "flux_model"),
        "elevenlabs": Engine(f"{HERE}.elevenlabs.scribe:Scribe", "elevenlabs", "stt_model"),
        "compatible": Engine(f"{HERE}.openai.stt:OpenAITranscriber", "compatible", "stt_model"),
    },
    "chat": {
        "offline": Engine(f"{HERE}.offline.chat:open_chat", "assistant"),
        "openai": Engine(f"{HERE}.openai.chat:OpenAIChat", "openai", "chat_model"),
        "xai": Engine(f"{HERE}.xai.chat:XaiChat", "xai", "chat_model", f"{HERE}.xai.models:chat_model"),
        "compatible": Engine(f"{HERE}.openai.chat:OpenAIChat", "compatible", "chat_model"),
    },
    "tts": {
        "offline": Engine(f"{HERE}.offline.tts:open_tts", "offline_tts"),
        "openai": Engine(f"{HERE}.openai.tts:OpenAISpeaker", "openai", "tts_model"),
        "openai-realtime": Engine(f"{HERE}.openai.realtime_tts:open_realtime_tts", "openai", "realtime_tts_model"),
        "xai": Engine(f"{HERE}.xai.tts:open_tts", "xai"),
        "elevenlabs": Engine(f"{HERE}.elevenlabs.ws_tts:open_tts", "elevenlabs", "tts_model"),
        "elevenlabs-http": Engine(f"{HERE}.elevenlabs.http_tts:ElevenLabsSpeaker", "elevenlabs", "tts_model"),
        "compatible": Engine(f"{HERE}.openai.tts:OpenAISpeaker", "compatible", "tts_model"),
    },
}


class Chosen(msgspec.Struct, frozen=True):
    """An engine that the operator chose, with its settings."""

    kind: str
    """Its row in `ENGINES`."""
    name: str
    """What it is called: as the row, or by the operator."""
    model: str
    settings: Any

    @property
    def key(self) -> str:
        """What tells it from the others: `name/model`, or the name alone where there is but one model."""
        return f"{self.name}/{self.model}" if self.model else self.name


def choose(part: Part, candidate: str, sections: Any, servers: Mapping[str, Any]) -> Chosen:
    """The engine that `candidate` (`name` or `name/model`) stands for; `sections` has the settings by attribute.

    Raises ConfigError naming what there is.
    """
    name, _, model = candidate.partition("/")
    found = engine(part, "compatible" if name in servers else name, servers)
    kind = "compatible" if name in servers else name
    settings = servers[name] if name in servers else getattr(sections, found.section)
    if model and not found.model:
        raise ConfigError(f"engines.{part}: {name} has no models to choose from; write {name}, not {candidate}")
    if model:
        settings = msgspec.structs.replace(settings, **{found.model: model})
    return Chosen(kind, name, model_of(found, settings), settings)


def engine(part: Part, name: str, servers: Iterable[str] = ()) -> Engine:
    """The entry of the table. Raises ConfigError naming what there is."""
    found = ENGINES[part].get(name)
    if found is None:
        known = ", ".join([*ENGINES[part], *servers])
        raise ConfigError(f"engines.{part}: there is no {part} engine {name!r}; choose one of {known}")
    return found


def model_of(found: Engine, settings: Any) -> str:
    """The model that an engine with these settings asks; empty where there is only one."""
    model = str(getattr(settings, found.model)) if found.model else ""
    return model or (str(named(found.usual_model)(settings)) if found.usual_model else "")


def named(where: str) -> Callable[..., Any]:
    """What `module:name` stands for; the module is imported."""
    module, _, attribute = where.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


@asynccontextmanager
async def open_part(part: Part, chosen: Chosen, http: Http) -> AsyncIterator[Any]:
    """The engine that was chosen for a part."""
    made = named(engine(part, chosen.kind).factory)(chosen.settings, http, name=chosen.name)
    if isinstance(made, AbstractAsyncContextManager):
        async with made as ready:
            yield ready
    else:
        yield made
