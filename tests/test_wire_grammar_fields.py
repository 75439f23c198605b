"""The oracle's rules one by one: what the protocol forbids is named, what it allows is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError

from tests.test_wire_grammar import SCRIPTS, SERVER, event_at, judge, rules, short
from tests.wire_book import Event

STRICT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

# ---- fields ------------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in below:
        yield (*path, key)
        yield from places(child, (*path, key))


def changed(event: Event, path: tuple[Any, ...], value: Any = None, *, drop: bool = False) -> Event:
    event = copy.deepcopy(event)
    parent: Any = event
    for key in path[:-1]:
        parent = parent[key]
    if drop:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return event


def other_type(value: Any) -> Any:
    return 7 if isinstance(value, str | dict | list) or value is None else "seven"


def accepted(event: Event) -> bool:
    """Whether OpenAI's own strict types take it."""
    try:
        STRICT.validate_json(json.dumps(event), strict=True)
    except ValidationError:
        return False
    return True


FIELD_RULES = {"field.missing", "field.type", "type"}
ONE_OF_EACH = {event_at(name, at)["type"]: (name, at) for name, at in SERVER}


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_what_openais_strict_types_refuse_is_refused_here_too(kind: str) -> None:
    name, at = ONE_OF_EACH[kind]
    event, script = event_at(name, at), SCRIPTS[name]
    tried = 0
    for path in places(event):
        value: Any = event
        for key in path:
            value = value[key]
        broken = [changed(event, path, other_type(value)), changed(event, path)]
        broken += [changed(event, path, drop=True)] if isinstance(path[-1], str) else []
        for mutant in broken:
            if not accepted(mutant):
                found = rules([*script[:at], ("<", mutant), *script[at + 1 :]])
                assert found & FIELD_RULES, (path, mutant)
                tried += 1
    assert tried >= 3


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_name_that_is_none_of_the_protocols_is_refused(kind: str) -> None:
    name, at = ONE_OF_EACH[kind]
    script = SCRIPTS[name]
    beta = kind.replace("output_audio", "audio") if "output_audio" in kind else f"x.{kind}"
    assert "type" in rules([*script[:at], ("<", {**event_at(name, at), "type": beta}), *script[at + 1 :]])


def broken_at(name: str, kind: str, path: str, value: Any) -> set[str]:
    """The rules that are named when that field (dotted) of the first such event holds this."""
    script = SCRIPTS[name]
    at = next(n for n, (way, e) in enumerate(script) if way == "<" and isinstance(e, dict) and short(e["type"]) == kind)
    keys = tuple(int(key) if key.isdigit() else key for key in path.split("."))
    drop = value is DROP
    return rules([*script[:at], ("<", changed(event_at(name, at), keys, value, drop=drop)), *script[at + 1 :]])


