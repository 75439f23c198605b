"""Deepgram nova: `/v1/listen`. The words of a turn are all segments that are `is_final`, joined.

Source: developers.deepgram.com, Nov 2026. `Finalize` makes the engine work out what it has heard, which it answers with
`from_finalize`, but not if that was too little; `CloseStream` is always answered, with `Metadata` and a close.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from aura.core.ports import Ended, Final, HearingEvent, Interim
from aura.providers.deepgram.common import BY_CODE, DeepgramTranscriber, audio_query
from aura.providers.deepgram.settings import DeepgramSettings
from aura.providers.http import Http
from aura.providers.live_dialect import Dialect, Wire, read
from aura.providers.openai.errors import Fault
from aura.providers.ws_errors import from_message

log = structlog.get_logger()
FINALIZE, CLOSE, KEEP_ALIVE = '{"type":"Finalize"}', '{"type":"CloseStream"}', '{"type":"KeepAlive"}'


class Alternative(msgspec.Struct):
    """One reading of a segment."""

    transcript: str = ""
    confidence: float | None = None
    languages: list[str] = []


class Channel(msgspec.Struct):
    """The readings, the best first."""

    alternatives: list[Alternative] = []


class NovaMessage(msgspec.Struct):
    """A message of the engine, of any type."""

    type: str = ""
    channel: Channel | list[int] | None = None
    is_final: bool = False
    speech_final: bool = False
    from_finalize: bool = False
    description: str | None = None
    message: str | None = None
    variant: str | None = None
    code: str | None = None


decode = msgspec.json.Decoder(NovaMessage)


class NovaDialect(Dialect):
    """An utterance as nova wants it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._asked = 0
        self._weights: list[tuple[int, float]] = []

    def finish(self) -> Sequence[Wire]:
        """Answered by a segment that is `from_finalize`."""
        self._asked += 1
        self.settled = False
        return (FINALIZE,)

    def end(self) -> Sequence[Wire]:
        """`Finalize` is answered sooner, `CloseStream` surely."""
        self._asked += 1
        return (FINALIZE, CLOSE)

    def idle(self) -> Sequence[Wire]:
        """Ten seconds without a message, and it hangs up."""
        return (KEEP_ALIVE,)

    def take(self, message: Wire) -> list[HearingEvent]:
        """One message."""
        heard = read(self.name, decode, message)
        match heard.type:
            case "Results":
                return self._results(heard)
            case "UtteranceEnd":
                return [Ended(self.words.text())] if self.words.certain else []
            case "Metadata":
                self.over = self.ending
            case "Error":
                text = " ".join(filter(None, (heard.description, heard.message)))
                raise from_message(self.name, Fault(text, heard.code or heard.variant or ""), BY_CODE)
            case "Warning":
                log.info("stt.warning", provider=self.name, text=heard.description or heard.message)
            case _:
                pass  # SpeechStarted, and what is new
        return []

    def _results(self, heard: NovaMessage) -> list[HearingEvent]:
        words, channel = self.words, heard.channel
        best = channel.alternatives[0] if isinstance(channel, Channel) and channel.alternatives else Alternative()
        if not heard.is_final:
            words.tail = best.transcript.strip()
            return [Interim(words.text())] if words.tail else []
        words.stand(best.transcript)
        self._judge(best)
        if heard.from_finalize:
            self._asked -= 1
            self.settled = self._asked <= 0
            self.over = self.settled and self.ending
        if not words.pieces:
            return []
        return [Final(words.text()), *([Ended(words.text())] if heard.speech_final else [])]

    def _judge(self, best: Alternative) -> None:
        """The confidence of the whole, by the length of its segments."""
        self.language = best.languages[0] if best.languages else self.language
        if best.transcript and best.confidence is not None:
            self._weights.append((len(best.transcript), best.confidence))
            total = sum(length for length, _ in self._weights)
            self.confidence = round(sum(length * confidence for length, confidence in self._weights) / total, 3)


class DeepgramNova(DeepgramTranscriber):
    """nova's recogniser."""

    def __init__(self, settings: DeepgramSettings, http: Http, *, name: str = "deepgram") -> None:
        model = settings.nova_model
        super().__init__(
            settings, http, "/v1/listen", query(settings), lambda: NovaDialect(name), name=name, model=model
        )


def query(settings: DeepgramSettings) -> dict[str, str | Sequence[str]]:
    """What the engine is told in the address."""
    asked = audio_query(settings, settings.nova_model)
    asked |= {"channels": "1", "interim_results": "true", "punctuate": "true"}
    asked["smart_format"] = "true" if settings.smart_format else "false"
    asked["endpointing"] = str(settings.endpointing_ms) if settings.endpointing_ms else "false"
    if settings.language:
        asked["language"] = settings.language
    return asked
