"""What nova and Flux share: key, address, health check, errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import httpx

from aura.core.errors import AuthFailed, BadRequest, ProviderError, QuotaExhausted, RateLimited, StreamCut, Unavailable
from aura.core.ports import LISTEN_RATE_HZ
from aura.providers.deepgram.settings import DeepgramSettings
from aura.providers.http import Http
from aura.providers.live import Line, LiveTranscriber
from aura.providers.live_dialect import Dialect
from aura.providers.openai.common import check

BY_CODE: Mapping[str, type[ProviderError]] = {
    "INVALID_AUTH": AuthFailed,
    "INSUFFICIENT_PERMISSIONS": AuthFailed,
    "TOO_MANY_REQUESTS": RateLimited,
    "ASR_PAYMENT_REQUIRED": QuotaExhausted,
    "UNPARSABLE_CLIENT_MESSAGE": BadRequest,
    "DATA-0000": BadRequest,
    "NET-0000": Unavailable,
    "NET-0001": StreamCut,
    "INTERNAL_SERVER_ERROR": Unavailable,
}


class DeepgramTranscriber(LiveTranscriber):
    """A recogniser of Deepgram."""

    def __init__(
        self,
        settings: DeepgramSettings,
        http: Http,
        path: str,
        query: Mapping[str, str | Sequence[str]],
        dialect: Callable[[], Dialect],
        *,
        name: str,
        model: str,
    ) -> None:
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = {"authorization": f"Token {settings.api_key.reveal().strip()}", "user-agent": "aura"}
        super().__init__(Line(self._endpoint, path, query, self._headers, dialect, settings, name=name, model=model))

    async def probe(self) -> None:
        """Whether server and key are good. Raises ProviderError."""
        sent = httpx.Headers(self._headers)
        await check(self.name, self._endpoint, "/v1/projects", sent, self._settings.probe_timeout_s)


def audio_query(settings: DeepgramSettings, model: str) -> dict[str, str | Sequence[str]]:
    """What both versions are told in the address."""
    asked: dict[str, str | Sequence[str]] = {
        "model": model,
        "encoding": "linear16",
        "sample_rate": str(LISTEN_RATE_HZ),
    }
    if settings.keyterms:
        asked["keyterm"] = settings.keyterms
    if settings.opt_out:
        asked["mip_opt_out"] = "true"
    return asked
