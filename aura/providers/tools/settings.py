"""Which tools the model has. Importing this imports none of them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from aura.core.secret import Secret

Positive = Annotated[float, msgspec.Meta(gt=0)]


class McpServer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An MCP server: a program that is started, or an address."""

    command: tuple[str, ...] = ()
    """The program and its arguments. It speaks MCP on its standard input and output."""
    env: dict[str, Secret] = {}
    """Variables that it gets beside PATH, HOME and the like."""
    cwd: str = ""
    """The folder it runs in; empty: AURA's."""
    url: str = ""
    """Address of a server that is running (streamable HTTP)."""
    token: Secret = Secret()
    """Sent to it as `Authorization: Bearer`."""
    headers: dict[str, Secret] = {}
    """Sent to it with every request."""
    deadline_s: Positive = 10.0
    """Longest run of one of its tools."""
    finishes: tuple[str, ...] = ()
    """Names of its tools that go on when the user interrupts, since they must not be half done."""
    start_s: Positive = 10.0
    """Longest wait until it is ready."""
    retry_max_s: Positive = 60.0
    """When it is gone, it is tried again after half a second, then after twice as long each time, up to this."""


class ToolSettings(msgspec.Struct, frozen=True):
    """Functions that the model may call on the server."""

    builtin: bool = True
    """Whether it has AURA's own: the time, sums, units, timers."""
    modules: tuple[str, ...] = ()
    """Python modules of yours, found where Python finds modules or in the working folder: all their `@tool`
    functions."""
    mcp: dict[str, McpServer] = {}
    """MCP servers by a name of yours: in a TOML file [tools.mcp.weather] command = ["uvx", "weather-server"], or
    url = "https://…"."""
    mcp_wait_s: Annotated[float, msgspec.Meta(ge=0)] = 3.0
    """At the start AURA waits at most so long for them; who comes later is there for the conversations that follow."""
    result_chars_max: Annotated[int, msgspec.Meta(ge=1)] = 8000
    """The model is shown at most so much of what an MCP server answers: longer texts cost time and money in every
    turn."""

    def __post_init__(self) -> None:
        for name, server in self.mcp.items():
            if bool(server.command) == bool(server.url):
                raise ValueError(f"mcp.{name}: give it a command or a url" + (", not both" if server.url else ""))
            if server.url and not server.url.startswith(("http://", "https://")):
                raise ValueError(f"mcp.{name}.url is no address; it looks like https://tools.example.com/mcp")
