"""The events of a chat stream as they stand on the wire, and what is read out of them.

Only what is spoken, called or billed is decoded; what may come in any shape (usage, thoughts) is kept as raw JSON and
cannot break an answer. Sources: OpenAI, xAI, Groq, Ollama, vLLM, LM Studio, llama.cpp, Nov 2026.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aura.core.ports import Finished
from aura.providers.openai.toolcalls import ToolPart

TICKS_PER_USD = 1e10
"""xAI's unit of `cost_in_usd_ticks`."""
NOTHING = msgspec.Raw()


class Delta(msgspec.Struct):
    """A piece of an answer, or a whole one."""

    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[ToolPart] | None = None
    reasoning_content: msgspec.Raw = NOTHING
    reasoning: msgspec.Raw = NOTHING
    thinking: msgspec.Raw = NOTHING

    def rare(self) -> bool:
        """Whether there is anything but plain text."""
        return bool(self.tool_calls or self.refusal or self.reasoning_content or self.reasoning or self.thinking)


class Choice(msgspec.Struct):
    """The one alternative that was asked for: `delta` in a stream, `message` in a one-shot answer."""

    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Groq(msgspec.Struct):
    """Groq's own: usage in the last chunk, and why a stream was stopped."""

    usage: msgspec.Raw = NOTHING
    error: Any = None


class Chunk(msgspec.Struct):
    """One event of the stream."""

    choices: list[Choice] | None = None
    usage: msgspec.Raw = NOTHING
    error: Any = None
    x_groq: Groq | None = None


class CachedDetails(msgspec.Struct):
    """Part of the usage."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """Token counts and, from xAI, the exact price."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: CachedDetails | None = None
    cost_in_usd_ticks: float | None = None

    def finished(self, reason: Any) -> Finished:
        """The last item of an answer."""
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        cost = None if self.cost_in_usd_ticks is None else self.cost_in_usd_ticks / TICKS_PER_USD
        return Finished(reason, self.prompt_tokens, self.completion_tokens, cached, cost)


decode_chunk = msgspec.json.Decoder(Chunk).decode
usage_decoder: msgspec.json.Decoder[Usage | None] = msgspec.json.Decoder(Usage | None, strict=False)


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """The counts, None when there are none or they make no sense."""
    if not raw:
        return None
    try:
        return usage_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def text_of(delta: Delta) -> str:
    """The words of a piece; a refusal is spoken too. Mistral sends content as a list of typed parts."""
    content = delta.content
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if part.get("type", "text") == "text")
    return (content or "") + (delta.refusal or "")


def thought_chars(delta: Delta) -> int:
    """Length of what the model thinks aloud in a field of its own; nobody should hear it."""
    thoughts = (delta.reasoning_content, delta.reasoning, delta.thinking)
    return sum(len(raw) - 2 for raw in thoughts if raw and bytes(raw) != b"null")
