"""Whatever a client sends, reading it ends in a message or in a `ProtocolFault`, and every answer can be written."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import ProtocolFault
from aura.core.ports import ToolCall
from aura.core.wire import client as c
from aura.core.wire.ids import id_source
from aura.core.wire.realtime import Frame, RealtimeView, Usage
from aura.core.wire.session_object import RealtimeSession

SESSION = RealtimeSession(id="sess_1", model="aura")
FULL_SESSION: dict[str, Any] = {
    **SESSION.echo(),
    "voice": "eve",
    "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
    "aura": {"transport": "binary", "events": True},
    "tracing": {"workflow_name": "w"},
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
}
MESSAGE = {"type": "message", "role": "user", "id": "i", "content": [{"type": "input_text", "text": "x"}]}
SPOKEN = {"type": "message", "role": "assistant", "content": [{"type": "audio", "transcript": "x", "audio": "AAA="}]}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "o"}
RESPONSE = {
    "instructions": "x",
    "output_modalities": ["audio"],
    "tools": [{"type": "function", "name": "f"}],
    "audio": {"output": {"voice": {"id": "v"}}},
    "metadata": {"a": "b"},
    "input": [MESSAGE, {"type": "item_reference", "id": "i"}],
}
VALID: list[dict[str, Any]] = [
    {"type": "session.update", "session": FULL_SESSION, "event_id": "e"},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(64)).decode()},
    {"type": "input_audio_buffer.commit"},
    {"type": "conversation.item.create", "item": MESSAGE, "previous_item_id": "root", "event_id": "e"},
    {"type": "conversation.item.create", "item": SPOKEN},
    {"type": "conversation.item.create", "item": OUTPUT},
    {"type": "conversation.item.create", "item": {"type": "force_message", "text": "x"}},
    {"type": "conversation.item.retrieve", "item_id": "i"},
    {"type": "conversation.item.delete", "item_id": "i"},
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 12.5},
    {"type": "response.create", "response": RESPONSE},
    {"type": "response.cancel", "response_id": "r"},
    {"type": "aura.playout.ack", "item_id": "i", "played_ms": 10},
    {"type": "aura.resume", "session_id": "s"},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, child in below for deeper in _paths(child, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid message with one or two places dropped or replaced, or with its text cut or spoilt."""
    message: Any = json.loads(json.dumps(draw(st.sampled_from(VALID))))
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(_paths(message)))
        if not path:
            continue
        parent = message
        for key in path[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[path[-1]] = draw(json_values)
        else:
            del parent[path[-1]]
    text = json.dumps(message)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=3)) + text[at + draw(st.integers(0, 3)) :]
    return text


def _answer(view: RealtimeView, message: c.ClientMessage) -> list[Frame]:
    match message:
        case c.SessionUpdate():
            return view.updated(view.session.apply(message.session, event_id=message.event_id))
        case c.ItemCreate():
            return view.text_item(message)
        case c.ItemRetrieve():
            return view.retrieved(message)
        case c.ItemDelete():
            return view.deleted(message)
        case c.ItemTruncate():
            return view.truncated(message.item_id, message.content_index, message.audio_end_ms, "", message.event_id)
        case c.ResponseCreate(response=c.ResponseParams() as asked):
            return view.response_created(
                7,
                7,
                asked.metadata,
                modality=asked.modality,
                voice=asked.voice,
                max_output_tokens=asked.max_output_tokens,
            )
        case _:
            return []


def _serve(raw: str | bytes, view: RealtimeView) -> list[Frame]:
    """What a session does with a frame; anything but a ProtocolFault comes out as the test's failure."""
    try:
        return _answer(view, c.decode(raw, binary=view.session.binary))
    except ProtocolFault as fault:
        return view.fault(fault)


def _check(frames: list[Frame]) -> None:
    for frame in frames:
        assert isinstance(frame, bytes) or json.loads(frame)["event_id"]


@given(st.binary(max_size=60) | st.text(max_size=60) | st.text('{}[]",:\\typeau0', max_size=40))
@settings(max_examples=200, deadline=None)
def test_random_input_is_a_message_or_a_fault(raw: str | bytes) -> None:
    _check(_serve(raw, RealtimeView(SESSION, id_source(b"x"))))


@given(json_values)
@settings(max_examples=120, deadline=None)
def test_random_json_is_a_message_or_a_fault(value: Any) -> None:
    _check(_serve(json.dumps(value), RealtimeView(SESSION, id_source(b"x"))))


@given(st.lists(mutated(), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_mutated_messages_never_break_a_session(raws: list[str]) -> None:
    view = RealtimeView(SESSION, id_source(b"x"))
    for raw in raws:
        _check(_serve(raw, view))
    _check(view.committed(1) + view.say(7, "a") + view.audio(7, b"\0\0") + view.response_done(7, Usage()))
    assert view.session == view.session.apply(view.session.echo() | {"tool_choice": None})


@given(st.dictionaries(st.sampled_from([*FULL_SESSION, "modalities"]), json_values, max_size=5))
@settings(max_examples=200, deadline=None)
def test_any_patch_is_applied_or_refused_and_the_echo_stays_whole(patch: dict[str, Any]) -> None:
    with suppress(ProtocolFault):
        echo = json.loads(json.dumps(SESSION.apply(json.loads(json.dumps(patch).replace("NaN", "1"))).echo()))
        detection = echo["audio"]["input"]["turn_detection"]
        assert detection is None or {"interrupt_response", "create_response"} <= detection.keys()
        assert isinstance(echo["audio"]["output"]["voice"], str)
        assert isinstance(echo["tool_choice"], str)
        assert ("aura" in echo) <= ("aura" in patch)


VERBS: list[tuple[str, tuple[Any, ...]]] = [
    ("speech_started", (10,)),
    ("speech_stopped", (20,)),
    ("committed", ()),
    ("transcript", ("words", 1.0)),
    ("response_created", (1,)),
    ("say", ("text",)),
    ("audio", (b"\0\0",)),
    ("call", (ToolCall("c", "f", "{}"),)),
    ("response_done", (Usage(),)),
    ("response_cancelled", ("turn_detected",)),
    ("response_failed", ("code", "message")),
    ("hold", ()),
    ("flush", (5,)),
]


@given(st.lists(st.tuples(st.sampled_from(VERBS), st.integers(1, 3)), max_size=40))
@settings(max_examples=120, deadline=None)
def test_in_any_order_of_verbs_every_response_stays_well_formed(steps: list[tuple[tuple[str, Any], int]]) -> None:
    view = RealtimeView(SESSION, id_source(b"x"))
    frames: list[Frame] = []
    for (verb, arguments), number in steps:
        frames += getattr(view, verb)(number, *arguments)
    state: dict[str, str] = {}
    for event in map(json.loads, frames):
        kind = event["type"]
        response_id = event.get("response_id") or event.get("response", {}).get("id")
        if response_id is None:
            continue
        was = state.get(response_id)
        assert was != "done", "nothing follows response.done"
        assert (was is None) == (kind == "response.created")
        if kind.endswith(".delta") and "content_index" in event:
            assert was == "open"
        opens = kind == "response.content_part.added" or was == "open"
        state[response_id] = "done" if kind == "response.done" else "open" if opens else "created"
