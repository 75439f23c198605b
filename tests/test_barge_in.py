"""A cancelled request reaches the engine at once: it stops making (and billing) what nobody will hear."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from aura.core.ports import ChatRequest, Message, SpeechRequest
from aura.providers.http import Http, open_http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.stt import OpenAITranscriber
from aura.providers.openai.tts import OpenAISpeaker
from aura.providers.xai.chat import XaiChat
from aura.providers.xai.settings import XaiSettings
from tests.fakes.openai_server import Answer, chat, raw, serve, speech, sse, transcript

WITHIN_S = 0.05
Use = Callable[[str, Http], Awaitable[None]]


async def think(url: str, http: Http) -> None:
    async with OpenAIChat(OpenAISettings(base_url=url), http).reply(ChatRequest((Message("user", "Hi"),))) as items:
        async for _ in items:
            pass


async def think_with_grok(url: str, http: Http) -> None:
    async with XaiChat(XaiSettings(base_url=url), http).reply(ChatRequest((Message("user", "Hi"),))) as items:
        async for _ in items:
            pass


async def speak(url: str, http: Http) -> None:
    async with OpenAISpeaker(OpenAISettings(base_url=url), http).speak(SpeechRequest("A long sentence.", "")) as chunks:
        async for _ in chunks:
            pass


async def hear(url: str, http: Http) -> None:
    await OpenAITranscriber(OpenAISettings(base_url=url, stt_interim=True), http).transcribe(bytes(3_200_000))


DELTA = sse({"type": "transcript.text.delta", "delta": "word "})
CASES: dict[str, tuple[Use, Answer]] = {
    "chat": (think, chat(["word "] * 500, gap_s=0.01)),
    "chat, before the first token": (think, chat("Hi", ttft_s=30.0)),
    "chat, before the headers": (think, chat("Hi", head_delay_s=30)),
    "chat of grok": (think_with_grok, chat(["word "] * 500, gap_s=0.01)),
    "voice": (speak, speech(30.0, gap_s=0.01)),
    "voice, before the first audio": (speak, speech(1.0, ttfb_s=30.0)),
    "hearing": (hear, transcript("hi", head_delay_s=30)),
    "hearing, streamed": (hear, raw("stt", *[DELTA, 0.01] * 500)),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_engine_sees_the_cancel_and_sends_one_more_piece_at_most(case: str) -> None:
    use, answer = CASES[case]
    async with serve(answer) as fake, open_http() as http:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(use, fake.base_url, http)
                await trio.sleep(0.15)
                [seen] = fake.seen
                sent, cancelled_at = seen.chunks_sent, trio.current_time()
                scope.cancel()
        await trio.sleep(WITHIN_S)
        assert seen.disconnected_at is not None
        assert seen.disconnected_at - cancelled_at < WITHIN_S
        assert seen.chunks_sent <= sent + 1


async def test_an_upload_that_the_engine_does_not_read_is_given_up_at_once() -> None:
    closed = trio.Event()

    async def never_read(stream: trio.SocketStream) -> None:
        while True:
            await started.wait()
            try:
                if not await stream.receive_some():
                    break
            except trio.BrokenResourceError:
                break
        closed.set()

    started = trio.Event()
    async with trio.open_nursery() as nursery, open_http() as http:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, never_read, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
        with trio.move_on_after(0.1) as scope:
            await OpenAITranscriber(OpenAISettings(base_url=url), http).transcribe(bytes(16_000_000))
        assert scope.cancelled_caught
        started.set()
        with trio.fail_after(1):
            await closed.wait()
        nursery.cancel_scope.cancel()
