"""Voices over WebSockets, all three against faithful servers: sentences, faults, barge-in, sockets replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import pytest
import structlog
import trio

from aura.core import errors
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.core.secret import Secret
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.elevenlabs.ws_tts import open_tts as open_elevenlabs
from aura.providers.http import open_http
from aura.providers.openai.realtime_tts import open_realtime_tts
from aura.providers.openai.settings import OpenAISettings
from aura.providers.xai.settings import XaiSettings
from aura.providers.xai.tts import open_tts as open_xai
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.world import Pace, World, hum

TEXT = "Good morning, how are you today?"
HELLO = SpeechRequest(TEXT, "somebody")
KEY = Secret("sk-test-0123456789")
FAST = {"first": 0.4, "stall": 0.3}


class Kind(NamedTuple):
    """One of the engines, and how its patience is called."""

    vendor: str
    open: Callable[..., AbstractAsyncContextManager[Any]]
    settings: Callable[..., Any]
    first: str
    stall: str
    idle: str
    sockets: str


KINDS = {
    "elevenlabs": Kind(
        "elevenlabs", open_elevenlabs, ElevenLabsSettings,
        "first_audio_timeout_s", "stall_timeout_s", "socket_idle_s", "sockets_max",
    ),
    "xai": Kind(
        "xai", open_xai, XaiSettings,
        "tts_first_audio_timeout_s", "tts_stall_timeout_s", "tts_socket_idle_s", "tts_sockets_max",
    ),
    "openai": Kind(
        "openai", open_realtime_tts, OpenAISettings,
        "first_audio_timeout_s", "stall_timeout_s", "socket_idle_s", "sockets_max",
    ),
}  # fmt: skip
every_voice = pytest.mark.parametrize("voice", KINDS)


@asynccontextmanager
async def speaking(voice: str, pace: Pace | None = None, **changes: Any) -> AsyncIterator[tuple[Any, Fakes]]:
    """The engine and its server."""
    kind = KINDS[voice]
    patience = {kind.first: changes.pop("first", 2.0), kind.stall: changes.pop("stall", 2.0)}
    renamed = {getattr(kind, name, name): value for name, value in changes.items()}
    async with serve_fakes(World(pace=pace or Pace()), kind.vendor) as fakes, open_http() as http:
        settings = kind.settings(base_url=fakes.url(kind.vendor), api_key=KEY, **patience, **renamed)
        async with kind.open(settings, http, name=voice) as engine:
            yield engine, fakes


async def said(engine: Any, request: SpeechRequest = HELLO) -> list[SpeechChunk]:
    async with engine.speak(request) as chunks:
        return [chunk async for chunk in chunks]


def pcm(chunks: list[SpeechChunk]) -> bytes:
    return b"".join(chunk.pcm for chunk in chunks)


def spoken(fakes: Fakes, text: str) -> bytes:
    """What the servers make of a text."""
    return hum(round(fakes.world.seconds_of(text), 2))


async def until(what: Callable[[], bool], seconds: float = 1.0) -> None:
    with trio.fail_after(seconds):
        while not what():  # noqa: ASYNC110  # the server has no event for it
            await trio.sleep(0.002)


@every_voice
async def test_sentences_come_out_whole_one_after_the_other_on_one_socket(voice: str) -> None:
    async with speaking(voice) as (engine, fakes):
        expected = spoken(fakes, TEXT)
        for _ in range(3):
            chunks = await said(engine)
            assert pcm(chunks) == expected
            assert {chunk.rate_hz for chunk in chunks} == {24_000}
            assert all(len(chunk.pcm) % 2 == 0 for chunk in chunks)
        assert len(fakes.of("tts")) == 1
        assert engine.pool.sockets == 1


@every_voice
async def test_nobody_hears_a_sentence_of_another(voice: str) -> None:
    """Texts of many lengths at once: each gets just its own audio."""
    texts = ["Hi there, " + "and so on " * n + "bye." for n in range(16)]
    heard: dict[str, bytes] = {}

    async def one(engine: Any, text: str) -> None:
        heard[text] = pcm(await said(engine, SpeechRequest(text, "")))

    more = {"concurrency": 16} if voice == "elevenlabs" else {}
    async with speaking(voice, **more) as (engine, fakes):
        fakes.vendors[KINDS[voice].vendor].state["concurrency"] = 100
        async with trio.open_nursery() as nursery:
            for text in texts:
                nursery.start_soon(one, engine, text)
        assert heard == {text: spoken(fakes, text) for text in texts}


FAULTS: dict[str, tuple[type[errors.ProviderError], ...]] = {
    "refused": (errors.Unavailable,),
    "silent": (errors.TimedOut,),
    "ws_401": (errors.AuthFailed,),
    "unauthorized": (errors.AuthFailed,),
    "rate_limited": (errors.RateLimited,),
    "quota": (errors.QuotaExhausted,),
    "error_500": (errors.Unavailable,),
    "bad_gateway": (errors.Unavailable,),
    "rst": (errors.Unavailable,),
    "cut": (errors.StreamCut,),
    "cut_between": (errors.StreamCut,),
    "rst_mid": (errors.StreamCut,),
    "stall": (errors.TimedOut,),
    "headers_then_silent": (errors.TimedOut,),
    "malformed": (errors.StreamCut,),
    "empty": (errors.TimedOut, errors.StreamCut),
    "ws_1000": (errors.StreamCut,),
    "ws_1008": (errors.AuthFailed,),
    "ws_1011": (errors.Unavailable,),
    "ws_error": (errors.QuotaExhausted, errors.Unavailable),
}


@every_voice
@pytest.mark.parametrize("fault", FAULTS)
async def test_faults_are_provider_errors_and_the_next_sentence_is_whole(voice: str, fault: str) -> None:
    more = {"tts_connect_timeout_s": 0.4} if voice == "xai" else {}
    more |= {"connect_timeout_s": 0.4} if voice == "elevenlabs" else {}
    more |= {"socket_connect_timeout_s": 0.4} if voice == "openai" else {}
    async with speaking(voice, **FAST, **more) as (engine, fakes):
        fakes.fault("tts", fault)
        with trio.fail_after(3), pytest.raises(errors.ProviderError) as caught:
            await said(engine)
        assert isinstance(caught.value, FAULTS[fault]), caught.value
        assert caught.value.provider == voice
        assert KEY.reveal() not in str(caught.value)
        fakes.clear()
        assert pcm(await said(engine)) == spoken(fakes, TEXT)


@every_voice
@pytest.mark.parametrize("oddity", ["fragments", "unknown_events", "other_spelling", "no_alignment", "late_audio"])
async def test_oddities_change_nothing(voice: str, oddity: str) -> None:
    async with speaking(voice, first=3.0, stall=3.0) as (engine, fakes):
        fakes.fault("tts", oddity)
        for _ in range(2):
            assert pcm(await said(engine)) == spoken(fakes, TEXT)


@every_voice
async def test_a_socket_that_was_closed_while_idle_is_replaced_without_a_failure(voice: str) -> None:
    async with speaking(voice) as (engine, fakes):
        fakes.fault("tts", "inactivity_close", idle_s=0.4)
        for _ in range(3):
            assert pcm(await said(engine)) == spoken(fakes, TEXT)
            await trio.sleep(0.5)
        assert len(fakes.of("tts")) == 3


@every_voice
async def test_idle_sockets_are_closed_in_good_order(voice: str) -> None:
    async with speaking(voice, idle=0.1) as (engine, fakes):
        await engine.warm()
        await said(engine, SpeechRequest(TEXT, ""))
        assert engine.pool.sockets == 1
        await until(lambda: engine.pool.sockets == 0)
        await until(lambda: fakes.of("tts")[0].disconnected_at is not None)
        assert len(fakes.of("tts")) == 1
        assert fakes.of("tts")[0].close_code == 1000


STOPPED: dict[str, Callable[[list[Any]], bool]] = {
    "elevenlabs": lambda messages: any(message.get("close_context") for message in messages),
    "xai": lambda messages: any(message["type"] == "text.clear" for message in messages),
    "openai": lambda messages: any(message["type"] == "response.cancel" for message in messages),
}


async def barge_in(engine: Any, after: int = 2) -> float:
    """Leave in the middle; returns when."""
    with trio.CancelScope() as scope:
        async with engine.speak(HELLO) as chunks:
            async for _ in chunks:
                after -= 1
                if not after:
                    at = trio.current_time()
                    scope.cancel()
    return at


@every_voice
async def test_a_barge_in_reaches_the_engine_at_once_and_stops_it(voice: str) -> None:
    async with speaking(voice, Pace(audio_gap_s=0.02)) as (engine, fakes):
        left_at = await barge_in(engine)
        took = trio.current_time() - left_at
        seen = fakes.of("tts")[0]
        await until(lambda: STOPPED[voice](seen.messages), 0.05)
        assert took < 0.05
        await trio.sleep(0.15)
        assert seen.chunks_after(left_at + 0.005) <= 1
        assert pcm(await said(engine)) == spoken(fakes, TEXT)
        assert len(fakes.of("tts")) == 1, "the socket is used again"


@every_voice
async def test_a_barge_in_before_the_first_audio_stops_the_engine_too(voice: str) -> None:
    async with speaking(voice, Pace(ttfb_s=0.2)) as (engine, fakes):
        await engine.warm()
        with trio.move_on_after(0.05):
            await said(engine, SpeechRequest(TEXT, ""))
        await trio.sleep(0.3)
        assert STOPPED[voice](fakes.of("tts")[0].messages)
        assert fakes.of("tts")[0].chunks_sent <= 1
        assert pcm(await said(engine)) == spoken(fakes, TEXT)


@every_voice
async def test_twenty_quick_barge_ins_neither_break_nor_flood_the_engine(voice: str) -> None:
    async with speaking(voice, Pace(ttfb_s=0.005, audio_gap_s=0.01)) as (engine, fakes):
        for _ in range(20):
            await barge_in(engine, 1)
        assert pcm(await said(engine)) == spoken(fakes, TEXT)
        seen = fakes.of("tts")
        assert len(seen) <= 8
        assert all(open_contexts(one.messages) <= 4 for one in seen if voice == "elevenlabs")
        assert all(one.close_code is None for one in seen)


def open_contexts(messages: list[Any]) -> int:
    """Most contexts that were named and not closed at any time, seen from the engine."""
    now: set[str] = set()
    most = 0
    for message in messages:
        if message.get("close_context"):
            now.discard(message["context_id"])
        else:
            now.add(message["context_id"])
        most = max(most, len(now))
    return most


@every_voice
async def test_no_more_sockets_than_allowed_and_who_waits_gets_one(voice: str) -> None:
    more: dict[str, Any] = {"contexts_max": 1, "concurrency": 9} if voice == "elevenlabs" else {}
    heard: list[int] = []
    async with speaking(voice, sockets=2, **more) as (engine, fakes):

        async def one() -> None:
            heard.append(len(pcm(await said(engine))))
            assert engine.pool.sockets <= 2

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(one)
        assert heard == [len(spoken(fakes, TEXT))] * 6
        assert len(fakes.of("tts")) == 2


@every_voice
async def test_a_key_that_is_good_is_probed_without_speech(voice: str) -> None:
    async with speaking(voice) as (engine, fakes):
        await engine.probe()
        assert fakes.of("tts") == []
        fakes.fault("*", "unauthorized")
        with pytest.raises(errors.AuthFailed):
            await engine.probe()


@every_voice
async def test_leaving_the_engine_in_mid_sentence_ends_everything(voice: str) -> None:
    async def run(done: Callable[[], Awaitable[None]]) -> None:
        async with speaking(voice, Pace(audio_gap_s=0.05)) as (engine, _), engine.speak(HELLO) as chunks:
            await anext(chunks)
            await done()

    with trio.fail_after(2):
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                scope.cancel()

            await run(cancel)


@pytest.mark.parametrize("voice", ["elevenlabs", "xai"])
@pytest.mark.parametrize("oddity", ["", "other_spelling"])
async def test_words_are_timed(voice: str, oddity: str) -> None:
    async with speaking(voice) as (engine, fakes):
        if oddity:
            fakes.fault("tts", oddity)
        words = [word for chunk in await said(engine) for word in chunk.words]
        letter_s = round(fakes.world.seconds_of(TEXT), 2) / len(TEXT)
        assert [TEXT[word.start : word.end] for word in words] == TEXT.split()
        off_s = 0.12  # the fakes' pieces of audio and of text do not end together
        assert all(word.begin_s == pytest.approx(word.start * letter_s, abs=off_s) for word in words)
        assert all(word.end_s == pytest.approx(word.end * letter_s, abs=off_s) for word in words)


async def test_contexts_that_elevenlabs_never_confirms_cost_one_socket_and_no_sentence() -> None:
    async with speaking("elevenlabs", close_timeout_s=0.2) as (engine, fakes):
        fakes.fault("tts", "no_final")
        for _ in range(9):
            assert pcm(await said(engine)) == spoken(fakes, TEXT)
        assert all(one.close_code in (None, 1000) for one in fakes.of("tts"))
        await trio.sleep(0.4)
        assert engine.pool.sockets == 0, "all of them were given up"


async def test_what_elevenlabs_refuses_over_this_socket_is_said_plainly() -> None:
    async with speaking("elevenlabs", tts_model="eleven_v3") as (engine, _):
        with pytest.raises(errors.ProviderError, match="eleven_v3"):
            await said(engine)


async def test_a_model_that_rewords_is_noticed() -> None:
    async with speaking("openai") as (engine, fakes):
        fakes.fault("tts", "rewords")
        with structlog.testing.capture_logs() as lines:
            await said(engine)
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["tts.reworded"]
        fakes.clear()
        with structlog.testing.capture_logs() as lines:
            await said(engine, SpeechRequest(TEXT, "echo"))
        assert [line for line in lines if line["log_level"] == "warning"] == []
        assert engine.left.tokens == pytest.approx(0.975)


async def test_openai_sessions_read_aloud_and_belong_to_one_voice() -> None:
    async with speaking("openai", tts_instructions="Calmly.") as (engine, fakes):
        await said(engine, SpeechRequest(TEXT, "echo", 1.25))
        await said(engine, SpeechRequest(TEXT, "unknown"))
        first, second = fakes.of("tts")
        update, create = first.messages
        assert update["session"]["audio"]["output"] == {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "voice": "echo",
            "speed": 1.25,
        }
        assert "verbatim" in update["session"]["instructions"]
        assert update["session"]["instructions"].endswith("Calmly.")
        assert create["response"]["conversation"] == "none"
        assert create["response"]["input"][0]["content"] == [{"type": "input_text", "text": TEXT}]
        assert second.messages[0]["session"]["audio"]["output"]["voice"] == "alloy"
        assert first.query == {"model": "gpt-realtime-2.1-mini"}


async def test_xai_sockets_say_what_was_chosen() -> None:
    async with speaking("xai", tts_language="de", tts_rate_hz=16_000, tts_latency=1) as (engine, fakes):
        chunks = await said(engine, SpeechRequest(TEXT, "ara", 1.2))
        assert {chunk.rate_hz for chunk in chunks} == {16_000}
        assert fakes.of("tts")[0].query == {
            "voice": "ara", "language": "de", "codec": "pcm", "sample_rate": "16000", "speed": "1.2",
            "optimize_streaming_latency": "1", "with_timestamps": "true",
        }  # fmt: skip
        assert fakes.of("tts")[0].messages == [{"type": "text.delta", "delta": TEXT}, {"type": "text.done"}]


@every_voice
async def test_old_sockets_are_replaced_between_sentences(voice: str) -> None:
    age = {"tts_socket_age_s": 0.2} if voice == "xai" else {"socket_age_s": 0.2}
    async with speaking(voice, **age) as (engine, fakes):
        for _ in range(3):
            assert pcm(await said(engine)) == spoken(fakes, TEXT)
            await trio.sleep(0.25)
        assert len(fakes.of("tts")) == 3
        assert [one.close_code for one in fakes.of("tts")] == [1000] * 3
