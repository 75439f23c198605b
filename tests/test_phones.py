"""Phone calls, in real time: each vendor's end of a call dials a whole server, whose engines speak the OpenAI wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
import trio_websocket

from aura import config
from aura.core import g711
from aura.core.audio import AudioFormat
from aura.core.journal import decode
from aura.server import assemble
from tests.fakes.openai_server import FakeOpenAI, chat, sent_audio, serve, transcript
from tests.phones import plivo, rest, telnyx, twilio
from tests.phones.shared import Phone, clip
from tests.ws_client import HEAD

pytestmark = pytest.mark.e2e

STORY = "Once upon a time there was a lighthouse keeper. Every night he counted the ships. " * 3
S_PER_CHAR = 0.03  # of the engine's voice
TOKEN, PUBLIC = "secret-token", "wss://voice.example.org"


class House:
    """A running server and the engines behind it."""

    def __init__(self, port: int, engines: FakeOpenAI, data: Path) -> None:
        self.port, self.engines, self.data = port, engines, data

    def shown(self) -> list[dict[str, Any]]:
        """What the model was last shown."""
        messages: list[dict[str, Any]] = self.engines.of("chat")[-1].json["messages"]
        return messages

    def closings(self) -> list[str]:
        """Why the conversations ended."""
        journals = [decode(path.read_bytes()) for path in sorted(self.data.glob("journals/*/*.jsonl"))]
        assert not any(journal.truncated for journal in journals)
        return [journal.entries[-1].event.why for journal in journals]  # type: ignore[union-attr]


@asynccontextmanager
async def house(tmp_path: Path, *options: str) -> AsyncIterator[House]:
    """Run the server in this process."""
    async with serve() as engines, trio.open_nursery() as nursery:
        engines.default["stt"] = lambda _: transcript("please tell me a story")
        texts = [
            "server.port=0", f"openai.base_url={engines.base_url}", "openai.api_key=sk-test",
            f"storage.data_dir={tmp_path}", "storage.flush_s=0.05", *options,
        ]  # fmt: skip
        chosen = config.load(options=texts, environment={})
        port = await nursery.start(assemble.serve, chosen)
        yield House(port, engines, tmp_path)
        nursery.cancel_scope.cancel()


async def turn(phone: Phone, name: str = "ask_story") -> float:
    """Say something and hear the answer begin; returns how much had been heard before."""
    await trio.sleep(0.3)
    before = phone.heard_s()
    phone.say(clip(name))
    assert await phone.until(lambda: not phone.speaking, 8.0)
    assert await phone.until(lambda: phone.heard_s() > before, 5.0)
    return before


def words_after(seconds: float, text: str) -> int:
    """How many words of a text have sounded after so much of its audio."""
    return len(text[: round(seconds / S_PER_CHAR)].split())


async def test_a_twilio_call_with_a_turn_and_a_barge_in(tmp_path: Path) -> None:
    options = (f"phone.twilio_auth_token={TOKEN}", f"phone.public_url={PUBLIC}", "phone.lead_s=1")
    async with house(tmp_path, *options) as here:
        here.engines.default["chat"] = lambda _: chat(STORY, ttft_s=0.1)
        async with twilio.call(here.port, token=TOKEN, url=f"{PUBLIC}/v1/twilio") as phone:
            await turn(phone)
            await trio.sleep(1.5)
            here.engines.default["chat"] = lambda _: chat("As you like.", ttft_s=0.1)
            phone.say(clip("interrupt"))
            assert await phone.until(lambda: phone.flushed_s > 0, 4.0)
            story_s = phone.heard_s()
            assert await phone.until(lambda: phone.heard_s() > story_s, 6.0)
            assert await phone.until(lambda: phone.silent_for(0.8), 6.0)
            answer_s = phone.heard_s() - story_s
            await phone.hang_up()
        await trio.sleep(0.3)

        assert phone.complaints == []
        assert answer_s == pytest.approx(len("As you like.") * S_PER_CHAR, abs=0.05)
        told = next(message["content"] for message in here.shown() if message["role"] == "assistant")
        assert told.endswith("—")
        assert abs(len(told.rstrip("— ").split()) - words_after(story_s, STORY)) <= 1
        sizes = [len(m["media"]["payload"]) * 3 // 4 / 8 for m in phone.messages if m["event"] == "media"]
        assert sum(size >= 50 for size in sizes) > len(sizes) * 0.8
        assert here.closings() == ["the caller hung up"]


async def test_a_telnyx_call_whose_audio_comes_in_any_order_twice_or_not_at_all(tmp_path: Path) -> None:
    async with house(tmp_path, "phone.telnyx_stream_token=abc") as here:
        settings = {"fmt": telnyx.PCMA, "played": telnyx.PCMU, "disorder": True, "token": "abc"}
        async with telnyx.call(here.port, **settings) as phone:
            await turn(phone, "ask_time")
            assert await phone.until(lambda: phone.silent_for(0.6), 6.0)
            assert phone.dropped > 0
            assert phone.heard_s() == pytest.approx(len("Hello there. How can I help you?") * S_PER_CHAR, abs=0.1)
            assert peak_hz(phone) == pytest.approx(440, abs=5)
            await phone.hang_up()
        assert phone.complaints == []
        said = clip("ask_time")
        heard = np.frombuffer(sent_audio(here.engines.of("stt")[-1]), "<i2").astype(float)
        assert likeness(heard, said.pcm.astype(float)) > 0.9
        await trio.sleep(0.3)
        assert here.closings() == ["the caller hung up"]


def peak_hz(phone: Phone) -> float:
    """The strongest tone that the caller heard: the engine's voice is one of 440 Hz."""
    raw = b"".join(frame for _, frame in phone.heard)
    fmt = phone.played
    pcm = np.frombuffer(raw, "<i2") if fmt.encoding == "pcm16" else g711.decode(raw, g711.ULAW_DECODE)
    spectrum = np.abs(np.fft.rfft(pcm.astype(float)))
    assert spectrum.max() > 20 * np.median(spectrum)
    return float(spectrum.argmax()) * fmt.rate_hz / len(pcm)


