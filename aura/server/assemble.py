"""Builds the process and each of its conversations from the configuration. Everything meets here and nowhere else."""

from __future__ import annotations

import gc
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import import_module

import msgspec
import structlog
import trio

from aura import __version__
from aura.config import Config
from aura.core.journal import Header, encode
from aura.core.ports import Kit
from aura.core.tape import TapeHeader
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.observe.stalls import PassWatch, log_stall
from aura.providers import registry
from aura.providers.http import open_http
from aura.providers.observed import CallDone, observed
from aura.providers.offline import vad
from aura.server.drain import Drain, drain_on_signal
from aura.server.handshake import Request
from aura.server.http import pages
from aura.server.listener import serve as listen_on
from aura.server.socket import Closed, Socket
from aura.session.build import JOURNALLED, Who, hold, sections_of
from aura.session.client import Client
from aura.session.line import Ended, Line
from aura.session.run import SLOW
from aura.session.session import Tap
from aura.session.steps import RecordedLine, RecordedSteps, Steps
from aura.session.taps import journal_tap, log_tap, metrics_tap, times_to_metrics, timing_tap
from aura.storage.journals import Journals, open_journals
from aura.storage.recordings import Recording, Recordings, open_recordings

log = structlog.get_logger()

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

    def __init__(self, config: Config, kit: Kit, journals: Journals, recordings: Recordings, metrics: Metrics) -> None:
        self.config, self.kit, self.metrics = config, kit, metrics
        self.journals, self.recordings = journals, recordings
        self.data_dir = config.storage.data_dir
        self.sections = sections_of(config)
        self.warm_up = [engine.warm for engine in (kit.stt, kit.chat, kit.tts) if hasattr(engine, "warm")]
        self.shown = {name: msgspec.to_builtins(getattr(config, name)) for name in JOURNALLED}
        """The settings that decisions depend on, for the head of each journal."""

    async def hold(self, socket: Socket, request: Request) -> None:
        """One conversation, from the accepted WebSocket to its end."""
        if self.config.vad.detector == "silero":
            await trio.to_thread.run_sync(vad.load_model)  # at once, but for the first conversations after the start
        who = Who(f"sess_{secrets.token_hex(8)}", request.query)
        recording = self.record(who)
        with structlog.contextvars.bound_contextvars(session=who.ident, recorded=recording is not None):
            journal = self.journals.open(who.ident, recording.folder if recording else None)
            journal.write(encode(Header(who.ident, now_utc(), self.shown)))
            log.info("conversation.begun", path=request.path, journal=str(journal.path.relative_to(self.data_dir)))
            why = "cut short"
            try:
                why = await self.converse(SocketLine(socket), who, journal.write, recording)
            finally:
                journal.close()
                if recording:
                    recording.close(why)
            log.info("conversation.ended", why=why)
            if why == SLOW:
                log.warning("client.slow")
            code = 1008 if why == SLOW else 1011 if why.startswith("bug") else 1000
            await socket.close(code, why)

    def record(self, who: Who) -> Recording | None:
        """The recording of a conversation, if it is to be made."""
        config = self.config
        if not config.storage.record or not config.recording.wants(who.query):
            return None
        kit = self.kit
        engines = {"stt": kit.stt.name, "chat": kit.chat.name, "tts": kit.tts.name, "backup_tts": kit.backup_tts.name}
        settings = msgspec.to_builtins(self.sections)
        tools = kit.toolbox.tools()
        began = trio.current_time()
        header = TapeHeader(who.ident, now_utc(), began, settings, who.query, engines, tools, __version__)
        return self.recordings.begin(header)

    async def converse(self, line: Line, who: Who, write: Callable[[bytes], None], recording: Recording | None) -> str:
        """Hold the conversation, with the engines and the line seen through the recording."""
        steps: Steps = Steps()
        if recording:
            steps = RecordedSteps(recording)
            line = RecordedLine(line, steps, recording)
        kit = observed(self.kit, steps, log_call)
        taps = partial(self.taps, write, recording is not None)
        return str(await steps.root(hold, self.sections, who, kit, line, steps, taps, self.warm_up))

    def taps(self, write: Callable[[bytes], None], words: bool, client: Client) -> list[Tap]:
        """Who is told of every fact."""
        return [
            journal_tap(write, words=words),
            log_tap(words=words),
            metrics_tap(self.metrics),
            timing_tap(client.metrics, times_to_metrics(self.metrics), log_times),
        ]


def now_utc() -> str:
    """The wall clock, for people."""
    return datetime.now(UTC).isoformat()


def log_call(call: CallDone) -> None:
    """One line for each call of an engine."""
    log.info("provider.call", **msgspec.to_builtins(call))


def log_times(times: object) -> None:
    """One line for each turn that was answered."""
    log.info("turn.times", **msgspec.to_builtins(times))


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
    async with (
        open_journals(config.storage) as journals,
        open_recordings(config.recording, config.storage.data_dir) as recordings,
        open_kit(config, health) as kit,
    ):
        house = House(config, kit, journals, recordings, metrics)
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
