"""Transcription of finished audio: `/audio/transcriptions`, one WAV file per request.

Source: OpenAI API reference, Nov 2026. Raw PCM is refused by the API, so the audio gets a 44-byte header. The form is
built in memory: httpx's multipart encoder reads files and costs 0.5 ms where joining bytes costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import httpx
import msgspec
import structlog
import trio

from aura.core.errors import StreamCut
from aura.core.ports import LISTEN_RATE_HZ, Hearing, Transcript
from aura.providers.http import Answer, Http
from aura.providers.openai.common import headers, refusal, warm_up
from aura.providers.openai.errors import from_http, from_payload
from aura.providers.openai.settings import OpenAISettings
from aura.providers.wav import wav_header

log = structlog.get_logger()
MAX_TRANSCRIPT_BYTES = 4 * 1024 * 1024
BYTES_PER_S = LISTEN_RATE_HZ * 2


class Heard(msgspec.Struct):
    """The JSON reply; token counts and times are not used."""

    text: str | None = None
    language: str | None = None
    error: object = None


decode_heard = msgspec.json.Decoder(Heard).decode


class OpenAITranscriber:
    """A recogniser behind `/audio/transcriptions`."""

    def __init__(self, settings: OpenAISettings, http: Http, *, name: str = "openai") -> None:
        self.name = name
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = headers(settings, "application/json")

    async def warm(self) -> None:
        """Connect in advance; a failure shows at the first request."""
        await warm_up(self.name, self._endpoint.warm)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Hearing]:
        """Begin to collect an utterance."""
        yield Utterance(self, self._settings)

    async def transcribe(self, pcm: bytes) -> Transcript:
        """One request. `pcm` is 16 kHz, 16 bit, mono."""
        boundary, body = form(pcm, self._settings)
        deadline = trio.current_time() + self._settings.stt_timeout_s
        sent = {**self._headers, "content-type": f"multipart/form-data; boundary={boundary}"}
        begun = False
        try:
            answer = await self._endpoint.post("/audio/transcriptions", body, sent, self._settings.stt_timeout_s)
            try:
                if answer.status != 200:
                    raise await refusal(self.name, answer, deadline)
                begun = True
                return self._read(answer, await answer.read_all(deadline, MAX_TRANSCRIPT_BYTES))
            finally:
                answer.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise from_http(self.name, error, begun=begun) from error

    def _read(self, answer: Answer, body: bytes) -> Transcript:
        if "json" not in answer.content_type and not body.lstrip().startswith(b"{"):
            return Transcript(body.decode("utf-8", "replace").strip())
        try:
            heard = decode_heard(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StreamCut(f"{self.name}: the transcript is broken JSON", provider=self.name) from error
        if heard.error is not None:
            raise from_payload(self.name, {"error": heard.error})
        if heard.text is None:
            raise StreamCut(f"{self.name}: the answer holds no transcript", provider=self.name)
        return Transcript(heard.text.strip(), language=heard.language or None)


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
        return self._known[1]

    async def final(self) -> Transcript:
        """As `so_far`: a draft that has transcribed the same audio, or is about to, is the final transcript."""
        return await self.so_far()

    async def _ask(self, size: int) -> Transcript:
        request = self._under_way = Request(size, trio.Event())
        try:
            transcript = await self._engine.transcribe(bytes(self._pcm))
            if size > self._known[0]:
                self._known = (size, transcript)
            return transcript
        finally:
            request.over.set()
            if self._under_way is request:
                self._under_way = None


def form(pcm: bytes, settings: OpenAISettings) -> tuple[str, bytes]:
    """(boundary, body) of the multipart form. The boundary is one that the audio does not contain."""
    fields = {"model": settings.stt_model, "response_format": "json"}
    fields |= {"language": settings.language} if settings.language else {}
    fields |= {"prompt": settings.stt_prompt} if settings.stt_prompt else {}
    texts = "".join(fields.values()).encode()
    boundary = next(b for n in count() if (b := f"aura-{n}-form").encode() not in pcm and b.encode() not in texts)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="speech.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    )
    head = "".join(parts).encode() + wav_header(len(pcm), LISTEN_RATE_HZ)
    return boundary, b"".join((head, pcm, f"\r\n--{boundary}--\r\n".encode()))
