"""A journal's facts → states, stretches of speech, judged overlaps, answers, and where each turn's time went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.fsm import Step, Verdict
from aura.core.journal import Entry
from aura.core.timing import Timeline
from aura.storage.digest.shapes import Answer, Latency, Moved, Outcome, Overlap, Problem, Speech


class Turn(msgspec.Struct):
    """What the user said in one turn, as far as the journal knows."""

    turn: int
    begin: float
    end: float | None = None
    dropped: bool = False
    reply: int = 0
    """The answer to it."""
    text: str = ""
    words: int = 0


class Hearing:
    """The user's stretches of speech. `spoken_at` turns microphone time into seconds on the axis, if it can."""

    def __init__(self, spoken_at: Callable[[int], float | None]) -> None:
        self._spoken_at = spoken_at
        self._sounding = False
        self.speech: list[Speech] = []

    @property
    def last(self) -> Speech | None:
        """The latest stretch."""
        return self.speech[-1] if self.speech else None

    def on_axis(self, at_ms: int, at: float) -> float:
        """When a sample was spoken. It cannot be after it was heard of; without audio it is told by the fact."""
        spoken = self._spoken_at(at_ms)
        return at if spoken is None else max(0.0, min(spoken, at))

    def take(self, at: float, event: ev.Event, state: str) -> None:
        """One fact, told in this state."""
        last = self.last if self.last and self.last.decided is None else None
        match event:
            case ev.SpeechStarted(at_ms):
                begin = self.on_axis(at_ms, at)
                turn = self.speech[-1].turn if self.speech and state == "listening" else 0
                over = state in ("thinking", "speaking", "interrupted")
                self.speech.append(Speech(turn, begin, at, [(begin, at)], over))
                self._sounding = True
            case ev.SpeechPaused(_, silence_ms) if last:
                self._stop(last, at - silence_ms / 1000)
            case ev.SpeechResumed(at_ms) if last:
                begin = max(self.on_axis(at_ms, at), last.end)
                last.voiced.append((begin, at))
                last.end, self._sounding = at, True
            case ev.TurnEnded(_, silence_ms, cause, words) if last:
                self._stop(last, at - silence_ms / 1000)
                last.decided, last.silence_ms, last.cause, last.words = at, silence_ms, cause, words

    def judged(self, at: float, silence_ms: int, *, confirmed: bool) -> None:
        """It was decided what the speech over the assistant was."""
        speech = self.last
        if speech and speech.over and not speech.fate:
            speech.fate = "turn" if confirmed else "dismissed"
            if not confirmed and speech.decided is None:
                speech.decided = at
                self._stop(speech, at - silence_ms / 1000)

    def settle(self, end: float) -> None:
        """The journal ends here; who was speaking may not have stopped."""
        if self._sounding and self.last and self.last.decided is None:
            self._stop(self.last, end)

    def _stop(self, speech: Speech, end: float) -> None:
        """The last sound was then."""
        begin = speech.voiced[-1][0]
        speech.end = max(begin, end)
        speech.voiced[-1] = (begin, speech.end)
        self._sounding = False


