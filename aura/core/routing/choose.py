"""Which engine a request goes to: the ones that can and may, best first, and why not the others.

Pure and deterministic: the same arguments give the same choice; equals stay in the order given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from aura.core.routing.health import Health
from aura.core.routing.pricing import Price, Usage, cost
from aura.core.routing.query import Query, Tier
from aura.core.speakable import CHARS_PER_S

Part = Literal["stt", "chat", "tts"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An engine with a model."""

    key: str
    """provider/model."""
    provider: str
    model: str
    part: Part = "chat"
    quality: float = 0.5
    """How good its answers are, 0-1."""
    tools: bool = True
    """Whether it can call functions."""
    languages: frozenset[str] = frozenset()
    """ISO codes; empty: all."""
    formats: frozenset[str] = frozenset()
    """Audio formats; empty: any."""
    price: Price | None = None
    local: bool = False
    free: bool = False
    shutdown_on: str = ""
    """Last day (ISO date); empty: none known."""
    expected_ttft_s: float = 0.5
    """Time to the first token (audio, word) until it has been measured."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What the request may cost, and what is known of its size."""

    left_usd: float | None = None
    """None: no limit."""
    allowed: frozenset[str] | None = None
    """Providers (or provider/model) that the tenant allows; None: all."""
    today: str = ""
    """ISO date; empty: shut-down dates do not count."""
    input_tokens: int = 0
    cached_tokens: int | None = None
    """How much of the input the prompt cache of `cached_with` holds. None: most of it, when long enough."""
    cached_with: str = ""
    """Provider (or provider/model) that served the conversation last and is to be kept."""
    expected_output_tokens: int = 150
    chars: int = 0
    """Length of what is to be said."""
    audio_s: float = 0.0
    """Length of what is to be heard."""
    formats: frozenset[str] = frozenset()
    """Audio formats one of which is needed; empty: any will do."""


class Strategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How qualities are weighed against each other. All terms lie between 0 and 1 before they are weighed."""

    quality: float = 1.0
    cost: float = 1.0
    latency: float = 1.0
    errors: float = 2.0
    half_open: float = 0.3
    """Deduction for an engine that has failed and would be tried anew by this request."""
    surplus: float = 0.2
    """What quality above the tier's need is worth, against quality up to it."""
    need: dict[Tier, float] = msgspec.field(default_factory=lambda: {"fast": 0.3, "standard": 0.5, "quality": 0.8})
    """Quality that a tier of questions needs."""
    least_quality: dict[Part, float] = msgspec.field(default_factory=lambda: {"chat": 0.25, "stt": 0.0, "tts": 0.0})
    """A worse engine is not asked while a better one lives, however fast and cheap it is."""
    half_cost_usd: dict[Part, float] = msgspec.field(
        default_factory=lambda: {"chat": 0.002, "stt": 0.002, "tts": 0.005}
    )
    """A request that costs this much scores half."""
    half_ttft_s: dict[Part, float] = msgspec.field(default_factory=lambda: {"chat": 0.6, "stt": 0.4, "tts": 0.3})
    """A first token after this time scores half."""
    unknown_cost: float = 0.5
    """What an unknown price scores."""
    stay: dict[Part, float] = msgspec.field(default_factory=lambda: {"chat": 0.15, "stt": 0.2, "tts": 0.5})
    """The engine of the conversation is kept unless another scores better by more than this."""
    tail: float = 0.2
    """How far the time that counts lies from the mean towards the 95th percentile, 0-1: who is slow now and then is
    slower than the mean tells."""
    prior_samples: float = 2.0
    """So many measurements the expected time to the first token is worth."""
    least_rate_left: float = 0.05
    """An engine with a smaller share of its limits left is spared."""
    cache_least_tokens: int = 1024
    """Shorter prompts are not cached."""


Reason = Literal[
    "part",
    "format",
    "not_allowed",
    "budget",
    "key_bad",
    "ended",
    "open",
    "probing",
    "weak",
    "language",
    "tools",
    "rate",
    "busy",
]
"""Why an engine is not chosen; of several the first of these."""

