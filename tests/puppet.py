"""A scripted server for the tests of the web page: it speaks the real wire and does what the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import trio
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aura.core.wire.ids import id_source
from aura.core.wire.realtime import Frame, RealtimeView
from aura.core.wire.session_object import RealtimeSession, opt_in_patch
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.server.auth import Gate
from aura.server.drain import Drain
from aura.server.handshake import Request
from aura.server.http import pages
from aura.server.listener import serve
from aura.server.principal import ANYBODY
from aura.server.settings import ServerSettings
from aura.server.socket import Closed, Socket
from tests.browser import Browser, Tab

RATE_HZ = 24_000
TEXT = "One two three four five six seven eight nine ten."


def tone(seconds: float) -> bytes:
    """A tone as PCM16."""
    at = np.arange(round(RATE_HZ * seconds)) / RATE_HZ
    return (8000 * np.sin(2 * np.pi * 440 * at)).astype("<i2").tobytes()


class Door:
    """How the server receives its clients."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.shut: tuple[int, str] | None = None
        """Everybody is sent away with this code."""
        self.remembers = True
        self.deaf = False
        """Nothing of what arrives is taken."""
        self.key = ""
        """Without it no secret is given."""
        self.gate, self.secrets = Gate(), list[str]()

    async def make_secret(self, request: HttpRequest) -> Response:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "a key is needed", "code": "invalid_api_key"}}, 401)
        assert (await request.json())["session"]["type"] == "realtime"
        value, expires_at = self.gate.secrets.make(ANYBODY, {}, 600, self.gate.wall())
        self.secrets.append(value)
        return JSONResponse({"value": value, "expires_at": expires_at})

    @property
    def offered(self) -> list[tuple[str, ...]]:
        """The sub-protocols of every connection."""
        return [request.subprotocols for request in self.requests]


class Puppet:
    """A server whose conversations do what the test says. The fields are what a test looks at."""

    def __init__(self) -> None:
        self.port = 0
        self.health, self.drain = Health(), Drain()
        self.view = RealtimeView(RealtimeSession(id="", model=""), id_source(b""))
        self.socket: Socket | None = None
        self.conversations = 0
        self.messages: list[dict[str, Any]] = []
        self.frames: list[bytes] = []
        self.door = Door()
        self.items: list[dict[str, Any]] = []
        """What a client that comes back is told."""

    async def hold(self, socket: Socket, request: Request) -> None:
        self.door.requests.append(request)
        if self.door.shut:
            await socket.close(*self.door.shut)
            return
        self.socket = socket
        if request.query.get("resume") == self.view.session.id and self.door.remembers:
            await self.back()
        else:
            await self.begin(request)
        try:
            while True:
                await self.take(await socket.receive())
        except Closed:
            self.socket = None

    async def begin(self, request: Request) -> None:
        """A new conversation."""
        self.conversations += 1
        self.frames.clear()
        session = RealtimeSession(id=f"sess_{self.conversations}", model="aura")
        self.view = RealtimeView(session.apply(opt_in_patch(request.query["aura"])), id_source(session.id.encode()))
        await self.send(self.view.hello())

    async def back(self) -> None:
        """The client goes on with its conversation."""
        await self.send(self.view.hello())
        taken = sum(map(len, self.frames))
        await self.event("aura.resumed", session_id=self.view.session.id, input_bytes=taken, items=self.items)

    async def take(self, raw: str | bytes) -> None:
        if self.door.deaf:
            return
        if isinstance(raw, bytes):
            self.frames.append(raw)
            return
        message = msgspec.json.decode(raw)
        if message["type"] == "session.update":
            await self.send(self.view.updated(self.view.session.apply(message["session"])))
        self.messages.append(message)

    async def event(self, kind: str, **fields: Any) -> None:
        """Any event, as text."""
        assert self.socket
        await self.socket.send(msgspec.json.encode({"type": kind, "event_id": "e", **fields}).decode())

    async def lose(self) -> None:
        """Break the connection, as far as the client can see."""
        assert self.socket
        await self.socket.close(1011, "test")

    async def send(self, frames: Sequence[Frame]) -> None:
        assert self.socket
        await self.socket.send(*frames)

    async def move(self, *states: str) -> None:
        for was, now in pairwise(states):
            await self.send(self.view.state(was, now, "Test"))

    async def turn(self, number: int, words: str) -> None:
        """The user says something."""
        view = self.view
        await self.send(view.speech_started(number, 0) + view.speech_stopped(number, 900) + view.committed(number))
        await self.send(view.transcript(number, words, 0.9) + view.response_created(number, number))

    async def speak(self, reply: int, text: str, seconds: float) -> None:
        """More of an answer, all at once."""
        await self.send(self.view.say(reply, text) + self.view.audio(reply, tone(seconds)))

    async def got(self, kind: str, timeout_s: float = 3.0) -> dict[str, Any]:
        """The newest message of that type, once there is one; it is taken out."""
        with trio.fail_after(timeout_s):
            while not (found := [message for message in self.messages if message["type"] == kind]):  # noqa: ASYNC110
                await trio.sleep(0.02)
        self.messages = [message for message in self.messages if message["type"] != kind]
        return found[-1]


@asynccontextmanager
async def puppet_show(**settings: Any) -> AsyncIterator[Puppet]:
    """A scripted server with AURA's own listener and static files."""
    puppet = Puppet()
    limits = ServerSettings(port=0, close_timeout_s=0.3, **settings)

    secrets = Route("/v1/realtime/client_secrets", puppet.door.make_secret, methods=["POST"])

    async def start(task_status: trio.TaskStatus[int]) -> None:
        app = pages(puppet.health, Metrics(), puppet.drain, lambda: [secrets])
        await serve(limits, puppet.hold, app, drain=puppet.drain, gate=puppet.door.gate, task_status=task_status)

    async with trio.open_nursery() as nursery:
        puppet.port = await nursery.start(start)
        yield puppet
        nursery.cancel_scope.cancel()


async def opened(running: Browser, port: int, host: str = "127.0.0.1") -> Tab:
    """The page."""
    tab = await running.tab()
    await tab.looks(width=1280, height=800)
    await tab.open(f"http://{host}:{port}/")
    return tab


def text_of(selector: str) -> str:
    return f"document.querySelector({selector!r})?.innerText"


async def talk(tab: Tab, puppet: Puppet) -> None:
    """Turn the microphone on and wait for its audio."""
    await tab.run("document.getElementById('mic').focus()")
    await tab.press("Enter")
    await tab.until("aura.stats.framesSent > 5")
    await tab.until(f"{text_of('#connection')} === 'Connected'")
    assert puppet.frames


async def silence(tab: Tab) -> None:
    """Wait until nothing is played any more; the audio that could be must last longer than this."""
    before = -1
    with trio.fail_after(2):
        while before != (now := await tab.run("aura.stats.playedSamples")):
            before = now
            await trio.sleep(0.2)
