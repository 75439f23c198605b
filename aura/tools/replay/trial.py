"""A tape run again to find out where it parts from its recording, and where in it nothing was under way.

Like `pipeline.replay`, for tapes in memory, which may have been cut. Each run keeps a tape of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import trio

from aura.core import tape
from aura.core.errors import AuraError
from aura.core.journal import Entry
from aura.core.ports import Voice, VoiceDetector
from aura.providers.observed import observed
from aura.providers.offline import vad
from aura.providers.recorded import recorded_kit
from aura.session.build import Sections, hold
from aura.session.client import Client
from aura.session.desk import Desk
from aura.session.run import watch
from aura.session.session import Fact, Session, Tap
from aura.session.steps import Run
from aura.session.taps import timing_tap
from aura.storage.recordings import Recording
from aura.storage.taping import Taken
from aura.tools.replay.pipeline import (
    Comparison,
    RecordedLine,
    RecordedOutside,
    change,
    leaves,
    recorded_sections,
    who_of,
)
from aura.tools.replay.show import differing
from aura.tools.replay.strip import Pieces, Strip
from aura.tools.replay.turnstile import ReplayedSteps, TapeClock

Detector = Callable[[], VoiceDetector]

CLEAR_DB, ALIKE_DB = 20.0, 1.0
"""Loudness over the background leads to the same decisions if it is above the first, or differs by less."""
LASTING = 7
"""Tasks that go on from the conversation's beginning to its end."""


class Mark(msgspec.Struct, frozen=True):
    """A place on a tape at which nobody has the floor and nothing is under way: the client's next message comes."""

    step: int
    messages: int
    """So many came before it."""
    tasks: int
    """So many were started before it."""
    turn: int
    reply: int
    """Number of the last one."""
    tick: float
    """When the wall clock was last looked at, which happens every so often."""


class Parted(msgspec.Struct, frozen=True):
    """How a run parted from its tape, but for the numbers that depend on what came before."""

    stage: str
    kind: str
    expected: str
    actual: str
    """Names of the two facts."""
    fields: tuple[str, ...]
    """What differs between them."""

    @property
    def says_otherwise(self) -> bool:
        """Whether it was another message to the client, or another request to an engine."""
        return self.kind.startswith(("sent the client", "asked "))


class Heard(NamedTuple):
    """What the conversation thinks of the user's voice before a frame."""

    step: int
    speaking: bool
    voiced_ms: int
    silence_ms: int
    snr_db: float | None

    def alike(self, other: Heard) -> bool:
        """Whether the same will be decided on it."""
        mine, theirs = (min(heard.snr_db or 0.0, CLEAR_DB) for heard in (self, other))
        if not self.speaking and not other.speaking:  # the rest is of the last time
            return True
        return self[1:4] == other[1:4] and abs(mine - theirs) < ALIKE_DB


class Trial(msgspec.Struct, frozen=True):
    """What came of a run."""

    parted: Parted | None
    why: str
    """How it parted, in one line; empty when it did not."""
    step: int
    """The step that came next when it ended."""
    facts: tuple[int, ...]
    """In which step each fact was told that came out equal."""
    began: float
    """The session's clock when the conversation's own began."""
    marks: tuple[Mark, ...]
    expected: Entry | None
    actual: Entry | None
    following: Entry | None
    """The fact that should have come next."""
    sent: int
    asked: int
    """So many messages and calls came out equal."""
    heard: tuple[Heard, ...]
    """What was made of each frame of the user's audio, and what the last state of it was."""
    kept: tuple[Taken, ...]
    """The tape that the run itself made."""


class Told(Comparison):
    """Compares, and remembers in which step each fact was told."""

    def __init__(self, strip: Strip) -> None:
        super().__init__(strip.kept, strip.read)
        self.told: list[int] = []
        self.asked = 0

    def fact(self, fact: Fact) -> None:
        """A tap on the conversation."""
        before = self.facts
        super().fact(fact)
        if self.facts > before:
            self.told.append(self.steps.position - 1)

    def note(self, note: tape.Note) -> None:
        """A call to an engine begins."""
        super().note(note)
        if isinstance(note, tape.Call) and not self.steps.why:
            self.asked += 1