_LEAST_BAD_FIRST: tuple[Reason, ...] = (
    "rate",
    "busy",
    "tools",
    "language",
    "weak",
    "probing",
    "open",
    "ended",
    "key_bad",
)
"""If nothing better lives, these are tried all the same: silence would be worse. The others never are."""


class Scored(msgspec.Struct, frozen=True):
    """A candidate that can be used."""

    candidate: Candidate
    score: float
    quality: float = 0.0
    cost_usd: float | None = None
    ttft_s: float = 0.0
    error_rate: float = 0.0
    stays: bool = False
    """It comes first for the sake of the conversation it serves."""


class Rejected(msgspec.Struct, frozen=True):
    """A candidate that is not used, and why."""

    key: str
    reason: Reason
    detail: str = ""


class Choice(msgspec.Struct, frozen=True):
    """All candidates, judged."""

    ranked: tuple[Scored, ...]
    """Those to be used, best first."""
    spares: tuple[Scored, ...] = ()
    """Those that were rejected but may be tried when all of `ranked` have failed, the least bad first."""
    rejected: tuple[Rejected, ...] = ()

    @property
    def order(self) -> tuple[Scored, ...]:
        """In which order to try: never empty while any candidate may be used at all."""
        return self.ranked + self.spares

    @property
    def best(self) -> Candidate | None:
        """The first one to try."""
        order = self.order
        return order[0].candidate if order else None


def choose(
    candidates: Sequence[Candidate],
    query: Query,
    health: Mapping[str, Health],
    budget: Budget,
    strategy: Strategy,
    part: Part = "chat",
) -> Choice:
    """Judge all candidates for a request."""
    ranked: list[Scored] = []
    spares: list[tuple[int, float, Scored]] = []
    rejected: list[Rejected] = []
    for candidate in candidates:
        state = health.get(candidate.key) or Health()
        price_usd = estimate(candidate, budget, strategy)
        scored = _score(candidate, query, state, price_usd, strategy)
        fault = (
            _forbidden(candidate, budget, price_usd, part)
            or _shut_out(candidate, state, budget)
            or _unfit(candidate, query, state, strategy)
        )
        if fault is None:
            ranked.append(scored)
            continue
        rejected.append(Rejected(candidate.key, *fault))
        if fault[0] in _LEAST_BAD_FIRST:
            spares.append((_LEAST_BAD_FIRST.index(fault[0]), state.open_until, scored))
    ranked.sort(key=lambda scored: -scored.score)
    spares.sort(key=lambda spare: (spare[0], spare[1], -spare[2].score))
    return Choice(_stay(ranked, budget, strategy, part), tuple(spare[2] for spare in spares), tuple(rejected))


Fault = tuple[Reason, str]
"""The reason, and a detail for the log."""


def _forbidden(candidate: Candidate, budget: Budget, cost_usd: float | None, part: Part) -> Fault | None:
    """What rules a candidate out whatever happens."""
    if candidate.part != part:
        return "part", f"{candidate.part}, not {part}"
    if budget.formats and candidate.formats and not budget.formats & candidate.formats:
        return "format", f"gives {', '.join(sorted(candidate.formats))}"
    if budget.allowed is not None and not budget.allowed & {candidate.provider, candidate.key}:
        return "not_allowed", f"allowed: {', '.join(sorted(budget.allowed)) or 'none'}"
    left = budget.left_usd
    if left is not None and not candidate.free and (left <= 0 or (cost_usd or 0.0) > left):
        return "budget", f"{cost_usd or 0.0:.6f} USD of {max(left, 0.0):.6f} left"
    return None


def _shut_out(candidate: Candidate, state: Health, budget: Budget) -> Fault | None:
    """What its past says against it."""
    if state.key_bad:
        return "key_bad", state.why
    if candidate.shutdown_on and budget.today and budget.today > candidate.shutdown_on:
        return "ended", candidate.shutdown_on
    if state.state == "open":
        return "open", state.why
    return ("probing", state.why) if state.state == "probing" else None


