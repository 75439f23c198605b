"""The page and the real server with a network between them that breaks: a whole conversation, in real time."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from aura.config import load
from aura.tools.child import own_server
from tests.browser import chromium, connect, find_chromium
from tests.puppet import RATE_HZ, opened, text_of
from tests.test_page import recording

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (or Chrome) on the PATH"),
]


class Network:
    """Carries connections to a server, and can break them all."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: list[trio.SocketStream] = []

    async def carry(self, here: trio.SocketStream) -> None:
        there = await trio.open_tcp_stream("127.0.0.1", self.port)
        self._streams += [here, there]
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with here, there, trio.open_nursery() as nursery:
                nursery.start_soon(self._one_way, here, there)
                await self._one_way(there, here)
                nursery.cancel_scope.cancel()

    async def _one_way(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await sink.send_all(data)

    async def fail(self) -> None:
        """Nothing that is on its way arrives."""
        for stream in self._streams:
            await trio.aclose_forcefully(stream)
        self._streams.clear()


@asynccontextmanager
async def network(server_port: int) -> AsyncIterator[tuple[Network, int]]:
    made = Network(server_port)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, made.carry, 0)
        yield made, listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.fixture
def talker(tmp_path: Path) -> Iterator[str]:
    """A browser whose microphone hears one question."""
    speech = tmp_path / "speech.wav"
    speech.write_bytes(recording(3.0, "ask_story", 60.0))
    with chromium(f"--use-file-for-fake-audio-capture={speech}%noloop") as url:
        yield url


async def test_a_conversation_outlives_the_network(talker: str, tmp_path: Path) -> None:
    async with (
        own_server(load(environment={}), tmp_path / "server") as url,
        network(int(url.rpartition(":")[2])) as (net, port),
        connect(talker) as running,
    ):
        tab = await opened(running, port)
        await tab.run("document.getElementById('mic').click()")
        await tab.until("aura.stats.states.includes('listening')", 12)
        session = await tab.run("aura.client.id")
        await trio.sleep(0.3)
        await net.fail()  # in the middle of the sentence
        await tab.until("aura.stats.connects === 2")
        await tab.until("aura.stats.states.includes('speaking')", 12)
        await tab.until(f"aura.stats.loudSamples > {RATE_HZ // 2}")
        await net.fail()  # in the middle of the answer
        await tab.until("aura.stats.connects === 3")
        loud = await tab.run("aura.stats.loudSamples")
        await tab.until(f"aura.stats.loudSamples > {loud} + {RATE_HZ}")
        assert "story" in await tab.run(text_of(".entry.you .words"))
        assert await tab.run("document.querySelectorAll('.entry.aura').length") == 1
        assert await tab.run("document.querySelectorAll('.divider, del').length") == 0
        assert await tab.run("aura.client.id") == session
