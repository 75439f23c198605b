"""The third depth of a replay: as it was up to a fact, and from there on with something changed.

Up to that fact the tape rules, as in `pipeline`. Then it lets go: the tasks run freely in virtual time, the client
sends what it sent then, when it sent it, and the engines answer what they answered then where they are asked the same
(`answers`). The branch is recorded like any conversation: it can be replayed, looked at and compared.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio
import trio.testing

from aura import config
from aura.core import journal, tape
from aura.core.errors import AuraError
from aura.core.journal import Entry, Header
from aura.core.ports import Kit
from aura.providers import registry
from aura.providers.http import open_http
from aura.providers.observed import CallDone, observed
from aura.providers.offline import vad
from aura.providers.tools.opening import open_tools
from aura.session.build import JOURNALLED, Sections, hold
from aura.session.client import Client
from aura.session.desk import Desk
from aura.session.line import Ended, Received
from aura.session.session import Fact, Session, Tap
from aura.session.steps import Run, describe
from aura.session.taps import journal_tap, timing_tap
from aura.storage.recordings import Job, Recording, write_all
from aura.storage.tapes import Sounds, Tape, read_tape
from aura.storage.taping import finish
from aura.tools.replay.answers import Answers, branch_kit
from aura.tools.replay.pipeline import RecordedOutside, append_message, change, leaves, recorded_sections, who_of
from aura.tools.replay.turnstile import ReplayedSteps, TapeClock

T = TypeVar("T")
REACTIONS = ('"aura.playout.ack"', '"conversation.item.truncate"')
"""Messages with which a client tells what it has played: those of the recording are not true in a branch."""
READY_S = 10.0
"""Longest wait for the offline recogniser to start."""
PARTS: tuple[registry.Part, ...] = ("stt", "chat", "tts")


class Plan(msgspec.Struct, frozen=True):
    """What is to be different."""

    from_fact: int = 0
    """The last fact that comes from the tape; 0: everything is run anew."""
    sections: Sections | None = None
    """Settings from there on; None: as they were."""
    edits: dict[str, str] = {}
    """Words of the user to be replaced: old → new."""
    engines: str = "offline"
    """Who answers what the recording does not know: `offline`, or `configured` for the engines of the settings."""


class Branched(msgspec.Struct, frozen=True):
    """What came of it."""

    folder: Path
    entries: tuple[Entry, ...]
    calls: tuple[CallDone, ...]
    asked: dict[str, int]
    """Who answered: `chat recorded`, `stt offline`, …."""
    left_out: int
    """Messages of the client that had no meaning in the branch."""
    took_s: float
    why: str = ""
    """How it parted from the tape before the branch, if it did: then it says nothing."""


class BranchClock(TapeClock):
    """Virtual time that runs like real time while something real is waited for."""

    def __init__(self, base: float) -> None:
        super().__init__(base)
        self._since: float | None = None
        self._frozen: float | None = None
        self._pass, self._shown = base, True

    def after_io_wait(self, timeout: float) -> None:
        """A pass begins: its time is that of all steps in it (as in `session.steps.StepClock`)."""
        super().after_io_wait(timeout)
        self._pass, self._shown = self.real_time(), False

    def current_time(self) -> float:
        """Seconds on the recorded session's clock."""
        if self._frozen is not None:
            return self._frozen
        if not self._shown:
            self._shown = True
            return self._pass
        return self.real_time()

    def real_time(self) -> float:
        """The same, also within a step."""
        return self.now if self._since is None else self.now + time.perf_counter() - self._since

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds until then."""
        return deadline - self.current_time()

    def run(self) -> None:
        """Go on in real time."""
        if self._since is None:
            self._since = time.perf_counter()

    def hold(self) -> None:
        """Stand still."""
        self.now, self._since = self.real_time(), None

    def rewind(self, to: float) -> None:
        """Stand still at an earlier time, as if nothing had been since."""
        self.now = self._pass = to
        self._since = None

    def freeze(self) -> float:
        """Stand still within a step."""
        self._frozen = self._pass
        return self._pass

    def thaw(self) -> None:
        """The step is over."""
        self._frozen = None


class BranchSteps(ReplayedSteps):
    """Lets go of the tape at a fact, and keeps a tape of its own all the time."""

    def __init__(self, read: Tape, note: Callable[[tape.Note], None], recording: Recording) -> None:
        self._sounds = Sounds(read.folder)
        super().__init__(read.steps, RecordedOutside(self._sounds), note)
        self.recording = recording
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, BranchClock)
        self.clock = clock
        self._real_calls = 0
        self._settled = trio.Event()

    def note(self, note: tape.Note) -> None:
        """Compare while the tape rules; keep it."""
        super().note(note)
        self.recording.note(note)

    def _went(self, task: int, outcome: tape.Outcome | None, value: Any) -> None:
        at = self.clock.freeze()
        if outcome is None:
            self.recording.step(at, task)
        elif isinstance(outcome, tape.Audio):
            self.recording.outcome(at, task, self.recording.received(value))
        else:
            self.recording.outcome(at, task, tape.RawSound(value) if isinstance(outcome, tape.Sound) else outcome)

    def _stands(self) -> None:
        self.clock.thaw()

    async def _beyond(self, task: int, call: Callable[[], Awaitable[T]], note: Callable[[T], tape.Outcome]) -> T:
        if self.why:  # it parted before the branch: nobody answers
            await trio.sleep_forever()
        self._outside.add(task)
        self.clock.thaw()
        try:
            value = await call()
        except BaseException as error:
            self._take(task, describe(error))
            raise
        self._outside.discard(task)
        self._running = task
        self.recording.outcome(self.clock.freeze(), task, note(value))
        return value

    async def real(self, call: Callable[[], Awaitable[T]], *, takes_s: float | None = None) -> T:
        """Await something that takes real time, or is to have taken `takes_s`."""
        self._real_calls += 1
        if takes_s is None:
            self.clock.run()
        try:
            value = await call()
        finally:
            self._real_calls -= 1
            if not self._real_calls:
                self.clock.hold()
                self._settled.set()
                self._settled = trio.Event()
        await trio.sleep(takes_s or 0.0)
        return value

    async def supervise(self) -> None:
        """As the tape says, then from deadline to deadline."""
        await super().supervise()
        while True:
            await (self._settled.wait() if self._real_calls else trio.testing.wait_all_tasks_blocked())
            left = trio.lowlevel.current_statistics().seconds_to_next_deadline
            if not self._real_calls and 0 < left < float("inf"):
                self.clock.now += left


FROM_CLIENT = (tape.Text, tape.Audio, tape.Gone, tape.Lost, tape.Back)


class BranchLine:
    """The client of a branch: on tape, then by itself, sending what it sent then."""

    def __init__(self, steps: BranchSteps, read: Tape, edits: Callable[[str], str]) -> None:
        self._steps, self._edits = steps, edits
        self._sounds = Sounds(read.folder)
        self._rest = iter([step for step in read.steps if isinstance(step.outcome, FROM_CLIENT)])
        self._at = 0.0
        self.left_out = 0
        self.end_s = read.steps[-1].at if read.steps else read.header.base

    async def receive(self) -> Received:
        """The next message; raises Ended."""
        message: Received = await self._steps.seam(self._next, self._steps.recording.received)
        if not self._steps.over.is_set():
            self._at = trio.current_time()
        return message

    async def _next(self) -> Received:
        for step in self._rest:
            data = b""
            if isinstance(step.outcome, tape.Audio):
                data = self._sounds.take(f"in.{step.outcome.format}", step.outcome.bytes)
            if step.at <= self._at:
                continue  # the tape gave it
            await trio.sleep_until(step.at)
            match step.outcome:
                case tape.Audio(_, _, binary, event_id):
                    return data if binary else append_message(data, event_id)
                case tape.Text(text) if any(reaction in text[:200] for reaction in REACTIONS):
                    self.left_out += 1
                case tape.Text(text):
                    return self._edits(text)
                case tape.Gone(why):
                    raise Ended(why)
                case tape.Lost() | tape.Back():
                    return step.outcome
        await trio.sleep_until(self.end_s)
        raise Ended("the recording ends here")

    def switch(self) -> None:
        """There is but one line."""

    async def send(self, *messages: str | bytes) -> None:
        """A message to the client."""
        self._steps.recording.sent(messages)
        await self._steps.seam(_sent, lambda _: tape.Done())


async def _sent() -> None:
    await trio.lowlevel.checkpoint()


def branch(folder: Path, plan: Plan, settings: config.Config, out: Path) -> Branched:
    """Run a recorded conversation with something changed; `out` becomes its recording. Raises AuraError."""
    read = read_tape(folder)
    return trio.run(_branch, read, plan, settings, out, clock=BranchClock(read.header.base))


async def _branch(read: Tape, plan: Plan, settings: config.Config, out: Path) -> Branched:
    before = recorded_sections(read)
    after = plan.sections or before
    first = before if plan.from_fact else after
    if after.vad.detector == "silero":
        vad.load_model()
    name = f"{read.header.session}-{out.name}"
    header = msgspec.structs.replace(
        read.header, settings=msgspec.to_builtins(first), from_fact=plan.from_fact, changed=msgspec.to_builtins(after)
    )
    recording = Recording(out, header, lambda _: True)
    lines = [journal.encode(Header(name, read.header.started, {k: header.settings[k] for k in JOURNALLED}))]
    same_part = after.assistant.instructions == before.assistant.instructions
    answers = Answers(read, plan.edits, same_part=same_part)
    steps = BranchSteps(read, lambda _: None, recording)
    line = BranchLine(steps, read, answers.edited)
    here: list[tuple[Session, Desk]] = []
    entries: list[Entry] = []
    calls: list[CallDone] = []

    def let_go(fact: Fact) -> None:
        if fact.n == plan.from_fact:
            steps.release()
            change(*here[0], after)

    def keep(line: bytes) -> None:
        lines.append(line)
        entries.extend(journal.decode(lines[0] + line).entries)

    def taps(client: Client) -> list[Tap]:
        return [journal_tap(keep, words=True), timing_tap(client.metrics), let_go]

    began = time.perf_counter()
    async with engines(plan.engines, settings, lambda: vad.make_detector(after.vad)) as real:
        kit = observed(branch_kit(read, answers, steps.real, real), steps, calls.append)
        if not plan.from_fact:
            steps.release()
        who = who_of(read.header)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(steps.supervise)
                run: Run = hold
                why = await steps.root(
                    run, first, who, kit, line, steps, taps, (), lambda session, desk: here.append((session, desk))
                )
                nursery.cancel_scope.cancel()
        except* AuraError as errors:
            raise next(leaves(errors)) from None
    recording.close(str(why))
    await trio.to_thread.run_sync(save, recording, b"".join(lines))
    took = time.perf_counter() - began
    return Branched(out, tuple(entries), tuple(calls), dict(answers.asked), line.left_out, took, steps.why)


def save(recording: Recording, lines: bytes) -> None:
    """Write the branch's own recording."""
    recording.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    (recording.folder / "journal.jsonl").write_bytes(lines)
    ((error, _),) = write_all([Job(recording.folder, recording.scribe, recording.waiting)])
    if error:
        raise AuraError(f"{recording.folder}: {error}")
    finish(recording.folder)


