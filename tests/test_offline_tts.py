"""The offline voice: the real espeak-ng."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import trio

from aura.core.errors import BadRequest, TimedOut
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.providers.offline.tts import VOICES, OfflineVoice, TtsSettings, WordTimes, engine, espeak_voice

SENTENCE = "Hello there, how are you today?"


@pytest.fixture(autouse=True, scope="module")
def loaded() -> None:
    """Load the library before any event loop runs."""
    engine().say("x", "en-us", 170, lambda pcm, begins: True)


async def say(voice: OfflineVoice, text: str = SENTENCE, name: str = "alloy", speed: float = 1.0) -> list[SpeechChunk]:
    with trio.fail_after(10):
        async with voice.speak(SpeechRequest(text, name, speed)) as chunks:
            return [chunk async for chunk in chunks]


def seconds(chunks: list[SpeechChunk]) -> float:
    return sum(len(chunk.pcm) for chunk in chunks) / 2 / chunks[0].rate_hz


async def test_a_sentence_comes_in_pieces_of_one_rate_and_is_loud_enough(no_stalls):
    chunks = await say(OfflineVoice())
    assert {chunk.rate_hz for chunk in chunks} == {22050}
    assert len(chunks) > 10
    assert 1.0 < seconds(chunks) < 4.0
    samples = np.frombuffer(b"".join(chunk.pcm for chunk in chunks), "<i2")
    assert 1000 < samples.std() < 8000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SENTENCE, ["Hello", "there,", "how", "are", "you", "today?"]),
        ("It is 42 degrees in Zürich, isn’t it?", ["It", "is", "42", "degrees", "in", "Zürich,", "isn’t", "it?"]),
        ("That is £5.50.", ["That", "is", "£5.50."]),
    ],
)
async def test_every_word_has_its_time_in_order(text, words):
    chunks = await say(OfflineVoice(), text)
    times = [word for chunk in chunks for word in chunk.words]
    assert [text[word.start : word.end] for word in times] == words
    assert times[0].begin_s == 0.0
    assert all(before.end_s == after.begin_s for before, after in pairwise(times))
    assert all(word.begin_s < word.end_s for word in times)
    assert times[-1].end_s == pytest.approx(seconds(chunks) - TtsSettings().sentence_pause_s, abs=0.01)


def test_a_word_that_is_read_as_several_stays_one():
    times = WordTimes("42 is it")
    assert times.push([(0, 0.0), (1, 0.3)]) == ()
    (number,) = times.push([(3, 0.5)])
    assert (number.start, number.end, number.begin_s, number.end_s) == (0, 2, 0.0, 0.5)
    assert times.push([(99, 0.6), (-1, 0.6)]) == ()
    assert [(word.start, word.end) for word in times.finish(0.8)] == [(3, 5)]
    assert times.finish(0.9) == ()


async def test_every_voice_is_there_and_sounds_its_own_way():
    voice = OfflineVoice()
    spoken = {name: b"".join(chunk.pcm for chunk in await say(voice, "Hello.", name)) for name in VOICES}
    assert len(set(spoken.values())) == len(VOICES)


async def test_an_unknown_voice_speaks_as_the_default():
    default = OfflineVoice(TtsSettings(default_voice="coral"))
    assert espeak_voice("Coral", "alloy") == VOICES["coral"]
    assert espeak_voice("nobody", "coral") == VOICES["coral"]
    assert seconds(await say(default, "Hello.", "nobody")) == seconds(await say(default, "Hello.", "coral"))


async def test_speed_changes_the_length():
    voice = OfflineVoice()
    slow, usual, fast = [seconds(await say(voice, speed=speed)) for speed in (0.25, 1.0, 1.5)]
    assert slow > 1.5 * usual > 1.5 * fast


@pytest.mark.parametrize("text", ["", " ", "…", "\0", "[[Hello]] <b>&", "\ud800 \U0001f600"])
async def test_strange_texts_do_no_harm(text):
    voice = OfflineVoice()
    await say(voice, text)
    assert seconds(await say(voice)) > 1.0


async def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(BadRequest, match="3000"):
        await say(OfflineVoice(), "x" * 3001)


async def test_a_voice_that_does_not_exist_is_a_clear_error():
    with pytest.raises(BadRequest, match="no-such-voice"):
        await say(OfflineVoice(TtsSettings(default_voice="no-such-voice")), "Hello.", "nobody")


async def test_leaving_early_frees_the_engine_at_once():
    voice = OfflineVoice()
    with trio.fail_after(5):
        async with voice.speak(SpeechRequest("Hello there. " * 200, "alloy")) as chunks:
            assert (await anext(aiter(chunks))).pcm
        async with voice.speak(SpeechRequest("Hello there. " * 200, "alloy")):
            pass
        begun = trio.current_time()
        assert await say(voice)
        assert trio.current_time() - begun < 1.0


async def test_cancelling_while_it_speaks_passes_through():
    with trio.move_on_after(0.01) as scope:
        async with OfflineVoice().speak(SpeechRequest("Hello there. " * 200, "alloy")) as chunks:
            async for _ in chunks:
                await trio.sleep(0.001)
    assert scope.cancelled_caught


async def test_what_is_raised_inside_comes_out_as_it_was():
    async def listen() -> None:
        async with OfflineVoice().speak(SpeechRequest(SENTENCE, "alloy")) as chunks:
            async for _ in chunks:
                raise KeyError

    with pytest.raises(KeyError):
        await listen()


async def test_many_conversations_share_the_engine_and_hear_their_own_words():
    voice = OfflineVoice()
    alone = {text: await say(voice, text) for text in ("One.", "Twenty two.", SENTENCE)}
    heard: list[bool] = []

    def spans(chunks: list[SpeechChunk]) -> list[tuple[int, int]]:
        return [(word.start, word.end) for chunk in chunks for word in chunk.words]

    async def converse(text: str) -> None:
        chunks = await say(voice, text)
        same_length = seconds(chunks) == pytest.approx(seconds(alone[text]), abs=0.05)
        heard.append(same_length and spans(chunks) == spans(alone[text]))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            for text in alone:
                nursery.start_soon(converse, text)
    assert heard == [True] * 12


async def test_waiting_for_a_busy_engine_has_an_end(autojump_clock):
    voice = OfflineVoice(TtsSettings(deadline_s=2.0))
    async with voice.turn:
        with pytest.raises(TimedOut):
            await say(voice)
