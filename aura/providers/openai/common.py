"""What chat, hearing and voice share: headers, refusals, warming up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import structlog

from aura.core.errors import ProviderError
from aura.providers.http import Answer
from aura.providers.openai.errors import MAX_ERROR_BYTES, from_http, from_status
from aura.providers.openai.settings import OpenAISettings

log = structlog.get_logger()


def headers(settings: OpenAISettings, accept: str, content_type: str = "application/json") -> httpx.Headers:
    """Headers of every request, built once. `identity`: a compressed stream would come in lumps."""
    made = {"accept": accept, "accept-encoding": "identity", "user-agent": "aura", "content-type": content_type}
    if settings.api_key:
        made["authorization"] = f"Bearer {settings.api_key.reveal().strip()}"
    return httpx.Headers(made)


async def refusal(name: str, answer: Answer, deadline: float) -> ProviderError:
    """The error for an answer that is not 200."""
    try:
        body = await answer.read_all(deadline, MAX_ERROR_BYTES)
    except httpx.HTTPError:
        body = b""  # the status says enough
    return from_status(name, answer.status, answer.headers, body)


async def warm_up(name: str, warm: Callable[[], Awaitable[None]]) -> None:
    """Connect in advance; a failure is only noted, for it will show at the first request."""
    try:
        await warm()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.debug("provider.not_warm", provider=name, reason=from_http(name, error).code)
