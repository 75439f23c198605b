"""The whole server on real sockets, in real time, against engines that speak the OpenAI wire: a few conversations."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from aura import config
from aura.client import Call, CallError, connect
from aura.client.events import Event, Flush, ReplyDone, State
from aura.core.journal import decode
from aura.server import assemble
from aura.tools.caller import Caller
from aura.tools.recordings import shipped
from tests.conftest import FairStallWatch
from tests.fakes.openai_server import FakeOpenAI, chat, failure, serve, transcript

pytestmark = pytest.mark.e2e

STORY = "Once upon a time there was a lighthouse keeper. Every night he counted the ships. " * 3


class House:
    """A running server and the engines behind it."""

    def __init__(self, port: int, engines: FakeOpenAI, data: Path) -> None:
        self.url = f"ws://127.0.0.1:{port}/v1/realtime"
        self.port, self.engines, self.data = port, engines, data

    def journals(self) -> list[Path]:
        return sorted(self.data.glob("journals/*/*.jsonl"))


@asynccontextmanager
async def house(tmp_path: Path, *options: str) -> AsyncIterator[House]:
    """Run the server in this process."""
    async with serve() as engines, trio.open_nursery() as nursery:
        texts = [
            "server.port=0", f"openai.base_url={engines.base_url}", "openai.api_key=sk-test",
            f"storage.data_dir={tmp_path}", "storage.flush_s=0.05", *options,
        ]  # fmt: skip
        chosen = config.load(options=texts, environment={})
        port = await nursery.start(assemble.serve, chosen)
        yield House(port, engines, tmp_path)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def caller(url: str, **options: Any) -> AsyncIterator[tuple[Caller, list[Event]]]:
    """Somebody on the line."""
    async with connect(url, **options) as call, trio.open_nursery() as nursery:
        who, events = Caller(call), list[Event]()
        who.watchers.append(events.append)
        nursery.start_soon(who.speak)
        nursery.start_soon(who.listen)
        await who.wait(0.5)
        yield who, events
        nursery.cancel_scope.cancel()


def clip(name: str) -> Any:
    return shipped(24_000)[name]


def states(events: list[Event]) -> list[str]:
    return [event.now for event in events if isinstance(event, State)]


async def test_a_conversation_with_a_barge_in_while_others_misbehave(tmp_path: Path) -> None:
    watch = FairStallWatch(0.03)  # in real time beside other work: the exact bound is held in test_listener
    async with house(tmp_path) as here:
        async with caller(here.url) as (who, _):  # the first conversation imports what is imported late
            who.say(clip("okay"))
            await who.wait(1.5)
        trio.lowlevel.add_instrument(watch)
        here.engines.default["chat"] = lambda _: chat(STORY, ttft_s=0.1)
        here.engines.default["stt"] = lambda _: transcript("please tell me a story")
        async with trio.open_nursery() as nursery, caller(here.url) as (who, events):
            nursery.start_soon(junk, here.url)
            nursery.start_soon(vanish, here.url)
            said = who.say(clip("ask_story"))
            assert await who.reply_begins(said.end, 5.0)
            await who.wait(1.0)
            here.engines.default["chat"] = lambda _: chat("As you like.", ttft_s=0.1)
            over = who.say(clip("interrupt"))
            assert await who.until(lambda: any(isinstance(e, Flush) for e in events), 3.0)
            assert await who.reply_begins(over.end, 5.0)
            assert await who.reply_over(8.0)

        assert states(events) == ["listening", "thinking", "speaking", "interrupted", "listening", "thinking",
                                  "speaking", "idle"]  # fmt: skip
        status = [event.status for event in events if isinstance(event, ReplyDone)]
        assert status == ["cancelled", "completed"]
        shown = here.engines.of("chat")[-1].json["messages"]
        heard = next(m["content"] for m in shown if m["role"] == "assistant")
        assert heard.endswith("—")
        assert STORY.startswith(heard.rstrip("— "))
        assert len(heard) < len(STORY) / 2
        await trio.sleep(0.2)
        trio.lowlevel.remove_instrument(watch)

    assert [stall for stall in watch.stalls if "aura." in stall[0]] == []
    journals = [decode(path.read_bytes()) for path in here.journals()]
    assert len(journals) == 4
    assert all(not journal.truncated and journal.entries[-1].event.why for journal in journals)  # type: ignore[union-attr]
    kept = b"".join(path.read_bytes() for path in here.journals())
    assert b"lighthouse" not in kept
    assert b"tell me" not in kept


async def junk(url: str) -> None:
    """A client that sends everything but the protocol; it is told so and may go on."""
    async with connect(url, binary=False) as call:
        for message in ("{", "[]", '{"type": 5}', '{"type":"no.such.event"}', '{"type":"session.update","session":3}',
                        '{"type":"input_audio_buffer.append","audio":"%%%"}', "\x00" * 50):  # fmt: skip
            await call.link.send(message)
        await call.link.send(b"\x00\x01" * 100)
        await call.send_text("still there?")
        faults = [event async for event in until_done(call) if type(event).__name__ == "Fault"]
        assert len(faults) == 8


async def refusal(url: str) -> str:
    """Why a call does not come about."""
    try:
        async with connect(url):
            return "it was taken"
    except CallError as error:
        return str(error)


async def until_done(call: Call) -> AsyncIterator[Event]:
    with trio.fail_after(10):
        async for event in call:
            yield event
            if isinstance(event, ReplyDone):
                return


async def vanish(url: str) -> None:
    """A client that is gone in mid-sentence without a word."""
    async with caller(url) as (who, _):
        who.say(clip("ask_story"))
        await who.wait(0.6)
        await who.call.link.cut()


async def test_an_engine_that_is_down_is_apologised_for_and_the_next_turn_works(tmp_path: Path) -> None:
    async with house(tmp_path, "conversation.drafts_max=0", "assistant.apology=Sorry about that.") as here:
        here.engines.queue["chat"].extend([failure("chat", 503, {"error": "x"})] * 2)
        here.engines.default["stt"] = lambda _: transcript("what time is it")
        async with caller(here.url) as (who, events):
            for _ in range(2):
                said = who.say(clip("ask_time"))
                assert await who.reply_begins(said.end, 6.0)
                assert await who.until(lambda: type(events[-1]).__name__ == "State" and events[-1].now == "idle", 8.0)
        spoken = [seen.json["input"] for seen in here.engines.of("tts")]
        assert spoken[-1].endswith("How can I help you?")
        assert [event.status for event in events if isinstance(event, ReplyDone)] == ["completed", "completed"]


async def test_conversations_beyond_the_limit_are_refused_in_words(tmp_path: Path) -> None:
    async with house(tmp_path, "server.conversations_max=1") as here, connect(here.url):
        assert "HTTP 503): it is full" in await refusal(here.url)


async def test_sigterm_during_a_reply_lets_it_finish_and_then_closes_with_1001(tmp_path: Path) -> None:
    from aura.tools.child import _follow, _log_file, _start, command

    async with serve() as engines, trio.open_nursery() as nursery:
        options = [f"openai.base_url={engines.base_url}", "openai.api_key=sk-test", "engines.stt=openai",
                   "engines.chat=openai", "engines.tts=openai", "server.drain_grace_s=4"]  # fmt: skip
        with _log_file(tmp_path) as log:
            process = await _start(nursery, command(tmp_path / "data", options), tmp_path)
            with trio.fail_after(20):
                port = await nursery.start(_follow, process, log)
            url = f"ws://127.0.0.1:{port}/v1/realtime"
            async with caller(url) as (who, events):
                said = who.say(clip("ask_time"))
                assert await who.reply_begins(said.end, 6.0)
                os.kill(process.pid, signal.SIGTERM)
                await who.wait(0.3)
                assert "shutting down" in await refusal(url)
                assert await who.until(lambda: any(isinstance(e, ReplyDone) for e in events), 4.0)
                await who.until(lambda: who.gone is not None, 8.0)
                assert who.call.closed == (1001, "server is shutting down")
            with trio.fail_after(5):
                assert await process.wait() == 0
        nursery.cancel_scope.cancel()
