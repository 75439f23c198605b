"""text → reply deltas: asks the model, runs the tools it calls, asks again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from aura.core import events as ev
from aura.core.errors import TimedOut
from aura.core.ports import ChatModel, ChatRequest, Finished, Message, TextDelta, ToolCall


class ThinkSettings(msgspec.Struct, frozen=True):
    """How long the model may take and how far it may go."""

    first_token_s: float = 8.0
    """Longest wait for the first piece of an answer."""
    stall_s: float = 10.0
    """Longest wait between two pieces."""
    tool_s: float = 10.0
    """Longest run of one tool."""
    tool_rounds: int = 4
    """How often the model may call tools before it must answer."""


async def think(
    request: ChatRequest,
    words: trio.MemorySendChannel[str],
    model: ChatModel,
    run_tool: Callable[[ToolCall], Awaitable[str]],
    settings: ThinkSettings,
    tell: Callable[[ev.Event], Any],
    reply: int,
) -> None:
    """Stream one answer into `words`; ends when the model is finished."""
    with words:
        for round_no in range(settings.tool_rounds + 1):
            tools = request.tools if round_no < settings.tool_rounds else ()
            calls, said = await _ask(msgspec.structs.replace(request, tools=tools), words, model, settings, tell, reply)
            if not calls:
                return
            results = [await _run(call, run_tool, settings, tell, reply) for call in calls]
            asked = Message("assistant", said, tool_calls=tuple(calls))
            request = msgspec.structs.replace(request, messages=(*request.messages, asked, *results))


async def _ask(
    request: ChatRequest,
    words: trio.MemorySendChannel[str],
    model: ChatModel,
    settings: ThinkSettings,
    tell: Callable[[ev.Event], Any],
    reply: int,
) -> tuple[list[ToolCall], str]:
    calls: list[ToolCall] = []
    said: list[str] = []
    with trio.CancelScope(deadline=trio.current_time() + settings.first_token_s) as patience:
        async with model.reply(request) as items:
            async for item in items:
                if not said and not calls:
                    tell(ev.FirstTokenArrived(reply))
                patience.deadline = float("inf")  # what follows is waited for by whoever takes the words
                if isinstance(item, TextDelta):
                    said.append(item.text)
                    await words.send(item.text)
                elif isinstance(item, ToolCall):
                    calls.append(item)
                elif isinstance(item, Finished):
                    break
                patience.deadline = trio.current_time() + settings.stall_s
    if patience.cancelled_caught:
        raise TimedOut(f"no word from {model.name} in time", provider=model.name)
    return calls, "".join(said)


async def _run(
    call: ToolCall,
    run_tool: Callable[[ToolCall], Awaitable[str]],
    settings: ThinkSettings,
    tell: Callable[[ev.Event], Any],
    reply: int,
) -> Message:
    tell(ev.ToolCalled(reply, call.name))
    result = f"{call.name} took longer than {settings.tool_s:g} s and was stopped"
    with trio.move_on_after(settings.tool_s):
        result = await run_tool(call)
    tell(ev.ToolFinished(reply, call.name))
    return Message("tool", result, tool_call_id=call.id)
