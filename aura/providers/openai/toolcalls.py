"""Tool calls put together from the pieces of a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from aura.core.ports import ToolCall


class FunctionPart(msgspec.Struct):
    """A piece of the name and arguments. Some servers send arguments as an object instead of a text."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolPart(msgspec.Struct):
    """A piece of a call; `index` says of which one."""

    index: int | None = None
    id: str | None = None
    function: FunctionPart | None = None


class Building(msgspec.Struct):
    """A call as far as it is known."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class ToolCalls:
    """The calls of one answer, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: list[Building] = []
        self._at: dict[int, Building] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, part: ToolPart, position: int) -> None:
        """Take a piece; `position` is its place in the chunk, which stands in for a missing index.

        A new id at a known index begins a new call: Ollama gave every parallel call the index 0.
        """
        index = position if part.index is None else part.index
        call = self._at.get(index)
        if call is None or (part.id and call.id and part.id != call.id):
            call = self._at[index] = Building()
            self._calls.append(call)
        call.id = part.id or call.id
        if part.function is None:
            return
        call.name = part.function.name or call.name
        arguments = part.function.arguments
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        call.arguments += arguments or ""

    def all(self) -> list[ToolCall]:
        """The finished calls. An id is made up where the server gave none, no arguments mean an empty object."""
        return [
            ToolCall(call.id or f"call_{number}", call.name, call.arguments or "{}")
            for number, call in enumerate(self._calls)
        ]