def likeness(heard: Any, said: Any) -> float:
    """The correlation of the loudness of two recordings, 20 ms by 20 ms, at the shift where they fit best."""
    a, b = (np.sqrt(np.add.reduceat(x * x, np.arange(0, len(x), 320))) for x in (heard, said))
    size = min(len(a), len(b)) - 10
    return max(float(np.corrcoef(a[i : i + size], b[j : j + size])[0, 1]) for i in range(10) for j in range(10))


async def test_a_plivo_call_with_wishes_in_wideband_with_keys_and_a_goodbye(tmp_path: Path) -> None:
    async with rest.serve(204) as api:
        options = (f"phone.plivo_auth_token={TOKEN}", "phone.plivo_auth_id=MAXX", f"phone.plivo_api_url={api.url}",
                   f"phone.public_url={PUBLIC}")  # fmt: skip
        wishes = "greeting=Welcome to the hotel;instructions=You are a receptionist;voice=coral"
        signed = {"token": TOKEN, "url": f"{PUBLIC}/v1/plivo"}
        async with (
            house(tmp_path, *options) as here,
            plivo.call(here.port, fmt=AudioFormat("pcm16", 16_000), headers=wishes, **signed) as phone,
        ):
            assert await phone.until(lambda: phone.heard_s() > 0.5, 5.0)
            greeting = here.engines.of("tts")[0].json
            assert (greeting["input"], greeting["voice"]) == ("Welcome to the hotel", "coral")
            here.engines.default["chat"] = lambda _: chat(STORY, ttft_s=0.05)
            await phone.press("12#")
            assert await phone.until(lambda: len(here.engines.of("chat")) == 1, 3.0)
            assert await phone.until(lambda: phone.heard_s() > 2.0, 5.0)
            told = here.shown()
            assert told[0]["content"].startswith("You are a receptionist")
            assert told[-1] == {"role": "user", "content": "[The caller pressed 1 2 #]"}

            goodbye = [[{"index": 0, "id": "c", "function": {"name": "hang_up", "arguments": "{}"}}]]
            here.engines.queue["chat"].append(chat("", tool_deltas=goodbye, finish="tool_calls"))
            here.engines.queue["chat"].append(chat("Goodbye, and thank you for calling."))
            await phone.press("0")  # interrupts the story; complete after a pause
            assert await phone.until(lambda: phone.closed is not None, 8.0)
            assert peak_hz(phone) == pytest.approx(440, abs=3)
            tools = [tool["function"]["name"] for tool in here.engines.of("chat")[-1].json["tools"]]
            assert "hang_up" in tools
            last_s = sum(len(frame) for at, frame in phone.heard[-100:]) / 32_000
            assert last_s >= len("Goodbye, and thank you for calling.") * S_PER_CHAR - 0.05
            assert phone.closed == (1000, "the assistant hung up")
            assert phone.complaints == []
        assert [(asked.method, asked.path) for asked in api.asked] == [
            ("DELETE", f"/v1/Account/MAXX/Call/{plivo.CALL}/")
        ]


