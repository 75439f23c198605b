"""The fakes count, limit, wait and notice as providers do, and can be run by hand."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from functools import partial
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.client import ask, dial
from tests.fakes.ear import Ear
from tests.fakes.openai_models import Limits
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.sound import encoded, to_law, to_linear
from tests.fakes.world import Pace, Sound, Spread, World, hum, loud

QUICK = Pace(ttft_s=0.01, gap_s=0.0, hear_s=0.005, ttfb_s=0.01, audio_gap_s=0.004)
CHAT = "/v1/chat/completions"
ASKED = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
LINES = "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/stream"


async def wait_for_end(fakes: Fakes) -> None:
    with trio.fail_after(2):
        for seen in fakes.seen:
            await seen.over.wait()


HANG_UPS: list[tuple[str, str, dict[str, Any]]] = [
    ("openai", CHAT, ASKED),
    ("openai", "/v1/audio/speech", {"model": "m", "input": "word " * 50, "voice": "alloy", "response_format": "pcm"}),
    ("elevenlabs", f"{LINES}/with-timestamps?output_format=pcm_24000", {"text": "word " * 50}),
    ("xai", "/v1/tts", {"text": "word " * 50, "language": "en", "output_format": {"codec": "pcm"}}),
]


@pytest.mark.parametrize(("vendor", "target", "payload"), HANG_UPS, ids=lambda value: value if "/" in value else None)
async def test_who_hangs_up_is_noticed_and_nothing_more_is_made(
    vendor: str, target: str, payload: dict[str, Any]
) -> None:
    pace = Pace(ttft_s=0.0, gap_s=0.02, ttfb_s=0.0, audio_gap_s=0.02)
    async with serve_fakes(World(says=["word " * 200], pace=pace), vendor) as fakes:
        await ask(fakes, vendor, target, payload, stop_after=4)
        gone = trio.current_time()
        await wait_for_end(fakes)
        (seen,) = fakes.seen
        await trio.sleep(0.1)
        assert seen.disconnected_at is not None
        assert seen.disconnected_at - gone < 0.1
        assert not seen.answered
        assert 2 <= seen.chunks_sent < 10
        assert seen.chunks_after(seen.disconnected_at) == 0
        assert seen.chunks_after(gone) <= 1


async def test_who_hangs_up_a_websocket_is_noticed_too() -> None:
    pace = Pace(ttfb_s=0.0, audio_gap_s=0.02)
    async with serve_fakes(World(pace=pace), "xai") as fakes:
        async with dial(fakes, "xai", "/v1/tts?codec=pcm") as ws:
            await ws.send_message(json.dumps({"type": "text.delta", "delta": "word " * 50}))
            await ws.send_message('{"type": "text.done"}')
            await ws.get_message()
            gone = trio.current_time()
        await wait_for_end(fakes)
        (seen,) = fakes.seen
        assert seen.close_code == 1000
        assert seen.chunks_after(gone) <= 1
        assert [message["type"] for message in seen.messages] == ["text.delta", "text.done"]


async def test_what_was_asked_is_kept() -> None:
    async with serve_fakes(World(pace=QUICK), "openai", "xai") as fakes, httpx.AsyncClient() as http:
        for vendor in ("openai", "xai"):
            await http.post(fakes.url(vendor) + "/chat/completions?x=1", json=ASKED, headers={"X-Mine": "yes"})
        await http.get(fakes.url("openai") + "/models")
    assert [(seen.vendor, seen.kind) for seen in fakes.seen] == [
        ("openai", "chat"), ("xai", "chat"), ("openai", "models"),
    ]  # fmt: skip
    first = fakes.of("chat", "openai")[0]
    assert (first.json, first.query, first.headers["x-mine"], first.method) == (ASKED, {"x": "1"}, "yes", "POST")
    assert fakes.vendors["openai"].connections == 1, "the connection is kept for the next request"


async def test_rate_limits_shrink_in_the_headers_before_they_refuse() -> None:
    async with serve_fakes(World(says=["Hi."], pace=QUICK), "openai") as fakes:
        fakes.vendors["openai"].state["limits"] = Limits(requests=100, tokens=1000, left=50, shrink=20)
        answers = [await ask(fakes, "openai", CHAT, ASKED) for _ in range(3)]
        left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
        tokens = [answer.headers["x-ratelimit-remaining-tokens"] for answer in answers]
        assert (left, tokens) == (["30", "10", "0"], ["300", "100", "0"])
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert "retry-after" in answers[-1].headers


async def test_elevenlabs_tells_and_limits_concurrent_requests() -> None:
    pace = Pace(ttfb_s=0.1)
    async with serve_fakes(World(pace=pace), "elevenlabs") as fakes:
        fakes.vendors["elevenlabs"].state["concurrency"] = 2
        answers = []

        async def one() -> None:
            answers.append(await ask(fakes, "elevenlabs", f"{LINES}?output_format=pcm_24000", {"text": "Hi."}))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
        assert sorted(answer.status for answer in answers) == [200, 200, 429]
        assert {answer.headers["maximum-concurrent-requests"] for answer in answers} == {"2"}
        assert (await ask(fakes, "elevenlabs", f"{LINES}?output_format=pcm_24000", {"text": "Hi."})).status == 200


KEYS = [
    ("openai", "/v1/models", "authorization", "Bearer ", 401, 401),
    ("xai", "/v1/api-key", "authorization", "Bearer ", 400, 401),
    ("elevenlabs", "/v1/user/subscription", "xi-api-key", "", 401, 401),
    ("deepgram", "/v1/projects", "authorization", "Token ", 401, 401),
]


@pytest.mark.parametrize(("vendor", "path", "header", "scheme", "wrong", "none"), KEYS, ids=[row[0] for row in KEYS])
async def test_keys_are_checked(vendor: str, path: str, header: str, scheme: str, wrong: int, none: int) -> None:
    async with serve_fakes(World(keys={vendor: "right"}), vendor) as fakes, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{fakes.vendors[vendor].port}{path}"
        given = [{header: scheme + "right"}, {header: scheme + "other"}, {}]
        assert [(await http.get(url, headers=headers)).status_code for headers in given] == [200, wrong, none]


async def test_whisper_cpp_hears_one_file_at_a_time() -> None:
    async with serve_fakes(World(pace=Pace(hear_s=0.1)), "whispercpp") as fakes, httpx.AsyncClient() as http:

        async def one() -> None:
            files = {"file": ("a.wav", encoded(0.2, 16_000, "wav"), "audio/wav")}
            assert (await http.post(fakes.url("whispercpp") + "/audio/transcriptions", files=files)).status_code == 200

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one)
        assert trio.current_time() - began > 0.29


async def test_an_answer_is_made_from_the_request_and_a_voice_from_the_text() -> None:
    async with serve_fakes(World(pace=QUICK), "openai") as fakes, httpx.AsyncClient() as http:
        told = [{"role": "user", "content": [{"type": "text", "text": "seven wild swans"}]}]
        answer = await http.post(fakes.url("openai") + "/chat/completions", json={"model": "m", "messages": told})
        assert "seven wild swans" in answer.json()["choices"][0]["message"]["content"]
        sizes = []
        for text in ("Hi you.", "Hi you. " * 4):
            asked = {"model": "m", "input": text, "voice": "alloy", "response_format": "pcm"}
            sizes.append(len((await http.post(fakes.url("openai") + "/audio/speech", json=asked)).content))
        assert sizes[1] > 3 * sizes[0] > 0


def test_latencies_are_drawn_from_a_seed() -> None:
    spread = Spread(0.3, 0.9)
    draws = [spread.draw(Random(7)) for _ in range(1)] + [spread.draw(rng) for rng in [Random(5)] for _ in range(4000)]
    assert statistics.median(draws) == pytest.approx(0.3, rel=0.1)
    assert statistics.quantiles(draws, n=20)[-1] == pytest.approx(0.9, rel=0.1)
    worlds = [World(pace=Pace(ttft_s=spread), paces={"slow": Pace(ttft_s=lambda rng: 9 + rng.random())}) for _ in "ab"]
    first, second = [[world.draw("openai", "ttft_s") for _ in range(5)] for world in worlds]
    assert first == second
    assert worlds[0].draw("slow", "ttft_s") >= 9


@given(size=st.integers(1, 4000), words=st.integers(0, 12))
def test_an_ear_hears_the_same_however_the_audio_is_cut(size: int, words: int) -> None:
    said = " ".join(f"w{i}" for i in range(words))
    sound = bytes(6400) + hum(1.0, 16_000) + bytes(16_000)
    ear = Ear(World(heard=[said]), "x", 16_000, end_s=0.3)
    noticed = [found for start in range(0, len(sound), 2 * size) for found in ear.feed(sound[start : start + 2 * size])]
    assert [found.text for found in noticed if found.what == "ended"] == [said]
    assert [found.what for found in noticed].count("started") == 1
    shown = [found.text for found in noticed if found.what == "interim"]
    assert all(said.startswith(text) for text in shown)
    assert shown == sorted(shown, key=len)
    assert noticed[0].speech_s[0] == pytest.approx(0.2, abs=0.03)


def test_silence_has_no_words_and_a_function_may_listen_to_the_sound() -> None:
    world = World(heard=lambda sound: f"{sound.seconds:.1f} seconds from {sound.vendor}")
    assert world.hear(Sound(bytes(32_000), 16_000, 0)) == ""
    assert world.hear(Sound(hum(0.5, 16_000), 16_000, 0, "xai")) == "0.5 seconds from xai"
    assert World(hears_silence=True, heard=["a", "b"]).hear(Sound(bytes(320), 16_000, 3)) == "b"
    assert not loud(b"")


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
def test_telephone_codecs_come_back_nearly_the_same(codec: str) -> None:
    pcm = hum(0.5, 8000)
    back = np.frombuffer(to_linear(to_law(pcm, codec), codec), "<i2").astype(float)
    assert np.max(np.abs(back - np.frombuffer(pcm, "<i2"))) < 600


@pytest.mark.parametrize(("codec", "start"), [("mp3", (b"\xff", b"ID3")), ("flac", b"fLaC"), ("opus", b"OggS")])
def test_containers_are_real(codec: str, start: bytes | tuple[bytes, ...]) -> None:
    assert encoded(0.5, 24_000, codec).startswith(start)


async def test_it_runs_by_hand_and_ends_with_a_signal() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fakes",
        "--port",
        "0",
        "--vendors",
        "openai,vllm",
        "--fault",
        "chat=quota*1",
    ]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE))
        text = ""
        with trio.fail_after(20):
            while "engines.stt=compatible" not in text:
                text += (await process.stdout.receive_some()).decode()
        url = text.split()[1]
        assert f"aura serve --set openai.base_url={url} --set openai.api_key=" in text
        async with httpx.AsyncClient() as http:
            answers = [await http.post(f"{url}/chat/completions", json=ASKED) for _ in range(2)]
            broken = await http.post(f"{url}/chat/completions", content=b"{no json", headers={"x-fake-fault": "quota"})
        assert [answer.status_code for answer in (*answers, broken)] == [429, 200, 429]
        os.kill(process.pid, signal.SIGTERM)


def test_help_names_every_vendor_and_fault() -> None:
    told = subprocess.run([sys.executable, "-m", "tests.fakes", "--help"], capture_output=True, text=True, check=True)
    assert all(
        word in told.stdout for word in ("elevenlabs", "WS /v2/listen", "merged_writes", "ws_1008", "x-fake-fault")
    )
