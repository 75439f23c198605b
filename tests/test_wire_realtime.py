"""The server's side of the Realtime protocol: exact event orders, and the shapes that stock clients depend on.

The orders are those of realtime-protocol.md 1.7; every frame of every scenario is parsed with openai's own types.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any, Literal

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from aura.core.errors import ProtocolFault
from aura.core.ports import ToolCall
from aura.core.wire import faults, items
from aura.core.wire.client import ItemCreate, ItemDelete, ItemRetrieve
from aura.core.wire.ids import id_source
from aura.core.wire.realtime import Frame, RealtimeView, Usage
from aura.core.wire.session_object import RealtimeSession

USAGE = Usage(input_tokens=30, output_tokens=12, cached_tokens=8, heard_s=1.2, spoken_s=2.5)


def make_view(**patch: Any) -> RealtimeView:
    numbers = count(1)
    session = RealtimeSession(id="sess_1", model="aura", expires_at=3600)
    audio = {"input": {"transcription": {"model": "t"}}} | patch.pop("audio", {})
    return RealtimeView(session.apply({"audio": audio, **patch}), lambda prefix: f"{prefix}_{next(numbers)}")


def read(frames: list[Frame]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames if isinstance(frame, str)]


def types(frames: list[Frame]) -> list[str]:
    return [event["type"] for event in read(frames)]


def one(frames: list[Frame], kind: str) -> dict[str, Any]:
    (event,) = [event for event in read(frames) if event["type"] == kind]
    return event


def user_turn(view: RealtimeView, turn: int = 1) -> list[Frame]:
    heard = view.speech_started(turn, 100) + view.speech_stopped(turn, 1300) + view.committed(turn)
    return heard + view.transcript_delta(turn, "hel") + view.transcript(turn, "hello", 1.2)


def begin_reply(view: RealtimeView, reply: int = 1) -> list[Frame]:
    begun = view.response_created(reply, 1) + view.say(reply, "Good ") + view.audio(reply, b"\x01\x02" * 480)
    return begun + view.say(reply, "day.") + view.audio(reply, b"\x03\x04" * 480)


def normal(view: RealtimeView) -> list[Frame]:
    return user_turn(view) + begin_reply(view) + view.response_done(1, USAGE)


def barge_in(view: RealtimeView) -> list[Frame]:
    before = user_turn(view) + begin_reply(view)
    cut = view.speech_started(2, 4000) + view.response_cancelled(1, "turn_detected", USAGE)
    item_id = view.item_of(1) or ""
    after = view.truncated(item_id, 0, 40, "Good") + view.retrieved(ItemRetrieve(item_id=item_id))
    return before + cut + after + view.speech_stopped(2, 5000) + view.committed(2)


def late_barge_in(view: RealtimeView) -> list[Frame]:
    return normal(view) + view.speech_started(2, 4000) + view.truncated(view.item_of(1) or "", 0, 40, "Good")


def client_cancel(view: RealtimeView) -> list[Frame]:
    cancelled = begin_reply(view) + view.response_cancelled(1, "client_cancelled")
    return cancelled + view.response_cancelled(1, "client_cancelled") + view.fault(faults.no_active_response("mine"))


def function_call(view: RealtimeView) -> list[Frame]:
    call = view.response_created(1, 1) + view.call(1, ToolCall("call_1", "clock", '{"zone":"utc"}'))
    done = call + view.response_done(1, USAGE)
    return done + view.text_item(ItemCreate(item=items.FunctionCallOutput("call_1", "noon")))


def speech_and_call(view: RealtimeView) -> list[Frame]:
    call = ToolCall("call_1", "clock", "{}")
    return begin_reply(view) + view.call(1, call) + view.say(1, " Wait.") + view.response_done(1, USAGE)


def text_only(view: RealtimeView) -> list[Frame]:
    begun = view.response_created(1, 1, {"client_event_id": "x"}, modality="text")
    said = view.say(1, "Good ") + view.audio(1, b"\0\0") + view.say(1, "day.")
    return begun + said + view.response_done(1, USAGE)


def push_to_talk(view: RealtimeView) -> list[Frame]:
    updated = view.updated(view.session.apply({"audio": {"input": {"turn_detection": None}}}))
    return updated + view.cleared() + user_turn(view) + begin_reply(view) + view.response_done(1, USAGE)


def typed(view: RealtimeView) -> list[Frame]:
    message = items.Message("user", (items.InputText("hi"),), "client_1")
    return view.text_item(ItemCreate(item=message)) + text_only(view)


def out_of_band(view: RealtimeView) -> list[Frame]:
    beside = begin_reply(view) + view.response_created(2, 1, out_of_band=True) + view.say(2, "psst")
    return beside + view.call(2, ToolCall("call_2", "f", "{}")) + view.response_done(2, USAGE)


def idle(view: RealtimeView) -> list[Frame]:
    return view.idle_timeout(1, 5000, 11000) + view.committed(1) + view.response_created(1, 1)


def failures(view: RealtimeView) -> list[Frame]:
    heard = view.committed(1) + view.transcript_failed(1, "stt_failed", "no words")
    failed = view.response_created(1, 1) + view.response_failed(1, "llm_failed", "no model")
    stopped = begin_reply(view, 2) + view.response_incomplete(2, "max_output_tokens", USAGE)
    server_error = ProtocolFault("server_error", "it broke")
    return heard + failed + stopped + view.fault(server_error) + view.fault(faults.already_active("resp_1", "mine"))


def history(view: RealtimeView) -> list[Frame]:
    system = items.Message("system", (items.InputText("s"),), "sys")
    old = items.Message("assistant", (items.OutputAudio("said"),), "old")
    call = items.FunctionCall("f", "{}", "call_1", "call")
    spoken = items.Message("user", (items.InputAudio(None, b"\1\2"),), "spoken")
    placed = [ItemCreate(item=old), ItemCreate(item=system, previous_item_id="root"), ItemCreate(item=call)]
    frames = [frame for message in placed for frame in view.text_item(message)]
    frames += view.text_item(ItemCreate(item=spoken, previous_item_id="sys"))
    frames += view.retrieved(ItemRetrieve(item_id="spoken"), b"\1\2") + view.deleted(ItemDelete(item_id="sys"))
    return frames + view.text_item(ItemCreate(item=items.Message("user", (items.InputText("x"),))))


HEARD = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
TRANSCRIBED = [
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
]
OPENED = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
SPOKEN = [*OPENED, *["response.output_audio_transcript.delta", "response.output_audio.delta"] * 2]
CLOSED = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
WRITTEN = [
    *OPENED,
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
CALLED = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
]
ITEM = ["conversation.item.added", "conversation.item.done"]

Scenario = Callable[[RealtimeView], list[Frame]]
ORDERS: dict[str, tuple[Scenario, list[str]]] = {
    "A normal turn": (normal, [*HEARD, *TRANSCRIBED, *SPOKEN, *CLOSED]),
    "B no automatic response": (user_turn, [*HEARD, *TRANSCRIBED]),
    "D barge-in": (
        barge_in,
        [
            *HEARD,
            *TRANSCRIBED,
            *SPOKEN,
            "input_audio_buffer.speech_started",
            *CLOSED,
            "conversation.item.truncated",
            "conversation.item.retrieved",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            *ITEM,
        ],
    ),
    "E barge-in after the response": (
        late_barge_in,
        [
            *HEARD,
            *TRANSCRIBED,
            *SPOKEN,
            *CLOSED,
            "input_audio_buffer.speech_started",
            "conversation.item.truncated",
        ],
    ),
    "F client cancel, twice": (client_cancel, [*SPOKEN, *CLOSED, "error"]),
    "G function call": (function_call, ["response.created", *CALLED, "response.done", *ITEM]),
    "G speech and call": (speech_and_call, [*SPOKEN, *CALLED, "response.output_audio_transcript.delta", *CLOSED]),
    "H text only": (text_only, WRITTEN),
    "I push to talk": (
        push_to_talk,
        ["session.updated", "input_audio_buffer.cleared", *HEARD[2:], *TRANSCRIBED, *SPOKEN, *CLOSED],
    ),
    "J typed": (typed, [*ITEM, *WRITTEN]),
    "K out of band": (
        out_of_band,
        [
            *SPOKEN,
            *[kind for kind in OPENED if kind not in ITEM],
            "response.output_audio_transcript.delta",
            *[kind for kind in CALLED if kind not in ITEM],
            *[kind for kind in CLOSED if kind not in ITEM],
        ],
    ),
    "L idle": (idle, ["input_audio_buffer.timeout_triggered", *HEARD[2:], "response.created"]),
    "M start": (lambda view: view.hello(), ["session.created", "conversation.created"]),
    "failures": (
        failures,
        [
            *HEARD[2:],
            "conversation.item.input_audio_transcription.failed",
            "response.created",
            "response.done",
            *SPOKEN,
            *CLOSED,
            "error",
            "error",
        ],
    ),
    "history": (history, [*ITEM * 4, "conversation.item.retrieved", "conversation.item.deleted", *ITEM]),
}


@pytest.mark.parametrize(("scenario", "order"), ORDERS.values(), ids=ORDERS)
def test_the_order_of_events_is_the_recorded_one(scenario: Scenario, order: list[str]) -> None:
    assert types(scenario(make_view())) == order


STRICT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


@pytest.mark.parametrize("scenario", [scenario for scenario, _ in ORDERS.values()], ids=ORDERS)
def test_every_event_is_valid_for_openais_own_types(scenario: Scenario) -> None:
    for frame in scenario(make_view()):
        model = STRICT.validate_json(frame, strict=True)
        assert model.type == json.loads(frame)["type"]
        assert not model.model_extra, frame
        response = getattr(model, "response", None)
        assert response is None or not response.model_extra, frame
        assert model.event_id


RICH: dict[str, Any] = {
    "instructions": "x",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "function", "name": "g"}],
    "tool_choice": {"type": "function", "name": "f"},
    "max_output_tokens": 100,
    "tracing": {"workflow_name": "w"},
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
    "include": ["item.input_audio_transcription.logprobs"],
    "reasoning": {"effort": "low"},
    "parallel_tool_calls": True,
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "t", "language": "en"},
            "noise_reduction": {"type": "near_field"},
            "turn_detection": {"type": "semantic_vad"},
        },
        "output": {"format": {"type": "audio/pcma"}, "voice": {"id": "v"}, "speed": 1.2},
    },
}


@pytest.mark.parametrize("kind", ["realtime", "transcription"])
def test_a_session_with_everything_set_is_valid_for_openais_own_types(
    kind: Literal["realtime", "transcription"],
) -> None:
    view = RealtimeView(RealtimeSession(id="sess_1", model="aura", type=kind), id_source(b"x"))
    (frame,) = view.updated(view.session.apply(RICH))
    model = STRICT.validate_json(frame, strict=True)
    assert model.session.type == kind
    assert model.session.audio.input.turn_detection.interrupt_response is True


@pytest.mark.parametrize("scenario", [scenario for scenario, _ in ORDERS.values()], ids=ORDERS)
def test_without_the_opt_in_a_client_meets_nothing_unknown(scenario: Scenario) -> None:
    view = make_view()
    frames = view.hello() + scenario(view)
    for reply in (1, 2):
        frames += view.hold(reply) + view.resume(reply, 20) + view.flush(reply, 20)
    frames += view.state("idle", "listening", "SpeechStarted") + view.turn_metrics(1, {"stt_ms": 5})
    assert all(isinstance(frame, str) for frame in frames)
    events = read(frames)
    assert not [event for event in events if event["type"].startswith("aura.")]
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    for event in events:
        assert None not in event.get("part", {}).values()
        for part in event.get("item", {}).get("content", []):
            assert part["type"] not in ("input_audio", "output_audio") or "transcript" in part
