"""Opens all engines that were chosen, and hands each conversation its own view of them.

A part for which there is nothing but the offline engine is not routed: there is nothing to choose, and no bill.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio

from aura.core.errors import ProviderError
from aura.core.ports import ChatModel, SpeechToText, TextToSpeech
from aura.core.routing.breaker import BreakerSettings
from aura.core.routing.choose import Candidate, Part
from aura.core.routing.health import HealthSettings, Tracker
from aura.core.routing.pricing import Prices, shutdowns, stale
from aura.core.secret import Secret
from aura.providers import registry
from aura.providers.cache.replies import ReplyCache
from aura.providers.cache.voice import VoiceCache
from aura.providers.http import Http
from aura.providers.meter import UNMETERED, Meter
from aura.providers.registry import Chosen
from aura.providers.router.board import Board, Line, Talk
from aura.providers.router.chat import RoutedChat
from aura.providers.router.facts import facts_of
from aura.providers.router.hearing import RoutedStt
from aura.providers.router.settings import RouterSettings
from aura.providers.router.spending import Spending
from aura.providers.router.voice import RoutedVoice
from aura.providers.routing_data import prices, rules
from aura.providers.throttle import Throttle, ThrottleSettings

log = structlog.get_logger()
WARN_DAYS = 60
"""A model that will be shut down within this time is warned of at the start."""


STALE_DAYS = 90
"""A price that was not checked for so long is warned of."""


class Engines(msgspec.Struct, frozen=True):
    """Who hears, thinks and speaks in one conversation."""

    stt: SpeechToText
    chat: ChatModel
    tts: TextToSpeech
    backup_tts: TextToSpeech
    """Speaks apologies."""


class Router:
    """The engines of the process."""

    def __init__(self, board: Board, plain: Mapping[Part, Any], spare: TextToSpeech, replies: ReplyCache) -> None:
        self.board, self._plain, self._replies = board, plain, replies
        self.spare = spare
        """The offline voice: it can always say that something else is broken."""

    def engines(self, ident: str, tenant: str = "") -> Engines:
        """Those of one conversation; `close` ends its books."""
        allowed = self.board.settings.tenant_engines.get(tenant)
        talk = Talk(ident, tenant, None if allowed is None else frozenset(allowed))
        routed: dict[Part, Callable[[], Any]] = {
            "stt": lambda: RoutedStt(self.board, talk),
            "chat": lambda: RoutedChat(self.board, talk, self._replies),
            "tts": lambda: RoutedVoice(self.board, talk),
        }
        stt, chat, tts = (self._plain.get(part) or make() for part, make in routed.items())
        stands_in = any(line.last_resort for line in self.board.all())  # the same voice apologises, while it lives
        return Engines(stt, chat, tts, tts if stands_in else self.spare)

    def close(self, ident: str) -> None:
        """The conversation is over."""
        spent = self.board.spending.books.close(ident)
        if spent.calls:
            log.info(
                "conversation.spent", usd=round(spent.usd, 6), stated_usd=round(spent.exact_usd, 6),
                calls=spent.calls, unpriced=spent.unpriced,
            )  # fmt: skip

    async def warm(self) -> None:
        """Get connections ready for a conversation that begins."""
        async with trio.open_nursery() as nursery:
            for line in self.board.all():
                if warm := getattr(line.engine, "warm", None):
                    nursery.start_soon(_warm_up, line, warm)

    async def watch(self) -> None:
        """Ask engines that failed for their health, as long as the process runs; keep the books of the day."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.board.spending.keep)
            if self.board.settings.probe_every_s:
                nursery.start_soon(self._probe_failed)

    async def _probe_failed(self) -> None:
        board = self.board
        while True:
            await board.failed.wait()
            await trio.sleep(board.settings.probe_every_s)
            now = trio.current_time()
            ill = [line for line in board.all() if line.tracker.health(now).state == "open"]
            if not ill:
                board.failed = trio.Event()
            for line in ill:
                await self.probe(line)

    async def probe(self, line: Line) -> str:
        """Ask an engine for its health; returns "ok", "unknown" where it cannot be asked, or the error's code."""
        probe = getattr(line.engine, "probe", None)
        if probe is None:
            return "unknown"
        outcome = "timed_out"
        with trio.move_on_after(self.board.settings.probe_timeout_s):
            try:
                await probe()
                outcome = "ok"
                self.board.recovered(line)
            except ProviderError as error:
                outcome = error.code
                if outcome in ("auth_failed", "quota_exhausted"):
                    self.board.refused(line, outcome)
        log.info("provider.probed", part=line.part, provider=line.provider, model=line.model, outcome=outcome)
        return outcome


async def _warm_up(line: Line, warm: Callable[[], Awaitable[None]]) -> None:
    """Nothing hangs on it: what is wrong shows at the first request, which has others to turn to."""
    try:
        await warm()
    except ProviderError as error:
        log.debug("provider.not_warm", provider=line.provider, reason=error.code)
    except Exception:
        log.exception("provider.crashed", provider=line.provider, model=line.model)