class Ear:
    """A detector, in front of which somebody looks at what was heard so far."""

    def __init__(self, inner: VoiceDetector, look: Callable[[], None]) -> None:
        self._inner, self._look = inner, look

    def step(self, frame: bytes) -> Voice:
        """Judge one frame."""
        self._look()
        return self._inner.step(frame)

    def reset(self) -> None:
        """Forget the past."""
        self._inner.reset()


class TrialSteps(ReplayedSteps):
    """Keeps a tape, and notes where nothing is under way."""

    session: Session

    def __init__(self, strip: Strip, comparison: Told, recording: Recording) -> None:
        super().__init__(strip.read.steps, RecordedOutside(Pieces(strip.audio)), comparison.note)  # type: ignore[arg-type]
        self._recording = recording
        self._alive: set[int] = set()
        self.marks: list[Mark] = []
        self.heard: list[Heard] = []
        self.messages = self.reply = 0
        self.tick = 0.0
        self.parted = ("", "")
        """Stage and kind."""

    def spawn(self, nursery: trio.Nursery, run: Run, *args: Any) -> None:
        """Start a task of the conversation."""
        super().spawn(nursery, run, *args)
        self._alive.add(self._tasks)

    async def _task(self, number: int, run: Run, args: tuple[Any, ...]) -> None:
        try:
            await super()._task(number, run, args)
        finally:
            self._alive.discard(number)

    def _went(self, task: int, outcome: tape.Outcome | None, value: Any) -> None:
        if self.over.is_set():
            return
        at = self.steps[self.position].at
        if outcome is None:
            self._recording.step(at, task)
            self.tick = at if self._names.get(task) == watch.__name__ else self.tick
            return
        if isinstance(outcome, tape.Text | tape.Audio):
            if self._quiet(at):
                self._mark()
            self.messages += 1
        if isinstance(outcome, tape.Audio):
            outcome = self._recording.received(value)
        self._recording.outcome(at, task, tape.RawSound(value) if isinstance(outcome, tape.Sound) else outcome)

    def look(self) -> None:
        """Note what is thought of the user's voice."""
        taker = self.session.listener.taker
        self.heard.append(Heard(self.position - 1, taker.speaking, taker.voiced_ms, taker.silence_ms, taker.snr_db))

    def _mark(self) -> None:
        turn = self.session.conversation.turn
        self.marks.append(Mark(self.position, self.messages, self._tasks, turn, self.reply, self.tick))

    def _quiet(self, at: float) -> bool:
        if self.steps[self.position - 1].at == at:  # in the midst of a pass of the event loop
            return False
        talk = self.session.conversation
        return talk.state == "idle" and not talk.reply and not talk.draft and self._alive <= set(range(LASTING + 1))

    def note(self, note: tape.Note) -> None:
        """Compare, and keep."""
        super().note(note)
        if not self.over.is_set():
            self._recording.note(note)

    def part(self, why: str) -> None:
        """The conversation does something else than it did."""
        if not self.over.is_set():
            self.parted = (self._names.get(self._running, "a task"), " ".join(why.split(" ")[:3]))
        super().part(why)


def make_detector(sections: Sections) -> Detector:
    """The real detector."""
    if sections.vad.detector == "silero":
        vad.load_model()
    return lambda: vad.make_detector(sections.vad)


def run(strip: Strip, detector: Detector | None = None) -> Trial:
    """Run a strip again. Raises AuraError."""
    return trio.run(_run, strip, detector, clock=TapeClock(strip.read.header.base))


