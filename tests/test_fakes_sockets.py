"""The faults of the fakes' WebSockets do on the wire what their names say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection

from tests.fakes.client import dial
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.world import Pace, World, hum
from tests.ws_client import HEAD, masked

QUICK = Pace(ttft_s=0.01, gap_s=0.0, hear_s=0.005, ttfb_s=0.01, audio_gap_s=0.004)
SPEECH = "/v1/tts?codec=pcm&with_timestamps=true"
MULTI = "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM/multi-stream-input?output_format=pcm_24000&auto_mode=true"
PATIENCE_S = 0.4
LONG = {"text": "Once upon a time there was a lighthouse keeper by the sea. ", "context_id": "u1", "flush": True}
STOP = {"context_id": "u1", "close_context": True, "wait_s": 0.03}


@dataclass
class Heard:
    """What a client got: texts, and how it ended."""

    texts: list[str] = field(default_factory=list)
    code: int | None = None
    """The close code; None: the connection was open to the end."""
    rejected: int = 0
    silent: bool = False
    """Not even a handshake."""

    @property
    def types(self) -> list[str]:
        return [json.loads(text).get("type", "") for text in self.texts]

    @property
    def audio(self) -> int:
        return self.types.count("audio.delta")


async def listen(ws: WebSocketConnection, heard: Heard, patience_s: float = PATIENCE_S) -> None:
    with trio.move_on_after(patience_s):
        try:
            while True:
                heard.texts.append(await ws.get_message())
        except ConnectionClosed as closed:
            heard.code = closed.reason.code if closed.reason else 1006


async def speak(fakes: Fakes, fault: str, said: str = "Hello there.") -> Heard:
    """Have something said by xAI."""
    heard = Heard()
    try:
        with trio.move_on_after(PATIENCE_S) as scope:
            async with dial(fakes, "xai", SPEECH, fault) as ws:
                scope.deadline = trio.current_time() + 5
                try:
                    await ws.send_message(json.dumps({"type": "text.delta", "delta": said}))
                    await ws.send_message('{"type": "text.done"}')
                except ConnectionClosed:
                    pass  # some faults are quicker; the reason is read next
                await listen(ws, heard)
        heard.silent = scope.cancelled_caught
    except ConnectionRejected as rejected:
        heard.rejected = rejected.status_code
    except HandshakeError:
        heard.code = 1006
    return heard


def no_json(heard: Heard) -> int:
    """Texts that are no JSON."""
    count = 0
    for text in heard.texts:
        try:
            json.loads(text)
        except ValueError:
            count += 1
    return count


Check = Callable[[Heard], bool]

ON_SOCKETS: dict[str, Check] = {
    "": lambda heard: heard.audio > 3 and heard.types[-1] == "audio.done" and heard.code is None,
    "silent": lambda heard: heard.silent,
    "unauthorized": lambda heard: heard.rejected == 400,
    "ws_401": lambda heard: heard.rejected == 401,
    "rate_limited": lambda heard: heard.rejected == 429,
    "quota": lambda heard: heard.rejected == 403,
    "error_500": lambda heard: heard.rejected == 500,
    "bad_gateway": lambda heard: heard.rejected == 502,
    "headers_then_silent": lambda heard: heard.texts == [] and heard.code is None and not heard.silent,
    "cut": lambda heard: heard.code == 1006 and heard.audio == 1,
    "cut_between": lambda heard: heard.code == 1006 and heard.audio == 1,
    "rst_mid": lambda heard: heard.code == 1006 and heard.audio == 1,
    "stall": lambda heard: heard.code is None and heard.audio == 1 and len(heard.texts) == 1,
    "drip; drip_s=0.001": lambda heard: heard.texts == [] and heard.code is None,
    "malformed": lambda heard: no_json(heard) == 1 and heard.texts[-1].startswith('{"type": "audio.done"'),
    "empty": lambda heard: heard.types == ["audio.done"],
    "fragments": lambda heard: heard.audio > 3 and heard.types[-1] == "audio.done",
    "ws_1000": lambda heard: heard.code == 1000 and heard.audio == 1,
    "ws_1008": lambda heard: heard.code == 1008 and heard.audio == 1,
    "ws_1011": lambda heard: heard.code == 1011 and heard.audio == 1,
    "inactivity_close; idle_s=0.1": lambda heard: heard.audio > 3 and heard.code is not None,
    "ws_error": lambda heard: heard.types == ["error"] and heard.code == 1008,
    'ws_error; kind="rate_limited"; code=1013': lambda heard: "rate limit" in heard.texts[0] and heard.code == 1013,
    "error_then_alive": lambda heard: heard.types[0] == "error" and heard.types[-1] == "audio.done",
    "unknown_events": lambda heard: heard.types[0] == "x.new_thing" and heard.audio > 3,
    "timestamps_apart": lambda heard: any(
        json.loads(text).get("delta") == "" and "audio_timestamps" in text for text in heard.texts
    ),
}
CONTEXTS = ("", "late_audio", "no_final", "other_spelling", "no_alignment")
PINGS = ("", "ping_unanswered")
REWORDS = "rewords"
TESTED = {*ON_SOCKETS, *CONTEXTS, *PINGS, REWORDS, "rst"}


@pytest.mark.parametrize("fault", ON_SOCKETS)
async def test_a_fault_of_a_websocket_is_what_it_says(fault: str) -> None:
    async with serve_fakes(World(pace=QUICK), "xai") as fakes:
        assert ON_SOCKETS[fault](heard := await speak(fakes, fault)), heard


@pytest.mark.parametrize("fault", PINGS)
async def test_pings_are_answered_unless_they_are_not(fault: str) -> None:
    async with serve_fakes(World(pace=QUICK), "xai") as fakes, dial(fakes, "xai", SPEECH, fault) as ws:
        with trio.move_on_after(0.2) as patience:
            await ws.ping(b"there?")
        assert patience.cancelled_caught == (fault == "ping_unanswered")


async def test_dripping_comes_byte_by_byte_and_whole_in_the_end() -> None:
    async with serve_fakes(World(pace=QUICK), "xai") as fakes:
        heard = Heard()
        async with dial(fakes, "xai", "/v1/tts?codec=mulaw&sample_rate=8000", "drip; drip_s=0.0") as ws:
            await ws.send_message('{"type": "text.delta", "delta": "Hi."}')
            await ws.send_message('{"type": "text.done"}')
            await listen(ws, heard, 1)
        assert heard.audio > 0


@pytest.mark.parametrize("fault", ["rst", "silent", "cut"])
async def test_a_handshake_may_be_reset_and_a_frame_cut_in_its_middle(fault: str) -> None:
    end, got = "silence", b""
    async with serve_fakes(World(pace=QUICK), "elevenlabs") as fakes:
        head = HEAD.replace(b"/v1/realtime", MULTI.encode())
        head = head.replace(b"Host:", f"x-fake-fault: {fault}\r\nHost:".encode())
        stream = await trio.open_tcp_stream("127.0.0.1", fakes.vendors["elevenlabs"].port)
        async with stream:
            await stream.send_all(head + masked(1, json.dumps(LONG).encode()))
            with trio.move_on_after(PATIENCE_S):
                try:
                    while data := await stream.receive_some(65536):
                        got += data
                    end = "eof"
                except trio.BrokenResourceError:
                    end = "reset"
    assert (end, bool(got)) == {"rst": ("reset", False), "silent": ("silence", False), "cut": ("eof", True)}[fault]
    if fault == "cut":
        frames, sizes = got.partition(b"\r\n\r\n")[2], []
        while len(frames) >= 4:
            sizes.append(4 + int.from_bytes(frames[2:4]) - len(frames))  # all frames here have lengths of two bytes
            frames = frames[4 + int.from_bytes(frames[2:4]) :]
        assert [missing > 0 for missing in sizes] == [False, True]


async def eleven(fakes: Fakes, *sent: dict[str, Any], fault: str = "") -> Heard:
    heard = Heard()
    async with dial(fakes, "elevenlabs", MULTI, fault) as ws, trio.open_nursery() as nursery:
        nursery.start_soon(listen, ws, heard)
        for message in sent:
            await trio.sleep(message.get("wait_s", 0))
            try:
                await ws.send_message(json.dumps({key: value for key, value in message.items() if key != "wait_s"}))
            except ConnectionClosed:
                break  # its code is read by the other task
    return heard


@pytest.mark.parametrize("fault", CONTEXTS)
async def test_a_context_that_is_closed_ends_with_little_audio_and_its_final(fault: str) -> None:
    world = World(pace=QUICK)
    async with serve_fakes(world, "elevenlabs") as fakes:
        frames = [json.loads(text) for text in (await eleven(fakes, LONG, STOP, fault=fault)).texts]
    whole = int(world.seconds_of(str(LONG["text"]).strip()) * 10)
    audio = [frame for frame in frames if frame.get("audio")]
    assert (len(audio) < whole // 2) == (fault != "late_audio")
    assert any(frame.get("isFinal") for frame in frames) == (fault != "no_final")
    assert {"context_id" in frame for frame in frames} == {fault == "other_spelling"}
    times = "charsStartTimesMs" if fault == "other_spelling" else "charStartTimesMs"
    assert all((frame["alignment"] is None) == (fault == "no_alignment") for frame in audio)
    assert all(times in (frame["alignment"] or {times: 0}) for frame in audio)


async def test_contexts_count_until_their_final_so_quick_barge_ins_reach_the_limit() -> None:
    async with serve_fakes(World(pace=QUICK), "elevenlabs") as fakes:
        turns = [{**message, "context_id": f"u{i}", "wait_s": 0} for i in range(7) for message in (LONG, STOP)]
        quick = await eleven(fakes, *turns)
        assert quick.code == 1008
        assert "max_active_conversations" in quick.texts[-1]
        patient = await eleven(fakes, *[{**turn, "wait_s": 0.05} for turn in turns])
        assert patient.code is None


async def test_text_waits_for_enough_of_it_without_auto_mode() -> None:
    async with serve_fakes(World(pace=QUICK), "elevenlabs") as fakes:
        heard = Heard()
        async with dial(fakes, "elevenlabs", MULTI.replace("true", "false")) as ws:
            await ws.send_message('{"text": "Too short. ", "context_id": "u1"}')
            await listen(ws, heard, 0.1)
            assert heard.texts == []
            await ws.send_message('{"text": "", "context_id": "u1", "flush": true}')
            await listen(ws, heard, 0.1)
            assert heard.texts


CLOSERS = [
    ("elevenlabs", MULTI + "&inactivity_timeout=0.1", 1008),
    ("deepgram", "/v1/listen?sample_rate=16000", 1011),
    ("deepgram", "/v2/listen?model=flux-general-en&encoding=linear16", 1011),
]


@pytest.mark.parametrize(("vendor", "target", "code"), CLOSERS)
async def test_who_says_nothing_for_too_long_is_closed(vendor: str, target: str, code: int) -> None:
    world = World(pace=QUICK)
    world.idle_s["deepgram"] = 0.1
    async with serve_fakes(world, vendor) as fakes, dial(fakes, vendor, target) as ws:
        heard = Heard()
        await listen(ws, heard, 1)
        assert heard.code == code
        if vendor == "deepgram":
            assert "NET-0001" in ws.closed.reason


async def test_keep_alive_keeps_a_socket() -> None:
    world = World(pace=QUICK)
    world.idle_s["deepgram"] = 0.1
    async with serve_fakes(world, "deepgram") as fakes, dial(fakes, "deepgram", "/v1/listen") as ws:
        for _ in range(6):
            await trio.sleep(0.04)
            await ws.send_message('{"type": "KeepAlive"}')
        assert ws.closed is None


async def test_a_speaking_model_may_reword() -> None:
    async with serve_fakes(World(pace=QUICK), "openai") as fakes:
        heard = Heard()
        async with dial(fakes, "openai", "/v1/realtime?model=gpt-realtime-2.1-mini", REWORDS) as ws:
            await ws.send_message('{"type": "response.create", "response": {"instructions": "Good day."}}')
            await listen(ws, heard)
    done = [json.loads(text) for text in heard.texts if "output_audio_transcript.done" in text]
    assert done[0]["transcript"] not in ("", "Good day.")


async def test_a_live_recogniser_shows_words_while_they_come_and_nothing_without_audio() -> None:
    async with serve_fakes(World(heard=["one two three four"], pace=QUICK), "xai") as fakes:
        heard = Heard()
        async with dial(fakes, "xai", "/v1/stt?interim_results=true&endpointing=300") as ws:
            pcm = hum(1.2, 16_000)
            for start in range(0, len(pcm), 1600):
                await ws.send_message(pcm[start : start + 1600])
            await listen(ws, heard, 0.2)
            assert [json.loads(text).get("text") for text in heard.texts[1:5]] == [
                "one", "one two", "one two three", "one two three four",
            ]  # fmt: skip
            assert not any(json.loads(text).get("is_final") for text in heard.texts)