def _unfit(candidate: Candidate, query: Query, state: Health, strategy: Strategy) -> Fault | None:
    """What it cannot do, or not now."""
    if candidate.quality < strategy.least_quality[candidate.part]:
        return "weak", f"quality {candidate.quality:.2f}"
    if candidate.languages and query.language and query.language not in candidate.languages:
        return "language", query.language
    if query.needs_tools and not candidate.tools:
        return "tools", "cannot call functions"
    if state.rate_left is not None and state.rate_left <= strategy.least_rate_left:
        return "rate", f"{state.rate_left:.0%} of its limits left"
    if state.concurrent_max is not None and state.in_flight >= state.concurrent_max:
        return "busy", f"{state.in_flight} of {state.concurrent_max} calls under way"
    return None


def _serves(candidate: Candidate, cached_with: str) -> bool:
    return bool(cached_with) and cached_with in (candidate.key, candidate.provider)


def estimate(candidate: Candidate, budget: Budget, strategy: Strategy) -> float | None:
    """What the request would cost in USD, with what the prompt cache would save; None if there is no price."""
    if candidate.free:
        return 0.0
    if candidate.part == "tts":
        return cost(candidate.price, Usage(chars=budget.chars, audio_s=budget.chars / CHARS_PER_S))
    if candidate.part == "stt":
        return cost(candidate.price, Usage(audio_s=budget.audio_s))
    cached = 0
    if _serves(candidate, budget.cached_with) and budget.input_tokens >= strategy.cache_least_tokens:
        cached = (
            budget.input_tokens - budget.input_tokens // 10 if budget.cached_tokens is None else budget.cached_tokens
        )
    return cost(candidate.price, Usage(budget.input_tokens, cached, budget.expected_output_tokens))


def _score(candidate: Candidate, query: Query, state: Health, cost_usd: float | None, strategy: Strategy) -> Scored:
    need = strategy.need.get(query.tier, 0.5)
    fit = min(1.0, candidate.quality / need) ** 2 if need else 1.0
    surplus = max(0.0, candidate.quality - need)
    quality = (fit + strategy.surplus * surplus) / (1.0 + strategy.surplus)
    half_cost, half_ttft = strategy.half_cost_usd[candidate.part], strategy.half_ttft_s[candidate.part]
    expense = strategy.unknown_cost if cost_usd is None else cost_usd / (cost_usd + half_cost)
    ttft_s = expected_ttft(candidate, state, strategy)
    score = (
        strategy.quality * quality
        - strategy.cost * expense
        - strategy.latency * ttft_s / (ttft_s + half_ttft)
        - strategy.errors * state.error_rate
        - (strategy.half_open if state.state == "half_open" else 0.0)
    )
    return Scored(candidate, score, quality, cost_usd, ttft_s, state.error_rate)


def expected_ttft(candidate: Candidate, state: Health, strategy: Strategy) -> float:
    """The time to the first token: what is expected of it, and more and more what was measured."""
    if state.ewma_ttft_s is None:
        return candidate.expected_ttft_s
    prior = strategy.prior_samples
    total = prior + state.samples
    p95_s = state.ewma_ttft_s if state.p95_ttft_s is None else state.p95_ttft_s
    measured_s = state.ewma_ttft_s + strategy.tail * max(0.0, p95_s - state.ewma_ttft_s)
    return (prior * candidate.expected_ttft_s + state.samples * measured_s) / total if total else measured_s


def _stay(ranked: list[Scored], budget: Budget, strategy: Strategy, part: Part) -> tuple[Scored, ...]:
    """Put the engine of the conversation first, unless it has become much worse than the best."""
    for index, scored in enumerate(ranked):
        if _serves(scored.candidate, budget.cached_with):
            if index and ranked[0].score - scored.score <= strategy.stay[part]:
                kept = msgspec.structs.replace(scored, stays=True)
                return (kept, *ranked[:index], *ranked[index + 1 :])
            break
    return tuple(ranked)
