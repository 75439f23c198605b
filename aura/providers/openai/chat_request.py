"""The request of a chat, and what to leave out of it when a server refuses a field.

Servers differ in the fields they know, and their versions do too. A field that is refused is left out from then on;
the server's own words are the only way to find out. Sources: OpenAI, FastAPI servers (vLLM), llama.cpp, Ollama, Nov
2026.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import blake2b
from typing import Any

import msgspec

from aura.core.ports import ChatRequest, Message, Tool
from aura.providers.openai.errors import Fault
from aura.providers.openai.settings import OpenAISettings

encode = msgspec.json.Encoder().encode

REFUSING = re.compile(
    r"unknown|unsupported|unrecogni[sz]ed|unexpected|not (?:supported|permitted|allowed|recogni[sz]ed)"
    r"|(?:does|do)(?: not|n't) support|extra[ _](?:inputs|fields|forbidden)",
    re.I,
)
"""Words that refuse a field, and not its value."""
NO_TOOLS = re.compile(
    r"(?:does|do)(?: not|n't) support (?:tool|function)|tools? .*(?:not supported|requires --)"
    r"|tool choice requires --|requires --jinja",
    re.I,
)
"""Ollama, llama.cpp without --jinja (with status 500), vLLM without --enable-auto-tool-choice."""
NEEDED = {"model", "messages", "stream", "tools", "tool_choice"}
"""Never dropped because a text happens to name them."""
RENAMED = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}
OBFUSCATION = "stream_options.include_obfuscation"


def wire_request(request: ChatRequest, settings: OpenAISettings, refused: Collection[str] = ()) -> dict[str, Any]:
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
    if request.tools and settings.tools:
        body["tools"] = [wire_tool(tool) for tool in request.tools]
        body |= wire_choice(request.tool_choice)
    if request.max_tokens is not None:
        body[settings.max_tokens_field] = request.max_tokens
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    for name in ("reasoning_effort", "verbosity", "service_tier", "safety_identifier", "prompt_cache_key"):
        if value := getattr(settings, name):
            body[name] = value
    if body.get("prompt_cache_key") == "auto":
        body["prompt_cache_key"] = cache_key(request)
    body |= settings.chat_extra
    for field in refused:
        leave_out(body, field, refused)
    return body


def wire_choice(choice: str) -> dict[str, Any]:
    """Which function the model must call, if it must."""
    if choice == "auto":
        return {}
    return {
        "tool_choice": choice if choice in ("none", "required") else {"type": "function", "function": {"name": choice}}
    }


def cache_key(request: ChatRequest) -> str:
    """The same for all requests that begin alike: who the assistant is and what it may call."""
    beginning = [message.text for message in request.messages[:1] if message.role == "system"]
    return "aura-" + blake2b(encode((beginning, request.tools)), digest_size=12).hexdigest()


def leave_out(body: dict[str, Any], field: str, refused: Collection[str]) -> None:
    """Remove a field that the server does not know; a limit goes by its other name, unless that is refused too."""
    if field == OBFUSCATION:
        body.get("stream_options", {}).pop("include_obfuscation", None)
        return
    value = body.pop(field, None)
    if field == "tools":
        body.pop("tool_choice", None)
    other = RENAMED.get(field)
    if value is not None and other and other not in refused:
        body[other] = value


def refused_field(body: dict[str, Any], status: int, fault: Fault) -> str | None:
    """The field of the request that a server refuses, if that is what its answer is about."""
    if "tools" in body and NO_TOOLS.search(fault.message):
        return "tools"
    words = f"{fault.code} {fault.kind} {fault.message}"
    if status not in (400, 422) or not REFUSING.search(words):
        return None
    if "include_obfuscation" in f"{fault.param} {fault.message}" and "include_obfuscation" in body.get(
        "stream_options", ()
    ):
        return OBFUSCATION
    optional = [field for field in body if field not in NEEDED]
    if (named := fault.param.partition(".")[0]) in optional:
        return named
    if named in NEEDED:
        return None
    places = {field: found.start() for field in optional if (found := re.search(rf"\b{field}\b", fault.message))}
    return min(places, key=places.__getitem__, default=None)


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
