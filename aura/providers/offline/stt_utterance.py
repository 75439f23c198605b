"""One utterance on its way through the offline recogniser: its audio, its questions, its fate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog
import trio

from aura.core.errors import ProviderError, TimedOut, Unavailable
from aura.core.ports import LISTEN_RATE_HZ, Final, HearingEvent, Interim, Transcript
from aura.providers.notices import Notices
from aura.providers.offline import stt_wire as wire
from aura.providers.offline.stt_settings import SttSettings

if TYPE_CHECKING:
    from aura.providers.offline.stt_process import Worker

log = structlog.get_logger()
_BYTES_PER_S = LISTEN_RATE_HZ * 2
_LEAST_PIECE = _BYTES_PER_S // 10
_MOST_PIECE = _BYTES_PER_S
_LIVES = 2
"""A worker that dies takes the utterance with it the second time: its audio may be the cause."""


class _Question:
    """Somebody waits for the words up to byte `at`."""

    def __init__(self, ask: wire.Ask, at: int) -> None:
        self.ask = ask
        self.at = at
        self.sent = False
        self.answered = trio.Event()
        self.answer: Transcript | ProviderError = Unavailable("the offline recogniser lost it", provider="offline")


class Watched:
    """What is shown of an utterance while it is said, if somebody wants to see it."""

    def __init__(self) -> None:
        self.wanted = self.told = False
        self.notices = Notices()


class Utterance:
    """The `LiveHearing` port; also what a worker is fed from."""

    def __init__(self, number: int, settings: SttSettings) -> None:
        self.number = number
        self.worker: Worker | None = None
        self._settings = settings
        self._audio = bytearray()
        self._sent = 0
        self._opened = False
        self._full = False
        self._questions: dict[int, _Question] = {}
        self._asked = 0
        self._failure: ProviderError | None = None
        self._lives = _LIVES
        self._watch = Watched()

    # ---- the port ----

    def feed(self, pcm: bytes) -> None:
        """Take the next 16 kHz audio; beyond `max_turn_s` it is dropped and logged."""
        if len(self._audio) + len(pcm) > self._settings.max_turn_s * _BYTES_PER_S:
            if not self._full:
                log.warning("stt.audio_dropped", kept_s=len(self._audio) / _BYTES_PER_S)
            self._full = True
            return
        self._audio += pcm
        if self.worker is not None and len(self._audio) - self._sent >= _LEAST_PIECE:
            self.worker.poke()

    def events(self) -> AsyncIterator[HearingEvent]:
        """The words while they are said, every 0.3 s of speech; ends with the utterance. Only one reader."""
        self._watch.wanted = True
        if self.worker is not None:
            self.worker.poke()
        return self._watch.notices

    def force_endpoint(self) -> None:
        """Nothing to do: the decoder keeps pace with the audio, and `final` makes it finish."""

    def end(self) -> None:
        """The utterance is over, or abandoned."""
        self._watch.notices.end()

    async def so_far(self) -> Transcript:
        """The words of all audio fed until now. Raises TimedOut or Unavailable."""
        return await self._within(self._settings.so_far_s, final=False)

    async def final(self) -> Transcript:
        """The words of the whole utterance. Raises TimedOut or Unavailable."""
        seconds = self._settings.final_s if self.worker else self._settings.queue_wait_s + self._settings.final_s
        return await self._within(seconds, final=True)

    async def _within(self, seconds: float, *, final: bool) -> Transcript:
        with trio.move_on_after(seconds):
            return await self._answer(final=final)
        raise TimedOut(f"the offline recogniser gave no transcript within {seconds:g} s", provider="offline")

    async def _answer(self, *, final: bool) -> Transcript:
        if self._failure is not None:
            raise self._failure
        self._asked += 1
        question = _Question(wire.Ask(self.number, self._asked, final), len(self._audio))
        self._questions[question.ask.number] = question
        if self.worker is not None:
            self.worker.poke()
        try:
            await question.answered.wait()
        finally:
            del self._questions[question.ask.number]
        if isinstance(question.answer, Transcript):
            return question.answer
        raise question.answer

    # ---- the worker's side ----

    def next_message(self) -> wire.ToWorker | None:
        """What the worker should be sent next, in order: its opening, audio, and questions after their audio."""
        if not self._opened:
            self._opened = True
            return wire.Open(self.number)
        if self._watch.wanted and not self._watch.told:
            self._watch.told = True
            return wire.Watch(self.number)
        question = next((q for q in self._questions.values() if not q.sent), None)
        if question is not None and question.at <= self._sent:
            question.sent = True
            return question.ask
        unsent = (question.at if question else len(self._audio)) - self._sent
        if unsent <= 0 or (question is None and unsent < _LEAST_PIECE):
            return None
        piece = bytes(self._audio[self._sent : self._sent + min(unsent, _MOST_PIECE)])
        self._sent += len(piece)
        return wire.Feed(self.number, piece)

    def waiting(self) -> bool:
        """Whether somebody waits for the worker."""
        return any(question.sent for question in self._questions.values())

    def glimpsed(self, text: str) -> None:
        """The worker shows the words so far."""
        self._watch.notices.put(Interim(text))

    def heard(self, answer: wire.Answer) -> None:
        """The worker answered a question; it may have been given up."""
        question = self._questions.get(answer.number)
        if question is not None:
            if question.ask.final:
                self._watch.notices.put(Final(answer.text))
                self._watch.notices.end()
            question.answer = Transcript(answer.text, answer.confidence, "en")
            question.answered.set()

    def start_over(self) -> bool:
        """The worker died: True if the utterance should be decoded again from its kept audio, else it has failed."""
        self.worker = None
        self._sent, self._opened, self._watch.told = 0, False, False
        for question in self._questions.values():
            question.sent = False
        self._lives -= 1
        if self._lives <= 0:
            self.fail("the offline recogniser's worker died twice on this utterance")
        return self._lives > 0

    def fail(self, reason: str) -> None:
        """Everybody who waits or will wait gets Unavailable."""
        self._failure = Unavailable(reason, provider="offline")
        self._watch.notices.end(self._failure)
        for question in self._questions.values():
            question.answer = self._failure
            question.answered.set()
