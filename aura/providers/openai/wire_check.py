"""The order of the events of a real answer, to compare with the documented one."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from aura.providers.openai.chunks import Chunk, decode_chunk, read_usage, text_of, thought_chars
from aura.providers.sse import DONE, SseReader

ORDER = re.compile(r"(?:(?:role|empty|thought|text) )*finish (?:usage )?done ")
"""As documented: usage, if it was asked for, stands between the finish and [DONE]."""


class WireEvents(msgspec.Struct, frozen=True):
    """What came, in its order."""

    kinds: tuple[str, ...]
    request_id: str = ""

    def in_order(self) -> bool:
        """Whether it came as documented."""
        return ORDER.fullmatch("".join(f"{kind} " for kind in self.kinds)) is not None

    def summary(self) -> str:
        """The kinds, each run of equal ones once."""
        return " ".join(kind for at, kind in enumerate(self.kinds) if self.kinds[at - 1 : at] != (kind,))


def wire_events(body: bytes, headers: Mapping[str, str]) -> WireEvents:
    """The events of a whole body."""
    reader = SseReader()
    payloads = [data for _, data in (*reader.feed(body), *reader.end()) if data]
    return WireEvents(tuple(map(kind_of, payloads)), headers.get("x-request-id", ""))


def kind_of(payload: bytes) -> str:
    """What one event is for."""
    if payload == DONE:
        return "done"
    try:
        chunk = decode_chunk(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "broken"
    if chunk.error is not None:
        return "error"
    return kind_of_choice(chunk) if chunk.choices else "usage" if read_usage(chunk.usage) else "empty"


def kind_of_choice(chunk: Chunk) -> str:
    """The same of an event with a choice."""
    assert chunk.choices
    choice = chunk.choices[0]
    if choice.finish_reason:
        return "finish"
    delta = choice.delta
    if delta is None:
        return "empty"
    if delta.tool_calls:
        return "tool"
    return "text" if text_of(delta) else "thought" if thought_chars(delta) else "role"
