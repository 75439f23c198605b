"""Grok: OpenAI's chat dialect with differences that are data.

Its answers bring the exact price (`cost_in_usd_ticks`), its errors are sentences and a wrong key is a 400
(`openai/errors.py` knows both), models that think refuse some fields, and `/api-key` tells whether the key is good.
Source: docs.x.ai, Nov 2026.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

import msgspec

from aura.core.errors import AuthFailed
from aura.providers.http import Http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.common import check
from aura.providers.openai.settings import OpenAISettings
from aura.providers.xai.settings import XaiSettings


class Reasoning(msgspec.Struct, frozen=True):
    """Which models think, by pattern, and what they refuse."""

    models: tuple[str, ...]
    excepted: tuple[str, ...] = msgspec.field(name="except")
    refused: tuple[str, ...]

    def includes(self, model: str) -> bool:
        """Whether this model thinks."""
        names = any(fnmatchcase(model, pattern) for pattern in self.models)
        return names and not any(fnmatchcase(model, pattern) for pattern in self.excepted)


class Models(msgspec.Struct, frozen=True):
    """The file models.toml."""

    tiers: dict[str, str]
    reasoning: Reasoning


@cache
def models() -> Models:
    """What is known of Grok's models."""
    text = files("aura.providers.xai").joinpath("models.toml").read_bytes()
    return msgspec.toml.decode(text, type=Models)


class KeyState(msgspec.Struct):
    """What `/api-key` says."""

    api_key_blocked: bool = False
    api_key_disabled: bool = False
    team_blocked: bool = False


decode_key = msgspec.json.Decoder(KeyState).decode


class XaiChat(OpenAIChat):
    """A Grok model behind `/chat/completions`."""

    def __init__(self, settings: XaiSettings, http: Http, *, name: str = "xai") -> None:
        super().__init__(chat_settings(settings), http, name=name)

    async def probe(self) -> None:
        """Whether server and key are good. Raises ProviderError."""
        settings = self._settings
        said = await check(self.name, self._endpoint, settings.probe_path, self._headers, settings.probe_timeout_s)
        try:
            state = decode_key(said)
        except msgspec.DecodeError:
            return  # it answered with 200: the key is known
        if state.api_key_blocked or state.api_key_disabled or state.team_blocked:
            raise AuthFailed(f"{self.name}: the key or its team is blocked (see console.x.ai)", provider=self.name)


def chat_settings(settings: XaiSettings) -> OpenAISettings:
    """The same in the words of the common adapter."""
    known = models()
    model = settings.chat_model or known.tiers[settings.chat_tier]
    refused = known.reasoning.refused if known.reasoning.includes(model) else ()
    return OpenAISettings(
        base_url=settings.base_url,
        api_key=settings.api_key,
        chat_model=model,
        reasoning_effort=settings.reasoning_effort,
        temperature=settings.temperature,
        prompt_cache_key="",
        openai_only_fields=False,
        chat_extra={name: value for name, value in settings.chat_extra.items() if name not in refused},
        concurrency=settings.chat_concurrency,
        first_token_timeout_s=settings.first_token_timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        usage_wait_s=settings.usage_wait_s,
        probe_path="/api-key",
        probe_timeout_s=settings.probe_timeout_s,
    )
