"""Speech by one request per sentence: `/stream/with-timestamps`, one JSON object per line.

Source: elevenlabs.io/docs/api-reference, Nov 2026. Objects are split over TCP segments, alignment may be null, and its
times may begin anew with every object or not.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import msgspec
import trio

from aura.core.aligning import Times
from aura.core.errors import ProviderError, StreamCut
from aura.core.ports import SpeechChunk, SpeechRequest, WordTime
from aura.providers.audio.decoder import AudioDecoder
from aura.providers.elevenlabs.common import Account, VoiceInfo, timed
from aura.providers.elevenlabs.errors import from_message, from_status
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.http import Answer, Http
from aura.providers.openai.errors import MAX_ERROR_BYTES, from_http
from aura.providers.vitals import Left

END_S = 1.0
"""When the last word has come and nothing more for this long, the engine has forgotten to end the answer."""
MAX_LINE_BYTES = 8 * 1024 * 1024
encode = msgspec.json.Encoder().encode
decode_line = msgspec.json.Decoder(dict[str, Any]).decode


class ElevenLabsSpeaker:
    """A voice behind `/stream/with-timestamps`."""

    def __init__(self, settings: ElevenLabsSettings, http: Http, *, name: str = "elevenlabs") -> None:
        self.name, self.model = name, settings.tts_model
        self._settings = settings
        self._account = Account(settings, http, name)
        self._headers = httpx.Headers({**self._account.headers, "content-type": "application/json"})

    @property
    def left(self) -> Left:
        """What the account may still use."""
        return self._account.left

    async def warm(self) -> None:
        """Connect in advance."""
        await self._account.warm()

    async def probe(self) -> None:
        """Find out whether key and server are good, without generating anything."""
        await self._account.probe()

    async def list_voices(self) -> list[VoiceInfo]:
        """All voices of the account."""
        return await self._account.list_voices()

    @asynccontextmanager
    async def speak(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        """Ask, wait for the head of the answer, stream it; leaving closes the connection unless all has come."""
        settings, account = self._settings, self._account
        async with account.slot():
            deadline = trio.current_time() + settings.first_audio_timeout_s
            try:
                answer = await account.endpoint.post(
                    self._path(request), encode(self._body(request)), self._headers, settings.first_audio_timeout_s
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise from_http(self.name, error) from error
            try:
                account.learn(answer.headers)
                if answer.status != 200:
                    raise await self._refusal(answer, deadline)
                yield Lines(self.name, answer, settings, request.text, deadline)
            finally:
                answer.close()

    def _path(self, request: SpeechRequest) -> str:
        query = self._account.query()
        if self._settings.streaming_latency is not None:
            query["optimize_streaming_latency"] = str(self._settings.streaming_latency)
        voice = quote(self._account.voice_id(request.voice), safe="")
        return f"/v1/text-to-speech/{voice}/stream/with-timestamps?{urlencode(query)}"

    def _body(self, request: SpeechRequest) -> dict[str, Any]:
        settings = self._settings
        body: dict[str, Any] = {"text": request.text, "model_id": settings.tts_model}
        if settings.language:
            body["language_code"] = settings.language
        if chosen := self._account.voice_settings(request):
            body["voice_settings"] = chosen
        if settings.normalization != "auto":
            body["apply_text_normalization"] = settings.normalization
        return body

    async def _refusal(self, answer: Answer, deadline: float) -> ProviderError:
        try:
            body = await answer.read_all(deadline, MAX_ERROR_BYTES)
        except httpx.HTTPError:
            body = b""  # the status says enough
        return from_status(self.name, answer.status, answer.headers, body)


class Lines:
    """The audio of one sentence, with the times of its words."""

    def __init__(self, name: str, answer: Answer, settings: ElevenLabsSettings, text: str, deadline: float) -> None:
        self._name, self._answer, self._deadline = name, answer, deadline
        self._stall_s, self._rate_hz = settings.stall_timeout_s, settings.rate_hz
        self._decoder = AudioDecoder(name, settings.rate_hz)
        self._times = Times(text)
        self._words: tuple[WordTime, ...] = ()
        self._lines: list[bytes] = []
        self._rest = b""
        self._samples = 0
        self._over = False

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> SpeechChunk:
        while True:
            if pcm := await self._decoder.take():
                self._samples += len(pcm) // 2
                self._deadline = trio.current_time() + self._stall_s
                words, self._words = self._words, ()
                return SpeechChunk(pcm, self._decoder.rate_hz, words)
            if self._lines:
                self._take(self._lines.pop(0))
            elif not self._over:
                await self._read()
            elif self._words and self._samples:
                words, self._words = self._words, ()
                return SpeechChunk(b"", self._decoder.rate_hz, words)
            else:
                break
        if not self._samples:
            raise StreamCut(f"{self._name}: the engine sent no audio", provider=self._name)
        raise StopAsyncIteration

    async def _read(self) -> None:
        covered = self._samples > 0 and self._times.covered
        deadline = min(self._deadline, trio.current_time() + END_S) if covered else self._deadline
        try:
            data = await self._answer.read(deadline)
        except httpx.HTTPError as error:
            if covered and isinstance(error, httpx.ReadTimeout):
                self._finish()
                return
            raise from_http(self._name, error, begun=True) from error
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            self._over = True
            lines, self._rest = [self._rest], b""
        if len(self._rest) > MAX_LINE_BYTES:
            raise StreamCut(f"{self._name}: a line of the answer has no end", provider=self._name)
        self._lines = [line for line in lines if line.strip()]
        if self._over and not self._lines:
            self._finish()

    def _take(self, line: bytes) -> None:
        try:
            message = decode_line(line)
            audio = message.get("audio_base64")
            data = base64.b64decode(audio) if audio else b""
        except (ValueError, TypeError, binascii.Error) as error:
            raise StreamCut(f"{self._name}: a broken line in the audio", provider=self._name) from error
        if "audio_base64" not in message and ("detail" in message or "error" in message):
            raise from_message(self._name, message)
        alignment = message.get("alignment") or message.get("normalized_alignment")
        rate_hz = self._decoder.rate_hz or self._rate_hz
        self._words += self._times.push(timed(alignment), self._samples / rate_hz)
        self._decoder.put(data)
        if self._over and not self._lines:
            self._finish()

    def _finish(self) -> None:
        self._over = True
        self._decoder.close()
        self._words += self._times.finish()
