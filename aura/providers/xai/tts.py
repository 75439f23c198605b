"""xAI's voices: `/v1/tts` over a WebSocket that stays open for many sentences, or by one request per sentence.

Source: docs.x.ai, LiveKit agents, Nov 2026. A socket says one sentence at a time. `text.clear` stops it at once;
audio that was under way may come until `audio.clear` confirms it, and is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import msgspec
import trio

from aura.core.aligning import Timed, Times
from aura.core.errors import StreamCut
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.providers.http import Answer, Http
from aura.providers.openai.common import headers, refusal, warm_up
from aura.providers.openai.errors import from_http, from_payload
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.tts import Audio, instead_of_audio
from aura.providers.socket_voice import Patience, SocketVoice, SoloLink, opened
from aura.providers.sockets import PoolLimits, Sentence, SocketPool
from aura.providers.vitals import Left
from aura.providers.ws import Ws, WsLimits, connect
from aura.providers.xai.key import check_key
from aura.providers.xai.settings import XaiSettings

SLOWEST, FASTEST = 0.7, 1.5
encode = msgspec.json.Encoder().encode


class Stamps(msgspec.Struct):
    """When each character sounds: a pair of seconds, or only its beginning."""

    graph_chars: list[str] = []
    graph_times: list[Any] = []


class Message(msgspec.Struct):
    """What the engine says."""

    type: str = ""
    delta: str | None = None
    audio_timestamps: Stamps | None = None
    message: Any = None
    code: Any = None
    error: Any = None


decode = msgspec.json.Decoder(Message).decode


class XaiLink(SoloLink):
    """One socket: one voice, one sentence at a time."""

    def __init__(self, ws: Ws, settings: XaiSettings) -> None:
        super().__init__(ws, settings.tts_clear_timeout_s)
        self._settings = settings
        self._times = Times("")

    def begin(self, request: SpeechRequest) -> Sentence:
        """The socket belongs to this sentence now."""
        settings = self._settings
        self.sentence = Sentence(self.ws.name, settings.tts_rate_hz, settings.tts_max_sentence_s)
        self._times = Times(request.text)
        return self.sentence

    async def send(self, sentence: Sentence, request: SpeechRequest) -> None:
        """The whole text, and that it is whole."""
        await self.tell({"type": "text.delta", "delta": request.text})
        await self.ws.send('{"type":"text.done"}')

    async def stop(self) -> None:
        """Drop what was not spoken yet."""
        await self.ws.send('{"type":"text.clear"}')

    def take(self, message: str | bytes) -> None:
        """Audio and times go to the sentence; what comes between two sentences is late and dropped."""
        told, sentence = self.read(decode, message), self.sentence
        if told.type == "audio.clear":
            if sentence is None and self.taken:
                self.stopped()
        elif sentence is None:
            return
        elif told.type == "audio.delta":
            self._audio(sentence, told)
        elif told.type == "audio.done":
            sentence.finish(self._times.finish())
        elif told.type == "error":
            words = {"message": told.message or told.error or "no explanation", "code": told.code}
            sentence.fail(from_payload(self.ws.name, words))
            self.retire(StreamCut(f"{self.ws.name}: the socket told an error", provider=self.ws.name))

    def _audio(self, sentence: Sentence, told: Message) -> None:
        audio = self.audio_of(sentence, told.delta or "")
        if audio is not None:
            words = self._times.push(stamped(told.audio_timestamps), sentence.sounded_s)
            sentence.put(audio, words)


def stamped(stamps: Stamps | None) -> list[Timed]:
    """Characters with begin and end. A beginning alone lasts until the next one; what does not fit is left out."""
    if stamps is None or len(stamps.graph_chars) != len(stamps.graph_times):
        return []
    found: list[Timed] = []
    try:
        for index, (text, at) in enumerate(zip(stamps.graph_chars, stamps.graph_times, strict=True)):
            if isinstance(at, list):
                begin, end = float(at[0]), float(at[-1])
            else:
                begin = float(at)
                end = float(stamps.graph_times[min(index + 1, len(stamps.graph_times) - 1)])
            found.append((text, begin, end))
    except (TypeError, ValueError, IndexError):
        return []
    return found


class XaiVoice:
    """xAI's voices, one way or the other."""

    def __init__(self, settings: XaiSettings, http: Http, name: str) -> None:
        self.name, self.model = name, "tts"
        self.left = Left()
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = headers(OpenAISettings(api_key=settings.api_key), "*/*")
        limits = PoolLimits(
            sockets_max=settings.tts_sockets_max,
            idle_s=settings.tts_socket_idle_s,
            age_s=settings.tts_socket_age_s,
            wait_s=settings.tts_connect_timeout_s,
        )
        self.pool: SocketPool[XaiLink] = SocketPool(name, self._connect, limits)
        patience = Patience(settings.tts_first_audio_timeout_s, settings.tts_stall_timeout_s)
        self._voice = SocketVoice(name, self.pool, patience)

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Stream a sentence; unknown voices speak as the default one."""
        if self._settings.tts_transport == "http":
            return self._ask(request)
        return self._voice.speak(urlencode(self._query(request)), request)

    async def warm(self) -> None:
        """Connect in advance; a failure shows at the first sentence."""
        if self._settings.tts_transport == "http":
            await warm_up(self.name, self._endpoint.warm)
            return
        await self._voice.warm(urlencode(self._query(SpeechRequest("", self._settings.voice))))

    async def probe(self) -> None:
        """Find out whether key and server are good, without generating anything."""
        await check_key(self.name, self._endpoint, self._headers, self._settings.probe_timeout_s)

    def _spoken_by(self, request: SpeechRequest) -> str:
        settings = self._settings
        return request.voice if request.voice in settings.voices else settings.voice

    def _query(self, request: SpeechRequest) -> dict[str, str]:
        """What a socket is opened with. Sentences that agree in all of it may share one."""
        settings = self._settings
        query = {
            "voice": self._spoken_by(request),
            "language": settings.tts_language,
            "codec": "pcm",
            "sample_rate": str(settings.tts_rate_hz),
        }
        if request.speed != 1.0:
            query["speed"] = f"{min(FASTEST, max(SLOWEST, request.speed)):g}"
        if settings.tts_latency is not None:
            query["optimize_streaming_latency"] = str(settings.tts_latency)
        if settings.tts_normalization is not None:
            query["text_normalization"] = str(settings.tts_normalization).lower()
        if settings.tts_timestamps:
            query["with_timestamps"] = "true"
        return query

    @asynccontextmanager
    async def _connect(self, query: str) -> AsyncIterator[XaiLink]:
        asked = {name: value for name, value in self._headers.items() if name in ("authorization", "user-agent")}
        limits = WsLimits(connect_s=self._settings.tts_connect_timeout_s)
        async with connect(self._endpoint, "/tts", dict(parse_qsl(query)), asked, name=self.name, limits=limits) as ws:
            yield XaiLink(ws, self._settings)

    @asynccontextmanager
    async def _ask(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        """One request: POST /tts."""
        settings = self._settings
        wait_s = settings.tts_first_audio_timeout_s
        deadline = trio.current_time() + wait_s
        try:
            answer = await self._endpoint.post("/tts", encode(self._body(request)), self._headers, wait_s)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise from_http(self.name, error) from error
        try:
            await self._accept(answer, deadline)
            yield Audio(self.name, answer, settings.tts_rate_hz, settings.tts_stall_timeout_s, deadline)
        finally:
            answer.close()

    async def _accept(self, answer: Answer, deadline: float) -> None:
        if answer.status != 200:
            raise await refusal(self.name, answer, deadline)
        if answer.content_type.startswith(("application/json", "text/html")):
            raise await instead_of_audio(self.name, answer, deadline)

    def _body(self, request: SpeechRequest) -> dict[str, Any]:
        settings = self._settings
        body: dict[str, Any] = {
            "text": request.text,
            "voice_id": self._spoken_by(request),
            "language": settings.tts_language,
            "output_format": {"codec": "pcm", "sample_rate": settings.tts_rate_hz},
        }
        if request.speed != 1.0:
            body["speed"] = min(FASTEST, max(SLOWEST, request.speed))
        if settings.tts_latency is not None:
            body["optimize_streaming_latency"] = settings.tts_latency
        if settings.tts_normalization is not None:
            body["text_normalization"] = settings.tts_normalization
        return body


def open_tts(settings: XaiSettings, http: Http, *, name: str = "xai") -> AbstractAsyncContextManager[XaiVoice]:
    """The factory of `aura.providers.registry`."""
    return opened(XaiVoice(settings, http, name))