async def test_a_caller_who_is_gone_in_mid_reply_leaves_a_closed_journal(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        here.engines.default["chat"] = lambda _: chat(STORY)
        async with twilio.call(here.port, params={"greeting": STORY}) as phone:
            assert await phone.until(lambda: phone.heard_s() > 0.3, 5.0)
            await trio.aclose_forcefully(phone.ws._stream)
        await trio.sleep(0.3)
        assert here.closings() == ["closed 1006 connection lost"]


async def status_of(port: int, token: str) -> int:
    """The status of the answer to a call that is signed with this token."""
    signed = twilio.signature(token, "wss://localhost/v1/twilio")
    head = HEAD.replace(b"/v1/realtime", b"/v1/twilio").removesuffix(b"\r\n") + b"X-Twilio-Signature: %b\r\n\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(head % signed.encode())
        return int((await stream.receive_some(1000)).split()[1])


async def test_calls_that_do_not_come_about_are_told_why(tmp_path: Path) -> None:
    async with rest.serve() as api:
        telnyx_api = ("phone.telnyx_api_key=k", f"phone.telnyx_api_url={api.url}")
        async with house(
            tmp_path, f"phone.twilio_auth_token={TOKEN}", "phone.start_timeout_s=0.3", *telnyx_api
        ) as here:
            assert await status_of(here.port, "wrong") == 403
            assert await status_of(here.port, TOKEN) == 101
            silent = await closed_with(here.port, "plivo")
            assert silent == (1008, "no start message within 0.3 s (phone.start_timeout_s)")
            media = {"encoding": "OPUS", "sample_rate": 16000, "channels": 1}
            opus = {"event": "start", "stream_id": "x", "start": {"call_control_id": "y", "media_format": media}}
            code, reason = await closed_with(here.port, "telnyx", json.dumps(opus))
            assert code == 1008
            assert reason.startswith("the call's audio is OPUS with 16000 Hz")
            assert [asked.path for asked in api.asked] == ["/v2/calls/y/actions/hangup"]


async def closed_with(port: int, vendor: str, *messages: str) -> tuple[int, str]:
    """How AURA ends a call that sends this."""
    async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{port}/v1/{vendor}") as ws:
        for message in messages:
            await ws.send_message(message)
        with pytest.raises(trio_websocket.ConnectionClosed) as end:
            await ws.get_message()
        await trio.aclose_forcefully(ws._stream)  # which the library leaves open when the server closes first
        assert end.value.reason is not None
        return end.value.reason.code, end.value.reason.reason or ""
