"""Grok: OpenAI's chat dialect with differences that are data.

Its answers bring the exact price (`cost_in_usd_ticks`), its errors are sentences and a wrong key is a 400
(`openai/errors.py` knows both), models that think refuse some fields, and `/api-key` tells whether the key is good.
Source: docs.x.ai, Nov 2026.
"""

from __future__ import annotations

from aura.providers.http import Http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.settings import OpenAISettings
from aura.providers.xai.key import check_key
from aura.providers.xai.models import chat_model, models
from aura.providers.xai.settings import XaiSettings


class XaiChat(OpenAIChat):
    """A Grok model behind `/chat/completions`."""

    def __init__(self, settings: XaiSettings, http: Http, *, name: str = "xai") -> None:
        super().__init__(chat_settings(settings), http, name=name)

    async def probe(self) -> None:
        """Whether server and key are good. Raises ProviderError."""
        await check_key(self.name, self._endpoint, self._headers, self._settings.probe_timeout_s)


def chat_settings(settings: XaiSettings) -> OpenAISettings:
    """The same in the words of the common adapter."""
    model, reasoning = chat_model(settings), models().reasoning
    refused = reasoning.refused if reasoning.includes(model) else ()
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
        probe_timeout_s=settings.probe_timeout_s,
    )