DROP = object()
A, D, F, G, H = "A normal turn", "D barge-in", "F client cancel, twice", "G function call", "H, J written"
DETECTION = "session.audio.input.turn_detection"
VALUES: list[tuple[str, str, str, Any, str]] = [
    # order, event, field, value, rule (the traps of section 5 and the matrix of 2.3)
    (A, "session.created", f"{DETECTION}.interrupt_response", DROP, "field.missing"),
    (A, "session.created", f"{DETECTION}.create_response", DROP, "field.missing"),
    (A, "session.created", "session.audio.output.voice", {"id": "v"}, "field.type"),
    (A, "session.created", "session.tool_choice", {"type": "function", "name": "f"}, "field.type"),
    (A, "session.created", "session.audio.input.format.rate", 16000, "echo.rate"),
    (A, "session.created", "session.audio.output.format.rate", 8000, "echo.rate"),
    (A, "session.created", "session.audio.input.transcription", None, "transcription.off"),
    (A, "session.created", DETECTION, None, "speech.off"),
    (A, "session.created", f"{DETECTION}.create_response", False, "answer.unasked"),
    (A, "item.added", "item.content.0.transcript", DROP, "field.missing"),
    (A, "item.added", "item.content.0.transcript", "words", None),
    (A, "item.added", "previous_item_id", "item_none", "item.previous"),
    (A, "item.done", "item.status", "in_progress", "item.status"),
    (A, "committed", "previous_item_id", "item_none", "item.previous"),
    (A, "speech_stopped", "audio_end_ms", 99, "speech.time"),
    (A, "transcription.completed", "usage", DROP, "field.missing"),
    (A, "transcription.completed", "usage", None, "field.type"),
    (A, "transcription.completed", "item_id", "item_none", "transcription.early"),
    (A, "content_part.added", "part.transcript", None, "field.type"),
    (A, "content_part.added", "part.text", None, "field.type"),
    (A, "content_part.added", "part", {"type": "text", "text": ""}, "text.differs"),
    (A, "content_part.added", "content_index", 1, "content_index"),
    (A, "content_part.done", "part.transcript", "Good night.", "text.differs"),
    (A, "output_audio_transcript.delta", "delta", "Bad ", "text.differs"),
    (A, "output_audio_transcript.done", "transcript", "Good", "text.differs"),
    (A, "output_audio.delta", "delta", "no base64", "field.type"),
    (A, "output_audio.delta", "item_id", "item_none", "order.response"),
    (A, "output_audio.delta", "response_id", "resp_none", "order.response"),
    (A, "output_item.added", "item.status", "completed", "item.open"),
    (A, "output_item.added", "output_index", 1, "output_index"),
    (A, "output_item.done", "item.status", "incomplete", "item.differs"),
    (A, "created", "response.status", "completed", "response.status"),
    (A, "created", "response.metadata", {"a": "b"}, "metadata"),
    (A, "done", "response.usage", None, "usage"),
    (A, "done", "response.usage.total_tokens", 31, "usage"),
    (A, "done", "response.output", [], "response.output"),
    (A, "done", "response.status", "in_progress", "response.status"),
    (A, "done", "response.status", "cancelled", "response.status"),
    (A, "done", "response.metadata", {"a": "b"}, "metadata"),
    (A, "rate_limits.updated", "rate_limits.0.name", "audio", "field.type"),
    (D, "output_audio_transcript.delta", "delta", "Once ", "text.differs"),
    (D, "output_audio_transcript.done", "transcript", "Once upon", "text.differs"),
    (D, "output_audio_transcript.done", "transcript", "", "text.differs"),
    (D, "content_part.done", "part.transcript", "Once upon", "text.differs"),
    (D, "done", "response.status_details", None, "response.status"),
    (D, "done", "response.status_details.reason", "bored", "field.type"),
    (D, "done", "response.status", "completed", "text.differs"),
    (D, "item.truncated", "audio_end_ms", 701, "truncated"),
    (D, "item.truncated", "content_index", 1, "truncated"),
    (D, "item.truncated", "item_id", "item_u1", "answer.unasked"),
    (D, "item.retrieved", "item.id", "item_u1", "answer.unasked"),
    (F, "error", "error.event_id", "never", "error.event_id"),
    (F, "error", "error.type", "oops", "field.type"),
    (G, "function_call_arguments.delta", "delta", "{", "arguments.differ"),
    (G, "function_call_arguments.done", "arguments", "{}", "arguments.differ"),
    (G, "function_call_arguments.done", "name", "other", "call"),
    (G, "function_call_arguments.delta", "call_id", "other", "call"),
    (G, "function_call_arguments.done", "name", DROP, "field.missing"),
    (H, "item.added", "previous_item_id", "item_none", "item.previous"),
    (H, "item.added", "item.role", "system", "answer.missing"),
    ("K out of band", "created", "response.conversation_id", "conv_2", None),
    ("A words after the reply", "created", "response.conversation_id", "conv_2", "conversation.id"),
    ("G function call", "created", "response.conversation_id", None, "answer.unasked"),
    ("L idle", "session.created", f"{DETECTION}.idle_timeout_ms", None, "speech.off"),
    ("M, N start and end", "session.updated", "session.id", "sess_2", "session.id"),
    ("failures", "done", "response.status_details.error", DROP, "field.missing"),
]


@pytest.mark.parametrize(("name", "kind", "path", "value", "rule"), VALUES)
def test_a_wrong_value_is_noticed_by_its_rule(name: str, kind: str, path: str, value: Any, rule: str | None) -> None:
    found = broken_at(name, kind, path, value)
    assert rule in found if rule else not found


SAYING = ("transcript", "delta", "arguments", "text", "usage", "metadata", "part", "voice", "tool_choice")


def test_a_violation_never_tells_what_was_said() -> None:
    secret = "my number is 4711"
    for name, kind, path, *_ in VALUES:
        script = copy.deepcopy(SCRIPTS[name])
        at = next(n for n, (way, e) in enumerate(script) if way == "<" and short(e["type"]) == kind)  # type: ignore[index]
        keys = tuple(int(key) if key.isdigit() else key for key in path.split("."))
        if keys[-1] in (
            "transcript",
            "delta",
            "arguments",
            "text",
            "usage",
            "metadata",
            "part",
            "voice",
            "tool_choice",
        ):
            script[at] = ("<", changed(event_at(name, at), keys, secret))
            violations = judge(script)
            assert all("4711" not in violation.text and "\n" not in violation.text for violation in violations)
