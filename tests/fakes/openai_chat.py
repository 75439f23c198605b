"""Chat Completions, as OpenAI and the servers that imitate it stream it. Source: providers.md 1.2, 6 (2026-11-22)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from tests.fakes.faults import DONE, LINE
from tests.fakes.openai_models import limits
from tests.fakes.server import Call
from tests.fakes.wire import Answer, document
from tests.fakes.world import Said, text_of

Steps = Iterator[bytes | float]
TOKEN = "@token@"
OWN_TOOLS = (("get_weather", '{"city": "Oslo"}'), ("get_time", '{"zone": "Europe/Oslo"}'))
"""Called by the faults with tools when the request declares none."""


def tokens(text: str) -> Iterator[str]:
    """A text cut as a model would: words with the space before them, long ones in two."""
    for number, word in enumerate(text.split(" ") if text else ()):
        piece = f" {word}" if number else word
        yield from (piece[:5], piece[5:]) if len(piece) > 8 else (piece,)


def count(text: str) -> int:
    """How many tokens a text has."""
    return sum(1 for _ in tokens(text))


class Stream:
    """The chunks of one answer."""

    def __init__(self, call: Call, asked: dict[str, Any], said: Said) -> None:
        self.call, self.said = call, said
        self.facts = call.vendor.dialect.facts
        self.rng = Random(call.world.seed)
        options = asked.get("stream_options") or {}
        self.wants_usage = bool(options.get("include_usage")) and not call.has("no_usage")
        self.padded = self.facts.get("pads", False) and options.get("include_obfuscation", True)
        self.usage = self._usage(asked.get("messages", ()))
        self.base: dict[str, Any] = {
            "id": f"chatcmpl-{id(call):x}", "object": "chat.completion.chunk", "created": 1790000000,
            "model": asked.get("model", ""), **self.facts.get("base", {}),
        }  # fmt: skip
        self.before, _, self.behind = self.chunk({"content": TOKEN, **self.facts.get("delta", {})}).partition(
            json.dumps(TOKEN).encode()
        )

    def _usage(self, messages: Any) -> dict[str, Any]:
        prompt = sum(count(text_of(message)) for message in messages)
        said = self.said
        words = count(said.text + said.refusal) + sum(count(arguments) + 4 for _, arguments in said.tools)
        thought = count(said.reasoning)
        usage: dict[str, Any] = {
            "prompt_tokens": prompt, "completion_tokens": words + thought, "total_tokens": prompt + words + thought,
            "prompt_tokens_details": {"cached_tokens": prompt // 128 * 128 if prompt >= 1024 else 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
        }  # fmt: skip
        if ticks := self.facts.get("ticks"):
            usage["cost_in_usd_ticks"] = prompt * ticks[0] + (words + thought) * ticks[1]
        return usage

    def chunk(self, delta: dict[str, Any] | None, finish: str | None = None) -> bytes:
        """One event; without a delta the one with the usage."""
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        payload = {**self.base, "choices": choices}
        if delta is None or self.call.has("usage_every_chunk"):
            payload["usage"] = self.usage
        elif self.wants_usage:
            payload["usage"] = None
        if self.padded or self.call.has("obfuscation"):
            payload["obfuscation"] = "".join(self.rng.choices("abcdefgh0123456789", k=self.rng.randint(1, 16)))
        if self.call.has("obfuscation"):
            payload |= {"service_tier": "default", "moderation": None, "x_new_field": {"a": [1]}}
        return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"

    def token(self, token: str) -> bytes:
        """The same for text, most of it written already."""
        if self.padded:
            return self.chunk({"content": token})
        return self.before + json.dumps(token, ensure_ascii=False).encode() + self.behind

    def steps(self) -> Steps:
        """The whole stream."""
        call, said = self.call, self.said
        opening = {"role": "assistant", "content": self.facts.get("first_content", ""), "refusal": None}
        yield self.chunk(opening)
        if wait := call.world.draw(call.vendor.name, "ttft_s"):
            yield wait
        for piece in tokens(said.reasoning):
            yield self.chunk({self.facts.get("reasoning", "reasoning_content"): piece})
        for piece in tokens(said.refusal):
            yield self.chunk({"refusal": piece})
        for piece in tokens(said.text):
            yield self.token(piece)
            if gap := call.world.draw(call.vendor.name, "gap_s"):
                yield gap
        for delta in tool_deltas(self):
            yield self.chunk({"tool_calls": delta})
        if not call.has("no_finish"):
            finish = said.finish or ("tool_calls" if said.tools and not call.has("tools_stop") else "stop")
            last = self.chunk({}, None if call.has("finish_null") else finish)
            extra = self.facts.get("extra")
            yield last.replace(b"data: {", b"data: {" + json.dumps(extra).encode()[1:-1] + b", ") if extra else last
        if self.wants_usage:
            yield self.chunk(None)
        if call.has("unknown_events"):
            yield b'event: rate_limits\ndata: {"object": "x.rate_limits", "choices": []}\n\n'
        yield DONE


def tool_deltas(stream: Stream) -> Iterator[list[dict[str, Any]]]:
    """The calls, their arguments in pieces; faults write them otherwise."""
    call = stream.call
    calls = [
        {"index": i, "id": f"call_{i}_{id(stream):x}", "type": "function", "function": {"name": n, "arguments": a}}
        for i, (n, a) in enumerate(stream.said.tools)
    ]
    for entry in calls if call.has("tools_no_index") else ():
        del entry["index"]
    for entry in calls if call.has("tools_index_0") else ():
        entry["index"] = 0
    for entry in calls if call.has("tools_dict") else ():
        entry["function"] |= {"arguments": json.loads(entry["function"]["arguments"])}
    if stream.facts.get("whole_calls") or any(
        call.has(f"tools_{name}") for name in ("whole", "no_index", "index_0", "dict")
    ):
        yield from ([entry] for entry in calls)
        return
    bodies = [entry["function"]["arguments"] for entry in calls]
    heads = [[{**entry, "function": {**entry["function"], "arguments": ""}}] for entry in calls]
    pieces = [[[{"index": i, "function": {"arguments": part}}] for part in cut(body)] for i, body in enumerate(bodies)]
    if call.has("tools_interleaved"):
        yield from heads
        yield from (parts[k] for k in range(max(map(len, pieces))) for parts in pieces if k < len(parts))
        return
    for head, parts in zip(heads, pieces, strict=True):
        yield head
        yield from parts


def cut(text: str, size: int = 7) -> list[str]:
    """Pieces of arguments."""
    return [text[i : i + size] for i in range(0, len(text), size)]


def bent(call: Call, asked: dict[str, Any], said: Said) -> Said:
    """What the model says when it is meant to misbehave."""
    name = call.fault.name if call.fault else ""
    if name.startswith("tools_") and not said.tools:
        declared = [(tool["function"]["name"], '{"q": "Zürich", "n": 1}') for tool in asked.get("tools") or ()]
        said = replace(said, text="", tools=tuple((declared + list(OWN_TOOLS))[:2] if declared else OWN_TOOLS))
    if name == "tools_invalid":
        return replace(said, tools=tuple((tool, arguments[:-3]) for tool, arguments in said.tools))
    if name == "refusal":
        return Said(refusal="I'm sorry, I can't help with that.")
    if name in ("content_filter", "length"):
        middle = said.text[: len(said.text) * 2 // 3].rsplit(" ", 1)[0]
        return replace(said, text=middle.rstrip(".!?"), finish=name)
    if name == "split_utf8":
        return replace(said, text=f"Grüße aus Zürich – 30 °C 🙂. {said.text}")
    if name == "think_tags":
        return replace(said, text=f"<think>The user wants something. Let me see.</think>\n\n{said.text}")
    return said


async def chat(call: Call) -> Answer:
    """POST /chat/completions."""
    asked = call.seen.json
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        status, body = call.vendor.dialect.refuse("validation", "'messages' must be a list that is not empty")
        return document("chat", body, 400 if status == 422 else status)
    if (refused := limits(call)) is not None:
        return refused
    said = bent(call, asked, call.world.say(messages))
    stream = Stream(call, asked, said)
    headers = call.vendor.state.get("headers", {})
    if call.has("error_document"):
        return Answer("chat", [LINE], content_type="application/json", framing="length")
    if not asked.get("stream") or call.has("one_shot_json"):
        wait = call.world.draw(call.vendor.name, "ttft_s") + count(said.text) * call.world.draw(
            call.vendor.name, "gap_s"
        )
        return document("chat", whole(stream), headers=headers, head_delay_s=wait)
    return Answer("chat", stream.steps(), headers=headers, lead=1)


def whole(stream: Stream) -> dict[str, Any]:
    """The answer as one document."""
    said = stream.said
    calls = [
        {"id": f"call_{i}_{id(stream):x}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(said.tools)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": said.refusal or None}
    if calls:
        message["tool_calls"] = calls
    finish = said.finish or ("tool_calls" if calls else "stop")
    return {
        **stream.base, "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": stream.usage,
    }  # fmt: skip
