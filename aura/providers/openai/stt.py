"""Transcription of finished audio: `/audio/transcriptions`, one WAV file per request.

Source: OpenAI API reference, Nov 2026. Where the server can, the words are taken in while it works on them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import msgspec
import structlog
import trio

from aura.core.errors import ProviderError, StreamCut
from aura.core.ports import LISTEN_RATE_HZ, Hearing, HearingEvent, Interim, Transcript
from aura.providers.http import Answer, Http
from aura.providers.openai.common import headers, probe, refusal, request_id, warm_up
from aura.providers.openai.errors import from_http
from aura.providers.openai.limits import Limits
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.stt_form import form
from aura.providers.openai.stt_reply import TranscriptReader
from aura.providers.vitals import Left

log = structlog.get_logger()
MAX_TRANSCRIPT_BYTES = 4 * 1024 * 1024
BYTES_PER_S = LISTEN_RATE_HZ * 2


class OpenAITranscriber:
    """A recogniser behind `/audio/transcriptions`."""

    def __init__(self, settings: OpenAISettings, http: Http, *, name: str = "openai") -> None:
        self.name = name
        self.model = settings.stt_model
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = headers(settings, "application/json")
        self._limits = Limits()

    @property
    def left(self) -> Left:
        """What the account may still use, by the headers of the last reply."""
        return self._limits.left(self._settings.concurrency or None)

    async def warm(self) -> None:
        """Connect in advance; a failure shows at the first request."""
        await warm_up(self.name, self._endpoint.warm)

    async def probe(self) -> None:
        """Whether key and server are good. Raises ProviderError."""
        await probe(self.name, self._endpoint, self._headers, self._settings)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Hearing]:
        """Begin to collect an utterance."""
        interims = Interims() if self._settings.stt_interim else None
        try:
            yield LiveUtterance(self, self._settings, interims) if interims else Utterance(self, self._settings)
        finally:
            if interims:
                interims.end()

    async def transcribe(self, pcm: bytes, show: Callable[[str], None] = lambda _: None) -> Transcript:
        """One request. `pcm` is 16 kHz, 16 bit, mono; `show` is given the words as they are found, all of them."""
        content_type, body = form(pcm, self._settings)
        deadline = trio.current_time() + self._settings.stt_timeout_s
        sent = {**self._headers, "content-type": content_type}
        begun = False
        try:
            answer = await self._endpoint.post("/audio/transcriptions", body, sent, self._settings.stt_timeout_s)
            try:
                self._limits.note(answer.headers)
                if answer.status != 200:
                    raise await refusal(self.name, answer, deadline)
                begun = True
                return await self._read(answer, deadline, show)
            finally:
                answer.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise from_http(self.name, error, begun=begun) from error

    async def _read(self, answer: Answer, deadline: float, show: Callable[[str], None]) -> Transcript:
        reader = TranscriptReader(self.name, self._settings, answer.content_type)
        shown, size = "", 0
        try:
            while not reader.over and (data := await answer.read(deadline)):
                reader.feed(data)
                size += len(data)
                if size > MAX_TRANSCRIPT_BYTES:
                    raise StreamCut(f"{self.name}: the transcript does not end", provider=self.name)
                if reader.so_far != shown:
                    shown = reader.so_far
                    show(shown)
            transcript = reader.end()
        except ProviderError:
            log.debug("stt.broke_off", provider=self.name, **request_id(answer))
            raise
        await self._drain(answer)
        return transcript

    async def _drain(self, answer: Answer) -> None:
        """After the last event, wait a moment for the end of the body, for only then can the connection be kept."""
        deadline = trio.current_time() + self._settings.usage_wait_s
        try:
            while not answer.complete() and await answer.read(deadline):
                pass
        except httpx.HTTPError:
            log.debug("stt.connection_not_kept", provider=self.name)


class Request(msgspec.Struct, eq=False):
    """A transcription under way, of the first `size` bytes of the utterance."""

    size: int
    over: trio.Event


class Utterance:
    """Collects audio and transcribes it on demand, never the same audio twice."""

    def __init__(self, engine: OpenAITranscriber, settings: OpenAISettings) -> None:
        self._engine = engine
        self._least_bytes = max(2, int(settings.min_utterance_s * BYTES_PER_S))
        self._most_bytes = int(settings.max_utterance_s * BYTES_PER_S) // 2 * 2
        self._pcm = bytearray()
        self._under_way: Request | None = None
        self._known: tuple[int, Transcript] = (0, Transcript(""))
        self._overflowed = False

    def feed(self, pcm: bytes) -> None:
        """Keep the audio; beyond the longest utterance it is dropped."""
        room = self._most_bytes - len(self._pcm)
        if len(pcm) > room and not self._overflowed:
            self._overflowed = True
            log.warning("stt.utterance_too_long", provider=self._engine.name, limit_s=self._most_bytes / BYTES_PER_S)
        self._pcm += pcm[:room]

    async def so_far(self) -> Transcript:
        """Transcribe what there is."""
        size = len(self._pcm)
        if size < self._least_bytes:
            await trio.lowlevel.checkpoint()
            return Transcript("")
        while self._known[0] != size:
            under_way = self._under_way
            if under_way is None or under_way.size != size:
                return await self._ask(size)
            await under_way.over.wait()  # bounded: that request has a deadline, and ends the wait when it fails
        await trio.lowlevel.checkpoint()
        return msgspec.structs.replace(self._known[1], billed_s=None, input_tokens=None, output_tokens=None)

    async def final(self) -> Transcript:
        """As `so_far`: a draft that has transcribed the same audio, or is about to, is the final transcript."""
        return await self.so_far()

    def _show(self, text: str) -> None:
        """Words that a request has found so far."""

    async def _ask(self, size: int) -> Transcript:
        request = self._under_way = Request(size, trio.Event())
        try:
            transcript = await self._engine.transcribe(bytes(self._pcm), self._show)
            if size > self._known[0]:
                self._known = (size, transcript)
            return transcript
        finally:
            request.over.set()
            if self._under_way is request:
                self._under_way = None


class Interims:
    """The newest interim text for one reader; one that has not been read when the next comes is not missed."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._over = False
        self._news = trio.Event()

    def show(self, text: str) -> None:
        """There are more words."""
        self._text = text
        self._news.set()

    def end(self) -> None:
        """There will be no more."""
        self._over = True
        self._news.set()

    def __aiter__(self) -> Interims:
        return self

    async def __anext__(self) -> HearingEvent:
        await self._news.wait()  # bounded: the utterance ends it
        if self._text is None:
            raise StopAsyncIteration
        text, self._text = self._text, None
        if not self._over:
            self._news = trio.Event()
        return Interim(text)


class LiveUtterance(Utterance):
    """Shows the words of a request while they are found."""

    def __init__(self, engine: OpenAITranscriber, settings: OpenAISettings, interims: Interims) -> None:
        super().__init__(engine, settings)
        self._interims = interims

    def events(self) -> AsyncIterator[HearingEvent]:
        """The words so far, while a request is under way; ends with the utterance. Only one reader."""
        return self._interims

    def force_endpoint(self) -> None:
        """Nothing to do: the engine is asked when somebody wants to know."""

    def _show(self, text: str) -> None:
        self._interims.show(text)
