"""Chat Completions as a stream, from OpenAI and from servers that speak like it.

Wire facts: OpenAI's API reference and the deviations of Ollama, vLLM, LM Studio, llama.cpp and xAI, Nov 2026. The
stream is read raw and decoded by msgspec (2 µs per token chunk; the `openai` package needs 95 and blocks the event
loop for 18-33 ms to send 100 messages). It acts on `finish_reason` and does not wait for the body to end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, NoReturn

import httpx
import msgspec
import structlog
import trio

from aura.core.errors import ProviderError, StreamCut
from aura.core.ports import ChatItem, ChatRequest, Finished, Message, TextDelta, Tool
from aura.providers.http import Answer, Http
from aura.providers.openai.common import headers, refusal, warm_up
from aura.providers.openai.errors import from_http, from_payload
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.thoughts import ThoughtFilter
from aura.providers.openai.toolcalls import ToolCalls, ToolPart
from aura.providers.sse import DONE, SseReader

log = structlog.get_logger()
MAX_ANSWER_BYTES = 4 * 1024 * 1024

Reason = Literal["stop", "length", "tool_calls", "content_filter"]
REASONS: dict[str, Reason] = {"length": "length", "content_filter": "content_filter", "tool_calls": "tool_calls"}
"""Everything else (stop, function_call, eos, end_turn …) is a stop; collected tool calls make it tool_calls."""


class Delta(msgspec.Struct):
    """A piece of an answer, or a whole one. Fields nobody should hear (reasoning, thinking) are not even decoded."""

    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[ToolPart] | None = None


class Choice(msgspec.Struct):
    """The one alternative that was asked for: `delta` in a stream, `message` in a one-shot answer."""

    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class CachedDetails(msgspec.Struct):
    """Part of the usage."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """Token counts, in the last chunk or in every one."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: CachedDetails | None = None


