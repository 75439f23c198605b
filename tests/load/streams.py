"""Many chat streams at once on one core: what a chunk costs, and how long the event loop is kept.

    python -m tests.load.streams --streams 200          exits with 1 when a goal is missed
    python -m tests.load.streams --router               through the router and the accounting too, as in a conversation
    python -m tests.load.streams --reader openai        the same through the `openai` package, for comparison

The server runs in another process on another core. The CPU of this process is divided by the chunks read; what reading
the same bytes from bare sockets costs is subtracted. Of some rounds the least disturbed counts.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, process_time, thread_time

import msgspec
import trio

from aura.core.ports import ChatModel, ChatRequest, Finished, Message, TextDelta
from aura.core.routing.breaker import BreakerSettings
from aura.core.routing.choose import Candidate
from aura.core.routing.health import HealthSettings, Tracker
from aura.core.routing.pricing import Price
from aura.core.secret import Secret
from aura.providers.http import Http, HttpSettings, open_http
from aura.providers.observed import ObservedChat, Watch
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.settings import OpenAISettings
from aura.providers.router.board import Board, Line, Talk
from aura.providers.router.chat import RoutedChat
from aura.providers.router.settings import RouterSettings
from aura.providers.router.spending import Spending
from aura.providers.routing_data import rules
from aura.providers.throttle import Throttle, ThrottleSettings
from aura.session.steps import Steps

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


async def by_aura(engine: ChatModel) -> int:
    """Through the adapter."""
    pieces, end = 0, None
    async with engine.reply(ASK) as items:
        async for item in items:
            if isinstance(item, TextDelta):
                pieces += 1
            else:
                end = item
    assert isinstance(end, Finished)
    assert end.output_tokens
    return pieces


async def by_router(board: Board) -> int:
    """Through the router and what accounts for calls, as a conversation asks."""
    chat = ObservedChat(RoutedChat(board, Talk("sess")), Watch(Steps(), lambda _: None))
    return await by_aura(chat)


def two_lines(settings: OpenAISettings, http: Http) -> Board:
    """A board with the server on it twice, so that there is something to choose."""
    lines = []
    for name in ("one", "two"):
        engine = OpenAIChat(settings, http, name=name)
        price = Price(provider=name, model="m", part="chat", input=0.1, output=0.4)
        candidate = Candidate(key=f"{name}/m", provider=name, model="m", price=price)
        tracker, throttle = Tracker(HealthSettings(), BreakerSettings()), Throttle(ThrottleSettings(), name)
        lines.append(Line("chat", name, engine, candidate, tracker, throttle, last_resort=False))
    routing = RouterSettings(hedge_free_usd=0, hedge_spend_share=0)  # what is measured is one answer, not two
    return Board(routing, rules(), {"chat": lines}, Spending(lambda: "2026-11-28"))


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


class LongestStep(trio.abc.Instrument):
    """The longest step of any task. One that the kernel interrupted counts with the processor time that it used."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._began = self._used = 0.0
        self._preempted = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A step begins."""
        self._preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        self._began, self._used = perf_counter(), thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It has ended."""
        took_s, used_s = perf_counter() - self._began, thread_time() - self._used
        if self._began and took_s > self.longest_s:
            preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw > self._preempted
            self.longest_s = max(self.longest_s, used_s if preempted else took_s)


class Measured(msgspec.Struct, frozen=True):
    """What one round cost."""

    us: float
    """Processor time per piece."""
    longest_ms: float = 0.0


async def measure(read: Read, streams: int, rounds: int, watched: bool) -> Measured:
    """The least disturbed of some rounds, after one that opens connections. Steps are watched in a last one."""
    await one_round(read, streams)
    gc.collect()
    gc.freeze()  # as `aura serve` does once it is set up
    us = min([await one_round(read, streams) for _ in range(rounds)])
    if not watched:
        return Measured(us)
    steps = LongestStep()  # costs several µs per step
    trio.lowlevel.add_instrument(steps)
    await one_round(read, streams)
    trio.lowlevel.remove_instrument(steps)
    return Measured(us, steps.longest_s * 1e3)


async def one_round(read: Read, streams: int) -> float:
    """Processor time per piece, in µs, of that many streams at once."""
    pieces: list[int] = []

    async def one() -> None:
        pieces.append(await read())

    began = process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(one)
    return (process_time() - began) / sum(pieces) * 1e6


async def run(reader: str, streams: int, rounds: int, port: int) -> Measured:
    """One reader's figures."""
    if reader == "bare":
        return await measure(lambda: bare(port), streams, rounds, False)
    async with open_http(HttpSettings()) as http:
        settings = OpenAISettings(base_url=f"http://127.0.0.1:{port}/v1", api_key=Secret("sk-test"))
        if reader == "aura":
            engine = OpenAIChat(settings, http)
            return await measure(lambda: by_aura(engine), streams, rounds, True)
        if reader == "router":
            board = two_lines(settings, http)
            return await measure(lambda: by_router(board), streams, rounds, True)
        import openai

        client = openai.AsyncOpenAI(
            api_key="sk-test", base_url=settings.base_url, http_client=http.endpoint(settings.base_url).client
        )
        return await measure(lambda: by_openai(client, reader == "openai-raw"), streams, rounds, True)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=100, help="per stream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gap-ms", type=float, default=50.0, help="between two chunks of a stream")
    parser.add_argument("--reader", choices=("aura", "router", "openai", "openai-raw"), default="aura")
    parser.add_argument("--router", action="store_const", const="router", dest="reader", help="as --reader router")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with server(given.chunks, given.gap_ms / 1000) as port:
        os.sched_setaffinity(0, cores[:1])
        floor = trio.run(run, "bare", given.streams, given.rounds, port)
        found = trio.run(run, given.reader, given.streams, given.rounds, port)
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
