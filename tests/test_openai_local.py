"""Compatible servers, each as it really answers (providers.md, section 6)."""

from __future__ import annotations

from typing import Any

import pytest

from aura.core import errors
from aura.core.ports import ChatItem, ChatRequest, Finished, Message, TextDelta, ToolCall, Transcript
from aura.providers.http import open_http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.models import list_models
from aura.providers.openai.presets import guess_by_owner, with_preset
from aura.providers.openai.settings import CompatibleSettings
from aura.providers.openai.stt import OpenAITranscriber
from tests.fakes.openai_server import DONE, Answer, failure, one_shot, raw, serve, sse

HELLO = ChatRequest((Message("user", "Hello"),))


def piece(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    return sse({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


def call(index: int | None, number: str, arguments: Any) -> dict[str, Any]:
    made = {"id": f"call_{number}", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return made if index is None else {"index": index, **made}


ASSISTANT = {"role": "assistant"}
COUNTS = {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}
USAGE = sse({"choices": [], "usage": COUNTS})
TWO = [ToolCall("call_a", "f", '{"q":1}'), ToolCall("call_b", "f", '{"q":2}')]
TEXT = [TextDelta("Hi "), TextDelta("you.")]

ANSWERS: dict[str, tuple[Answer, list[ChatItem]]] = {
    "ollama: the role in every chunk, thoughts in a field, no tokens for a cached prompt": (
        raw(
            "chat",
            piece({**ASSISTANT, "content": "", "reasoning": "Hm, "}, system_fingerprint="fp_ollama"),
            piece({**ASSISTANT, "content": "Hi "}),
            piece({**ASSISTANT, "content": "you."}),
            piece({**ASSISTANT, "content": ""}, "stop"),
            USAGE,
            DONE,
        ),
        [*TEXT, Finished("stop", 0, 2)],
    ),
    "ollama: whole calls, all with the index 0, finish empty": (
        raw(
            "chat",
            piece({**ASSISTANT, "content": "", "tool_calls": [call(0, "a", '{"q":1}')]}),
            piece({**ASSISTANT, "content": "", "tool_calls": [call(0, "b", '{"q":2}')]}),
            piece({**ASSISTANT, "content": ""}, ""),
            USAGE,
            DONE,
        ),
        [*TWO, Finished("tool_calls", 0, 2)],
    ),
    "ollama: calls without an index": (
        raw("chat", piece({"tool_calls": [call(None, "a", '{"q":1}'), call(None, "b", '{"q":2}')]}), DONE),
        [*TWO, Finished("tool_calls")],
    ),
    "vllm: usage on every chunk, stop with a named tool": (
        raw(
            "chat",
            piece({"tool_calls": [call(0, "a", '{"q":1}')]}, usage=COUNTS),
            piece({"tool_calls": [call(1, "b", '{"q":2}')]}, usage=COUNTS),
            piece({}, "stop", stop_reason=None, usage=COUNTS),
            USAGE,
            DONE,
        ),
        [*TWO, Finished("tool_calls", 0, 2)],
    ),
    "vllm: finish null, but the counts and [DONE]": (
        raw("chat", piece({"content": "Hi "}), piece({"content": "you."}, None), USAGE, DONE),
        [*TEXT, Finished("stop", 0, 2)],
    ),
    "vllm: calls although it was cut short": (
        raw("chat", piece({"tool_calls": [call(0, "a", '{"q":1}')]}), piece({}, "length"), DONE),
        [TWO[0], Finished("length")],
    ),
    "llama.cpp: null first, timings, [DONE] without a blank line": (
        raw(
            "chat",
            piece({**ASSISTANT, "content": None}),
            piece({"content": "Hi "}),
            piece({"content": "you."}),
            piece({}, "stop", timings={"predicted_ms": 5.0}),
            b"data: [DONE]",
        ),
        [*TEXT, Finished("stop")],
    ),
    "localai: fields are missing": (
        raw("chat", sse({"choices": [{"delta": {"content": "Hi "}}]}), piece({"content": "you."}, "stop"), DONE),
        [*TEXT, Finished("stop")],
    ),
    "groq: usage in a corner of its own": (
        raw(
            "chat",
            piece({**ASSISTANT, "content": ""}, x_groq={"id": "req_1"}),
            piece({"content": "Hi "}),
            piece({"content": "you."}),
            piece({}, "stop", x_groq={"id": "req_1", "usage": {**COUNTS, "queue_time": 0.1}}),
            DONE,
        ),
        [*TEXT, Finished("stop", 0, 2)],
    ),
    "usage that makes no sense": (
        raw("chat", *(piece({"content": d.text}) for d in TEXT), piece({}, "stop"), sse({"usage": "many"}), DONE),
        [*TEXT, Finished("stop")],
    ),
    "usage as texts": (
        raw(
            "chat",
            *(piece({"content": d.text}) for d in TEXT),
            piece({}, "stop"),
            sse({"choices": [], "usage": {"prompt_tokens": "0", "completion_tokens": 2.0}}),
            DONE,
        ),
        [*TEXT, Finished("stop", 0, 2)],
    ),
    "the exact price": (
        raw(
            "chat",
            *(piece({"content": d.text}) for d in TEXT),
            piece({}, "stop"),
            sse({"choices": [], "usage": {**COUNTS, "cost_in_usd_ticks": 37756000}}),
            DONE,
        ),
        [*TEXT, Finished("stop", 0, 2, cost_usd=0.0037756)],
    ),
}


async def collect(*answers: Answer, **changes: Any) -> list[ChatItem]:
    async with serve(*answers) as fake, open_http() as http:
        engine = OpenAIChat(CompatibleSettings(base_url=fake.base_url, **changes), http, name="compatible")
        async with engine.reply(HELLO) as items:
            return [item async for item in items]


@pytest.mark.parametrize("server", ANSWERS)
async def test_answers_are_understood(server: str) -> None:
    answer, expected = ANSWERS[server]
    assert await collect(answer) == expected


FAILURES: dict[str, tuple[Answer, type[errors.ProviderError], str]] = {
    "ollama: not pulled": (
        failure("chat", 404, {"error": {"message": 'model "x" not found', "type": "not_found_error"}}),
        errors.BadRequest,
        "model",
    ),
    "llama.cpp: loading": (
        failure("chat", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        errors.Unavailable,
        "Loading",
    ),
    "llama.cpp: error line": (
        raw("chat", piece({"content": "Hi"}), b'error: {"code":500,"message":"slot gone","type":"server_error"}\n\n'),
        errors.Unavailable,
        "slot gone",
    ),
    "speaches: detail": (
        failure("chat", 404, {"detail": "Model 'x' is not installed"}),
        errors.BadRequest,
        "installed",
    ),
    "groq: flex capacity": (failure("chat", 498, {"error": {"message": "capacity"}}), errors.Unavailable, "498"),
    "groq: stopped in the middle": (
        raw("chat", piece({"content": "Hi"}), piece({}, None, x_groq={"error": "over capacity"})),
        errors.Unavailable,
        "over capacity",
    ),
    "llama.cpp: tokens missing": (
        failure("chat", 401, {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}),
        errors.AuthFailed,
        "api_key",
    ),
}


@pytest.mark.parametrize("server", FAILURES)
async def test_failures_have_the_right_class(server: str) -> None:
    answer, kind, words = FAILURES[server]
    with pytest.raises(kind, match=words) as caught:
        await collect(answer)
    assert type(caught.value) is kind


async def test_a_model_that_is_being_loaded_is_worth_coming_back_for() -> None:
    with pytest.raises(errors.Unavailable) as caught:
        await collect(FAILURES["llama.cpp: loading"][0])
    assert caught.value.retryable
    assert caught.value.retry_after_s == 1.0


async def test_a_server_that_asks_not_to_be_asked_again_is_not() -> None:
    with pytest.raises(errors.RateLimited) as caught:
        await collect(failure("chat", 429, "", x_should_retry="false"))
    assert not caught.value.retryable


async def test_a_long_load_before_the_headers_is_waited_for() -> None:
    slow = raw("chat", piece({"content": "Hi"}, "stop"), DONE, head_delay_s=0.3)
    assert await collect(slow, first_token_timeout_s=5, stall_timeout_s=0.1) == [TextDelta("Hi"), Finished("stop")]


async def test_the_first_word_may_come_long_after_the_first_event() -> None:
    slow = raw("chat", piece({**ASSISTANT, "content": ""}), 0.3, piece({"content": "Hi"}, "stop"), DONE)
    assert await collect(slow, first_token_timeout_s=5, stall_timeout_s=0.1) == [TextDelta("Hi"), Finished("stop")]


async def test_whisper_cpp_is_understood() -> None:
    said = {"text": " hello\n", "duration": "1.0", "segments": [{"id": 0, "text": " hello"}], "language": "english"}
    async with serve(one_shot("stt", said)) as fake, open_http() as http:
        settings = with_preset(CompatibleSettings(preset="whispercpp", base_url=fake.base_url), frozenset({"base_url"}))
        heard = await OpenAITranscriber(settings, http).transcribe(bytes(32000))
        assert heard == Transcript("hello", language="english")
        assert fake.seen[0].form["response_format"].value == b"verbose_json"


@pytest.mark.parametrize(("status", "fine"), [(200, True), (404, True), (405, True), (401, False), (500, False)])
async def test_a_probe_accepts_a_server_that_has_no_list_of_models(status: int, fine: bool) -> None:
    async with serve(failure("models", status, {"error": "x"})) as fake, open_http() as http:
        settings = CompatibleSettings(base_url=fake.base_url)
        engines = OpenAIChat(settings, http), OpenAITranscriber(settings, http)
        fake.queue["models"] *= 2
        for engine in engines:
            if fine:
                await engine.probe()
            else:
                with pytest.raises(errors.ProviderError):
                    await engine.probe()
        assert {seen.kind for seen in fake.seen} == {"models"}


async def test_the_owner_of_the_models_tells_which_server_it_is() -> None:
    models = [{"id": "llama3.2", "object": "model", "created": 1, "owned_by": "library"}]
    async with serve(one_shot("models", {"object": "list", "data": models})) as fake, open_http() as http:
        found = await list_models(CompatibleSettings(base_url=fake.base_url), http)
        assert guess_by_owner(model.owned_by for model in found) == "ollama"
