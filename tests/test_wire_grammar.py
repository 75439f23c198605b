"""The oracle for the Realtime protocol: it accepts every legal order and names the rule that a broken one breaks."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from aura.core import tape
from aura.core.wire.grammar import Grammar, Violation
from tests import test_wire_realtime as by_view
from tests.proof import corpus
from tests.wire_book import Event, Script
from tests.wire_orders import BY_HAND

SCRIPTS: dict[str, Script] = {name: make().script for name, make in BY_HAND.items()}
STRICT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def judge(script: Script, **options: Any) -> list[Violation]:
    """All that is wrong with a script, its clean end included."""
    grammar = Grammar(**options)
    found = [v for way, event in script for v in (grammar.client if way == ">" else grammar.server)(event)]
    return found + grammar.end()


def rules(script: Script, **options: Any) -> set[str]:
    return {violation.rule for violation in judge(script, **options)}


@pytest.mark.parametrize("name", BY_HAND)
def test_every_legal_order_written_by_hand_passes(name: str) -> None:
    assert judge(SCRIPTS[name]) == []


# What a client sends so that AURA's view has a reason for the frames of each scenario of test_wire_realtime.
ASKED: dict[str, list[Event]] = {
    "I push to talk": [
        {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}},
        {"type": "input_audio_buffer.clear"},
        {"type": "input_audio_buffer.commit"},
        {"type": "response.create"},
    ],
    "J typed": [
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "id": "client_1"}},
        {"type": "response.create", "response": {"metadata": {"client_event_id": "x"}}},
    ],
    "H text only": [{"type": "response.create", "response": {"metadata": {"client_event_id": "x"}}}],
    "F client cancel, twice": [{"type": "response.cancel"}, {"type": "response.cancel", "event_id": "mine"}],
    "K out of band": [{"type": "response.create", "response": {"conversation": "none"}}],
    "failures": [
        {"type": "input_audio_buffer.commit"},
        *[{"type": "response.create"}] * 2,
        {"type": "response.create", "event_id": "mine"},
    ],
}


def asked_for(frames: list[Event]) -> Iterator[Event]:
    """Requests that can be read off their answers."""
    turns = {event["item_id"] for event in frames if event["type"] == "input_audio_buffer.committed"}
    outputs = {event["item"]["id"] for event in frames if event["type"] == "response.output_item.added"}
    for event in frames:
        what = event["type"].removeprefix("conversation.item.")
        if what in ("truncated", "deleted"):
            yield {**event, "type": f"conversation.item.{what[:-1]}", "event_id": None}
        elif what == "retrieved":
            yield {"type": "conversation.item.retrieve", "item_id": event["item"]["id"]}
        elif what == "added" and event["item"]["id"] not in turns | outputs | {"client_1"}:
            place = {"previous_item_id": "root"} if event["previous_item_id"] is None else {}
            yield {"type": "conversation.item.create", "item": event["item"], **place}


@pytest.mark.parametrize("name", [name for name in by_view.ORDERS if name != "M start"])
def test_every_legal_order_made_by_auras_view_passes(name: str) -> None:
    view = by_view.make_view(**({"audio": {"input": IDLE}} if name == "L idle" else {}))
    frames = by_view.read(view.hello() + by_view.ORDERS[name][0](view))
    client = [*ASKED.get(name, ()), *asked_for(frames)]
    script: Script = [("<", event) for event in frames[:2]]
    script += [(">", event) for event in client] + [("<", event) for event in frames[2:]]
    grammar = Grammar()
    found = [v for way, event in script for v in (grammar.client if way == ">" else grammar.server)(event)]
    assert found + grammar.end(hung_up=True) == []


IDLE = {"transcription": {"model": "t"}, "turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000}}

# ---- broken orders -----------------------------------------------------------------------------------------------

ORDER = {"order.message", "order.function_call", "order.response", "order.item", "item.differs"}
CLOSED = {"response.open_item", "response.output"}
BROKEN: dict[str, tuple[set[str], set[str]]] = {
    # short name: the rules of which one must be named when the event is missing, and when it comes twice
    "session.created": ({"order.connection"}, {"answer.unasked"}),
    "conversation.created": (set(), {"order.connection"}),
    "session.updated": ({"answer.missing"}, {"answer.unasked", "answer.twice"}),
    "speech_started": ({"order.item"}, {"order.item"}),
    "speech_stopped": ({"answer.unasked"}, {"order.item"}),
    "timeout_triggered": ({"answer.unasked"}, {"order.item"}),
    "committed": ({"answer.unasked", "answer.missing"}, {"order.item"}),
    "cleared": ({"answer.missing"}, {"answer.unasked"}),
    "item.added": ({"order.item", *ORDER}, {"item.twice"}),
    "item.done": ({"item.unfinished", *ORDER}, ORDER),
    "item.retrieved": ({"answer.missing"}, {"answer.unasked"}),
    "item.deleted": ({"answer.missing"}, {"answer.unasked"}),
    "item.truncated": ({"answer.missing"}, {"answer.unasked"}),
    "transcription.delta": (set(), set()),
    "transcription.completed": (set(), {"order.transcription"}),
    "transcription.failed": (set(), {"order.transcription"}),
    "created": ({"order.response"}, {"response.twice"}),
    "done": ({"response.unfinished"}, {"order.response"}),
    "output_item.added": ({"order.response"}, {"item.twice"}),
    "output_item.done": (CLOSED, ORDER),
    "content_part.added": (ORDER, ORDER),
    "content_part.done": (ORDER, ORDER),
    "output_audio.delta": (set(), set()),
    "output_audio.done": (ORDER, ORDER),
    "output_audio_transcript.delta": ({"text.differs"}, {"text.differs"}),
    "output_audio_transcript.done": (ORDER, ORDER),
    "output_text.delta": ({"text.differs"}, {"text.differs"}),
    "output_text.done": (ORDER, ORDER),
    "function_call_arguments.delta": ({"arguments.differ"}, {"arguments.differ"}),
    "function_call_arguments.done": (ORDER, ORDER),
    "rate_limits.updated": (set(), set()),
    "error": ({"answer.missing"}, {"answer.twice"}),
}


def short(kind: str) -> str:
    if kind == "conversation.created":
        return kind
    for long, name in (("conversation.item.input_audio_transcription.", "transcription."), ("conversation.", "")):
        kind = name + kind.removeprefix(long) if kind.startswith(long) else kind
    return kind.removeprefix("input_audio_buffer.").removeprefix("response.")


SERVER = [(name, at) for name, script in SCRIPTS.items() for at, (way, _) in enumerate(script) if way == "<"]


def event_at(name: str, at: int) -> Event:
    event = SCRIPTS[name][at][1]
    assert isinstance(event, dict)
    return copy.deepcopy(event)


def excused(name: str, at: int) -> bool:
    """Nothing depends on this event: a farewell, a turn's start without its end."""
    event = event_at(name, at)
    later = [e for way, e in SCRIPTS[name][at:] if way == "<" and isinstance(e, dict)]
    if event["type"] == "error":
        return bool(event["error"]["code"] == "session_expired")
    if event["type"].endswith("speech_started"):
        return not any(e["type"].endswith("speech_stopped") for e in later)
    return False


