"""Fields that a server refuses are left out, at once and from then on."""

from __future__ import annotations

from typing import Any

import pytest

from aura.core import errors
from aura.core.ports import ChatRequest, Message, TextDelta, Tool
from aura.providers.http import open_http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.chat_request import cache_key, refused_field, wire_request
from aura.providers.openai.errors import Fault
from aura.providers.openai.settings import CompatibleSettings, OpenAISettings
from tests.fakes.openai_server import FakeOpenAI, Seen, chat, failure, serve

TOOL = Tool("f", "Does.", {"type": "object"})
HELLO = ChatRequest((Message("system", "Be brief."), Message("user", "Hello")), (TOOL,), 99)


REFUSALS: dict[str, tuple[str, int, Any]] = {
    "OpenAI, unknown": (
        "prompt_cache_key",
        400,
        {
            "error": {
                "message": "Unrecognized request argument supplied: prompt_cache_key",
                "type": "invalid_request_error",
            }
        },
    ),
    "OpenAI, value": (
        "temperature",
        400,
        {
            "error": {
                "message": "Unsupported value: 'temperature' does not support 0.2 with this model.",
                "param": "temperature",
                "code": "unsupported_value",
            }
        },
    ),
    "OpenAI, effort": (
        "reasoning_effort",
        400,
        {"error": {"message": "Unknown parameter: 'reasoning_effort'.", "code": "unknown_parameter"}},
    ),
    "vLLM": (
        "stream_options",
        400,
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': "
            "'Extra inputs are not permitted', 'input': {'include_usage': True}}]",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    "FastAPI": (
        "stream_options",
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]},
    ),
    "a text": ("verbosity", 400, {"error": "unknown field: verbosity"}),
    "Ollama, tools": ("tools", 400, {"error": {"message": "llama2 does not support tools", "type": "api_error"}}),
    "llama.cpp, tools": (
        "tools",
        500,
        {"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}},
    ),
    "vLLM, tools": (
        "tools",
        400,
        {"message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'},
    ),
}
ALL = {"temperature": 0.2, "verbosity": "low", "reasoning_effort": "low"}


def strict(fake: FakeOpenAI, field: str, status: int, payload: Any) -> None:
    """The server refuses whatever has the field."""
    fake.default["chat"] = lambda seen: failure("chat", status, payload) if field in seen.json else chat("Hi")


async def say(engine: OpenAIChat, request: ChatRequest = HELLO) -> str:
    async with engine.reply(request) as items:
        return "".join([item.text async for item in items if isinstance(item, TextDelta)])


@pytest.mark.parametrize("server", REFUSALS)
async def test_a_refused_field_is_left_out_at_once_and_from_then_on(server: str) -> None:
    field, status, payload = REFUSALS[server]
    async with serve() as fake, open_http() as http:
        strict(fake, field, status, payload)
        settings = OpenAISettings(base_url=fake.base_url, **ALL)  # type: ignore[arg-type]
        assert await say(OpenAIChat(settings, http)) == "Hi"
        assert await say(OpenAIChat(settings, http)) == "Hi"  # another engine at the same endpoint knows it too
        first, again, later = (seen.json for seen in fake.seen)
        assert field in first
        assert again == later == {name: value for name, value in first.items() if name != field}


async def test_a_limit_goes_by_its_other_name_and_then_not_at_all() -> None:
    def picky(seen: Seen) -> Any:
        for field in ("max_completion_tokens", "max_tokens"):
            if field in seen.json and field in refused:
                said = {"message": f"Unsupported parameter: '{field}' is not supported.", "param": field}
                return failure("chat", 400, {"error": said})
        return chat("Hi")

    refused = ["max_completion_tokens"]
    async with serve() as fake, open_http() as http:
        fake.default["chat"] = picky
        engine = OpenAIChat(OpenAISettings(base_url=fake.base_url), http)
        assert await say(engine) == "Hi"
        assert fake.seen[-1].json["max_tokens"] == 99
        refused.append("max_tokens")
        assert await say(engine) == await say(engine) == "Hi"
        assert len(fake.seen) == 5
        assert not {"max_tokens", "max_completion_tokens"} & set(fake.seen[-1].json)


async def test_only_the_padding_option_is_dropped_when_only_that_is_refused() -> None:
    where = ["body", "stream_options", "include_obfuscation"]
    said = {"detail": [{"loc": where, "msg": "Extra inputs", "type": "extra_forbidden"}]}
    async with serve(failure("chat", 422, said)) as fake, open_http() as http:
        assert await say(OpenAIChat(OpenAISettings(base_url=fake.base_url), http))
        assert fake.seen[1].json["stream_options"] == {"include_usage": True}


async def test_several_refusals_in_one_turn_are_obeyed_one_by_one() -> None:
    def picky(seen: Seen) -> Any:
        unknown = [name for name in ("verbosity", "temperature", "prompt_cache_key") if name in seen.json]
        return failure("chat", 400, {"error": f"unknown field: {unknown[0]}"}) if unknown else chat("Hi")

    async with serve() as fake, open_http() as http:
        fake.default["chat"] = picky
        engine = OpenAIChat(OpenAISettings(base_url=fake.base_url, **ALL), http)  # type: ignore[arg-type]
        assert await say(engine) == await say(engine) == "Hi"
        assert len(fake.seen) == 5


OTHER_FAULTS: dict[str, tuple[int, Any, type[errors.ProviderError]]] = {
    "a message that is too long": (400, {"error": {"code": "context_length_exceeded"}}, errors.BadRequest),
    "a tool's schema": (
        400,
        {"error": {"message": "Invalid schema for function 'f'", "param": "tools[0].function.parameters"}},
        errors.BadRequest,
    ),
    "unknown model": (400, {"error": {"message": "unknown model", "param": "model"}}, errors.BadRequest),
    "a field that was not sent": (400, {"error": {"message": "Unknown parameter: 'logit_bias'"}}, errors.BadRequest),
    "a key": (401, {"error": {"message": "temperature not allowed for this key"}}, errors.AuthFailed),
    "the server": (500, {"error": {"message": "unexpected temperature"}}, errors.Unavailable),
}


@pytest.mark.parametrize("fault", OTHER_FAULTS)
async def test_other_faults_are_not_asked_again(fault: str) -> None:
    status, payload, kind = OTHER_FAULTS[fault]
    async with serve(failure("chat", status, payload)) as fake, open_http() as http:
        with pytest.raises(kind):
            await say(OpenAIChat(OpenAISettings(base_url=fake.base_url, **ALL), http))  # type: ignore[arg-type]
        assert len(fake.seen) == 1


def test_what_every_request_needs_is_never_dropped() -> None:
    body = wire_request(HELLO, OpenAISettings())
    for field in ("model", "messages", "stream"):
        assert refused_field(body, 400, Fault(f"unknown parameter {field}", param=field)) is None


def test_the_cache_key_tells_personas_apart_and_nothing_else() -> None:
    later = ChatRequest((*HELLO.messages, Message("assistant", "Hi")), HELLO.tools)
    other = ChatRequest((Message("system", "Be long."), *HELLO.messages[1:]), HELLO.tools)
    assert cache_key(HELLO) == cache_key(later) != cache_key(other)
    assert cache_key(HELLO) != cache_key(ChatRequest(HELLO.messages))


def test_equal_requests_are_equal_bytes() -> None:
    settings = OpenAISettings(prompt_cache_key="mine", service_tier="flex", safety_identifier="u1", verbosity="low")
    assert list(wire_request(HELLO, settings).items()) == list(wire_request(HELLO, settings).items())
    sent = wire_request(HELLO, settings)
    assert (sent["prompt_cache_key"], sent["service_tier"]) == ("mine", "flex")
    assert (sent["safety_identifier"], sent["verbosity"]) == ("u1", "low")


def test_further_fields_are_sent_as_they_are_and_tools_can_be_switched_off() -> None:
    sent = wire_request(HELLO, CompatibleSettings(chat_extra={"top_k": 3, "model": "other"}, tools=False))
    assert (sent["top_k"], sent["model"]) == (3, "other")
    assert "tools" not in sent
