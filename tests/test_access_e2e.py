"""A whole server with keys: real clients, real settings, and what is left of a key in logs and journals: nothing."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
import structlog
import trio
import trio_websocket

from aura import config
from aura.core.errors import ConfigError
from aura.core.journal import decode
from aura.observe import logs
from aura.server import assemble
from aura.storage.keys import create_key, read_keys, revoke_key
from aura.tools.child import _follow, _log_file, _start, command
from tests.fakes.openai_server import serve
from tests.test_access import ending
from tests.test_listener import answer_to, connect
from tests.test_server import House, house
from tests.ws_client import HEAD

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning"),  # how the SDK uses websockets
]


def sdk(here: House, key: str) -> openai.OpenAI:
    """The real SDK, pointed at the server; it is used in threads."""
    return openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{here.port}/v1", max_retries=0, timeout=10)


@asynccontextmanager
async def dial(here: House, key: str, query: str = "") -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A bare connection."""
    headers = [("Authorization", f"Bearer {key}")] if key else []
    async with trio_websocket.open_websocket_url(here.url + query, extra_headers=headers) as ws:
        yield ws


async def first(ws: trio_websocket.WebSocketConnection) -> dict[str, Any]:
    """The first event."""
    with trio.fail_after(5):
        event: dict[str, Any] = msgspec.json.decode(await ws.get_message())
        return event


async def test_the_openai_sdk_makes_a_secret_and_talks_with_it(tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="needs the package websockets, as openai[realtime] brings it")
    _, text = create_key(tmp_path, tenant="acme")
    async with house(tmp_path, "server.keys_check_s=0.05") as here:

        def talk() -> tuple[str, list[str], str]:
            with sdk(here, text) as client:
                models = [model.id for model in client.models.list()]
                made = client.realtime.client_secrets.create(
                    session={"type": "realtime", "instructions": "Be brief."},
                    expires_after={"anchor": "created_at", "seconds": 60},
                )
            with sdk(here, made.value) as page, page.realtime.connect(model="aura") as connection:
                return made.session.type or "", models, connection.recv().type

        def choose_a_voice_that_is_none() -> str | None:
            with sdk(here, text) as client, pytest.raises(openai.BadRequestError) as refused:
                client.realtime.client_secrets.create(
                    session={"type": "realtime", "audio": {"output": {"voice": "nobody"}}}
                )
            return refused.value.param

        assert await trio.to_thread.run_sync(choose_a_voice_that_is_none) == "session.audio.output.voice"
        kind, models, began = await trio.to_thread.run_sync(talk)
        assert (kind, began) == ("realtime", "session.created")
        assert models[0] == "aura"


async def test_the_openai_sdk_shows_why_a_key_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("websockets", reason="needs the package websockets, as openai[realtime] brings it")
    create_key(tmp_path)
    async with house(tmp_path, "server.keys_check_s=0.05") as here:

        def fail() -> tuple[str, int, str]:
            import websockets

            with sdk(here, "aura_wrong") as client:
                with pytest.raises(openai.AuthenticationError) as refused:
                    client.realtime.client_secrets.create(session={"type": "realtime"})
                with client.realtime.connect(model="aura") as connection:
                    event = connection.recv()
                    with pytest.raises(websockets.ConnectionClosedError) as end:
                        connection.recv()
            assert event.type == "error"
            assert refused.value.code == event.error.code
            assert end.value.rcvd is not None
            return str(event.error.code), end.value.rcvd.code, end.value.rcvd.reason

        refused = await trio.to_thread.run_sync(fail)
        assert refused == ("invalid_api_key", 3000, "invalid_request_error.invalid_api_key")


async def test_no_key_is_left_in_logs_journals_or_recordings(tmp_path: Path) -> None:
    out = io.StringIO()
    logs.configure(logs.LogSettings(format="json", level="debug"), stream=out)
    key, text = create_key(tmp_path, tenant="acme", conversations_max=1)
    wrong = "aura_" + "W" * 40
    async with house(tmp_path, "server.keys_check_s=0.05", "storage.record=true", "logs.level=debug") as here:
        async with dial(here, text, f"?tenant=other&model=aura&key={text}") as ws:
            assert (await first(ws))["type"] == "session.created"
            async with dial(here, text) as second:
                assert (await first(second))["error"]["code"] == "rate_limit_exceeded"
                assert (await ending(second))[0] == 1013
        async with dial(here, wrong) as ws:
            assert (await first(ws))["error"]["code"] == "invalid_api_key"
            assert (await ending(ws))[0] == 3000
        await trio.sleep(0.2)
    written = files_in(tmp_path)
    journals = [decode(content) for path, content in written.items() if path.name == "journal.jsonl"]
    assert [journal.header.tenant for journal in journals] == ["acme"]
    written[Path("log")] = out.getvalue().encode()
    for path, content in written.items():
        assert text.encode() not in content, path
        assert wrong.encode() not in content, path
        assert path.name == "keys.json" or key.sha256.encode() not in content, path
    lines = [msgspec.json.decode(line) for line in out.getvalue().splitlines()]
    begun = [line for line in lines if line["event"] == "conversation.begun"]
    assert [(line["key_id"], line["tenant"]) for line in begun] == [(key.id, "acme")]
    assert read_keys(tmp_path)[0].last_used > 0