class Means(msgspec.Struct, frozen=True):
    """What a router is made with."""

    settings: RouterSettings
    today: Callable[[], str]
    """Gives the ISO date."""
    throttle: ThrottleSettings
    breaker: BreakerSettings
    voices: VoiceCache
    replies: ReplyCache
    meter: Meter = UNMETERED
    spent_file: Path | None = None
    """Where the books of the day are kept."""


@asynccontextmanager
async def open_router(
    chosen: Mapping[Part, Sequence[Chosen]], spare: Chosen, http: Http, means: Means
) -> AsyncIterator[Router]:
    """The engines of the process, ready to use. `spare` is the offline voice."""
    lines: dict[Part, list[Line]] = {}
    maker = LineMaker(means)
    async with AsyncExitStack() as stack:
        voice: Any = await stack.enter_async_context(registry.open_part("tts", spare, http))
        for part, several in chosen.items():
            lines[part] = []
            for one in several:
                engine: Any = voice
                if part != "tts" or one.kind != "offline":
                    engine = await stack.enter_async_context(registry.open_part(part, one, http))
                    engine = means.voices.wrap(engine, identity_of(one)) if part == "tts" else engine
                lines[part].append(maker.line(part, one, engine))
        plain = {part: lines[part][0].engine for part, several in chosen.items() if _only_offline(several)}
        if means.settings.offline_voice and all(one.kind != "offline" for one in chosen["tts"]):
            lines["tts"].append(maker.line("tts", spare, voice, last_resort=True))
        everything = [line for several in lines.values() for line in several]
        warn(maker.table, means.today(), everything)
        spending = Spending(means.today, means.spent_file)
        known = await trio.to_thread.run_sync(rules)  # 50 ms of reading
        board = Board(means.settings, known, lines, spending, means.meter)
        yield Router(board, plain, voice, means.replies)


def _only_offline(several: Sequence[Chosen]) -> bool:
    return [one.kind for one in several] == ["offline"]


class LineMaker:
    """Puts what is known of an engine beside it. Engines of one account share a queue."""

    def __init__(self, means: Means) -> None:
        self.means = means
        self.table = prices()
        self._queues: dict[str, Throttle] = {}

    def line(self, part: Part, one: Chosen, engine: Any, *, last_resort: bool = False) -> Line:
        """The engine's place on the board."""
        vendor, means = vendor_of(part, one), self.means
        candidate = candidate_of(part, one, self.table, means.settings, getattr(engine, "model", ""))
        queue = self._queues.get(f"{vendor}/{part}")
        if queue is None:
            own = getattr(one.settings, f"{part}_concurrency", 0) or getattr(one.settings, "concurrency", 0)
            own = own or means.throttle.concurrent
            limits = msgspec.structs.replace(means.throttle, concurrent=own)
            queue = self._queues[f"{vendor}/{part}"] = Throttle(limits, f"{vendor}/{part}", meter=means.meter)
        tracker = Tracker(HealthSettings(), means.breaker, expected_ttft_s=candidate.expected_ttft_s)
        return Line(part, vendor, engine, candidate, tracker, queue, last_resort=last_resort)


def candidate_of(part: Part, one: Chosen, table: Prices, settings: RouterSettings, model: str = "") -> Candidate:
    """What is known of an engine before it is asked. `model` is what it says itself, where the settings name none."""
    vendor, model = vendor_of(part, one), one.model or model
    facts = facts_of(part, vendor, model, settings.models)
    price = table.find(vendor, model, part) if model else table.default(vendor, part)
    local = one.kind in ("offline", "compatible")
    return Candidate(
        key=f"{one.name}/{model}" if model else one.name,
        provider=one.name,
        model=model,
        part=part,
        quality=facts.quality,
        tools=facts.tools,
        languages=facts.languages,
        price=price,
        free=local and price is None,
        local=local,
        shutdown_on=price.shutdown_on if price else "",
        expected_ttft_s=facts.ttft_s,
    )


def identity_of(one: Chosen) -> str:
    """What an engine's output depends on, as a text: all of its settings but the key."""
    return msgspec.json.encode(
        one.settings, enc_hook=lambda value: "" if isinstance(value, Secret) else str(value)
    ).decode()


def vendor_of(part: Part, one: Chosen) -> str:
    """Whose account it is: several engines may share one."""
    return one.name if one.kind in ("offline", "compatible") else registry.engine(part, one.kind).section


def warn(table: Prices, today: str, lines: Sequence[Line]) -> None:
    """Say which of the chosen models are about to be shut down, and whose prices nobody has checked for long."""
    keys = {line.candidate.price.key for line in lines if line.candidate.price}
    for price in stale(table, today, STALE_DAYS):
        if price.key in keys:
            log.warning("price.old", provider=price.provider, model=price.model, checked_on=price.checked_on)
    models = {(line.vendor, line.model) for line in lines if line.model}
    for end in shutdowns(table, today, WARN_DAYS, sorted(models)):
        log.warning(
            "model.shutdown", provider=end.provider, model=end.model, on=end.on, days_left=end.days_left,
            successor=end.successor,
        )  # fmt: skip
