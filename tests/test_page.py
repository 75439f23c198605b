"""The web page in a real browser: with a scripted server that speaks the real wire, step by step."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from pathlib import Path

import pytest
import trio

from aura.config import load
from aura.core.wire.realtime import Usage
from aura.tools.child import own_server
from tests.browser import Browser, chromium, connect, find_chromium
from tests.puppet import RATE_HZ, TEXT, Puppet, opened, puppet_show, silence, talk, text_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (or Chrome) on the PATH"),
]
CLIP_HZ = 16_000
MS = {
    "endpoint": 212.0, "stt": 95.0, "llm_first_token": 180.0, "first_sentence": 60.0, "tts_first_audio": 84.0,
    "playout": 3.0, "voice_to_voice": 634.0,
}  # fmt: skip
DENY = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', '%s') }"


@pytest.fixture(scope="module")
def devtools() -> Iterator[str]:
    """One browser for all tests with scripted servers."""
    with chromium("--host-resolver-rules=MAP aura.test 127.0.0.1") as url:
        yield url


@pytest.fixture
async def browser(devtools: str) -> AsyncIterator[Browser]:
    with trio.fail_after(60):
        async with connect(devtools) as running:
            yield running


@pytest.fixture
async def puppet() -> AsyncIterator[Puppet]:
    async with puppet_show() as running:
        yield running


async def test_a_turn_is_heard_seen_and_measured(browser: Browser, puppet: Puppet) -> None:
    tab = await opened(browser, puppet.port)
    await talk(tab, puppet)
    update = (await puppet.got("session.update"))["session"]
    assert update["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": RATE_HZ}
    assert {len(frame) for frame in puppet.frames} == {2 * RATE_HZ // 50}, "frames of 20 ms"
    await puppet.move("idle", "listening", "thinking")
    await puppet.turn(1, "count to ten")
    await tab.until(f"{text_of('.entry.you .words')} === 'count to ten'")
    await puppet.move("thinking", "speaking")
    await puppet.send(puppet.view.turn_metrics(1, {"reply": 1, "draft": True, "ms": MS}))
    await puppet.speak(1, TEXT, 0.8)
    await tab.until("document.querySelector('.node.active text').textContent === 'speaking'")
    await tab.until(f"{text_of('.latency .total')} === '634 ms'")
    assert await tab.run("document.querySelectorAll('.latency .part').length") == 6
    ack = await puppet.got("aura.playout.ack")
    assert ack["item_id"] == puppet.view.item_of(1)
    assert 0 < ack["played_ms"] <= 800
    await tab.until(f"aura.stats.loudSamples > {0.75 * RATE_HZ}")
    await puppet.send(puppet.view.response_done(1, Usage()))
    await puppet.move("speaking", "idle")
    await tab.until(f"{text_of('.entry.aura .heard')} === {TEXT!r}")
    assert await tab.run("document.querySelector('del')") is None
    assert await tab.run("aura.stats.states") == ["idle", "listening", "thinking", "speaking", "idle"]
    await tab.press(" ")
    await tab.until("document.getElementById('mic').ariaPressed === 'false' && !aura.sound.stream")
    assert tab.complaints == []


async def test_an_interruption_silences_the_answer_and_strikes_out_what_was_not_heard(
    browser: Browser, puppet: Puppet
) -> None:
    tab = await opened(browser, puppet.port)
    await talk(tab, puppet)
    await puppet.turn(1, "count to ten")
    await puppet.move("idle", "thinking", "speaking")
    await puppet.speak(1, TEXT, 3.0)
    await tab.until("aura.stats.loudSamples > 9600")
    await puppet.move("speaking", "interrupted")
    await puppet.send(puppet.view.hold(1))
    await tab.until("aura.sound.position.held")
    await silence(tab)
    held = await tab.run("aura.stats.playedSamples")
    await puppet.send(puppet.view.resume(1, 500))
    await puppet.move("interrupted", "speaking")
    await tab.until(f"aura.stats.playedSamples > {held} + 4800")
    await puppet.send(puppet.view.hold(1) + puppet.view.speech_started(2, 5000))
    puppet.view.cut(1, "One two three")
    await puppet.send(puppet.view.response_cancelled(1, "turn_detected") + puppet.view.flush(1, 1000))
    await puppet.move("speaking", "interrupted", "listening")
    assert await tab.until(text_of("del")) == TEXT.removeprefix("One two three ")
    assert await tab.run(text_of(".entry.aura .heard")) == "One two three"
    await silence(tab)
    assert await tab.run("aura.stats.playedSamples") < 2 * RATE_HZ, "what was flushed is not played"
    assert tab.complaints == []


async def test_typing_asks_and_escape_stops_the_answer(browser: Browser, puppet: Puppet) -> None:
    tab = await opened(browser, puppet.port)
    await tab.run("document.getElementById('text').focus()")
    await tab.call("Input.insertText", text="count to ten")
    await tab.press("Enter")
    item = (await puppet.got("conversation.item.create"))["item"]
    assert item["content"] == [{"type": "input_text", "text": "count to ten"}]
    await puppet.got("response.create")
    await puppet.send(puppet.view.response_created(1, 0))
    await puppet.move("idle", "thinking", "speaking")
    await puppet.speak(1, TEXT, 3.0)
    await tab.until("aura.stats.loudSamples > 2400")
    await tab.press("Escape")
    await puppet.got("response.cancel")
    await puppet.speak(1, "", 1.0)
    await puppet.send(puppet.view.response_cancelled(1, "client_cancelled") + puppet.view.flush(1, 300))
    await puppet.move("speaking", "idle")
    unheard = await tab.until(text_of("del"))
    assert await tab.run(text_of(".entry.aura .heard")) + " " + unheard == TEXT
    await silence(tab)
    assert await tab.run("aura.stats.playedSamples") < 2 * RATE_HZ
    assert await tab.run("document.getElementById('stop').hidden")
    assert tab.complaints == []


async def test_a_lost_connection_is_made_anew_and_told_what_was_said(browser: Browser, puppet: Puppet) -> None:
    tab = await opened(browser, puppet.port)
    await talk(tab, puppet)
    await puppet.turn(1, "count to ten")
    await puppet.speak(1, TEXT, 0.1)
    await puppet.send(puppet.view.response_done(1, Usage()))
    await tab.until(text_of(".entry.aura .heard"))
    await puppet.got("session.update")
    puppet.door.remembers = False
    await puppet.lose()
    await tab.until(f"{text_of('#connection')} === 'Reconnecting…'")
    await tab.until("aura.stats.connects === 2")
    await puppet.got("session.update")
    items = [m["item"] for m in puppet.messages if m["type"] == "conversation.item.create"]
    assert [(item["role"], item["content"][0]["text"]) for item in items] == [
        ("user", "count to ten"),
        ("assistant", TEXT),
    ]
    await tab.until("document.getElementById('notice').hidden")
    sent = await tab.run("aura.stats.framesSent")
    await tab.until(f"aura.stats.framesSent > {sent}")
    assert "lost here" in await tab.run(text_of(".divider"))


TROUBLES = {
    "NotAllowedError": "The microphone is blocked.",
    "NotFoundError": "No microphone was found.",
    "NotReadableError": "The microphone cannot be used.",
    "Error": "The microphone did not start.",
}


async def test_microphone_troubles_are_explained(browser: Browser, puppet: Puppet) -> None:
    tab = await opened(browser, puppet.port)
    for name, title in TROUBLES.items():
        await tab.run(DENY % name)
        await tab.run("document.getElementById('mic').click()")
        await tab.until(f"{text_of('#notice-title')} === {title!r}")
        assert await tab.run("document.getElementById('mic').getAttribute('aria-pressed')") == "false"
    assert puppet.conversations == 0
    insecure = await opened(browser, puppet.port, "aura.test")
    assert await insecure.run(text_of("#notice-title")) == "No microphone on this address."


async def test_full_starting_and_leaving_servers_are_told_apart(browser: Browser) -> None:
    async with puppet_show(conversations_max=1) as puppet:
        await talk(await opened(browser, puppet.port), puppet)
        tab = await opened(browser, puppet.port)
        await tab.run("document.getElementById('mic').click()")
        await tab.until(f"{text_of('#notice-title')} === 'The server is full.'")
        puppet.health.add("speech to text", lambda: "starting")
        await tab.until(f"{text_of('#notice-title')} === 'The server is not ready yet.'")
        assert "speech to text: starting" in await tab.run(text_of("#notice-text"))
        puppet.drain.begin(10)
        await tab.run("document.getElementById('notice-action').click()")
        await tab.until(f"{text_of('#notice-title')} === 'The server is shutting down.'")


RESAMPLED = """
import('/worklet.js').then(({Resampler}) => {
  const mean = (list, f) => list.reduce((sum, x, i) => sum + f(x, i), 0) / list.length;
  const through = (from, to, hz) => {
    const resampler = new Resampler(from, to), made = [];
    for (let at = 0; at < from; at += 128) {
      const block = Float32Array.from({length: 128}, (_, i) => Math.sin(2 * Math.PI * hz * (at + i) / from));
      made.push(...resampler.push(block));
    }
    const steady = made.slice(1000, -1000), turn = 2 * Math.PI * hz / to;
    const part = (wave) => mean(steady, (x, i) => x * wave(turn * i));
    const tone = 2 * Math.hypot(part(Math.sin), part(Math.cos));
    return [made.length, tone, mean(steady, (x) => x * x)];
  };
  const cases = [[48000, 24000, 1000], [44100, 24000, 3000], [24000, 48000, 1000], [48000, 24000, 15000]];
  return cases.map((one) => through(...one));
})
"""


async def test_the_worklets_resampler_keeps_the_voice_and_makes_no_aliases(browser: Browser, puppet: Puppet) -> None:
    tab = await opened(browser, puppet.port)
    *kept, alias = await tab.run(RESAMPLED)
    for (length, amplitude, power), expected in zip(kept, [24000, 24000, 48000], strict=True):
        assert abs(length - expected) < 100
        assert abs(amplitude - 1) < 0.01
        assert abs(power - amplitude**2 / 2) < 1e-4, "nothing but the tone"
    assert alias[2] < 1e-6


def recording(*parts: str | float) -> bytes:
    """A WAV file of clips and silences in seconds, for the fake microphone."""
    clips = resources.files("aura.tools") / "clips"
    samples = b""
    for part in parts:
        if isinstance(part, str):
            with wave.open(io.BytesIO((clips / f"{part}.wav").read_bytes())) as clip:
                assert (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) == (CLIP_HZ, 1, 2)
                samples += clip.readframes(clip.getnframes())
        else:
            samples += bytes(2 * round(CLIP_HZ * part))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(CLIP_HZ)
        out.writeframes(samples)
    return file.getvalue()


@pytest.fixture
def talker(tmp_path: Path) -> Iterator[str]:
    """A browser whose microphone hears a question and then somebody who talks over the answer, whichever that is."""
    speech = tmp_path / "speech.wav"
    speech.write_bytes(recording(1.5, "ask_story", 3.2, "interrupt", 30.0))
    with chromium(f"--use-file-for-fake-audio-capture={speech}%noloop") as url:
        yield url


@pytest.mark.e2e
async def test_a_conversation_with_the_real_server(talker: str, tmp_path: Path) -> None:
    async with own_server(load(environment={}), tmp_path / "server") as url, connect(talker) as running:
        tab = await opened(running, int(url.rpartition(":")[2]))
        await tab.run("document.getElementById('mic').click()")
        await tab.until("aura.stats.states.includes('speaking')", 12)
        await tab.until(f"aura.stats.loudSamples > {RATE_HZ // 2}")
        await tab.until("aura.stats.states.includes('interrupted')", 10)
        await tab.until(text_of("del"), 10)
        await tab.until("document.querySelectorAll('.latency').length === 2", 15)
        states = ",".join(await tab.run("aura.stats.states"))
        assert states.startswith("idle,listening,thinking,speaking,interrupted")
        assert "interrupted,listening,thinking,speaking" in states or "interrupted,thinking,speaking" in states
        assert "story" in await tab.run(text_of(".entry.you .words"))
        heard, unheard = await tab.run(text_of(".entry.aura .heard")), await tab.run(text_of("del"))
        assert heard
        assert unheard
        assert await tab.run("aura.stats.acks") > 3
        assert tab.complaints == []
