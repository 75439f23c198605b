"""text → reply deltas: asks the model, runs its tools or hands them to the client, asks again."""

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


class Functions(msgspec.Struct, frozen=True):
    """Who runs what the model calls."""

    run: Callable[[ToolCall], Awaitable[str]]
    """Runs one of the server's own."""
    theirs: frozenset[str] = frozenset()
    """Names of those that the client runs."""
    hand_over: Callable[[ToolCall, bool], Awaitable[None]] | None = None
    """Asks the client for one of them; with True when words came before it. The answer ends there: the client asks for
    the next one with the result."""


async def think(
    request: ChatRequest,
    words: trio.MemorySendChannel[str],
    model: ChatModel,
    functions: Functions,
    settings: ThinkSettings,
    tell: Callable[[ev.Event], Any],
    finished: Callable[[ChatRequest, Finished, str], None],
    reply: int,
) -> None:
    """Stream one answer into `words`; ends when the model is finished. `finished` learns of each of its answers."""
    with words:
        for round_no in range(settings.tool_rounds + 1):
            tools = request.tools if round_no < settings.tool_rounds else ()
            asked = msgspec.structs.replace(request, tools=tools)
            calls, said, end = await _ask(asked, words, model, settings, tell, reply)
            finished(asked, end, said)
            theirs = [call for call in calls if call.name in functions.theirs]
            ours = [call for call in calls if call.name not in functions.theirs]
            results = [await _run(call, functions.run, settings, tell, reply) for call in ours]
            for call in theirs:
                if functions.hand_over:
                    await functions.hand_over(call, bool(said.strip()))
            if theirs or not calls:
                return
            answered = Message("assistant", said, tool_calls=tuple(calls))
            forced = request.tool_choice not in ("auto", "none")  # or it would call for ever
            choice = "auto" if forced else request.tool_choice
            messages = (*request.messages, answered, *results)
            request = msgspec.structs.replace(request, messages=messages, tool_choice=choice)


async def _ask(
    request: ChatRequest,
    words: trio.MemorySendChannel[str],
    model: ChatModel,
    settings: ThinkSettings,
    tell: Callable[[ev.Event], Any],
    reply: int,
) -> tuple[list[ToolCall], str, Finished]:
    calls: list[ToolCall] = []
    said: list[str] = []
    end = Finished("stop")
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
                    end = item
                    break
                patience.deadline = trio.current_time() + settings.stall_s
    if patience.cancelled_caught:
        raise TimedOut(f"no word from {model.name} in time", provider=model.name)
    return calls, "".join(said), end


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
