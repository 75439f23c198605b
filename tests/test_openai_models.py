"""The `openai` package on AURA's own connections, and those connections under TLS and under httpx."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest
import trio
import trustme

from aura.core import errors
from aura.core.secret import Secret
from aura.providers import transport
from aura.providers.http import HttpSettings, open_http
from aura.providers.openai.models import Model, list_models
from aura.providers.openai.settings import OpenAISettings
from tests.fakes.openai_server import Answer, FakeOpenAI, failure, one_shot, raw, serve

MODELS = {
    "object": "list",
    "data": [
        {"id": "tts-1", "object": "model", "created": 1, "owned_by": "x", "shutdown_date": "2027-01-06"},
        {"id": "gpt-6-luna", "object": "model", "created": 1, "owned_by": "x"},
    ],
}


async def test_models_and_their_last_day_are_listed() -> None:
    async with serve(one_shot("models", MODELS)) as fake, open_http() as http:
        settings = OpenAISettings(base_url=fake.base_url, api_key=Secret("sk-test"))
        assert await list_models(settings, http) == (
            Model("gpt-6-luna", owned_by="x"),
            Model("tts-1", "2027-01-06", owned_by="x"),
        )
        assert fake.seen[0].headers["authorization"] == "Bearer sk-test"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (failure("models", 401, {"error": {"message": "no", "code": "invalid_api_key"}}), errors.AuthFailed),
        (failure("models", 502, "<html></html>"), errors.Unavailable),
        (raw("models", b"{", after="cut"), errors.Unavailable),
    ],
)
async def test_a_failed_listing_is_a_provider_error(answer: Answer, kind: type[errors.ProviderError]) -> None:
    async with serve(answer) as fake, open_http() as http:
        with pytest.raises(kind):
            await list_models(OpenAISettings(base_url=fake.base_url), http)


async def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with open_http() as http:
            with pytest.raises(errors.Unavailable):
                await list_models(OpenAISettings(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1"), http)


async def test_interim_answers_are_skipped_and_surplus_bytes_end_the_connection() -> None:
    replies = [
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhoHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhu",
    ]
    connections = 0

    async def answer(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        while replies and await stream.receive_some():
            await stream.send_all(replies.pop(0))
        await trio.sleep(1)

    async with trio.open_nursery() as nursery, open_http() as http:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        client = http.endpoint(f"http://127.0.0.1:{listener.socket.getsockname()[1]}").client
        assert [(await client.get("/")).text for _ in range(2)] == ["hi", "ho"]
        assert connections == 1
        assert (await client.get("/")).text == "hu"
        assert connections == 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-x\r\n", b"", b"HTTP/1.1 101 x\r\nupgrade: y\r\nconnection: upgrade\r\n\r\n"]
)
async def test_what_is_not_http_is_a_protocol_error(reply: bytes) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            if reply:
                await stream.send_all(reply)

    async with trio.open_nursery() as nursery, open_http() as http:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        client = http.endpoint(f"http://127.0.0.1:{listener.socket.getsockname()[1]}").client
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/")
        nursery.cancel_scope.cancel()


async def test_tls_is_checked_spoken_and_its_connection_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    server, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    fake = FakeOpenAI(0)

    async def handle(tcp: trio.SocketStream) -> None:
        try:
            secure = trio.SSLStream(tcp, server, server_side=True, https_compatible=True)
            await secure.do_handshake()
            await fake.handle(secure)  # type: ignore[arg-type]
        except trio.BrokenResourceError:
            pass  # the client does not trust us

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"https://localhost:{listener.socket.getsockname()[1]}/v1"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        async with open_http() as http:
            with pytest.raises(errors.Unavailable, match="TLS"):
                await list_models(OpenAISettings(base_url=url), http)
        authority.configure_trust(ours)
        monkeypatch.setattr(transport, "tls_context", lambda: ours)
        async with open_http() as http:
            await http.endpoint(url).warm()
            before = fake.connections
            for _ in range(2):
                assert await list_models(OpenAISettings(base_url=url), http) == ()
        assert len(fake.seen) == 2
        assert {seen.connection for seen in fake.seen} == {before}
        nursery.cancel_scope.cancel()


async def test_connections_grow_old() -> None:
    async with serve() as fake, open_http(HttpSettings(keepalive_s=0.05)) as http:
        client = http.endpoint(fake.base_url).client
        await client.get("models")
        await trio.sleep(0.1)
        await client.get("models")
        assert fake.connections == 2


async def test_a_hundred_streams_at_once_share_what_they_leave() -> None:
    async with serve() as fake, open_http() as http:
        fake.default["models"] = lambda _: raw("models", b"a", 0.05, b"b")
        client = http.endpoint(fake.base_url).client

        async def one() -> None:
            response = await client.get("models")
            assert response.text == "ab"

        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(one)
        assert fake.connections == 100


async def test_a_response_that_httpx_leaves_unread_stops_the_engine() -> None:
    async with serve(raw("models", *[b"x", 0.02] * 50)) as fake, open_http() as http:
        async with http.endpoint(fake.base_url).client.stream("GET", "models") as response:
            assert response.status_code == 200
        await trio.sleep(0.05)
        assert fake.seen[0].disconnected_at is not None


async def test_certificates_are_read_once_for_all_servers() -> None:
    async with open_http() as http:
        first, second = http.endpoint("https://one.example/v1"), http.endpoint("https://two.example/v1")
        assert first.tls is not None
        assert first.tls is second.tls
        assert http.endpoint("http://three.example/v1").tls is None
