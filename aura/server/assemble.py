"""Builds the process and each of its conversations from the configuration. Everything meets here and nowhere else."""

from __future__ import annotations

import gc
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import structlog
import trio

from aura.config import Config
from aura.core.ports import Kit
from aura.core.wire.session_object import RealtimeSession
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.observe.otel import open_spans
from aura.observe.stalls import PassWatch, log_stall
from aura.providers import registry
from aura.providers.http import open_http
from aura.providers.observed import observed
from aura.providers.offline import vad
from aura.server.auth import Gate, check_reach
from aura.server.books import Books, Library
from aura.server.budget import Budget
from aura.server.client_secrets import ClientSecrets
from aura.server.denial import FLOODING, turn_away
from aura.server.drain import Drain, drain_on_signal
from aura.server.handshake import Request
from aura.server.http import LazyApp, pages
from aura.server.listener import serve as listen_on
from aura.server.operator import link, operator_key
from aura.server.realtime_api import models_of, realtime_routes
from aura.server.sessions import session_routes
from aura.server.socket import Closed, Socket
from aura.session.build import Who, hold, sections_of
from aura.session.line import Ended, Line
from aura.session.run import SLOW
from aura.session.steps import RecordedLine, RecordedSteps, Steps
from aura.storage.journals import open_journals
from aura.storage.keyring import KeyRing
from aura.storage.recordings import open_recordings

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

log = structlog.get_logger()

TOLD = ("model", "persona", "tenant", "aura")
"""What of a client's address is looked at, logged and recorded: the rest may hold a key."""
COLLECT_AFTER = (20_000, 20, 50)
"""Thresholds of the garbage collector's three generations."""
SLOW_STEP_S = 0.1
"""A step of a task that blocks the event loop for longer is logged."""


