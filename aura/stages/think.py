"""text → reply deltas: asks the model, has its tools run or hands them to the client, asks again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
import trio

from aura.core import events as ev
from aura.core.errors import TimedOut
from aura.core.ports import ChatModel, ChatRequest, Finished, Message, TextDelta, ToolCall

STANDS_ALONE = ""
"""Among the words of a reply: what came before it is complete, and is to be spoken though nothing follows yet."""
BREAKS_OFF = "\x18"
"""The same: what came since the last full sentence is not to be spoken."""


class ThinkSettings(msgspec.Struct, frozen=True):
    """How long the model may take, how far it may go, and what bridges the silence meanwhile."""

    first_token_s: float = 8.0
    """Longest wait for the first piece of an answer."""
    stall_s: float = 10.0
    """Longest wait between two pieces."""
    tool_s: float = 10.0
    """Longest run of one tool that says nothing else about itself."""
    tool_rounds: int = 4
    """How often the model may call tools before it must answer."""
    tools_at_once: Annotated[int, msgspec.Meta(ge=1)] = 8
    """So many of the calls that the model makes in one answer run at the same time."""
    filler_after_s: float = 1.2
    """When the user has heard nothing for so long after the turn, because the model or a tool takes its time, a filler
    is said, once in a reply. 19 of 20 answers are there sooner, and from 2 s of silence on people ask whether anybody
    is there. 0: never."""
    filler_again_s: float = 7.0
    """When a tool still runs and nothing was heard for so long, another one is said, once in a reply. 0: never."""
    fillers: tuple[str, ...] = ("One moment.", "Let me see.", "Just a second.")
    """They take turns."""
    fillers_later: tuple[str, ...] = ("I am still on it.", "It takes a little longer.")
    """What is said the second time."""


class Functions(msgspec.Struct, frozen=True):
    """Who runs what the model calls."""

    run: Callable[[Sequence[ToolCall]], Awaitable[list[str]]]
    """Runs the server's own, all at the same time; returns the results in the order of the calls."""
    theirs: frozenset[str] = frozenset()
    """Names of those that the client runs."""
    hand_over: Callable[[ToolCall, bool], Awaitable[None]] | None = None
    """Asks the client for one of them; with True when words came before it. The answer ends there: the client asks for
    the next one with the result."""
    admit: Callable[[ToolCall], ToolCall] = lambda call: call
    """The same call with an id that no other call of the conversation has (some engines number them anew each time)."""


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
    voice = _Voice(words)
    with words:
        for round_no in range(settings.tool_rounds + 1):
            tools = request.tools if round_no < settings.tool_rounds else ()
            asked = msgspec.structs.replace(request, tools=tools)
            calls, said, end = await _ask(asked, voice, model, settings, tell, reply)
            if end.reason == "content_filter":
                await voice.break_off()
            finished(asked, end, said)
            if not calls or round_no == settings.tool_rounds:
                return
            calls = [functions.admit(call) for call in calls]
            offered = {tool.name for tool in tools}
            theirs = [call for call in calls if call.name in functions.theirs & offered]
            await voice.pause()
            results = await _results([call for call in calls if call not in theirs], offered, functions)
            for call in theirs:
                if functions.hand_over:
                    await functions.hand_over(call, bool(said.strip()))
            if theirs:
                return
            answered = Message("assistant", said, tool_calls=tuple(calls))
            forced = request.tool_choice not in ("auto", "none")  # or it would call for ever
            choice = "auto" if forced else request.tool_choice
            messages = (*request.messages, answered, *results)
            request = msgspec.structs.replace(request, messages=messages, tool_choice=choice)


class _Voice:
    """The words of a reply, over all of the model's answers that it is made of."""

    def __init__(self, words: trio.MemorySendChannel[str]) -> None:
        self._words = words
        self._open = self._paused = False

    async def say(self, text: str) -> None:
        if not text:
            return
        await self._words.send(f" {text}" if self._paused and not text[0].isspace() else text)
        self._open, self._paused = True, False

    async def pause(self) -> None:
        """Nothing more comes for a while: what was said must not wait for it."""
        if self._open:
            await self._words.send(STANDS_ALONE)
            self._open, self._paused = False, True

    async def break_off(self) -> None:
        """The engine has stopped the answer in the middle of what it does not allow."""
        if self._open:
            await self._words.send(BREAKS_OFF)
            self._open = False


async def _results(calls: list[ToolCall], offered: set[str], functions: Functions) -> list[Message]:
    """What the model is told about its calls. One that was not offered to it is not run."""
    ran = [call for call in calls if call.name in offered]
    told = dict(zip((call.id for call in ran), await functions.run(ran) if ran else [], strict=True))
    return [
        Message("tool", told.get(call.id, f"There is no tool {call.name!r} that you may call."), tool_call_id=call.id)
        for call in calls
    ]


async def _ask(
    request: ChatRequest,
    voice: _Voice,
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
                    await voice.say(item.text)
                elif isinstance(item, ToolCall):
                    calls.append(item)
                elif isinstance(item, Finished):
                    end = item
                    break
                patience.deadline = trio.current_time() + settings.stall_s
    if patience.cancelled_caught:
        raise TimedOut(f"no word from {model.name} in time", provider=model.name)
    return calls, "".join(said), end
