"""The resuming client and the real server, on real sockets: with cuts and without, the same is heard on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from aura.client import ClientSettings, Event, ReplyDone, Resumed, connect
from aura.client.events import ReplyText
from aura.tools.caller import Caller
from tests.fakes.openai_server import Answer, speech
from tests.test_server import STORY, House, chat, clip, house

pytestmark = pytest.mark.e2e
FAST = ClientSettings(back_off_s=(0.05, 0.2))


def rustle(_: Any) -> Answer:
    """A voice of which no two moments are alike."""
    pcm = np.random.default_rng(7).integers(-9000, 9000, 24_000 * 3).astype("<i2").tobytes()
    return speech(pcm)


async def say(here: House, name: str, cuts: tuple[float, ...]) -> tuple[bytes, bytes, list[Event]]:
    """Ask something; the connection is lost so long after the beginning. What the server heard, and what we did."""
    heard, events = bytearray(), list[Event]()
    here.engines.seen.clear()
    async with (
        connect(here.url, settings=FAST, sink=lambda piece: heard.extend(piece.pcm)) as call,
        trio.open_nursery() as nursery,
    ):
        who = Caller(call)
        who._bed = who._bed[:1]  # the same quiet before and after, whenever the clip begins
        who.watchers.append(events.append)
        nursery.start_soon(who.speak)
        nursery.start_soon(who.listen)
        await who.wait(0.4)
        spoken = who.say(clip(name))
        for after_s in cuts:
            await who.wait(spoken.begin + after_s - trio.current_time())
            assert call.link
            await call.link.cut()
        assert await who.reply_begins(spoken.end, 8.0)
        assert await who.reply_over(20.0)
        nursery.cancel_scope.cancel()
    return here.engines.of("stt")[-1].form["file"].value, bytes(heard), events


async def test_a_call_with_lost_connections_is_the_same_call(tmp_path: Path) -> None:
    async with house(tmp_path, "conversation.drafts_max=0") as here:
        here.engines.default["chat"] = lambda _: chat("Once upon a time there was a lighthouse keeper.")
        here.engines.default["tts"] = rustle
        said, reply, _ = await say(here, "ask_story", ())
        length = clip("ask_story").seconds
        said_again, reply_again, events = await say(here, "ask_story", (0.7, 1.2, length + 1.5, length + 2.3))
    resumed = [event for event in events if isinstance(event, Resumed)]
    assert len(resumed) == 4
    assert all(event.same and event.lost_audio_s == 0 for event in resumed)
    assert said_again == said
    assert reply_again == reply
    assert len(reply) == 3 * 2 * 24_000
    texts = [event for event in events if isinstance(event, ReplyText)]
    assert {event.item_id for event in texts} == {texts[0].item_id}
    assert STORY.startswith(texts[-1].delta.strip())


async def test_a_server_that_has_forgotten_the_call_is_told_what_was_said(tmp_path: Path) -> None:
    async with house(tmp_path, "server.resume_grace_s=0") as here, connect(here.url, settings=FAST) as call:
        here.engines.default["chat"] = lambda _: chat("Hello Ada.")
        await call.update(instructions="You are a parrot.")
        await call.send_text("My name is Ada.")
        cut = False
        with trio.fail_after(20):
            async for event in call:
                if isinstance(event, ReplyDone) and not cut:
                    cut = True
                    assert call.link
                    await call.link.cut()
                elif isinstance(event, Resumed):
                    assert not event.same
                    await call.send_text("Who am I?")
                elif isinstance(event, ReplyDone):
                    break
        shown = here.engines.of("chat")[-1].json["messages"]
    assert "You are a parrot." in str(shown[0])
    assert [(m["role"], m["content"]) for m in shown[1:]] == [
        ("user", "My name is Ada."),
        ("assistant", "Hello Ada."),
        ("user", "Who am I?"),
    ]