async def _run(strip: Strip, detector: Detector | None) -> Trial:
    header = strip.read.header
    sections = recorded_sections(strip.read)
    recording = Recording(Path(), header, lambda _: True)
    comparison = Told(strip)
    steps = comparison.steps = TrialSteps(strip, comparison, recording)
    make = detector or make_detector(sections)
    kit = observed(recorded_kit(header, lambda: Ear(make(), steps.look)), steps, lambda _: None)

    def send(message: str | bytes) -> None:
        comparison.message(message)
        if not steps.over.is_set():
            recording.sent((message,))

    line = RecordedLine(steps, send)
    here: list[tuple[Session, Desk, float]] = []

    def begun(session: Session, desk: Desk) -> None:
        steps.session = session
        here.append((session, desk, trio.current_time()))

    def note(fact: Fact) -> None:
        steps.reply = max(steps.reply, *(getattr(effect, "reply", 0) for effect in fact.step.effects), 0)
        if fact.n == header.from_fact and header.from_fact:
            change(*here[0][:2], msgspec.convert(header.changed, Sections))

    def taps(client: Client) -> list[Tap]:
        return [comparison.fact, timing_tap(client.metrics), note]

    await _hold(steps, sections, who_of(header), kit, line, steps, taps, (), begun)
    if here:
        steps.look()
    began = here[0][2] if here else header.base
    parted = _parted(steps, comparison, began)
    return Trial(
        parted, steps.why, steps.position, tuple(comparison.told), began,
        tuple(steps.marks), comparison.expected, comparison.actual, next(iter(strip.entries[comparison.facts :]), None),
        comparison.messages, comparison.asked, tuple(steps.heard), tuple(recording.waiting),
    )  # fmt: skip


async def _hold(steps: TrialSteps, *conversation: Any) -> None:
    """Hold the conversation until the tape is over."""
    run: Run = hold
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steps.supervise)

            async def converse() -> None:
                await steps.root(run, *conversation)
                steps.release()

            nursery.start_soon(converse)
            await steps.over.wait()
            nursery.cancel_scope.cancel()
    except* AuraError as errors:
        raise next(leaves(errors)) from None


def _parted(steps: TrialSteps, comparison: Told, began: float) -> Parted | None:
    expected, actual = comparison.expected, comparison.actual
    entries, facts = comparison.entries, comparison.facts
    if not steps.why:
        steps.why = comparison.left_over()
        steps.parted = ("", steps.why)
        expected = comparison.expected
    if not steps.why:
        if facts >= len(entries) or began + entries[facts].at > steps.steps[-1].at + 1e-6:
            return None
        steps.why = "it is not told any more"
        steps.parted = ("", "is not told")
        expected = entries[facts]
    told = [type(entry.event).__name__ if entry else "" for entry in (expected, actual)]
    fields = differing(expected, actual) if expected or actual else []
    return Parted(*steps.parted, told[0], told[1], tuple(name for name in fields if name not in ("n", "at")))


def one_line(trial: Trial) -> str:
    """A divergence in one line; empty when there is none."""
    if trial.parted is None:
        return ""
    where = f"fact {len(trial.facts) + 1}: {trial.why}"
    then, now = trial.expected, trial.actual
    if then and now:
        return f"{where}: {changes(then, now)}"
    if now:
        return f"{where}: {now.event}"
    return f"{where}; then it was told: {trial.following.event}" if trial.following else where


def changes(then: Entry, now: Entry) -> str:
    """What differs between two facts, in few words."""
    if type(then.event) is not type(now.event):
        return f"{now.event}, then it was {then.event}"
    pairs = [(name, getattr(then.event, name), getattr(now.event, name)) for name in then.event.__struct_fields__]
    pairs += [(name, getattr(then, name), getattr(now, name)) for name in differing(then, now) if name != "event"]
    return f"{type(now.event).__name__}, " + ", ".join(
        f"{name} {was} → {is_}" for name, was, is_ in pairs if was != is_
    )
