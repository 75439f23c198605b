"""What both transports share: headers, voices, the account's limits, alignment, health."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import trio

from aura.core.aligning import Timed
from aura.core.errors import RateLimited, StreamCut
from aura.core.ports import SpeechRequest
from aura.providers.elevenlabs.errors import from_status
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.http import Http
from aura.providers.openai.common import warm_up
from aura.providers.openai.errors import from_http
from aura.providers.vitals import Left

VOICE_ID = re.compile(r"[A-Za-z0-9]{20}")
SLOWEST, FASTEST = 0.7, 1.2
"""Speaking rates that the API accepts."""
PAGE = 100
MAX_PAGES = 100


class VoiceInfo(msgspec.Struct, frozen=True):
    """One voice of the account."""

    voice_id: str
    name: str = ""
    category: str | None = None
    labels: dict[str, str] = {}


class _Page(msgspec.Struct):
    voices: list[VoiceInfo] = []
    has_more: bool = False
    next_page_token: str | None = None


class Account:
    """One key: who it is, and how many sentences it may have under way."""

    def __init__(self, settings: ElevenLabsSettings, http: Http, name: str) -> None:
        self.name, self.settings = name, settings
        self.endpoint = http.endpoint(settings.base_url)
        self.left = Left()
        self.slots = trio.CapacityLimiter(settings.concurrency)
        made = {"accept-encoding": "identity", "user-agent": "aura"}
        if settings.api_key:
            made["xi-api-key"] = settings.api_key.reveal().strip()
        self.headers = httpx.Headers(made)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One of the sentences that the plan allows. Raises RateLimited when none becomes free in time."""
        holder = object()
        with trio.move_on_after(self.settings.queue_timeout_s) as patience:
            await self.slots.acquire_on_behalf_of(holder)
        if patience.cancelled_caught:
            most = int(self.slots.total_tokens)
            raise RateLimited(
                f"{self.name}: {most} sentences are under way, the plan allows no more", provider=self.name
            )
        try:
            yield
        finally:
            self.slots.release_on_behalf_of(holder)

    def learn(self, headers: Mapping[str, str]) -> None:
        """What the headers of an answer say about the plan."""
        try:
            most = int(headers.get("maximum-concurrent-requests", 0))
            now = int(headers.get("current-concurrent-requests", 0))
        except ValueError:
            return
        if most > 0:
            self.slots.total_tokens = most
            self.left.concurrent_max = most
            self.left.requests = max(0.0, 1 - now / most)

    def voice_id(self, voice: str) -> str:
        """The id for a name; the default's for names of other vendors."""
        known = self.settings.voices.get(voice) or self.settings.voices.get(voice.lower())
        return known or (voice if VOICE_ID.fullmatch(voice) else self.settings.voice)

    def voice_settings(self, request: SpeechRequest) -> dict[str, float]:
        """Only what was chosen."""
        settings = self.settings
        chosen = {"stability": settings.stability, "similarity_boost": settings.similarity_boost}
        chosen |= {"style": settings.style}
        if request.speed != 1.0:
            chosen["speed"] = min(FASTEST, max(SLOWEST, request.speed))
        return {name: value for name, value in chosen.items() if value is not None}

    def query(self) -> dict[str, str]:
        """What both transports say in the address."""
        settings = self.settings
        asked = {"output_format": f"pcm_{settings.rate_hz}"}
        return asked if settings.logging else asked | {"enable_logging": "false"}

    async def warm(self) -> None:
        """Connect in advance; a failure shows at the first request."""
        await warm_up(self.name, self.endpoint.warm)

    async def probe(self) -> None:
        """Ask for the subscription: checks the key, and tells how many characters are left."""
        told = await self._get("/v1/user/subscription", {})
        used, limit = told.get("character_count"), told.get("character_limit")
        if isinstance(used, int) and isinstance(limit, int) and limit > 0:
            self.left.tokens = max(0.0, 1 - used / limit)

    async def list_voices(self) -> list[VoiceInfo]:
        """All voices of the account, page by page."""
        found: list[VoiceInfo] = []
        query = {"page_size": str(PAGE)}
        for _ in range(MAX_PAGES):
            page = msgspec.convert(await self._get("/v2/voices", query), _Page)
            found += page.voices
            if not page.has_more or not page.next_page_token:
                break
            query["next_page_token"] = page.next_page_token
        return found

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        try:
            with trio.fail_after(self.settings.probe_timeout_s):
                reply = await self.endpoint.client.get(path, params=query, headers=self.headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise from_http(self.name, error) from error
        except trio.TooSlowError:
            raise from_http(self.name, httpx.ReadTimeout("the engine is silent")) from None
        if reply.status_code != 200:
            raise from_status(self.name, reply.status_code, reply.headers, reply.content)
        try:
            return msgspec.json.decode(reply.content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise StreamCut(f"{self.name}: no JSON from {path}", provider=self.name) from error


def timed(alignment: Any, *, offset_s: float = 0.0) -> list[Timed]:
    """The timed characters of an alignment in any of its spellings; none when it is null or does not fit together."""
    if not isinstance(alignment, dict):
        return []
    if "characters" in alignment:
        begins, ends = alignment.get("character_start_times_seconds"), alignment.get("character_end_times_seconds")
        return joined(alignment["characters"], begins, ends, offset_s)
    begins_ms = alignment.get("charStartTimesMs") or alignment.get("charsStartTimesMs")
    spans_ms = alignment.get("charDurationsMs") or alignment.get("charsDurationsMs")
    if not isinstance(begins_ms, list) or not isinstance(spans_ms, list):
        return []
    try:
        begins = [value / 1000 for value in begins_ms]
        ends = [begin + span / 1000 for begin, span in zip(begins, spans_ms, strict=True)]
    except (TypeError, ValueError):
        return []
    return joined(alignment.get("chars"), begins, ends, offset_s)


def joined(characters: object, begins: object, ends: object, offset_s: float) -> list[Timed]:
    """Three lists of one length as one, or nothing."""
    lists = (characters, begins, ends)
    if not all(isinstance(values, list) for values in lists):
        return []
    try:
        return [
            (str(text), float(begin) + offset_s, float(end) + offset_s)
            for text, begin, end in zip(*lists, strict=True)  # type: ignore[call-overload]
        ]
    except (TypeError, ValueError):
        return []
