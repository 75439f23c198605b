"""A conversation's connections come, break off and come back; none of them is left waiting when it is over."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from aura.server.resume import Attached, Lines, SocketLine
from aura.server.socket import Closed
from aura.session.line import Back, Ended, Interrupted, Lost


class Wire:
    """A client's connection; closing it takes as long as that of a client that does not answer."""

    def __init__(self) -> None:
        self.put, self._messages = trio.open_memory_channel[str | Closed](10)
        self.closed: tuple[int, str] | None = None
        self.messages_in = 0
        self.sent: list[str] = []

    async def send(self, *messages: str) -> None:
        self.sent += messages

    async def receive(self) -> str:
        message = await self._messages.receive()
        if isinstance(message, Closed):
            raise message
        return message

    async def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        await trio.sleep(5.0)


def line_of(lines: Lines, wire: Wire, ident: str = "sess_1") -> SocketLine:
    return SocketLine(Attached(wire), lines, ident, "")  # type: ignore[arg-type]


def attached(wire: Wire) -> Attached:
    return Attached(wire)  # type: ignore[arg-type]


async def test_a_client_that_comes_while_its_conversation_is_being_closed_gets_a_new_one(
    autojump_clock: MockClock,
) -> None:
    lines = Lines(20.0, 10)
    line = line_of(lines, Wire())
    leave = lines.enter(line, "conv_1")
    assert lines.find("conv_1", "") is line
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.close, 1001, "expired")
        await trio.sleep(1.0)
        assert lines.find("conv_1", "") is None
        assert lines.find("sess_1", "") is None
    leave()


async def test_a_client_that_comes_when_the_grace_is_over_gets_a_new_one(autojump_clock: MockClock) -> None:
    lines, wire = Lines(20.0, 10), Wire()
    line = line_of(lines, wire)
    lines.enter(line, "conv_1")
    wire.put.send_nowait(Closed(1006, ""))
    assert isinstance(await line.receive(), Lost)
    with pytest.raises(Ended):
        await line.receive()
    assert lines.find("sess_1", "") is None


async def test_a_connection_that_another_one_replaces_may_hang_up(autojump_clock: MockClock) -> None:
    lines, first, second = Lines(20.0, 10), Wire(), Wire()
    line = line_of(lines, first)
    lines.enter(line, "conv_1")
    async with trio.open_nursery() as nursery:

        async def come_and_hang_up() -> None:
            await trio.sleep(1.0)
            first.put.send_nowait(Closed(1000, ""))  # both before the conversation's task goes on
            line.take_over(attached(second), Back("item", 100))

        nursery.start_soon(come_and_hang_up)
        assert isinstance(await line.receive(), Lost)
    assert await line.receive() == Back("item", 100)
    second.put.send_nowait("hello")
    assert await line.receive() == "hello"


async def test_all_that_wait_are_let_go_of_when_it_is_over(autojump_clock: MockClock) -> None:
    lines, wires = Lines(20.0, 10), [Wire() for _ in range(3)]
    line = line_of(lines, wires[0])
    second, third = attached(wires[1]), attached(wires[2])
    line.take_over(second, Back())
    line.take_over(third, Back())
    with trio.fail_after(20.0):
        await line.close(1001, "bye")
        await second.released.wait()
        await third.released.wait()
    assert wires[2].closed == (1001, "bye")


@pytest.mark.parametrize(
    ("end", "comes_back"),
    [
        (Closed(1006, ""), True),
        (Closed(4001, ""), True),
        (Closed(1001, "no answer to a ping for 60 s"), True),
        (Closed(1008, "the client did not read for 5 s"), True),  # its network is gone while a reply is spoken
        (Closed(1008, "rate_limit_error.rate_limit_exceeded"), False),
        (Closed(1001, "no message for 600 s"), False),
        (Closed(1000, ""), False),
    ],
)
async def test_who_was_cut_off_is_waited_for_and_who_left_is_not(end: Closed, comes_back: bool) -> None:
    wire = Wire()
    line = line_of(Lines(20.0, 10), wire)
    wire.put.send_nowait(end)
    if comes_back:
        assert isinstance(await line.receive(), Lost)
    else:
        with pytest.raises(Ended):
            await line.receive()


async def test_what_is_meant_for_a_connection_that_is_gone_again_does_not_reach_the_next_one(
    autojump_clock: MockClock,
) -> None:
    lines, wires = Lines(20.0, 10), [Wire() for _ in range(3)]
    line = line_of(lines, wires[0])
    for wire in wires[1:]:  # the second comes back before anything was sent to the first
        line.take_over(attached(wire), Back())
        assert isinstance(await line.receive(), Lost)
        assert isinstance(await line.receive(), Back)
    line.switch()
    with pytest.raises(Interrupted):
        await line.send("for the second")
    line.switch()
    await line.send("for the third")
    assert [wire.sent for wire in wires] == [[], [], ["for the third"]]
