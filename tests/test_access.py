"""What a client is told that may not come in, on real sockets, and how much one may send that is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio_websocket
from hypothesis import given
from hypothesis import strategies as st

from aura.server.budget import Budget
from aura.server.handshake import Request
from aura.server.principal import Principal
from aura.server.socket import Socket
from aura.storage.keys import create_key, revoke_key
from tests.test_auth import ALICE, gate_with
from tests.test_listener import LIMITS, Running, answer_to, closed, parrot, running
from tests.ws_client import HEAD


def url(server: Running, query: str = "") -> str:
    return f"ws://127.0.0.1:{server.port}/v1/realtime{query}"


async def told(server: Running, query: str = "", **options: Any) -> tuple[dict[str, Any], int, str, str | None]:
    """The error that a client is sent, and how it is closed."""
    async with trio_websocket.open_websocket_url(url(server, query), **options) as ws:
        event = msgspec.json.decode(await ws.get_message())
        code, reason = await ending(ws)
        assert event["type"] == "error"
        assert event["event_id"].startswith("event_")
        return event["error"], code, reason, ws.subprotocol


async def ending(ws: trio_websocket.WebSocketConnection) -> tuple[int, str]:
    """Code and reason of a close by the server."""
    with pytest.raises(trio_websocket.ConnectionClosed) as end:
        await ws.get_message()
    await trio.aclose_forcefully(ws._stream)  # the library leaves that to the garbage collector
    return end.value.reason.code, end.value.reason.reason


BROWSER = ["realtime", f"openai-insecure-api-key.{ALICE}"]


@pytest.mark.parametrize(
    ("query", "options", "code", "close"),
    [
        ("", {}, "invalid_api_key", 3000),
        ("", {"extra_headers": [("Authorization", f"Bearer {ALICE}")]}, "invalid_api_key", 3000),
        ("", {"extra_headers": [("api-key", ALICE)]}, "invalid_api_key", 3000),
        ("", {"subprotocols": BROWSER}, "invalid_api_key", 3000),
        ("?model=secret-model", {"extra_headers": [("api-key", "GOOD")]}, "invalid_model", 4000),
        ("?intent=x", {"extra_headers": [("api-key", "GOOD")]}, "invalid_value", 4000),
        ("", {"extra_headers": [("api-key", "GOOD"), ("OpenAI-Beta", "realtime=v1")]}, "beta_api_shape_disabled", 4000),
    ],
)
async def test_a_client_that_may_not_come_in_is_told_in_its_protocol(
    tmp_path: Path, query: str, options: dict[str, Any], code: str, close: int
) -> None:
    _, text = create_key(tmp_path, models=("aura",))
    headers = [(name, value.replace("GOOD", text)) for name, value in options.get("extra_headers", [])]
    async with gate_with(tmp_path) as (gate, _), running(gate=gate) as server:
        error, closed, reason, protocol = await told(server, query, **options | {"extra_headers": headers})
        assert (error["type"], error["code"], error["event_id"]) == ("invalid_request_error", code, None)
        assert ALICE not in str(error) + reason
        assert text not in str(error) + reason
        assert (closed, reason) == (close, f"invalid_request_error.{code}")
        assert protocol == ("realtime" if "subprotocols" in options else None)
        assert server.metrics.value("conversations_refused", code) == 1
        assert server.metrics.value("conversations") == 0


@pytest.mark.parametrize("way", ["Authorization", "api-key", "sub-protocol"])
async def test_a_good_key_opens_a_conversation_and_is_never_sent_back(tmp_path: Path, way: str) -> None:
    seen: list[Principal] = []

    async def handler(socket: Socket, asked: Request) -> None:
        seen.append(asked.principal)
        await parrot(socket, asked)

    key, text = create_key(tmp_path, tenant="acme")
    options: dict[str, Any] = {"extra_headers": [(way, f"Bearer {text}" if way == "Authorization" else text)]}
    if way == "sub-protocol":
        options = {"subprotocols": ["realtime", f"openai-insecure-api-key.{text}"]}
    async with (
        gate_with(tmp_path) as (gate, _),
        running(handler, gate=gate) as server,
        trio_websocket.open_websocket_url(url(server), **options) as ws,
    ):
        await ws.send_message("hello")
        assert await ws.get_message() == "hello"
        assert text not in str(ws.subprotocol) + str(ws.handshake_headers)
    assert [(who.key_id, who.tenant) for who in seen] == [(key.id, "acme")]


async def test_a_conversation_that_ends_makes_room_for_the_next_of_its_key(tmp_path: Path) -> None:
    _, text = create_key(tmp_path, conversations_max=1)
    headers = [("api-key", text)]
    async with gate_with(tmp_path) as (gate, _), running(gate=gate) as server:
        async with trio_websocket.open_websocket_url(url(server), extra_headers=headers) as ws:
            await ws.send_message("hello")
            assert await ws.get_message() == "hello"
            error, code, _, _ = await told(server, extra_headers=headers)
            assert (error["type"], error["code"], code) == ("rate_limit_error", "rate_limit_exceeded", 1013)
        await closed(server)
        async with trio_websocket.open_websocket_url(url(server), extra_headers=headers) as ws:
            await ws.send_message("again")
            assert await ws.get_message() == "again"


async def test_many_wrong_keys_at_once_are_all_answered_and_disturb_no_conversation(tmp_path: Path) -> None:
    _, text = create_key(tmp_path)
    codes: list[str] = []

    async def guess(server: Running, number: int) -> None:
        error, closed, _, _ = await told(server, extra_headers=[("api-key", f"aura_{number:040}")])
        codes.append(error["code"])
        assert closed == 3000

    async with (
        gate_with(tmp_path) as (gate, _),
        running(gate=gate) as server,
        trio_websocket.open_websocket_url(url(server), extra_headers=[("api-key", text)]) as ws,
    ):
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(guess, server, number)
        await ws.send_message("still here")
        assert await ws.get_message() == "still here"
    assert (codes.count("invalid_api_key"), codes.count("rate_limit_exceeded")) == (8, 52)


async def test_a_malformed_upgrade_is_still_refused_in_http(tmp_path: Path) -> None:
    create_key(tmp_path)
    async with gate_with(tmp_path) as (gate, _), running(gate=gate) as server:
        assert (await answer_to(server.port, HEAD.replace(b"Version: 13", b"Version: 7"))).startswith(b"HTTP/1.1 426")


async def test_revoking_a_key_ends_its_conversations_and_no_others(tmp_path: Path) -> None:
    (bad, bad_text), (_, good_text) = create_key(tmp_path), create_key(tmp_path)
    async with (
        gate_with(tmp_path) as (gate, _),
        running(gate=gate) as server,
        trio_websocket.open_websocket_url(url(server), extra_headers=[("api-key", good_text)]) as good,
        trio_websocket.open_websocket_url(url(server), extra_headers=[("api-key", bad_text)]) as ws,
    ):
        await ws.send_message("hello")
        assert await ws.get_message() == "hello"
        revoke_key(tmp_path, bad.id)
        error = msgspec.json.decode(await ws.get_message())["error"]
        assert (error["code"], "revoked" in error["message"]) == ("invalid_api_key", True)
        assert (await ending(ws))[0] == 3000
        await good.send_message("still here")
        assert await good.get_message() == "still here"


@pytest.mark.parametrize(
    ("headers", "origins", "opens"),
    [
        ([("api-key", "GOOD")], (), True),
        ([("api-key", "GOOD")], ("https://app.example",), True),
        ([("api-key", "GOOD")], ("https://other.example",), False),
        ([], (), False),
    ],
)
async def test_a_page_with_a_key_may_come_from_anywhere_unless_pages_are_listed(
    tmp_path: Path, headers: list[tuple[str, str]], origins: tuple[str, ...], opens: bool
) -> None:
    _, text = create_key(tmp_path)
    lines = "".join(f"{name}: {value}\r\n" for name, value in [*headers, ("Origin", "https://app.example")])
    head = HEAD.replace(b"\r\n\r\n", f"\r\n{lines}\r\n".replace("GOOD", text).encode())
    limits = msgspec.structs.replace(LIMITS, origins=origins)
    async with (
        gate_with(tmp_path) as (gate, _),
        running(hang_up, limits, gate) as server,
    ):
        answer = await answer_to(server.port, head)
    assert answer.startswith(b"HTTP/1.1 101" if opens else b"HTTP/1.1 403")


async def hang_up(socket: Socket, asked: Request) -> None:
    """A conversation that is over at once."""


# ---- how much a client may send


@given(
    st.integers(1, 2000), st.integers(1, 3000), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 600)), max_size=20)
)
def test_a_budget_is_exact_to_a_stride(per_s: int, burst: int, waves: list[tuple[float, int]]) -> None:
    now = [0.0]
    budget, left = Budget(per_s, burst, lambda: now[0]), float(burst)
    for pause, many in waves:
        now[0] += pause
        left = min(burst, left + pause * per_s)
        taken = sum(budget.spend() for _ in range(many))
        left -= many
        if left > 2 * 256:
            assert taken == many
        if taken < many:
            assert left < 2 * 256
            return


def test_history_replays_and_audio_never_reach_the_default_budget() -> None:
    now = [0.0]
    limits = LIMITS
    budget = Budget(limits.events_per_s_max, limits.events_burst_max, lambda: now[0])
    assert all(budget.spend() for _ in range(5000))  # 100 s of audio in pieces of 20 ms, and a hundred items, at once
    for _ in range(60 * 200):  # a minute of audio in pieces of 5 ms
        now[0] += 0.005
        assert budget.spend()
    assert not all(budget.spend() for _ in range(20_000))


def test_a_budget_can_be_switched_off() -> None:
    budget = Budget(0, 1, lambda: 0.0)
    assert all(budget.spend() for _ in range(1000))
