"""Who may call as a phone vendor, and how a call is ended at its vendor."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from aura.core.errors import ConfigError
from aura.core.ports import ToolCall
from aura.core.secret import Secret
from aura.providers.http import open_http
from aura.providers.phone_calls import Account, PhoneCalls
from aura.providers.tools.builtin import default_toolbox
from aura.providers.tools.phone import with_hang_up
from aura.server.handshake import Refusal, parse
from aura.server.phone_access import check_call
from aura.server.phone_settings import PhoneSettings
from tests.phones import plivo, rest, twilio

# ---- who may call

TWILIO, PLIVO = PhoneSettings(twilio_auth_token=Secret("t")), PhoneSettings(plivo_auth_token=Secret("p"))
TELNYX = PhoneSettings(telnyx_stream_token=Secret("x"))
PUBLIC = PhoneSettings(twilio_auth_token=Secret("t"), public_url="wss://voice.example.org/aura/")
PLIVO_URL = "https://host.example/v1/plivo"


def signed(url: str, token: str = "t") -> dict[str, str]:
    return {"X-Twilio-Signature": twilio.signature(token, url)}


def nonced(url: str, token: str = "p") -> dict[str, str]:
    return {"X-Plivo-Signature-V3": plivo.signature(token, url, "77"), "X-Plivo-Signature-V3-Nonce": "77"}


@pytest.mark.parametrize(
    ("target", "headers", "settings", "remote", "code"),
    [
        ("/v1/realtime", {}, PhoneSettings(), "203.0.113.5", ""),
        ("/v1/twilio", {}, PhoneSettings(), "127.0.0.1", ""),
        ("/v1/twilio", {}, PhoneSettings(), "203.0.113.5", "phone_not_set_up"),
        ("/v1/twilio", {"X-Forwarded-For": "203.0.113.5"}, PhoneSettings(), "127.0.0.1", "phone_not_set_up"),
        ("/v1/twilio", {}, TWILIO, "127.0.0.1", "bad_signature"),
        ("/v1/twilio", signed("wss://host.example/v1/twilio"), TWILIO, "203.0.113.5", ""),
        ("/v1/twilio", signed("https://host.example/v1/twilio/"), TWILIO, "203.0.113.5", ""),
        ("/v1/twilio/", signed("wss://host.example/v1/twilio/"), TWILIO, "203.0.113.5", ""),
        ("/v1/twilio", signed("wss://other.example/v1/twilio"), TWILIO, "203.0.113.5", "bad_signature"),
        ("/v1/twilio", signed("wss://host.example/v1/twilio", "u"), TWILIO, "203.0.113.5", "bad_signature"),
        ("/v1/twilio", signed("wss://voice.example.org/aura/v1/twilio"), PUBLIC, "203.0.113.5", ""),
        ("/v1/twilio", signed("wss://host.example/v1/twilio"), PUBLIC, "203.0.113.5", "bad_signature"),
        ("/v1/plivo", nonced(PLIVO_URL), PLIVO, "203.0.113.5", ""),
        ("/v1/plivo?b=2&a=1%20x", nonced(f"{PLIVO_URL}?a=1 x&b=2"), PLIVO, "203.0.113.5", ""),
        ("/v1/plivo", nonced(PLIVO_URL) | {"X-Plivo-Signature-V3-Nonce": "78"}, PLIVO, "1.2.3.4", "bad_signature"),
        ("/v1/plivo", {"X-Plivo-Signature-V3": "x"}, PLIVO, "203.0.113.5", "bad_signature"),
        ("/v1/telnyx", {"X-Telnyx-Streaming-Auth-Token": "x"}, TELNYX, "203.0.113.5", ""),
        ("/v1/telnyx?key=x", {}, TELNYX, "203.0.113.5", ""),
        ("/v1/telnyx?key=ü", {}, TELNYX, "203.0.113.5", "bad_signature"),
        ("/v1/telnyx?key=api-key", {}, TELNYX, "203.0.113.5", ""),
        ("/v1/plivo?key=api-key", {}, PhoneSettings(), "203.0.113.5", ""),
    ],
)
def test_who_may_call(target: str, headers: dict[str, str], settings: PhoneSettings, remote: str, code: str) -> None:
    lines = [(b"host", b"host.example"), *((name.encode(), value.encode()) for name, value in headers.items())]
    request = parse(b"GET", target.replace("ü", "%C3%BC").encode(), lines, remote)
    if not code:
        check_call(request, settings, lambda key: key == "api-key")
        return
    with pytest.raises(Refusal, match=r"phone\.") as refused:
        check_call(request, settings, lambda key: key == "api-key")
    assert (refused.value.status, refused.value.code) == (403, code)


# ---- ending calls


@pytest.mark.parametrize(
    ("vendor", "request_line", "authorization", "body"),
    [
        ("twilio", "POST /2010-04-01/Accounts/AC1/Calls/v2%3AC1.json", "Basic QUMxOnM=", b"Status=completed"),
        ("telnyx", "POST /v2/calls/v2%3AC1/actions/hangup", "Bearer s", b"{}"),
        ("plivo", "DELETE /v1/Account/AC1/Call/v2%3AC1/", "Basic QUMxOnM=", b""),
    ],
)
async def test_a_call_is_ended_at_its_vendor(vendor: Any, request_line: str, authorization: str, body: bytes) -> None:
    async with rest.serve(204 if vendor == "plivo" else 200) as api, open_http() as http:
        assert await PhoneCalls(http, 3).end(vendor, Account(api.url, "AC1", Secret("s")), "v2:C1")
        (asked,) = api.asked
    assert f"{asked.method} {asked.path}" == request_line
    assert (asked.headers["authorization"], asked.body) == (authorization, body)


@pytest.mark.parametrize(("status", "ended"), [(404, True), (401, False), (500, False)])
async def test_an_answer_says_whether_the_call_is_over(status: int, ended: bool) -> None:
    async with rest.serve(status) as api, open_http() as http:
        assert await PhoneCalls(http, 3).end("telnyx", Account(api.url, "", Secret("s")), "C1") is ended


async def test_a_vendor_that_cannot_be_reached_is_not_waited_for() -> None:
    async with rest.serve(delay_s=30) as api, open_http() as http:
        calls = PhoneCalls(http, 0.2)
        with trio.fail_after(5):
            assert not await calls.end("plivo", Account(api.url, "MA", Secret("s")), "C1")
            assert not await calls.end("plivo", Account("http://127.0.0.1:9", "MA", Secret("s")), "C1")
            assert not await calls.end("plivo", Account("nonsense", "MA", Secret("s")), "C1")
            assert not await calls.end("twilio", Account(api.url, "AC1", Secret()), "C1")
        assert len(api.asked) == 1
    with pytest.raises(ConfigError):
        http.endpoint("nonsense")


async def test_the_tool_hangs_up_and_leaves_the_others_alone() -> None:
    hung_up: list[bool] = []
    box = with_hang_up(default_toolbox(), lambda: hung_up.append(True))
    host: Any = object()
    assert box.tools()[0].name == "hang_up"
    assert (await box.call(ToolCall("1", "calculate", '{"expression": "2 + 2"}'), host)).text == "2 + 2 = 4"
    assert not hung_up
    assert "goodbye" in (await box.call(ToolCall("2", "hang_up", "{}"), host)).text
    assert hung_up == [True]