@asynccontextmanager
async def open_kit(config: Config, health: Health) -> AsyncIterator[Kit]:
    """The engines of the process, ready to use."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_http(config.http))
        names = {part: config.engine(part) for part in registry.ENGINES}

        def settings(part: registry.Part, name: str) -> object:
            return getattr(config, registry.engine(part, name).section)

        stt = await stack.enter_async_context(registry.open_stt(names["stt"], settings("stt", names["stt"]), http))
        chat = await stack.enter_async_context(registry.open_chat(names["chat"], settings("chat", names["chat"]), http))
        tts = await stack.enter_async_context(registry.open_tts(names["tts"], settings("tts", names["tts"]), http))
        backup = tts
        if names["tts"] != "offline":
            backup = await stack.enter_async_context(registry.open_tts("offline", settings("tts", "offline"), http))
        ready = getattr(stt, "why_not_ready", None)
        if ready is not None:
            health.add("speech to text", ready)
        toolbox = import_module("aura.providers.tools.builtin").default_toolbox()
        yield Kit(stt, chat, tts, backup, lambda: vad.make_detector(config.vad), toolbox)


class House:
    """All conversations of the process share this."""

    def __init__(self, config: Config, kit: Kit, library: Library) -> None:
        self.config, self.kit, self.library = config, kit, library
        self.sections = sections_of(config)
        self.warm_up = [engine.warm for engine in (kit.stt, kit.chat, kit.tts) if hasattr(engine, "warm")]

    async def hold(self, socket: Socket, request: Request) -> None:
        """One conversation, from the accepted WebSocket to its end."""
        if self.config.vad.detector == "silero":
            await trio.to_thread.run_sync(vad.load_model)  # at once, but for the first conversations after the start
        principal = request.principal
        asked = {name: request.query[name] for name in TOLD if name in request.query}
        if principal.tenant:
            asked["tenant"] = principal.tenant
        who = Who(f"sess_{secrets.token_hex(8)}", asked)
        with self.library.books(who, self.sections, self.kit) as books:
            key = {} if principal.anonymous else {"key_id": principal.key_id}
            log.info("conversation.begun", path=request.path, journal=books.place, **key, **asked)
            server = self.config.server
            line = SocketLine(socket, Budget(server.events_per_s_max, server.events_burst_max))
            books.why = why = await self.converse(line, who, books)
            log.info("conversation.ended", why=why)
            if why == SLOW:
                log.warning("client.slow")
            code = 1008 if why == SLOW else 1011 if why.startswith("bug") else 1000
            await socket.close(code, why)

    def routes(self, gate: Gate) -> Sequence[BaseRoute]:
        """The REST side of the protocol."""
        chat = getattr(self.config, registry.engine("chat", self.config.engine("chat")).section)

        def describe() -> RealtimeSession:
            return Who(f"sess_{secrets.token_hex(8)}").describe(self.sections)

        return realtime_routes(gate, self.config.server, describe, models_of(getattr(chat, "chat_model", "")))

    async def converse(self, line: Line, who: Who, books: Books) -> str:
        """Hold the conversation, with the engines and the line seen through the recording."""
        steps: Steps = Steps()
        if books.recording:
            steps = RecordedSteps(books.recording)
            line = RecordedLine(line, steps, books.recording)
        kit = observed(self.kit, steps, books.call)
        return str(await steps.root(hold, self.sections, who, kit, line, steps, books.taps, self.warm_up))


class SocketLine:
    """The server's socket as the session's line."""

    def __init__(self, socket: Socket, budget: Budget) -> None:
        self._socket, self._spend = socket, budget.spend

    async def receive(self) -> str | bytes:
        """The next message; raises Ended."""
        try:
            message = await self._socket.receive()
            if not self._spend():
                log.warning("client.flooding", messages=self._socket.messages_in)
                await turn_away(self._socket, FLOODING)
                raise Closed(FLOODING.close_code, FLOODING.reason)
        except Closed as end:
            raise Ended(f"closed {end.code} {end.reason}".strip()) from None
        return message

    async def send(self, *messages: str | bytes) -> None:
        """Send messages; raises Ended."""
        try:
            await self._socket.send(*messages)
        except Closed as end:
            raise Ended(f"closed {end.code} {end.reason}".strip()) from None


async def serve(config: Config, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Run AURA until it is told to stop; reports the port. Raises ConfigError."""
    health, metrics, drain = Health(), Metrics(), Drain()
    storage, server = config.storage, config.server
    gate = await open_gate(config, metrics)

    def stalled(task: str, seconds: float) -> None:
        metrics.observe("loop_stall_seconds", seconds)
        log_stall(task, seconds)

    trio.lowlevel.add_instrument(PassWatch(SLOW_STEP_S, stalled))
    async with (
        open_journals(config.storage) as journals,
        open_recordings(config.recording, config.storage.data_dir) as recordings,
        open_kit(config, health) as kit,
        open_spans(config.otel) as spans,
    ):
        house = House(config, kit, Library(config, journals, recordings, spans, metrics))
        async with trio.open_nursery() as nursery:
            await nursery.start(drain_on_signal, drain, server.drain_grace_s, server.drain_close)
            await nursery.start(gate.watch)
            nursery.start_soon(trio.to_thread.run_sync, vad.load_model)
            key = operator_key(server.operator_key, server.host, storage.data_dir, recording=storage.record)
            app = pages(health, metrics, drain, lambda: [*session_routes(storage.data_dir, key), *house.routes(gate)])
            port = await nursery.start(serve_port, config, house, app, metrics, drain, gate, nursery.cancel_scope)
            task_status.started(port)
            if key and sys.stderr.isatty():  # for the operator's eyes: a log would keep it
                address = link("https" if server.tls_cert else "http", server.host, port, key)
                sys.stderr.write(f"sessions: {address}\n")
            calm_collector()


async def open_gate(config: Config, metrics: Metrics) -> Gate:
    """Who may come in. Raises KeysError, and ConfigError where anybody could."""
    server = config.server
    ring = KeyRing(config.storage.data_dir, server.keys_check_s)
    await ring.load()
    check_reach(server.host, ring, open_to_all=server.open_to_all)
    log.info("server.access", keys=ring.count, open_to_all=server.open_to_all)
    return Gate(ring, ClientSecrets(server.client_secrets_max), metrics, open_to_all=server.open_to_all)


def calm_collector() -> None:
    """Take what was built at start out of the garbage collector's rounds, and let these come less often.

    A conversation makes little cyclic garbage; full rounds over everything cost milliseconds that callers hear.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def serve_port(
    config: Config,
    house: House,
    app: LazyApp,
    metrics: Metrics,
    drain: Drain,
    gate: Gate,
    whole: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until the drain is over, then end the process's other tasks."""
    await listen_on(config.server, house.hold, app, drain=drain, metrics=metrics, gate=gate, task_status=task_status)
    whole.cancel()