class Chunk(msgspec.Struct):
    """One event of the stream."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None


decode_chunk = msgspec.json.Decoder(Chunk).decode
encode = msgspec.json.Encoder().encode


class OpenAIChat:
    """A chat model behind `/chat/completions`."""

    def __init__(self, settings: OpenAISettings, http: Http, *, name: str = "openai") -> None:
        self.name = name
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = headers(settings, "text/event-stream")

    async def warm(self) -> None:
        """Connect in advance; a failure shows at the first request."""
        await warm_up(self.name, self._endpoint.warm)

    @asynccontextmanager
    async def reply(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatItem]]:
        """Ask, wait for the head of the answer, stream it; leaving closes the connection unless it is read empty."""
        body = encode(wire_request(request, self._settings))
        deadline = trio.current_time() + self._settings.first_token_timeout_s
        try:
            answer = await self._endpoint.post(
                "/chat/completions", body, self._headers, self._settings.first_token_timeout_s
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise from_http(self.name, error) from error
        try:
            if answer.status != 200:
                raise await refusal(self.name, answer, deadline)
            stream = Reply(self.name, answer, self._settings, deadline)
            yield stream
            await stream.drain()
        finally:
            answer.close()


class Reply:
    """The items of one answer."""

    def __init__(self, name: str, answer: Answer, settings: OpenAISettings, deadline: float) -> None:
        self._name, self._answer, self._settings, self._deadline = name, answer, settings, deadline
        self._sse = SseReader()
        self._thoughts = ThoughtFilter()
        self._calls = ToolCalls()
        self._ready: deque[ChatItem] = deque()
        self._reason: str | None = None
        self._usage = Usage()
        self._over = False

    def __aiter__(self) -> Reply:
        return self

    async def __anext__(self) -> ChatItem:
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            await self._receive()
        return self._ready.popleft()

    async def drain(self) -> None:
        """After the finish, wait a moment for the end of the body, for only then can the connection be kept."""
        deadline = trio.current_time() + self._settings.usage_wait_s
        try:
            while self._over and not self._answer.complete() and await self._answer.read(deadline):
                pass
        except httpx.HTTPError:
            log.debug("chat.connection_not_kept", provider=self._name)

    async def _receive(self) -> None:
        """Wait for bytes and turn them into items. After the finish, whatever goes wrong only costs the usage."""
        one_shot = "json" in self._answer.content_type
        try:
            if one_shot:  # a server that ignores `stream` answers with one document
                events = [(b"", await self._answer.read_all(self._deadline, MAX_ANSWER_BYTES))]
                data = b""
            else:
                data = await self._answer.read(self._deadline)
                events = self._sse.feed(data) if data else self._sse.end()
        except httpx.HTTPError as error:
            if self._reason is None:
                self._fail(from_http(self._name, error, begun=True), error)
            self._finish()
            return
        except ValueError as error:
            self._fail(StreamCut(f"{self._name}: {error}", provider=self._name), error)
        for event, payload in events:
            if payload and not self._over:
                self._take(event, payload)
        if not data and not self._over:
            self._end()

    def _take(self, event: bytes, payload: bytes) -> None:
        if payload == DONE:
            self._end()
            return
        if event == b"error":
            self._fail(from_payload(self._name, payload))
        chunk = self._decode(payload)
        if chunk.error is not None:
            self._fail(from_payload(self._name, {"error": chunk.error}))
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.choices:
            if self._reason is None:  # only real progress moves the deadline: comments that drip do not
                self._deadline = trio.current_time() + self._settings.stall_timeout_s
            choice = chunk.choices[0]
            self._add(choice.delta or choice.message, choice.finish_reason)
        if self._reason is not None and self._usage.completion_tokens is not None and not chunk.choices:
            self._finish()  # the usage chunk: the last one before [DONE]

    def _decode(self, payload: bytes) -> Chunk:
        try:
            return decode_chunk(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("chat.broken_chunk", provider=self._name, bytes=len(payload))
            self._fail(StreamCut(f"{self._name}: the answer contains broken JSON", provider=self._name), error)

    def _add(self, delta: Delta | None, finish_reason: str | None) -> None:
        if delta is not None:
            self._speak(self._thoughts.feed(text_of(delta)))
            for position, part in enumerate(delta.tool_calls or ()):
                self._calls.add(part, position)
        if finish_reason and self._reason is None:
            self._reason = finish_reason
            self._speak(self._thoughts.end())
            self._ready.extend(self._calls.all())
            self._deadline = trio.current_time() + self._settings.usage_wait_s
            if not self._settings.ask_usage:
                self._finish()

    def _speak(self, text: str) -> None:
        if text:
            self._ready.append(TextDelta(text))

    def _end(self) -> None:
        """The stream says that it is over: an end without a reason is a cut, save that Ollama gives tools without."""
        if self._reason is None and self._calls:
            self._add(None, "tool_calls")
        if self._reason is None:
            cut = f"{self._name}: the answer ended in the middle (no finish_reason)"
            self._fail(StreamCut(cut, provider=self._name))
        self._finish()

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        reason = REASONS.get(self._reason or "", "stop")
        if self._calls and reason == "stop":
            reason = "tool_calls"
        elif reason == "tool_calls" and not self._calls:
            reason = "stop"
        usage, details = self._usage, self._usage.prompt_tokens_details
        cached = details.cached_tokens if details else None
        self._ready.append(Finished(reason, usage.prompt_tokens, usage.completion_tokens, cached))

    def _fail(self, error: ProviderError, cause: Exception | None = None) -> NoReturn:
        self._over = True
        raise error from cause


def wire_request(request: ChatRequest, settings: OpenAISettings) -> dict[str, Any]:
    """The request as OpenAI's JSON. Stable bytes for equal input, so that the engine's prompt cache hits."""
    body: dict[str, Any] = {
        "model": settings.chat_model,
        "messages": [wire_message(message) for message in request.messages],
        "stream": True,
    }
    if settings.ask_usage:
        body["stream_options"] = {"include_usage": True}
        if settings.openai_only_fields:
            body["stream_options"]["include_obfuscation"] = False
    if request.tools:
        body["tools"] = [wire_tool(tool) for tool in request.tools]
        if request.tool_choice in ("none", "required"):
            body["tool_choice"] = request.tool_choice
        elif request.tool_choice != "auto":
            body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice}}
    if request.max_tokens is not None:
        body[settings.max_tokens_field] = request.max_tokens
    if settings.reasoning_effort:
        body["reasoning_effort"] = settings.reasoning_effort
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    return body


def wire_message(message: Message) -> dict[str, Any]:
    """One entry of `messages`."""
    entry: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.role == "tool":
        entry["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        entry["content"] = message.text or None
        entry["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return entry


def wire_tool(tool: Tool) -> dict[str, Any]:
    """One entry of `tools`."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def text_of(delta: Delta) -> str:
    """The words of a piece; a refusal is spoken too. Mistral sends content as a list of typed parts."""
    content = delta.content
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if part.get("type", "text") == "text")
    return (content or "") + (delta.refusal or "")