def unnamed(event: Event) -> bool:
    """An error that names no message: the server may have had a trouble of its own."""
    return bool(event["type"] == "error" and event["error"]["event_id"] is None)


@pytest.mark.parametrize(("name", "at"), SERVER, ids=[f"{name[:9]}-{at}" for name, at in SERVER])
def test_a_missing_event_is_noticed_by_the_rule_that_it_breaks(name: str, at: int) -> None:
    script, kind = SCRIPTS[name], short(event_at(name, at)["type"])
    found, expected = rules([*script[:at], *script[at + 1 :]]), BROKEN[kind][0]
    assert found & expected if expected and not (excused(name, at) and not found) else not found


@pytest.mark.parametrize(("name", "at"), SERVER, ids=[f"{name[:9]}-{at}" for name, at in SERVER])
def test_an_event_that_comes_twice_is_noticed(name: str, at: int) -> None:
    script, event = SCRIPTS[name], event_at(name, at)
    again = {**event, "event_id": "another"}
    found, expected = rules([*script[: at + 1], ("<", again), *script[at + 1 :]]), BROKEN[short(event["type"])][1]
    harmless = not expected or (excused(name, at) and "speech_started" not in event["type"])
    assert not found if harmless or unnamed(event) else found & expected
    assert "event_id.twice" in rules([*script[: at + 1], ("<", event), *script[at + 1 :]])


# ---- wrong places ----------------------------------------------------------------------------------------------------

FREE = [
    # pairs about the same thing that may come in either order (1.7: transcription floats, deltas mix)
    {"item.done", "transcription.delta"},
    {"item.done", "transcription.failed"},
    {"output_audio.delta", "output_audio_transcript.delta"},
    {"output_item.done", "output_item.added"},
]
BOUND = [
    # pairs about different things that may not
    {"session.created"},
    {"conversation.created"},
    {"session.updated", "error"},
    {"done", "created"},
]
SWAPPED = ("order.", "text.differs", "arguments.differ", "response.two", "answer.twice", "update.order")
PAIRS = [
    (name, at)
    for name, script in SCRIPTS.items()
    for at in range(len(script) - 1)
    if script[at][0] == script[at + 1][0] == "<"
]


