"""Which engine a request goes to, and why not the others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import ConfigError
from aura.core.routing.choose import Budget, Candidate, Choice, choose
from aura.core.routing.health import Health
from aura.core.routing.query import Query
from aura.providers.routing_data import prices, rules

TABLE = prices()


def candidate(key: str, **more: Any) -> Candidate:
    provider, _, model = key.partition("/")
    return Candidate(key=key, provider=provider, model=model, price=TABLE.find(provider, model), **more)


LUNA = candidate("openai/gpt-6-luna", quality=0.5, expected_ttft_s=0.74)
SOL = candidate("openai/gpt-6.1-sol", quality=0.9, expected_ttft_s=1.2)
GROK = candidate("xai/grok-4.20-non-reasoning", quality=0.6, expected_ttft_s=0.5)
LOCAL = candidate("compatible/llama", quality=0.3, free=True, local=True, expected_ttft_s=0.3)
RULES = candidate("offline/rules", quality=0.2, free=True, local=True, expected_ttft_s=0.01)
ALL = (LUNA, SOL, GROK, LOCAL, RULES)
SIZE = Budget(input_tokens=3000, today="2026-11-28")


def pick(
    *candidates: Candidate,
    query: Query = Query(),  # noqa: B008 - frozen
    health: dict[str, Health] | None = None,
    strategy: str = "balanced",
    **budget: Any,
) -> Choice:
    return choose(
        candidates or ALL, query, health or {}, msgspec.structs.replace(SIZE, **budget), rules().strategy(strategy)
    )


def keys(choice: Choice) -> list[str]:
    return [scored.candidate.key for scored in choice.order]


@pytest.mark.parametrize(
    ("strategy", "tier", "best"),
    [
        ("balanced", "fast", LOCAL),
        ("balanced", "standard", LUNA),
        ("balanced", "quality", SOL),
        ("fastest", "fast", LOCAL),
        ("cheapest", "standard", LOCAL),
        ("best", "fast", SOL),
        ("best", "quality", SOL),
    ],
)
def test_every_strategy_has_its_favourite(strategy, tier, best):
    assert pick(query=Query(tier=tier), strategy=strategy).best == best


def test_a_question_that_is_too_hard_for_the_conversations_model_goes_to_another():
    assert keys(pick(LUNA, SOL, query=Query(tier="standard"), cached_with=LUNA.key))[0] == LUNA.key
    assert keys(pick(LUNA, SOL, query=Query(tier="quality"), cached_with=LUNA.key, input_tokens=800))[0] == SOL.key


@pytest.mark.parametrize("strategy", ["balanced", "fastest", "cheapest", "best"])
def test_canned_answers_are_only_given_when_no_model_lives(strategy):
    assert pick(strategy=strategy).order[-1].candidate == RULES
    dead = {one.key: Health(state="open") for one in (LUNA, SOL, GROK, LOCAL)}
    assert pick(strategy=strategy, health=dead).best == RULES


def test_an_unknown_strategy_is_named_with_those_there_are():
    with pytest.raises(ConfigError, match="balanced, fastest, cheapest, best"):
        rules().strategy("quick")


NO_TOOLS = msgspec.structs.replace(GROK, tools=False)
GERMAN = msgspec.structs.replace(GROK, languages=frozenset({"de"}))
ENDED = msgspec.structs.replace(GROK, shutdown_on="2026-11-27")
MP3 = msgspec.structs.replace(GROK, formats=frozenset({"mp3"}))


@pytest.mark.parametrize(
    ("given", "health", "query", "budget", "reason", "spare"),
    [
        (NO_TOOLS, None, Query(needs_tools=True), {}, "tools", True),
        (GERMAN, None, Query(language="en"), {}, "language", True),
        (ENDED, None, Query(), {}, "ended", True),
        (MP3, None, Query(), {"formats": frozenset({"pcm"})}, "format", False),
        (GROK, None, Query(), {"allowed": frozenset({"openai"})}, "not_allowed", False),
        (GROK, None, Query(), {"left_usd": 0.0001}, "budget", False),
        (GROK, None, Query(), {"left_usd": -1.0}, "budget", False),
        (msgspec.structs.replace(GROK, part="tts"), None, Query(), {}, "part", False),
        (GROK, Health(state="open", why="timed_out"), Query(), {}, "open", True),
        (GROK, Health(state="probing"), Query(), {}, "probing", True),
        (GROK, Health(state="open", key_bad=True, why="auth_failed"), Query(), {}, "key_bad", True),
        (GROK, Health(rate_left=0.05), Query(), {}, "rate", True),
        (GROK, Health(in_flight=4, concurrent_max=4), Query(), {}, "busy", True),
    ],
)
def test_what_rejects_a_candidate_and_whether_it_is_tried_when_nothing_else_lives(
    given, health, query, budget, reason, spare
):
    states = {given.key: health} if health else {}
    choice = pick(given, LOCAL, query=query, health=states, **budget)
    assert [rejected.reason for rejected in choice.rejected if rejected.key == given.key] == [reason]
    assert [scored.candidate for scored in choice.ranked] == ([LOCAL] if reason != "not_allowed" else [])
    assert [scored.candidate for scored in choice.spares] == ([given] if spare else [])
    assert pick(given, query=query, health=states, **budget).best == (given if spare else None)


@pytest.mark.parametrize("query", [Query(language="de"), Query(), Query(tier="fast")])
def test_what_does_not_matter_rejects_nobody(query):
    choice = pick(GERMAN, NO_TOOLS, LOCAL, query=query, health={GROK.key: Health(state="half_open", rate_left=0.06)})
    assert choice.rejected == ()


def test_if_all_are_shut_out_the_least_bad_is_used_first():
    health = {
        LUNA.key: Health(state="open", key_bad=True, why="auth_failed", open_until=900.0),
        SOL.key: Health(state="open", open_until=40.0),
        GROK.key: Health(state="open", open_until=20.0),
    }
    assert keys(pick(LUNA, SOL, GROK, health=health)) == [GROK.key, SOL.key, LUNA.key]


def test_the_tenant_may_name_models_or_providers():
    assert keys(pick(allowed=frozenset({"xai", LUNA.key}))) == [LUNA.key, GROK.key]
    assert pick(allowed=frozenset()).best is None


def test_slow_and_failing_engines_sink():
    slow = {LUNA.key: Health(ewma_ttft_s=4.0, samples=30)}
    failing = {LUNA.key: Health(error_rate=0.4, samples=30)}
    assert keys(pick(LUNA, GROK))[0] == LUNA.key
    assert keys(pick(LUNA, GROK, health=slow))[0] == GROK.key
    assert keys(pick(LUNA, GROK, health=failing))[0] == GROK.key


def test_one_slow_answer_weighs_less_than_many():
    ttft = [pick(LUNA, health={LUNA.key: Health(ewma_ttft_s=4.0, samples=n)}).ranked[0].ttft_s for n in (0, 1, 30)]
    assert ttft[0] == pytest.approx(0.74)
    assert ttft[0] < ttft[1] < 2.0 < 3.5 < ttft[2]


def test_a_conversation_keeps_its_engine_until_another_is_much_better():
    assert keys(pick(LUNA, GROK, cached_with=GROK.key))[0] == GROK.key
    assert pick(LUNA, GROK, cached_with="xai").ranked[0].stays
    assert keys(pick(LUNA, GROK, cached_with=GROK.key, health={GROK.key: Health(error_rate=0.5)}))[0] == LUNA.key
    assert keys(pick(LUNA, GROK, cached_with=GROK.key, health={GROK.key: Health(state="open")}))[0] == LUNA.key


def test_what_the_prompt_cache_holds_makes_its_keeper_cheaper():
    alone = pick(SOL, input_tokens=20_000).ranked[0].cost_usd
    kept = pick(SOL, input_tokens=20_000, cached_with=SOL.key).ranked[0].cost_usd
    short = pick(SOL, input_tokens=1000, cached_with=SOL.key).ranked[0].cost_usd
    assert alone == pytest.approx(20_000 * 2e-6 + 150 * 10e-6)
    assert kept == pytest.approx(2000 * 2e-6 + 18_000 * 0.1e-6 + 150 * 10e-6)
    assert short == pick(SOL, input_tokens=1000).ranked[0].cost_usd


def test_voices_are_weighed_by_characters_and_ears_by_seconds():
    voice = candidate("openai/tts-1", part="tts")
    ears = candidate("openai/gpt-transcribe", part="stt")
    for one, part, usd in ((voice, "tts", 200 * 15e-6), (ears, "stt", 4 / 60 * 0.0045)):
        budget = msgspec.structs.replace(SIZE, chars=200, audio_s=4.0)
        choice = choose([one], Query(), {}, budget, rules().strategy("balanced"), part)
        assert choice.ranked[0].cost_usd == pytest.approx(usd)


healths = st.builds(
    Health,
    state=st.sampled_from(["closed", "open", "half_open", "probing"]),
    ewma_ttft_s=st.none() | st.floats(0, 20),
    samples=st.floats(0, 64),
    error_rate=st.floats(0, 1),
    rate_left=st.none() | st.floats(0, 1),
    key_bad=st.booleans(),
)


@given(
    st.fixed_dictionaries({one.key: healths for one in ALL}),
    st.sampled_from(["balanced", "fastest", "cheapest", "best"]),
    st.builds(Query, tier=st.sampled_from(["fast", "standard", "quality"]), needs_tools=st.booleans()),
    st.sampled_from(["", *(one.key for one in ALL)]),
)
def test_every_candidate_is_accounted_for_once_and_none_that_may_be_used_is_lost(health, strategy, query, kept):
    choice = pick(health=health, strategy=strategy, query=query, cached_with=kept)
    assert sorted(keys(choice)) == sorted(one.key for one in ALL)
    assert {scored.candidate.key for scored in choice.spares} == {rejected.key for rejected in choice.rejected}
    assert choice == pick(health=health, strategy=strategy, query=query, cached_with=kept)
    scores = [scored.score for scored in choice.ranked if not scored.stays]
    assert scores == sorted(scores, reverse=True)


def test_of_two_that_are_equally_fast_on_average_the_steadier_is_asked():
    twin = msgspec.structs.replace(GROK, key="xai/twin")
    steady = Health(ewma_ttft_s=0.5, p95_ttft_s=0.6, samples=64)
    wild = Health(ewma_ttft_s=0.5, p95_ttft_s=3.0, samples=64)
    assert pick(GROK, twin, health={GROK.key: wild, twin.key: steady}).best == twin
    assert pick(GROK, twin, health={GROK.key: steady, twin.key: wild}).best == GROK
