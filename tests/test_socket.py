"""The WebSocket: the same messages as wsproto however the bytes are cut, and an orderly end for everything else."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aura.core.wire.client import MAX_APPEND_BYTES
from aura.server.settings import ServerSettings
from aura.server.socket import Closed, Socket, run_socket
from aura.server.wire import Lost, Wire
from tests.ws_client import HEAD, KEY, Client, masked

Body = Callable[[Socket], Awaitable[None]]


@asynccontextmanager
async def conversation(body: Body, limits: ServerSettings | None = None) -> AsyncIterator[Client]:
    """Run `body` on the server's side of a connection held in memory."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_socket, ours, HEAD, b"", None, limits or ServerSettings(), body)
        client = Client(theirs)
        await client.handshake()
        yield client


async def collect(socket: Socket, into: list[str | bytes]) -> None:
    """Receive until the end."""
    while True:
        into.append(await socket.receive())


# ---- frames ----------------------------------------------------------------------------------------------------------


MESSAGE = st.one_of(st.text(max_size=60), st.binary(max_size=60), st.just("ä" * 80), st.just(b"z" * 70_000))


@st.composite
def wire_of(draw: st.DrawFn) -> tuple[bytes, list[str | bytes], list[bytes]]:
    """Client bytes, with the messages and the pings in them."""
    wire, messages, pings = b"", [], []
    for message in draw(st.lists(MESSAGE, max_size=6)):
        payload, opcode = (message.encode(), 1) if isinstance(message, str) else (message, 2)
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=2)))
        edges = [0, *cuts, len(payload)]
        for index, (begin, end) in enumerate(itertools.pairwise(edges)):
            last = index == len(cuts)
            wire += masked(opcode if index == 0 else 0, payload[begin:end], fin=last)
            if draw(st.integers(0, 3)) == 0:
                ping = draw(st.binary(max_size=125))
                wire += masked(9, ping) + masked(10, b"unasked")
                pings.append(ping)
        messages.append(message)
    return wire, messages, pings


@settings(max_examples=60, deadline=None)
@given(wire_of(), st.data())
def test_the_same_messages_however_the_stream_is_cut(
    wire: tuple[bytes, list[str | bytes], list[bytes]], data: st.DataObject
) -> None:
    raw, messages, pings = wire
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    edges = [0, *cuts, len(raw)]

    async def main() -> None:
        got: list[str | bytes] = []

        async def body(socket: Socket) -> None:
            await collect(socket, got)

        async with conversation(body) as client:
            for begin, end in itertools.pairwise(edges):
                if begin < end:
                    await client.stream.send_all(raw[begin:end])
                    await trio.testing.wait_all_tasks_blocked()
            await client.stream.send_all(masked(8, struct.pack("!H", 1000)))
            assert await client.close_code() == 1000
        assert got == messages
        assert client.pongs == pings

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_end_the_connection_and_nothing_else(junk: bytes) -> None:
    async def main() -> None:
        async def body(socket: Socket) -> None:
            await collect(socket, [])

        async with conversation(body) as client:
            await client.stream.send_all(junk)
            await trio.testing.wait_all_tasks_blocked()
            await client.stream.aclose()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# ---- the end ---------------------------------------------------------------------------------------------------------

LIMITS = ServerSettings(message_bytes_max=1000)


