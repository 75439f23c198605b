"""The router in front of voices and recognisers."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from aura.core.errors import ProviderError, QuotaExhausted, StreamCut, Unavailable
from aura.core.ports import SpeechChunk, SpeechRequest, Transcript, WordTime
from aura.providers.router.board import Board
from aura.providers.router.hearing import RoutedStt
from aura.providers.router.settings import RouterSettings
from aura.providers.router.voice import RoutedVoice
from tests.routed import Scripted, Step, board_of, talk

SENTENCE = "The lighthouse keeper counted the ships every night."
FREELY = RouterSettings(hedge_free_usd=100)


def sound(seconds: float, rate_hz: int = 24_000, level: int = 1000, words: tuple[WordTime, ...] = ()) -> SpeechChunk:
    return SpeechChunk(np.full(round(seconds * rate_hz), level, "<i2").tobytes(), rate_hz, words)


async def say(board: Board) -> tuple[list[SpeechChunk], float]:
    """(what came, seconds until the first sound)."""
    began, first, chunks = trio.current_time(), None, []
    async with RoutedVoice(board, talk()).speak(SpeechRequest(SENTENCE, "alloy")) as items:
        async for chunk in items:
            first = first or trio.current_time()
            chunks.append(chunk)
    return chunks, (first or trio.current_time()) - began


def seconds(chunks: list[SpeechChunk]) -> float:
    return sum(len(chunk.pcm) / 2 / chunk.rate_hz for chunk in chunks)


@pytest.mark.parametrize("bad", [[Unavailable("down")], [1e6], [], [sound(0)]], ids=["down", "silent", "empty", "none"])
async def test_another_voice_speaks_the_sentence(bad: list[Step], autojump_clock: trio.testing.MockClock) -> None:
    good = Scripted("b", [0.1, sound(2.0)])
    chunks, first_s = await say(board_of("tts", Scripted("a", bad), good, settings=FREELY))
    assert seconds(chunks) == 2.0
    assert first_s <= 0.61
    assert good.requests[0].text == SENTENCE
    assert chunks[0].served_by == "b/m"


async def test_the_offline_voice_waits_longer_than_a_second_voice(autojump_clock: trio.testing.MockClock) -> None:
    spare = Scripted("offline", [sound(1.0)])
    slow = Scripted("a", [0.8, sound(2.0)])
    chunks, _ = await say(board_of("tts", slow, last_resort=spare))
    assert (seconds(chunks), spare.requests) == (2.0, [])
    chunks, first_s = await say(board_of("tts", Scripted("a", [1e6]), last_resort=spare))
    assert (seconds(chunks), round(first_s, 2)) == (1.0, RouterSettings().last_resort_after_s)


@pytest.mark.parametrize("ending", [[StreamCut("cut")], [1e6]], ids=["cut", "stall"])
async def test_a_sentence_that_breaks_off_is_spoken_to_its_end_at_the_first_rate(
    ending: list[Step], autojump_clock: trio.testing.MockClock
) -> None:
    times = (WordTime(0, 3, 0.0, 0.2), WordTime(4, 14, 0.2, 0.7), WordTime(15, 21, 0.7, 1.2))
    first = Scripted("a", [sound(0.9, words=times), *ending])
    second = Scripted("b", [sound(1.6, 16_000, words=(WordTime(0, 6, 0.0, 0.4), WordTime(7, 14, 0.4, 0.8)))])
    chunks, _ = await say(board_of("tts", first, second))
    assert second.requests[0].text == SENTENCE[15:]  # from the word that was being spoken
    assert {chunk.rate_hz for chunk in chunks} == {24_000}
    assert seconds(chunks) == pytest.approx(2.5, abs=0.01)
    words = [word for chunk in chunks for word in chunk.words]
    assert [SENTENCE[w.start : w.end] for w in words] == ["The", "lighthouse", "keeper", "keeper", "counted"]
    assert words[-1].begin_s == pytest.approx(1.3, abs=0.01)


async def test_without_any_voice_the_error_comes_out(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(Unavailable):
        await say(board_of("tts", Scripted("a", [Unavailable("down")])))


# ---- hearing


def words(text: str, delay_s: float = 0.1) -> list[Step]:
    return [delay_s, Transcript(text)]


async def hear(board: Board, pieces: int = 50) -> tuple[Transcript, float]:
    """(the words, seconds they took) of an utterance of 20 ms pieces."""
    async with RoutedStt(board, talk()).open() as hearing:
        for _ in range(pieces):
            hearing.feed(b"ab" * 320)
            await trio.sleep(0.02)
        asked = trio.current_time()
        return await hearing.final(), trio.current_time() - asked


async def test_a_good_recogniser_hears_alone(autojump_clock: trio.testing.MockClock) -> None:
    good, other = Scripted("a", words("hello")), Scripted("b", words("no"))
    heard, took_s = await hear(board_of("stt", good, other))
    assert (heard.text, heard.served_by, round(took_s, 2)) == ("hello", "a/m", 0.1)
    assert (len(good.fed), other.fed, good.open_now) == (50 * 640, b"", 0)


@pytest.mark.parametrize("bad", [[Unavailable("down")], [1e6]], ids=["down", "silent"])
async def test_another_recogniser_gets_all_of_the_utterance(
    bad: list[Step], autojump_clock: trio.testing.MockClock
) -> None:
    good = Scripted("b", words("hello"))
    heard, took_s = await hear(board_of("stt", Scripted("a", bad), good, settings=FREELY))
    assert (heard.text, len(good.fed)) == ("hello", 50 * 640)
    assert took_s <= 0.61


async def test_the_engine_that_stood_in_is_asked_first_for_the_rest_of_the_utterance(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bad, good = Scripted("a", [Unavailable("down")]), Scripted("b", words("hello"))
    board = board_of("stt", bad, good)
    async with RoutedStt(board, talk()).open() as hearing:
        hearing.feed(b"ab" * 3200)
        assert (await hearing.so_far()).text == "hello"
        hearing.feed(b"ab" * 3200)
        assert (await hearing.final()).text == "hello"
    assert (len(bad.requests), good.requests) == (1, [6400, 12800])


async def test_a_lone_recogniser_that_fails_says_so_and_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    engine = Scripted("a", [Unavailable("down")], words("hello"))
    assert (await hear(board_of("stt", engine)))[0].text == "hello"
    with pytest.raises(ProviderError):
        await hear(board_of("stt", Scripted("a", [Unavailable("down")])))


async def test_leaving_in_mid_utterance_frees_every_engine(autojump_clock: trio.testing.MockClock) -> None:
    engines = [Scripted("a", [1e6]), Scripted("b", [1e6])]
    with trio.move_on_after(3):
        await hear(board_of("stt", *engines, settings=FREELY))
    assert [engine.open_now for engine in engines] == [0, 0]


async def test_a_tenant_that_may_use_no_recogniser_is_told_so(autojump_clock: trio.testing.MockClock) -> None:
    board = board_of("stt", Scripted("a", [Transcript("no")]), Scripted("b", [Transcript("no")]))
    who = talk()
    who.allowed = frozenset({"c"})
    with pytest.raises(QuotaExhausted, match="no stt engine may be used"):
        async with RoutedStt(board, who).open():
            pytest.fail("nobody may hear this")
