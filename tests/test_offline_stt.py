"""The offline recogniser: real worker processes, real speech (from the offline voice, flite and shared clips)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import numpy as np
import pytest
import soundfile
import soxr
import structlog.testing
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import TimedOut, Unavailable
from aura.core.ports import FRAME_BYTES, Hearing
from aura.providers.offline import stt_wire as wire
from aura.providers.offline.phrases import corpus, novelty
from aura.providers.offline.stt import OfflineRecogniser, SttSettings, open_recogniser
from aura.providers.offline.stt_choice import Hypothesis, Word, choose
from aura.providers.offline.stt_decoder import Ears, Models
from aura.providers.offline.tts import engine

QUICK = SttSettings(vocabulary="phrases", decoders_per_worker=2, so_far_s=5.0)
"""The small model loads in a fifth of the time."""
QUESTION = "what time is it"


def padded(samples: np.ndarray, before_s: float = 0.3, after_s: float = 0.5) -> bytes:
    """16 kHz speech in the quiet of a room."""
    whole = np.concatenate([np.zeros(int(before_s * 16000)), samples, np.zeros(int(after_s * 16000))])
    return (whole + np.random.default_rng(7).normal(0, 5, len(whole))).astype("<i2").tobytes()


@cache
def spoken(text: str = QUESTION) -> bytes:
    pieces: list[bytes] = []
    engine().say(text, "en-us", 160, lambda pcm, begins: pieces.append(pcm) is None)
    return padded(soxr.resample(np.frombuffer(b"".join(pieces), "<i2").astype(float), engine().rate_hz, 16000))


def feed(hearing: Hearing, pcm: bytes) -> None:
    for start in range(0, len(pcm), FRAME_BYTES):
        hearing.feed(pcm[start : start + FRAME_BYTES])


async def hear(stt: OfflineRecogniser, pcm: bytes) -> str:
    async with stt.open() as hearing:
        feed(hearing, pcm)
        return (await hearing.final()).text


@asynccontextmanager
async def recogniser(given: SttSettings = QUICK) -> AsyncIterator[OfflineRecogniser]:
    with trio.fail_after(20):
        async with open_recogniser(given) as stt:
            await stt.wait_ready()
            yield stt


def kill_worker(stt: OfflineRecogniser) -> None:
    os.kill(stt.workers[0].pid, signal.SIGKILL)


# ---- which words to believe ----


def heard(text: str, score: float = -3.0) -> Hypothesis:
    """Words of 20 frames each, as one decoder understood them."""
    words = (Word(word, 20 * at, 20 * at + 19, 20 * score, 0.5) for at, word in enumerate(text.split()))
    return Hypothesis(tuple(words))


@pytest.mark.parametrize(
    ("dictated", "phrase", "margin", "expected"),
    [
        ("should the timer for ten seconds", "set a timer for ten seconds", 0.2, "set a timer for ten seconds"),
        ("what is said and find it", "what is seven times eight", 0.0, "what is seven times eight"),
        (
            "we still have a lot of games to play",
            "nice to have of of evening",
            0.1,
            "we still have a lot of games to play",
        ),
        ("mountain view", "how do you", -0.2, "mountain view"),
        ("stop", "", 0.0, "stop"),
        ("", "stop", 0.0, "stop"),
        ("cancel that diner", "cancel the timer", -2.0, "cancel that diner"),
        ("repeat after me the sea is wide", "repeat after me the time is five", 0.1, "repeat after me the sea is wide"),
        ("the", "", 0.0, ""),
    ],
)
def test_the_phrase_is_believed_where_it_is_one_and_fits_the_sound(dictated, phrase, margin, expected):
    assert choose(heard(dictated), heard(phrase, -3.0 + margin), novelty).text() == expected


def test_every_phrase_is_known_and_other_sentences_are_not():
    assert max(novelty(line.split()) for line in corpus()) == 0.0
    for sentence in (
        "the pencils have all been used",
        "how one to days eighty two to is it",
        "that timer apple the year",
    ):
        assert novelty(sentence.split()) > 0.5


# ---- frames ----


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 50))
def test_frames_arrive_whole_however_the_pipe_cuts_them(pieces, size):
    messages = [wire.Feed(number, pcm) for number, pcm in enumerate(pieces)]
    stream = b"".join(wire.pack(message) for message in messages)
    unpacker = wire.Unpacker(wire.TO_WORKER)
    arrived = [message for at in range(0, len(stream), size) for message in unpacker.push(stream[at : at + size])]
    assert arrived == messages


# ---- the pool ----


@pytest.fixture(scope="module")
def pcm() -> bytes:
    """Made before the event loop runs: the synthesis takes longer than a step may."""
    return spoken()


async def test_speech_becomes_words_and_the_event_loop_never_waits_for_them(pcm, no_stalls):
    async with recogniser() as stt, stt.open() as hearing:
        feed(hearing, pcm[:-6400])
        assert (await hearing.so_far()).text == QUESTION
        feed(hearing, pcm[-6400:])
        transcript = await hearing.final()
        assert (transcript.text, transcript.language) == (QUESTION, "en")
        assert stt.ready
        assert stt.why_not_ready() is None


async def test_what_is_said_after_a_pause_belongs_to_the_utterance():
    async with recogniser() as stt, stt.open() as hearing:
        feed(hearing, spoken())
        assert (await hearing.so_far()).text == QUESTION
        feed(hearing, spoken())
        assert (await hearing.final()).text == f"{QUESTION} {QUESTION}"


async def test_silence_and_next_to_nothing_are_no_words():
    async with recogniser() as stt:
        for pcm in (b"", bytes(320), bytes(32000), padded(np.zeros(16000))):
            assert await hear(stt, pcm) == ""


async def test_starting_does_not_wait_for_the_models():
    with trio.fail_after(20):
        async with open_recogniser(QUICK) as stt:
            assert not stt.ready
            assert stt.why_not_ready()
            assert await hear(stt, spoken()) == QUESTION


async def test_utterances_beyond_the_decoders_wait_their_turn_and_abandoned_ones_free_theirs():
    async with recogniser() as stt:
        async with stt.open() as first, stt.open() as second:
            feed(first, spoken())
            feed(second, spoken())
            results: list[str] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: collect(stt, results))
                await first.final()
                assert results == []
                nursery.cancel_scope.cancel()
        for _ in range(5):
            async with stt.open() as hearing:
                feed(hearing, spoken()[:9600])
        assert await hear(stt, spoken()) == QUESTION


async def collect(stt: OfflineRecogniser, results: list[str]) -> None:
    results.append(await hear(stt, spoken()))


async def test_a_full_queue_refuses_and_a_long_wait_ends():
    limits = SttSettings(vocabulary="phrases", decoders_per_worker=1, queue_limit=1, queue_wait_s=0.1, final_s=0.1)
    async with recogniser(limits) as stt, stt.open() as first:
        feed(first, spoken())
        async with stt.open() as second:
            with pytest.raises(Unavailable, match="busy"):
                async with stt.open():
                    pass
            feed(second, spoken())
            with pytest.raises(TimedOut):
                await second.final()


async def test_what_a_dead_worker_was_hearing_is_heard_again_by_the_next_one():
    with structlog.testing.capture_logs() as logs:
        async with recogniser() as stt, stt.open() as hearing:
            feed(hearing, spoken()[:-6400])
            await hearing.so_far()
            kill_worker(stt)
            feed(hearing, spoken()[-6400:])
            assert (await hearing.final()).text == QUESTION
    assert [entry["utterances"] for entry in logs if entry["event"] == "stt.worker_died"] == [1]


async def test_an_utterance_that_kills_twice_is_given_up_and_others_go_on():
    async with recogniser() as stt:
        async with stt.open() as hearing:
            feed(hearing, spoken())
            for _ in range(2):
                await trio.sleep(0.1)
                kill_worker(stt)
                await trio.sleep(0.1)
                await stt.wait_ready()
            with pytest.raises(Unavailable, match="twice"):
                await hearing.final()
        assert await hear(stt, spoken()) == QUESTION


async def test_audio_beyond_the_limit_is_dropped_and_said_once():
    with structlog.testing.capture_logs() as logs:
        async with recogniser(SttSettings(vocabulary="phrases", max_turn_s=2.0)) as stt:
            assert await hear(stt, spoken() + spoken() + spoken()) == QUESTION
    assert [entry["event"] for entry in logs].count("stt.audio_dropped") == 1


async def test_a_worker_that_stops_answering_is_replaced():
    limits = SttSettings(vocabulary="phrases", start_s=1.0, silent_s=0.4)
    async with recogniser(limits) as stt, stt.open() as hearing:
        os.kill(stt.workers[0].pid, signal.SIGSTOP)
        feed(hearing, spoken())
        assert (await hearing.final()).text == QUESTION


async def test_no_process_outlives_the_pool():
    async with recogniser() as stt:
        pid = stt.workers[0].pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_what_is_raised_inside_comes_out_as_it_was():
    with pytest.raises(KeyError):
        async with recogniser():
            raise KeyError


async def test_words_that_do_not_cover_all_audio_are_never_given_out(autojump_clock):
    stt = OfflineRecogniser(QUICK)
    async with stt.open() as hearing:
        hearing.feed(bytes(3200))
        with pytest.raises(TimedOut):
            await hearing.so_far()


# ---- accuracy ----


@cache
def ears() -> Ears:
    return Ears(Models("both"), warmup_s=1.0)


def words_of(pcm: bytes) -> str:
    listener = ears()
    listener.begin()
    for start in range(0, len(pcm), 3200):
        listener.feed(pcm[start : start + 3200])
    return listener.finish().text()


def errors(said: str, understood: str) -> int:
    """Least number of words to replace, insert or delete."""
    old, new = said.split(), understood.split()
    row = list(range(len(new) + 1))
    for i, word in enumerate(old, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(new, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def test_human_sentences_are_understood_mostly(shared):
    manifest = {clip["id"]: clip for clip in json.loads((shared / "speech" / "MANIFEST.json").read_text())}
    wrong = total = 0
    for name in ("sb_spk1_5", "g_brooklyn", "mc_stop"):
        clip = manifest[name]
        samples, _ = soundfile.read(shared / "speech" / clip["file"], dtype="int16")
        wrong += errors(clip["transcript"], words_of(padded(samples)))
        total += len(clip["transcript"].split())
    assert wrong <= total // 4


@pytest.mark.skipif(shutil.which("flite") is None, reason="needs flite")
@pytest.mark.parametrize("text", ["set a timer for ten seconds", "tell me a story"])
def test_commands_of_another_synthesiser_are_understood(tmp_path, text):
    subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", tmp_path / "said.wav"], check=True, timeout=20)
    with wave.open(str(tmp_path / "said.wav")) as said:
        samples = np.frombuffer(said.readframes(said.getnframes()), "<i2")
    assert words_of(padded(samples)) == text