def test_the_longest_audio_that_may_be_appended_fits_into_a_message() -> None:
    envelope = len('{"type":"input_audio_buffer.append","event_id":"","audio":""}') + 512
    assert ServerSettings().message_bytes_max >= -(-MAX_APPEND_BYTES // 3) * 4 + envelope


BAD = {
    "an oversize frame": (masked(1, b"x" * 1001), 1009),
    "an oversize frame of which only the head came": (struct.pack("!BBQ", 0x81, 0xFF, 100 << 20) + KEY, 1009),
    "too many fragments": (masked(1, b"x" * 600, fin=False) + masked(0, b"x" * 600), 1009),
    "text that is not UTF-8": (masked(1, b"\xff\xfe"), 1007),
    "a fragment that is not UTF-8": (masked(1, b"\xc3", fin=False) + masked(0, b"\xff"), 1007),
    "a frame without a mask": (b"\x81\x05hello", 1002),
    "a reserved bit": (b"\xc1\x80" + KEY, 1002),
    "an unknown opcode": (b"\x83\x80" + KEY, 1002),
    "a continuation of nothing": (masked(0, b"x"), 1002),
    "a message inside a message": (masked(1, b"x", fin=False) + masked(1, b"y"), 1002),
    "a fragmented ping": (masked(9, b"", fin=False), 1002),
    "a long ping": (b"\x89\xfe\x00\x80" + KEY + b"x" * 128, 1002),
    "a wasteful length": (b"\x81\xfe\x00\x05" + KEY + b"hello", 1002),
    "a close of one byte": (masked(8, b"x"), 1002),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_data_closes_with_the_right_code(name: str, autojump_clock: trio.testing.MockClock) -> None:
    raw, code = BAD[name]
    ends: list[Closed] = []

    async def body(socket: Socket) -> None:
        assert await socket.receive() == "good"
        try:
            await socket.receive()
        except Closed as end:
            ends.append(end)
            raise

    async with conversation(body, LIMITS) as client:
        await client.stream.send_all(masked(1, b"good") + raw)
        assert await client.close_code() == code
    assert [end.code for end in ends] == [code]


async def test_a_client_that_closes_is_answered_and_its_code_is_known(autojump_clock: trio.testing.MockClock) -> None:
    ends: list[Closed] = []

    async def body(socket: Socket) -> None:
        assert await socket.receive() == "last words"
        try:
            await socket.receive()
        except Closed as end:
            ends.append(end)
        with pytest.raises(Closed):
            await socket.send("too late")

    async with conversation(body) as client:
        await client.stream.send_all(masked(1, b"last words") + masked(8, struct.pack("!H", 4001) + b"done"))
        assert await client.close_code() == 4001
    assert [(end.code, end.reason) for end in ends] == [(4001, "done")]


@pytest.mark.parametrize("polite", [True, False])
async def test_close_waits_for_the_answer_only_so_long(polite: bool, autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ended_by, socket, 4002)
            await trio.testing.wait_all_tasks_blocked()
            await socket.close(4002, "enough")
            await socket.close(1000)

    async with conversation(body, ServerSettings(close_timeout_s=2)) as client:
        assert await client.close_code() == 4002
        began = trio.current_time()
        if polite:
            await client.stream.send_all(masked(1, b"in flight") + masked(8, struct.pack("!H", 4002)))
        assert await client.stream.receive_some() == b""
    assert (trio.current_time() - began <= 0.2) == polite


async def ended_by(socket: Socket, code: int) -> None:
    """Receiving ends with `code`."""
    with pytest.raises(Closed) as end:
        await socket.receive()
    assert end.value.code == code


async def test_a_ping_during_the_close_does_no_harm(autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        await socket.close(1000)

    async with conversation(body) as client:
        assert await client.close_code() == 1000
        await client.stream.send_all(masked(9, b"still there?") + masked(8, struct.pack("!H", 1000)))


@pytest.mark.parametrize("raw", [b"", masked(1, b"half")[:5], masked(1, b"x" * 500, fin=False)])
async def test_a_vanished_client_is_1006(raw: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        await ended_by(socket, 1006)

    async with conversation(body) as client:
        if raw:
            await client.stream.send_all(raw)
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()


async def test_a_failed_conversation_closes_with_1011(autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        raise KeyError("a bug")

    with capture_logs() as logs:
        async with conversation(body) as client:
            assert await client.close_code() == 1011
    assert [(line["event"], line["errors"]) for line in logs] == [("conversation.crashed", ["KeyError"])]


# ---- time ------------------------------------------------------------------------------------------------------------


async def test_a_client_that_never_answers_pings_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        await ended_by(socket, 1001)

    async with conversation(body, ServerSettings(ping_interval_s=20, pong_timeout_s=60)) as client:
        assert await client.close_code() == 1001
        assert client.pings == 2
        assert 60 <= trio.current_time() <= 80


async def test_a_silent_client_that_answers_pings_is_idle_in_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        await ended_by(socket, 1001)

    async with conversation(body, ServerSettings(idle_timeout_s=300)) as client:

        async def pong() -> None:
            while True:
                await trio.sleep(15)
                await client.stream.send_all(masked(10, b""))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pong)
            assert await client.close_code() == 1001
            nursery.cancel_scope.cancel()
        assert 300 <= trio.current_time() <= 320


async def test_messages_in_one_send_keep_their_order_and_kind(autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        await socket.send("one", b"two", "three")

    async with conversation(body) as client:
        assert await client.to_end() == "one|b'two'|three|"


@asynccontextmanager
async def narrow(body: Body, limits: ServerSettings) -> AsyncIterator[Client]:
    """A conversation over a stream that takes nothing until the other side reads."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_socket, ours, HEAD, b"", None, limits, body)
        client = Client(theirs)
        await client.handshake()
        yield client


async def test_a_client_that_does_not_read_is_closed_with_1008(autojump_clock: trio.testing.MockClock) -> None:
    took: list[float] = []

    async def body(socket: Socket) -> None:
        began = trio.current_time()
        with pytest.raises(Closed) as end:
            await socket.send("x" * 100_000)
        took.append(trio.current_time() - began)
        assert end.value.code == 1008
        await ended_by(socket, 1008)

    async with narrow(body, ServerSettings(slow_client_s=5)):
        await trio.sleep(30)
    assert took == [pytest.approx(5)]


async def test_a_cancelled_send_is_completed_and_nothing_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    async def body(socket: Socket) -> None:
        with trio.move_on_after(1) as scope:
            await socket.send("first " * 1000)
        assert scope.cancelled_caught
        await socket.send("second")

    async with narrow(body, ServerSettings(slow_client_s=5)) as client:
        await trio.sleep(2)
        assert await client.to_end() == "first " * 1000 + "|second|"


async def test_a_receive_cancelled_inside_a_fragmented_message_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    got: list[str | bytes] = []

    async def body(socket: Socket) -> None:
        with trio.move_on_after(1):
            await socket.receive()
        await trio.sleep(1)
        await collect(socket, got)

    async with conversation(body) as client:
        await client.stream.send_all(masked(1, b"frag", fin=False))
        await trio.sleep(1.5)
        await client.stream.send_all(masked(0, b"ment") + masked(1, b"whole") + masked(8, b""))
        await client.close_code()
    assert got == ["fragment", "whole"]


async def test_a_flood_of_small_messages_lets_other_tasks_run(autojump_clock: trio.testing.MockClock) -> None:
    steps: list[int] = []
    got: list[str | bytes] = []

    async def other() -> None:
        while True:
            steps.append(len(got))
            await trio.lowlevel.checkpoint()

    async def body(socket: Socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            while len(got) < 1000:
                message = await socket.receive()
                got.append(message)
            nursery.cancel_scope.cancel()

    async with conversation(body) as client:
        await client.stream.send_all(masked(2, b"") * 1000)
        await client.close_code()
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 64  # 16, but Trio shuffles who is next


async def test_nothing_is_read_from_a_connection_that_got_the_number_of_a_closed_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = trio.socket.socketpair()
    others: list[socket.socket] = []
    heirs: list[socket.socket] = []
    wait_readable = trio.lowlevel.wait_readable

    async def wait_while_others_run(number: int) -> None:
        await wait_readable(number)
        await wire.abort()  # between the news that there is data and the reading
        while number not in [other.fileno() for other in others]:
            others.extend(socket.socketpair())
        heir = [other.fileno() for other in others].index(number)
        others[heir ^ 1].send(b"not yours")
        heirs.append(others[heir])

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_while_others_run)
    async with trio.open_nursery() as nursery:
        wire = Wire(trio.SocketStream(ours), nursery, 1.0)
        await theirs.send(b"x")
        with pytest.raises(Lost):
            await wire.read()
        assert [heir.recv(100, socket.MSG_DONTWAIT) for heir in heirs] == [b"not yours"]
    for end in (*others, theirs):
        end.close()
