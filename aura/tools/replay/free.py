"""A recorded input run freely in virtual time: the client's messages, all or some of them, and engines that remember.

There is no tape whose order rules: what comes out is what this AURA makes of the input. The run keeps a tape of its
own, so it becomes an exact recording like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import trio

from aura.core import journal, tape
from aura.core.errors import AuraError
from aura.core.journal import Entry, Header
from aura.providers.observed import observed
from aura.session.build import JOURNALLED, hold
from aura.session.client import Client
from aura.session.line import Ended, Received
from aura.session.session import Tap
from aura.session.taps import journal_tap, timing_tap
from aura.storage.recordings import Recording
from aura.storage.tapes import Sounds, Tape, read_tape
from aura.tools.replay.branch import BranchClock, BranchSteps, save
from aura.tools.replay.pipeline import append_message, leaves, recorded_sections, who_of
from aura.tools.replay.stand_ins import Memory, StandIns, stand_in_kit
from aura.tools.replay.trial import Detector, make_detector


class Message(msgspec.Struct, frozen=True, eq=False):
    """Something the client did."""

    then: float
    """When, in the recorded conversation (the session's clock, seconds)."""
    outcome: tape.Text | tape.Audio | tape.Gone | tape.Lost | tape.Back
    audio: bytes = b""

    @property
    def payload(self) -> Received:
        """The message as it comes in. Raises Ended when it is the end."""
        match self.outcome:
            case tape.Audio(_, _, binary, event_id):
                return self.audio if binary else append_message(self.audio, event_id)
            case tape.Text(text):
                return text
            case tape.Gone(why):
                raise Ended(why)
            case tape.Lost() | tape.Back():
                return self.outcome


class Input(msgspec.Struct, frozen=True):
    """What a recorded conversation can be run from."""

    read: Tape
    entries: tuple[Entry, ...]
    memory: Memory
    messages: tuple[Message, ...]
    end: float
    """The recorded conversation's end."""


class Planned(msgspec.Struct, frozen=True):
    """A message and when it is to come."""

    at: float
    message: Message


def input_of(folder: Path) -> Input:
    """The input of a recording. Raises AuraError when it cannot be read."""
    read = read_tape(folder)
    entries = journal.decode((folder / "journal.jsonl").read_bytes()).entries
    sounds = Sounds(folder)
    messages = []
    for step in read.steps:
        match step.outcome:
            case tape.Audio(size, form):
                messages.append(Message(step.at, step.outcome, sounds.take(f"in.{form}", size)))
            case tape.Text() | tape.Gone() | tape.Lost() | tape.Back():
                messages.append(Message(step.at, step.outcome))
    sounds.close()
    memory = Memory(read, entries, recorded_sections(read).think.tool_s)
    return Input(read, entries, memory, tuple(messages), read.steps[-1].at if read.steps else read.header.base)


def at_their_times(messages: Sequence[Message]) -> list[Planned]:
    """Every message when it came then."""
    return [Planned(message.then, message) for message in messages]


def pulled_together(all_: Sequence[Message], kept: Sequence[Message], base: float) -> list[Planned]:
    """Every message as long after the one before it as it came after its own predecessor then."""
    before = [base, *(message.then for message in all_)]
    since = {message: message.then - then for message, then in zip(all_, before, strict=False)}
    at = base
    plan = []
    for message in kept:
        at += since[message]
        plan.append(Planned(at, message))
    return plan


class FreeLine:
    """The client: sends what is planned, then waits for the end."""

    def __init__(self, steps: BranchSteps, plan: Sequence[Planned], end: float) -> None:
        self._steps, self._end = steps, end
        self._plan = iter(plan)
        self.later_s = 0.0
        """How much later than then the last message came."""

    async def receive(self) -> Received:
        """The next message; raises Ended."""
        return await self._steps.seam(self._next, self._steps.recording.received)

    async def _next(self) -> Received:
        planned = next(self._plan, None)
        await trio.sleep_until(planned.at if planned else self._end)
        if planned is None:
            raise Ended("closed 1000")
        self.later_s = planned.at - planned.message.then
        return planned.message.payload

    def switch(self) -> None:
        """There is but one line."""

    async def send(self, *messages: str | bytes) -> None:
        """A message to the client."""
        self._steps.recording.sent(messages)
        await self._steps.seam(trio.lowlevel.checkpoint, lambda _: tape.Done())


class Ran(msgspec.Struct, frozen=True):
    """What came of it."""

    entries: tuple[Entry, ...]
    invented: int
    """Requests to engines that nobody answered in the recording."""


def run(
    given: Input,
    plan: Sequence[Planned],
    end: float,
    *,
    until: Callable[[Entry], bool] = lambda _: False,
    out: Path | None = None,
    detector: Detector | None = None,
) -> Ran:
    """Run messages until the client leaves at `end`, or a fact is told that `until` wants; `out` gets a recording.

    Raises AuraError.
    """
    return trio.run(_run, given, plan, end, until, out, detector, clock=BranchClock(given.read.header.base))


async def _run(
    given: Input,
    plan: Sequence[Planned],
    end: float,
    until: Callable[[Entry], bool],
    out: Path | None,
    detector: Detector | None,
) -> Ran:
    sections = recorded_sections(given.read)
    header = msgspec.structs.replace(given.read.header, from_fact=0, changed={})
    recording = Recording(out or given.read.folder, header, lambda _: True)
    steps = BranchSteps(Tape(given.read.folder, header, ()), lambda _: None, recording)
    line = FreeLine(steps, plan, end)
    engines = StandIns(given.memory, lambda: trio.current_time() - line.later_s)
    lines = [journal.encode(Header(header.session, header.started, {k: header.settings[k] for k in JOURNALLED}))]
    entries: list[Entry] = []
    kit = observed(stand_in_kit(engines, detector or make_detector(sections)), steps, lambda _: None)
    steps.release()
    why = ""
    try:
        async with trio.open_nursery() as nursery:

            def keep(line: bytes) -> None:
                lines.append(line)
                entries.extend(journal.decode(lines[0] + line).entries)
                if until(entries[-1]):
                    nursery.cancel_scope.cancel()

            def taps(client: Client) -> list[Tap]:
                return [journal_tap(keep, words=True), timing_tap(client.metrics)]

            nursery.start_soon(steps.supervise)
            why = await steps.root(hold, sections, who_of(header), kit, line, steps, taps)
            nursery.cancel_scope.cancel()
    except* AuraError as errors:
        raise next(leaves(errors)) from None
    if out is not None:
        recording.close(str(why))
        await trio.to_thread.run_sync(save, recording, b"".join(lines))
    return Ran(tuple(entries), engines.invented)
