"""One TCP port that speaks HTTP/1.1 and WebSocket, well or badly: what every fake provider is built on.

Requests are read with h11 and WebSocket frames with wsproto; answers are written by hand, because a fake has to be able
to break every rule. While an answer streams the socket is watched, so that it is known when the client has gone.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import trio
from wsproto.utilities import RemoteProtocolError

from tests.fakes.sockets import Gone, Socket

READ = 65536
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError, RemoteProtocolError, Gone)
"""Clients may break a connection at any moment; `disconnected_at` tells."""


@dataclass
class Answer:
    """How one request is answered."""

    kind: str
    steps: Iterable[bytes | float] = field(default_factory=list)
    """Bytes are one HTTP chunk, numbers seconds of silence. A generator is asked for the next one when it is due."""
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    head_delay_s: float = 0.0
    """Silence before status and headers."""
    after: Literal["end", "hold", "cut", "reset"] = "end"
    """End the body; keep it open for ever; close in the middle of it; reset the connection."""
    framing: Literal["chunked", "length", "close", "raw", "broken", "none"] = "chunked"
    """`raw`: no framing but what `headers` say. `broken`: chunked, the last chunk is none. `none`: not even a head."""
    lead: int = 0
    """How many chunks come before the first that holds anything worth waiting for."""


@dataclass
class Part:
    """One field of a multipart form."""

    value: bytes
    filename: str | None = None
    content_type: str | None = None


@dataclass(eq=False)
class Seen:
    """One request as it arrived, and what became of its answer. Times are Trio's."""

    kind: str
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float
    method: str = "POST"
    target: str = "/"
    vendor: str = ""
    fault: str = ""
    """The fault that it met."""
    disconnected_at: float | None = None
    chunks_sent: int = 0
    """Chunks of an HTTP body, or messages with content on a WebSocket."""
    chunk_times: list[float] = field(default_factory=list)
    """When each of them was made."""
    answered: bool = False
    ended_at: float | None = None
    """When the answer was complete, or nobody was left to hear it."""
    over: trio.Event = field(default_factory=trio.Event)
    """Set at that moment."""
    messages: list[Any] = field(default_factory=list)
    """WebSocket: the JSON texts that came in, in order."""
    audio: bytearray = field(default_factory=bytearray)
    """WebSocket: the binary messages that came in, joined."""
    close_code: int | None = None
    """WebSocket: the code with which the client closed."""

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The query with names that may come twice."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, Part]:
        return parse_form(self.headers["content-type"], self.body)

    @property
    def websocket(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"

    def chunks_after(self, moment: float | None) -> int:
        """How many chunks were made later than this (the moment of a barge-in, or `disconnected_at`)."""
        return 0 if moment is None else sum(made > moment for made in self.chunk_times)

    def end(self) -> None:
        """Nothing more is sent."""
        self.ended_at = trio.current_time()
        self.over.set()

    def count(self) -> None:
        """One more chunk is made."""
        self.chunk_times.append(trio.current_time())


@dataclass(eq=False)
class Link:
    """One TCP connection and what was read from it too early."""

    stream: trio.SocketStream
    number: int
    rest: bytes = b""
    idle: trio.CancelScope | None = None
    """Cancelled to end a connection between two requests."""


class Server:
    """What all fakes have in common; subclasses say what is answered."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.links: set[Link] = set()
        self.refusing = False
        """No request is taken any more, on connections that are open neither."""

    def classify(self, seen: Seen) -> None:
        """Fill in what the table of addresses knows about a request."""

    async def reply(self, seen: Seen) -> Answer:
        """The answer to a plain request."""
        raise LookupError(seen.target)

    async def talk(self, seen: Seen, socket: Socket) -> Answer | None:
        """Hold a conversation on a WebSocket; an `Answer` refuses it (before `socket.accept`)."""
        raise LookupError(seen.target)

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection: requests one after the other until somebody closes it."""
        self.connections += 1
        link = Link(stream, self.connections)
        self.links.add(link)
        try:
            while not self.refusing and (seen := await receive(link)) is not None:
                self.classify(seen)
                self.seen.append(seen)
                if not await (self.upgrade(link, seen) if seen.websocket else self.respond(link, seen)):
                    break
        except* GONE:
            pass
        finally:
            self.links.discard(link)
            await trio.aclose_forcefully(stream)

    async def respond(self, link: Link, seen: Seen) -> bool:
        """Answer, watching at the same time whether the client is still there. True: the connection can go on."""
        again = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, link, seen, nursery.cancel_scope)
                answer = await self.reply(seen)
                await send(link.stream, answer, seen)
                seen.answered = True
                again = answer.after == "end" and answer.framing in ("chunked", "length")
                nursery.cancel_scope.cancel()
        finally:
            seen.end()
        return again and seen.disconnected_at is None and "close" not in seen.headers.get("connection", "").lower()

    async def upgrade(self, link: Link, seen: Seen) -> bool:
        """A WebSocket, to its end."""
        socket = Socket(link.stream, seen, link.rest)
        try:
            refusal = await self.talk(seen, socket)
            if refusal is None:
                await socket.close(1000)
                return False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, link, seen, nursery.cancel_scope)
                await send(link.stream, refusal, seen)
                nursery.cancel_scope.cancel()
        finally:
            seen.end()
        return False


