"""The chat model against a real server: every way a stream can be written, and every way it can break."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from aura.core import errors
from aura.core.ports import ChatItem, ChatRequest, Finished, Message, TextDelta, Tool, ToolCall
from aura.core.secret import Secret
from aura.providers.http import HttpSettings, open_http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.errors import retry_after_s
from aura.providers.openai.settings import CompatibleSettings, OpenAISettings
from tests.fakes.openai_server import (
    DONE,
    Answer,
    FakeOpenAI,
    chat,
    chunk,
    failure,
    one_shot,
    raw,
    serve,
    sse,
)

HELLO = ChatRequest((Message("system", "Be brief."), Message("user", "Hello")))
QUICK = {"first_token_timeout_s": 0.15, "stall_timeout_s": 0.1}


@asynccontextmanager
async def model(*answers: Answer, **changes: Any) -> AsyncIterator[tuple[OpenAIChat, FakeOpenAI]]:
    async with serve(*answers) as fake, open_http(HttpSettings(connect_timeout_s=1)) as http:
        yield OpenAIChat(OpenAISettings(base_url=fake.base_url, api_key=Secret("sk-test"), **changes), http), fake


async def collect(engine: OpenAIChat, request: ChatRequest = HELLO) -> list[ChatItem]:
    async with engine.reply(request) as items:
        return [item async for item in items]


async def outcome(*answers: Answer, **changes: Any) -> tuple[str, list[ChatItem]]:
    """The text and the other items of one answer."""
    async with model(*answers, **changes) as (engine, _):
        items = await collect(engine)
    text = "".join(item.text for item in items if isinstance(item, TextDelta))
    return text, [item for item in items if not isinstance(item, TextDelta)]


def content(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


HI = sse(content("Hi "))
YOU = sse(content("you."))
STOP = chunk({}, "stop")
ONE_SHOT = {"choices": [{"message": {"role": "assistant", "content": "Hi you."}, "finish_reason": "stop"}]}
SPLIT = sse({"choices": [{"delta": {"content": "Hi yoü. 🙂"}, "finish_reason": "stop"}]}).replace(
    b"\\u00fc", "ü".encode()
).replace(b"\\ud83d\\ude42", "🙂".encode())  # fmt: skip

WELL_READ: dict[str, Answer] = {
    "as documented": chat(["Hi ", "you."]),
    "no space after data:": raw("chat", *(x.replace(b"data: ", b"data:") for x in (HI, YOU, STOP, DONE))),
    "CRLF": raw("chat", *(x.replace(b"\n", b"\r\n") for x in (HI, YOU, STOP, DONE))),
    "comments": raw("chat", b": PROCESSING\n\n", HI, b":\n", YOU, STOP, DONE),
    "ids and unknown fields": raw("chat", b"id: 3\nretry: 5\nevent: chunk\n", HI, YOU, STOP, DONE),
    "[DONE] without blank line": raw("chat", HI, YOU, STOP, b"data: [DONE]"),
    "no [DONE]": raw("chat", HI, YOU, STOP),
    "end without blank line": raw("chat", HI, YOU, STOP.rstrip()),
    "one write": raw("chat", HI + YOU + STOP + DONE),
    "single bytes": raw("chat", *(bytes([b]) for b in HI + YOU + STOP + DONE)),
    "missing and empty choices": raw("chat", sse({"choices": []}), sse({}), HI, YOU, STOP, DONE),
    "content null": raw("chat", chunk({"content": None}), HI, YOU, STOP, DONE),
    "content as parts": raw("chat", chunk({"content": [{"type": "text", "text": "Hi "}]}), YOU, STOP, DONE),
    "finish in the last token": raw("chat", HI, sse(content("you.", "stop")), DONE),
    "usage in every chunk": raw("chat", chunk({"content": "Hi you."}, None, {"completion_tokens": 1}), STOP, DONE),
    "empty finish before the real one": raw("chat", sse(content("Hi ", "")), YOU, STOP, DONE),
    "text/plain": raw("chat", HI, YOU, STOP, DONE, content_type="text/plain; charset=utf-8"),
    "no content type": raw("chat", HI, YOU, STOP, DONE, content_type=""),
    "one JSON document": one_shot("chat", ONE_SHOT),
    "one JSON document, chunked": raw("chat", json.dumps(ONE_SHOT).encode(), content_type="application/json"),
    "until the connection ends": raw("chat", HI, YOU, STOP, DONE, framing="close"),
    "reasoning_content": raw("chat", chunk({"reasoning_content": "Hm."}), chunk({"thinking": "Hm."}), HI, YOU, STOP),
    "<think> cut anywhere": chat(["<th", "ink>Hm", "</thi", "nk>\n", "\nHi ", "you."]),
    "role in every chunk": raw("chat", chunk({"role": "assistant", "content": "Hi you."}), STOP, DONE),
    "refusal": raw("chat", chunk({"refusal": "Hi you."}), STOP, DONE),
    "body held open after [DONE]": raw("chat", HI, YOU, STOP, DONE, after="hold"),
    "body held open after the finish": raw("chat", HI, YOU, STOP, after="hold"),
    "cut after the finish": raw("chat", HI, YOU, STOP, after="cut"),
}


@pytest.mark.parametrize("form", WELL_READ)
async def test_a_stream_is_understood_however_it_is_written(form: str) -> None:
    text, [finished] = await outcome(WELL_READ[form])
    assert (text, finished.reason) == ("Hi you.", "stop")  # type: ignore[union-attr]


async def test_characters_may_be_split_anywhere() -> None:
    assert "ü" in SPLIT.decode()
    assert (await outcome(raw("chat", *(bytes([b]) for b in SPLIT))))[0] == "Hi yoü. 🙂"


BROKEN: dict[str, tuple[Answer, type[errors.ProviderError]]] = {
    "ends without finish_reason": (raw("chat", HI, YOU), errors.StreamCut),
    "[DONE] without finish_reason": (raw("chat", HI, DONE), errors.StreamCut),
    "empty": (raw("chat"), errors.StreamCut),
    "cut between events": (raw("chat", HI, after="cut"), errors.StreamCut),
    "cut in mid-event": (raw("chat", HI, YOU[:20], after="cut"), errors.StreamCut),
    "reset": (raw("chat", HI, 0.02, after="reset"), errors.StreamCut),
    "broken JSON": (raw("chat", HI, b"data: {nope\n\n", STOP), errors.StreamCut),
    "error object": (raw("chat", HI, sse({"error": {"message": "boo", "code": "server_error"}})), errors.Unavailable),
    "error text": (raw("chat", sse({"error": "boo"})), errors.Unavailable),
    "quota in the stream": (raw("chat", sse({"error": {"code": "insufficient_quota"}})), errors.QuotaExhausted),
    "event: error": (raw("chat", b'event: error\ndata: {"message": "boo"}\n\n'), errors.Unavailable),
    "error: line": (raw("chat", HI, b'error: {"code":500,"message":"boo"}\n\n'), errors.Unavailable),
    "error document": (one_shot("chat", {"error": {"message": "boo"}}), errors.Unavailable),
    "a page instead": (raw("chat", b"<html>hello</html>", content_type="text/html"), errors.StreamCut),
    "silence before the head": (Answer("chat", head_delay_s=9), errors.TimedOut),
    "silence after the head": (raw("chat", after="hold"), errors.TimedOut),
    "stall": (raw("chat", HI, after="hold"), errors.TimedOut),
    "comments dripping": (raw("chat", *([b": wait\n\n", 0.02] * 30)), errors.TimedOut),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_stream_is_a_provider_error(fault: str) -> None:
    answer, kind = BROKEN[fault]
    with pytest.raises(errors.ProviderError) as caught:
        await outcome(answer, **QUICK)
    assert type(caught.value) is kind, caught.value
    assert caught.value.provider == "openai"


def openai_error(code: str, kind: str = "x", message: str = "No.") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


REFUSED: dict[str, tuple[int, Any, type[errors.ProviderError]]] = {
    "rate": (429, openai_error("rate_limit_exceeded", "tokens"), errors.RateLimited),
    "slow down": (429, openai_error("slow_down", "rate_limit_error"), errors.RateLimited),
    "429 without body": (429, "", errors.RateLimited),
    "quota": (429, openai_error("insufficient_quota", "insufficient_quota"), errors.QuotaExhausted),
    "credit": (429, openai_error("credit_balance_exhausted", "insufficient_quota"), errors.QuotaExhausted),
    "wrong key": (401, openai_error("invalid_api_key", "invalid_request_error"), errors.AuthFailed),
    "wrong key at xAI": (
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx."},
        errors.AuthFailed,
    ),
    "no credits at xAI": (403, {"code": "x", "error": "Team has used all available credits."}, errors.QuotaExhausted),
    "forbidden": (403, openai_error("unsupported_country_region_territory"), errors.AuthFailed),
    "model": (404, openai_error("model_not_found"), errors.BadRequest),
    "detail text": (404, {"detail": "Model not installed"}, errors.BadRequest),
    "detail list": (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, errors.BadRequest),
    "context": (400, openai_error("context_length_exceeded"), errors.BadRequest),
    "error text": (400, {"error": "bad format"}, errors.BadRequest),
    "list": (400, [{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}], errors.BadRequest),
    "loading": (503, {"error": {"code": 503, "message": "x", "type": "unavailable_error"}}, errors.Unavailable),
    "overloaded": (503, openai_error("server_is_overloaded", "service_unavailable_error"), errors.Unavailable),
    "500": (500, openai_error("", "server_error"), errors.Unavailable),
    "HTML": (502, "<html><title>502 Bad Gateway</title></html>", errors.Unavailable),
    "moved": (301, "", errors.BadRequest),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
async def test_a_refusal_has_the_right_class_and_one_line(fault: str) -> None:
    status, payload, kind = REFUSED[fault]
    with pytest.raises(errors.ProviderError) as caught:
        await outcome(failure("chat", status, payload))
    assert type(caught.value) is kind
    assert str(status) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "2"}, 2.0),
        ({"retry_after": "Sun, 22 Nov 2026 10:00:20 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 20.0),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
async def test_the_engines_advice_when_to_come_back_is_kept(headers: dict[str, str], wait_s: float | None) -> None:
    with pytest.raises(errors.RateLimited) as caught:
        await outcome(failure("chat", 429, openai_error("rate_limit_exceeded"), **headers))
    assert caught.value.retry_after_s == wait_s
    assert retry_after_s({name.replace("_", "-"): value for name, value in headers.items()}) == wait_s


async def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        async with open_http() as http:
            engine = OpenAIChat(OpenAISettings(base_url=url), http, name="mine")
            await engine.warm()
            with pytest.raises(errors.Unavailable, match="mine: cannot connect"):
                await collect(engine)


@pytest.mark.parametrize("url", ["ftp://example.org/v1", "not a url", "http://", "http://a:b/v1", ""])
async def test_an_address_that_is_none_is_refused_when_the_engine_is_set_up(url: str) -> None:
    async with open_http() as http:
        with pytest.raises(errors.ConfigError, match="base_url"):
            OpenAIChat(OpenAISettings(base_url=url), http)


async def test_a_key_never_shows() -> None:
    made = OpenAISettings(api_key=Secret("sk-very-secret"))
    assert "very" not in repr(made)
    echo = openai_error("invalid_api_key", message="Incorrect API key provided: sk-very-secret.")
    with pytest.raises(errors.AuthFailed) as caught:
        await outcome(failure("chat", 401, echo))
    assert "very" not in str(caught.value)


async def test_a_key_with_a_line_break_cannot_forge_a_header() -> None:
    async with serve() as fake, open_http() as http:
        engine = OpenAIChat(OpenAISettings(base_url=fake.base_url, api_key=Secret("a\r\nx-evil: 1")), http)
        with pytest.raises(errors.BadRequest, match="line break"):
            await collect(engine)
        assert not fake.seen


CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
TOOL_STREAMS: dict[str, tuple[list[list[dict[str, Any]]], list[tuple[str, str, str]]]] = {
    "interleaved": (
        [
            [CALL],
            [{**CALL, "index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}],
            [{"index": 0, "function": {"arguments": '{"q":'}}],
            [{"index": 1, "function": {"arguments": "{}"}}],
            [{"index": 0, "function": {"arguments": "1}"}}],
        ],
        [("a", "f", '{"q":1}'), ("b", "g", "{}")],
    ),
    "whole, without index": (
        [[{"id": "a", "function": {"name": "f", "arguments": "{}"}}, {"id": "b", "function": {"name": "g"}}]],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "index 0 for all": ([[CALL], [{**CALL, "id": "b"}]], [("a", "f", "{}"), ("b", "f", "{}")]),
    "dict arguments": ([[{"id": "a", "function": {"name": "f", "arguments": {"q": 1}}}]], [("a", "f", '{"q":1}')]),
    "invalid JSON": ([[{"id": "a", "function": {"name": "f", "arguments": '{"q'}}]], [("a", "f", '{"q')]),
    "no id": ([[{"function": {"name": "f", "arguments": "{}"}}]], [("call_0", "f", "{}")]),
    "name repeated": ([[CALL], [{**CALL, "function": {"name": "f", "arguments": "{}"}}]], [("a", "f", "{}")]),
}


@pytest.mark.parametrize("finish", ["tool_calls", "stop", "function_call"])
@pytest.mark.parametrize("form", TOOL_STREAMS)
async def test_tool_calls_are_assembled_before_the_end(form: str, finish: str) -> None:
    deltas, calls = TOOL_STREAMS[form]
    _, items = await outcome(chat("", tool_deltas=deltas, finish=finish))
    assert items == [*(ToolCall(*call) for call in calls), Finished("tool_calls", 9, 2, 4)]


async def test_tools_without_any_finish_reason_count_when_the_stream_says_done() -> None:
    answer = raw("chat", chunk({"tool_calls": [CALL]}), DONE)
    assert (await outcome(answer))[1] == [ToolCall("a", "f", "{}"), Finished("tool_calls")]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"), ("tool_calls", "stop")],
)
async def test_the_reason_is_one_of_four(finish: str, reason: str) -> None:
    assert (await outcome(chat("Hi", finish=finish)))[1] == [Finished(reason, 9, 2, 4)]  # type: ignore[arg-type]


async def test_the_request_is_what_the_vendor_wants() -> None:
    call = ToolCall("a", "f", "{}")
    history = (
        *HELLO.messages,
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "42", tool_call_id="a"),
    )
    request = ChatRequest(history, (Tool("f", "Does.", {"x": 1}),), 99)
    async with model(reasoning_effort="none") as (engine, fake):
        await collect(engine, request)
        vendor = fake.seen[0]
        assert vendor.headers["authorization"] == "Bearer sk-test"
        assert vendor.headers["content-type"] == "application/json"
        sent = vendor.json
        assert sent.pop("messages")[2:] == [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "42", "tool_call_id": "a"},
        ]
        assert re.fullmatch(r"aura-[0-9a-f]{24}", sent.pop("prompt_cache_key"))
        assert sent == {
            "model": "gpt-6-luna",
            "stream": True,
            "stream_options": {"include_usage": True, "include_obfuscation": False},
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "description": "Does.", "parameters": {"x": 1}},
                }
            ],
            "max_completion_tokens": 99,
            "reasoning_effort": "none",
        }


async def test_other_servers_get_no_field_that_only_openai_knows() -> None:
    async with serve() as fake, open_http() as http:
        await collect(
            OpenAIChat(CompatibleSettings(base_url=fake.base_url), http), msgspec.structs.replace(HELLO, max_tokens=9)
        )
        assert "authorization" not in fake.seen[0].headers
        assert set(fake.seen[0].json) == {"model", "messages", "stream", "stream_options", "max_tokens"}
        assert fake.seen[0].json["stream_options"] == {"include_usage": True}


async def test_one_connection_serves_turn_after_turn_and_warming_opens_it() -> None:
    async with model() as (engine, fake):
        await engine.warm()
        await engine.warm()
        for _ in range(3):
            await collect(engine)
        assert fake.connections == 1


async def test_an_engine_that_closes_idle_connections_is_connected_again() -> None:
    async with model(chat("One", framing="close")) as (engine, fake):
        await collect(engine)
        await trio.sleep(0.02)
        await collect(engine)
        assert fake.connections == 2


async def test_cancelling_reaches_the_engine_at_once() -> None:
    async with model(chat(["word "] * 500, gap_s=0.01)) as (engine, fake):
        with trio.CancelScope() as scope:
            async with engine.reply(HELLO) as items:
                async for _ in items:
                    left_at = trio.current_time()
                    scope.cancel()
        sent = fake.seen[0].chunks_sent
        await trio.sleep(0.05)
        assert fake.seen[0].disconnected_at is not None
        assert fake.seen[0].disconnected_at - left_at < 0.05
        assert fake.seen[0].chunks_sent <= sent + 1


@pytest.mark.parametrize("leave", [lambda: None, lambda: (_ for _ in ()).throw(KeyError)])
async def test_leaving_in_the_middle_stops_the_engine_and_frees_the_slot(leave: Callable[[], Any]) -> None:
    async with serve(chat(["word "] * 500, gap_s=0.01)) as fake, open_http(HttpSettings(max_connections=1)) as http:
        engine = OpenAIChat(OpenAISettings(base_url=fake.base_url), http)
        try:
            async with engine.reply(HELLO) as items:
                await anext(items)
                next(leave() or iter([0]))
        except KeyError:
            pass
        await trio.sleep(0.03)
        assert fake.seen[0].disconnected_at is not None
        assert await collect(engine)


async def test_too_many_requests_at_once_wait_for_a_connection_only_so_long() -> None:
    limits = HttpSettings(max_connections=1, connect_timeout_s=0.1)
    async with serve(chat("Hi", ttft_s=0.3)) as fake, open_http(limits) as http, trio.open_nursery() as nursery:
        engine = OpenAIChat(OpenAISettings(base_url=fake.base_url), http)
        nursery.start_soon(collect, engine)
        await trio.sleep(0.02)
        with pytest.raises(errors.TimedOut, match="every connection"):
            await collect(engine)
