"""frames → speech facts: detector and turn taking, pre-roll, the overlap decision, silence when nothing comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import trio

from aura.core import events as ev
from aura.core.overlap import OverlapFacts, OverlapSettings, judge
from aura.core.ports import FRAME_MS, EagerEnd, Ended, HearingEvent, Resumed, VoiceDetector
from aura.core.turns import Cue, CueKind, TurnSettings, TurnTaker
from aura.stages.transcribe import Ear


class ListenSettings(msgspec.Struct, frozen=True):
    """The edges of listening."""

    gap_s: float = 0.3
    """When a client that was speaking sends nothing for so long, the wall clock counts as silence."""
    manual_max_s: float = 60.0
    """How much audio is kept for a client that commits its turns itself."""


class OverlapWatch:
    """What is known about the speech over the assistant, until it is decided."""

    EVERY_MS = 100

    def __init__(self, settings: OverlapSettings, echo_of: Callable[[], str]) -> None:
        self.settings, self.echo_of = settings, echo_of
        self._held_at_ms: int | None = None
        self._asked_ms = 0
        self._text: str | None = None
        self._echo_known = False

    def reset(self) -> None:
        """Decided, or nothing to decide."""
        self._held_at_ms, self._text = None, None

    def words(self, text: str | None) -> None:
        """The words up to the present pause; None: there is more now."""
        self._text = text
        self._asked_ms = 0

    def decide(self, taker: TurnTaker, *, late: bool = False) -> ev.OverlapConfirmed | ev.OverlapDismissed | None:
        """Ask every tenth of a second, and at once when there are new words."""
        now_ms = taker.position_ms
        if self._held_at_ms is None:
            self._held_at_ms = now_ms
        if not late and now_ms - self._asked_ms < self.EVERY_MS:
            return None
        self._asked_ms = now_ms
        facts = OverlapFacts(
            taker.voiced_ms,
            taker.silence_ms,
            now_ms - self._held_at_ms,
            self._text,
            final=self._text is not None,
            echo_of=self.echo_of(),
            snr_db=taker.snr_db,
            echo_known=self._echo_known,
        )
        verdict = judge(facts, self.settings)
        if verdict.decision == "wait":
            return None
        self._echo_known = self._echo_known or verdict.reason == "echo"
        fact = ev.OverlapConfirmed if verdict.decision == "confirm" else ev.OverlapDismissed
        return fact(
            verdict.reason,
            verdict.voiced_ms,
            verdict.silence_ms,
            verdict.held_ms,
            verdict.needed_ms,
            verdict.said,
            verdict.echo_share,
        )


class Listener:
    """Listens to one conversation. `frame` takes 20 ms of 16 kHz audio; facts go out through `tell`."""

    HISTORY_FRAMES = 75

    def __init__(
        self,
        detector: VoiceDetector,
        turns: TurnSettings,
        overlap: OverlapWatch,
        settings: ListenSettings,
        tell: Callable[[ev.Event], Any],
        state: Callable[[], str],
    ) -> None:
        self.detector, self.overlap, self.settings = detector, overlap, settings
        self.taker = TurnTaker(turns)
        self.tell, self.state = tell, state
        self.ear: Ear | None = None
        """The utterance being said; set by the session when it opens a turn."""
        self.manual: deque[bytes] | None = None
        """Audio kept for a client that decides itself where its turns end."""
        self._recent: deque[bytes] = deque(maxlen=self.HISTORY_FRAMES)
        self._pause: list[bytes] | None = None
        self._last_at = 0.0
        self.away = False
        """Whether the client's connection is lost: what does not come now is no silence."""

    def frame(self, frame: bytes) -> None:
        """Take the next frame."""
        self._last_at = trio.current_time()
        if self.manual is not None:
            self.manual.append(frame)
            return
        self._recent.append(frame)
        overlap = self.state() in ("thinking", "speaking", "interrupted")
        cues = self.taker.step(self.detector.step(frame), overlap=overlap)
        if self.ear and self.taker.speaking:
            if self._pause is None:
                self.ear.hear(frame)
            else:
                self._pause.append(frame)
        for cue in cues:
            self._cue(cue)
        if self.state() == "interrupted":
            self._judge()

    def set_manual(self, manual: bool) -> None:
        """Whether the client ends its turns itself (`turn_detection: null`)."""
        if manual != (self.manual is not None):
            size = int(self.settings.manual_max_s * 1000 / FRAME_MS)
            self.manual = deque(maxlen=size) if manual else None
            self.reset()

    def take_manual(self) -> list[bytes]:
        """The audio since the last commit; empties the buffer."""
        kept = list(self.manual or ())
        if self.manual is not None:
            self.manual.clear()
        return kept

    def buffered_ms(self) -> int:
        """How much audio a commit would close."""
        if self.manual is not None:
            return len(self.manual) * FRAME_MS
        return self.taker.position_ms - (self.taker.onset_ms or 0) if self.taker.speaking else 0

    def hint(self, text: str) -> None:
        """The words so far: a finished sentence ends the turn sooner, a mere "uh-huh" is no interruption."""
        self.taker.hint(text)
        self.overlap.words(text)

    def noticed(self, event: HearingEvent) -> None:
        """What the recogniser of the present utterance thinks of the turn. Silence decides all the same."""
        match event:
            case EagerEnd(text):
                self.hint(text)
            case Ended(text):
                self.hint(text)
                self.taker.over()
            case Resumed():
                self.overlap.words(None)

    def configure(self, turns: TurnSettings) -> None:
        """Other settings; a turn that is going on ends here for the turn taking."""
        if turns != self.taker.settings:
            self.taker.change(turns)

    def reset(self, *, echo: bool = False) -> None:
        """The turn was closed by somebody else."""
        self.taker.reset(echo=echo)
        self.ear, self._pause = None, None
        self.overlap.reset()

    def back(self) -> None:
        """The client is back, and goes on where it stopped."""
        self.away, self._last_at = False, trio.current_time()

    def missing(self) -> None:
        """Called by the clock: counts silence when the client stopped sending in mid-speech."""
        now = trio.current_time()
        if now - self._last_at >= self.settings.gap_s and self.manual is None and not self.away:
            for cue in self.taker.skip(round((now - self._last_at) * 1000)):
                self._cue(cue)
            self._last_at = now
            if self.state() == "interrupted":
                self._judge(late=True)

    def _cue(self, cue: Cue) -> None:
        match cue.kind:
            case CueKind.STARTED:
                self._started(cue)
            case CueKind.PAUSED:
                self._pause = []
                self.tell(ev.SpeechPaused(cue.at_ms, cue.silence_ms, cue.voiced_ms))
            case CueKind.RESUMED:
                self._resumed(cue)
            case CueKind.ENDED:
                self._pause = None
                if self.state() == "listening":
                    self.ear = None
                cause: Literal["too_long", "silence"] = "too_long" if cue.reason == "too_long" else "silence"
                words = "" if cue.reason == "too_long" else cue.reason
                self.tell(ev.TurnEnded(cue.at_ms, cue.silence_ms, cause, words))
            case CueKind.SUSPECTED:
                self.tell(ev.SpeechSuspected())
            case CueKind.UNSUSPECTED:
                self.tell(ev.SuspicionPassed())

    def _started(self, cue: Cue) -> None:
        self._pause = None
        self.overlap.reset()
        self.tell(ev.SpeechStarted(cue.at_ms))
        if self.ear:
            back = (self.taker.position_ms - cue.at_ms) / 1000 + self.taker.settings.pre_roll_s
            for frame in list(self._recent)[-max(1, round(back * 1000 / FRAME_MS)) :]:
                self.ear.hear(frame)

    def _resumed(self, cue: Cue) -> None:
        for frame in self._pause or ():
            if self.ear:
                self.ear.hear(frame)
        self._pause = None
        self.overlap.words(None)
        self.tell(ev.SpeechResumed(cue.at_ms))

    def _judge(self, *, late: bool = False) -> None:
        fact = self.overlap.decide(self.taker, late=late)
        if fact:
            self.tell(fact)
            if fact.why == "echo":
                self.taker.reset(echo=True)


async def listen(mic: trio.MemoryReceiveChannel[bytes], listener: Listener) -> None:
    """The stage: judge frame after frame until the session ends."""
    with mic:
        async for frame in mic:
            listener.frame(frame)