async def watch(link: Link, seen: Seen, scope: trio.CancelScope) -> None:
    """Notice the end of the connection; keep what a hasty client already sends."""
    while True:
        try:
            data = await link.stream.receive_some(READ)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            break
        link.rest += bytes(data)
    seen.disconnected_at = trio.current_time()
    scope.cancel()


async def receive(link: Link) -> Seen | None:
    """The next whole request, None when the client has gone."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=4 * READ)
    if link.rest:
        http.receive_data(link.rest)
    request, body = None, []
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                await link.stream.send_all(
                    http.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")) or b""
                )
            with trio.CancelScope() as scope:
                link.idle = scope if request is None else None
                http.receive_data(await link.stream.receive_some(READ))
            if scope.cancelled_caught:
                return None
        elif isinstance(event, h11.Request):
            request, link.idle = event, None
        elif isinstance(event, h11.Data):
            body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            link.rest, link.idle = http.trailing_data[0], None
            headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
            return Seen(
                "", headers, b"".join(body), link.number, trio.current_time(),
                request.method.decode(), request.target.decode(),
            )  # fmt: skip
        else:
            return None


def head_of(answer: Answer, seen: Seen) -> bytes:
    """Status line and headers."""
    headers = {"content-type": answer.content_type, "x-request-id": f"req_{id(seen):x}", **answer.headers}
    if answer.framing == "length":
        assert isinstance(answer.steps, Sequence), "a length is only known of a list"
        headers["content-length"] = str(sum(len(step) for step in answer.steps if isinstance(step, bytes)))
    elif answer.framing == "close":
        headers["connection"] = "close"
    elif answer.framing != "raw":
        headers["transfer-encoding"] = "chunked"
    phrase = HTTPStatus(answer.status).phrase if answer.status in set(HTTPStatus) else "x"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items() if value)]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


async def send(stream: trio.SocketStream, answer: Answer, seen: Seen) -> None:
    """Write an answer step by step."""
    if answer.head_delay_s:
        await trio.sleep(answer.head_delay_s)
    chunked = answer.framing in ("chunked", "broken")
    if answer.framing != "none":
        await stream.send_all(head_of(answer, seen))
    for step in answer.steps:
        if not isinstance(step, bytes):
            await trio.sleep(step)
        elif step:
            seen.count()
            await stream.send_all(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
            seen.chunks_sent += 1
    if answer.framing == "broken":
        await stream.send_all(b"this is no chunk size\r\n")
    if answer.after == "hold":
        await trio.sleep_forever()
    elif answer.after == "reset":
        reset(stream)
    elif answer.after == "end" and answer.framing == "chunked":
        await stream.send_all(b"0\r\n\r\n")


def reset(stream: trio.SocketStream) -> None:
    """Close so that the other side sees a reset."""
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def parse_form(content_type: str, body: bytes) -> dict[str, Part]:
    """Strict multipart/form-data: every part named, nothing outside of the parts."""
    found = re.fullmatch(r'multipart/form-data; boundary="?([^"]+)"?', content_type)
    assert found, content_type
    mark = b"--" + found[1].encode()
    assert body.startswith(mark + b"\r\n"), body[:80]
    assert body.endswith(b"\r\n" + mark + b"--\r\n"), body[-80:]
    parts = {}
    for raw in body[len(mark) + 2 : -len(mark) - 6].split(b"\r\n" + mark + b"\r\n"):
        head, _, value = raw.partition(b"\r\n\r\n")
        name = re.search(rb'form-data; name="([^"]*)"', head)
        filename, kind = re.search(rb'; filename="([^"]*)"', head), re.search(rb"(?i)content-type: (\S+)", head)
        assert name, head
        parts[name[1].decode()] = Part(
            value, filename[1].decode() if filename else None, kind[1].decode() if kind else None
        )
    return parts


def document(kind: str, payload: object, status: int = 200, **more: Any) -> Answer:
    """A JSON document."""
    body = json.dumps(payload).encode()
    return Answer(kind, [body], status, content_type="application/json", framing="length", **more)


def page(kind: str, status: int, text: str, **more: Any) -> Answer:
    """A text, which may be HTML."""
    form = "text/html" if text.startswith("<") else "text/plain; charset=utf-8"
    return Answer(kind, [text.encode()], status, content_type=form, framing="length", **more)
