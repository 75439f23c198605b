"""Sentences kept on disk: what is kept, found again, made room for, and what a broken disk does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from aura.core.errors import ProviderError, StreamCut, Unavailable
from aura.core.ports import SpeechChunk, SpeechRequest, TextToSpeech, WordTime
from aura.core.sentences import SentenceSettings
from aura.observe.metrics import Metrics
from aura.providers import registry
from aura.providers.cache.settings import CacheSettings
from aura.providers.cache.store import Heading, Sound, decode
from aura.providers.cache.voice import CachedVoice, Replay, open_voice_cache, own_sentences
from aura.providers.http import open_http
from aura.providers.offline.tts import TtsSettings
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.tts import OpenAISpeaker
from tests.fakes.openai_server import serve, speech

OFFLINE = registry.Chosen("offline", "offline", "", TtsSettings())
SORRY = SpeechRequest("Sorry, could you say that again?", "alloy")
OTHER = SpeechRequest("The weather is fine, Ms Jones.", "alloy")
RATE_HZ = 24_000
SECOND = bytes(range(200)) * (2 * RATE_HZ // 200)


class Speaker:
    """A voice that says what it is told to: chunks, or an error after them."""

    name, model = "acme", "voice-1"

    def __init__(self, *chunks: SpeechChunk, error: Exception | None = None) -> None:
        self.chunks = chunks or tuple(SpeechChunk(SECOND, RATE_HZ) for _ in range(3))
        self.error = error
        self.asked: list[SpeechRequest] = []

    @asynccontextmanager
    async def speak(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        self.asked.append(request)
        yield self._chunks()

    async def _chunks(self) -> AsyncIterator[SpeechChunk]:
        for chunk in self.chunks:
            await trio.lowlevel.checkpoint()
            yield chunk
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def cached(
    folder: Path, inner: TextToSpeech, metrics: Metrics | None = None, identity: str = "", **changes: Any
) -> AsyncIterator[CachedVoice]:
    """The voice behind a cache for which only SORRY is its own."""
    settings = CacheSettings(disk_wait_s=5.0, **changes)
    own = frozenset([SORRY.text])
    async with open_voice_cache(settings, folder, own.__contains__, metrics or Metrics()) as cache:
        yield cache.wrap(inner, identity)
        if cache.store is not None:
            await cache.store.written()


async def said(voice: TextToSpeech, request: SpeechRequest = SORRY) -> list[SpeechChunk]:
    async with voice.speak(request) as chunks:
        return [chunk async for chunk in chunks]


def sound(chunks: list[SpeechChunk]) -> bytes:
    return b"".join(chunk.pcm for chunk in chunks)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("**/*.sound"))


def counts(metrics: Metrics) -> dict[str, float]:
    return {
        result: count
        for result in ("hit", "shared", "miss", "corrupt")
        if (count := metrics.value("cache_requests", "audio", result))
    }


# ---- found again --------------------------------------------------------------------------------------------------


async def test_a_kept_sentence_sounds_the_same_after_a_restart_and_the_engine_is_not_asked(tmp_path: Path) -> None:
    async with (
        open_http() as http,
        registry.open_part("tts", OFFLINE, http) as espeak,
        cached(tmp_path, espeak) as voice,
    ):
        first = await said(voice)
    silent, metrics = Speaker(error=Unavailable("gone")), Metrics()
    silent.name = "offline"
    silent.model = getattr(espeak, "model", "")
    async with cached(tmp_path, silent, metrics) as voice:
        assert voice.holds(SORRY)
        again = await said(voice)
        kept = await voice.kept(SORRY)
        assert kept is not None
        assert [chunk async for chunk in kept] == again
        assert await voice.kept(OTHER) is None
    assert sound(again) == sound(first) != b""
    assert {chunk.rate_hz for chunk in again} == {first[0].rate_hz}
    assert [word for chunk in again for word in chunk.words] == [word for chunk in first for word in chunk.words] != []
    assert (silent.asked, counts(metrics)) == ([], {"hit": 2})


async def test_words_come_with_the_piece_in_which_they_begin() -> None:
    words = (WordTime(0, 2, 0.0, 0.1), WordTime(3, 5, 0.25, 0.7), WordTime(6, 8, 0.99, 1.0), WordTime(9, 9, 1.5, 2.0))
    pieces = [piece async for piece in Replay(Sound(Heading(RATE_HZ, words, "acme/voice-1"), SECOND))]
    assert sound(pieces) == SECOND
    assert [len(piece.pcm) / 2 / RATE_HZ for piece in pieces] == pytest.approx([0.2] * 5)
    assert [[word.start for word in piece.words] for piece in pieces] == [[0], [3], [], [], [6, 9]]
    assert [piece.served_by for piece in pieces] == ["acme/voice-1", "", "", "", ""]


@pytest.mark.parametrize(
    ("change", "request_"),
    [
        ({"identity": "slowly"}, SORRY),
        ({}, SpeechRequest(SORRY.text, "verse")),
        ({}, SpeechRequest(SORRY.text, "alloy", 1.5)),
        ({"model": "voice-2"}, SORRY),
        ({"name": "other"}, SORRY),
    ],
)
async def test_another_sound_is_another_sentence(
    tmp_path: Path, change: dict[str, str], request_: SpeechRequest
) -> None:
    async with cached(tmp_path, Speaker()) as voice:
        await said(voice)
    other = Speaker()
    identity = change.pop("identity", "")
    for name, value in change.items():
        setattr(other, name, value)
    async with cached(tmp_path, other, identity=identity) as voice:
        assert not voice.holds(request_)
        await said(voice, request_)
    assert (len(other.asked), len(files(tmp_path))) == (1, 2)


# ---- what is kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [SORRY]),
        ({"audio": "own"}, [SORRY]),
        ({"audio": "all"}, [SORRY, OTHER]),
        ({"audio": "all", "audio_chars_max": 31}, [OTHER]),
        ({"audio": "off"}, []),
        ({"audio_mb": 0}, []),
        ({"share": False}, [SORRY]),
    ],
)
async def test_only_what_may_be_kept_is(tmp_path: Path, changes: dict[str, Any], kept: list[SpeechRequest]) -> None:
    async with cached(tmp_path, Speaker(), **changes) as voice:
        for request in (SORRY, OTHER):
            assert sound(await said(voice, request)) == SECOND * 3
    async with cached(tmp_path, Speaker(), **changes) as voice:
        assert [request for request in (SORRY, OTHER) if voice.holds(request)] == kept
    names = {path.name for path in files(tmp_path)}
    assert len(names) == len(kept)
    assert not any(b"Sorry" in path.read_bytes() or b"Jones" in path.read_bytes() for path in files(tmp_path))


STREAMS = {
    "failed": (Speaker(error=StreamCut("cut")), StreamCut),
    "empty": (Speaker(SpeechChunk(b"", RATE_HZ)), None),
    "of two rates": (Speaker(SpeechChunk(SECOND, RATE_HZ), SpeechChunk(SECOND, 16_000)), None),
    "half a sample": (Speaker(SpeechChunk(SECOND[1:], RATE_HZ)), None),
    "too short for its text": (Speaker(SpeechChunk(SECOND[:9600], RATE_HZ)), None),
}


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_stream_that_is_not_whole_is_not_kept(tmp_path: Path, stream: str) -> None:
    speaker, error = STREAMS[stream]
    async with cached(tmp_path, speaker) as voice:
        if error is None:
            assert await said(voice) == list(speaker.chunks)
        else:
            with pytest.raises(error):
                await said(voice)
    assert files(tmp_path) == []


async def test_what_nobody_heard_to_its_end_is_not_kept(tmp_path: Path) -> None:
    async with cached(tmp_path, Speaker()) as voice, voice.speak(SORRY) as chunks:
        await chunks.__anext__()
    assert files(tmp_path) == []


async def test_equal_sentences_under_way_are_made_once(tmp_path: Path) -> None:
    speaker, metrics = Speaker(), Metrics()
    async with cached(tmp_path, speaker, metrics) as voice, trio.open_nursery() as nursery:
        for request in (SORRY, SORRY, SORRY, OTHER, OTHER):
            nursery.start_soon(said, voice, request)
    assert sorted(request.text[:5] for request in speaker.asked) == ["Sorry", "The w"]
    assert counts(metrics) == {"miss": 1, "shared": 3}


async def test_what_the_server_says_can_be_made_before_it_is_needed(tmp_path: Path) -> None:
    speaker = Speaker()
    async with cached(tmp_path, speaker) as voice:
        assert await voice.prepare([SORRY, OTHER, SORRY]) == 1  # OTHER is none of its own
        assert speaker.asked == [SORRY]
    speaker.error = Unavailable("gone")
    async with cached(tmp_path, speaker) as voice:
        assert await voice.prepare([SORRY]) == 0
        assert sound(await said(voice)) == SECOND * 3
        assert await voice.prepare([SpeechRequest(SORRY.text, "verse")]) == 0


def test_the_servers_own_texts_are_known_in_the_pieces_that_are_spoken() -> None:
    texts = ["Hello there, I am *AURA*, and who might you be today? I hope that all is well with you.", "Sorry."]
    found = own_sentences(texts, SentenceSettings())
    assert "Sorry." in found
    assert " ".join(sorted(found)).count("AURA") == 1
    assert len(found) == 3
    assert own_sentences(["", " "], SentenceSettings()) == frozenset()


# ---- broken -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:10],
        lambda data: b"RIFF" + data[4:],
        lambda data: data[:-5000] + bytes([data[-5000] ^ 1]) + data[-4999:],
        lambda data: data[:22] + bytes([data[22] ^ 1]) + data[23:],
    ],
)
async def test_a_broken_file_is_dropped_and_the_sentence_made_again(tmp_path: Path, damage: Any) -> None:
    async with cached(tmp_path, Speaker()) as voice:
        await said(voice)
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    speaker, metrics = Speaker(), Metrics()
    with capture_logs() as logs:
        async with cached(tmp_path, speaker, metrics) as voice:
            assert sound(await said(voice)) == SECOND * 3
    assert (len(speaker.asked), counts(metrics)) == (1, {"miss": 1, "corrupt": 1})
    assert [entry["event"] for entry in logs] == ["cache.broken_file"]
    assert decode(files(tmp_path)[0].read_bytes()) is not None


async def test_a_folder_that_cannot_be_used_costs_nothing_but_hits(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    speaker, metrics = Speaker(), Metrics()
    with capture_logs() as logs:
        async with cached(tmp_path, speaker, metrics) as voice:
            for _ in range(3):
                assert sound(await said(voice)) == SECOND * 3
    assert len(speaker.asked) == 3
    assert [entry["event"] for entry in logs] == ["cache.disk_failed"]


# ---- against a server ---------------------------------------------------------------------------------------------


async def test_the_server_makes_a_shared_sentence_once_and_sees_the_last_listener_leave(tmp_path: Path) -> None:
    steady = speech(3.0, gap_s=0.02)
    async with serve(steady) as fake, open_http() as http:
        engine = OpenAISpeaker(OpenAISettings(base_url=fake.base_url), http)
        async with cached(tmp_path, engine) as voice, trio.open_nursery() as nursery:

            async def listen(pieces: int) -> None:
                async with voice.speak(SORRY) as chunks:
                    for _ in range(pieces):
                        await chunks.__anext__()

            nursery.start_soon(listen, 2)
            nursery.start_soon(listen, 5)
        with trio.fail_after(1):
            (seen,) = fake.of("tts")
            while seen.disconnected_at is None:  # noqa: ASYNC110  (the fake only notes the time)
                await trio.sleep(0.005)
    assert files(tmp_path) == []


async def test_kept_sentences_do_not_keep_the_event_loop(tmp_path: Path, no_stalls: object) -> None:
    long = Speaker(*(SpeechChunk(SECOND, RATE_HZ) for _ in range(20)))
    async with cached(tmp_path, long) as voice:
        await said(voice)
        cache = voice._cache
        assert cache.store is not None
        await cache.store.written()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(said, voice)
    assert len(long.asked) == 1


async def test_a_failure_before_the_first_sound_stays_the_engines_own(tmp_path: Path) -> None:
    async with serve(speech(b"")) as fake, open_http() as http:
        engine = OpenAISpeaker(OpenAISettings(base_url=fake.base_url), http)
        async with cached(tmp_path, engine) as voice:
            with pytest.raises(ProviderError) as caught:
                await said(voice)
    assert type(caught.value) is StreamCut
