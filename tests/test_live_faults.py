"""Live recognisers when the engine fails: each fault has its class, none hangs, and everybody who asks is told."""

from __future__ import annotations

import pytest
import trio

from aura.core import errors
from aura.core.ports import LiveHearing
from aura.providers.deepgram.nova import NovaDialect
from tests.fakes.faults import Fault
from tests.fakes.world import World
from tests.live_engines import KINDS, engine, on_all, say, speech

LONGEST_S = 1.5
"""Of any failure to be told, with the patience of these tests."""
Failure = type[errors.ProviderError]

HANDSHAKE: dict[str, Failure] = {
    "refused": errors.Unavailable,
    "rst": errors.Unavailable,
    "silent": errors.TimedOut,
    "unauthorized": errors.AuthFailed,
    "ws_401": errors.AuthFailed,
    "forbidden": errors.AuthFailed,
    "rate_limited": errors.RateLimited,
    "quota": errors.QuotaExhausted,
    "error_500": errors.Unavailable,
    "bad_gateway": errors.Unavailable,
    "overloaded_503": errors.Unavailable,
    "not_found": errors.BadRequest,
}


async def failing(hearing: LiveHearing) -> errors.ProviderError:
    """The error that the final words fail with; the words so far and the events fail alike."""
    with trio.fail_after(LONGEST_S):
        with pytest.raises(errors.ProviderError) as caught:
            await hearing.final()
        with pytest.raises(type(caught.value)):
            await hearing.so_far()
        if not isinstance(caught.value, errors.TimedOut):  # a late engine may still speak
            with pytest.raises(type(caught.value)):
                async for _ in hearing.events():
                    pass
    return caught.value


@pytest.mark.parametrize("fault", HANDSHAKE)
@on_all
async def test_no_connection(name: str, fault: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("stt", fault, vendor=KINDS[name].vendor)
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.3))
            error = await failing(hearing)
        assert type(error) is HANDSHAKE[fault]
        assert error.provider == recogniser.name
        assert "key-of-a-test" not in str(error)
        assert (error.retry_after_s is not None) is (fault == "rate_limited")
        fakes.clear()


BROKEN_OFF: dict[str, tuple[Failure, ...]] = {
    "cut": (errors.StreamCut,),
    "cut_between": (errors.StreamCut,),
    "rst_mid": (errors.StreamCut,),
    "malformed": (errors.StreamCut,),
    "ws_1000": (errors.StreamCut,),
    "ws_1008": (errors.AuthFailed,),
    "ws_1011": (errors.Unavailable,),
}


@pytest.mark.parametrize("fault", BROKEN_OFF)
@on_all
async def test_the_connection_ends_while_the_user_speaks(name: str, fault: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("stt", fault)
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.8))
            error = await failing(hearing)
        assert type(error) in BROKEN_OFF[fault]


@on_all
async def test_an_engine_that_accepts_and_says_nothing(name: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("stt", "headers_then_silent")
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.3))
            assert type(await failing(hearing)) is errors.TimedOut


@on_all
async def test_an_engine_that_stalls_leaves_its_tentative_words(name: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("stt", "stall", chunks=2)
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.8))
            with trio.fail_after(LONGEST_S):
                assert (await hearing.final()).text == "hello there"


@on_all
async def test_an_engine_that_answers_no_ping_is_gone(name: str) -> None:
    world = World(heard=lambda _: "")
    async with engine(name, world, stt_ping_s=0.1, stt_pong_s=0.1) as (recogniser, fakes):
        fakes.fault("stt", "ping_unanswered")
        async with recogniser.open() as hearing:
            with pytest.raises(errors.StreamCut, match="ping"), trio.fail_after(LONGEST_S):
                async for _ in hearing.events():
                    pass
            assert type(await failing(hearing)) is errors.StreamCut


async def test_deepgram_hangs_up_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NovaDialect, "idle_s", 30.0)
    async with engine("nova") as (recogniser, fakes):
        fakes.fault("stt", "inactivity_close", idle_s=0.2)
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.1))
            await trio.sleep(0.4)
            assert type(await failing(hearing)) is errors.StreamCut


TOLD: dict[str, Failure] = {
    "unauthorized": errors.AuthFailed,
    "quota": errors.QuotaExhausted,
    "rate_limited": errors.RateLimited,
    "overloaded_503": errors.Unavailable,
    "error_500": errors.Unavailable,
}


@pytest.mark.parametrize("kind", TOLD)
@on_all
async def test_an_error_message_is_told_apart(name: str, kind: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.plan.add(Fault("ws_error", {"kind": kind}), "stt", "", None)
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.2))
            assert type(await failing(hearing)) is TOLD[kind]


@pytest.mark.parametrize("fault", ["unknown_events", "fragments"])
@on_all
async def test_what_is_strange_but_allowed_harms_nothing(name: str, fault: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("stt", fault)
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.8))
            assert (await hearing.final()).text == "hello there my friend"


@on_all
async def test_after_a_failure_the_engine_can_be_asked_anew(name: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("stt", "cut", times=1)
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.5))
            await failing(hearing)
            hearing.feed(speech(0.1))
            async with recogniser.open() as second:
                await say(second, speech(0.8), pace=0)
                assert (await second.final()).text


@on_all
async def test_a_failure_is_known_before_anybody_asks(name: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("stt", "unauthorized")
        async with recogniser.open() as hearing:
            with pytest.raises(errors.AuthFailed), trio.fail_after(0.5):
                async for _ in hearing.events():
                    pass


# ---- asking whether the engine is there ---------------------------------------------------------------------------


@on_all
async def test_the_health_check_costs_no_hearing(name: str) -> None:
    async with engine(name) as (recogniser, fakes):
        await recogniser.probe()
        assert fakes.of("stt") == []
        assert len(fakes.seen) == 1


PROBES: dict[str, Failure] = {
    "unauthorized": errors.AuthFailed,
    "rate_limited": errors.RateLimited,
    "overloaded_503": errors.Unavailable,
    "refused": errors.Unavailable,
}


@pytest.mark.parametrize("fault", PROBES)
@on_all
async def test_the_health_check_fails_as_a_request_would(name: str, fault: str) -> None:
    async with engine(name) as (recogniser, fakes):
        fakes.fault("*", fault)
        with pytest.raises(errors.ProviderError) as caught:
            await recogniser.probe()
        assert type(caught.value) is PROBES[fault]
        fakes.clear()


# ---- finished audio ------------------------------------------------------------------------------------------------


async def test_xai_transcribes_finished_audio() -> None:
    async with engine("xai", stt_language="en") as (recogniser, fakes):
        transcript = await recogniser.transcribe(speech(0.8))
        assert (transcript.text, transcript.language) == ("hello there my friend", "en")
        (seen,) = fakes.of("stt")
        assert list(seen.form) == ["language", "format", "file"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("unauthorized", errors.AuthFailed),
        ("quota", errors.QuotaExhausted),
        ("malformed", errors.StreamCut),
        ("cut", errors.StreamCut),
        ("empty", errors.StreamCut),
        ("silent", errors.TimedOut),
    ],
)
async def test_finished_audio_fails_as_it_should(fault: str, kind: Failure) -> None:
    async with engine("xai", stt_rest_timeout_s=0.3) as (recogniser, fakes):
        fakes.fault("stt", fault)
        with pytest.raises(errors.ProviderError) as caught:
            await recogniser.transcribe(speech(0.3))
        assert type(caught.value) is kind
