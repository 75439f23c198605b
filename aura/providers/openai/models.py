"""What the account (or server) has, through the `openai` package, which is what it is good for here.

For `aura doctor` and at the start, never in a conversation: importing the package takes 400 ms and 41 MB. Its client
uses AURA's connections, errors and timeouts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import httpx
import msgspec
import trio

from aura.core.errors import ProviderError
from aura.providers.http import Http
from aura.providers.openai.errors import from_http, from_status
from aura.providers.openai.settings import OpenAISettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CALL_S = 15.0
"""Longest wait inside one rare call."""


class Model(msgspec.Struct, frozen=True):
    """One model on offer."""

    id: str
    shutdown_date: str | None = None
    """YYYY-MM-DD when the vendor has announced its end."""
    owned_by: str = ""


@asynccontextmanager
async def openai_client(settings: OpenAISettings, http: Http, *, name: str = "openai") -> AsyncIterator[AsyncOpenAI]:
    """The package's client on the shared connections; inside, its errors become ProviderErrors.

    It is not closed, for that would close the connections of everybody.
    """
    openai = await trio.to_thread.run_sync(import_module, "openai")
    client: AsyncOpenAI = openai.AsyncOpenAI(
        api_key=settings.api_key.reveal() or "none",
        base_url=settings.base_url,
        http_client=http.endpoint(settings.base_url).client,
        max_retries=0,
        timeout=CALL_S,
    )
    try:
        yield client
    except openai.APIStatusError as error:
        raise from_status(name, error.status_code, error.response.headers, error.response.content) from error
    except openai.APIConnectionError as error:
        cause = error.__cause__
        raise from_http(name, cause if isinstance(cause, httpx.HTTPError) else httpx.ReadError(f"{error}")) from error
    except openai.OpenAIError as error:
        raise ProviderError(f"{name}: the answer cannot be read", provider=name) from error


async def list_models(settings: OpenAISettings, http: Http, *, name: str = "openai") -> tuple[Model, ...]:
    """All models, which costs nothing and proves address and key. Raises ProviderError."""
    async with openai_client(settings, http, name=name) as client:
        found = [
            Model(model.id, getattr(model, "shutdown_date", None), getattr(model, "owned_by", None) or "")
            async for model in client.models.list()
        ]
    return tuple(sorted(found, key=lambda model: model.id))


def shutdown_dates(offered: Iterable[Model], used: Iterable[str]) -> dict[str, str]:
    """Those of the models in use whose end is announced, and its date (YYYY-MM-DD)."""
    wanted = set(used)
    return {model.id: model.shutdown_date for model in offered if model.id in wanted and model.shutdown_date}