class JournalFacts:
    """Takes a journal's entries in order."""

    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing
        self._timeline = Timeline()
        self.states = [Moved(0.0, "idle")]
        self.overlaps: list[Overlap] = []
        self.latencies: list[Latency] = []
        self.answers: dict[int, Answer] = {}
        self.turns: dict[int, Turn] = {}
        self.closed_turns: list[int] = []
        """Turns whose utterance became an item, in order."""
        self.problems: list[Problem] = []
        self.why: str | None = None
        self._held_since = 0.0

    def take(self, entry: Entry) -> None:
        """One fact."""
        at, event = entry.at, entry.event
        if entry.verdict == Verdict.BUG:
            text = f"{type(event).__name__} while {entry.was}"
            self.problems.append(Problem(at, "bug", "state machine", text=text))
        if entry.verdict != Verdict.LATE:
            self.hearing.take(at, event, entry.was)
            self._fact(at, event)
            for effect in entry.effects:
                self._turn(at, effect)
                self._answer(at, effect)
        if entry.was == "interrupted" != entry.now:
            self._judged(entry)
        if entry.now != self.states[-1].state:
            self.states.append(Moved(at, entry.now, type(event).__name__))
            if entry.now == "interrupted":
                self._held_since = at
        step = Step(Verdict.STAY, "idle", "idle", entry.effects)
        if times := self._timeline.note(at, event, step):
            begin = at - times.ms["voice_to_voice"] / 1000
            self.latencies.append(Latency(times.turn, times.reply, times.draft, round(begin, 6), at, times.ms))

    def _judged(self, entry: Entry) -> None:
        """Speech over the assistant was taken for an interruption, or not."""
        event, at = entry.event, entry.at
        numbers: dict[str, Any] = {"why": type(event).__name__}
        confirmed = any(isinstance(effect, fx.ConfirmTurn) for effect in entry.effects)
        if isinstance(event, ev.OverlapJudged):
            numbers = msgspec.structs.asdict(event)
            confirmed = isinstance(event, ev.OverlapConfirmed)
        elif isinstance(event, ev.SessionClosing):
            return
        cut = next((e.reply for e in entry.effects if isinstance(e, fx.CancelReply | fx.ResumeOutput)), 0)
        self.overlaps.append(Overlap(at, self._held_since, confirmed, reply=cut or self._current(), **numbers))
        self.hearing.judged(at, numbers.get("silence_ms", 0), confirmed=confirmed)

    def _current(self) -> int:
        """The answer that is being heard, or made."""
        going_on = [a.reply for a in self.answers.values() if a.end is None and not a.draft]
        return going_on[-1] if going_on else 0

    def _fact(self, at: float, event: ev.Event) -> None:
        match event:
            case ev.TranscriptReady(reply, words, _, text):
                if (answer := self.answers.get(reply)) and (turn := self.turns.get(answer.turn)):
                    turn.words, turn.text = words, text
            case ev.ReplyStarted(reply) if reply in self.answers:
                self.answers[reply].audible = at
            case ev.StageFailed(reply, stage, code, _, provider):
                self.problems.append(Problem(at, code, stage, provider, reply=reply))
            case ev.SessionClosing(why):
                self.why = why

    def _turn(self, at: float, effect: fx.Effect) -> None:
        """What an order means for the user's turns."""
        match effect:
            case fx.OpenTurn(number, at_ms, tentative):
                self.turns[number] = Turn(number, self.hearing.on_axis(at_ms, at))
                if speech := self.hearing.last:
                    speech.turn = number
                    speech.fate = speech.fate if tentative else "turn"
            case fx.DropTurn(number) if number in self.turns:
                self.turns[number].dropped, self.turns[number].end = True, at
            case fx.EndTurn(number) | fx.CommitTurn(number) if number not in self.closed_turns:
                self.closed_turns.append(number)
                mine = [speech for speech in self.hearing.speech if speech.turn == number]
                self.turns.setdefault(number, Turn(number, at)).end = mine[-1].end if mine else at
            case fx.Respond(reply, number) if number in self.turns:
                self.turns[number].reply = reply

    def _answer(self, at: float, effect: fx.Effect) -> None:
        """What an order means for the assistant's answers."""
        match effect:
            case fx.StartReply(reply, turn, source, draft, text, retry_of):
                self.answers[reply] = Answer(reply, turn, source, draft, at, retry_of=retry_of, text=text)
            case fx.ReleaseReply(reply) if reply in self.answers:
                self.answers[reply].draft = False
            case fx.FinishReply(reply):
                self._end(reply, at, "finished")
            case fx.DropReply(reply):
                self._end(reply, at, "dropped")
            case fx.CancelReply(reply, reason):
                self._end(reply, at, "cancelled", reason)
            case fx.FailReply(reply, code):
                self._end(reply, at, "failed", code)

    def _end(self, reply: int, at: float, outcome: Outcome, why: str = "") -> None:
        if (answer := self.answers.get(reply)) and answer.end is None:
            answer.end, answer.outcome, answer.why = at, outcome, why
