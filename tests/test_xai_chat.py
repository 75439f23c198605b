"""Grok: OpenAI's dialect, its own names, prices, errors and health check."""

from __future__ import annotations

from typing import Any

import pytest

from aura.core import errors
from aura.core.ports import ChatItem, ChatRequest, Finished, Message, TextDelta, Tool, ToolCall
from aura.core.secret import Secret
from aura.providers.http import open_http
from aura.providers.xai.chat import XaiChat, models
from aura.providers.xai.settings import XaiSettings
from tests.fakes import openai_server
from tests.fakes.openai_server import DONE, Answer, chunk, failure, one_shot, raw, serve, sse

HELLO = ChatRequest((Message("system", "Be brief."), Message("user", "Hello")), (Tool("f", "Does.", {"x": 1}),), 50)
BILL = {
    "prompt_tokens": 32,
    "completion_tokens": 9,
    "total_tokens": 41,
    "prompt_tokens_details": {"text_tokens": 32, "cached_tokens": 30},
    "completion_tokens_details": {"reasoning_tokens": 4},
    "cost_in_usd_ticks": 37756000,
}
WHOLE_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"q":1}'}}


@pytest.fixture(autouse=True)
def api_key_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake server answers `/v1/api-key` as it answers `/v1/models`: with what the test wants."""
    monkeypatch.setitem(openai_server.KINDS, "/v1/api-key", "models")


async def ask(answer: Answer, **changes: Any) -> tuple[list[ChatItem], dict[str, Any]]:
    async with serve(answer) as fake, open_http() as http:
        engine = XaiChat(XaiSettings(base_url=fake.base_url, api_key=Secret("xai-test"), **changes), http)
        async with engine.reply(HELLO) as items:
            found = [item async for item in items]
        assert fake.seen[0].headers["authorization"] == "Bearer xai-test"
        return found, fake.seen[0].json


async def test_an_answer_brings_its_exact_price() -> None:
    answer = raw(
        "chat",
        chunk({"role": "assistant", "reasoning_content": "Hm."}),
        chunk({"content": "Hi."}),
        chunk({}, "stop"),
        sse({"choices": [], "usage": BILL, "system_fingerprint": "fp_1"}),
        DONE,
    )
    items, sent = await ask(answer)
    assert items == [TextDelta("Hi."), Finished("stop", 32, 9, 30, 0.0037756)]
    assert sent["model"] == models().tiers["fast"]
    assert "prompt_cache_key" not in sent
    assert sent["stream_options"] == {"include_usage": True}


async def test_a_function_is_called_in_one_piece() -> None:
    answer = raw("chat", chunk({"content": "", "tool_calls": [WHOLE_CALL]}), chunk({}, "tool_calls", BILL), DONE)
    items, sent = await ask(answer)
    assert items == [ToolCall("call_1", "f", '{"q":1}'), Finished("tool_calls", 32, 9, 30, 0.0037756)]
    assert sent["tools"][0]["function"]["name"] == "f"


@pytest.mark.parametrize(
    ("changes", "model", "kept"),
    [
        ({}, models().tiers["fast"], {"stop", "presence_penalty", "top_p"}),
        ({"chat_tier": "quality"}, models().tiers["quality"], {"top_p"}),
        ({"chat_model": "grok-4.20-0309-reasoning"}, "grok-4.20-0309-reasoning", {"top_p"}),
        ({"chat_model": "grok-9"}, "grok-9", {"stop", "presence_penalty", "top_p"}),
    ],
)
async def test_models_that_think_get_no_stop_and_no_penalties(changes: Any, model: str, kept: set[str]) -> None:
    extra = {"stop": ["x"], "presence_penalty": 0.1, "top_p": 0.9}
    _, sent = await ask(openai_server.chat("Hi"), chat_extra=extra, **changes)
    assert sent["model"] == model
    assert set(sent) & set(extra) == kept


WRONG_KEY = {
    "code": "Client specified an invalid argument",
    "error": "Incorrect API key provided: xa***st. You can obtain an API key from https://console.x.ai.",
}
FAULTS: dict[str, tuple[int, Any, type[errors.ProviderError]]] = {
    "a wrong key is a 400": (400, WRONG_KEY, errors.AuthFailed),
    "no key": (401, {"code": "x", "error": "No API key provided."}, errors.AuthFailed),
    "not allowed": (403, {"code": "The caller does not have permission", "error": "ACL"}, errors.AuthFailed),
    "no credits": (
        429,
        {"code": "Some resource has been exhausted", "error": "Your team has used all available credits."},
        errors.QuotaExhausted,
    ),
    "rate": (429, {"code": "Some resource has been exhausted", "error": "Too many requests"}, errors.RateLimited),
    "model": (404, {"code": "not-found", "error": "The model grok-1 does not exist"}, errors.BadRequest),
    "live search is gone": (410, {"code": "Gone", "error": "Live search is deprecated."}, errors.BadRequest),
    "media type": (415, {"code": "x", "error": "Expected JSON"}, errors.BadRequest),
    "shape": (422, "Failed to deserialize the JSON body", errors.BadRequest),
    "overloaded": (503, {"code": "The service is currently unavailable", "error": "x"}, errors.Unavailable),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_errors_are_sentences_and_still_have_the_right_class(fault: str) -> None:
    status, payload, kind = FAULTS[fault]
    with pytest.raises(errors.ProviderError) as caught:
        await ask(failure("chat", status, payload))
    assert type(caught.value) is kind
    assert caught.value.provider == "xai"


KEY = {"redacted_api_key": "xai-...b14o", "name": "k", "acls": ["api-key:model:*"], "team_blocked": False}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (one_shot("models", KEY), None),
        (one_shot("models", {"other": 1}), None),
        (raw("models", b"ok", content_type="text/plain"), None),
        (one_shot("models", {**KEY, "team_blocked": True}), errors.AuthFailed),
        (one_shot("models", {**KEY, "api_key_disabled": True}), errors.AuthFailed),
        (failure("models", 400, WRONG_KEY), errors.AuthFailed),
        (failure("models", 404, ""), errors.BadRequest),
    ],
)
async def test_the_health_check_costs_nothing_and_knows_a_blocked_key(answer: Answer, kind: Any) -> None:
    async with serve(answer) as fake, open_http() as http:
        engine = XaiChat(XaiSettings(base_url=fake.base_url), http)
        if kind is None:
            await engine.probe()
        else:
            with pytest.raises(kind):
                await engine.probe()
        assert [seen.kind for seen in fake.seen] == ["models"]


def test_every_tier_is_a_known_model_and_only_the_quality_one_thinks() -> None:
    thinks = {tier: models().reasoning.includes(model) for tier, model in models().tiers.items()}
    assert thinks == {"fast": False, "quality": True}
