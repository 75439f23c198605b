"""Builds the process and each of its conversations from the configuration. Everything meets here and nowhere else."""

from __future__ import annotations

import gc
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import trio

from aura.config import Config
from aura.core.ports import Kit, ToolBox
from aura.core.routing.status import ProviderReport
from aura.core.voices import known_voices
from aura.core.wire import faults
from aura.core.wire.ids import id_source
from aura.core.wire.session_object import RealtimeSession
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.observe.otel import open_spans
from aura.observe.stalls import PassWatch, log_stall
from aura.providers import registry
from aura.providers.cache.replies import open_reply_cache
from aura.providers.cache.voice import open_voice_cache, own_sentences
from aura.providers.http import open_http
from aura.providers.observed import observed
from aura.providers.offline import vad
from aura.providers.phone_calls import PhoneCalls
from aura.providers.router.opening import Means, Router, open_router
from aura.providers.router.report import board_report
from aura.providers.tools.opening import open_tools
from aura.server.auth import Gate, check_reach
from aura.server.books import Books, Library
from aura.server.budget import Budget
from aura.server.checked import CheckedLine
from aura.server.client_secrets import ClientSecrets
from aura.server.drain import REASONS, Drain, drain_on_signal
from aura.server.handshake import Request
from aura.server.http import LazyApp, pages
from aura.server.listener import serve as listen_on
from aura.server.operator import link, operator_key
from aura.server.phone_access import Vendor, check_call, vendor_of
from aura.server.phones import NotTaken, Phones
from aura.server.principal import Principal
from aura.server.providers_api import cache_counts, provider_routes
from aura.server.realtime_api import models_of, realtime_routes
from aura.server.resume import NO_RETURN, Attached, Lines, SocketLine, said_played
from aura.server.sessions import session_routes
from aura.server.socket import Socket
from aura.session.build import Sections, Who, hold, sections_of
from aura.session.line import Ended, Line
from aura.session.run import SLOW, close_code
from aura.session.steps import RecordedLine, RecordedSteps, Steps
from aura.storage.journals import open_journals
from aura.storage.keyring import KeyRing
from aura.storage.recordings import open_recordings

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

log = structlog.get_logger()

TOLD = ("model", "persona", "tenant", "aura", "aura_events", "intent")
"""What of a client's address is looked at, logged and recorded: the rest may hold a key."""
COLLECT_AFTER = (20_000, 20, 50)
"""Thresholds of the garbage collector's three generations."""
SLOW_STEP_S = 0.1
"""A step of a task that blocks the event loop for longer is logged."""


