"""Which engines hear, think and speak. Importing this imports no HTTP library."""

from __future__ import annotations

import msgspec

from aura.providers.openai.settings import CompatibleSettings


class EngineSettings(msgspec.Struct, frozen=True):
    """Who hears, thinks and speaks: lists of engines, written `engine` or `engine/model`; several are routed between
    (see [router]), and stand in for each other."""

    stt: tuple[str, ...] = ("auto",)
    """Speech to text: offline, openai, openai-live, xai, deepgram, deepgram-flux, elevenlabs, compatible, or the name
    of one of `servers`. auto: each of deepgram, openai, xai, elevenlabs whose key is set, else offline."""
    chat: tuple[str, ...] = ("auto",)
    """The language model: offline, openai, xai, compatible, or the name of one of `servers`. auto: each of openai and
    xai whose key is set, else offline."""
    tts: tuple[str, ...] = ("auto",)
    """Text to speech: offline, openai, openai-realtime, xai, elevenlabs, elevenlabs-http, compatible, or the name of
    one of `servers`. auto: each of elevenlabs, openai, xai whose key is set, else offline."""
    servers: dict[str, CompatibleSettings] = {}
    """More OpenAI-compatible servers by a name of yours, each with the keys of [compatible]: in a TOML file
    [engines.servers.kitchen] base_url = "…", then `tts = ["kitchen"]`."""
