"""Speech as a stream: `/audio/speech`, headerless 24 kHz PCM where the server can.

Source: OpenAI API reference and the deviations of Speaches, Kokoro-FastAPI, LocalAI and xAI, Nov 2026. Servers ignore
`response_format` and mislabel what they send, so the first bytes decide together with the content type.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import trio

from aura.core.errors import ProviderError, StreamCut
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.core.voices import XAI
from aura.providers.audio.decoder import AudioDecoder
from aura.providers.audio.sniff import Kind
from aura.providers.http import Answer, Http
from aura.providers.openai.common import headers, probe, refusal, warm_up
from aura.providers.openai.errors import MAX_ERROR_BYTES, from_http, from_payload
from aura.providers.openai.limits import Limits
from aura.providers.openai.settings import OpenAISettings
from aura.providers.sse import DONE, SseReader
from aura.providers.vitals import Left

encode = msgspec.json.Encoder().encode
KINDS: dict[str, Kind] = {"wav": "wav", "mp3": "mp3", "opus": "ogg", "flac": "flac", "aac": "aac"}
"""What the formats of the API are."""


class AudioEvent(msgspec.Struct):
    """One event of the SSE variant: speech.audio.delta, speech.audio.done or error."""

    type: str = ""
    audio: str | None = None
    error: Any = None


decode_event = msgspec.json.Decoder(AudioEvent).decode


class OpenAISpeaker:
    """A voice behind `/audio/speech`."""

    def __init__(self, settings: OpenAISettings, http: Http, *, name: str = "openai") -> None:
        self.name, self.model = name, settings.tts_model
        self._limits = Limits()
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = headers(settings, "*/*")

    @property
    def left(self) -> Left:
        """What the account may still use, as the last reply said."""
        return self._limits.left(self._settings.concurrency or None)

    async def warm(self) -> None:
        """Connect in advance; a failure shows at the first request."""
        await warm_up(self.name, self._endpoint.warm)

    async def probe(self) -> None:
        """Whether server and key are good. Raises ProviderError."""
        await probe(self.name, self._endpoint, self._headers, self._settings)

    @asynccontextmanager
    async def speak(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        """Ask, wait for the head of the answer, stream it; leaving closes the connection unless all has come."""
        settings = self._settings
        deadline = trio.current_time() + settings.first_audio_timeout_s
        try:
            answer = await self._endpoint.post(
                "/audio/speech", encode(wire_request(request, settings)), self._headers, settings.first_audio_timeout_s
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise from_http(self.name, error) from error
        try:
            self._limits.note(answer.headers)
            if answer.status != 200:
                raise await refusal(self.name, answer, deadline)
            if answer.content_type.startswith(("application/json", "text/html")):
                raise await instead_of_audio(self.name, answer, deadline)
            asked = KINDS.get(asked_format(settings), "pcm")
            yield Audio(self.name, answer, settings.tts_rate_hz, settings.stall_timeout_s, deadline, asked)
        finally:
            answer.close()


async def instead_of_audio(name: str, answer: Answer, deadline: float) -> ProviderError:
    """The error for an answer that is 200, but no audio."""
    try:
        body = await answer.read_all(deadline, MAX_ERROR_BYTES)
    except httpx.HTTPError as error:
        return from_http(name, error, begun=True)
    return from_payload(name, body or b"nothing instead of audio")


class Audio:
    """The audio of one sentence."""

    def __init__(
        self, name: str, answer: Answer, rate_hz: int, stall_s: float, deadline: float, asked: Kind = "pcm"
    ) -> None:
        self._name, self._answer, self._stall_s, self._deadline = name, answer, stall_s, deadline
        self._sse = SseReader() if "event-stream" in answer.content_type else None
        self._decoder = AudioDecoder(name, rate_hz, content_type=answer.content_type, asked=asked)
        self._any = self._over = False

    def __aiter__(self) -> Audio:
        return self

    async def __anext__(self) -> SpeechChunk:
        while True:
            if pcm := await self._decoder.take():
                self._any = True
                self._deadline = trio.current_time() + self._stall_s
                return SpeechChunk(pcm, self._decoder.rate_hz)
            if self._over:
                break
            try:
                data = await self._answer.read(self._deadline)
            except httpx.HTTPError as error:
                raise from_http(self._name, error, begun=True) from error
            self._over = not data
            self._decoder.put(self._unwrapped(data))
            if self._over:
                self._decoder.close()
        if not self._any:
            raise StreamCut(f"{self._name}: the engine sent no audio", provider=self._name)
        raise StopAsyncIteration

    def _unwrapped(self, data: bytes) -> bytes:
        """Audio bytes out of the SSE variant; plain audio as it is."""
        if self._sse is None:
            return data
        try:
            events = self._sse.feed(data) if data else self._sse.end()
            return b"".join([self._event(name, payload) for name, payload in events])
        except (ValueError, binascii.Error) as error:  # msgspec's and UTF-8 errors are ValueErrors
            raise StreamCut(f"{self._name}: a broken event in the audio", provider=self._name) from error

    def _event(self, name: bytes, payload: bytes) -> bytes:
        if not payload or payload == DONE:
            self._over = self._over or payload == DONE
            return b""
        event = decode_event(payload)
        if event.error is not None or name == b"error" or event.type == "error":
            raise from_payload(self._name, payload)
        self._over = self._over or event.type == "speech.audio.done"
        return base64.b64decode(event.audio) if event.audio else b""


def asked_format(settings: OpenAISettings) -> str:
    """The best of the formats that the server knows."""
    return settings.tts_formats[0] if settings.tts_formats else "pcm"


def wire_request(request: SpeechRequest, settings: OpenAISettings) -> dict[str, Any]:
    """The request as OpenAI's JSON."""
    body: dict[str, Any] = {
        "model": settings.tts_model,
        "input": request.text,
        "voice": settings.voice if request.voice in ("", *XAI) else request.voice,
        "response_format": asked_format(settings),
    }
    if settings.tts_instructions:
        body["instructions"] = settings.tts_instructions
    if request.speed != 1.0:
        body["speed"] = request.speed
    return body
