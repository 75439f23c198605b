"""The user's side of a conversation: the listener and one `Ear` per utterance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
import trio

from aura.core.audio import AudioFormat, Reframer
from aura.core.errors import Unavailable
from aura.core.ports import Final, HearingEvent, Interim, SpeechToText, Transcript
from aura.session.pipes import open_pipe
from aura.session.steps import Steps
from aura.stages.listen import Listener
from aura.stages.transcribe import KEPT_BYTES, Ear, TranscribeSettings, notice, transcribe

log = structlog.get_logger()


class Ears:
    """Opens an ear for each turn and keeps it until its words have been taken."""

    def __init__(self, stt: SpeechToText, listener: Listener, settings: TranscribeSettings, steps: Steps) -> None:
        self.stt, self.listener, self.settings, self.steps = stt, listener, settings, steps
        self._open: dict[int, Ear] = {}
        self._known: dict[int, Transcript] = {}
        self._committing: dict[int, trio.Event] = {}
        self._unanswered_s = 0.0
        self.words_so_far: Callable[[int, str], None] = lambda turn, text: None
        """Told the words of a turn while it is being said."""

    def open(self, turn: int, nursery: trio.Nursery) -> Ear:
        """Begin to transcribe a turn; the listener puts its audio in from now on."""
        ear = Ear(turn, open_pipe("utterance"), self.settings)
        self._open[turn] = ear
        self.listener.ear = ear
        self.steps.spawn(nursery, transcribe, ear, self.stt)
        self.steps.spawn(nursery, notice, ear, partial(self._noticed, ear))
        return ear

    def _noticed(self, ear: Ear, event: HearingEvent) -> None:
        if self.listener.ear is ear:
            self.listener.noticed(event)
        if isinstance(event, Interim | Final) and event.text and ear.turn in self._open:
            self.words_so_far(ear.turn, event.text)

    def open_manual(self, turn: int, nursery: trio.Nursery) -> None:
        """A client committed its own audio: that is the utterance."""
        ear = self.open(turn, nursery)
        for frame in self.listener.take_manual():
            ear.hear(frame)
        self.listener.ear = None

    def __contains__(self, turn: int) -> bool:
        return turn in self._open

    async def words(self, turn: int, *, final: bool) -> Transcript:
        """The words of a turn so far, or for good; raises ProviderError."""
        if turn in self._known:
            return self._known[turn]
        ear = self._open.get(turn)
        if ear is None:
            raise Unavailable("this utterance is gone")
        return await ear.words(final=final)

    def settle(self, turn: int, text: str) -> None:
        """These are the turn's words, whatever else may be tried with them."""
        self._known = {turn: Transcript(text)}
        self.close(turn)

    def commit(self, turn: int) -> None:
        """The turn's words are on their way into the history."""
        self._committing[turn] = trio.Event()
        self._unanswered_s += self.seconds(turn)

    def committed(self, turn: int) -> None:
        """They are there, or will never be."""
        self._committing.pop(turn).set()

    async def all_committed(self) -> None:
        """Wait until the history has everything that was said."""
        for known in list(self._committing.values()):
            await known.wait()

    def take_unanswered(self) -> float:
        """How much was said that no reply has been made for; the one that is made now is made for it."""
        seconds, self._unanswered_s = self._unanswered_s, 0.0
        return seconds

    def sound(self, turn: int) -> bytes:
        """The turn's sound so far; nothing of one that is too long to be kept."""
        ear = self._open.get(turn)
        return bytes(ear.kept) if ear and len(ear.kept) <= KEPT_BYTES else b""

    async def listen_to(self, audio: list[bytes], written: AudioFormat) -> str:
        """The words of sound that is all there already, in pieces; raises ProviderError."""
        reframer = Reframer(written)
        async with self.stt.open() as hearing:
            for piece in audio:
                for frame in reframer.push(piece):
                    hearing.feed(frame)
                await trio.lowlevel.checkpoint()
            for frame in reframer.flush():
                hearing.feed(frame)
            return (await hearing.final()).text.strip()

    def seconds(self, turn: int) -> float:
        """How much audio the turn's utterance has."""
        ear = self._open.get(turn)
        return ear.frames * 0.02 if ear else 0.0

    def end(self, turn: int) -> None:
        """Nothing more belongs to this turn."""
        if self.listener.ear and self.listener.ear.turn == turn:
            self.listener.reset()

    def close(self, turn: int) -> None:
        """The words were taken, or nobody wants them."""
        ear = self._open.pop(turn, None)
        if ear:
            if ear.dropped:
                log.warning("utterance.frames_dropped", turn=turn, frames=ear.dropped)
            ear.close()

    def drop(self, turn: int) -> None:
        """What was said in this turn is to be forgotten."""
        self.end(turn)
        self.close(turn)
