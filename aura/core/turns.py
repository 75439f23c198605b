"""Turn taking: what a detector says about every 20 ms becomes start, pause and end of the user's turn.

Everything is counted in microphone time: 20 ms for every frame that came in. A detector reports late (Silero by some
60 ms at an onset, by 100 ms at an end), so both edges are dated back to where the level left the background.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Literal

import msgspec

from aura.core.completeness import Completeness, completeness
from aura.core.ports import FRAME_MS, Voice

SILENT_DB = -100.0
LOUD_FRAMES = 2
"""So many of the recent frames must be as loud as the user to be the user."""
NEVER_MIND = -1

EndReason = Literal[Completeness, "too_long"]


class TurnSettings(msgspec.Struct, frozen=True):
    """When the user is taken to have begun, paused and finished speaking."""

    start_speech: float = 0.5
    """Probability of speech from which a frame counts as voiced before a turn has started."""
    stay_speech: float = 0.35
    """Probability of speech from which a frame counts as voiced inside a turn."""
    start_s: float = 0.06
    """Voiced time that starts a turn while the assistant is silent."""
    overlap_start_s: float = 0.10
    """Voiced time that counts as speaking over the assistant."""
    start_window_s: float = 0.16
    """The voiced time must come together within this time."""
    start_margin_db: float = 5.0
    """A frame must be this much louder than the background to help start a turn."""
    stay_margin_db: float = 12.0
    """Inside a turn, a frame that is less than this louder than the background is silence, whatever the detector says
    (in loud noise less: not quite half the distance between background and speaker)."""
    fade_db: float = 32.0
    """Inside a turn, frames this much below the speaker's own loudness are silence, whatever the detector says."""
    resume_margin_db: float = 2.0
    """So much louder than that must be what resumes a turn after a pause."""
    overlap_quieter_db: float = 18.0
    """Over the assistant, speech that stays this much below the user's usual loudness is taken for echo."""
    echo_margin_db: float = 2.0
    """Over the assistant, speech must get this much louder than echoes that were recognised as such."""
    suspect_s: float = 0.2
    """A suspicion is given up when it has not become speech after this time."""
    pause_s: float = 0.12
    """Silence after which a draft reply may be started."""
    silence_s: float = 0.55
    """Silence that ends a turn whose words are a whole sentence."""
    unknown_silence_s: float = 0.8
    """Silence that ends a turn whose words are not known yet, or whose language is not."""
    unfinished_silence_s: float = 1.1
    """Silence that ends a turn whose words break off in the middle of a sentence."""
    murmur_s: float = 0.3
    """At most so much longer is waited while the detector still hears a voice, but too faint to be surely the user."""
    max_turn_s: float = 60.0
    """A turn is ended after this time even if the user goes on."""
    pre_roll_s: float = 0.3
    """Audio before the start of speech that is given to the recogniser too."""


class CueKind(StrEnum):
    """What `TurnTaker` noticed."""

    SUSPECTED = "suspected"
    """A first voiced frame: perhaps speech."""
    UNSUSPECTED = "unsuspected"
    """It came to nothing."""
    STARTED = "started"
    PAUSED = "paused"
    RESUMED = "resumed"
    ENDED = "ended"


class Cue(msgspec.Struct, frozen=True):
    """A fact about the user's speech."""

    kind: CueKind
    at_ms: int
    """Microphone time that the fact is about: the onset for SUSPECTED, STARTED and RESUMED, the end of speech for
    UNSUSPECTED, PAUSED and ENDED (known only later)."""
    voiced_ms: int = 0
    """Voiced time of the turn so far."""
    silence_ms: int = 0
    """How long the silence had lasted when this was decided."""
    reason: EndReason | Literal[""] = ""
    """Why a turn ENDED: the kind of wait that ran out, or `max_turn_s`."""


# ---- the background ---------------------------------------------------------------------------------------------