@asynccontextmanager
async def engines(which: str, settings: config.Config, detector: Callable[[], Any]) -> AsyncIterator[Kit]:
    """Real engines, for what the recording does not know."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, BranchClock)
    base = clock.now
    clock.run()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_http(settings.http))
        made: list[Any] = []
        for part in PARTS:
            offline = registry.choose(part, "offline", settings, {})
            one = settings.chosen(part)[0] if which == "configured" else offline
            made.append(await stack.enter_async_context(registry.open_part(part, one, http)))
        ready = getattr(made[0], "why_not_ready", lambda: None)
        with trio.move_on_after(READY_S):
            while ready():  # noqa: ASYNC110  (another process: nobody sets an event)
                await trio.sleep(0.05)
        toolbox = await stack.enter_async_context(open_tools(settings.tools))
        clock.rewind(base)
        yield Kit(made[0], made[1], made[2], made[2], detector, toolbox)
        clock.run()


JITTER_MS = 40
"""Times in facts that differ by less are the same: a recording has the jitter of its machine, a branch has none."""


def parted_at(left: Sequence[Entry], right: Sequence[Entry]) -> journal.Divergence | None:
    """Where a branch and its recording part: the first fact that is another one, or leads to something else."""
    steadied = [steady(mine, theirs) for mine, theirs in zip(right, left, strict=False)]
    return journal.first_divergence(left, [*steadied, *right[len(steadied) :]], ignore=("at",))


def steady(entry: Entry, like: Entry) -> Entry:
    """The entry with the other's times where they are nearly the same."""
    event, other = entry.event, like.event
    if type(event) is not type(other):
        return entry
    pairs = {name: (getattr(event, name), getattr(other, name)) for name in event.__struct_fields__ if "_ms" in name}
    near = {name: theirs for name, (mine, theirs) in pairs.items() if abs(mine - theirs) < JITTER_MS}
    return msgspec.structs.replace(entry, event=msgspec.structs.replace(event, **near)) if near else entry
