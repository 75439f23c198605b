"""The server's functions as a conversation sees them: calls are accounted for and, when it is recorded, on the tape."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

import msgspec

from aura.core import tape
from aura.core.ports import Tool, ToolBox, ToolCall, ToolHost, ToolResult

if TYPE_CHECKING:
    from aura.providers.observed import Watch


class ObservedTools:
    """The functions on the server, those that there are when the conversation begins."""

    def __init__(self, inner: ToolBox, watch: Watch) -> None:
        self.inner, self.watch = inner, watch
        self._tools = inner.tools()
        self._host: DeferredHost | None = None

    def tools(self) -> tuple[Tool, ...]:
        """What to declare to the model."""
        return self._tools

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Run one call. What it asks of the conversation is done when it returns."""
        if self._host is None:
            self._host = DeferredHost(host)
        deferred = self._host
        account = self.watch.call("tool", call.name, request_digest_of(call), call.arguments)
        outcome, error = "", None
        try:
            done = await self.watch.seam.seam(lambda: self._call(call, deferred), lambda done: done)
            deferred.carry_out(done.host)
            outcome = done.outcome
            return ToolResult(done.text, done.outcome)
        except BaseException as raised:
            error = raised
            raise
        finally:
            account.over(error, outcome)

    async def _call(self, call: ToolCall, host: DeferredHost) -> tape.ToolDone:
        asking = host.listen()
        result = await self.inner.call(call, host)
        return tape.ToolDone(result.text, host.asked(asking), result.outcome)


def request_digest_of(call: ToolCall) -> str:
    """Tells calls apart."""
    return tape.digest(f"{call.name} {call.arguments}")


class Ask(msgspec.Struct):
    """Something to say later that a tool asked for."""

    after_s: float
    text: str
    number: int = 0
    """Counts what the conversation has been asked for, from 1; 0: the tool is not back yet."""
    called_off: bool = False


_asking: ContextVar[list[Ask]] = ContextVar("asking")
"""What the tool that is running asks for. Each runs in a task of its own."""


class DeferredHost:
    """The conversation as tools see it. A tool runs outside: what it asks for is done when it is back."""

    def __init__(self, host: ToolHost) -> None:
        self._host = host
        self._promised = self._made = 0
        self._call_off: dict[int, Callable[[], None]] = {}

    def listen(self) -> list[Ask]:
        """A tool begins: what it asks for is collected here."""
        asking: list[Ask] = []
        _asking.set(asking)
        return asking

    def say_later(self, after_s: float, text: str) -> Callable[[], None]:
        """Speak `text` after that many seconds."""
        ask = Ask(after_s, text)
        _asking.get([]).append(ask)

        def call_off() -> None:
            ask.called_off = True
            _asking.get([]).append(ask)

        return call_off

    def asked(self, asking: list[Ask]) -> tuple[tape.HostCall, ...]:
        """The tool is back: what is to be carried out now."""
        calls = []
        for ask in asking:
            if ask.called_off and ask.number:
                calls.append(tape.HostCall(cancels=ask.number))
            elif not ask.called_off:
                self._promised += 1
                ask.number = self._promised
                calls.append(tape.HostCall(ask.after_s, ask.text))
        return tuple(calls)

    def carry_out(self, asked: tuple[tape.HostCall, ...]) -> None:
        """Do what was asked for."""
        for ask in asked:
            if ask.cancels:
                if call_off := self._call_off.pop(ask.cancels, None):
                    call_off()
            else:
                self._made += 1
                self._call_off[self._made] = self._host.say_later(ask.after_s, ask.text)
        self._promised = self._made
