"""The tools of a server from its settings: AURA's own, those of the user's modules, those of MCP servers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aura.core.errors import ConfigError
from aura.core.ports import ToolBox
from aura.providers.tools.builtin import default_toolbox
from aura.providers.tools.registry import Toolbox, Toolboxes, ToolFunction
from aura.providers.tools.settings import ToolSettings


@asynccontextmanager
async def open_tools(settings: ToolSettings) -> AsyncIterator[ToolBox]:
    """The box of all tools; MCP servers run while it is open. Raises ConfigError for a module that cannot be used.

    Where two have the same name, the user's own come before AURA's, and those of MCP servers get another one.
    """
    boxes: list[ToolBox] = [load_modules(settings.modules)] if settings.modules else []
    if settings.builtin:
        boxes.append(default_toolbox())
    own = Toolboxes(*boxes)
    if not settings.mcp:
        yield own
        return
    from aura.providers.tools.mcp import open_mcp

    async with open_mcp(settings, [tool.name for tool in own.tools()]) as box:
        yield Toolboxes(own, box)


def load_modules(names: Iterable[str]) -> Toolbox:
    """All tools of these modules, in their order. Raises ConfigError."""
    found: dict[str, tuple[str, ToolFunction]] = {}
    for name in names:
        functions = [value for value in vars(_module(name)).values() if isinstance(value, ToolFunction)]
        if not functions:
            raise ConfigError(f"tools.modules: {name} has no tool; write @tool over a function (aura.providers.tools)")
        for function in functions:
            tool = function.declared.name
            where, other = found.setdefault(tool, (name, function))
            if other is not function:
                raise ConfigError(f"tools.modules: {where} and {name} both have a tool {tool}; rename one of them")
    return Toolbox(*(function for _, function in found.values()))


def _module(name: str) -> object:
    with _working_folder():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                message = f"tools.modules: there is no module {name} (looked for in the working folder, too)"
                raise ConfigError(message) from None
            raise ConfigError(f"tools.modules: {name} needs {error.name}, which is not installed") from error
        except Exception as error:
            why = " ".join(str(error).split())
            raise ConfigError(f"tools.modules: {name} cannot be loaded: {type(error).__name__}: {why}") from error


@contextmanager
def _working_folder() -> Iterator[None]:
    """Look for modules in the working folder, too, after all other places."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
