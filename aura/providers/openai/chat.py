"""Chat Completions as a stream, from OpenAI and from servers that speak like it.

Wire facts: OpenAI's API reference and the deviations of Ollama, vLLM, LM Studio, llama.cpp, Groq and xAI, Nov 2026. The
stream is read raw and decoded by msgspec (2 µs per token chunk; the `openai` package needs 95 and blocks the event
loop for 18-33 ms to send 100 messages). It acts on `finish_reason` and does not wait for the body to end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, NoReturn

import httpx
import msgspec
import structlog
import trio

from aura.core.errors import ProviderError, StreamCut
from aura.core.ports import ChatItem, ChatRequest, TextDelta
from aura.providers.http import Answer, Http
from aura.providers.openai.chat_request import encode, leave_out, refused_field, wire_request
from aura.providers.openai.chunks import Chunk, Delta, Groq, Usage, decode_chunk, read_usage, text_of, thought_chars
from aura.providers.openai.common import headers, probe, read_refusal, request_id, warm_up
from aura.providers.openai.errors import from_http, from_payload, parse
from aura.providers.openai.limits import Limits
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.thoughts import ThoughtFilter
from aura.providers.openai.toolcalls import ToolCalls
from aura.providers.openai.wire_check import WireEvents, wire_events
from aura.providers.sse import DONE, SseReader
from aura.providers.vitals import Left

log = structlog.get_logger()
MAX_ANSWER_BYTES = 4 * 1024 * 1024

Reason = Literal["stop", "length", "tool_calls", "content_filter"]
REASONS: dict[str, Reason] = {"length": "length", "content_filter": "content_filter", "tool_calls": "tool_calls"}
"""Everything else (stop, function_call, eos, end_turn …) is a stop; collected tool calls make it tool_calls."""


class OpenAIChat:
    """A chat model behind `/chat/completions`."""

    def __init__(self, settings: OpenAISettings, http: Http, *, name: str = "openai") -> None:
        self.name = name
        self.model = settings.chat_model
        self._settings = settings
        self._endpoint = http.endpoint(settings.base_url)
        self._headers = headers(settings, "text/event-stream")
        self._limits = Limits()

    @property
    def left(self) -> Left:
        """What the account may still use, by the headers of the last reply."""
        return self._limits.left(self._settings.concurrency or None)

    async def warm(self) -> None:
        """Connect in advance; a failure shows at the first request."""
        await warm_up(self.name, self._endpoint.warm)

    async def probe(self) -> None:
        """Whether key and server are good. Raises ProviderError."""
        await probe(self.name, self._endpoint, self._headers, self._settings)

    @asynccontextmanager
    async def reply(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatItem]]:
        """Ask, wait for the head of the answer, stream it; leaving closes the connection unless it is read empty."""
        deadline = trio.current_time() + self._settings.first_token_timeout_s
        answer = await self._ask(request, deadline)
        try:
            stream = Reply(self.name, answer, self._settings, deadline)
            yield stream
            await stream.drain()
        finally:
            answer.close()

    async def wire_events(self, request: ChatRequest) -> WireEvents:
        """Ask, and tell what came instead of giving it on (for `providers/contract.py`)."""
        deadline = trio.current_time() + self._settings.first_token_timeout_s
        answer = await self._ask(request, deadline)
        try:
            return wire_events(await answer.read_all(deadline, MAX_ANSWER_BYTES), answer.headers)
        except httpx.HTTPError as error:
            raise from_http(self.name, error, begun=True) from error
        finally:
            answer.close()

    async def _ask(self, request: ChatRequest, deadline: float) -> Answer:
        """Send the request; again without a field that the engine refuses, which it is never sent any more."""
        refused = self._endpoint.refused.setdefault(self.model, [])
        body = wire_request(request, self._settings, refused)
        while True:
            left_s = max(0.0, deadline - trio.current_time())
            try:
                answer = await self._endpoint.post("/chat/completions", encode(body), self._headers, left_s)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise from_http(self.name, error) from error
            self._limits.note(answer.headers)
            if answer.status == 200:
                return answer
            try:
                failed, said = await read_refusal(self.name, answer, deadline)
            finally:
                answer.close()
            field = refused_field(body, answer.status, parse(said))
            if field is None:
                raise failed
            log.warning("chat.field_refused", provider=self.name, model=self.model, field=field, reason=str(failed))
            refused += [] if field in refused else [field]
            leave_out(body, field, refused)


class Reply:
    """The items of one answer."""

    def __init__(self, name: str, answer: Answer, settings: OpenAISettings, deadline: float) -> None:
        self._name, self._answer, self._settings, self._deadline = name, answer, settings, deadline
        self._sse = SseReader()
        self._thoughts = ThoughtFilter(settings.starts_thinking)
        self._calls = ToolCalls()
        self._ready: deque[ChatItem] = deque()
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._begun = self._over = False

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
        if chunk.x_groq is not None:
            self._take_groq(chunk.x_groq)
        if chunk.choices:
            choice = chunk.choices[0]
            self._add(choice.delta or choice.message, choice.finish_reason)
            self._wait_on()
        if (not chunk.choices or self._reason is not None) and (usage := read_usage(chunk.usage)) is not None:
            self._usage = usage
            if self._reason is not None and not chunk.choices and usage.completion_tokens is not None:
                self._finish()  # the usage chunk: the last one before [DONE]

    def _take_groq(self, groq: Groq) -> None:
        """Groq puts the usage, and why it stopped in the middle, into a corner of its own."""
        if groq.error is not None and self._reason is None:
            self._fail(from_payload(self._name, {"error": groq.error}))
        self._usage = read_usage(groq.usage) or self._usage

    def _wait_on(self) -> None:
        """Only real progress moves the deadline: comments that drip do not. The first word has a time of its own."""
        if self._reason is None:
            stalled_at = trio.current_time() + self._settings.stall_timeout_s
            self._deadline = stalled_at if self._begun else max(stalled_at, self._deadline)

    def _decode(self, payload: bytes) -> Chunk:
        try:
            return decode_chunk(payload)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("chat.broken_chunk", provider=self._name, bytes=len(payload))
            self._fail(StreamCut(f"{self._name}: the answer contains broken JSON", provider=self._name), error)

    def _add(self, delta: Delta | None, finish_reason: str | None) -> None:
        if delta is not None:
            content = delta.content
            self._speak(self._thoughts.feed(content if type(content) is str else text_of(delta)))
            if delta.rare():
                self._add_rare(delta)
        if finish_reason and self._reason is None:
            self._reason = finish_reason
            self._speak(self._thoughts.end())
            self._ready.extend(self._calls.all())
            self._deadline = trio.current_time() + self._settings.usage_wait_s
            if not self._settings.ask_usage:
                self._finish()

    def _add_rare(self, delta: Delta) -> None:
        """What most pieces of an answer do not have."""
        if delta.refusal and type(delta.content) is str:
            self._speak(self._thoughts.feed(delta.refusal))
        self._thoughts.dropped += thought_chars(delta)
        for position, part in enumerate(delta.tool_calls or ()):
            self._begun = True
            self._calls.add(part, position)

    def _speak(self, text: str) -> None:
        if text:
            self._begun = True
            self._ready.append(TextDelta(text))

    def _end(self) -> None:
        """The stream says that it is over: an end without a reason is a cut, unless everything else is there.

        Ollama gave tools without one, vLLM now and then texts, but their token counts after it.
        """
        if self._reason is None and self._calls:
            self._add(None, "tool_calls")
        if self._reason is None and self._begun and self._usage is not None and self._usage.completion_tokens:
            self._add(None, "stop")
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
        self._ready.append((self._usage or Usage()).finished(reason))
        if self._thoughts.dropped:
            log.debug("chat.thoughts_dropped", provider=self._name, chars=self._thoughts.dropped)

    def _fail(self, error: ProviderError, cause: Exception | None = None) -> NoReturn:
        self._over = True
        log.debug("chat.broke_off", provider=self._name, code=error.code, **request_id(self._answer))
        raise error from cause
