"""Tools whose runs can be looked at, and conversations that use them."""

from __future__ import annotations

import json
from typing import Any

import trio

from aura.core.ports import Message, ToolCall
from aura.providers.tools.registry import Toolbox, ToolFault, tool
from aura.session.setup import ReplySettings, Setup
from aura.stages.think import ThinkSettings
from tests.script import Scene

QUIET = ThinkSettings(filler_after_s=0)
"""Without fillers."""
LATE_VOICE = Setup(ReplySettings(draft_depth="llm"), QUIET)
"""Drafts make no audio, so that the voice fails when the tool runs already."""


class Workshop:
    """Tools whose runs can be looked at."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self.most = self._now = 0
        self.box = Toolbox(
            tool(self.look_up), tool(deadline_s=20, finishes=True)(self.book), tool(self.fail), tool(self.refuse),
            tool(deadline_s=2.0)(self.dawdle), tool(repeats=True)(self.roll),
        )  # fmt: skip

    async def _work(self, name: str, seconds: float) -> None:
        self.begun.append((name, trio.current_time()))
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await trio.sleep(seconds)
        finally:
            self._now -= 1
        self.ended.append(name)

    async def look_up(self, what: str, seconds: float = 1.0) -> str:
        """Look something up."""
        await self._work(what, seconds)
        return f"{what}: found"

    async def book(self, what: str, seconds: float = 3.0) -> str:
        """Book something, to the end."""
        await self._work(what, seconds)
        return f"{what}: booked"

    async def fail(self) -> str:
        """Break."""
        raise RuntimeError("broken")

    def refuse(self) -> str:
        """Refuse."""
        raise ToolFault("Not on Sundays.")

    async def dawdle(self) -> str:
        """Take too long."""
        await self._work("dawdle", 100)
        return "too late"

    def roll(self) -> str:
        """Roll a die."""
        self.begun.append(("roll", trio.current_time()))
        return f"roll {len(self.begun)}"


def call(name: str, ident: str = "call_1", **arguments: Any) -> ToolCall:
    return ToolCall(ident, name, json.dumps(arguments))


def results(scene: Scene, request: int) -> list[str]:
    """The results that the model was shown in a request, in order."""
    return [m.text for m in scene.chat.requests[request].messages if m.role == "tool"]


def proper(messages: tuple[Message, ...]) -> bool:
    """Every call is followed by its results, and nothing else is a result: what engines demand."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            if not waiting or waiting.pop(0) != message.tool_call_id:
                return False
        elif waiting:
            return False
        waiting += [called.id for called in message.tool_calls]
    return not waiting


async def asks(scene: Scene, text: str = "what is the news") -> None:
    await scene.user.says(1.0, text)
    turns = scene.names().count("TurnEnded")
    while scene.names().count("TurnEnded") == turns:
        await scene.user.silent(0.02)
    await scene.user.silent(0.3)


async def interrupt(scene: Scene, text: str = "no stop, tell me something else") -> None:
    await scene.user.says(1.2, text)
    await scene.user.until("speaking")
