"""One port for everything, on real sockets."""

from __future__ import annotations

import resource
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
import trio_websocket
from structlog.testing import capture_logs

from aura.core.errors import ConfigError
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.server.auth import Gate
from aura.server.drain import Drain, drain_on_signal
from aura.server.handshake import Request
from aura.server.http import pages
from aura.server.listener import Handler, open_listeners, serve
from aura.server.settings import ServerSettings
from aura.server.socket import Closed, Socket
from tests.ws_client import HEAD, Client, masked

LIMITS = ServerSettings(port=0, close_timeout_s=0.2)


async def parrot(socket: Socket, request: Request) -> None:
    """Sends everything back."""
    while True:
        await socket.send(await socket.receive())


class Running(msgspec.Struct):
    port: int
    metrics: Metrics
    drain: Drain


@asynccontextmanager
async def running(
    handler: Handler = parrot, limits: ServerSettings = LIMITS, gate: Gate | None = None
) -> AsyncIterator[Running]:
    """A server on a free port."""
    metrics, drain = Metrics(), Drain()
    app = pages(Health(), metrics, drain)

    async def start(task_status: trio.TaskStatus[int]) -> None:
        await serve(limits, handler, app, drain=drain, metrics=metrics, gate=gate, task_status=task_status)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            yield Running(await nursery.start(start), metrics, drain)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[trio.SocketStream]:
    """A bare connection."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield stream


async def read_all(stream: trio.abc.Stream) -> bytes:
    """Everything until the server hangs up."""
    data = b""
    while part := await stream.receive_some():
        data += bytes(part)
    return data


async def answer_to(port: int, raw: bytes) -> bytes:
    """Send and read to the end."""
    async with connect(port) as stream:
        await stream.send_all(raw)
        return await read_all(stream)


async def greet(stream: trio.SocketStream) -> Client:
    """The WebSocket handshake."""
    await stream.send_all(HEAD)
    client = Client(stream)
    await client.handshake()
    return client


async def closed(server: Running) -> None:
    """Wait until no conversation is left."""
    while server.metrics.value("conversations_open"):  # noqa: ASYNC110  (a number, not an event)
        await trio.sleep(0.01)


async def closed_once(server: Running) -> None:
    """Wait until one conversation has come and gone."""
    while not server.metrics.value("conversation_seconds"):  # noqa: ASYNC110  (a number, not an event)
        await trio.sleep(0.01)


def long_frame(size: int) -> bytes:
    """The header of a long binary frame, with the key zero."""
    return b"\x82\xff" + size.to_bytes(8, "big") + bytes(4)


async def test_http_and_websocket_share_the_port() -> None:
    async with running() as server:
        answer = await answer_to(server.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        url = f"ws://127.0.0.1:{server.port}/v1/realtime?model=aura"
        async with trio_websocket.open_websocket_url(url, subprotocols=["realtime", "x"]) as ws:
            assert ws.subprotocol == "realtime"
            for message in ("text", b"binary", "ä" * 1000, b"x" * 200_000):
                await ws.send_message(message)
                assert await ws.get_message() == message
        await closed(server)
        assert server.metrics.value("conversations") == 1
        assert server.metrics.value("bytes_received") > 200_000 < server.metrics.value("bytes_sent")


@pytest.mark.parametrize(
    ("old", "new", "status", "code"),
    [
        (b"/v1/realtime", b"/v9/realtime", 404, b"unknown_path"),
        (b"Version: 13", b"Version: 7", 426, b"websocket_version"),
        (b"Host: localhost", b"Host: localhost\r\nOrigin: https://evil.example", 403, b"origin_not_allowed"),
        (b"HTTP/1.1", b"SMTP", 400, b"bad_request"),
    ],
)
async def test_refused_upgrades(old: bytes, new: bytes, status: int, code: bytes) -> None:
    async with running() as server:
        answer = await answer_to(server.port, HEAD.replace(old, new))
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b'"code":"%s"' % code in answer
        if status == 403:
            assert b"server.origins" in answer


async def test_conversations_beyond_the_limit_get_503() -> None:
    async with running(limits=msgspec.structs.replace(LIMITS, conversations_max=1)) as server:
        async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{server.port}/realtime"):
            answer = await answer_to(server.port, HEAD)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 10" in answer
        await closed(server)
        async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{server.port}/realtime"):
            pass
        assert server.metrics.value("conversations_refused", "too_many_conversations") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux counts it")
async def test_a_message_of_100_mb_is_refused_and_not_collected() -> None:
    peak_before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with running() as server, connect(server.port) as stream:
        client = await greet(stream)
        await stream.send_all(long_frame(100 << 20))
        with trio.move_on_after(0.1):
            while True:
                await stream.send_all(bytes(65536))
        assert await client.close_code() == 1009
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_before_kib < 20_000


async def test_a_long_message_does_not_block_the_loop(no_stalls: object) -> None:
    async with running() as server, connect(server.port) as stream:
        await greet(stream)
        await stream.send_all(long_frame(1_000_000) + bytes(1_000_000))
        got = 0
        while got < 1_000_000:
            got += len(await stream.receive_some())


async def test_a_client_that_never_reads_is_closed() -> None:
    ends: list[Closed] = []

    async def shout(socket: Socket, request: Request) -> None:
        try:
            while True:
                await socket.send("x" * 50_000)
        except Closed as end:
            ends.append(end)

    with capture_logs() as logs:
        async with running(shout, msgspec.structs.replace(LIMITS, slow_client_s=0.2)) as server:
            async with connect(server.port) as stream:
                await stream.send_all(HEAD)
                await closed_once(server)
            assert server.metrics.value("clients_slow") == 1
    assert ends[0].code == 1008
    assert "client.slow" in {line["event"] for line in logs}


async def test_everything_sent_arrives_when_the_client_reads_late() -> None:
    async def flood(socket: Socket, request: Request) -> None:
        for number in range(200):
            await socket.send(f"{number:05}" + "x" * 30_000)

    async with running(flood) as server, connect(server.port) as stream:
        client = await greet(stream)
        await trio.sleep(0.1)
        got = (await client.to_end()).split("|")
    assert [int(message[:5]) for message in got[:-1]] == list(range(200))


async def test_vanishing_clients_leave_nothing_behind() -> None:
    async with running() as server:
        for raw in (b"", b"GET / HT", HEAD, HEAD + masked(1, b"half")[:4]):
            async with connect(server.port) as stream:
                if raw:
                    await stream.send_all(raw)
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await trio.sleep(0.05)
        assert server.metrics.value("conversations_open") == 0
        async with trio_websocket.open_websocket_url(f"ws://127.0.0.1:{server.port}/realtime") as ws:
            await ws.send_message("still here")
            assert await ws.get_message() == "still here"


async def test_a_crashing_conversation_closes_with_1011_and_the_server_lives() -> None:
    async def crash(socket: Socket, request: Request) -> None:
        raise RuntimeError("a bug")

    with capture_logs() as logs:
        async with running(crash) as server:
            for number in (1, 2):
                async with connect(server.port) as stream:
                    assert await (await greet(stream)).close_code() == 1011
                    assert await stream.receive_some() == b""
                assert [line["event"] for line in logs if line["log_level"] == "error"] == [
                    "conversation.crashed"
                ] * number


async def test_a_drain_refuses_new_conversations_and_ends_the_old_ones() -> None:
    async with running() as server, connect(server.port) as stream:
        client = await greet(stream)
        server.drain.begin(0.3)
        assert b"shutting_down" in await answer_to(server.port, HEAD)
        ready = await answer_to(server.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert ready.startswith(b"HTTP/1.1 503")
        await stream.send_all(masked(1, b"still served"))
        assert await client.to_end() == "still served|"
        assert client.code == 1001


@pytest.mark.parametrize("busy", [True, False])
async def test_a_second_signal_and_an_empty_server_end_the_drain_at_once(busy: bool) -> None:
    async with trio.open_nursery() as nursery:
        drain = Drain()
        await nursery.start(drain_on_signal, drain, 60)
        began = trio.current_time()
        async with trio.open_nursery() as servers:
            port = await servers.start(serve_with, drain)
            if busy:
                async with connect(port) as stream:
                    client = await greet(stream)
                    signal.raise_signal(signal.SIGTERM)
                    await drain.begun()
                    signal.raise_signal(signal.SIGINT)
                    assert await client.close_code() == 1001
            else:
                signal.raise_signal(signal.SIGTERM)
        assert trio.current_time() - began < 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("number", "setting", "code"),
    [(signal.SIGTERM, 1001, 1001), (signal.SIGTERM, 1012, 1012), (signal.SIGHUP, 1001, 1012)],
)
async def test_clients_are_told_whether_the_server_comes_back(number: signal.Signals, setting: int, code: int) -> None:
    async with trio.open_nursery() as nursery:
        drain = Drain()
        await nursery.start(drain_on_signal, drain, 0.05, setting)
        async with trio.open_nursery() as servers:
            port = await servers.start(serve_with, drain)
            async with connect(port) as stream:
                client = await greet(stream)
                signal.raise_signal(number)
                assert await client.close_code() == code
        nursery.cancel_scope.cancel()


async def test_a_process_that_ignores_hangups_still_does() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with trio.open_nursery() as nursery:
            drain = Drain()
            await nursery.start(drain_on_signal, drain, 60)
            signal.raise_signal(signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked()
            assert not drain.draining
            nursery.cancel_scope.cancel()
    finally:
        signal.signal(signal.SIGHUP, before)


async def serve_with(drain: Drain, *, task_status: trio.TaskStatus[int]) -> None:
    """A server that ends with `drain`."""
    await serve(LIMITS, parrot, pages(Health(), Metrics(), drain), drain=drain, task_status=task_status)


async def test_a_taken_port_is_one_clear_line() -> None:
    async with running() as server:
        with pytest.raises(ConfigError, match=rf"^port {server.port} is taken: choose another with --port$"):
            await open_listeners(ServerSettings(port=server.port))


@pytest.mark.parametrize(
    "bad",
    [
        ServerSettings(host="203.0.113.77", port=0),
        ServerSettings(host="no-such-host.invalid", port=0),
        ServerSettings(port=0, tls_cert="only-one.pem"),
        ServerSettings(port=0, tls_cert="missing.pem", tls_key="missing.pem"),
    ],
)
async def test_settings_that_cannot_work_are_config_errors(bad: ServerSettings) -> None:
    with pytest.raises(ConfigError):
        await open_listeners(bad)


async def test_tls(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme", reason="needs the package trustme")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    limits = msgspec.structs.replace(LIMITS, tls_cert=str(cert), tls_key=str(key))
    async with running(limits=limits) as server:
        url = f"wss://localhost:{server.port}/realtime"
        async with trio_websocket.open_websocket_url(url, ssl_context=context) as ws:
            for message in ("text", b"x" * 300_000):
                await ws.send_message(message)
                assert await ws.get_message() == message
        plain = await answer_to(server.port, HEAD)
        assert not plain.startswith(b"HTTP/1.1 101")
