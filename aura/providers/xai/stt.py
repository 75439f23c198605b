"""Grok hears: `wss …/stt`, binary audio in, `transcript.partial` out; `POST /stt` for audio that is finished.

Source: docs.x.ai (speech to text, streaming) and LiveKit's and Pipecat's use of it, Nov 2026. `is_final` means that a
piece stands, `speech_final` that an utterance of the engine's own ended, which may restate its pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import msgspec
import trio

from aura.core.errors import StreamCut
from aura.core.ports import LISTEN_RATE_HZ, Ended, Final, HearingEvent, Interim, Transcript
from aura.providers.http import Http
from aura.providers.live import Line, LiveTranscriber
from aura.providers.live_dialect import Dialect, Wire, read, silence
from aura.providers.openai.common import refusal
from aura.providers.openai.errors import Fault, from_http, from_payload
from aura.providers.wav import wav_form
from aura.providers.ws_errors import from_message
from aura.providers.xai.key import check_key
from aura.providers.xai.settings import XaiSettings

MAX_TRANSCRIPT_BYTES = 4 * 1024 * 1024
NUDGE_MS = 200
"""Silence that is added in a pause, where no audio comes: the engine only decides on what it hears."""


class Said(msgspec.Struct):
    """A message of the engine; also its answer to finished audio."""

    type: str = ""
    text: str | None = None
    is_final: bool = False
    speech_final: bool = False
    language: str | None = None
    message: str | None = None
    error: object = None


decode = msgspec.json.Decoder(Said)


class XaiDialect(Dialect):
    """An utterance as xAI wants it."""

    frame_ms = 50
    acknowledges = False

    def __init__(self, name: str, *, judges_turns: bool = False) -> None:
        super().__init__(name)
        self.ready = False
        self._judges_turns = judges_turns
        self._begin = 0
        """Index of the first piece of the engine's present utterance."""

    def finish(self) -> Sequence[Wire]:
        """It makes words certain in silence."""
        return (silence(NUDGE_MS),)

    def end(self) -> Sequence[Wire]:
        """It answers `transcript.done`."""
        return ('{"type":"audio.done"}',)

    def idle(self) -> Sequence[Wire]:
        """Silence keeps the connection."""
        return (silence(self.frame_ms),)

    def take(self, message: Wire) -> list[HearingEvent]:
        """One message."""
        said = read(self.name, decode, message)
        match said.type:
            case "transcript.created":
                self.ready = True
            case "transcript.partial":
                return self._partial(said)
            case "transcript.done":
                self._done(said.text or "")
            case "error":
                raise from_message(self.name, Fault(said.message or ""))
            case _:
                pass  # what is new is not for us
        return []

    def _partial(self, said: Said) -> list[HearingEvent]:
        words, text = self.words, (said.text or "").strip()
        self.language = said.language or self.language
        if said.is_final or said.speech_final:
            self._forget_what_it_restates(text)
            words.stand(text)
            self.settled = True
            if said.speech_final:
                self._begin = len(words.pieces)
                if self._judges_turns:
                    return [Final(words.text()), Ended(words.text())]
            return [Final(words.text())]
        self._forget_what_it_restates(text)
        words.tail = text
        self.settled = words.certain
        return [Interim(words.text())]

    def _forget_what_it_restates(self, text: str) -> None:
        """A text is a piece, or the whole of the present utterance again."""
        if restates(text, " ".join(self.words.pieces[self._begin :])):
            del self.words.pieces[self._begin :]

    def _done(self, text: str) -> None:
        """The last message: nothing, what was still missing, or everything again."""
        words = self.words
        known = " ".join(words.pieces)
        if plain(text) and not plain(known).endswith(plain(text)):
            if restates(text, known):
                words.pieces.clear()
            words.stand(text)
        elif not text and words.tail:
            words.stand(words.tail)
        words.tail = ""
        self.settled, self.over = True, self.ending


def plain(text: str) -> str:
    """Words without case and punctuation, for comparison."""
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text.casefold()).split())


def restates(text: str, before: str) -> bool:
    """Whether a text begins with what was said before."""
    known = plain(before)
    return bool(known) and (plain(text) + " ").startswith(known + " ")


class XaiTranscriber(LiveTranscriber):
    """Grok's recogniser."""

    def __init__(self, settings: XaiSettings, http: Http, *, name: str = "xai") -> None:
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = {"authorization": f"Bearer {settings.api_key.reveal().strip()}", "user-agent": "aura"}
        judges = settings.stt_smart_turn is not None
        line = Line(
            self._endpoint,
            "/stt",
            query(settings),
            self._headers,
            lambda: XaiDialect(name, judges_turns=judges),
            settings,
            name=name,
            model="",  # there is only one
        )
        super().__init__(line)

    async def probe(self) -> None:
        """Whether server and key are good. Raises ProviderError."""
        sent = httpx.Headers(self._headers)
        await check_key(self.name, self._endpoint, sent, self._settings.probe_timeout_s)

    async def transcribe(self, pcm: bytes) -> Transcript:
        """The words of finished audio, 16 kHz. Raises ProviderError."""
        settings = self._settings
        # `format` (numbers and such as they are written) needs the language; the file must be the last field.
        texts = [("language", settings.stt_language), ("format", "true")] if settings.stt_language else []
        content_type, body = wav_form(pcm, LISTEN_RATE_HZ, texts)
        timeout_s = settings.stt_rest_timeout_s
        deadline, begun = trio.current_time() + timeout_s, False
        try:
            answer = await self._endpoint.post("/stt", body, {**self._headers, "content-type": content_type}, timeout_s)
            try:
                if answer.status != 200:
                    raise await refusal(self.name, answer, deadline)
                begun = True
                said = read(self.name, decode, await answer.read_all(deadline, MAX_TRANSCRIPT_BYTES))
            finally:
                answer.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise from_http(self.name, error, begun=begun) from error
        if said.error is not None:
            raise from_payload(self.name, {"error": said.error})
        if said.text is None:
            raise StreamCut(f"{self.name}: the answer holds no transcript", provider=self.name)
        return Transcript(said.text.strip(), None, said.language or None, self.name)


def query(settings: XaiSettings) -> dict[str, str | Sequence[str]]:
    """What the engine is told in the address."""
    asked: dict[str, str | Sequence[str]] = {
        "encoding": "pcm",
        "sample_rate": str(LISTEN_RATE_HZ),
        "interim_results": "true",
        "endpointing": str(settings.stt_endpointing_ms),
    }
    if settings.stt_language:
        asked["language"] = settings.stt_language
    if settings.stt_keyterms:
        asked["keyterm"] = settings.stt_keyterms
    if settings.stt_smart_turn is not None:
        asked["smart_turn"] = f"{settings.stt_smart_turn:g}"
    return asked
