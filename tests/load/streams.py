"""Many chat streams at once on one core: what a chunk costs, and how long the event loop is kept.

    python -m tests.load.streams --streams 200          exits with 1 when a goal is missed
    python -m tests.load.streams --reader openai        the same through the `openai` package, for comparison

The server runs in another process on another core. The CPU of this process is divided by the chunks read; what reading
the same bytes from bare sockets costs is subtracted. The longest step is the longest time between two looks of the
event loop at its sockets' tasks, of steps that the kernel did not interrupt.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import process_time

import trio

from aura.core.ports import ChatRequest, Finished, Message, TextDelta
from aura.core.secret import Secret
from aura.providers.http import HttpSettings, open_http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.settings import OpenAISettings
from tests.conftest import FairStallWatch

CHUNK_US, STEP_MS = 15.0, 10.0
"""The goals: CPU per chunk above bare sockets, and the longest step."""
ASK = ChatRequest((Message("system", "Be brief."), Message("user", "Tell me a long story, please.")))
Read = Callable[[], Awaitable[int]]
"""Reads one answer to its end and returns the number of its pieces."""


@contextmanager
def server(chunks: int, gap_s: float) -> Iterator[int]:
    """The server process; gives its port."""
    command = [sys.executable, "-m", "tests.load.server", str(chunks), str(gap_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


async def bare(port: int) -> int:
    """The same bytes, only received."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        body = b'{"model":"m"}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        await stream.send_all(head + body)
        pieces = 0
        while (data := await stream.receive_some(32768)) and b"[DONE]" not in data:
            pieces += 1
        return pieces


async def by_aura(engine: OpenAIChat) -> int:
    """Through the adapter."""
    pieces, end = 0, None
    async with engine.reply(ASK) as items:
        async for item in items:
            if isinstance(item, TextDelta):
                pieces += 1
            else:
                end = item
    assert isinstance(end, Finished)
    assert end.output_tokens == 200
    return pieces


async def by_openai(client: object, raw: bool) -> int:
    """Through the `openai` package: parsed by it, or its raw lines."""
    messages = [{"role": message.role, "content": message.text} for message in ASK.messages]
    create = client.chat.completions  # type: ignore[attr-defined]
    wanted = {"model": "m", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    pieces = 0
    if raw:
        async with create.with_streaming_response.create(**wanted) as response:
            async for line in response.iter_lines():
                pieces += line.startswith("data: {")
        return pieces - 2
    async with await create.create(**wanted) as stream:
        async for chunk in stream:
            pieces += bool(chunk.choices and chunk.choices[0].delta.content)
    return pieces


class Measured:
    """What one run cost."""

    def __init__(self, pieces: int, cpu_s: float, longest_ms: float) -> None:
        self.pieces, self.longest_ms = pieces, longest_ms
        self.us = cpu_s / max(1, pieces) * 1e6


async def measure(read: Read, streams: int) -> Measured:
    """Run that many at once, after a round that opens code and connections."""
    await one_round(read, streams)
    gc.collect()
    gc.freeze()  # as `aura serve` does once it is set up
    pieces, cpu_s = await one_round(read, streams)
    watch = FairStallWatch(0.0005)  # costs several µs per step, so it gets a round of its own
    trio.lowlevel.add_instrument(watch)
    await one_round(read, streams)
    trio.lowlevel.remove_instrument(watch)
    return Measured(pieces, cpu_s, max((seconds for _, seconds in watch.stalls), default=0.0) * 1e3)


async def one_round(read: Read, streams: int) -> tuple[int, float]:
    """(pieces read, CPU seconds) of that many streams at once."""
    counts: list[int] = []

    async def one() -> None:
        counts.append(await read())

    began = process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(one)
    return sum(counts), process_time() - began


async def run(reader: str, streams: int, port: int) -> Measured:
    """One reader's figures."""
    if reader == "bare":
        return await measure(lambda: bare(port), streams)
    async with open_http(HttpSettings()) as http:
        settings = OpenAISettings(base_url=f"http://127.0.0.1:{port}/v1", api_key=Secret("sk-test"))
        if reader == "aura":
            engine = OpenAIChat(settings, http)
            return await measure(lambda: by_aura(engine), streams)
        import openai

        client = openai.AsyncOpenAI(
            api_key="sk-test", base_url=settings.base_url, http_client=http.endpoint(settings.base_url).client
        )
        return await measure(lambda: by_openai(client, reader == "openai-raw"), streams)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=200, help="per stream")
    parser.add_argument("--gap-ms", type=float, default=50.0, help="between two chunks of a stream")
    parser.add_argument("--reader", choices=("aura", "openai", "openai-raw"), default="aura")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with server(given.chunks, given.gap_ms / 1000) as port:
        os.sched_setaffinity(0, cores[:1])
        floor = trio.run(run, "bare", given.streams, port)
        found = trio.run(run, given.reader, given.streams, port)
    added = found.us - floor.us
    good = added <= CHUNK_US and found.longest_ms <= STEP_MS
    sys.stdout.write(
        f"{given.streams} streams of {given.chunks} chunks, one core, read by {given.reader}\n"
        f"bare sockets       {floor.us:7.1f} us of CPU per chunk\n"
        f"{given.reader:<18} {found.us:7.1f} us, added {added:.1f} (goal {CHUNK_US:g})\n"
        f"longest step       {found.longest_ms:7.1f} ms (goal {STEP_MS:g})\n"
        f"{'good' if good else 'MISSED'}\n"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
