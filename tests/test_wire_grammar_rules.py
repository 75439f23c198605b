"""What a server owes its client, AURA's additions, resumed connections, and the oracle's own robustness."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.wire.grammar import FRAME_BYTES_MAX, Grammar
from tests.test_wire_grammar import SCRIPTS, judge, rules
from tests.test_wire_grammar_fields import changed, places
from tests.wire_book import Book, Event, Reply, Script, session
from tests.wire_orders import BY_HAND, error

# ---- what the client asks for ------------------------------------------------------------------------------------

OFFENCES: list[Event | str | bytes] = [
    "no JSON",
    "[]",
    '{"type": "session.update", "session": "\ud800"}',
    b"\0\0",
    {"type": 7},
    {"type": "no.such.event", "event_id": "mine"},
    {"type": "session.update"},
    {"type": "session.update", "session": [], "event_id": "mine"},
    {"type": "input_audio_buffer.append"},
    {"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": True},
    {"type": "conversation.item.retrieve", "item_id": None},
    {"type": "response.cancel", "event_id": 7},
]


@pytest.mark.parametrize("offence", OFFENCES, ids=[str(n) for n in range(len(OFFENCES))])
def test_a_clients_offence_is_no_violation_but_wants_an_error(offence: Event | str | bytes) -> None:
    book = Book()
    book.script.append((">", offence))  # type: ignore[arg-type]
    assert rules(book.script) == {"answer.missing"}
    named = offence.get("event_id") if isinstance(offence, dict) else None
    book.get("error", error=error("invalid_value", named if isinstance(named, str) else None))
    assert judge(book.script) == []


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "session.update", "session": {}},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
        {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": []}},
        {"type": "conversation.item.retrieve", "item_id": "x"},
        {"type": "conversation.item.delete", "item_id": "x"},
        {"type": "conversation.item.truncate", "item_id": "x", "audio_end_ms": 5},
        {"type": "response.create"},
        {"type": "response.cancel"},
    ],
    ids=lambda request: request["type"],
)
def test_every_request_wants_its_answer_or_an_error(request_: Event) -> None:
    for event_id in ({}, {"event_id": "mine"}):
        book = Book()
        book.script.append((">", {**request_, **event_id}))
        assert rules(book.script) == {"answer.missing"}
        grammar = Grammar()
        for way, event in book.script:
            (grammar.client if way == ">" else grammar.server)(event)
        assert grammar.end(settled=1, hung_up=True) == [], "it may be on its way when the client hangs up"
        book.get("error", error=error("invalid_value", event_id.get("event_id")))
        assert judge(book.script) == []


def test_an_error_with_anothers_name_is_no_answer() -> None:
    book = Book()
    book.put("response.create", event_id="ask")
    book.get("error", error=error("conversation_already_has_active_response"))
    assert rules(book.script) == {"answer.missing"}


def test_a_rate_is_echoed_only_to_those_who_asked() -> None:
    audio = {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}
    book = Book()
    book.update({"audio": audio}, audio__input__format={"type": "audio/pcm", "rate": 16000})
    assert judge(book.script) == []
    first = Book(audio__input__format={"type": "audio/pcm", "rate": 8000})
    assert rules(first.script) == {"echo.rate"}
    assert judge(first.script, rates=[8000]) == []


def test_speaking_unasked_is_no_business_of_a_server_that_was_told_to_wait() -> None:
    book = Book()
    book.turn()
    Reply(book).whole()
    book.update({"audio": {"input": {"turn_detection": None}}}, audio__input__turn_detection=None)
    Reply(book, "2").whole()
    assert rules(book.script) == {"answer.unasked"}


# What was said ("|" is the client's truncate), what the `done` events tell, what the item keeps: is it legal in a reply
# that was cut off, and in a completed one?
TOLD: list[tuple[str, str, str | None, bool, bool]] = [
    ("Once upon a time.", "Once upon a time.", "Once upon a time.", True, True),
    ("Once upon a time.", "Once upon a time.", "Once upon a", True, False),
    ("Once upon a time.", "Once upon a time.", "", True, False),
    ("Once upon a time.", "Once upon a time.", "Once upon a time. ", True, False),
    ("Once upon a time.", "Once upon a time.", None, False, False),
    ("Once upon a time.", "Once upon a time.", "Once up", False, False),
    ("Once upon a time.", "Once upon a time.", "a time.", False, False),
    ("Once upon a time.", "Once upon a time.", "Once upon a time. There", False, False),
    ("Once upon a time.", "Once upon", "Once upon", False, False),
    ("Once upon a time.", "", "", False, False),
    ("Once upon a time.", "Once upon a time. There", "Once upon", False, False),
    ("Once upon a time|", "Once upon a time", "Once", True, True),
    ("Once upon a time|", "Once upon a time", "a time", False, False),
    ("Once upon a time|", "Once upon a time", None, False, False),
    ("Once upon a time| was a mill.", "Once upon a time was a mill.", "Once upon a time was a mill.", True, True),
    ("Once upon a time| was a mill.", "Once upon a time was a mill.", "Once upon was a mill.", True, True),
    ("Once upon a time| was a mill.", "Once upon a time was a mill.", " was a mill.", True, True),
    ("Once upon a time| was a mill.", "Once upon a time was a mill.", "Once upon was a", True, False),
    ("Once upon a time| was a mill.", "Once upon a time was a mill.", "Once upon", True, False),
    ("Once upon a time| was a mill.", "Once upon a time was a mill.", "Never was a mill.", False, False),
    ("Once upon a time| was a mill.", "Once upon was a mill.", "Once upon was a mill.", False, False),
    ("Once upon a ti|me was| a mill.", "Once upon a time was a mill.", "Once upon a time", True, False),
    ("Once upon a ti|me was| a mill.", "Once upon a time was a mill.", "Once upon a mill.", True, True),
]


@pytest.mark.parametrize("status", ["cancelled", "incomplete", "completed"])
@pytest.mark.parametrize("text", [False, True], ids=["spoken", "written"])
@pytest.mark.parametrize(("said", "told", "kept", "when_cut", "when_completed"), TOLD)
def test_done_tells_what_the_deltas_told_and_the_item_what_was_heard(
    said: str, told: str, kept: str | None, when_cut: bool, when_completed: bool, text: bool, status: str
) -> None:
    if text and kept is None:
        return  # a written text has no null: field.type
    book = Book(**({"output_modalities": ["text"]} if text else {}))
    book.turn()
    reply = Reply(book, text=text)
    reply.begin()
    for number, piece in enumerate(said.split("|")):
        if number:
            about = {"item_id": reply.item_id, "content_index": 0, "audio_end_ms": 300}
            book.put("conversation.item.truncate", **about)
            book.get("conversation.item.truncated", **about)
        if piece:
            reply.say(piece)
    reply.close(told, "completed" if status == "completed" else "incomplete")
    keep(reply, [{"type": "output_text", "text": kept} if text else {"type": "output_audio", "transcript": kept}])
    reasons = {"cancelled": "turn_detected", "incomplete": "max_output_tokens"}
    reply.done(status, {"type": status, "reason": reasons[status]} if status in reasons else None)
    legal = when_completed if status == "completed" else when_cut
    assert rules(book.script) == (set() if legal else {"text.differs"})


def keep(reply: Reply, content: list[Event]) -> None:
    """The message that was just closed has other content, wherever it is shown."""
    for item in (*(event["item"] for _, event in reply.book.script[-2:]), reply.outputs[0]):  # type: ignore[index]
        item["content"] = content


OTHERS = [[], [{"type": "output_text", "text": "Once"}], [{"type": "input_text", "text": "Once"}]]


@pytest.mark.parametrize("shown", [*OTHERS, [{"type": "output_audio", "transcript": "Once"}] * 2])
@pytest.mark.parametrize("truncated", [False, True])
def test_also_a_cut_item_has_the_parts_that_were_closed(shown: list[Event], truncated: bool) -> None:
    book = Book()
    book.turn()
    reply = Reply(book)
    reply.begin()
    reply.say("Once upon a time.")
    if truncated:
        about = {"item_id": reply.item_id, "content_index": 0, "audio_end_ms": 300}
        book.put("conversation.item.truncate", **about)
        book.get("conversation.item.truncated", **about)
    reply.close("Once upon a time.", "incomplete")
    keep(reply, shown)
    reply.done("cancelled", {"type": "cancelled", "reason": "turn_detected"})
    assert rules(book.script) == {"text.differs"}


def test_nothing_begins_after_the_session_has_expired() -> None:
    script = [*SCRIPTS["M, N start and end"], *SCRIPTS["A normal turn"][1:]]
    assert "expired" in rules([(way, {**e, "event_id": str(n)}) for n, (way, e) in enumerate(script)])  # type: ignore[dict-item]


# ---- AURA's additions --------------------------------------------------------------------------------------------

OPTED = {"transport": "binary", "events": True}
OWN: list[Event] = [
    {"type": "aura.state", "was": "idle", "now": "listening", "cause": "SpeechStarted"},
    {"type": "aura.playout.hold", "response_id": "resp_1", "item_id": "item_a1"},
    {"type": "aura.playout.resume", "response_id": "resp_1", "item_id": "item_a1", "from_ms": 40},
    {"type": "aura.playout.flush", "response_id": "resp_1", "item_id": "item_a1", "heard_ms": 40},
    {"type": "aura.turn.metrics", "turn": 1, "item_id": "item_u1", "metrics": {}},
]


@pytest.mark.parametrize("opted_in", [False, True])
def test_auras_own_events_and_binary_frames_need_the_opt_in(opted_in: bool) -> None:
    book = Book(**({"aura": OPTED} if opted_in else {}))
    book.turn()
    reply = Reply(book)
    reply.begin()
    reply.say("Good day.")
    for event in OWN:
        book.get(**{"kind": event["type"], **{key: value for key, value in event.items() if key != "type"}})
    book.script += [("<", b"\0\0"), (">", {"type": "aura.playout.ack", "item_id": "item_a1", "played_ms": 1.5})]
    reply.close("Good day.")
    reply.done()
    assert rules(book.script) == (set() if opted_in else {"opt_in"})
    assert len(judge(book.script)) == (0 if opted_in else len(OWN) + 1)
    book.script.append(("<", b"\0\0"))
    assert "binary.stray" in rules(book.script)


def resumed(**changes: Any) -> Book:
    """A connection that goes on with a session in which a reply was under way."""
    book = Book(beta=True, aura=OPTED, **changes)
    old = {"id": "item_u1", "type": "message", "role": "user", "status": "completed", "content": []}
    about = {"session_id": "sess_1", "conversation_id": "conv_1"}
    book.get("aura.resumed", input_bytes=9600, items=[old], **about)
    book.last = "item_u1"
    reply = Reply(book)
    reply.begin()
    reply.say("Once upon a time.")
    book.get("aura.playout.resume", response_id="resp_1", item_id="item_a1", from_ms=900)
    reply.close("Once upon a time.")
    reply.done()
    return book


def test_a_resumed_conversation_may_have_items_that_were_not_seen() -> None:
    assert judge(resumed(audio__input__format={"type": "audio/pcmu"}).script) == []
    stock = Book()
    stock.last = "item_of_before"
    stock.turn()
    assert "item.previous" in rules(stock.script)
    assert judge(stock.script, resumed=True) == []


def test_only_a_client_that_resumes_sees_a_second_session() -> None:
    book = Book()
    book.get("session.created", session=session(id="sess_0"))
    assert "answer.unasked" in rules(book.script)
    book.script.insert(1, (">", {"type": "aura.resume", "session_id": "sess_0"}))
    assert judge(book.script) == []


# ---- the oracle itself -------------------------------------------------------------------------------------------


def test_text_frames_are_read_and_measured() -> None:
    script: Script = SCRIPTS["A normal turn"]
    grammar = Grammar()
    assert [v for _, event in script for v in grammar.server(json.dumps(event))] == []
    assert [v.rule for v in grammar.server("[]")] == ["type"]
    long = {"type": "error", "event_id": "long", "error": {**error("x"), "message": "x" * FRAME_BYTES_MAX}}
    assert [v.rule for v in grammar.server(json.dumps(long))] == ["frame.size"]


def test_a_violation_names_the_event_and_its_number() -> None:
    (violation,) = judge(SCRIPTS["A normal turn"][:-2])
    assert violation.rule == "response.unfinished"
    found = judge(
        [*SCRIPTS["A normal turn"], ("<", {"type": "session.updated", "event_id": "x", "session": session()})]
    )
    assert [(v.rule, v.kind, v.index) for v in found] == [("answer.unasked", "session.updated", 24)]
    assert found[0].text == "session.updated: no session.update asked for it"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=False) | st.sampled_from(["", "x", "item_u1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.sampled_from(sorted(BY_HAND)), st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_a_server_sends_the_oracle_names_it_and_goes_on(name: str, data: st.DataObject) -> None:
    script = copy.deepcopy(SCRIPTS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from([n for n, (_, event) in enumerate(script) if isinstance(event, dict)]))
        path = data.draw(st.sampled_from(list(places(script[at][1]))))
        script[at] = (script[at][0], changed(script[at][1], path, data.draw(json_values)))  # type: ignore[arg-type]
    judge(script)


def test_the_length_of_a_call_costs_no_memory() -> None:
    book = Book()
    book.turn()
    reply = Reply(book)
    reply.begin()
    grammar = Grammar()
    for _, event in book.script:
        grammar.server(event)
    sound = base64.b64encode(bytes(960)).decode()
    delta = {"type": "response.output_audio.delta", "delta": sound, **reply.place}
    for number in range(10_000):
        assert not grammar.server({**delta, "event_id": f"e{number}"})
    assert len(grammar._ids) < 5000