@asynccontextmanager
async def open_engines(config: Config, health: Health, metrics: Metrics) -> AsyncIterator[Router]:
    """The engines of the process, ready to use."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_http(config.http))
        chosen = {part: config.chosen(part) for part in registry.ENGINES}
        spare = registry.choose("tts", "offline", config, {})
        spent = config.storage.data_dir / "spent.json"
        told = [config.assistant.apology, config.session.greeting, config.router.budget_notice]
        told += [*config.think.fillers, *config.think.fillers_later]
        own = own_sentences(told, config.sentences)
        voices = await stack.enter_async_context(
            open_voice_cache(config.cache, config.storage.data_dir, own.__contains__, metrics)
        )
        replies = await stack.enter_async_context(open_reply_cache(config.cache, metrics))
        means = Means(config.router, today, config.throttle, config.breaker, voices, replies, metrics, spent)
        router = await stack.enter_async_context(open_router(chosen, spare, http, means))
        for line in router.board.all():
            if ready := getattr(line.engine, "why_not_ready", None):
                health.add("speech to text", ready)
        yield router


def today() -> str:
    """The date (UTC)."""
    return time.strftime("%Y-%m-%d", time.gmtime())


class House:
    """All conversations of the process share this."""

    def __init__(
        self,
        config: Config,
        router: Router,
        toolbox: ToolBox,
        library: Library,
        phones: Phones,
        nursery: trio.Nursery,
    ) -> None:
        self.config, self.router, self.toolbox, self.library = config, router, toolbox, library
        self.phones, self.nursery = phones, nursery
        self.sections = sections_of(config)
        self.lines = Lines(config.server.resume_grace_s, 2 * config.server.conversations_max)

    async def hold(self, socket: Socket, request: Request) -> None:
        """One connection, to its end: of a new conversation, or of one that goes on."""
        server, principal = self.config.server, request.principal
        attached = Attached(socket, Budget(server.events_per_s_max, server.events_burst_max))
        if vendor := vendor_of(request.path):
            await self.phone(vendor, attached, request)
            return
        name = request.query.get("resume") or request.query.get("conversation_id")
        earlier = self.lines.find(name, principal.key_id) if name else None
        if earlier is not None:
            log.info("conversation.resumed", session=earlier.ident)
            earlier.take_over(attached, said_played(request.query))
        else:
            asked = {name: request.query[name] for name in TOLD if name in request.query}
            who = self._who(asked | tenant_of(principal), principal.session or {})
            line = SocketLine(attached, self.lines, who.ident, principal.key_id)
            self.nursery.start_soon(self._conversation, line, who, request.path)
        await attached.released.wait()

    def _who(self, asked: dict[str, str], patch: dict[str, Any]) -> Who:
        limit_s = self.config.session.max_s
        ends = int(time.time() + limit_s) if limit_s else 0
        return Who(f"sess_{secrets.token_hex(8)}", asked, patch, ends)

    def kit(self, who: Who) -> Kit:
        """The engines of one conversation."""
        engines = self.router.engines(who.ident, who.query.get("tenant", ""))
        detector = partial(vad.make_detector, self.config.vad)
        return Kit(engines.stt, engines.chat, engines.tts, engines.backup_tts, detector, self.toolbox)

    def routes(self, gate: Gate) -> Sequence[BaseRoute]:
        """The REST side of the protocol."""
        own = self.sections.speak
        voices = known_voices(self.router.engines("").tts.name, own.voice, *own.more_voices)

        def describe(patch: dict[str, Any]) -> RealtimeSession:
            session = self._who({}, patch).describe(self.sections)
            if voices and session.voice != own.voice and session.voice.lower() not in voices:
                raise faults.unknown_voice(session.voice, voices, "session.audio.output.voice")
            return session

        def report() -> ProviderReport:
            return board_report(self.router.board, cache_counts(self.library.metrics))

        return [
            *provider_routes(report),
            *realtime_routes(gate, self.config.server, describe, models_of(self.config.chosen("chat")[0].model)),
        ]

    async def _conversation(self, line: SocketLine, who: Who, path: str) -> None:
        """A conversation whose connections come and go."""
        leave = self.lines.enter(line, id_source(who.ident.encode())("conv"))
        try:
            await self.talk(line, line, path, who, self.sections, self.kit(who))
        finally:
            leave()

    async def phone(self, vendor: Vendor, attached: Attached, request: Request) -> None:
        """One phone call."""
        socket = attached.socket
        who = self._who({}, {})
        sockets = SocketLine(attached, NO_RETURN, who.ident, request.principal.key_id)
        try:
            call = await self.phones.pick_up(vendor, sockets, request.query)
        except NotTaken as error:
            log.warning("phone.not_taken", vendor=vendor, why=str(error))
            if error.started and vendor == "telnyx":
                await self.phones.hang_up(vendor, error.started)
            await socket.close(1008, str(error))
            return
        except Ended as end:
            log.info("phone.gone", vendor=vendor, why=str(end))
            return
        who = msgspec.structs.replace(
            who, query=call.asked(recorded=self.config.storage.record) | tenant_of(request.principal)
        )
        sections, kit = call.sections(self.sections, self.phones.settings), call.kit(self.kit(who))

        async def hang_up() -> None:
            """The assistant ended the call; Telnyx goes on with it in silence, whatever ended the conversation."""
            log.info("phone.over", vendor=vendor, call=call.started.call_id, **call.line.account())
            ours = socket.closed is None or socket.closed.code in REASONS
            if call.line.hung_up or (vendor == "telnyx" and ours and not call.line.caller_gone):
                await self.phones.hang_up(vendor, call.started)

        await self.talk(call.line, sockets, request.path, who, sections, kit, hang_up)

    async def talk(
        self,
        line: Line,
        sockets: SocketLine,
        path: str,
        who: Who,
        sections: Sections,
        kit: Kit,
        before_close: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        """Hold a conversation, keep its books, close its connection. Never raises."""
        told = {name: who.query[name] for name in TOLD if name in who.query}
        if sockets.owner:
            told["key_id"] = sockets.owner
        code, why = 1011, "internal error"
        try:
            if self.config.vad.detector == "silero":
                await trio.to_thread.run_sync(vad.load_model)  # at once, but for the first ones after the start
            with self.library.books(who, sections, kit) as books:
                log.info("conversation.begun", path=path, journal=books.place, **told)
                books.why = why = await self.converse(self._checked(line), who, books, sections, kit)
                log.info("conversation.ended", why=why)
                if why == SLOW:
                    log.warning("client.slow")
                code = close_code(why)
                await before_close()
        except Exception as error:
            log.exception("conversation.crashed", error=type(error).__name__)
        finally:
            self.router.close(who.ident)
            await sockets.close(code, why)

    def _checked(self, line: Line) -> Line:
        """The conversation's connection, checked where that is asked for."""
        if not self.config.server.check_protocol and self.config.logs.level != "debug":
            return line
        return CheckedLine(line, lambda rule: self.library.metrics.add("protocol_violations", rule))

    async def converse(self, line: Line, who: Who, books: Books, sections: Sections, kit: Kit) -> str:
        """Hold the conversation, with the engines and the line seen through the recording."""
        steps: Steps = Steps()
        if books.recording:
            steps = RecordedSteps(books.recording)
            line = RecordedLine(line, steps, books.recording)
        seen = observed(kit, steps, books.call)
        return str(await steps.root(hold, sections, who, seen, line, steps, books.taps, [self.router.warm]))


def tenant_of(principal: Principal) -> dict[str, str]:
    """Whose conversation it is, where a key says so: what the client says counts for nothing then."""
    return {"tenant": principal.tenant} if principal.tenant else {}


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
        open_engines(config, health, metrics) as router,
        open_tools(config.tools) as toolbox,
        open_spans(config.otel) as spans,
        open_http(config.http) as http,
        trio.open_nursery() as nursery,
    ):
        phones = Phones(config.phone, config.session.greeting, PhoneCalls(http, config.phone.api_timeout_s))
        library = Library(config, journals, recordings, spans, metrics)
        house = House(config, router, toolbox, library, phones, nursery)
        await nursery.start(drain_on_signal, drain, server.drain_grace_s, server.drain_close)
        await nursery.start(gate.watch)
        nursery.start_soon(router.watch)
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
    check = partial(check_call, settings=config.phone, opens=lambda key: gate.bearer(key, "phone") is not None)
    await listen_on(
        config.server, house.hold, app, drain=drain, metrics=metrics, gate=gate, check=check, task_status=task_status
    )
    whole.cancel()
