"""Who runs a conversation's tasks: plainly, or so that every step of theirs is on the tape.

Between two awaits nothing else runs, so a conversation is decided by the order in which its tasks go on, by the time
each sees, and by what calls to the outside give. `RecordedSteps` notes these three and nothing more. It stands around
each task's coroutine and passes on what that tells Trio; a stage does not know of it. `tools/replay` has the third
kind, which makes the tasks go on in the order of a tape.
"""

from __future__ import annotations

import random
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

import trio

from aura.core import tape
from aura.core.errors import ProviderError
from aura.session.line import Ended, Interrupted, Line, Received

T = TypeVar("T")
Run = Callable[..., Coroutine[Any, Any, Any]]


class StepClock(trio.abc.Clock, trio.abc.Instrument):
    """Real time that, for recorded conversations, stands still within a pass of the event loop.

    It is the number by which the loop lets deadlines run out in that pass. With it on the tape a replay lets the same
    ones run out before the same steps: a task whose deadline and whose answer come together is decided as it was.
    """

    def __init__(self) -> None:
        self._offset = random.uniform(10_000, 1_000_000) - time.perf_counter()
        self._frozen: float | None = None
        self._pass: float | None = None
        self._shown = True
        """Whether the loop has asked for the time of this pass."""

    def start_clock(self) -> None:
        """Nothing to do."""

    def after_io_wait(self, timeout: float) -> None:
        """A pass begins. The loop asks for the time next."""
        self._pass, self._shown = self.real_time(), False

    def real_time(self) -> float:
        """Now, whatever stands still."""
        return self._offset + time.perf_counter()

    def current_time(self) -> float:
        """Now, in seconds."""
        if self._frozen is not None:
            return self._frozen
        if not self._shown and self._pass is not None:
            self._shown = True
            return self._pass
        return self._offset + time.perf_counter()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds until then."""
        return deadline - self.current_time()

    def freeze(self) -> float:
        """Stand still; returns the time of the pass. Needs to be an instrument of the loop."""
        if self._pass is None:  # it became one within this pass
            self._pass = self.real_time()
        self._frozen = self._pass
        return self._pass

    def thaw(self) -> None:
        """Go on."""
        self._frozen = None


class Steps:
    """Runs the tasks of a conversation that is not recorded: nothing is noted."""

    def spawn(self, nursery: trio.Nursery, run: Run, *args: Any) -> None:
        """Start a task of the conversation."""
        nursery.start_soon(run, *args)

    async def root(self, run: Run, *args: Any) -> Any:
        """Run the conversation as its first task."""
        return await run(*args)

    async def seam(self, call: Callable[[], Awaitable[T]], note: Callable[[T], tape.Outcome]) -> T:
        """Call the outside and await it; `note` says how its result stands on the tape."""
        return await call()

    def note(self, note: tape.Note) -> None:
        """Put something on the tape that is there to look at."""

    @property
    def task(self) -> int:
        """Number of the task that is going on."""
        return 0


class TapeSink(Protocol):
    """Takes what happens, in order; never waits, never raises."""

    def step(self, at: float, task: int) -> None:
        """A task goes on."""
        ...

    def outcome(self, at: float, task: int, outcome: tape.Outcome) -> None:
        """A task goes on out of a call to the outside."""
        ...

    def note(self, note: tape.Note) -> None:
        """Something to look at."""
        ...


class MessageSink(Protocol):
    """Takes the messages of the connection."""

    def received(self, message: Received) -> tape.Outcome:
        """A message of the client, or what became of its connection, as it stands on the tape."""
        ...

    def sent(self, messages: tuple[str | bytes, ...]) -> None:
        """Messages go to the client now."""
        ...


class RecordedSteps(Steps):
    """Runs the tasks of a conversation and puts each of their steps on the tape.

    The process must run on a `StepClock` (or in virtual time).
    """

    def __init__(self, sink: TapeSink) -> None:
        self._sink = sink
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, StepClock):
            trio.lowlevel.add_instrument(clock)
        self._freeze = clock.freeze if isinstance(clock, StepClock) else clock.current_time
        self._thaw = clock.thaw if isinstance(clock, StepClock) else lambda: None
        self._tasks = 0
        self._running = 0
        self._over = False
        self._outside: set[int] = set()
        """Tasks inside a call to the outside."""

    @property
    def task(self) -> int:
        """Number of the task that is going on."""
        return self._running

    def spawn(self, nursery: trio.Nursery, run: Run, *args: Any) -> None:
        """Start a task of the conversation."""
        self._tasks += 1
        nursery.start_soon(self._task, self._tasks, run, args, name=run)

    async def root(self, run: Run, *args: Any) -> Any:
        """Run the conversation as its first task, number 0. When all around it is cancelled, the tape says where."""
        result, failure = None, None
        async with trio.open_nursery() as nursery:
            with trio.CancelScope(shield=True) as scope:
                nursery.start_soon(self._cut, scope)
                try:
                    result = await self._drive(0, run(*args))
                except Exception as error:  # raised again below, where no nursery wraps it
                    failure = error
                finally:
                    self._over = True
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return result

    async def _cut(self, conversation: trio.CancelScope) -> None:
        """Hand on a cancellation from outside, which would reach every task at another point."""
        try:
            await trio.sleep_forever()
        finally:
            if not self._over:
                self._sink.step(self._freeze(), tape.CUT)
                conversation.cancel()
                self._thaw()

    async def _task(self, number: int, run: Run, args: tuple[Any, ...]) -> None:
        await self._drive(number, run(*args))

    @types.coroutine
    def _drive(self, task: int, inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a coroutine as Trio would, with a note whenever it goes on."""
        outside, sink = self._outside, self._sink
        result: Any = None
        failure: BaseException | None = None
        while True:
            if task not in outside:
                sink.step(self._freeze(), task)
                self._running = task
            try:
                trap = inner.send(result) if failure is None else inner.throw(failure)
            except StopIteration as stop:
                return stop.value
            finally:
                self._thaw()
            try:
                result, failure = (yield trap), None
            except BaseException as error:  # Trio's Cancelled and whatever else it delivers belongs to the coroutine
                failure = error

    async def seam(self, call: Callable[[], Awaitable[T]], note: Callable[[T], tape.Outcome]) -> T:
        """Call the outside, in which time goes on, and put the outcome on the tape."""
        task = self._running
        self._outside.add(task)
        self._thaw()
        try:
            value = await call()
        except BaseException as error:
            self._back(task, describe(error))
            raise
        self._back(task, note(value))
        return value

    def _back(self, task: int, outcome: tape.Outcome) -> None:
        self._outside.discard(task)
        self._sink.outcome(self._freeze(), task, outcome)
        self._running = task

    def note(self, note: tape.Note) -> None:
        """Put something on the tape that is there to look at."""
        self._sink.note(note)


