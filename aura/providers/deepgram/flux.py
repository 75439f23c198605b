"""Deepgram Flux: `/v2/listen`. It knows turns: `EagerEndOfTurn`, then `TurnResumed` or `EndOfTurn`.

Source: developers.deepgram.com (Flux, its state machine, force end turn), Nov 2026. A transcript is that of the whole
turn so far and takes the place of the one before. Its judgement needs silence to hear, but AURA's own ear sends none in
a pause: so silence is added while nothing is fed, at the pace of real time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from aura.core.ports import EagerEnd, Ended, HearingEvent, Interim, Resumed
from aura.providers.deepgram.common import BY_CODE, DeepgramTranscriber, audio_query
from aura.providers.deepgram.settings import DeepgramSettings
from aura.providers.http import Http
from aura.providers.live_dialect import Dialect, Wire, read, silence
from aura.providers.openai.errors import Fault
from aura.providers.ws_errors import from_message

log = structlog.get_logger()
FORCE_END, CLOSE = '{"type":"ForceEndTurn"}', '{"type":"CloseStream"}'


class FluxMessage(msgspec.Struct):
    """A message of the engine, of any type."""

    type: str = ""
    event: str = ""
    turn_index: int = 0
    transcript: str = ""
    trigger: str | None = None
    languages: list[str] = []
    code: str | None = None
    description: str | None = None


decode = msgspec.json.Decoder(FluxMessage)


class FluxDialect(Dialect):
    """An utterance as Flux wants it; it may take it for several turns."""

    frame_ms = 80
    idle_s = 0.24
    acknowledges = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._turn = -1

    def end(self) -> Sequence[Wire]:
        """`ForceEndTurn` is not answered when it believes to be between turns, `CloseStream` always is, by a close."""
        return (FORCE_END, CLOSE)

    def idle(self) -> Sequence[Wire]:
        """It judges by what it hears."""
        return (silence(self.frame_ms),) * 3

    def take(self, message: Wire) -> list[HearingEvent]:
        """One message."""
        heard = read(self.name, decode, message)
        match heard.type:
            case "TurnInfo":
                return self._turn_info(heard)
            case "Error" | "FatalError":
                raise from_message(self.name, Fault(heard.description or "", heard.code or ""), BY_CODE)
            case "Warning":
                log.info("stt.warning", provider=self.name, text=heard.description)
            case _:
                pass  # Connected, ConfigureSuccess, and what is new
        return []

    def _turn_info(self, heard: FluxMessage) -> list[HearingEvent]:
        words = self.words
        self.language = heard.languages[0] if heard.languages else self.language
        if heard.turn_index < self._turn:
            return []  # of a turn that has ended
        if heard.turn_index > self._turn:
            words.stand(words.tail)  # its end was not told
            self._turn = heard.turn_index
        words.tail = heard.transcript.strip()
        match heard.event:
            case "EndOfTurn":
                words.stand(words.tail)
                self._turn += 1
                self.settled = True
                self.over = self.ending and heard.trigger in (None, "manual")
                return [Ended(words.text())]
            case "EagerEndOfTurn":
                self.settled = True
                return [EagerEnd(words.text())]
            case "TurnResumed":
                self.settled = False
                return [Resumed(), *([Interim(words.text())] if words.tail else [])]
            case _:  # StartOfTurn, Update
                self.settled = self.settled and not words.tail
                return [Interim(words.text())] if words.tail else []


class DeepgramFlux(DeepgramTranscriber):
    """Flux's recogniser."""

    def __init__(self, settings: DeepgramSettings, http: Http, *, name: str = "deepgram-flux") -> None:
        model = settings.flux_model
        super().__init__(
            settings, http, "/v2/listen", query(settings), lambda: FluxDialect(name), name=name, model=model
        )


def query(settings: DeepgramSettings) -> dict[str, str | Sequence[str]]:
    """What the engine is told in the address."""
    asked = audio_query(settings, settings.flux_model)
    asked["eot_threshold"] = f"{settings.eot_threshold:g}"
    asked["eot_timeout_ms"] = str(settings.eot_timeout_ms)
    if settings.eager_eot_threshold is not None:
        asked["eager_eot_threshold"] = f"{settings.eager_eot_threshold:g}"
    if settings.language:
        asked["language_hint"] = settings.language
    return asked
