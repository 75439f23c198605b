"""How WebSockets to engines end in the middle, and what whoever uses them is told."""

from __future__ import annotations

import struct

import pytest
import trio

from aura.core import errors
from aura.providers.ws import Ws, WsLimits
from aura.providers.ws_errors import from_close
from tests.ws_bytes import accepted, dialled, frame, idle, read_frames

CLOSES: list[tuple[int, str, type[errors.ProviderError]]] = [
    (1000, "", errors.StreamCut),
    (1001, "quota of goodbyes", errors.StreamCut),
    (1008, "Invalid API key", errors.AuthFailed),
    (1008, "", errors.AuthFailed),
    (1008, "max_active_conversations", errors.RateLimited),
    (1008, "Too many concurrent sessions", errors.RateLimited),
    (1008, "quota_exceeded", errors.QuotaExhausted),
    (1008, "DATA-0000: cannot decode", errors.BadRequest),
    (1011, "", errors.Unavailable),
    (1011, "NET-0001: no audio within 10 s", errors.StreamCut),
    (1013, "", errors.Unavailable),
    (1002, "invalid", errors.StreamCut),
    (1003, "", errors.BadRequest),
    (4001, "", errors.AuthFailed),
    (4029, "", errors.RateLimited),
    (4777, "", errors.StreamCut),
]


@pytest.mark.parametrize(("code", "reason", "kind"), CLOSES)
async def test_close_codes_become_errors_after_what_came_before(
    code: int, reason: str, kind: type[errors.ProviderError]
) -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head) + frame(1, b"last words"))
        await stream.send_all(frame(8, struct.pack("!H", code) + reason.encode()))
        await trio.sleep_forever()

    async with dialled(script) as ws:
        assert await ws.receive(trio.current_time() + 1) == "last words"
        for use in (lambda: ws.receive(trio.current_time() + 1), lambda: ws.send("more"), ws.receive):
            with pytest.raises(errors.ProviderError) as caught:
                await use()
            assert type(caught.value) is kind
        assert (ws.closed, ws.close_code) == (True, code)
        assert str(code) in str(caught.value)


BROKEN: dict[str, bytes] = {
    "cut": b"",
    "half a frame": frame(1, b"hello")[:4],
    "reserved opcode": frame(7, b""),
    "masked by a server": b"\x81\x81\x00\x00\x00\x00x",
    "no UTF-8": frame(1, b"\xff\xfe"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_cut_or_broken_connection_is_an_error(case: str) -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head) + BROKEN[case])
        if case not in ("cut", "half a frame"):
            await trio.sleep_forever()

    async with dialled(script) as ws:
        with pytest.raises(errors.StreamCut, match="connection was"):
            await ws.receive(trio.current_time() + 1)
        with pytest.raises(errors.StreamCut):
            await ws.send("more")


async def test_a_message_beyond_the_limit_ends_the_connection() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head) + frame(1, b"x" * 2000))
        await trio.sleep_forever()

    limits = WsLimits(connect_s=0.5, max_message_bytes=1000, close_s=0.1)
    async with dialled(script, limits) as ws:
        with pytest.raises(errors.BadRequest, match="1009"):
            await ws.receive(trio.current_time() + 1)


async def test_silence_ends_at_the_receivers_deadline_and_the_connection_lives() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head))
        await trio.sleep(0.2)
        await stream.send_all(frame(1, b"late"))
        await trio.sleep_forever()

    async with dialled(script) as ws:
        with pytest.raises(errors.TimedOut, match="silent"):
            await ws.receive(trio.current_time() + 0.05)
        assert await ws.receive(trio.current_time() + 1) == "late"


async def test_an_engine_that_answers_no_ping_is_given_up() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head))
        await trio.sleep_forever()

    limits = WsLimits(connect_s=0.5, ping_s=0.1, pong_s=0.1, close_s=0.1)
    async with dialled(script, limits) as ws:
        with pytest.raises(errors.StreamCut, match="ping"), trio.fail_after(1):
            await ws.receive()
        with pytest.raises(errors.StreamCut, match="ping"):
            await ws.send("more")


async def test_an_engine_that_answers_pings_is_kept() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head))
        while frames := await read_frames(stream, 9):
            await stream.send_all(frame(10, frames[-1][1]))

    limits = WsLimits(connect_s=0.5, ping_s=0.05, pong_s=0.1, close_s=0.1)
    async with dialled(script, limits) as ws:
        with pytest.raises(errors.TimedOut):
            await ws.receive(trio.current_time() + 0.5)
        assert not ws.closed


async def test_who_does_not_receive_is_not_taken_for_a_dead_engine() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head) + frame(1, b"x") * 100)
        await trio.sleep_forever()

    limits = WsLimits(connect_s=0.5, ping_s=0.05, pong_s=0.05, close_s=0.1)
    async with dialled(script, limits) as ws:
        await trio.sleep(0.4)
        assert [await ws.receive() for _ in range(100)] == ["x"] * 100


async def test_an_engine_that_takes_nothing_in_is_given_up() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head))
        await trio.sleep_forever()

    async with dialled(script, WsLimits(connect_s=0.5, send_s=0.2, close_s=0.1)) as ws:
        with pytest.raises(errors.TimedOut, match="take in"):  # noqa: PT012
            for _ in range(100):
                await ws.send(bytes(1 << 20))
        assert ws.closed


async def test_a_send_that_is_cancelled_before_its_first_byte_breaks_nothing() -> None:
    got: list[tuple[int, bytes]] = []

    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head))
        got.extend(await read_frames(stream, 8))

    async with dialled(script) as ws:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ws.send("never")
        await ws.send("then")
    await trio.sleep(0.05)
    assert got[0] == (1, b"then")


async def test_an_aborted_connection_says_why_to_everybody() -> None:
    async with dialled(idle) as ws, trio.open_nursery() as nursery:
        nursery.start_soon(_expect, ws)
        await trio.sleep(0.05)
        ws.abort(errors.RateLimited("fake: slower"))


async def _expect(ws: Ws) -> None:
    with pytest.raises(errors.RateLimited, match="slower"):
        await ws.receive()


def test_a_reason_never_shows_a_key() -> None:
    assert "abcdefgh" not in str(from_close("fake", 1008, "bad key sk-abcdefgh"))