def only_cancelled(error: BaseException) -> bool:
    """Whether this is Trio's cancellation and nothing else; a nursery inside an engine puts it into groups."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


def describe(error: BaseException) -> tape.Outcome:
    """What was raised by a call to the outside."""
    if only_cancelled(error):
        return tape.Cancelled()
    if isinstance(error, StopAsyncIteration):
        return tape.Stop()
    if isinstance(error, Ended):
        return tape.Gone(str(error))
    if isinstance(error, Interrupted):
        return tape.Interrupted()
    if isinstance(error, ProviderError):
        spent = type(error).retryable and not error.retryable
        return tape.Failed(error.code, str(error), error.provider, error.retry_after_s, spent)
    return tape.Crashed(f"{type(error).__name__}: {error}")


class RecordedLine:
    """A client's connection, with all that passes on the tape."""

    def __init__(self, line: Line, steps: Steps, sink: MessageSink) -> None:
        self._line, self._steps, self._sink = line, steps, sink

    async def receive(self) -> Received:
        """The next message, or what became of the connection; raises Ended."""
        return await self._steps.seam(self._line.receive, self._sink.received)

    def switch(self) -> None:
        """Use the new connection from now on."""
        self._line.switch()

    async def send(self, *messages: str | bytes) -> None:
        """Send messages; raises Ended or Interrupted."""
        self._sink.sent(messages)
        await self._steps.seam(lambda: self._line.send(*messages), lambda _: tape.Done())
