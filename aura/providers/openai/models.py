"""What the account (or server) has: `GET /models`, through the `openai` package, which is what it is good for here.

For `aura doctor` and health checks, never in a conversation: importing the package takes 400 ms and 41 MB.
"""

from __future__ import annotations

from importlib import import_module

import httpx
import msgspec
import trio

from aura.core.errors import ProviderError
from aura.providers.http import Http
from aura.providers.openai.errors import from_http, from_status
from aura.providers.openai.settings import OpenAISettings


class Model(msgspec.Struct, frozen=True):
    """One model on offer."""

    id: str
    shutdown_date: str | None = None
    """YYYY-MM-DD when the vendor has announced its end."""


async def list_models(settings: OpenAISettings, http: Http, *, name: str = "openai") -> tuple[Model, ...]:
    """All models, which costs nothing and proves address and key. Raises ProviderError."""
    openai = await trio.to_thread.run_sync(import_module, "openai")
    endpoint = http.endpoint(settings.base_url)
    key = settings.api_key.reveal() or "none"
    # Not closed: that would close the shared connections.
    client = openai.AsyncOpenAI(api_key=key, base_url=settings.base_url, http_client=endpoint.client, max_retries=0)
    try:
        found = [
            Model(model.id, getattr(model, "shutdown_date", None)) async for model in client.models.list(timeout=15.0)
        ]
    except openai.APIStatusError as error:
        raise from_status(name, error.status_code, error.response.headers, error.response.content) from error
    except openai.APIConnectionError as error:
        cause = error.__cause__
        raise from_http(name, cause if isinstance(cause, httpx.HTTPError) else httpx.ReadError(f"{error}")) from error
    except openai.OpenAIError as error:
        raise ProviderError(f"{name}: the list of models cannot be read", provider=name) from error
    return tuple(sorted(found, key=lambda model: model.id))
