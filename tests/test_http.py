"""HTTP: pages, health and metrics over h11, with broken and malicious clients (in memory, no real sockets)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.server.bridge import AsgiApp, HttpConnection, Message, run_http
from aura.server.drain import Drain
from aura.server.handshake import Refusal, Request, check_origin, check_upgrade, choose_subprotocol, parse
from aura.server.http import LazyApp, pages
from aura.server.settings import ServerSettings

HEALTH, METRICS, DRAIN = Health(), Metrics(), Drain()
APP = pages(HEALTH, METRICS, DRAIN)


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes


async def run(stream: trio.abc.Stream, app: AsgiApp, limits: ServerSettings) -> None:
    """What the listener does for plain HTTP."""
    http = HttpConnection(stream, limits)
    try:
        await run_http(http, await http.first_request(), app, ("127.0.0.1", 1), "http")
    except Refusal as refusal:
        await http.refuse(refusal)
    await stream.aclose()


@asynccontextmanager
async def client(app: AsgiApp = APP, limits: ServerSettings | None = None) -> AsyncIterator[trio.abc.Stream]:
    """The client's end of a connection."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, ours, app, limits or ServerSettings())
        yield theirs
        await theirs.aclose()


async def read_answer(stream: trio.abc.Stream, method: str = "GET") -> Answer:
    """One answer, read by h11 as a client."""
    ws = h11.Connection(h11.CLIENT)
    ws.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
    ws.send(h11.EndOfMessage())
    answer = Answer(0, {}, b"")
    while True:
        event = ws.next_event()
        if event is h11.NEED_DATA:
            ws.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Response):
            answer.status = event.status_code
            answer.headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            answer.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return answer


async def ask(method: str, path: str, app: AsgiApp = APP, **headers: str) -> Answer:
    """One request on a connection of its own."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    async with client(app) as stream:
        await stream.send_all(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        return await read_answer(stream, method)


def error_of(answer: Answer) -> tuple[int, str]:
    """Status and code of an error in OpenAI's shape."""
    error = msgspec.json.decode(answer.body)["error"]
    assert set(error) == {"message", "type", "code"}
    assert error["message"]
    return answer.status, error["code"]


# ---- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing-here", (404, "not_found")),
        ("POST", "/healthz", (405, "method_not_allowed")),
        ("DELETE", "/", (405, "method_not_allowed")),
        ("GET", "/../../etc/passwd", (404, "not_found")),
        ("GET", "/%2e%2e/config.py", (404, "not_found")),
    ],
)
async def test_what_is_not_there_is_a_json_error(method: str, path: str, expected: tuple[int, str]) -> None:
    assert error_of(await ask(method, path)) == expected


async def test_health_readiness_and_metrics() -> None:
    health, drain, metrics = Health(), Drain(), Metrics()
    app = pages(health, metrics, drain)
    metrics.add("turns")
    state: list[str | None] = ["starting"]
    health.add("stt workers", lambda: state[0])
    busy = await ask("GET", "/readyz", app)
    assert (busy.status, msgspec.json.decode(busy.body)["reasons"]) == (503, {"stt workers": "starting"})
    state[0] = None
    assert (await ask("GET", "/readyz", app)).status == 200
    drain.begin(1)
    assert (await ask("GET", "/readyz", app)).status == 503
    assert (await ask("GET", "/healthz", app)).status == 200
    scraped = await ask("GET", "/metrics", app)
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"aura_turns_total 1.0" in scraped.body


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    head, get = await ask("HEAD", "/healthz"), await ask("GET", "/healthz")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", get.headers["content-length"])


async def test_every_answer_has_the_security_headers() -> None:
    for path in ("/healthz", "/nothing"):
        headers = (await ask("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


# ---- the protocol ----------------------------------------------------------------------------------------------------


async def echo(scope: Message, receive: object, send: object) -> None:
    """An ASGI application that answers with the body it got."""
    assert callable(receive)
    assert callable(send)
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b"."})


async def test_keep_alive_and_pipelining() -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    async with client(echo) as stream:
        await stream.send_all(one + one)
        answers = b""
        while answers.count(b"\r\n0\r\n\r\n") < 2:
            answers += bytes(await stream.receive_some(65536))
        assert answers.count(b"HTTP/1.1 200") == 2
        await stream.send_all(one)
        assert (await read_answer(stream)).body == b"hi."


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", (400, "bad_request")),
        (b"GET / HTTP/1.1\r\n\r\n", (400, "bad_request")),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000, (431, "request_head_too_large")),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + b"y" * 1_100_000, (413, "body_too_large")),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (400, "bad_request")),
        (b"GET /slow-loris HTTP/1.1\r\nHost", (408, "request_timeout")),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhi", (408, "request_timeout")),
    ],
)
async def test_bad_requests_get_a_json_error(
    raw: bytes, expected: tuple[int, str], autojump_clock: trio.testing.MockClock
) -> None:
    async with client(echo) as stream:
        await stream.send_all(raw)
        assert error_of(await read_answer(stream)) == expected
        assert await stream.receive_some() == b""


