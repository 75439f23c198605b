"""Python functions as tools of a language model: declared from their signature, called with checked arguments.

    @tool
    def add(a: Annotated[float, Meta(description="First number")], b: float = 1.0) -> str:
        \"\"\"Add two numbers.\"\"\"

    @tool(deadline_s=30, finishes=True)
    async def book_table(people: int, at: datetime) -> str:
        \"\"\"Book a table.\"\"\"

The docstring describes the tool and `Meta` a parameter. A parameter annotated `ToolHost` is handed the conversation and
is not declared to the model. `async def` runs on Trio; a plain `def` must return at once or be `blocking`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints, overload

import msgspec
import structlog
import trio

from aura.core.ports import Tool, ToolBox, ToolCall, ToolHost, ToolResult

log = structlog.get_logger()


class ToolFault(Exception):
    """A tool cannot do what it was asked; the message is shown to the model."""


class ToolFunction(msgspec.Struct, frozen=True):
    """A function made into a tool. Calling it calls the function."""

    declared: Tool
    arguments: type[msgspec.Struct]
    """What the model's JSON is decoded to."""
    function: Callable[..., str | Awaitable[str]]
    host_name: str
    """The parameter that takes the conversation, or empty."""
    blocking: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> str | Awaitable[str]:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    async def run(self, arguments: str, host: ToolHost) -> str:
        """Decode the model's JSON and call. Raises msgspec.MsgspecError, and whatever the function raises."""
        given = msgspec.json.decode(arguments.strip() or "{}", type=self.arguments, strict=False)
        extra = {self.host_name: host} if self.host_name else {}
        function = partial(self.function, **msgspec.structs.asdict(given), **extra)
        result = await trio.to_thread.run_sync(function, abandon_on_cancel=True) if self.blocking else function()
        return await result if inspect.isawaitable(result) else result


Function = Callable[..., str | Awaitable[str]]


@overload
def tool(function: Function) -> ToolFunction: ...


@overload
def tool(
    *, deadline_s: float | None = None, finishes: bool = False, repeats: bool = False, blocking: bool = False
) -> Callable[[Function], ToolFunction]: ...


def tool(
    function: Function | None = None,
    *,
    deadline_s: float | None = None,
    finishes: bool = False,
    repeats: bool = False,
    blocking: bool = False,
) -> ToolFunction | Callable[[Function], ToolFunction]:
    """Make a function (or bound method) a tool; its name, docstring and annotations are what the model sees.

    `deadline_s` is the longest run of one call (else `think.tool_s`). A tool that `finishes` goes on when the user
    interrupts: for what must not be half done. One that `repeats` gives another result each time (a die, a progress
    report); all others are run once for a turn, however often the model asks. A `blocking` one is a plain function that
    waits for something and runs in a thread; what it does when its time is over cannot be stopped, only ignored.
    """
    make = partial(_made, deadline_s=deadline_s, finishes=finishes, repeats=repeats, blocking=blocking)
    return make if function is None else make(function)


def _made(
    function: Function, *, deadline_s: float | None, finishes: bool, repeats: bool, blocking: bool
) -> ToolFunction:
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    host_name = next((name for name in parameters if hints.get(name) is ToolHost), "")
    fields = [_field(parameter, hints) for name, parameter in parameters.items() if name != host_name]
    name = function.__name__
    arguments = msgspec.defstruct(name, fields, frozen=True, kw_only=True, forbid_unknown_fields=True)
    description = " ".join((inspect.getdoc(function) or "").split())
    if blocking and (host_name or inspect.iscoroutinefunction(function)):
        raise TypeError(f"a blocking tool is a plain function without the conversation: {name}")
    seconds = None if deadline_s is None else float(deadline_s)  # it comes back from a tape as one
    declared = Tool(name, description, _schema(arguments), seconds, finishes, repeats)
    return ToolFunction(declared, arguments, function, host_name, blocking)


def _field(parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, ...]:
    name = parameter.name
    if name not in hints or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise TypeError(f"a tool's parameter needs a name and a type: {name}")
    return (name, hints[name]) if parameter.default is parameter.empty else (name, hints[name], parameter.default)


def _schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    schema = components.pop(arguments.__name__)
    schema.pop("title", None)
    return {**schema, "$defs": components} if components else schema


class Toolbox:
    """Tools by name: `aura.core.ports.ToolBox`."""

    def __init__(self, *functions: ToolFunction) -> None:
        self._functions = {function.declared.name: function for function in functions}
        if len(self._functions) < len(functions):
            raise ValueError("two tools have the same name")
        self._declared = tuple(function.declared for function in functions)

    def tools(self) -> tuple[Tool, ...]:
        """What to declare to the model, always in the same order (engines cache the beginning of a prompt)."""
        return self._declared

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Run one call. Whatever goes wrong becomes a text that tells the model what to do about it."""
        function = self._functions.get(call.name)
        if function is None:
            return ToolResult(unknown_tool(call.name, self._functions), "bad_call")
        try:
            return ToolResult(await function.run(call.arguments, host))
        except msgspec.ValidationError as error:
            takes = ", ".join(_takes(function.declared))
            return ToolResult(f"Wrong arguments for {call.name}: {error}. It takes {takes}.", "bad_call")
        except msgspec.DecodeError as error:
            return ToolResult(f"The arguments of {call.name} must be a JSON object: {error}.", "bad_call")
        except ToolFault as error:
            return ToolResult(str(error), "refused")
        except Exception as error:
            log.warning("tool.failed", tool=call.name, error=type(error).__name__, where=_where(error))
            return ToolResult(f"{call.name} failed ({type(error).__name__}). Do without it.", "failed")


class Toolboxes:
    """Several boxes as one: a name belongs to the first of them that declares it."""

    def __init__(self, *boxes: ToolBox) -> None:
        self._boxes = boxes

    def tools(self) -> tuple[Tool, ...]:
        """What to declare to the model."""
        declared: dict[str, Tool] = {}
        for box in self._boxes:
            for one in box.tools():
                declared.setdefault(one.name, one)
        return tuple(declared.values())

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Run one call."""
        for box in self._boxes:
            if any(one.name == call.name for one in box.tools()):
                return await box.call(call, host)
        return ToolResult(unknown_tool(call.name, (one.name for one in self.tools())), "bad_call")


def unknown_tool(name: str, known: Iterable[str]) -> str:
    """What the model is told about a tool that it made up."""
    return f"There is no tool {name!r}. There are: {', '.join(known) or 'none'}."


def _takes(declared: Tool) -> Iterator[str]:
    """Each parameter's name and, where it is simple, its type."""
    required = declared.parameters.get("required", ())
    for name, schema in declared.parameters["properties"].items():
        kind = schema.get("type") or "one of several types"
        yield f"{name} ({kind}{'' if name in required else ', optional'})"
    if not declared.parameters["properties"]:
        yield "no arguments"


def _where(error: Exception) -> str:
    """File and line that raised: enough to find a bug. The message is left out, since it may hold spoken words."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