def files_in(folder: Path) -> dict[Path, bytes]:
    """Everything that was written."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_keys_made_and_revoked_count_while_the_server_runs(tmp_path: Path) -> None:
    async with house(tmp_path, "server.keys_check_s=0.05") as here:
        async with dial(here, "anything") as ws:
            assert (await first(ws))["type"] == "session.created"
        key, text = await trio.to_thread.run_sync(partial(create_key, tmp_path))
        await trio.sleep(0.3)
        async with dial(here, "anything") as ws:
            assert (await first(ws))["error"]["code"] == "invalid_api_key"
            await ending(ws)
        async with dial(here, text) as ws:
            assert (await first(ws))["type"] == "session.created"
            await trio.to_thread.run_sync(revoke_key, tmp_path, key.id)
            with trio.fail_after(3):
                while (await first(ws))["type"] != "error":
                    pass
                assert await ending(ws) == (3000, "invalid_request_error.invalid_api_key")


async def test_a_conversation_goes_on_only_for_the_key_that_began_it(tmp_path: Path) -> None:
    (_, mine), (_, other) = create_key(tmp_path, conversations_max=1), create_key(tmp_path)
    async with house(tmp_path, "server.keys_check_s=0.05") as here:
        async with dial(here, mine) as ws:
            ident = (await first(ws))["session"]["id"]
            await trio.aclose_forcefully(ws._stream)
        async with dial(here, other, f"?resume={ident}") as ws:
            assert (await first(ws))["session"]["id"] != ident
        async with dial(here, mine, f"?resume={ident}") as ws:
            assert (await first(ws))["session"]["id"] == ident


async def test_a_phone_call_may_come_with_a_key_for_calls(tmp_path: Path) -> None:
    (_, phone), (_, talk) = create_key(tmp_path, scopes=("phone",)), create_key(tmp_path)
    secret = "phone.twilio_auth_token=the-token-of-twilio"
    async with house(tmp_path, "server.keys_check_s=0.05", secret) as here:
        head = HEAD.replace(b"/v1/realtime", b"/v1/twilio?key=%s")
        for key, status in ((talk, b"403"), ("", b"403"), (phone, b"101")):
            async with connect(here.port) as stream:
                await stream.send_all(head % key.encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 " + status)


async def test_a_session_begins_as_its_secret_says(tmp_path: Path) -> None:
    _, text = create_key(tmp_path)
    async with house(tmp_path, "server.keys_check_s=0.05") as here:
        session = {"type": "realtime", "model": "m", "instructions": "Only sums.", "output_modalities": ["text"]}

        def make() -> str:
            with sdk(here, text) as client:
                return str(client.realtime.client_secrets.create(session=session).value)

        value = await trio.to_thread.run_sync(make)
        for query, model in (("", "m"), ("?model=n", "n")):
            async with dial(here, value, query) as ws:
                began = (await first(ws))["session"]
                assert {name: began[name] for name in session} == session | {"model": model}
                assert began["expires_at"] > 0


async def test_a_flood_of_messages_ends_its_conversation_only(tmp_path: Path) -> None:
    options = ("server.events_per_s_max=50", "server.events_burst_max=200")
    async with house(tmp_path, *options) as here, dial(here, "") as calm, dial(here, "") as ws:
        codes: list[int] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read() -> None:
                while (event := await first(ws))["type"] != "error" or event["error"]["code"] != "rate_limit_exceeded":
                    pass
                codes.append((await ending(ws))[0])
                nursery.cancel_scope.cancel()

            try:
                for _ in range(1000):
                    await ws.send_message('{"type":"input_audio_buffer.append","audio":"AAAA"}')
            except trio_websocket.ConnectionClosed:
                pass
        assert codes == [1008]
        page = await answer_to(here.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"aura_clients_flooding_total 1.0" in page
        assert b"aura_clients_slow_total 0.0" in page
        assert (await first(calm))["type"] == "session.created"


async def test_a_server_that_others_reach_does_not_start_without_keys(tmp_path: Path) -> None:
    options = ["server.host=0.0.0.0", "server.port=0", f"storage.data_dir={tmp_path}"]
    with pytest.raises(ConfigError, match="aura keys create"):
        await assemble.serve(config.load(options=options, environment={}))


async def test_a_restart_closes_with_1012_and_exit_code_0(tmp_path: Path) -> None:
    async with serve() as engines, trio.open_nursery() as nursery:
        options = [f"openai.base_url={engines.base_url}", "openai.api_key=sk-test", "engines.stt=openai",
                   "engines.chat=openai", "engines.tts=openai", "server.drain_grace_s=0.2"]  # fmt: skip
        with _log_file(tmp_path) as log:
            process = await _start(nursery, command(tmp_path / "data", options), tmp_path)
            with trio.fail_after(20):
                port = await nursery.start(_follow, process, log)
            async with dial(House(port, engines, tmp_path), "") as ws:
                assert (await first(ws))["type"] == "session.created"
                os.kill(process.pid, signal.SIGHUP)
                assert (await first(ws))["type"] == "conversation.created"
                assert await ending(ws) == (1012, "server is restarting")
            with trio.fail_after(5):
                assert await process.wait() == 0
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_pattern_of_keys_fits_the_keys_that_are_made(tmp_path: Path) -> None:
    _, text = create_key(tmp_path)
    assert re.fullmatch(logs.OWN_KEY, text)
