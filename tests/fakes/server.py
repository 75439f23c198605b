"""All fake providers at once, each on a port of its own.

    async with serve_fakes(World(heard=["hello"], says=lambda messages: "Hi.")) as fakes:
        ... settings(base_url=fakes.url("openai"), ws_url=fakes.ws_url("xai")) ...
        fakes.fault("chat", "silent", times=1, vendor="openai")
        assert fakes.of("chat")[0].json["stream"]

Real sockets in real time: do not combine with autojump_clock.
"""

from __future__ import annotations

import re
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.fakes import faults
from tests.fakes.faults import Fault, Plan
from tests.fakes.sockets import Socket
from tests.fakes.wire import Answer, Seen, Server, document
from tests.fakes.world import World


@dataclass
class Call:
    """One request on its way to a dialect."""

    seen: Seen
    world: World
    vendor: Vendor
    names: dict[str, str]
    """What the address pattern found."""
    fault: Fault | None

    def has(self, name: str) -> bool:
        """Whether the dialect is asked to misbehave in this way."""
        return self.fault is not None and self.fault.name == name

    def option(self, name: str, default: Any) -> Any:
        """A parameter of the fault."""
        return self.fault.options.get(name, default) if self.fault else default


Http = Callable[[Call], Awaitable[Answer]]
Ws = Callable[[Call, Socket], Awaitable[None]]
InBand = Callable[[str], tuple[dict[str, Any], int]]


@dataclass
class Route:
    """An address and who answers there."""

    pattern: str
    kind: str | Callable[[Seen], str]
    http: Http | None = None
    ws: Ws | None = None
    in_band: InBand | None = None
    """Instead of the dialect's."""

    def __post_init__(self) -> None:
        self.regex = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.pattern))


@dataclass
class Dialect:
    """How a vendor speaks: its addresses and its errors."""

    routes: list[Route]
    base: str = "/v1"
    refuse: Callable[[str, str], tuple[int, Any]] = faults.openai_error
    """Status and body for a kind of error: unauthorized, rate_limited, quota, error_500, overloaded."""
    check_key: Callable[[Call], Answer | None] = lambda _: None
    in_band: InBand = lambda kind: ({"type": "error", "message": kind}, 1011)
    """The message that tells such an error on a WebSocket that is open, and the close code after it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What tells servers of the same dialect apart."""


class Vendor(Server):
    """One provider: a dialect on a port."""

    def __init__(self, name: str, dialect: Dialect, fakes: Fakes) -> None:
        super().__init__()
        self.name, self.dialect, self.fakes = name, dialect, fakes
        self.state: dict[str, Any] = {}
        """What a dialect remembers: rate limits, sessions."""
        self.port = 0
        self._socket: socket.socket
        self._scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery

    def running(self, kind: str = "") -> int:
        """How many requests are being answered."""
        return sum(seen.ended_at is None for seen in self.seen[-1000:] if not kind or seen.kind == kind)

    def route(self, seen: Seen) -> tuple[Route | None, dict[str, str]]:
        """Who answers."""
        for route in self.dialect.routes:
            if (route.ws if seen.websocket else route.http) and (found := route.regex.fullmatch(seen.path)):
                return route, found.groupdict()
        return None, {}

    def classify(self, seen: Seen) -> None:
        """The kind comes from the table, the fault from the request or from the plan."""
        route, _ = self.route(seen)
        kind = route.kind if route else "unknown"
        seen.vendor, seen.kind = self.name, kind(seen) if callable(kind) else kind

    def call(self, seen: Seen) -> tuple[Route | None, Call]:
        """Everything that a dialect wants to know."""
        route, names = self.route(seen)
        fault = self.fakes.plan.take(seen)
        seen.fault = fault.name if fault else ""
        return route, Call(seen, self.fakes.world, self, names, fault)

    async def reply(self, seen: Seen) -> Answer:
        """Control, then the fault that replaces an answer, then the dialect, then the fault that bends it."""
        if seen.path == "/_fakes/fault":
            return await self.fakes.control(seen)
        route, call = self.call(seen)
        if route is None:
            return document("unknown", self.dialect.refuse("not_found", f"No such address: {seen.path}")[1], 404)
        instead = faults.instead(call) or self.dialect.check_key(call)
        if instead is not None:
            return instead
        assert route.http
        return faults.bend(call, await route.http(call))

    async def talk(self, seen: Seen, ws: Socket) -> Answer | None:
        """The same for a WebSocket."""
        route, call = self.call(seen)
        if route is None:
            return document("unknown", self.dialect.refuse("not_found", f"No such address: {seen.path}")[1], 404)
        refusal = faults.instead(call) or self.dialect.check_key(call)
        if refusal is not None:
            return refusal
        if not await faults.gate(call, ws, route.in_band or self.dialect.in_band):
            return None
        assert route.ws
        await route.ws(call, ws)
        return None

    def run(self, nursery: trio.Nursery, port: int) -> None:
        """Listen."""
        self._nursery = nursery
        self._bind(port)
        self._listen()

    def _bind(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def _listen(self) -> None:
        self._socket.listen(500)
        self._scope = trio.CancelScope()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))
        self._nursery.start_soon(self._serve, self._scope, listener)

    async def _serve(self, scope: trio.CancelScope, listener: trio.SocketListener) -> None:
        with scope:
            await trio.serve_listeners(self._handle, [listener], handler_nursery=self._nursery)

    async def _handle(self, stream: trio.SocketStream) -> None:
        if not self.fakes.lenient:
            return await self.handle(stream)
        try:
            await self.handle(stream)
        except* Exception as group:
            traceback.print_exception(group)
        return None

    def close(self) -> None:
        """The end."""
        self._socket.close()

    def refuse(self, refuse: bool) -> None:
        """Stop or start to listen, at once; connections between two requests are closed as well."""
        self.refusing = refuse
        if refuse and self._scope:
            self._scope.cancel()
            self._scope = None
            self._socket.close()
            self._bind(self.port)  # keeps the port; who connects is refused
            for link in self.links:
                if link.idle:
                    link.idle.cancel()
        elif not refuse and not self._scope:
            self._listen()


