"""Tools of MCP servers (Model Context Protocol): programs that are started, or addresses on the network.

Each server has a task that connects, lists its tools and connects anew when the server is gone. One that is dead harms
nobody: its tools say that they are not available. The `mcp` package runs on anyio, and so on Trio. It takes more than a
second to import, which happens in a thread and only where servers are configured.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from aura import __version__
from aura.core.errors import ConfigError
from aura.core.ports import Tool, ToolCall, ToolHost, ToolResult
from aura.providers.tools.mcp_content import text_of
from aura.providers.tools.settings import McpServer, ToolSettings

if TYPE_CHECKING:
    import mcp

log = structlog.get_logger()

MODULES = ("mcp", "mcp.client.streamable_http", "httpx2", "jsonschema")
"""What would else be imported on the event loop, the last one with the first result."""
FIRST_RETRY_S = 0.5
NAME_MAX = 64
"""Engines take names of so many letters, digits, _ and -."""
LAST_WORDS_S = 0.5
"""A program that ends has this long to say why."""
SHOWN_CHARS = 200


@asynccontextmanager
async def open_mcp(settings: ToolSettings, taken: Iterable[str]) -> AsyncIterator[McpBox]:
    """Start the servers and wait a moment for them. Raises ConfigError where the `mcp` package is missing."""
    try:
        for module in MODULES:
            await trio.to_thread.run_sync(import_module, module)
    except ImportError:
        raise ConfigError("tools.mcp needs the package mcp: pip install 'aura-voice[mcp]'") from None
    for name in ("mcp", "client"):  # they log what was said, and errors that are told here in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    servers = [Connection(name, server, settings.result_chars_max) for name, server in settings.mcp.items()]
    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(server.run)
        with trio.move_on_after(settings.mcp_wait_s):
            for server in servers:
                await server.tried.wait()
        yield McpBox(servers, taken)
        nursery.cancel_scope.cancel()


class McpBox:
    """The tools of all servers."""

    def __init__(self, servers: list[Connection], taken: Iterable[str]) -> None:
        self._servers = servers
        self._owners: dict[str, tuple[str, str]] = dict.fromkeys(taken, ("", ""))
        """Who has a name: server and its own name for the tool. A name that was given is kept."""
        self._names: dict[tuple[str, str], str] = {}

    def tools(self) -> tuple[Tool, ...]:
        """What to declare to the model: also the tools of a server that is gone for the moment."""
        return tuple(
            msgspec.structs.replace(tool, name=self._name(server.name, tool.name))
            for server in self._servers
            for tool in server.listed
        )

    def _name(self, server: str, tool: str) -> str:
        """The model's name for a tool: its own, unless another tool has that or engines would not take it."""
        known = self._names.get((server, tool))
        if known:
            return known
        plain, prefixed = (re.sub(r"[^a-zA-Z0-9_-]", "_", text)[:NAME_MAX] for text in (tool, f"{server}_{tool}"))
        choices = [plain, prefixed, *(f"{prefixed[: NAME_MAX - 4]}_{n}" for n in range(2, len(self._owners) + 3))]
        name = next(choice for choice in choices if choice not in self._owners)
        self._owners[name] = server, tool
        self._names[server, tool] = name
        return name

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Run one call."""
        owner, tool = self._owners.get(call.name, ("", ""))
        server = next((server for server in self._servers if server.name == owner), None)
        if server is None:
            return ToolResult(f"There is no tool {call.name!r}.", "bad_call")
        return await server.call(call, tool)


class Connection:
    """One server, for as long as AURA runs."""

    def __init__(self, name: str, settings: McpServer, chars_max: int) -> None:
        self.name, self._settings, self._chars_max = name, settings, chars_max
        self.listed: tuple[Tool, ...] = ()
        """Its tools when it was last there, under its own names."""
        self.tried = trio.Event()
        """Set when it is there, or was not there the first time."""
        self._client: mcp.Client | None = None
        self._news = trio.Event()
        """Set when it is gone, or has other tools than it had."""
        self._gone = self._served = False
        self._last_words = ""

    # ---- calls

    async def call(self, call: ToolCall, tool: str) -> ToolResult:
        """Run one call. Whoever waits for it sets the deadline (`Tool.deadline_s`)."""
        from mcp.shared.exceptions import MCPError

        client = self._client
        if client is None:
            return self._not_available(call.name)
        try:
            arguments = msgspec.json.decode(call.arguments.strip() or "{}", type=dict[str, Any])
        except msgspec.DecodeError as error:
            return ToolResult(f"The arguments of {call.name} must be a JSON object: {error}.", "bad_call")
        try:
            result = await client.call_tool(tool, arguments)
        except MCPError as error:
            if error.code in _answers():
                return ToolResult(f"{call.name} failed: {shortened(error.message, SHOWN_CHARS)}", "failed")
            self._lost(error)
        except Exception as error:
            self._lost(error)
        else:
            text = shortened(text_of(result), self._chars_max)
            return ToolResult(text or "done", "failed" if result.is_error else "ok")
        return self._not_available(call.name)

    def _not_available(self, name: str) -> ToolResult:
        return ToolResult(f"{name} is not available at the moment. Do without it.", "unavailable")

    def _lost(self, error: Exception) -> None:
        self._last_words = self._last_words or why(error)
        self._is_gone()

    def _is_gone(self) -> None:
        self._gone = True
        self._client = None
        self._news.set()

    # ---- the connection

    async def run(self) -> None:
        """Keep it connected."""
        delay_s, told = FIRST_RETRY_S, ""
        while True:
            self._gone, self._served, self._last_words, self._news = False, False, "", trio.Event()
            reason = await self._connected()
            self._client = None
            if self._served:
                delay_s, told = FIRST_RETRY_S, ""
            self.tried.set()
            if reason != told:
                log.warning("mcp.unavailable", server=self.name, why=reason, tools=len(self.listed))
                told = reason
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._settings.retry_max_s)

    async def _connected(self) -> str:
        """One connection, to its end; returns why it ended."""
        start_s = self._settings.start_s
        try:
            with trio.CancelScope(deadline=trio.current_time() + start_s) as patience:
                async with AsyncExitStack() as stack:
                    await self._serve(stack, patience)
        except Exception as error:
            cannot_start = isinstance(leaf(error), OSError)
            return why(error) if cannot_start else self._last_words or why(error)
        if patience.cancelled_caught:
            return f"it was not ready within {start_s:g} s"
        return self._last_words or "it ended the connection"

    async def _serve(self, stack: AsyncExitStack, patience: trio.CancelScope) -> None:
        from mcp import Client
        from mcp.types import Implementation

        transport = await (self._program(stack) if self._settings.command else self._address(stack))
        client = Client(
            transport,
            cache=None,
            client_info=Implementation(name="aura", version=__version__),
            message_handler=self._message,
        )
        await stack.enter_async_context(client)
        await self._list(client)
        patience.deadline = float("inf")
        if self._gone:
            return
        self._client, self._served = client, True
        self.tried.set()
        log.info("mcp.ready", server=self.name, tools=len(self.listed))
        while not self._gone:
            await self._news.wait()
            self._news = trio.Event()
            if not self._gone:
                patience.deadline = trio.current_time() + self._settings.start_s
                await self._list(client)
                patience.deadline = float("inf")

    async def _list(self, client: mcp.Client) -> None:
        listed: list[Tool] = []
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            listed += [self._tool(tool) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                break
        self.listed = tuple(listed)

    def _tool(self, tool: Any) -> Tool:
        """As it is declared. One that only reads may be asked again: its answer may be another."""
        hints = tool.annotations
        return Tool(
            tool.name,
            tool.description or tool.title or "",
            tool.input_schema,
            self._settings.deadline_s,
            tool.name in self._settings.finishes,
            bool(hints and hints.read_only_hint),
        )

    async def _message(self, message: Any) -> None:
        if type(message).__name__ == "ToolListChangedNotification":
            self._news.set()
        await trio.lowlevel.checkpoint()

    async def _program(self, stack: AsyncExitStack) -> Any:
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client

        program, *arguments = self._settings.command
        env = {name: value.reveal() for name, value in self._settings.env.items()}
        params = StdioServerParameters(command=program, args=arguments, env=env or None, cwd=self._settings.cwd or None)
        errors = await stack.enter_async_context(self._listening())
        return Watched(stdio_client(params, errlog=errors), self._is_gone)

    async def _address(self, stack: AsyncExitStack) -> Any:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        settings = self._settings
        headers = {name: value.reveal() for name, value in settings.headers.items()}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token.reveal()}"
        timeout = httpx2.Timeout(settings.start_s, read=None)  # a call has a deadline of its own
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=timeout))
        return Watched(streamable_http_client(settings.url, http_client=http), self._is_gone)

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Any]:
        """A file for what the program says on standard error; its last line tells why it ended."""
        reading, writing = os.pipe()
        file = os.fdopen(writing, "w")
        async with trio.lowlevel.FdStream(reading) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._note, stream)
            try:
                yield file
            finally:
                file.close()  # the program has ended: with this the stream does, too
                nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS_S

    async def _note(self, stream: trio.lowlevel.FdStream) -> None:
        tail = b""
        async for data in stream:
            tail = (tail + data)[-4096:]
            lines = [line.strip() for line in tail.decode(errors="replace").split("\n")]
            self._last_words = next((shortened(line, SHOWN_CHARS) for line in reversed(lines) if line), "")


class Watched:
    """A transport that tells when the other side has ended it."""

    def __init__(self, inner: Any, ended: Callable[[], None]) -> None:
        self._inner, self._ended = inner, ended

    async def __aenter__(self) -> tuple[Any, Any]:
        read, write = await self._inner.__aenter__()
        return WatchedStream(read, self._ended), write

    async def __aexit__(self, *error: Any) -> Any:
        return await self._inner.__aexit__(*error)


class WatchedStream:
    """What comes from the server."""

    def __init__(self, inner: Any, ended: Callable[[], None]) -> None:
        self._inner, self._ended = inner, ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __aenter__(self) -> WatchedStream:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._inner.__aexit__(*error)

    def __aiter__(self) -> WatchedStream:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._inner.__anext__()
        except Exception:  # StopAsyncIteration, or closed from within
            self._ended()
            raise


def _answers() -> frozenset[int]:
    """Codes of errors by which a living server answers a call."""
    from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND

    return frozenset({INVALID_PARAMS, METHOD_NOT_FOUND, INTERNAL_ERROR})


def leaf(error: BaseException) -> BaseException:
    """The first error that is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def why(error: BaseException) -> str:
    """What went wrong, in one line."""
    error = leaf(error)
    if isinstance(error, FileNotFoundError):
        return f"there is no program {error.filename}"
    return shortened(" ".join(str(error).split()) or type(error).__name__, SHOWN_CHARS)


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most} more characters)"
