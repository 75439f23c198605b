"""What the assistant can do on the phone only: end the call."""

from __future__ import annotations

from collections.abc import Callable

from aura.core.ports import ToolBox
from aura.providers.tools.registry import Toolbox, Toolboxes, tool


def with_hang_up(inner: ToolBox, hang_up: Callable[[], None]) -> ToolBox:
    """The tools of a conversation on the phone; `hang_up` ends its call once the goodbye was heard."""
    return Toolboxes(Toolbox(tool(Receiver(hang_up).hang_up)), inner)


class Receiver:
    """The telephone that is put down."""

    def __init__(self, hang_up: Callable[[], None]) -> None:
        self._hang_up = hang_up

    def hang_up(self) -> str:
        """End this phone call. Use it when the caller says goodbye or asks you to hang up, not before."""
        self._hang_up()
        return "The call will end when you have finished speaking. Say goodbye now, in one short sentence."