class NoiseFloor:
    """The level of the background: the lowest smoothed level of the last two seconds (minimum statistics, after
    R. Martin, "Noise Power Spectral Density Estimation", 2001). Falls at once, rises when the old minimum ages out."""

    BLOCK, BLOCKS = 12, 8
    EARLY = 20
    PRIOR_DB = -50.0
    """Taken for the background until EARLY frames were heard: somebody may speak in the very first one."""

    def __init__(self) -> None:
        self.db = self.PRIOR_DB
        self._smooth_db = 0.0
        self._frames = 0
        self._lowest = 0.0
        self._blocks: deque[float] = deque(maxlen=self.BLOCKS)

    def step(self, level_db: float) -> float:
        """Take the level of the next 20 ms and return the background's level, both in dB of full scale."""
        if level_db <= -99.0:
            return self.db  # a lost or muted frame says nothing about the room
        n = self._frames
        self._frames = n + 1
        smooth = self._smooth_db = level_db if n == 0 else self._smooth_db + 0.4 * (level_db - self._smooth_db)
        if smooth < self._lowest or n == 0:
            self._lowest = smooth
        if smooth < self.db:
            self.db = smooth
        if self._frames % self.BLOCK == 0:
            self._blocks.append(self._lowest)
            self._lowest = smooth
            self.db = min(self._blocks)
            if self._frames < self.EARLY:
                self.db = min(self.db, self.PRIOR_DB)
        return self.db


# ---- turns ------------------------------------------------------------------------------------------------------


class _Turn:
    """The turn that is going on."""

    def __init__(self, onset_ms: int, end_ms: int, voiced_ms: int, loud_db: float, overlap: bool) -> None:
        self.onset_ms, self.overlap = onset_ms, overlap
        self.end_ms = end_ms
        """End of the last voiced frame."""
        self.voiced_ms = voiced_ms
        self.loud_db = loud_db
        """The speaker's loudness: follows the loudest frames up at once and down by 1 dB a second."""
        self.paused = False
        self.again = 0
        """Voiced frames in a row since the pause."""
        self.murmur_ms = 0
        """Time since `end_ms` in which the detector heard speech that was too faint to be believed."""
        self.words: Completeness = "unknown"