def subjects(event: Event) -> set[str]:
    """The ids of what an event is about."""
    ids = {event[key] for key in ("item_id", "response_id") if key in event}
    ids |= {event[key]["id"] for key in ("item", "response") if key in event}
    return ids | ({event["previous_item_id"]} if event["type"] == "conversation.item.added" else set())


@pytest.mark.parametrize(("name", "at"), PAIRS, ids=[f"{name[:9]}-{at}" for name, at in PAIRS])
def test_two_events_in_the_wrong_order_are_noticed(name: str, at: int) -> None:
    script, first, second = SCRIPTS[name], event_at(name, at), event_at(name, at + 1)
    pair = {short(first["type"]), short(second["type"])}
    found = rules([*script[:at], script[at + 1], script[at], *script[at + 2 :]])
    bound = any(some <= pair for some in BOUND) and "conversation.created" not in pair - {"speech_started"}
    if subjects(first) & subjects(second) or "session.created" in pair:
        assert any(rule.startswith(SWAPPED) for rule in found) or pair in FREE
    else:
        assert not found or bound or any(some <= pair for some in BOUND)
    assert not (pair in FREE and found)


@given(st.sampled_from(sorted(SCRIPTS)), st.data())
@settings(max_examples=150, deadline=None)
def test_an_event_that_passes_another_of_the_same_thing_is_noticed(name: str, data: st.DataObject) -> None:
    script = SCRIPTS[name]
    ours = [at for at, (way, _) in enumerate(script) if way == "<"]
    at, to = data.draw(st.sampled_from(ours)), data.draw(st.sampled_from(ours))
    found = rules(moved(script, at, to))
    event = event_at(name, at)
    passed = [event_at(name, n) for n in ours if at < n <= to or to <= n < at]
    bound = [
        e for e in passed if subjects(event) & subjects(e) and {short(event["type"]), short(e["type"])} not in FREE
    ]
    if short(event["type"]) in ("created", "content_part.added", "content_part.done") and bound:
        assert found


def moved(script: Script, at: int, to: int) -> Script:
    rest = [*script[:at], *script[at + 1 :]]
    return [*rest[:to], script[at], *rest[to:]]


# ---- what AURA's server really sent ------------------------------------------------------------------------------


def traffic(folder: Path) -> Script:
    """A recorded conversation, as it went over the wire."""
    script: Script = []
    lines = (folder / "tape.jsonl").read_bytes().splitlines(keepends=True)
    binary = "binary" in tape.decode_header(lines[0]).query.get("aura", "")
    places_: dict[str, Event] = {}
    for line in tape.decode(lines[1:]):
        match line:
            case tape.Step(outcome=tape.Text(text=text)):
                script.append((">", json.loads(text)))
            case tape.Step(outcome=tape.Back()):
                script.append(("back", {}))
            case tape.Step(outcome=tape.Audio()):
                script.append((">", b"" if binary else {"type": "input_audio_buffer.append", "audio": ""}))
            case tape.Sent(text=text):
                event = json.loads(text)
                places_.setdefault(event.get("item_id", ""), event)
                script.append(("<", event))
            case tape.SentAudio(item=item):
                place = {key: places_[item][key] for key in ("response_id", "item_id", "output_index", "content_index")}
                delta = {"type": "response.output_audio.delta", "event_id": f"audio_{len(script)}", "delta": "AAAA"}
                script.append(("<", b"" if binary else {**delta, **place}))
            case _:
                pass
    return script


@pytest.mark.parametrize("name", [piece.name for piece in corpus.PIECES])
def test_every_recorded_conversation_is_legal(name: str) -> None:
    script = traffic(corpus.FOLDER / name)
    grammar = coming = Grammar()
    found: list[Violation] = []
    for way, event in script:
        if way == "back":  # what the client says is for the new connection, before that says anything
            found += grammar.end(hung_up=True)
            coming = Grammar(resumed=True)
        elif way == ">":
            found += coming.client(event)
        else:
            grammar = coming if isinstance(event, dict) and event["type"] == "session.created" else grammar
            found += grammar.server(event)
    assert not found + grammar.end(hung_up=True)
    assert sum(way == "<" for way, _ in script) > 5
