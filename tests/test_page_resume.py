"""The page in a real browser when its connection is lost, and how it gets in: nothing is lost, nothing comes twice."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from aura.core.wire.realtime import Usage
from tests.browser import Tab, chromium, connect, find_chromium
from tests.puppet import RATE_HZ, TEXT, Puppet, opened, puppet_show, silence, talk, text_of, tone

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (or Chrome) on the PATH"),
]
KEEP_A_COPY = """
window.given = [];
const append = aura.client.append.bind(aura.client);
aura.client.append = (pcm) => (given.push(new Uint8Array(pcm.slice(0))), append(pcm));
"""
COPIED = """
new Blob(given).arrayBuffer()
  .then((all) => btoa(Array.from(new Uint8Array(all), (x) => String.fromCharCode(x)).join("")))
"""
CONNECTION = text_of("#connection")


@pytest.fixture(scope="module")
def chrome() -> Iterator[str]:
    """One browser for all tests here."""
    with chromium() as url:
        yield url


@asynccontextmanager
async def page(chrome: str, puppet: Puppet) -> AsyncIterator[Tab]:
    with trio.fail_after(60):
        async with connect(chrome) as running:
            yield await opened(running, puppet.port)


async def given(tab: Tab) -> bytes:
    """All that the page has heard of the microphone since `KEEP_A_COPY`."""
    return base64.b64decode(await tab.run(COPIED))


async def lost(tab: Tab, puppet: Puppet, away_s: float = 0.0) -> None:
    """Lose the connection after something got lost on the way, and wait until it is there again."""
    before = await tab.run("aura.stats.connects")
    puppet.door.deaf = True
    await trio.sleep(0.1)
    puppet.door.shut = (1013, "later") if away_s else None
    await puppet.lose()
    puppet.door.deaf = False
    if away_s:
        await tab.until(f"{CONNECTION} === 'Reconnecting…'")
        await trio.sleep(away_s)
        puppet.door.shut = None
    await tab.until(f"aura.stats.connects === {before} + 1")


async def test_the_microphone_is_heard_without_a_gap_over_lost_connections(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        await tab.run(KEEP_A_COPY)
        await talk(tab, puppet)
        await puppet.move("idle", "listening")
        for away_s in (0.0, 1.0):
            await lost(tab, puppet, away_s)
            assert await tab.run(text_of("#hint")) != "Press the microphone to talk"
        await tab.until(f"{CONNECTION} === 'Back'")
        await tab.until(f"{CONNECTION} === 'Connected'")
        await tab.run("document.getElementById('mic').click()")
        await trio.sleep(0.3)
        said, heard = await given(tab), b"".join(puppet.frames)
        assert len(said) > RATE_HZ * 2
        assert any(said)
        assert heard == said
        assert puppet.conversations == 1
        resumes = [request.query.get("resume") for request in puppet.door.requests]
        assert resumes[0] is None
        assert set(resumes[1:]) == {"sess_1"}
        assert await tab.run("document.querySelector('.divider')") is None


async def test_a_reply_goes_on_where_it_was_heard_and_its_text_stays_one(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        await talk(tab, puppet)
        await puppet.turn(1, "count to ten")
        await puppet.move("idle", "thinking", "speaking")
        await puppet.speak(1, "One two three ", 1.0)
        await tab.until("aura.stats.loudSamples > 9600")
        await lost(tab, puppet)
        played = puppet.door.requests[-1].query["played"]
        item, _, ms = played.rpartition(":")
        assert item == puppet.view.item_of(1)
        assert 300 < int(ms) <= 1000
        await again(puppet, 1, "One two three ")
        from_ms = int(ms) - 100  # a little earlier: where a word begins
        await puppet.event("aura.playout.resume", response_id=puppet.view.response_of(1), item_id=item, from_ms=from_ms)
        await puppet.event("response.output_audio.delta", item_id=item, delta="")
        assert puppet.socket
        await puppet.socket.send(tone(3.0)[from_ms * RATE_HZ // 1000 * 2 : RATE_HZ * 4])  # to second two
        await puppet.send(puppet.view.say(1, TEXT.removeprefix("One two three ")))
        await puppet.send(puppet.view.response_done(1, Usage()))
        await silence(tab)
        await tab.until(f"{text_of('.entry.aura .heard')} === {TEXT!r}")
        assert await tab.run("document.querySelectorAll('.entry.aura').length") == 1
        assert abs(await tab.run("aura.stats.playedSamples") - 2 * RATE_HZ) <= RATE_HZ // 100
        assert tab.complaints == []


async def again(puppet: Puppet, reply: int, text: str) -> None:
    """A response under way is announced once more."""
    response, item = puppet.view.response_of(reply), puppet.view.item_of(reply)
    message = {"id": item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    await puppet.event("response.created", response={"id": response, "status": "in_progress"})
    await puppet.event("response.output_item.added", response_id=response, output_index=0, item=message)
    await puppet.event("response.output_audio_transcript.delta", response_id=response, item_id=item, delta=text)


async def test_what_was_missed_is_shown_afterwards(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        await talk(tab, puppet)
        await puppet.turn(1, "count to ten")
        await puppet.move("idle", "thinking", "speaking")
        await puppet.speak(1, TEXT, 3.0)
        await tab.until("aura.stats.loudSamples > 4800")
        puppet.items = [
            message("user_0", "user", "input_audio", "are you there"),
            message(str(puppet.view.item_of(1)), "assistant", "output_audio", "One two three", "incomplete"),
        ]
        await lost(tab, puppet)
        assert await tab.until(text_of("del")) == TEXT.removeprefix("One two three ")
        words = "[...document.querySelectorAll('.entry.you .words')].map((x) => x.innerText).join('|')"
        assert await tab.run(words) == "count to ten|are you there"
        await silence(tab)
        assert await tab.run("aura.stats.playedSamples") < 2 * RATE_HZ
        assert await tab.run("document.body.dataset.state") == "idle"


def message(item: str, role: str, kind: str, words: str, status: str = "completed") -> dict[str, Any]:
    return {"id": item, "type": "message", "role": role, "status": status,
            "content": [{"type": kind, "transcript": words}]}  # fmt: skip


async def test_a_message_typed_meanwhile_arrives_once(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        await type_in(tab, "one")
        await puppet.got("response.create")
        puppet.door.shut = (1013, "later")
        await puppet.lose()
        await tab.until(f"{CONNECTION} === 'Reconnecting…'")
        puppet.messages.clear()
        await type_in(tab, "two")
        puppet.door.shut = None
        await puppet.got("response.create")
        items = [m["item"]["content"][0]["text"] for m in puppet.messages if m["type"] == "conversation.item.create"]
        assert items == ["two"]
        assert puppet.conversations == 1


async def type_in(tab: Tab, text: str) -> None:
    await tab.run("document.getElementById('text').focus()")
    await tab.call("Input.insertText", text=text)
    await tab.press("Enter")


# ---- keys --------------------------------------------------------------------------------------------------------


async def test_an_open_server_gives_a_secret_and_nobody_is_asked(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        await talk(tab, puppet)
        assert puppet.door.offered == [("realtime", f"openai-insecure-api-key.{puppet.door.secrets[0]}")]
        assert await tab.run("document.getElementById('key-form').hidden")
        await lost(tab, puppet)
        assert len(puppet.door.secrets) == 1, "a secret that is still good is used again"
        assert tab.complaints == []


async def test_a_key_is_asked_for_exchanged_and_forgotten(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        puppet.door.key = "sk-aura-right"
        await tab.run("document.getElementById('mic').click()")
        await tab.until("!document.getElementById('key-form').hidden")
        assert await tab.run("document.activeElement.id") == "key"
        for key in ("sk-aura-wrong", "sk-aura-right"):
            await tab.call("Input.insertText", text=key)
            await tab.press("Enter")
            wrong = await tab.until("!document.getElementById('key-wrong').hidden || aura.stats.connects > 0")
            assert wrong
        await tab.until("aura.stats.connects === 1")
        assert await tab.run("document.getElementById('key-form').hidden")
        assert await tab.run("document.getElementById('key').value") == ""
        stored = await tab.run("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
        assert "sk-aura" not in stored
        assert "ek_" not in stored
        assert puppet.door.offered == [("realtime", f"openai-insecure-api-key.{puppet.door.secrets[0]}")]
        await tab.run("aura.client.fresh = true")
        assert "sk-aura" not in await tab.run("JSON.stringify(aura)")


async def test_a_secret_that_is_refused_is_replaced_and_the_conversation_goes_on(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        await talk(tab, puppet)
        puppet.door.shut = (3000, "invalid_request_error.invalid_api_key")
        await puppet.lose()
        await tab.until("aura.client.fresh || aura.client.tries > 1")
        puppet.door.shut = None
        await tab.until("aura.stats.connects === 2")
        assert puppet.conversations == 1
        assert len(puppet.door.secrets) >= 2
        assert puppet.door.offered[-1][1].endswith(puppet.door.secrets[-1])


async def test_whoever_gives_no_key_is_left_in_peace(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        puppet.door.key = "sk-aura-right"
        await tab.run("document.getElementById('mic').click()")
        await tab.until("!document.getElementById('key-form').hidden")
        await tab.run("document.getElementById('key-cancel').click()")
        await tab.until(f"{CONNECTION} === 'Not connected'")
        assert await tab.run("document.getElementById('key-form').hidden")
        assert await tab.run("document.getElementById('mic').ariaPressed") == "false"
        assert puppet.door.requests == []


async def test_the_module_can_be_used_by_other_pages(chrome: str) -> None:
    async with puppet_show() as puppet, page(chrome, puppet) as tab:
        other = await tab.browser.tab()  # an empty page, of no server
        script = f"import('http://127.0.0.1:{puppet.port}/aura.js').then((module) => Object.keys(module).join())"
        assert await other.run(script) == "AuraClient,FRAME_MS,RATE"