class Fakes:
    """The running fakes: addresses, faults, and what was asked of them."""

    def __init__(self, world: World, *, lenient: bool = False) -> None:
        self.world = world
        self.lenient = lenient
        """Whether a request that breaks a dialect ends only its own connection; in tests it fails the test."""
        self.vendors: dict[str, Vendor] = {}
        self.plan = Plan()

    def url(self, vendor: str) -> str:
        """The base address that clients are given, /v1 included where the vendor has it."""
        found = self.vendors[vendor]
        return f"http://127.0.0.1:{found.port}{found.dialect.base}"

    def ws_url(self, vendor: str) -> str:
        """The same for WebSockets."""
        return self.url(vendor).replace("http:", "ws:", 1)

    @property
    def seen(self) -> list[Seen]:
        """Every request, in the order of their arrival."""
        return sorted((seen for vendor in self.vendors.values() for seen in vendor.seen), key=lambda seen: seen.at)

    def of(self, kind: str, vendor: str = "") -> list[Seen]:
        """Those of one kind, of one vendor if it is named."""
        return [seen for seen in self.seen if seen.kind == kind and vendor in ("", seen.vendor)]

    def fault(self, kind: str, name: str, times: int | None = None, vendor: str = "", **options: Any) -> None:
        """Requests of this kind (chat, stt, tts, …, an address like /v1/tts, or *) go wrong from now on, or n times.

        `refused` closes the vendor's port, whatever the kind, until `clear`.
        """
        self.plan.add(Fault(name, options), kind, vendor, times)
        self._ports()

    def clear(self, kind: str = "*", vendor: str = "") -> None:
        """Faults end: those of this kind, or all."""
        self.plan.clear(kind, vendor)
        self._ports()

    def _ports(self) -> None:
        for name, vendor in self.vendors.items():
            vendor.refuse(self.plan.refuses(name))

    async def control(self, seen: Seen) -> Answer:
        """`POST /_fakes/fault {"kind", "name", "times", "vendor", ...options}`; DELETE ends them; GET lists them."""
        if seen.method == "DELETE":
            self.clear(**(seen.json if seen.body else {}))
        elif seen.method == "POST":
            asked = seen.json
            if asked.get("name") not in faults.NAMES:
                return document("control", {"error": f"no such fault; there are {sorted(faults.NAMES)}"}, 400)
            self.fault(**{"kind": "*", **asked})
        return document("control", {"faults": self.plan.rows()})


@asynccontextmanager
async def serve_fakes(
    world: World | None = None, *names: str, port: int = 0, lenient: bool = False, **more: str
) -> AsyncIterator[Fakes]:
    """Run these vendors (all unless named), from `port` on or anywhere.

    More servers of one dialect: `serve_fakes(world, "openai", backup="openai")`.
    """
    from tests.fakes.vendors import VENDORS

    wanted = {name: name for name in (names or () if names or more else VENDORS)} | more
    fakes = Fakes(world or World(), lenient=lenient)
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        for offset, (name, dialect) in enumerate(wanted.items()):
            fakes.vendors[name] = Vendor(name, VENDORS[dialect](), fakes)
            fakes.vendors[name].run(nursery, port + offset if port else 0)
        try:
            yield fakes
        except Exception as error:
            failed = error  # raised outside of the nursery, which would wrap it in a group
        nursery.cancel_scope.cancel()
    for vendor in fakes.vendors.values():
        vendor.close()
    if failed is not None:
        raise failed
