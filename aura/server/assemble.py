"""Builds the process and each of its conversations from the configuration. Everything meets here and nowhere else."""

from __future__ import annotations

import gc
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module

import structlog
import trio

from aura.config import Config
from aura.core.ports import Kit
from aura.core.wire.ids import id_source
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.observe.otel import open_spans
from aura.observe.stalls import PassWatch, log_stall
from aura.providers import registry
from aura.providers.http import open_http
from aura.providers.observed import observed
from aura.providers.offline import vad
from aura.server.books import Books, Library
from aura.server.drain import Drain, drain_on_signal
from aura.server.handshake import Request
from aura.server.http import LazyApp, pages
from aura.server.listener import serve as listen_on
from aura.server.operator import link, operator_key
from aura.server.resume import Attached, Lines, SocketLine, said_played
from aura.server.sessions import session_routes
from aura.server.socket import Socket
from aura.session.build import Who, hold, sections_of
from aura.session.line import Line
from aura.session.run import SLOW, close_code
from aura.session.steps import RecordedLine, RecordedSteps, Steps
from aura.storage.journals import open_journals
from aura.storage.recordings import open_recordings

log = structlog.get_logger()

TOLD = ("model", "persona", "tenant", "aura", "intent")
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

    def __init__(self, config: Config, kit: Kit, library: Library, nursery: trio.Nursery) -> None:
        self.config, self.kit, self.library, self.nursery = config, kit, library, nursery
        self.sections = sections_of(config)
        self.lines = Lines(config.server.resume_grace_s, 2 * config.server.conversations_max)
        self.warm_up = [engine.warm for engine in (kit.stt, kit.chat, kit.tts) if hasattr(engine, "warm")]

    async def hold(self, socket: Socket, request: Request) -> None:
        """One connection, to its end: of a new conversation, or of one that goes on."""
        attached = Attached(socket)
        name = request.query.get("resume") or request.query.get("conversation_id")
        earlier = self.lines.find(name, "") if name else None
        if earlier is not None:
            log.info("conversation.resumed", session=earlier.ident)
            earlier.take_over(attached, said_played(request.query))
        else:
            ident = f"sess_{secrets.token_hex(8)}"
            asked = {name: request.query[name] for name in TOLD if name in request.query}
            limit_s = self.config.session.max_s
            who = Who(ident, asked, expires_at=int(time.time() + limit_s) if limit_s else 0)
            line = SocketLine(attached, self.lines, ident, "")
            self.nursery.start_soon(self._conversation, line, who, request.path)
        await attached.released.wait()

    async def _conversation(self, line: SocketLine, who: Who, path: str) -> None:
        """A conversation from beginning to end; its connections come and go. Never raises."""
        leave = self.lines.enter(line, id_source(who.ident.encode())("conv"))
        code, why = 1011, "internal error"
        try:
            if self.config.vad.detector == "silero":
                await trio.to_thread.run_sync(vad.load_model)  # at once, but for the first ones after the start
            with self.library.books(who, self.sections, self.kit) as books:
                log.info("conversation.begun", path=path, journal=books.place, **who.query)
                books.why = why = await self.converse(line, who, books)
                log.info("conversation.ended", why=why)
                if why == SLOW:
                    log.warning("client.slow")
                code = close_code(why)
        except Exception as error:
            log.exception("conversation.crashed", error=type(error).__name__)
        finally:
            leave()
            await line.close(code, why)

    async def converse(self, line: Line, who: Who, books: Books) -> str:
        """Hold the conversation, with the engines and the line seen through the recording."""
        steps: Steps = Steps()
        if books.recording:
            steps = RecordedSteps(books.recording)
            line = RecordedLine(line, steps, books.recording)
        kit = observed(self.kit, steps, books.call)
        return str(await steps.root(hold, self.sections, who, kit, line, steps, books.taps, self.warm_up))


async def serve(config: Config, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Run AURA until it is told to stop; reports the port. Raises ConfigError."""
    health, metrics, drain = Health(), Metrics(), Drain()

    def stalled(task: str, seconds: float) -> None:
        metrics.observe("loop_stall_seconds", seconds)
        log_stall(task, seconds)

    trio.lowlevel.add_instrument(PassWatch(SLOW_STEP_S, stalled))
    async with (
        open_journals(config.storage) as journals,
        open_recordings(config.recording, config.storage.data_dir) as recordings,
        open_kit(config, health) as kit,
        open_spans(config.otel) as spans,
        trio.open_nursery() as nursery,
    ):
        house = House(config, kit, Library(config, journals, recordings, spans, metrics), nursery)
        await nursery.start(drain_on_signal, drain, config.server.drain_grace_s)
        nursery.start_soon(trio.to_thread.run_sync, vad.load_model)
        storage, server = config.storage, config.server
        key = operator_key(server.operator_key, server.host, storage.data_dir, recording=storage.record)
        app = pages(health, metrics, drain, lambda: session_routes(storage.data_dir, key))
        port = await nursery.start(serve_port, config, house, app, metrics, drain, nursery.cancel_scope)
        task_status.started(port)
        if key and sys.stderr.isatty():  # for the operator's eyes: a log would keep it
            address = link("https" if server.tls_cert else "http", server.host, port, key)
            sys.stderr.write(f"sessions: {address}\n")
        calm_collector()


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
    whole: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until the drain is over, then end the process's other tasks."""
    await listen_on(config.server, house.hold, app, drain=drain, metrics=metrics, task_status=task_status)
    whole.cancel()
