"""ElevenLabs hears: Scribe's realtime WebSocket, where AURA says when a piece is complete (`commit_strategy=manual`).

Source: elevenlabs.io/docs (speech to text, realtime), Nov 2026. A commit makes the words since the last one certain. As
with every recogniser a piece without speech is not committed: it would be answered with invented words.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from aura.core.errors import AuthFailed, BadRequest, ProviderError, QuotaExhausted, RateLimited, StreamCut, Unavailable
from aura.core.ports import LISTEN_RATE_HZ, Final, HearingEvent, Interim
from aura.providers.elevenlabs.common import Account
from aura.providers.elevenlabs.errors import from_status
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.http import Http
from aura.providers.live import Line, LiveTranscriber
from aura.providers.live_dialect import Dialect, Level, Wire, read, silence
from aura.providers.openai.errors import Fault
from aura.providers.ws_errors import from_message

LEAST_MS = 300
"""Less is refused when it is committed (`commit_throttled`)."""
FAILURES: dict[str, type[ProviderError]] = {
    "error": Unavailable,
    "auth_error": AuthFailed,
    "unaccepted_terms": AuthFailed,
    "quota_exceeded": QuotaExhausted,
    "rate_limited": RateLimited,
    "queue_overflow": RateLimited,
    "resource_exhausted": Unavailable,
    "session_time_limit_exceeded": StreamCut,
    "insufficient_audio_activity": StreamCut,
    "chunk_size_exceeded": BadRequest,
    "input_error": BadRequest,
    "transcriber_error": Unavailable,
}


class Message(msgspec.Struct):
    """A message of the engine, of any type."""

    message_type: str = ""
    text: str = ""
    language_code: str | None = None
    error: object = None


decode = msgspec.json.Decoder(Message)


class ScribeDialect(Dialect):
    """An utterance as Scribe wants it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = False
        self._asked = 0
        self._all, self._open = Level(), Level()

    def audio(self, pcm: bytes) -> Sequence[Wire]:
        """The next audio."""
        self._all.add(pcm)
        self._open.add(pcm)
        return (chunk(pcm),)

    def finish(self) -> Sequence[Wire]:
        """A commit, unless nobody spoke since the last one."""
        if self._open.quiet_beside(self._all) and not self.words.tail:
            self._judge()
            return ()
        padding = silence(max(0, LEAST_MS - self._open.ms))
        self._open = Level()
        self._asked += 1
        self._judge()
        return (chunk(padding, commit=True),)

    def end(self) -> Sequence[Wire]:
        """The same."""
        return self.finish()

    def idle(self) -> Sequence[Wire]:
        """Without audio for twenty seconds it hangs up."""
        return (chunk(silence(self.frame_ms)),)

    def _judge(self) -> None:
        self.settled = self._asked <= 0
        self.over = self.ending and self.settled

    def take(self, message: Wire) -> list[HearingEvent]:
        """One message."""
        told, words = read(self.name, decode, message), self.words
        match told.message_type:
            case "session_started":
                self.ready = True
            case "partial_transcript":
                words.tail = told.text.strip()
                return [Interim(words.text())] if words.tail else []
            case "committed_transcript":
                words.stand(told.text)
                self._answered()
                return [Final(words.text())] if words.pieces else []
            case "committed_transcript_with_timestamps":
                self.language = told.language_code or self.language
            case "commit_throttled":
                self._answered()
            case kind if kind in FAILURES:
                raise from_message(self.name, Fault(str(told.error or ""), kind), FAILURES)
            case _:
                pass  # what is new is not for us
        return []

    def _answered(self) -> None:
        self._asked = max(0, self._asked - 1)
        self._judge()


def chunk(pcm: bytes, *, commit: bool = False) -> str:
    """Audio as a message."""
    audio = base64.b64encode(pcm).decode()
    ending = "true" if commit else "false"
    return (
        f'{{"message_type":"input_audio_chunk","audio_base_64":"{audio}",'
        f'"commit":{ending},"sample_rate":{LISTEN_RATE_HZ}}}'
    )


class Scribe(LiveTranscriber):
    """ElevenLabs' recogniser."""

    def __init__(self, settings: ElevenLabsSettings, http: Http, *, name: str = "elevenlabs") -> None:
        self._account = Account(settings, http, name)
        line = Line(
            self._account.endpoint,
            "/v1/speech-to-text/realtime",
            query(settings),
            dict(self._account.headers.items()),
            lambda: ScribeDialect(name),
            settings,
            name=name,
            model=settings.stt_model,
            refusal=from_status,
        )
        super().__init__(line, self._account.left)

    async def probe(self) -> None:
        """Whether server and key are good. Raises ProviderError."""
        await self._account.probe()


def query(settings: ElevenLabsSettings) -> dict[str, str | Sequence[str]]:
    """What the engine is told in the address."""
    asked: dict[str, str | Sequence[str]] = {
        "model_id": settings.stt_model,
        "audio_format": f"pcm_{LISTEN_RATE_HZ}",
        "commit_strategy": "manual",
    }
    if settings.stt_language:
        asked["language_code"] = settings.stt_language
    if settings.stt_keyterms:
        asked["keyterms"] = settings.stt_keyterms
    if not settings.logging:
        asked["enable_logging"] = "false"
    return asked