class TurnTaker:
    """Turns a conversation's frames into cues. `step` once per frame; nothing else passes time but `skip`."""

    def __init__(self, settings: TurnSettings | None = None) -> None:
        self.settings = s = settings or TurnSettings()
        self.position_ms = 0
        """Microphone time: 20 ms per frame so far."""
        self._turn: _Turn | None = None
        self._floor = NoiseFloor()
        self._recent: deque[bool] = deque(maxlen=max(1, round(s.start_window_s * 1000 / FRAME_MS)))
        self._levels: deque[float] = deque(maxlen=25)
        self._suspected = 0
        """Frames for which a suspicion has lasted; NEVER_MIND once it was given up, until it is quiet again."""
        self._until_quiet = False
        self._skipped_ms = 0
        self._previous: _Turn | None = None
        self._user_db = SILENT_DB
        """The user's loudness, learned from turns that ended by themselves."""
        self._echo_db = SILENT_DB
        """The loudest echo so far."""

    @property
    def speaking(self) -> bool:
        """Whether a turn is going on (a pause belongs to it)."""
        return self._turn is not None

    @property
    def onset_ms(self) -> int | None:
        """Microphone time at which the present turn began."""
        return self._turn.onset_ms if self._turn else None

    @property
    def voiced_ms(self) -> int:
        """Voiced time of the present turn, or of the last one."""
        turn = self._turn or self._previous
        return turn.voiced_ms if turn else 0

    @property
    def silence_ms(self) -> int:
        """Time since its last voiced frame."""
        turn = self._turn or self._previous
        return self.position_ms - turn.end_ms + self._skipped_ms if turn else 0

    @property
    def snr_db(self) -> float | None:
        """Its loudness over the background."""
        turn = self._turn or self._previous
        return turn.loud_db - self._floor.db if turn else None

    def change(self, settings: TurnSettings) -> None:
        """Go on with other settings."""
        self.settings = settings
        self._recent = deque(self._recent, maxlen=max(1, round(settings.start_window_s * 1000 / FRAME_MS)))

    @property
    def floor_db(self) -> float:
        """Level of the background."""
        return self._floor.db

    def step(self, voice: Voice, *, overlap: bool) -> tuple[Cue, ...]:
        """Take the detector's word on the next frame. `overlap`: the assistant is thinking or speaking."""
        self.position_ms += FRAME_MS
        floor_db = self._floor.step(voice.level_db)
        self._levels.append(voice.level_db)
        if self._turn is None:
            return self._waiting(voice, floor_db, overlap)
        return self._within(self._turn, voice, floor_db)

    def hint(self, text: str, language: str | None = None) -> None:
        """The words of the present turn so far, up to its latest pause."""
        if self._turn is not None:
            self._turn.words = completeness(text, language)

    def over(self) -> None:
        """The recogniser thinks that the turn is over: the silence after it need not be long."""
        if self._turn is not None:
            self._turn.words = "complete"

    def skip(self, ms: int) -> tuple[Cue, ...]:
        """So much time has passed without a frame: the client stopped sending. Counts as silence, not as position."""
        self._skipped_ms += ms
        if self._turn is None:
            return self._unsuspect()
        return self._silent(self._turn)

    def reset(self, *, echo: bool = False) -> None:
        """The turn was closed by somebody else.

        `echo`: it was our own voice. What is being heard now must stop before anything can start again, and from now
        on it takes something louder than this to start a turn over the assistant.
        """
        self._previous = self._turn or self._previous
        if echo and self._previous is not None:
            self._echo_db = max(self._echo_db, self._previous.loud_db)
        self._turn, self._suspected = None, 0
        self._recent.clear()
        self._until_quiet = echo

    # ---- before a turn

    def _waiting(self, voice: Voice, floor_db: float, overlap: bool) -> tuple[Cue, ...]:
        s = self.settings
        self._recent.append(voice.speech >= s.start_speech and voice.level_db >= floor_db + s.start_margin_db)
        if not any(self._recent):
            self._until_quiet = False
            return self._unsuspect()
        if self._until_quiet or not self._recent[-1] or not self._loud_enough(overlap):
            return self._doubt()
        voiced_ms = sum(self._recent) * FRAME_MS
        if voiced_ms < round((s.overlap_start_s if overlap else s.start_s) * 1000):
            if self._suspected:
                return self._doubt()
            self._suspected = 1
            return (Cue(CueKind.SUSPECTED, self._onset(floor_db), voiced_ms),)
        self._turn = turn = _Turn(self._onset(floor_db), self.position_ms, voiced_ms, max(self._levels), overlap)
        self._suspected, self._skipped_ms = 0, 0
        return (Cue(CueKind.STARTED, turn.onset_ms, voiced_ms),)

    def _loud_enough(self, overlap: bool) -> bool:
        """Over the assistant: whether this is the user and not our own voice, which comes back quieter."""
        if not overlap:
            return True
        edge_db = max(self._user_db - self.settings.overlap_quieter_db, self._echo_db + self.settings.echo_margin_db)
        recent = list(self._levels)[-len(self._recent) :]
        return sum(level >= edge_db for level in recent) >= LOUD_FRAMES

    def _doubt(self) -> tuple[Cue, ...]:
        """A suspicion does not last for ever."""
        if self._suspected > 0:
            self._suspected += 1
            if self._suspected * FRAME_MS > round(self.settings.suspect_s * 1000):
                self._suspected = NEVER_MIND
                return (Cue(CueKind.UNSUSPECTED, self.position_ms),)
        return ()

    def _unsuspect(self) -> tuple[Cue, ...]:
        suspected, self._suspected = self._suspected > 0, 0
        self._recent.clear()
        return (Cue(CueKind.UNSUSPECTED, self.position_ms),) if suspected else ()

    def _onset(self, floor_db: float) -> int:
        """Go back from the first voiced frame to where the level rose out of the background (at most 0.2 s)."""
        first = len(self._recent) - list(self._recent).index(True)
        levels = list(self._levels)
        edge_db = max(floor_db + self.settings.start_margin_db, max(levels[-first:]) - self.settings.fade_db)
        back = first
        while back < min(len(levels), first + 10) and levels[-back - 1] >= edge_db:
            back += 1
        return max(self._previous.end_ms if self._previous else 0, self.position_ms - back * FRAME_MS)

    # ---- within a turn

    def _within(self, turn: _Turn, voice: Voice, floor_db: float) -> tuple[Cue, ...]:
        s = self.settings
        margin_db = min(s.stay_margin_db, (turn.loud_db - floor_db) * 0.45)
        edge_db = max(floor_db + margin_db, turn.loud_db - s.fade_db) + (s.resume_margin_db if turn.paused else 0.0)
        turn.loud_db -= 0.02
        if voice.speech < s.stay_speech or voice.level_db < edge_db:
            turn.again = 0
            murmur = voice.speech >= s.stay_speech
            turn.murmur_ms += FRAME_MS if murmur else 0
            self._skipped_ms = max(0, self._skipped_ms - FRAME_MS)  # late frames of a time already counted
            return self._silent(turn, murmur)
        turn.loud_db = max(turn.loud_db, voice.level_db)
        turn.voiced_ms += FRAME_MS
        turn.again += 1
        if turn.paused and turn.again < 2:
            return self._silent(turn)
        begin_ms = self.position_ms - turn.again * FRAME_MS
        silence_ms = begin_ms - turn.end_ms + self._skipped_ms
        turn.end_ms, turn.murmur_ms, self._skipped_ms = self.position_ms, 0, 0
        cues: tuple[Cue, ...] = ()
        if turn.paused:
            turn.paused, turn.words = False, "unknown"
            cues = (Cue(CueKind.RESUMED, begin_ms, turn.voiced_ms, silence_ms),)
        if self.position_ms - turn.onset_ms >= s.max_turn_s * 1000:
            cues += self._end(turn, 0, "too_long")
        return cues

    def _silent(self, turn: _Turn, murmur: bool = False) -> tuple[Cue, ...]:
        s = self.settings
        silence_ms = self.position_ms - turn.end_ms + self._skipped_ms
        cues: tuple[Cue, ...] = ()
        if not turn.paused and silence_ms >= round((s.pause_s + (s.murmur_s if murmur else 0.0)) * 1000):
            turn.paused = True
            cues = (Cue(CueKind.PAUSED, turn.end_ms, turn.voiced_ms, silence_ms),)
        return cues + self._end(turn, silence_ms, turn.words) if silence_ms >= self._patience_ms(turn) else cues

    def _patience_ms(self, turn: _Turn) -> int:
        s = self.settings
        waits = {"complete": s.silence_s, "unknown": s.unknown_silence_s, "unfinished": s.unfinished_silence_s}
        # The detector's own delay explains 0.16 s of murmur; beyond that, half of it is granted.
        granted_ms = min(max(0, turn.murmur_ms - 160) // 2, round(s.murmur_s * 1000))
        return round(waits[turn.words] * 1000) + granted_ms

    def _end(self, turn: _Turn, silence_ms: int, reason: EndReason) -> tuple[Cue, ...]:
        if turn.voiced_ms >= 300 and not turn.overlap:  # what comes over the assistant may be its echo
            known = self._user_db > SILENT_DB
            self._user_db = (self._user_db + turn.loud_db) / 2 if known else turn.loud_db
        self.reset()
        return (Cue(CueKind.ENDED, turn.end_ms, turn.voiced_ms, silence_ms, reason),)
