"""Builds the process and each of its conversations from the configuration. Everything meets here and nowhere else."""

from __future__ import annotations

import gc
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module

import msgspec
import structlog
import trio

from aura.config import Config
from aura.core import events as ev
from aura.core.dialogue import Dialogue
from aura.core.fsm import Step
from aura.core.journal import Header, encode
from aura.core.ports import Kit
from aura.core.wire.ids import id_source
from aura.core.wire.realtime import RealtimeView
from aura.core.wire.session_object import Audio, AudioOutput, RealtimeSession, opt_in_patch
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.observe.stalls import PassWatch, log_stall
from aura.providers import registry
from aura.providers.http import open_http
from aura.providers.offline import vad
from aura.server.drain import Drain, drain_on_signal
from aura.server.handshake import Request
from aura.server.http import pages
from aura.server.listener import serve as listen_on
from aura.server.socket import Closed, Socket
from aura.session.client import Client
from aura.session.desk import Desk
from aura.session.ears import Ears
from aura.session.pipes import open_pipe
from aura.session.replies import Setup
from aura.session.run import SLOW, Ended, converse
from aura.session.session import Session, Tap
from aura.session.taps import journal_tap, log_tap, metrics_tap, times_to_metrics, timing_tap
from aura.stages.listen import Listener, OverlapWatch
from aura.storage.journals import Journals, open_journals

log = structlog.get_logger()

JOURNALLED = ("conversation", "turns", "overlap", "listen", "playout", "think", "speak", "vad")
"""Sections of the configuration that a journal begins with."""
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

    def __init__(self, config: Config, kit: Kit, journals: Journals, metrics: Metrics) -> None:
        self.config, self.kit, self.journals, self.metrics = config, kit, journals, metrics
        self.warm_up = [engine.warm for engine in (kit.stt, kit.chat, kit.tts) if hasattr(engine, "warm")]
        self.shown = {name: msgspec.to_builtins(getattr(config, name)) for name in JOURNALLED}
        """The settings that decisions depend on, for the head of each journal."""

    async def hold(self, socket: Socket, request: Request) -> None:
        """One conversation, from the accepted WebSocket to its end."""
        config = self.config
        if config.vad.detector == "silero":
            await trio.to_thread.run_sync(vad.load_model)  # at once, but for the first conversations after the start
        ident = f"sess_{secrets.token_hex(8)}"
        with structlog.contextvars.bound_contextvars(session=ident):
            described = describe(config, ident, request)
            view = RealtimeView(described, id_source(ident.encode()))
            out_in, out_out = open_pipe("out")
            mic_in, mic_out = open_pipe("mic")
            client = Client(view, out_in)
            journal = self.journals.open(ident)
            journal.write(encode(Header(ident, datetime.now(UTC).isoformat(), self.shown)))
            session = self.build(client, journal.write)
            desk = Desk(session, mic_in, config.turns, frozenset())
            desk.configure(described)
            log.info("conversation.begun", path=request.path, journal=journal.path.name)
            line = SocketLine(socket)
            try:
                why = await converse(session, desk, line, mic_out, out_out, config.session.greeting, self.warm_up)
            finally:
                journal.close()
            log.info("conversation.ended", why=why)
            if why == SLOW:
                log.warning("client.slow")
            code = 1008 if why == SLOW else 1011 if why.startswith("bug") else 1000
            await socket.close(code, why)

    def build(self, client: Client, write: Callable[[bytes], None]) -> Session:
        """A session with all that it needs."""
        config, kit = self.config, self.kit
        dialogue = Dialogue(config.dialogue, config.assistant.instructions)

        def make_ears(tell: Callable[[ev.Event], Step], state: Callable[[], str]) -> Ears:
            def recent_words() -> str:
                return session.replies.recent_words()

            watch = OverlapWatch(config.overlap, recent_words)
            listener = Listener(kit.detector(), config.turns, watch, config.listen, tell, state)
            return Ears(kit.stt, listener, config.transcribe)

        setup = Setup(config.assistant, config.think, config.speak, config.playout, config.sentences)
        session = Session(
            kit, client, dialogue, make_ears, setup, (config.conversation, config.session), self.taps(client, write)
        )
        return session

    def taps(self, client: Client, write: Callable[[bytes], None]) -> list[Tap]:
        """Who is told of every fact."""
        words = self.config.storage.record
        return [
            journal_tap(write, words=words),
            log_tap(words=words),
            metrics_tap(self.metrics),
            timing_tap(client.metrics, times_to_metrics(self.metrics), log_times),
        ]


def log_times(times: object) -> None:
    """One line for each turn that was answered."""
    log.info("turn.times", **msgspec.to_builtins(times))


def describe(config: Config, ident: str, request: Request) -> RealtimeSession:
    """The session as the client first sees it."""
    session = RealtimeSession(
        id=ident,
        model=request.query.get("model") or "aura",
        instructions=config.assistant.instructions,
        audio=Audio(output=AudioOutput(voice=config.speak.voice, speed=config.speak.speed)),
    )
    wanted = request.query.get("aura")
    return session.apply(opt_in_patch(wanted)) if wanted else session


class SocketLine:
    """The server's socket as the session's line."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes:
        """The next message; raises Ended."""
        try:
            return await self._socket.receive()
        except Closed as end:
            raise Ended(f"closed {end.code} {end.reason}".strip()) from None

    async def send(self, *messages: str | bytes) -> None:
        """Send messages; raises Ended."""
        try:
            await self._socket.send(*messages)
        except Closed as end:
            raise Ended(f"closed {end.code} {end.reason}".strip()) from None


async def serve(config: Config, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Run AURA until it is told to stop; reports the port. Raises ConfigError."""
    health, metrics, drain = Health(), Metrics(), Drain()

    def stalled(task: str, seconds: float) -> None:
        metrics.observe("loop_stall_seconds", seconds)
        log_stall(task, seconds)

    trio.lowlevel.add_instrument(PassWatch(SLOW_STEP_S, stalled))
    async with open_journals(config.storage) as journals, open_kit(config, health) as kit:
        house = House(config, kit, journals, metrics)
        async with trio.open_nursery() as nursery:
            await nursery.start(drain_on_signal, drain, config.server.drain_grace_s)
            nursery.start_soon(trio.to_thread.run_sync, vad.load_model)
            port = await nursery.start(serve_port, config, house, health, metrics, drain, nursery.cancel_scope)
            task_status.started(port)
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
    health: Health,
    metrics: Metrics,
    drain: Drain,
    whole: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until the drain is over, then end the process's other tasks."""
    app = pages(health, metrics, drain)
    await listen_on(config.server, house.hold, app, drain=drain, metrics=metrics, task_status=task_status)
    whole.cancel()
