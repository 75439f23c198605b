"""The client's side of the Realtime protocol: messages in, faults that name the field, and the effective session."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from aura.core.errors import ProtocolFault
from aura.core.ports import Tool
from aura.core.wire import client as c
from aura.core.wire import items
from aura.core.wire.ids import id_source
from aura.core.wire.session_object import (
    AudioFormat,
    NoiseReduction,
    RealtimeSession,
    SemanticVad,
    ServerVad,
    opt_in_patch,
)


def send(**event: Any) -> c.ClientMessage:
    return c.decode(json.dumps(event))


def refused(raw: str | bytes) -> tuple[str, str | None, str | None]:
    with pytest.raises(ProtocolFault) as caught:
        c.decode(raw)
    return caught.value.code, caught.value.param, caught.value.event_id


def test_audio_arrives_as_bytes_of_any_length_even_half_samples() -> None:
    audio = bytes(range(251))
    assert send(type="input_audio_buffer.append", audio=base64.b64encode(audio).decode()) == c.Append(audio=audio)
    assert send(type="input_audio_buffer.append", audio="") == c.Append(audio=b"")


def test_a_binary_frame_is_audio_only_for_clients_that_chose_it() -> None:
    assert c.decode(b"\x01\x02\x03", binary=True) == c.Append(audio=b"\x01\x02\x03")
    assert refused(b"\x01\x02\x03")[0] == "invalid_event"


MESSAGES: list[tuple[dict[str, Any], c.ClientMessage]] = [
    ({"type": "session.update", "session": {"a": 1}}, c.SessionUpdate(session={"a": 1})),
    ({"type": "input_audio_buffer.commit", "event_id": "e"}, c.Commit(event_id="e")),
    ({"type": "input_audio_buffer.clear", "surprise": [1]}, c.Clear()),
    ({"type": "output_audio_buffer.clear"}, c.OutputClear()),
    ({"type": "conversation.item.retrieve", "item_id": "i"}, c.ItemRetrieve(item_id="i")),
    ({"type": "conversation.item.delete", "item_id": "i"}, c.ItemDelete(item_id="i")),
    (
        {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 1200.7},
        c.ItemTruncate(item_id="i", end_ms=1200.7),
    ),
    (
        {
            "type": "conversation.item.create",
            "previous_item_id": "root",
            "item": {"type": "function_call_output", "call_id": "chatcmpl-tool-" + "0" * 32, "output": "{}"},
        },
        c.ItemCreate(item=items.FunctionCallOutput("chatcmpl-tool-" + "0" * 32, "{}"), previous_item_id="root"),
    ),
    ({"type": "response.cancel", "response_id": None}, c.ResponseCancel()),
    ({"type": "response.create"}, c.ResponseCreate()),
    ({"type": "aura.playout.ack", "item_id": "i", "played_ms": 40}, c.PlayoutAck(item_id="i", played=40.0)),
    ({"type": "aura.resume", "session_id": "s"}, c.Resume(session_id="s")),
]


@pytest.mark.parametrize(("event", "message"), MESSAGES, ids=lambda value: ascii(value)[:40])
def test_every_client_event_is_read(event: dict[str, Any], message: c.ClientMessage) -> None:
    assert send(**event) == message


def test_positions_are_whole_milliseconds() -> None:
    assert c.ItemTruncate(item_id="i", end_ms=1200.7).audio_end_ms == 1200
    assert c.PlayoutAck(item_id="i", played=40.9).played_ms == 40


OVERRIDES = ("instructions", "output_modalities", "tools", "tool_choice", "max_output_tokens", "audio", "metadata")


def test_a_response_create_of_nulls_equals_an_empty_one() -> None:
    assert send(type="response.create", response=dict.fromkeys(OVERRIDES)) == send(type="response.create", response={})


def test_response_overrides_are_read() -> None:
    asked = {
        "instructions": "be brief",
        "modalities": ["text", "audio"],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": "inf",
        "audio": {"output": {"voice": {"id": "v"}, "format": {"type": "audio/pcmu"}}},
        "conversation": "none",
        "metadata": {"client_event_id": "x"},
        "input": [{"type": "item_reference", "id": "i"}],
    }
    message = send(type="response.create", response=asked)
    assert isinstance(message, c.ResponseCreate)
    params = message.response
    assert params is not None
    assert (params.modality, params.voice, params.out_of_band) == ("audio", "v", True)
    assert params.metadata == {"client_event_id": "x"}
    assert params.input == (items.ItemReference("i"),)
    assert params.tools is not None
    assert params.tools[0].tool() == Tool("f", "", {"type": "object"})


def _item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "event_id": "mine", "item": {"type": "message"} | fields}


IMAGE = _item(role="user", content=[{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "d"}])
REFUSALS: list[tuple[dict[str, Any] | list[Any] | str, str, str | None]] = [
    ("{", "invalid_json", None),
    ("", "invalid_json", None),
    ('{"type":"input_audio_buffer.clear"} x', "invalid_json", None),
    ("\ud800", "invalid_json", None),
    ('{"type":"session.update","session":' + '{"a":' * 5000 + "1" + "}" * 5001, "invalid_json", None),
    ([], "invalid_event", None),
    ("null", "invalid_event", None),
    ({"event_id": "mine"}, "missing_required_parameter", "type"),
    ({"type": "no.such.event", "event_id": "mine"}, "invalid_value", "type"),
    ({"type": 5, "event_id": "mine"}, "invalid_value", "type"),
    ({"type": "input_audio_buffer.append", "event_id": "mine"}, "missing_required_parameter", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "###", "event_id": "mine"}, "invalid_value", "audio"),
    ({"type": "session.update", "session": 3, "event_id": "mine"}, "invalid_value", "session"),
    (
        {"type": "conversation.item.truncate", "item_id": "i", "event_id": "mine"},
        "missing_required_parameter",
        "audio_end_ms",
    ),
    (
        {"type": "conversation.item.truncate", "item_id": "i", "audio_end_ms": -1, "event_id": "mine"},
        "invalid_value",
        "audio_end_ms",
    ),
    (IMAGE, "invalid_value", "item.content[1].type"),
    (_item(role="user", content=[{"type": "input_text"}]), "missing_required_parameter", "item.content[0].text"),
    (_item(role="robot", content=[]), "invalid_value", "item.role"),
    (_item(type="mcp_call"), "invalid_value", "item.type"),
    (_item(role="user", content=[], id="x" * 513), "string_above_max_length", "item.id"),
    (
        {"type": "response.create", "event_id": "mine", "response": {"tools": [{"type": "mcp", "server_label": "s"}]}},
        "invalid_value",
        "response.tools[0].type",
    ),
    (
        {"type": "response.create", "event_id": "mine", "response": {"metadata": {str(n): "" for n in range(17)}}},
        "invalid_value",
        "response.metadata",
    ),
]


@pytest.mark.parametrize(
    ("raw", "code", "param"), REFUSALS, ids=lambda value: str(value)[:40].encode("ascii", "replace")
)
def test_a_malformed_message_is_a_fault_that_names_the_field(
    raw: dict[str, Any] | list[Any] | str, code: str, param: str | None
) -> None:
    text = raw if isinstance(raw, str) else json.dumps(raw)
    assert refused(text) == (code, param, "mine" if '"mine"' in text else None)


def test_audio_beyond_15_mib_is_refused() -> None:
    with pytest.raises(ProtocolFault) as caught:
        c.decode(bytes(c.MAX_APPEND_BYTES + 1), binary=True)
    assert (caught.value.code, caught.value.param) == ("string_above_max_length", "audio")


def test_items_are_shown_under_their_ga_names_without_audio() -> None:
    user = items.Message("user", (items.BetaText("a"), items.BetaAudio(None, b"xx"), items.InputAudio("b", b"yy")))
    shown = items.placed(user, "item_1")
    assert isinstance(shown, items.Message)
    assert shown.content == (items.InputText("a"), items.InputAudio(None), items.InputAudio("b"))
    assert items.text_of(user) == "a b"
    assert items.audio_of(user) == b"xxyy"


def test_ids_are_unique_and_the_same_for_the_same_seed() -> None:
    make, again, other = id_source(b"1"), id_source(b"1"), id_source(b"2")
    made = [make("item") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert made == [again("item") for _ in range(1000)]
    assert not set(made) & {other("item") for _ in range(1000)}
    assert all(len(item) == len("item_") + 21 and item.isascii() for item in made)


# ---- the session -----------------------------------------------------------------------------------------------

SESSION = RealtimeSession(id="sess_1", model="aura", expires_at=3600, instructions="be kind")
RECORDED = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": "aura",
    "output_modalities": ["audio"],
    "instructions": "be kind",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "expires_at": 3600,
    "include": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 200,
                "idle_timeout_ms": None,
                "create_response": True,
                "interrupt_response": True,
            },
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
    },
}


def test_the_echo_of_a_new_session_is_the_recorded_one() -> None:
    assert SESSION.echo() == RECORDED


def _in(**fields: Any) -> dict[str, Any]:
    return {"audio": {"input": fields}}


def _out(**fields: Any) -> dict[str, Any]:
    return {"audio": {"output": fields}}


def test_an_update_changes_only_what_it_holds() -> None:
    update = {"type": "realtime", **_in(turn_detection={"silence_duration_ms": 700}), "model": "gpt-realtime-2.1"}
    changed = SESSION.apply(update)
    assert changed.turn_detection == ServerVad(silence_duration_ms=700)
    assert changed == SESSION.apply(_in(turn_detection={"type": "server_vad", "silence_duration_ms": 700}))
    assert changed.model == "aura"
    assert changed.instructions == "be kind"


def test_null_switches_off_what_can_be_switched_off_and_else_changes_nothing() -> None:
    full = SESSION.apply(
        {"tracing": "auto", **_in(transcription={"model": "m"}, noise_reduction={"type": "near_field"})}
    )
    assert full.transcribes
    assert full.audio.input.noise_reduction == NoiseReduction("near_field")
    nothing = _in(transcription=None, noise_reduction=None, turn_detection=None, format=None)
    bare = full.apply({"tracing": None, "instructions": None, "tools": None, **nothing})
    assert (bare.tracing, bare.transcribes, bare.turn_detection) == (None, False, None)
    assert bare.instructions == "be kind"
    assert bare.audio.input.noise_reduction is None
    assert bare.apply(_in(turn_detection={"type": "server_vad", "threshold": None})).turn_detection == ServerVad()


def test_semantic_vad_keeps_the_switches_and_always_echoes_them() -> None:
    both_off = SESSION.apply(_in(turn_detection={"create_response": False, "interrupt_response": False}))
    semantic = both_off.apply(_in(turn_detection={"type": "semantic_vad", "eagerness": "high"}))
    assert semantic.turn_detection == SemanticVad("high", create_response=False, interrupt_response=False)
    echoed = SESSION.apply(_in(turn_detection={"type": "semantic_vad"})).echo()["audio"]["input"]["turn_detection"]
    want = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
    assert echoed == want


def test_livekits_three_updates_in_a_row_add_up() -> None:
    audio = {"input": {"transcription": {"model": "t"}, "noise_reduction": None}, "output": {"voice": "marin"}}
    asked = {"type": "realtime", "tracing": None, "max_output_tokens": "inf", "tool_choice": "auto", "audio": audio}
    first = SESSION.apply(asked)
    third = first.apply({"instructions": "x"}).apply({"model": "m", "tools": [{"type": "function", "name": "f"}]})
    assert (third.transcribes, third.voice, third.instructions) == (True, "marin", "x")
    assert third.functions == (Tool("f", "", {"type": "object", "properties": {}}),)


def test_both_agents_sdks_may_ask_for_tracing() -> None:
    assert SESSION.apply({"model": "x", "tracing": "auto"}).echo()["tracing"] == "auto"
    workflow = {"workflow_name": "w", "metadata": {"a": "b"}}
    assert SESSION.apply({"tracing": workflow}).echo()["tracing"] == workflow


def test_objects_that_kill_pipecat_are_echoed_as_strings() -> None:
    changed = SESSION.apply({"tool_choice": {"type": "function", "name": "f"}, **_out(voice={"id": "v"})})
    assert changed.echo()["tool_choice"] == "auto"
    assert changed.echo()["audio"]["output"]["voice"] == "v"
    assert changed.tool_choice == c.NamedFunction("f")
    assert changed.apply({}).tool_choice == c.NamedFunction("f")


@pytest.mark.parametrize(
    ("asked", "echoed", "meant"),
    [
        ({"type": "audio/pcm"}, {"type": "audio/pcm", "rate": 24000}, AudioFormat("pcm16", 24000)),
        ({"type": "audio/pcm", "rate": 16000}, {"type": "audio/pcm", "rate": 16000}, AudioFormat("pcm16", 16000)),
        ({"type": "audio/pcmu", "rate": 8000}, {"type": "audio/pcmu"}, AudioFormat("pcmu", 8000)),
        ({"type": "audio/pcma"}, {"type": "audio/pcma"}, AudioFormat("pcma", 8000)),
    ],
)
def test_formats_are_independent_and_echoed_as_asked(
    asked: dict[str, Any], echoed: dict[str, Any], meant: AudioFormat
) -> None:
    changed = SESSION.apply(_in(format=asked))
    assert changed.echo()["audio"]["input"]["format"] == echoed
    assert (changed.input_format, changed.output_format) == (meant, SESSION.output_format)
    assert SESSION.apply(_out(format=asked)).output_format == meant


def test_xais_dialect_is_understood_and_transcribes_by_default() -> None:
    grok = SESSION.apply({"voice": "eve", "turn_detection": {"type": "server_vad"}, **_in(format={"rate": 16000})})
    assert (grok.voice, grok.turn_detection, grok.transcribes) == ("eve", ServerVad(), True)
    assert grok.input_format == AudioFormat("pcm16", 16000)
    assert "voice" not in grok.echo()
    assert SESSION.apply({"modalities": ["text", "audio"]}).modality == "audio"
    assert not SESSION.apply({"voice": "eve", **_in(transcription=None)}).transcribes


def test_the_echo_speaks_of_aura_only_after_the_client_did() -> None:
    assert (SESSION.binary, SESSION.events) == (False, False)
    opted = SESSION.apply({"aura": {"transport": "binary"}})
    assert (opted.binary, opted.events) == (True, False)
    assert opted.apply({"aura": {"events": True}}).echo()["aura"] == {"transport": "binary", "events": True}
    assert SESSION.apply(opt_in_patch("binary,events")).events
    assert not SESSION.apply(opt_in_patch("events")).binary


def test_a_transcription_session_has_only_an_input() -> None:
    session = RealtimeSession(id="sess_1", model="aura", type="transcription")
    echoed = session.apply({"type": "transcription", **_in(transcription={"model": "m"})}).echo()
    assert sorted(echoed) == ["audio", "expires_at", "id", "include", "object", "type"]
    assert echoed["object"] == "realtime.transcription_session"
    assert "output" not in echoed["audio"]


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("patch", "code", "param"),
    [
        (_out(voice=""), "invalid_value", "session.audio.output.voice"),
        (_out(voice="nobody"), "invalid_value", "session.audio.output.voice"),
        (_out(speed=2), "invalid_value", "session.audio.output.speed"),
        (_out(format={"type": "audio/mp3"}), "invalid_value", "session.audio.output.format.type"),
        (_in(format={"type": "audio/pcm", "rate": 7000}), "invalid_value", "session.audio.input.format.rate"),
        (
            _in(turn_detection={"type": "server_vad", "threshold": 2}),
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            _in(turn_detection={"idle_timeout_ms": 1}),
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (_in(turn_detection={"type": "psychic"}), "invalid_value", "session.audio.input.turn_detection.type"),
        (_in(noise_reduction={}), "missing_required_parameter", "session.audio.input.noise_reduction.type"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "invalid_value", "session.tools[0].type"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": _deep(80)}]}, "invalid_value", "session"),
        ({"tool_choice": {"type": "mcp"}}, "invalid_value", "session.tool_choice.type"),
        ({"max_output_tokens": 5000}, "invalid_value", "session.max_output_tokens"),
        ({"output_modalities": ["smell"]}, "invalid_value", "session.output_modalities[0]"),
        ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"audio": 3}, "invalid_value", "session.audio"),
        ({"audio": {"input": []}}, "invalid_value", "session.audio.input"),
        ({"aura": {"transport": "pigeon"}}, "invalid_value", "session.aura.transport"),
    ],
)
def test_a_refused_update_names_the_field_and_the_clients_event(patch: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(ProtocolFault) as caught:
        SESSION.apply({"instructions": "changed", **patch}, event_id="mine", voices={"alloy", "ash"})
    assert (caught.value.code, caught.value.param, caught.value.event_id) == (code, param, "mine")
    assert SESSION.echo() == RECORDED


def test_unknown_keys_are_ignored() -> None:
    assert SESSION.apply({"temperature": 0.8, "audio": {"third": 1, "input": {"fourth": 2}}}) == SESSION
