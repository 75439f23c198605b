"""Where a turn's time went: contiguous parts that sum exactly to voice-to-voice.

    end of speech -endpoint-> the reply is asked for -stt-> words known -llm_first_token-> -first_sentence->
    first sentence complete -tts_first_audio-> first audio here -playout-> first audio leaves

With a draft the reply is asked for before the turn ends, and what is left of the wait for the end of the turn is
part of `playout`.
"""

from __future__ import annotations

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.fsm import Step

PARTS = ("endpoint", "stt", "llm_first_token", "first_sentence", "tts_first_audio", "playout")
_MARKS = {
    ev.TranscriptReady: "stt",
    ev.FirstTokenArrived: "llm_first_token",
    ev.FillerSaid: "filler",
    ev.SentenceReady: "first_sentence",
    ev.FirstAudioArrived: "tts_first_audio",
    ev.ReplyStarted: "playout",
}


class TurnTimes(msgspec.Struct, frozen=True):
    """Milliseconds from the user's last sound to the reply's first, in parts that sum to `voice_to_voice`."""

    reply: int
    turn: int
    draft: bool
    ms: dict[str, float]
    filler: bool = False
    """The first thing audible was a filler: the wait for the model ends with it."""


class Timeline:
    """Collects the marks of the replies under way from what passes through `tell`."""

    def __init__(self) -> None:
        self._speech_ended = 0.0
        self._marks: dict[int, dict[str, float]] = {}
        self._drafts: dict[int, fx.StartReply] = {}

    def note(self, at: float, event: ev.Event, step: Step) -> TurnTimes | None:
        """Take one fact at session time `at` (seconds); returns the account of a reply that just became audible."""
        if isinstance(event, ev.SpeechPaused | ev.TurnEnded):
            self._speech_ended = at - event.silence_ms / 1000
        for effect in step.effects:
            if isinstance(effect, fx.StartReply):
                self._marks[effect.reply] = {"speech_ended": self._speech_ended, "endpoint": at}
                self._drafts[effect.reply] = effect
            elif isinstance(effect, fx.DropReply | fx.CancelReply | fx.FinishReply | fx.FailReply):
                self._marks.pop(effect.reply, None)
                self._drafts.pop(effect.reply, None)
        mark = _MARKS.get(type(event))
        if mark is None or not isinstance(event, ev.ReplyEvent) or event.reply not in self._marks:
            return None
        self._marks[event.reply].setdefault(mark, at)
        if isinstance(event, ev.FillerSaid):
            self._marks[event.reply].setdefault("first_sentence", at)
        return self._account(event.reply) if isinstance(event, ev.ReplyStarted) else None

    def _account(self, reply: int) -> TurnTimes | None:
        marks, start = self._marks[reply], self._drafts[reply]
        if start.source != "speech":
            return None
        ms, last = {}, marks["speech_ended"]
        for part in PARTS:
            now = max(last, marks.get(part, last))
            ms[part] = round((now - last) * 1000, 3)
            last = now
        ms["voice_to_voice"] = round((last - marks["speech_ended"]) * 1000, 3)
        filler = marks.get("filler") == marks.get("first_sentence", 0.0)
        return TurnTimes(reply, start.turn, start.draft, ms, filler)
