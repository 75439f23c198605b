"""What all conversations of the process share of routing: the engines, their health, prices and queues.

A conversation's side is `Talk`. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog
import trio

from aura.core.errors import QuotaExhausted
from aura.core.routing.breaker import Move
from aura.core.routing.choose import Budget, Candidate, Part, choose
from aura.core.routing.classify import classify
from aura.core.routing.health import Tracker
from aura.core.routing.pricing import Amount, Usage, cost
from aura.core.routing.query import Query
from aura.core.routing.rules import Rules
from aura.core.routing.status import healthy
from aura.providers.meter import BREAKER_STATES, UNMETERED, Meter
from aura.providers.router.settings import RouterSettings
from aura.providers.router.spending import Spending
from aura.providers.throttle import Throttle, Turn
from aura.providers.vitals import Left

if TYPE_CHECKING:
    from aura.providers.router.rescue import Leg

log = structlog.get_logger()
Basis = Literal["stated", "priced", "guessed"]
"""Where a cost is from: the engine said it, the engine counted and the table has the price, or we counted."""
USUAL_UTTERANCE_S = 5.0
"""What recognisers are compared by; how long an utterance will be is not known when it begins."""
LEARNED = 8
"""So many measurements make an engine's own 95th percentile count."""
Why = Literal["first", "hedge", "failover", "retry", "continue"]


class BudgetUsedUp(QuotaExhausted):
    """The conversation, or its tenant, can pay for nothing more."""


class Line:
    """One engine and model that can be asked."""

    def __init__(
        self,
        part: Part,
        vendor: str,
        engine: Any,
        candidate: Candidate,
        tracker: Tracker,
        throttle: Throttle,
        *,
        last_resort: bool,
    ) -> None:
        self.part, self.vendor, self.engine, self.candidate = part, vendor, engine, candidate
        self.tracker, self.throttle, self.last_resort = tracker, throttle, last_resort
        self.key, self.provider, self.model = candidate.key, candidate.provider, candidate.model
        self.spent_usd = 0.0
        self.calls: dict[str, int] = {}
        """By outcome."""

    def turn(self, conversation: str) -> Turn:
        """A slot for one call."""
        return self.throttle.turn(conversation)


class Talk(msgspec.Struct):
    """One conversation as the router knows it."""

    ident: str = ""
    tenant: str = ""
    allowed: frozenset[str] | None = None
    """Names of the engines that it may use; None: all."""
    sticky: dict[str, str] = {}
    """Part → key of the engine that answered last: its prompt cache knows the conversation, its voice is familiar."""


