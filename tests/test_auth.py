"""Who gets in: every way in which a key can come, and every way in which it can fail."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aura.core.errors import ConfigError
from aura.observe.metrics import Metrics
from aura.server.auth import Gate, check_offer, check_reach, credential_of
from aura.server.client_secrets import ClientSecrets
from aura.server.denial import Denial
from aura.server.handshake import Request, parse
from aura.server.lockout import FAILURES_MAX, FAILURES_S
from aura.server.principal import ANYBODY, Principal
from aura.storage.keyring import KeyRing
from aura.storage.keys import create_key, revoke_key

ALICE = "aura_" + "A" * 40


def request(headers: dict[str, str] | None = None, remote: str = "198.51.100.7", **query: str) -> Request:
    return Request("GET", "/v1/realtime", query, headers or {}, remote)


# ---- how a key comes


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({}, ""),
        ({"authorization": "Bearer K"}, "K"),
        ({"authorization": "bearer   K "}, "K"),
        ({"authorization": "Bearer ek_1", "api-key": "K"}, "ek_1"),
        ({"authorization": "Bearer", "api-key": "K"}, "K"),
        ({"authorization": "Basic dTpw", "api-key": " K "}, "K"),
        ({"authorization": "K"}, ""),
        ({"sec-websocket-protocol": "realtime, openai-insecure-api-key.K, openai-agents-sdk.0.20.0"}, "K"),
        ({"sec-websocket-protocol": "openai-insecure-api-key.ek_1,realtime"}, "ek_1"),
        ({"sec-websocket-protocol": "realtime, openai-insecure-api-key.A, openai-insecure-api-key.B"}, "A"),
        ({"sec-websocket-protocol": "realtime, openai-insecure-api-key."}, ""),
        ({"sec-websocket-protocol": "realtime, OpenAI-Insecure-Api-Key.K"}, ""),
        ({"authorization": "Bearer H", "sec-websocket-protocol": "openai-insecure-api-key.P"}, "H"),
    ],
)
def test_every_way_a_key_can_come(headers: dict[str, str], credential: str) -> None:
    assert credential_of(request(headers)) == credential


HEADER_NAMES = st.sampled_from([b"Authorization", b"api-key", b"Sec-WebSocket-Protocol", b"X-Other"])
HEADER_VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"Bearer ", b"Bearer  x", b"realtime", b"openai-insecure-api-key.", b"openai-insecure-api-key.k"]),
)


@given(st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6))
def test_no_header_breaks_the_reading_of_keys(headers: list[tuple[bytes, bytes]]) -> None:
    found = credential_of(parse(b"GET", b"/v1/realtime", headers))
    everything = ",".join(value.decode("latin-1") for _, value in headers)
    assert found == found.strip()
    assert all(part in everything for part in found.split(","))


@given(st.text(st.sampled_from("abcXYZ0189_-"), min_size=1, max_size=60))
def test_a_key_is_the_same_however_it_comes(key: str) -> None:
    ways = [
        (b"Authorization", b"Bearer " + key.encode()),
        (b"API-Key", key.encode()),
        (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key." + key.encode()),
    ]
    assert [credential_of(parse(b"GET", b"/", [way])) for way in ways] == [key] * 3


# ---- what it opens


@asynccontextmanager
async def gate_with(
    folder: Path, *, wall: Callable[[], float] = time.time, watch: bool = True, **options: Any
) -> AsyncIterator[tuple[Gate, Metrics]]:
    """A gate that knows the keys in a folder."""
    metrics, ring = Metrics(), KeyRing(folder, 0.02)
    await ring.load()
    gate = Gate(ring, ClientSecrets(), metrics, wall=wall, **options)
    async with trio.open_nursery() as nursery:
        if watch:
            await nursery.start(gate.watch)
        yield gate, metrics
        nursery.cancel_scope.cancel()


async def verdict(gate: Gate, credential: str, scope: Any = "converse", remote: str = "198.51.100.7") -> Any:
    """Who it is, or status, code and close code of the denial."""
    try:
        return await gate.admit_key(credential, remote, scope)
    except Denial as error:
        denial = error
    assert not credential or credential not in f"{denial.body()!r} {denial.event()} {denial.reason}"
    return denial.status, denial.code, denial.close_code


async def test_what_a_key_opens(tmp_path: Path) -> None:
    key, text = create_key(tmp_path, tenant="acme", models=("aura",), conversations_max=2)
    _, phone = create_key(tmp_path, scopes=("phone",))
    _, ended = create_key(tmp_path, expires_s=60)
    gone, revoked = create_key(tmp_path)
    revoke_key(tmp_path, gone.id)
    async with gate_with(tmp_path, wall=lambda: time.time() + 3600) as (gate, metrics):
        whole = Principal(key.id, "acme", ("converse", "secrets"), ("aura",), 2)
        assert await verdict(gate, text) == await verdict(gate, text, "secrets") == whole
        wrong = (401, "invalid_api_key", 3000)
        assert await verdict(gate, "") == wrong
        assert await verdict(gate, text[:-1]) == wrong
        assert await verdict(gate, "sk-something") == wrong
        assert await verdict(gate, revoked) == wrong
        assert await verdict(gate, ended) == wrong
        assert await verdict(gate, "ek_" + "0" * 32) == wrong
        assert await verdict(gate, phone) == await verdict(gate, text, "phone") == (403, "invalid_api_key", 3000)
        assert (await verdict(gate, phone, "phone")).scopes == ("phone",)
        reasons = {name: metrics.value("auth_failures", name) for name in ("missing", "wrong", "revoked", "expired")}
        assert reasons == {"missing": 1, "wrong": 3, "revoked": 1, "expired": 1}


async def test_a_key_made_a_moment_ago_is_known(tmp_path: Path) -> None:
    create_key(tmp_path)
    async with gate_with(tmp_path) as (gate, _):
        key, text = create_key(tmp_path)
        assert (await verdict(gate, text)).key_id == key.id


async def test_without_any_key_everybody_may_converse_and_dummy_keys_do_no_harm(tmp_path: Path) -> None:
    async with gate_with(tmp_path, watch=False) as (gate, _):
        for credential in ("", "sk-dummy", "not needed"):
            assert await verdict(gate, credential) == await verdict(gate, credential, "secrets") == ANYBODY
            assert (await verdict(gate, credential, "phone"))[0] == 401
        assert (await verdict(gate, "ek_" + "0" * 32))[0] == 401


@pytest.mark.parametrize(("open_to_all", "warnings"), [(False, 1), (True, 0)])
async def test_an_open_server_behind_a_proxy_warns_once(open_to_all: bool, warnings: int) -> None:
    gate = Gate(open_to_all=open_to_all)
    with capture_logs() as logs:
        for headers in ({}, {"x-forwarded-for": "192.0.2.1"}, {"forwarded": "for=192.0.2.1"}):
            await gate.admit(request(headers))
    assert [line["event"] for line in logs] == ["auth.open_behind_proxy"] * warnings


@pytest.mark.parametrize("open_to_all", [False, True])
async def test_revoking_the_last_key_opens_nothing(tmp_path: Path, open_to_all: bool) -> None:
    key, text = create_key(tmp_path)
    revoke_key(tmp_path, key.id)
    async with gate_with(tmp_path, open_to_all=open_to_all) as (gate, _):
        assert await verdict(gate, text) == (401, "invalid_api_key", 3000)
        assert await verdict(gate, "") == (ANYBODY if open_to_all else (401, "invalid_api_key", 3000))


async def test_an_open_server_still_knows_its_keys(tmp_path: Path) -> None:
    key, text = create_key(tmp_path, tenant="acme")
    async with gate_with(tmp_path, open_to_all=True) as (gate, _):
        assert (await verdict(gate, text)).tenant == key.tenant


async def test_client_secrets_open_what_their_key_does_until_they_or_it_end(tmp_path: Path) -> None:
    key, _ = create_key(tmp_path, tenant="acme", conversations_max=2)
    now = [time.time()]
    async with gate_with(tmp_path, wall=lambda: now[0]) as (gate, _):
        maker = Principal(key.id, "acme", key.scopes, (), 2)
        value, expires_at = gate.secrets.make(maker, {"model": "m"}, 60, now[0])
        bearer = Principal(key.id, "acme", ("converse",), (), 2, {"model": "m"})
        for _ in range(2):
            assert await verdict(gate, value) == bearer
        assert (await verdict(gate, value, "secrets"))[0] == 403
        now[0] = expires_at
        assert await verdict(gate, value) == (401, "invalid_api_key", 3000)
        value, _ = gate.secrets.make(maker, {}, 60, now[0])
        revoke_key(tmp_path, key.id)
        await gate.ring.next_look()
        await gate.ring.next_look()
        assert await verdict(gate, value) == (401, "invalid_api_key", 3000)


async def test_many_wrong_keys_are_slowed_down_but_shut_nobody_out(tmp_path: Path, autojump_clock: object) -> None:
    _, text = create_key(tmp_path)
    async with gate_with(tmp_path, watch=False) as (gate, metrics):
        for number in range(FAILURES_MAX):
            assert (await verdict(gate, f"wrong {number}", remote="::ffff:198.51.100.7"))[1] == "invalid_api_key"
        assert await verdict(gate, "one more") == (429, "rate_limit_exceeded", 3000)
        assert (await verdict(gate, "from elsewhere", remote="::ffff:198.51.100.8"))[1] == "invalid_api_key"
        assert metrics.value("auth_failures", "locked_out") == 1
        assert (await verdict(gate, text)).key_id
        assert (await verdict(gate, "again"))[1] == "invalid_api_key"
        await trio.sleep(FAILURES_S)
        assert (await verdict(gate, "later"))[1] == "invalid_api_key"


async def test_failures_are_logged_without_any_key(tmp_path: Path) -> None:
    key, text = create_key(tmp_path, scopes=("phone",))
    with capture_logs() as logs:
        async with gate_with(tmp_path) as (gate, _):
            for credential in (text, ALICE, "ek_" + "1" * 32):
                await verdict(gate, credential)
    failed = [line for line in logs if line["event"] == "auth.failed"]
    assert [(line["reason"], line.get("key_id")) for line in failed] == [
        ("scope", key.id), ("wrong", None), ("wrong", None),
    ]  # fmt: skip
    assert not any(credential in str(logs) for credential in (text, ALICE, "ek_1"))


# ---- what may be asked for


@pytest.mark.parametrize(
    ("asked", "principal", "expected"),
    [
        (request(), ANYBODY, None),
        (request(model="anything"), ANYBODY, None),
        (request(intent="transcription"), ANYBODY, None),
        (request(intent="dictation"), ANYBODY, ("invalid_value", "intent")),
        (request(call_id="rtc_1", model="aura"), ANYBODY, ("invalid_value", "call_id")),
        (request({"openai-beta": "realtime=v1"}), ANYBODY, ("beta_api_shape_disabled", None)),
        (request({"openai-beta": "assistants=v2, realtime=v1"}), ANYBODY, ("beta_api_shape_disabled", None)),
        (request({"openai-beta": "assistants=v2"}), ANYBODY, None),
        (request({"sec-websocket-protocol": "realtime, openai-beta.realtime-v1"}), ANYBODY,
         ("beta_api_shape_disabled", None)),
        (request(model="b"), Principal("key_1", models=("a",)), ("invalid_model", "model")),
        (request(model="a"), Principal("key_1", models=("a",)), None),
        (request(), Principal("key_1", models=("a",)), ("invalid_model", "model")),
        (request(), Principal("key_1", models=("aura", "a")), None),
        (request(), Principal("key_1", models=("a",), session={"model": "a"}), None),
    ],
)  # fmt: skip
def test_what_may_be_asked_for(asked: Request, principal: Principal, expected: tuple[str, str | None] | None) -> None:
    if expected is None:
        check_offer(asked, principal)
        return
    with pytest.raises(Denial) as denied:
        check_offer(asked, principal)
    assert (denied.value.code, denied.value.param) == expected
    assert denied.value.close_code == 4000


def test_a_key_holds_so_many_conversations_and_one_more_while_it_resumes() -> None:
    gate = Gate()
    limited = msgspec.structs.replace(request(), principal=Principal("key_1", conversations_max=2))
    other = msgspec.structs.replace(request(), principal=Principal("key_2", conversations_max=1))
    resumes = msgspec.structs.replace(limited, query={"resume": "sess_1"})
    seats = [gate.sit(limited), gate.sit(limited)]
    for _ in range(3):
        with pytest.raises(Denial) as denied:
            gate.sit(limited)
        assert (denied.value.code, denied.value.close_code) == ("rate_limit_exceeded", 1013)
    gate.leave(gate.sit(other))
    seats.append(gate.sit(resumes))
    with pytest.raises(Denial):
        gate.sit(resumes)
    for seat in seats:
        gate.leave(seat)
    assert gate.sit(limited)
    assert [gate.sit(request()) for _ in range(100)]


@pytest.mark.parametrize(
    ("host", "keys", "open_to_all", "starts"),
    [
        ("127.0.0.1", False, False, True),
        ("localhost", False, False, True),
        ("::1", False, False, True),
        ("0.0.0.0", False, False, False),
        ("::", False, False, False),
        ("", False, False, False),
        ("aura.example", False, False, False),
        ("0.0.0.0", True, False, True),
        ("0.0.0.0", False, True, True),
    ],
)
def test_a_server_that_others_reach_needs_keys(host: str, keys: bool, open_to_all: bool, starts: bool) -> None:
    ring = KeyRing()
    ring.exist = keys
    if starts:
        check_reach(host, ring, open_to_all=open_to_all)
        return
    with pytest.raises(ConfigError, match=r"aura keys create.*server\.open_to_all=true"):
        check_reach(host, ring, open_to_all=open_to_all)
