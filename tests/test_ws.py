"""WebSockets to engines against servers of bytes: every failure has its error, nothing hangs or is wrapped."""

from __future__ import annotations

import ssl
import struct

import pytest
import trio
import trustme

from aura.core import errors
from aura.providers.ws import connect
from tests.ws_bytes import QUICK, accepted, address, dialled, engine, frame, idle, read_frames

# ---- what goes well ----------------------------------------------------------------------------------------------


async def test_texts_and_bytes_go_both_ways_and_the_goodbye_is_said() -> None:
    got: list[tuple[int, bytes]] = []
    heads: list[bytes] = []
    over = trio.Event()

    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        heads.append(head)
        await stream.send_all(accepted(head, "X-Left: 7") + frame(1, "grüße".encode()) + frame(2, b"\x01\x02"))
        got.extend(await read_frames(stream, 8))
        await stream.send_all(frame(8, struct.pack("!H", 1000)))
        over.set()

    async with engine(script) as port:
        query = {"a": "1", "keyterm": ["x y", "z"]}
        async with connect(address(port), "/stt", query, {"authorization": "Bearer k"}, name="fake") as ws:
            assert ws.headers["x-left"] == "7"
            assert await ws.receive() == "grüße"
            assert await ws.receive(trio.current_time() + 1) == b"\x01\x02"
            await ws.send("hello")
            await ws.send(b"\x00\xff")
            assert not ws.closed
        with trio.fail_after(1):
            await over.wait()
    assert heads[0].startswith(b"GET /v1/stt?a=1&keyterm=x+y&keyterm=z HTTP/1.1\r\n")
    assert b"authorization: Bearer k\r\n" in heads[0]
    assert got == [(1, b"hello"), (2, b"\x00\xff"), (8, struct.pack("!H", 1000))]


async def test_tls_with_a_certificate_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)

    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head) + frame(1, b"safe"))
        await read_frames(stream, 8)

    async with engine(script, server) as port:
        with pytest.raises(errors.Unavailable, match="no TLS connection"):
            async with connect(address(port, "https"), "/x", {}, {}, name="fake", limits=QUICK):
                pass
        with authority.cert_pem.tempfile() as path:
            monkeypatch.setenv("SSL_CERT_FILE", path)
            async with connect(address(port, "https"), "/x", {}, {}, name="fake", limits=QUICK) as ws:
                assert await ws.receive(trio.current_time() + 1) == "safe"


async def test_an_engine_that_does_not_answer_the_goodbye_is_left_after_a_moment() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head))
        await trio.sleep_forever()

    async with dialled(script):
        left_at = trio.current_time()
    assert trio.current_time() - left_at < 0.3


async def test_a_ping_of_the_engine_is_answered_also_after_the_goodbye() -> None:
    got: list[tuple[int, bytes]] = []

    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(accepted(head) + frame(9, b"you?"))
        got.extend(await read_frames(stream, 8))
        await stream.send_all(frame(9, b"late") + frame(8, b""))
        await trio.sleep_forever()

    async with dialled(script):
        await trio.sleep(0.05)
    assert (10, b"you?") in got


# ---- what the inside raises --------------------------------------------------------------------------------------


async def test_an_exception_of_the_inside_comes_out_as_it_was() -> None:
    cause = KeyError("why")
    with pytest.raises(ZeroDivisionError) as caught:
        async with dialled(idle):
            raise ZeroDivisionError from cause
    assert caught.value.__cause__ is cause


async def test_a_deadline_of_the_inside_stays_a_deadline() -> None:
    with trio.move_on_after(0.1) as scope:
        async with dialled(idle) as ws:
            await ws.receive()
    assert scope.cancelled_caught


async def test_cancelling_while_connecting_passes() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(0.1) as scope:
        async with dialled(script):
            pass
    assert scope.cancelled_caught


async def test_a_failure_while_cancelled_does_not_swallow_the_cancellation() -> None:
    async with engine(idle) as port, trio.open_nursery() as nursery:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with connect(address(port), "/x", {}, {}, name="fake", limits=QUICK):
                nursery.cancel_scope.cancel()
                raise ZeroDivisionError
    assert nursery.cancel_scope.cancelled_caught or nursery.cancel_scope.cancel_called


# ---- the handshake fails ------------------------------------------------------------------------------------------


def http(status: int, body: bytes, *more: str, length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *more, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


REFUSALS: dict[str, tuple[bytes, type[errors.ProviderError], str]] = {
    "401": (
        http(401, b'{"error":{"message":"Incorrect API key","code":"invalid_api_key"}}'),
        errors.AuthFailed,
        "Incorrect API key",
    ),
    "401 without a body": (http(401, b""), errors.AuthFailed, "HTTP 401"),
    "401 whose body ends with the connection": (
        http(401, b"no such key", "Connection: close", length=False),
        errors.AuthFailed,
        "no such key",
    ),
    "403": (http(403, b"forbidden"), errors.AuthFailed, "forbidden"),
    "404 page": (http(404, b"<html><title>Not here</title></html>"), errors.BadRequest, "Not here"),
    "429 wait": (http(429, b'{"error":{"code":"slow_down"}}', "Retry-After: 3"), errors.RateLimited, "slow_down"),
    "429 quota": (http(429, b'{"error":{"code":"insufficient_quota"}}'), errors.QuotaExhausted, "insufficient"),
    "503": (http(503, b"busy"), errors.Unavailable, "busy"),
    "200": (http(200, b"hello"), errors.BadRequest, "HTTP 200"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", errors.Unavailable, "hung up"),
    "wrong key": (
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
        errors.Unavailable,
        "hung up",
    ),
    "nothing": (b"", errors.Unavailable, "hung up"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refused_handshake_says_why(case: str) -> None:
    answer, kind, words = REFUSALS[case]

    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(answer)

    with pytest.raises(kind, match=words) as caught, trio.fail_after(2):
        async with dialled(script):
            pass
    assert caught.value.provider == "fake"
    assert (caught.value.retry_after_s == 3) is (case == "429 wait")


async def test_a_refusal_whose_body_never_ends_says_why_at_the_deadline() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await stream.send_all(http(401, b"x")[:-1])
        await trio.sleep_forever()

    with pytest.raises(errors.AuthFailed):
        async with dialled(script):
            pass


async def test_nobody_listens() -> None:
    async with engine(idle) as port:
        pass
    with pytest.raises(errors.Unavailable, match="cannot connect"):
        async with connect(address(port), "/x", {}, {}, name="fake", limits=QUICK):
            pass


async def test_silence_in_the_handshake_ends_at_the_deadline() -> None:
    async def script(stream: trio.abc.Stream, head: bytes) -> None:
        await trio.sleep_forever()

    with pytest.raises(errors.TimedOut, match="no WebSocket"):
        async with dialled(script):
            pass


@pytest.mark.parametrize("key", ["two\nlines", "ключ", "nul\0"])
async def test_a_key_that_cannot_be_sent_is_not_told(key: str) -> None:
    async with engine(idle) as port:
        with pytest.raises(errors.BadRequest, match="header") as caught:
            async with connect(address(port), "/x", {}, {"authorization": key}, name="fake", limits=QUICK):
                pass
    assert key not in str(caught.value)