class Board:
    """The engines of the process, by part."""

    def __init__(
        self,
        settings: RouterSettings,
        rules: Rules,
        lines: Mapping[Part, Sequence[Line]],
        spending: Spending,
        meter: Meter = UNMETERED,
    ) -> None:
        self.settings, self.rules, self.spending, self.meter = settings, rules, spending, meter
        self.by_key = {(part, line.key): line for part, several in lines.items() for line in several}
        self._lines = {part: tuple(several) for part, several in lines.items()}
        self._strategy = rules.strategy(settings.strategy)
        self._total_usd = self._hedged_usd = 0.0
        self.anything = classify("", rules)
        """A query that says nothing."""
        self.failed = trio.Event()
        """Set when an engine was shut out."""

    def name(self, part: Part) -> str:
        """What the engines of a part are called together."""
        return "+".join(dict.fromkeys(line.provider for line in self._lines[part] if not line.last_resort))

    def several(self, part: Part) -> bool:
        """Whether there is more than one engine for it, the last resort not counted."""
        return sum(not line.last_resort for line in self._lines[part]) > 1

    def all(self) -> list[Line]:
        """Every engine."""
        return [line for several in self._lines.values() for line in several]

    def classify(self, text: str, tools: tuple[str, ...], history_chars: int) -> Query:
        """What kind of request it is."""
        return classify(text, self.rules, tools=tools, history_chars=history_chars)

    # ---- choosing

    def lines(self, part: Part, talk: Talk, query: Query, size: int) -> list[Line]:
        """The engines that can do it, the best first; never none. `size` is what goes in: tokens or letters.

        Raises BudgetUsedUp, or QuotaExhausted when its tenant may use none of them.
        """
        own = [line for line in self._lines[part] if not line.last_resort]
        rest = [line for line in self._lines[part] if line.last_resort]
        if len(own) == 1 and talk.allowed is None and not self._limited(talk):
            return own + rest
        now = trio.current_time()
        sticky = talk.sticky.get(part, "")
        budget = Budget(
            left_usd=None if part == "stt" else self._left_usd(talk),  # who cannot be heard cannot be told why
            allowed=talk.allowed,
            today=self.spending.today(),
            cached_with=sticky,
            input_tokens=size,
            chars=size,
            audio_s=USUAL_UTTERANCE_S,
        )
        health = {line.key: line.tracker.health(now) for line in own}
        choice = choose([line.candidate for line in own], query, health, budget, self._strategy, part)
        found = [self.by_key[part, scored.candidate.key] for scored in choice.order] + rest
        if not found:
            why = ", ".join(f"{no.key}: {no.reason}" for no in choice.rejected)
            kind = BudgetUsedUp if any(no.reason == "budget" for no in choice.rejected) else QuotaExhausted
            raise kind(f"no {part} engine may be used for this conversation ({why})", provider="aura")
        return found

    def hedge_after_s(self, line: Line, company: Line) -> float:
        """How long an engine may be silent before another is asked beside it."""
        settings = self.settings
        if company.last_resort:
            return settings.last_resort_after_s
        health = line.tracker.health(trio.current_time())
        if health.p95_ttft_s is None or health.samples < LEARNED:
            return {
                "chat": settings.hedge_after_s,
                "stt": settings.hedge_stt_after_s,
                "tts": settings.hedge_tts_after_s,
            }[line.part]
        return min(max(health.p95_ttft_s, settings.hedge_least_s), settings.hedge_most_s)

    def may_hedge(self, line: Line) -> bool:
        """Whether a second request is within what such requests may cost."""
        settings = self.settings
        allowed = settings.hedge_free_usd + settings.hedge_spend_share * self._total_usd
        return line.candidate.free or self._hedged_usd < allowed

    # ---- money

    def _limited(self, talk: Talk) -> bool:
        return bool(self.settings.conversation_usd or (talk.tenant and self.settings.tenant_usd_per_day))

    def _left_usd(self, talk: Talk) -> float | None:
        settings = self.settings
        daily = settings.tenant_usd_per_day if talk.tenant else 0.0
        return self.spending.left(talk.tenant, talk.ident, daily or None, settings.conversation_usd or None)

    def price(self, line: Line, usage: Usage) -> float | None:
        """What that costs; None: not known."""
        if line.candidate.free:
            return 0.0
        return None if line.candidate.price is None else cost(line.candidate.price, usage)

    # ---- the books

    def asked(self, leg: Leg[Any], part: Part) -> None:
        """An engine is asked. `lines` has left out those that are shut out, unless there is no other."""
        leg.ticket = leg.line.tracker.begin(trio.current_time(), forced=True)
        self._moved(part, leg.line, leg.ticket.moved if leg.ticket else None)
        if leg.why == "hedge":
            self.meter.add("provider_hedges", part, leg.line.provider)
        elif leg.why in ("failover", "continue"):
            self.meter.add("provider_failovers", part, leg.line.provider)
        elif leg.why == "retry":
            self.meter.add("provider_retries", part, leg.line.provider)

    def began(self, leg: Leg[Any], part: Part) -> None:
        """It begins to answer."""
        now, line = trio.current_time(), leg.line
        self.meter.observe("provider_ttft_seconds", now - leg.asked_at, part, line.provider, line.model)
        if leg.ticket:
            self._moved(part, line, line.tracker.first(leg.ticket, now))

    def settle(self, talk: Talk, part: Part, leg: Leg[Any], outcome: str, usd: float | None, basis: Basis) -> None:
        """An engine's part in a request is over."""
        line, now = leg.line, trio.current_time()
        line.calls[outcome] = line.calls.get(outcome, 0) + 1
        if usd != 0.0:
            self._spend(talk, part, leg, usd, basis)
        if outcome == "ok" and not line.last_resort:
            talk.sticky[part] = line.key
        self.meter.add("provider_calls", part, line.provider, line.model, outcome)
        advice = leg.error.retry_after_s if leg.error else None
        if advice and outcome == "rate_limited":
            line.throttle.hold_until(now + advice)
        # One that lost a race in silence was given its time: the breaker must hear of an engine that never answers.
        code = "timed_out" if outcome == "cancelled" and leg.lost and leg.first_at is None else outcome
        if code == "timed_out" and leg.waited_s is None:
            code = "cancelled"  # it stood in our own queue
        self._learn_limits(line, now)
        if leg.ticket:
            self._moved(part, line, line.tracker.end(leg.ticket, now, code, advice))
        if code in ("auth_failed", "quota_exhausted"):
            self._shut_out(part, line, code)
        self._show_health(line)
        if outcome != "ok" or leg.why != "first" or (leg.waited_s or 0.0) > 0.01:
            level = log.debug if outcome == "cancelled" and leg.why == "first" else log.info
            level(
                "provider.attempt", part=part, provider=line.provider, model=line.model, why=leg.why, outcome=outcome,
                elapsed_ms=round((now - leg.asked_at) * 1000, 1), waited_ms=round((leg.waited_s or 0.0) * 1000, 1),
                cost_usd=usd, basis=basis,
            )  # fmt: skip

    def _learn_limits(self, line: Line, now: float) -> None:
        """What the engine has said of its account."""
        left: Left | None = getattr(line.engine, "left", None)
        if left is not None:
            shares = [share for share in (left.requests, left.tokens) if share is not None]
            line.tracker.left(min(shares) if shares else None, now)
            line.throttle.learn(left)
            for limit, share in (("requests", left.requests), ("tokens", left.tokens)):
                if share is not None:
                    self.meter.set("rate_left", share, line.part, line.provider, line.model, limit)

    def _spend(self, talk: Talk, part: Part, leg: Leg[Any], usd: float | None, basis: Basis) -> None:
        line = leg.line
        turn = structlog.contextvars.get_contextvars().get("turn", 0)
        self.spending.add(Amount(usd, exact=basis == "stated"), talk.tenant, talk.ident, turn)
        if usd is not None:
            line.spent_usd += usd
            self._total_usd += usd
            self._hedged_usd += usd if leg.why == "hedge" else 0.0
            self.meter.add("provider_cost_usd", part, line.provider, line.model, basis, by=usd)

    def _shut_out(self, part: Part, failed: Line, code: str) -> None:
        """A key that is refused is refused for all models of its provider."""
        now = trio.current_time()
        for line in self.all():
            if line is not failed and line.vendor == failed.vendor:
                self._moved(line.part, line, line.tracker.breaker.shut(now, code))

    def _moved(self, part: Part, line: Line, move: Move | None) -> None:
        if move is None or move.was == move.now:  # shut out for longer, perhaps
            return
        self.meter.set("breaker_state", BREAKER_STATES[move.now], part, line.provider, line.model)
        self.meter.add("breaker_changes", part, line.provider, line.model, move.now)
        self._show_health(line)
        if move.now == "open":
            self.failed.set()
        again_s = None if move.until is None else round(move.until - move.at, 1)
        level = log.warning if move.now == "open" else log.info
        level("breaker.changed", part=part, provider=line.provider, model=line.model, was=move.was, now=move.now,
              why=move.why, again_in_s=again_s)  # fmt: skip

    def _show_health(self, line: Line) -> None:
        good = healthy(line.tracker.breaker.state(trio.current_time()), line.calls)
        if good is not None:
            self.meter.set("provider_healthy", float(good), line.part, line.provider, line.model)

    def recovered(self, line: Line) -> None:
        """A health check went well."""
        self._moved(line.part, line, line.tracker.breaker.recovered(trio.current_time()))

    def refused(self, line: Line, code: str) -> None:
        """A health check found the key or the account of no use."""
        self._moved(line.part, line, line.tracker.breaker.shut(trio.current_time(), code))
