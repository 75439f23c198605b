"""The one place where HTTP clients are built: one pool per engine address, shared by every conversation.

Measured with 60 streams at a time (µs of CPU for a chat answer of 40 tokens / a spoken sentence of 22 pieces):
`openai` over httpx 7900 / 9100, `httpx.AsyncClient` 7500 / 9100, the same client on `transport.Pool` 3200 / 1900,
the pool called directly, all decoding included, 3000 / 1600 (bare sockets: 1900 / 1050). With 200 streams on one core
a chunk costs, above bare sockets, 158 µs with `openai`, 26 with its raw lines on our pool, 11 with our own reader
(`python -m tests.load.streams`, Nov 2026). So streams call the pool (`Endpoint.post`), with httpx's own Request and
Response; `Endpoint.client` is a full `httpx.AsyncClient` on the same connections for everything that is rare, such as
the calls made with the `openai` package.

httpx is imported when the first engine on the network is set up: offline conversations do not pay its 70 ms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec
import trio

from aura.core.errors import ConfigError
from aura.providers.deadlines import Deadlines

if TYPE_CHECKING:
    import ssl

    import httpx

    from aura.providers.transport import Exchange


MAX_URLS = 256
"""Addresses kept ready; where voices stand in the address, there may be many."""


class HttpSettings(msgspec.Struct, frozen=True):
    """Connections to engines on the network."""

    connect_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    """Longest wait for a connection, encryption included, and for an engine that does not take in what is sent."""
    keepalive_s: Annotated[float, msgspec.Meta(ge=0)] = 120.0
    """How long an unused connection is kept, so that the next turn need not connect again."""
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Most connections to one address at the same time; a conversation uses up to three."""


class Endpoint:
    """One engine address, such as https://api.openai.com/v1, and the connections to it. Else raises ConfigError."""

    def __init__(
        self, base_url: str, settings: HttpSettings, deadlines: Deadlines, tls: Callable[[], ssl.SSLContext]
    ) -> None:
        import httpx

        from aura.providers.transport import Pool

        try:
            self.base_url = httpx.URL(base_url)
        except httpx.InvalidURL:
            self.base_url = httpx.URL("")
        if self.base_url.scheme not in ("http", "https") or not self.base_url.host:
            raise ConfigError(f"base_url {base_url!r} is no address; it looks like https://api.openai.com/v1")
        self._urls: dict[str, httpx.URL] = {}
        self._pool = Pool(
            self.base_url,
            deadlines,
            keepalive_s=settings.keepalive_s,
            max_connections=settings.max_connections,
            connect_timeout_s=settings.connect_timeout_s,
            tls=tls() if self.base_url.scheme == "https" else None,
        )
        self.tls = self._pool.tls
        """How to encrypt a connection to this address, for WebSockets. None: not at all."""
        self.client = httpx.AsyncClient(transport=self._pool, base_url=self.base_url, timeout=30.0)
        """For rare calls. Uses the same connections."""
        self.refused: dict[str, list[str]] = {}
        """Optional fields of a request that the engine has refused, by model; they are not sent again."""

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], head_timeout_s: float) -> Answer:
        """Send a request and wait for status and headers, at most `head_timeout_s` once connected.

        `path` may carry a query; it is sent as it is.

        Raises httpx's exceptions. The caller closes the answer, whatever happens.
        """
        return await self._send("POST", path, body, headers, head_timeout_s)

    async def get(self, path: str, headers: Mapping[str, str], head_timeout_s: float) -> Answer:
        """As `post`, without a body."""
        return await self._send("GET", path, None, headers, head_timeout_s)

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], head_timeout_s: float
    ) -> Answer:
        import httpx

        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= MAX_URLS:
                self._urls.clear()
            base = self.base_url.raw_path.rstrip(b"/")
            url = self._urls[path] = self.base_url.copy_with(raw_path=base + path.encode("ascii"))
        limits = {"timeout": {"read": head_timeout_s}}
        request = httpx.Request(method, url, headers=headers, content=body, extensions=limits)
        return Answer(await self._pool.handle_async_request(request))

    async def warm(self) -> None:
        """Connect in advance if no connection is waiting to be used. Raises httpx's exceptions."""
        await self._pool.warm()

    async def aclose(self) -> None:
        """Close all connections at once."""
        await self.client.aclose()


class Answer:
    """A response whose body has only begun to arrive."""

    __slots__ = ("_exchange", "content_type", "headers", "read", "status")

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers = response.status_code, response.headers
        self.content_type = str(self.headers.get("content-type", "")).lower()
        """The media type in lower case, with its parameters."""
        stream = response.stream
        self._exchange: Exchange = stream  # type: ignore[assignment]
        self.read: Callable[[float], Awaitable[bytes]] = self._exchange.read
        """Whatever has come since the last call, waiting until a deadline (Trio time); b"" at the end of the body."""

    async def read_all(self, deadline: float, limit: int) -> bytes:
        """The rest of the body, cut off at about `limit` bytes."""
        parts, size = [], 0
        while size < limit and (part := await self.read(deadline)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def complete(self) -> bool:
        """Whether nothing more is to come, so that closing keeps the connection."""
        return self._exchange.complete()

    def close(self) -> None:
        """Keep the connection if the body is complete, else close it, which makes the engine stop. Never waits."""
        self._exchange.close()


class Http:
    """All endpoints in use, by base URL."""

    def __init__(self, settings: HttpSettings, deadlines: Deadlines) -> None:
        self._settings, self._deadlines = settings, deadlines
        self._endpoints: dict[str, Endpoint] = {}
        self._tls: ssl.SSLContext | None = None

    def endpoint(self, base_url: str) -> Endpoint:
        """The one endpoint for this address. The first https address loads the certificates (30 ms)."""
        key = base_url.rstrip("/")
        if key not in self._endpoints:
            self._endpoints[key] = Endpoint(key, self._settings, self._deadlines, self._certificates)
        return self._endpoints[key]

    def _certificates(self) -> ssl.SSLContext:
        if self._tls is None:
            from aura.providers import transport

            self._tls = transport.tls_context()
        return self._tls

    async def aclose(self) -> None:
        """Close all connections at once."""
        for endpoint in self._endpoints.values():
            await endpoint.aclose()


@asynccontextmanager
async def open_http(settings: HttpSettings | None = None) -> AsyncIterator[Http]:
    """The connections of a whole process; leaving the context closes them."""
    deadlines = Deadlines()
    http = Http(settings or HttpSettings(), deadlines)
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        try:
            yield http
        except Exception as error:
            failed = error  # raised outside of the nursery, which would wrap it in a group
        finally:
            await http.aclose()  # closes sockets without waiting for anybody: no shield needed
            nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed
