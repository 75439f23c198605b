"""The protocol's errors: their texts, and msgspec's complaints turned into them.

Codes and wordings are those of the real service (realtime-protocol.md 1.8) because clients look at both: LiveKit
knows a harmless cancel by its first words "Cancellation failed", Pipecat by its code.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec

from aura.core.errors import ProtocolFault

MAX_DEPTH = 64
"""Deepest nesting of objects that a client may send (a tool's JSON schema is the deepest thing there is)."""
_MAX_MESSAGE_CHARS = 300

_PLACE = re.compile(r" - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")


def invalid(error: msgspec.ValidationError, root: str = "", event_id: str | None = None) -> ProtocolFault:
    """The fault for a value of the wrong shape; `root` is the dotted path of what was validated."""
    text = str(error)
    place = _PLACE.search(text)
    complaint = text[: place.start()] if place else text
    path = [part for part in (root, place["path"] if place else "") if part]
    missing = _MISSING.match(complaint)
    if missing:
        param = ".".join([*path, missing["field"]])
        return ProtocolFault(
            "missing_required_parameter", f"Missing required parameter: '{param}'.", param=param, event_id=event_id
        )
    param_or_none = ".".join(path) or None
    code = "string_above_max_length" if complaint.startswith("Expected `str` of length <=") else "invalid_value"
    where = f" for '{param_or_none}'" if param_or_none else ""
    message = f"Invalid value{where}: {complaint}"[:_MAX_MESSAGE_CHARS]
    return ProtocolFault(code, message, param=param_or_none, event_id=event_id)


def check_depth(value: Any, param: str, event_id: str | None = None) -> None:
    """Refuse free-form JSON that is nested so deep that writing it out again could fail."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    message = f"Invalid value for '{param}': nested deeper than {MAX_DEPTH} levels."
    raise ProtocolFault("invalid_value", message, param=param, event_id=event_id)


def _children(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]


def no_active_response(event_id: str | None = None) -> ProtocolFault:
    """`response.cancel` while nothing runs: harmless, and clients know it by these words."""
    message = "Cancellation failed: no active response found"
    return ProtocolFault("response_cancel_not_active", message, event_id=event_id)


def already_active(response_id: str, event_id: str | None = None) -> ProtocolFault:
    """`response.create` while a response of the conversation runs."""
    message = (
        f"Conversation already has an active response in progress: {response_id}. "
        "Wait until the response is finished before creating a new one."
    )
    return ProtocolFault("conversation_already_has_active_response", message, event_id=event_id)


def commit_empty(buffered_ms: float, event_id: str | None = None) -> ProtocolFault:
    """`input_audio_buffer.commit` with less than 100 ms in the buffer."""
    message = (
        "Error committing input audio buffer: buffer too small. "
        f"Expected at least 100ms of audio, but buffer only has {buffered_ms:.2f}ms of audio."
    )
    return ProtocolFault("input_audio_buffer_commit_empty", message, event_id=event_id)


def unknown_item(verb: str, item_id: str, event_id: str | None = None) -> ProtocolFault:
    """`verb` (retrieve, delete, truncate) names an item that is not in the conversation."""
    message = f"Error with {verb}: item with item_id not found: {item_id}"[:_MAX_MESSAGE_CHARS]
    return ProtocolFault(f"item_{verb}_invalid_item_id", message, param="item_id", event_id=event_id)


def unknown_call(call_id: str, event_id: str | None = None) -> ProtocolFault:
    """A function's result whose call is not in the conversation."""
    message = f"Tool call ID '{call_id}' not found in conversation."[:_MAX_MESSAGE_CHARS]
    return ProtocolFault("invalid_tool_call_id", message, param="item.call_id", event_id=event_id)


def unknown_voice(voice: str, known: Collection[str], param: str, event_id: str | None = None) -> ProtocolFault:
    """A voice that does not exist."""
    text = f"Invalid value: '{voice[:64]}'. Supported values are: {', '.join(sorted(known))}."
    return ProtocolFault("invalid_value", text, param=param, event_id=event_id)


def duplicate_item(item_id: str, event_id: str | None = None) -> ProtocolFault:
    """`conversation.item.create` with an id that the conversation already has."""
    message = f"Error adding item: an item with id '{item_id}' already exists."[:_MAX_MESSAGE_CHARS]
    return ProtocolFault("item_create_duplicate_item_id", message, param="item.id", event_id=event_id)


def unknown_previous(item_id: str, event_id: str | None = None) -> ProtocolFault:
    """`conversation.item.create` after an item that is not in the conversation: nothing is inserted."""
    message = f"Error adding item: previous_item_id '{item_id}' not found in the conversation."[:_MAX_MESSAGE_CHARS]
    return ProtocolFault("invalid_value", message, param="previous_item_id", event_id=event_id)
