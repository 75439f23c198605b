"""Python functions as tools of a language model: declared from their signature, called with checked arguments.

    @tool
    def add(a: Annotated[float, Meta(description="First number")], b: float = 1.0) -> str:
        \"\"\"Add two numbers.\"\"\"

The docstring describes the tool and `Meta` a parameter. A parameter annotated `ToolHost` is handed the conversation and
is not declared to the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import structlog

from aura.core.ports import Tool, ToolCall, ToolHost

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

    def __call__(self, *args: Any, **kwargs: Any) -> str | Awaitable[str]:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    async def run(self, arguments: str, host: ToolHost) -> str:
        """Decode the model's JSON and call. Raises msgspec.MsgspecError, and whatever the function raises."""
        given = msgspec.json.decode(arguments.strip() or "{}", type=self.arguments, strict=False)
        extra = {self.host_name: host} if self.host_name else {}
        result = self.function(**msgspec.structs.asdict(given), **extra)
        return await result if inspect.isawaitable(result) else result


def tool(function: Callable[..., str | Awaitable[str]]) -> ToolFunction:
    """Make a function (or bound method) a tool; its name, docstring and annotations are what the model sees."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    host_name = next((name for name in parameters if hints.get(name) is ToolHost), "")
    fields = [_field(parameter, hints) for name, parameter in parameters.items() if name != host_name]
    name = function.__name__
    arguments = msgspec.defstruct(name, fields, frozen=True, kw_only=True, forbid_unknown_fields=True)
    description = " ".join((inspect.getdoc(function) or "").split())
    return ToolFunction(Tool(name, description, _schema(arguments)), arguments, function, host_name)


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

    async def call(self, call: ToolCall, host: ToolHost) -> str:
        """Run one call. Whatever goes wrong becomes a text that tells the model what to do about it."""
        function = self._functions.get(call.name)
        if function is None:
            return f"There is no tool {call.name!r}. There are: {', '.join(self._functions) or 'none'}."
        try:
            return await function.run(call.arguments, host)
        except msgspec.ValidationError as error:
            return f"Wrong arguments for {call.name}: {error}. It takes {', '.join(_takes(function.declared))}."
        except msgspec.DecodeError as error:
            return f"The arguments of {call.name} must be a JSON object: {error}."
        except ToolFault as error:
            return str(error)
        except Exception as error:
            log.warning("tool.failed", tool=call.name, error=type(error).__name__, where=_where(error))
            return f"{call.name} failed ({type(error).__name__}). Do without it."


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
