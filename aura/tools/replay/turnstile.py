"""Makes the tasks of a conversation go on in the order, and at the times, of a tape.

The counterpart of `session.steps.RecordedSteps`: it stands around each task's coroutine and lets it go on when its
turn on the tape has come; a call to the outside is answered with what the tape says. The clock shows the time of the
steps and jumps from one to the next, so that a conversation runs as fast as its own code.

Steps with the same time belonged to one pass of the event loop, which let deadlines run out before the first of them
and at no other time. So it does here: the clock moves when the last step of a pass is done, and the next one comes no
sooner than the loop has seen the new time.

Between two steps Trio may run tasks in any order: whoever comes too early waits. A task whose turn it is and that
does not come although nobody else can move is a divergence.
"""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Protocol, TypeVar

import trio
import trio.testing

from aura.core import tape
from aura.core.errors import ProviderError
from aura.session.steps import Run, Steps

T = TypeVar("T")


class TapeClock(trio.abc.Clock, trio.abc.Instrument):
    """Shows the time on the tape, and counts the passes of the event loop."""

    def __init__(self, base: float) -> None:
        self.now = base
        self._passes, self._moved = 0, -1

    def start_clock(self) -> None:
        """Nothing to do."""

    def current_time(self) -> float:
        """Seconds on the recorded session's clock."""
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds until then, which nobody will wait for."""
        return deadline - self.now

    def after_io_wait(self, timeout: float) -> None:
        """A pass begins: next, the loop looks at the time and lets deadlines run out."""
        self._passes += 1

    def move(self, to: float) -> None:
        """Show another time."""
        if to != self.now:
            self.now, self._moved = to, self._passes

    def seen(self, at: float) -> bool:
        """Whether this is the time, and the loop has looked at it."""
        return at == self.now and self._passes > self._moved


class Library(Protocol):
    """What calls to the outside gave, as values."""

    def value(self, outcome: tape.Outcome) -> Any:
        """The value, or raises what was raised."""
        ...


class ReplayedSteps(Steps):
    """Runs the tasks of a conversation as a tape says."""

    def __init__(self, steps: Sequence[tape.Step], library: Library, note: Callable[[tape.Note], None]) -> None:
        self.steps, self._library, self._note = steps, library, note
        self.position = 0
        """The step that comes next."""
        self.why = ""
        """How it parted from the tape, if it did."""
        self.over = trio.Event()
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, TapeClock)
        trio.lowlevel.add_instrument(clock)
        self._clock = clock
        if steps:
            clock.move(steps[0].at)
        self._tasks = 0
        self._running = 0
        self._outside: set[int] = set()
        self._parked: dict[int, trio.lowlevel.Task] = {}
        self._names: dict[int, str] = {0: "converse", tape.CUT: "the outside"}

    @property
    def task(self) -> int:
        """Number of the task that is going on."""
        return self._running

    def spawn(self, nursery: trio.Nursery, run: Run, *args: Any) -> None:
        """Start a task of the conversation."""
        self._tasks += 1
        self._names[self._tasks] = stage_of(run, args)
        nursery.start_soon(self._task, self._tasks, run, args, name=run)

    async def root(self, run: Run, *args: Any) -> Any:
        """Run the conversation as its first task."""
        result, failure = None, None
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(self._cut, scope)
                try:
                    result = await self._drive(0, run(*args))
                except Exception as error:  # raised again below, where no nursery wraps it
                    failure = error
            if parked := self._parked.pop(tape.CUT, None):
                trio.lowlevel.reschedule(parked)
        if failure is not None:
            raise failure
        return result

    async def _cut(self, conversation: trio.CancelScope) -> None:
        """Cancel it where it was cancelled from outside then, if it was."""
        if not self._is_due(tape.CUT):
            await self._park(tape.CUT)
        if self._is_next(tape.CUT) and not self.over.is_set():
            self._take(tape.CUT)
            conversation.cancel()
            self._stands()
            self._let_next()

    async def _task(self, number: int, run: Run, args: tuple[Any, ...]) -> None:
        await self._drive(number, run(*args))

    @types.coroutine
    def _drive(self, task: int, inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        outside = self._outside
        result: Any = None
        failure: BaseException | None = None
        while True:
            if task not in outside:
                if not self._is_due(task):
                    yield from self._park(task).__await__()
                step = self._take(task)
                if step is not None and step.outcome is not None:
                    self.part(f"came from {describe_outcome(step.outcome)} then, and has not called it now")
            try:
                trap = inner.send(result) if failure is None else inner.throw(failure)
            except StopIteration as stop:
                return stop.value
            finally:
                self._stands()
                self._let_next()
            try:
                result, failure = (yield trap), None
            except BaseException as error:
                failure = error

    async def seam(self, call: Callable[[], Awaitable[T]], note: Callable[[T], tape.Outcome]) -> T:
        """Take the answer from the tape when its turn has come."""
        task = self._running
        self._outside.add(task)
        if not self._is_due(task):
            await self._park(task)
        if self.over.is_set():
            return await self._beyond(task, call, note)
        outcome = self.steps[self.position].outcome
        if isinstance(outcome, tape.Cancelled):
            try:
                await trio.sleep_forever()
            finally:  # Cancelled is here
                self._take(task, outcome)
        if outcome is None:
            self._running = task
            self.part("called the outside, which it did not then")
            return await self._beyond(task, call, note)
        value: T = self._answer(task, outcome)
        if value is not None:
            note(value)  # for the accounts
        return value

    def _answer(self, task: int, outcome: tape.Outcome) -> Any:
        try:
            value = self._library.value(outcome)
        except BaseException:
            self._take(task, outcome)
            raise
        self._take(task, outcome, value)
        return value

    async def _beyond(self, task: int, call: Callable[[], Awaitable[T]], note: Callable[[T], tape.Outcome]) -> T:
        """There is no tape any more: nobody answers."""
        await trio.sleep_forever()

    def note(self, note: tape.Note) -> None:
        """Compare with what was there to look at."""
        if not self.over.is_set():
            self._note(note)

    # ---- whose turn it is

    def _is_next(self, task: int) -> bool:
        return self.position < len(self.steps) and self.steps[self.position].task == task

    def _is_due(self, task: int) -> bool:
        return self.over.is_set() or (self._is_next(task) and self._clock.seen(self.steps[self.position].at))

    def _let_next(self) -> None:
        """A step is done: who comes next may get ready."""
        if not self.over.is_set() and self.position < len(self.steps):
            self._clock.move(self.steps[self.position].at)
            following = self._parked.pop(self.steps[self.position].task, None)
            if following is not None:
                trio.lowlevel.reschedule(following)

    def _take(self, task: int, outcome: tape.Outcome | None = None, value: Any = None) -> tape.Step | None:
        """It goes on, with this from the outside."""
        self._running = task
        self._outside.discard(task)
        if self.over.is_set():
            self._went(task, outcome, value)
            return None
        step = self.steps[self.position]
        self._went(task, outcome, value)
        self.position += 1
        return step

    def _went(self, task: int, outcome: tape.Outcome | None, value: Any) -> None:
        """A task went on: for those who keep another tape."""

    def _stands(self) -> None:
        """The step is over."""

    async def _park(self, task: int) -> None:
        """Wait for the turn. A cancellation waits too: it is delivered when the task goes on."""
        if self._is_next(task):  # the loop has not seen the time yet: it does before the next pass
            trio.lowlevel.reschedule(trio.lowlevel.current_task())
        else:
            self._parked[task] = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    # ---- the end

    def part(self, why: str) -> None:
        """The conversation does something else than it did."""
        if not self.over.is_set():
            self.why = f"{self._names.get(self._running, 'a task')} {why}"
            self.release()

    def release(self) -> None:
        """Let everybody go: the tape is over."""
        self.over.set()
        for parked in self._parked.values():
            trio.lowlevel.reschedule(parked)
        self._parked.clear()

    async def supervise(self) -> None:
        """Notice that nobody can go on: the tape is over, or its next step does not come."""
        await trio.testing.wait_all_tasks_blocked()
        if self.over.is_set():
            return
        if self.position < len(self.steps):
            self._running = self.steps[self.position].task
            self.part("went on here then, and waits now")
        self.release()


def describe_outcome(outcome: tape.Outcome) -> str:
    """In a few words."""
    kind = type(outcome).__name__
    return {
        "Text": "the client", "Audio": "the client", "Gone": "the client", "Heard": "the recogniser",
        "Noticed": "the recogniser",         "Item": "the model", "Sound": "the voice", "ToolDone": "a tool",
    }.get(kind, f"the outside ({kind})")  # fmt: skip


def stage_of(run: Run, args: tuple[Any, ...]) -> str:
    """A task's name for people: the stage's."""
    for part in (run, *args):
        name = part if isinstance(part, str) else getattr(part, "__name__", "")
        if name and name not in ("_guard", "until_ended"):
            return str(name).strip("_")
    return "a task"


def provider_error(failed: tape.Failed) -> ProviderError:
    """The error as the engine raised it."""
    kinds = [ProviderError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    found = next((kind for kind in kinds if kind.code == failed.code), ProviderError)
    error = found(failed.message, provider=failed.provider, retry_after_s=failed.retry_after_s)
    error.retryable = error.retryable and not failed.spent
    return error
