"""What the assistant can do on the phone only: end the call."""

from __future__ import annotations

from collections.abc import Callable

from aura.core.ports import Tool, ToolBox, ToolCall, ToolHost
from aura.providers.tools.registry import Toolbox, tool


def with_hang_up(inner: ToolBox, hang_up: Callable[[], None]) -> ToolBox:
    """The tools of a conversation on the phone; `hang_up` ends its call once the goodbye was heard."""
    return PhoneToolbox(inner, Toolbox(tool(Receiver(hang_up).hang_up)))


class Receiver:
    """The telephone that is put down."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self._hang_up = hang_up

    def hang_up(self) -> str:
        """End this phone call. Use it when the caller says goodbye or asks you to hang up, not before."""
        self._hang_up()
        return "The call will end when you have finished speaking. Say goodbye now, in one short sentence."


class PhoneToolbox:
    """Two boxes as one."""

    def __init__(self, inner: ToolBox, own: ToolBox) -> None:
        self._inner, self._own = inner, own
        self._names = {declared.name for declared in own.tools()}

    def tools(self) -> tuple[Tool, ...]:
        """What to declare to the model."""
        return (*self._inner.tools(), *self._own.tools())

    async def call(self, call: ToolCall, host: ToolHost) -> str:
        """Run one call."""
        return await (self._own if call.name in self._names else self._inner).call(call, host)