async def test_a_failing_application_is_a_500_and_the_log_knows() -> None:
    async def broken(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("a bug")

    assert error_of(await ask("GET", "/", broken)) == (500, "internal_error")


async def test_an_idle_connection_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with client(echo, ServerSettings(keepalive_s=75)) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_answer(stream)
        assert await stream.receive_some() == b""
        assert trio.current_time() == pytest.approx(75, abs=1)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_never_break_the_server(junk: bytes, http: bool) -> None:
    async def main() -> None:
        async with client(echo) as stream:
            await stream.send_all((b"GET / HTTP/1.1\r\nHost: x\r\n" if http else b"") + junk)
            await trio.testing.wait_all_tasks_blocked()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_lazy_application_is_built_once() -> None:
    built: list[int] = []

    def build() -> AsgiApp:
        built.append(1)
        return echo

    app = LazyApp(build)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask, "GET", "/", app)
    assert built == [1]


# ---- the handshake ---------------------------------------------------------------------------------------------------


def upgrade(path: str = "/v1/realtime", **headers: str) -> Request:
    """A good upgrade request with changes."""
    good = {
        "host": "aura.example",
        "upgrade": "websocket",
        "connection": "keep-alive, Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in good.items()]
    return parse(b"GET", path.encode(), pairs)


def refusal_of(request: Request, allowed: tuple[str, ...] = (), listen: str = "0.0.0.0") -> str:
    """The refusal's code, or ok."""
    try:
        check_upgrade(request)
        check_origin(request, allowed, listen)
    except Refusal as refusal:
        return refusal.code
    return "ok"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (upgrade(), "ok"),
        (upgrade("/realtime?model=x"), "ok"),
        (upgrade("/openai/v1/realtime?model=x"), "ok"),
        (upgrade("/openai/realtime?api-version=2025-08-28&deployment=x"), "ok"),
        (upgrade("/other"), "unknown_path"),
        (upgrade(sec_websocket_version="8"), "websocket_version"),
        (upgrade(sec_websocket_key="short"), "bad_handshake"),
    ],
)
def test_upgrades_are_judged(request_: Request, expected: str) -> None:
    assert refusal_of(request_) == expected


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/openai/realtime?api-version=2025-08-28&deployment=mine", "mine"),
        ("/openai/realtime?deployment=mine&model=other", "other"),
        ("/v1/realtime?deployment=mine", None),
    ],
)
def test_azure_names_the_model_deployment(path: str, model: str | None) -> None:
    assert upgrade(path).query.get("model") == model


@pytest.mark.parametrize(
    ("origin", "allowed", "listen", "expected"),
    [
        ("http://localhost:3000", (), "127.0.0.1", "ok"),
        ("http://127.0.0.9", (), "0.0.0.0", "ok"),
        ("http://[::1]:8080", (), "0.0.0.0", "ok"),
        ("https://aura.example", (), "0.0.0.0", "ok"),
        ("https://aura.example", (), "127.0.0.1", "origin_not_allowed"),
        ("https://aura.example:444", (), "0.0.0.0", "origin_not_allowed"),
        ("https://evil.example", (), "0.0.0.0", "origin_not_allowed"),
        ("http://localhost.evil.example", (), "0.0.0.0", "origin_not_allowed"),
        ("null", (), "0.0.0.0", "origin_not_allowed"),
        ("http://[broken", (), "0.0.0.0", "origin_not_allowed"),
        ("https://app.example", ("https://app.example/",), "0.0.0.0", "ok"),
        ("http://localhost", ("https://app.example",), "0.0.0.0", "origin_not_allowed"),
        ("null", ("*",), "0.0.0.0", "ok"),
    ],
)
def test_origins(origin: str, allowed: tuple[str, ...], listen: str, expected: str) -> None:
    assert refusal_of(upgrade(origin=origin), allowed, listen) == expected


def test_the_realtime_subprotocol_is_selected_when_offered() -> None:
    offered = upgrade(sec_websocket_protocol="realtime, openai-insecure-api-key.abc")
    assert offered.subprotocols == ("realtime", "openai-insecure-api-key.abc")
    assert choose_subprotocol(offered) == "realtime"
    assert choose_subprotocol(upgrade()) is None


def test_the_query_is_decoded_and_the_last_value_counts() -> None:
    assert upgrade("/realtime?model=a%20b&model=c&aura=binary,events&empty=").query == {
        "model": "c",
        "aura": "binary,events",
        "empty": "",
    }
