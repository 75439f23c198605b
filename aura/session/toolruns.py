"""The calls of the server's functions: side by side, each under its deadline, each once for one turn.

A run is a task of the conversation, not of the reply that asked for it. So it can outlive the reply where it must: a
retry that stands in for a failed reply goes on with what is running, and a function that is marked to finish goes on
when the user interrupts. What nobody waits for any more is cancelled.

What the history keeps of a call is always a pair, the call and its result, as engines demand it. An ordinary call is
entered with its result; one that finishes whatever happens when it begins, its result at the same place when it is
there. So what comes too late for a cancelled turn is never taken for something that the next turn asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.dialogue import Dialogue
from aura.core.ports import Tool, ToolBox, ToolCall, ToolHost, ToolResult
from aura.session.reply import Reply
from aura.session.steps import Steps
from aura.stages.filler import Spoken
from aura.stages.think import ThinkSettings

log = structlog.get_logger()

Key = tuple[str, str]
"""Name and arguments of a call."""


class Run:
    """One call of a function."""

    def __init__(self, call: ToolCall, tool: Tool, order: fx.StartReply, calls: Calls) -> None:
        self.call, self.tool, self.order, self.calls = call, tool, order, calls
        self.key = key_of(call)
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.began: float | None = None
        self.result = ToolResult(f"{call.name} was cancelled", "cancelled")

    @property
    def owner(self) -> int:
        """The reply that waits for it, or else the one that asked for it."""
        return self.calls.owner or self.order.reply


class Calls:
    """What a reply, and those that stood in for it before, had run."""

    def __init__(self, limit: int) -> None:
        self.owner = 0
        """The reply that waits for the results; 0: none does."""
        self.runs: dict[Key, list[Run]] = {}
        self.asked: Counter[Key] = Counter()
        """How often the owner has asked for each."""
        self.slots = trio.Semaphore(limit)
        self.spoken = Spoken()
        self.changed: Callable[[], None] = lambda: None
        """Told when a run begins or ends."""

    def running(self) -> list[Run]:
        """The runs that are not over."""
        return [run for runs in self.runs.values() for run in runs if not run.done.is_set()]


class ToolRuns:
    """All runs of one conversation."""

    def __init__(
        self, toolbox: ToolBox, dialogue: Dialogue, host: ToolHost, steps: Steps, tell: Callable[[ev.Event], Any]
    ) -> None:
        self._toolbox, self._dialogue, self._host, self._steps, self._tell = toolbox, dialogue, host, steps, tell
        self._of: dict[int, Calls] = {}
        """By the number of the reply that owns them."""
        self._left: dict[int, Calls] = {}
        """Of replies that ended a moment ago: another may stand in for one."""
        self._unclaimed: list[Run] = []
        """Runs that go on though their turn was cancelled."""
        self._ids: set[str] = set()
        self._nursery: trio.Nursery | None = None

    # ---- replies come and go

    def begin(self, order: fx.StartReply, settings: ThinkSettings, nursery: trio.Nursery) -> Calls:
        """A reply begins; a stand-in takes over what the failed one had run."""
        self._nursery = nursery
        calls = self._left.pop(order.retry_of, None) or Calls(settings.tools_at_once)
        calls.owner, calls.changed = order.reply, lambda: None
        calls.asked.clear()
        self._of[order.reply] = calls
        return calls

    def end(self, number: int) -> None:
        """A reply is over. `settle` follows when all orders of the moment are carried out."""
        calls = self._of.pop(number, None)
        if calls is not None:
            calls.owner, calls.changed = 0, lambda: None
            self._left[number] = calls

    def settle(self) -> None:
        """Cancel what nobody waits for any more, except what has begun and is to finish."""
        for calls in self._left.values():
            for run in calls.running():
                if run.tool.finishes and run.began is not None:
                    self._unclaimed.append(run)
                else:
                    run.scope.cancel()
        self._left.clear()

    # ---- calls

    def admit(self, call: ToolCall) -> ToolCall:
        """The same call with an id that no other of this conversation has."""
        name, number = call.id, 1
        while name in self._ids:
            number += 1
            name = f"{call.id}_{number}"
        self._ids.add(name)
        return msgspec.structs.replace(call, id=name)

    async def settled(self, reply: Reply) -> None:
        """Wait for what a failed reply left running, so that its results stand in the history."""
        calls = self._of.get(reply.order.reply)  # none: this reply is over, its task learns of it when it next waits
        for run in calls.running() if calls else ():
            await run.done.wait()

    async def run(self, reply: Reply, calls: Sequence[ToolCall]) -> list[str]:
        """Run calls of one answer, all at the same time; returns the results in their order."""
        await reply.gate.wait_released()  # a draft has no side effects
        await trio.lowlevel.checkpoint()  # the table may have ended this reply
        runs = [self._run_of(reply, call) for call in calls]
        for run in runs:
            await run.done.wait()
        return [run.result.text for run in runs]

    def _run_of(self, reply: Reply, call: ToolCall) -> Run:
        """The run of a call: the one that there is already, or a new one."""
        calls, key = self._of[reply.order.reply], key_of(call)
        tool = next((tool for tool in self._toolbox.tools() if tool.name == call.name), Tool(call.name, "", {}))
        known = calls.runs.setdefault(key, [])
        nth = calls.asked[key] if tool.repeats else 0
        calls.asked[key] += 1
        if nth < len(known):
            return known[nth]
        self._unclaimed = [run for run in self._unclaimed if not run.done.is_set()]
        run = next((run for run in self._unclaimed if run.key == key), None)
        if run is None:
            assert self._nursery
            run = Run(call, tool, reply.order, calls)
            self._steps.spawn(self._nursery, self._go, run, reply.setup.think)
        run.calls = calls
        known.append(run)
        calls.changed()
        return run

    async def _go(self, run: Run, settings: ThinkSettings) -> None:
        with run.scope:
            async with run.calls.slots:
                run.began = trio.current_time()
                self._tell(ev.ToolCalled(run.owner, run.call.name))
                if run.tool.finishes:
                    self._dialogue.own_tool(run.order.reply, run.order.turn, run.call)
                result = await self._call(run, run.tool.deadline_s or settings.tool_s)
            if not run.scope.cancel_called:  # else it came too late
                run.result = result
        run.done.set()
        run.calls.changed()
        if run.began is not None:
            self._over(run, round((trio.current_time() - run.began) * 1000))

    def _over(self, run: Run, took_ms: int) -> None:
        result = run.result
        if run.tool.finishes:
            self._dialogue.tool_output(run.call.id, result.text)
        elif result.outcome != "cancelled":
            self._dialogue.own_tool(run.order.reply, run.order.turn, run.call, result.text)
        self._tell(ev.ToolFinished(run.owner, run.call.name, result.outcome, took_ms))

    async def _call(self, run: Run, deadline_s: float) -> ToolResult:
        name = run.call.name
        try:
            with trio.move_on_after(deadline_s):
                return await self._toolbox.call(run.call, self._host)
        except Exception:
            log.exception("tool.crashed", tool=name)
            return ToolResult(f"{name} failed. Do without it.", "failed")
        return ToolResult(f"{name} took longer than {deadline_s:g} s and was stopped", "timed_out")


def key_of(call: ToolCall) -> Key:
    """Tells calls apart: the same arguments may be written in several ways."""
    try:
        return call.name, msgspec.json.encode(msgspec.json.decode(call.arguments or "{}"), order="sorted").decode()
    except (msgspec.DecodeError, UnicodeError):
        return call.name, call.arguments.strip()
