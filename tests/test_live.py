"""Live recognisers against their fakes: words are there when the turn ends, in pauses, and once only."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import capture_logs

from aura.core.errors import TimedOut
from aura.core.ports import EagerEnd, Ended, Final, HearingEvent, Interim, Resumed
from aura.providers.deepgram.nova import NovaDialect
from tests.fakes.world import Pace, World
from tests.live_engines import KINDS, WORLD, collect, engine, on_all, quiet, say, speech

ALL = pytest.mark.parametrize("name", KINDS)
HELLO, BOTH = "hello there my friend", "hello there my friend and how are you today"


@on_all
async def test_the_words_are_there_soon_after_the_end(name: str) -> None:
    async with engine(name) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.8), pace=1)
        ended_at = trio.current_time()
        transcript = await hearing.final()
        assert trio.current_time() - ended_at < 0.15
        assert transcript.text == HELLO
        served = f"{recogniser.name}/{recogniser.model}" if recogniser.model else recogniser.name
        assert transcript.served_by == served
        assert await hearing.final() == transcript


@on_all
async def test_words_in_a_pause_then_all_of_them(name: str) -> None:
    async with engine(name) as (recogniser, fakes), recogniser.open() as hearing:
        await say(hearing, speech(0.6) + quiet(0.1))
        asked_at = trio.current_time()
        assert (await hearing.so_far()).text == HELLO
        assert trio.current_time() - asked_at < 0.4
        assert (await hearing.so_far()).text == HELLO
        await say(hearing, speech(0.6) + quiet(0.1))
        assert (await hearing.final()).text == BOTH
    assert len(fakes.of("stt")) == 1


@on_all
async def test_what_was_worked_out_in_the_pause_is_the_answer_at_the_end(name: str) -> None:
    async with engine(name) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.6) + quiet(0.1))
        assert (await hearing.so_far()).text == HELLO
        await trio.sleep(0.1)
        asked_at = trio.current_time()
        assert (await hearing.final()).text == HELLO
        assert trio.current_time() - asked_at < (0.01 if KINDS[name].keyed else 0.15)


@on_all
async def test_opening_does_not_wait_and_no_audio_is_lost_before_the_connection(name: str) -> None:
    async with engine(name) as (recogniser, fakes):
        began = trio.current_time()
        async with recogniser.open() as hearing:
            assert trio.current_time() - began < 0.01
            await say(hearing, speech(0.7), pace=0)
            assert (await hearing.final()).text == HELLO
        (seen,) = fakes.of("stt")
        sent = bytes(seen.audio)
        rate_hz = 24_000 if name == "openai" else 16_000
        assert len(sent) >= 0.7 * rate_hz * 2
        if name != "openai":
            assert sent.startswith(speech(0.7))


@on_all
async def test_interim_words_come_while_the_user_speaks(name: str) -> None:
    events: list[HearingEvent] = []
    async with engine(name) as (recogniser, _), recogniser.open() as hearing, trio.open_nursery() as nursery:
        nursery.start_soon(collect, hearing, events)
        await say(hearing, speech(0.8))
        assert isinstance(events[0], Interim)
        assert HELLO.startswith(events[0].text)
        texts = [event.text for event in events if isinstance(event, Interim)]
        assert texts == sorted(texts, key=len)
        await hearing.final()
    assert isinstance(events[-1], Final | Ended)
    assert events[-1].text == HELLO


@on_all
async def test_forcing_the_end_is_enough_to_get_the_last_words(name: str) -> None:
    async with engine(name) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.6))
        hearing.force_endpoint()
        hearing.feed(speech(5.0))
        await trio.sleep(0.2)
        asked_at = trio.current_time()
        assert (await hearing.final()).text == HELLO
        assert (await hearing.so_far()).text == HELLO
        assert trio.current_time() - asked_at < 0.02


@on_all
async def test_nothing_fed_nothing_said(name: str) -> None:
    async with engine(name) as (recogniser, _), recogniser.open() as hearing:
        assert (await hearing.so_far()).text == ""
        assert (await hearing.final()).text == ""


@on_all
async def test_a_cough_has_no_words_and_is_no_failure(name: str) -> None:
    world = World(heard=lambda _: "")
    async with engine(name, world) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.2) + quiet(0.1))
        assert (await hearing.so_far()).text == ""
        assert (await hearing.final()).text == ""


@on_all
async def test_leaving_closes_the_connection_at_once(name: str) -> None:
    async with engine(name) as (recogniser, fakes):
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.3))
            left_at = trio.current_time()
        assert trio.current_time() - left_at < 0.25
        await trio.sleep(0.05)
        (seen,) = fakes.of("stt")
        assert seen.close_code == 1000


@on_all
async def test_a_cancelled_wait_does_not_harm_the_next(name: str) -> None:
    world = World(**WORLD, pace=Pace(hear_s=0.15))
    async with engine(name, world) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.6))
        with trio.move_on_after(0.02) as scope:
            await hearing.final()
        assert scope.cancelled_caught
        assert (await hearing.final()).text == HELLO


@ALL
async def test_tentative_words_are_taken_when_the_last_ones_come_too_late(name: str) -> None:
    world = World(**WORLD, pace=Pace(hear_s=5.0))
    async with engine(name, world) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.6))
        with capture_logs() as logs:
            transcript = await hearing.final()
        assert transcript.text
        assert HELLO.startswith(transcript.text)
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["stt.final_late"]


@on_all
async def test_without_any_words_the_engine_has_failed_when_it_is_late(name: str) -> None:
    world = World(words_per_s=0.001, pace=Pace(hear_s=5.0))
    async with engine(name, world) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.3))
        with pytest.raises(TimedOut, match=recogniser.name):
            await hearing.final()


@ALL
async def test_what_does_not_fit_into_the_buffer_is_dropped_and_logged_once(name: str) -> None:
    async with engine(name, stt_buffer_s=0.5) as (recogniser, fakes), recogniser.open() as hearing:
        with capture_logs() as logs:
            await say(hearing, speech(0.9), pace=0)
        assert [line["event"] for line in logs] == ["stt.audio_dropped"]
        assert (await hearing.final()).text == HELLO
        rate_hz = 24_000 if name == "openai" else 16_000
        assert 0.49 <= len(fakes.of("stt")[0].audio) / 2 / rate_hz < 0.75


@on_all
async def test_a_hundred_events_without_a_reader_cost_a_few(name: str) -> None:
    world = World(heard=("word " * 150,), words_per_s=400.0)
    async with engine(name, world, stt_final_s=8.0) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.5), pace=0.2)
        await hearing.final()
        events: list[HearingEvent] = []
        with trio.fail_after(1):
            await collect(hearing, events)
        assert len(events) <= 64
        assert events[-1].text.split() == ["word"] * 150  # type: ignore[union-attr]


# ---- what is particular ------------------------------------------------------------------------------------------


async def test_flux_thinks_aloud_about_the_end_of_the_turn() -> None:
    events: list[HearingEvent] = []
    world = World(**WORLD)
    async with (
        engine("flux", world, eager_eot_threshold=0.5, eot_threshold=0.9) as (recogniser, _),
        recogniser.open() as hearing,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(collect, hearing, events)
        await say(hearing, speech(0.6) + quiet(0.2) + speech(0.3))
        await trio.sleep(0.7)  # nothing is fed in a pause: the adapter adds the silence
        assert (await hearing.final()).text == HELLO
    kinds = [type(event) for event in events if not isinstance(event, Interim)]
    assert kinds == [EagerEnd, Resumed, EagerEnd, Ended]


async def test_flux_hears_the_silence_after_the_words_and_not_between_them() -> None:
    async with engine("flux") as (recogniser, fakes), recogniser.open() as hearing:
        await say(hearing, speech(0.1), pace=0)
        await trio.sleep(0.4)
        heard = bytes(fakes.of("stt")[0].audio)
    assert heard.startswith(speech(0.1))
    assert heard[len(speech(0.1)) :] == quiet(0.24)


async def test_flux_is_told_where_it_has_no_say() -> None:
    async with engine("flux", eot_threshold=0.9, eager_eot_threshold=None) as (recogniser, fakes):
        async with recogniser.open() as hearing:
            await say(hearing, speech(0.6))
            await hearing.final()
        (seen,) = fakes.of("stt")
        assert [message["type"] for message in seen.messages] == ["ForceEndTurn", "CloseStream"]
        assert "eager_eot_threshold" not in seen.query


async def test_xai_is_given_silence_in_a_pause_so_that_it_makes_up_its_mind() -> None:
    async with engine("xai") as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.6))
        asked_at = trio.current_time()
        assert (await hearing.so_far()).text == HELLO
        assert trio.current_time() - asked_at < 0.2
        seen = [await anext(hearing.events()) for _ in range(2)]
        assert seen == [Interim(HELLO), Final(HELLO)]


async def test_nova_keeps_the_connection_in_a_long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NovaDialect, "idle_s", 0.1)
    world = World(**WORLD, idle_s={"deepgram": 0.4})
    async with engine("nova", world) as (recogniser, fakes), recogniser.open() as hearing:
        await say(hearing, speech(0.6))
        assert (await hearing.so_far()).text == HELLO
        await trio.sleep(0.7)
        await say(hearing, speech(0.6))
        assert (await hearing.final()).text == BOTH
        told = [message["type"] for message in fakes.of("stt")[0].messages]
        assert told.count("KeepAlive") >= 4


async def test_nova_joins_segments_and_weighs_their_confidence() -> None:
    text = "one two three four five six seven eight nine ten eleven twelve"
    async with engine("nova", World(heard=(text,), words_per_s=12.0)) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(1.0), pace=0.5)
        transcript = await hearing.final()
        assert (transcript.text, transcript.confidence) == (text, 0.98)


@pytest.mark.parametrize("name", ["openai", "scribe"])
async def test_silence_after_the_words_is_not_committed(name: str) -> None:
    async with engine(name) as (recogniser, fakes), recogniser.open() as hearing:
        await say(hearing, speech(0.6))
        assert (await hearing.so_far()).text == HELLO
        await say(hearing, quiet(0.3))
        assert (await hearing.final()).text == HELLO
        commits = [m for m in fakes.of("stt")[0].messages if m.get("commit") or m.get("type", "").endswith("commit")]
        assert len(commits) == 1


@pytest.mark.parametrize("name", ["openai", "scribe"])
async def test_a_word_that_is_too_short_to_be_committed_is_filled_up(name: str) -> None:
    async with engine(name, World(heard=("yes",))) as (recogniser, _), recogniser.open() as hearing:
        await say(hearing, speech(0.06))
        assert (await hearing.final()).text == "yes"


async def test_openai_is_told_what_to_do_and_what_it_cost_is_known() -> None:
    changes = {"language": "en", "stt_prompt": "AURA", "live_stt_noise": "far_field"}
    async with engine("openai", **changes) as (recogniser, fakes), recogniser.open() as hearing:
        await say(hearing, speech(0.6))
        transcript = await hearing.final()
        assert transcript.billed_s == pytest.approx(0.6, abs=0.05)
        (seen,) = fakes.of("stt")
        assert (seen.path, seen.query) == ("/v1/realtime", {"intent": "transcription"})
        asked = seen.messages[0]["session"]["audio"]["input"]
        assert asked == {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "gpt-live-transcribe", "language": "en", "prompt": "AURA"},
            "turn_detection": None,
            "noise_reduction": {"type": "far_field"},
        }
