"""The REST side of the Realtime API: client secrets, models, and what is said about all else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import ProtocolFault
from aura.core.wire.session_object import RealtimeSession
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.server.auth import Gate
from aura.server.bridge import AsgiApp
from aura.server.client_secrets import OVERHEAD_BYTES, ClientSecrets
from aura.server.denial import Denial
from aura.server.drain import Drain
from aura.server.http import pages
from aura.server.lockout import FAILURES_MAX
from aura.server.principal import ANYBODY
from aura.server.realtime_api import METHODS, models_of, realtime_routes
from aura.server.settings import ServerSettings
from aura.session.build import Sections, Who
from aura.storage.keys import create_key
from tests.test_auth import gate_with
from tests.test_http import Answer, client, read_answer

SECRETS = "/v1/realtime/client_secrets"


def begun_as(session: dict[str, Any]) -> RealtimeSession:
    """The session that begins with a configuration, as the server makes it."""
    return Who("sess_x", {}, session).describe(Sections())


def app_with(gate: Gate, limits: ServerSettings | None = None) -> AsgiApp:
    """The application as the server has it."""
    routes = realtime_routes(gate, limits or ServerSettings(), begun_as, models_of("gpt-x"))
    return pages(Health(), Metrics(), Drain(), lambda: routes)


async def ask(app: AsgiApp, path: str, body: object = None, method: str = "", **headers: str) -> tuple[Answer, Any]:
    """One request, with its answer and the JSON in it."""
    raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
    method = method or ("GET" if body is None else "POST")
    given = {"Content-Length": str(len(raw)), **headers} if raw or method != "GET" else headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    async with client(app) as stream:
        await stream.send_all(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + raw)
        answer = await read_answer(stream, method)
    assert answer.headers["content-type"] == "application/json"
    return answer, msgspec.json.decode(answer.body)


# ---- client secrets


async def test_a_secret_holds_the_effective_session_and_ends_in_ten_minutes() -> None:
    gate = Gate()
    for path in (SECRETS, SECRETS.removeprefix("/v1")):
        answer, made = await ask(app_with(gate), path, {"session": {"type": "realtime", "instructions": "Hi."}})
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        assert (made["value"][:3], len(made["value"])) == ("ek_", 35)
        assert abs(made["expires_at"] - time.time() - 600) < 5
        shown = made["session"]
        assert (shown["object"], shown["instructions"], shown["expires_at"]) == ("realtime.session", "Hi.", 0)
        assert shown["audio"]["input"]["turn_detection"]["interrupt_response"] is True
        principal = await gate.admit_key(made["value"], "192.0.2.1")
        assert principal.session == {"type": "realtime", "instructions": "Hi."}
        assert begun_as(principal.session or {}).instructions == "Hi."


@pytest.mark.parametrize("kind", ["realtime", "transcription"])
def test_what_a_secret_is_for_holds_whatever_the_address_says(kind: str) -> None:
    for query in ({}, {"intent": "transcription"}, {"intent": "conversation"}):
        assert Who("sess_x", query, {"type": kind}).describe(Sections()).type == kind


@pytest.mark.parametrize("query", [{"aura": "events"}, {"aura_events": "1"}])
def test_aura_s_own_events_can_be_had_by_the_address(query: dict[str, str]) -> None:
    assert Who("sess_x", query).describe(Sections()).events
    assert not Who("sess_x", {"aura_events": "0"}).describe(Sections()).events


async def test_a_secret_may_be_for_transcription_and_needs_no_body() -> None:
    app = app_with(Gate())
    session = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    _, made = await ask(app, SECRETS, {"session": session, "expires_after": {"anchor": "created_at", "seconds": 10}})
    assert made["session"]["object"] == "realtime.transcription_session"
    assert made["session"]["audio"]["input"]["transcription"]["model"] == "whisper-1"
    assert abs(made["expires_at"] - time.time() - 10) < 5
    for body in (b"{}", b'{"session":null,"expires_after":null}', b'{"new_field":1}'):
        assert (await ask(app, SECRETS, body))[0].status == 200
    assert (await ask(app, SECRETS, method="POST"))[0].status == 200


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        (b"[]", "invalid_value", None),
        ({"session": 5}, "invalid_value", "session"),
        ({"session": {"type": "other"}}, "invalid_value", "session.type"),
        ({"session": {"audio": {"output": {"speed": 9}}}}, "invalid_value", "session.audio.output.speed"),
        ({"session": {"tools": [{"type": "function"}]}}, "missing_required_parameter", "session.tools[0].name"),
        ({"session": {"model": 5}}, "invalid_value", "session.model"),
        ({"expires_after": {"seconds": 9}}, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "invalid_value", "expires_after.seconds"),
        ({"expires_after": {"anchor": "never"}}, "invalid_value", "expires_after.anchor"),
    ],
)
async def test_what_cannot_be_a_session_is_refused_by_name(body: object, code: str, param: str | None) -> None:
    gate = Gate()
    answer, said = await ask(app_with(gate), SECRETS, body)
    assert (answer.status, said["error"]["code"], said["error"]["param"]) == (400, code, param)
    assert said["error"]["message"]
    assert gate.secrets.count == 0


async def test_only_keys_that_may_make_secrets_do(tmp_path: Path) -> None:
    _, whole = create_key(tmp_path, tenant="acme", models=("aura", "m"), conversations_max=2)
    _, talker = create_key(tmp_path, scopes=("converse",))
    async with gate_with(tmp_path) as (gate, _):
        app = app_with(gate)
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Bearer {talker}"}, 403),
            ({"Authorization": f"Bearer {whole}"}, 200),
            ({"api-key": whole}, 200),
        ):
            answer, said = await ask(app, SECRETS, {"session": {"model": "m"}}, **headers)
            assert answer.status == status
            assert status == 200 or said["error"]["code"] == "invalid_api_key"
        bearer = await gate.admit_key(said["value"], "192.0.2.1")
        assert (bearer.tenant, bearer.conversations_max, bearer.scopes) == ("acme", 2, ("converse",))
        answer, _ = await ask(app, SECRETS, {}, Authorization=f"Bearer {said['value']}")
        assert answer.status == 403
        answer, said = await ask(app, SECRETS, {"session": {"model": "dear"}}, Authorization=f"Bearer {whole}")
        assert (answer.status, said["error"]["code"], said["error"]["param"]) == (400, "invalid_model", "session.model")
        for _ in range(FAILURES_MAX + 1):
            answer, said = await ask(app, SECRETS, {}, Authorization="Bearer wrong")
        assert (answer.status, said["error"]["type"]) == (429, "rate_limit_error")
        assert int(answer.headers["retry-after"]) > 1


async def test_pages_of_other_sites_get_no_secret_of_an_open_server() -> None:
    app = app_with(Gate())
    answer, said = await ask(app, SECRETS, {}, Origin="https://evil.example")
    assert (answer.status, said["error"]["code"]) == (403, "origin_not_allowed")
    assert (await ask(app, SECRETS, {}, Origin="http://localhost:8080"))[0].status == 200


def test_secrets_are_bounded_in_number_and_space_and_make_room_as_they_expire() -> None:
    few = ClientSecrets(most=3)
    for at in (0.0, 5.0, 9.0):
        few.make(ANYBODY, {}, 10, at)
    with pytest.raises(Denial) as denied:
        few.make(ANYBODY, {}, 10, 9.5)
    assert (denied.value.status, denied.value.code) == (429, "rate_limit_exceeded")
    value, _ = few.make(ANYBODY, {}, 10, 10.0)
    assert (few.count, few.find(value, 19.9) is not None, few.find(value, 20.0)) == (3, True, None)

    small = ClientSecrets(bytes_max=3000)
    with pytest.raises(Denial):
        small.make(ANYBODY, {"instructions": "x" * 3000}, 10, 0.0)
    for _ in range((3000 - 1000) // (OVERHEAD_BYTES + 20)):
        small.make(ANYBODY, {"instructions": "x"}, 10, 0.0)
    with pytest.raises(Denial):
        small.make(ANYBODY, {"instructions": "x" * 1000}, 10, 1.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["type", "model", "audio", "tools", "tool_choice", "aura", "voice", "turn_detection", "id"])


@settings(max_examples=200)
@given(st.dictionaries(FIELDS, JSON | st.sampled_from(["realtime", "transcription"]), max_size=4))
def test_any_session_begins_or_is_refused_by_name(session: dict[str, Any]) -> None:
    try:
        shown = begun_as(session).echo()
    except ProtocolFault as fault:
        shown = {"type": fault.code}
    assert shown["type"]


# ---- the rest


async def test_models_are_what_a_key_may_use(tmp_path: Path) -> None:
    _, narrow = create_key(tmp_path, models=("aura", "m"))
    _, wide = create_key(tmp_path)
    async with gate_with(tmp_path) as (gate, _):
        app = app_with(gate)
        for key, names in ((narrow, ["aura", "m"]), (wide, ["aura", "gpt-x"])):
            _, listed = await ask(app, "/v1/models", Authorization=f"Bearer {key}")
            assert [model["id"] for model in listed["data"]] == names
        assert (await ask(app, "/v1/models"))[0].status == 401
        assert (await ask(app, "/v1/models/m", api_key=narrow))[1]["object"] == "model"
        answer, said = await ask(app, "/v1/models/gpt-x", api_key=narrow)
        assert (answer.status, said["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/realtime/calls", "WebRTC"),
        ("/v1/realtime/calls/rtc_1/hangup", "WebRTC"),
        ("/realtime/calls", "WebRTC"),
        ("/v1/realtime/sessions", "client_secrets"),
        ("/v1/realtime/transcription_sessions", "client_secrets"),
        ("/v1/realtime/translations/client_secrets", "translate"),
        ("/v1/live", "WebSocket"),
        ("/v1/live/sessions", "WebSocket"),
        ("/v1/realtime/whatever", "WebSocket"),
    ],
)
async def test_what_is_not_there_says_what_to_use_instead(method: str, path: str, hint: str) -> None:
    answer, said = await ask(app_with(Gate()), path, method=method)
    assert (answer.status, said["error"]["code"]) == (404, "not_supported")
    assert hint in said["error"]["message"]


async def test_a_conversation_in_plain_http_is_refused_and_without_a_key_before_that(tmp_path: Path) -> None:
    answer, said = await ask(app_with(Gate()), "/v1/realtime?model=aura")
    assert (answer.status, answer.headers["upgrade"], said["error"]["code"]) == (426, "websocket", "upgrade_required")
    create_key(tmp_path)
    async with gate_with(tmp_path) as (gate, _):
        answer, said = await ask(app_with(gate), "/v1/realtime?model=aura")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert said["error"]["code"] == "invalid_api_key"
