"""A real MCP server for the tests, run as a program of its own: on standard input and output, or on a port."""

from __future__ import annotations

import base64
import os
import sys

import anyio
from mcp.server.mcpserver import Image, MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("workshop")


@server.tool()
def weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return f"{city}: sunny for {days} days in {os.environ.get('COUNTRY', 'no country')}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def nap(seconds: float) -> str:
    """Sleep."""
    await anyio.sleep(seconds)
    return "rested"


@server.tool()
def broken() -> str:
    """Fail."""
    raise ValueError("the barometer is broken")


@server.tool()
def crash() -> str:
    """End the server at once."""
    sys.stderr.write("the roof has come down\n")
    sys.stderr.flush()
    os._exit(3)


@server.tool()
def calculate(expression: str) -> str:
    """Another one of this name."""
    return f"about {expression}"


@server.tool()
def picture() -> list[str | Image]:
    """A picture and words."""
    return ["a house", Image(data=base64.b64decode("iVBORw0KGgo=") + bytes(4000), format="png")]


@server.tool()
def long_story() -> str:
    """Too many words."""
    return "word " * 4000


@server.tool(name="odd.name/with things")
def odd() -> dict[str, int]:
    """Numbers."""
    return {"answer": 42}


if __name__ == "__main__":
    if sys.argv[1:]:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
