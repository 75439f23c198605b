"""What chat, hearing and voice share: headers, refusals, warming up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import structlog
import trio

from aura.core.errors import ProviderError
from aura.providers.http import Answer, Endpoint
from aura.providers.openai.errors import MAX_ERROR_BYTES, from_http, from_status
from aura.providers.openai.settings import CompatibleSettings, OpenAISettings

log = structlog.get_logger()
MAX_CHECK_BYTES = 4 * 1024 * 1024
"""A list of models may be long."""


def headers(settings: OpenAISettings, accept: str, content_type: str = "application/json") -> httpx.Headers:
    """Headers of every request, built once. `identity`: a compressed stream would come in lumps."""
    made = {"accept": accept, "accept-encoding": "identity", "user-agent": "aura", "content-type": content_type}
    if settings.api_key:
        made["authorization"] = f"Bearer {settings.api_key.reveal().strip()}"
    return httpx.Headers(made)


async def refusal(name: str, answer: Answer, deadline: float) -> ProviderError:
    """The error for an answer that is not 200."""
    return (await read_refusal(name, answer, deadline))[0]


async def read_refusal(name: str, answer: Answer, deadline: float) -> tuple[ProviderError, bytes]:
    """The error for an answer that is not 200, and its body. The log gets the vendor's own number of the request."""
    try:
        body = await answer.read_all(deadline, MAX_ERROR_BYTES)
    except httpx.HTTPError:
        body = b""  # the status says enough
    error = from_status(name, answer.status, answer.headers, body)
    log.debug("provider.refused", provider=name, code=error.code, status=answer.status, **request_id(answer))
    return error, body


def request_id(answer: Answer) -> dict[str, str]:
    """What a vendor's support asks for, as fields of a log line."""
    found = answer.headers.get("x-request-id") or answer.headers.get("request-id")
    return {"request_id": found} if found else {}


async def probe(name: str, endpoint: Endpoint, sent: httpx.Headers, settings: OpenAISettings) -> None:
    """The health check of all parts. A small server may not know the path, but then it has answered."""
    small = isinstance(settings, CompatibleSettings)
    await check(name, endpoint, settings.probe_path, sent, settings.probe_timeout_s, unknown_is_fine=small)


async def check(
    name: str,
    endpoint: Endpoint,
    path: str,
    sent: httpx.Headers,
    timeout_s: float,
    *,
    unknown_is_fine: bool = False,
) -> bytes:
    """GET something cheap that needs the key: the way to find out whether key and server are good."""
    deadline = trio.current_time() + timeout_s
    try:
        answer = await endpoint.get(path, sent, timeout_s)
        try:
            if answer.status != 200 and not (unknown_is_fine and answer.status in (404, 405)):
                raise await refusal(name, answer, deadline)
            return await answer.read_all(deadline, MAX_CHECK_BYTES)
        finally:
            answer.close()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise from_http(name, error) from error


async def warm_up(name: str, warm: Callable[[], Awaitable[None]]) -> None:
    """Connect in advance; a failure is only noted, for it will show at the first request."""
    try:
        await warm()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.debug("provider.not_warm", provider=name, reason=from_http(name, error).code)
