"""What a client learns of a conversation beyond the order of events: ids, chains, texts, faults, AURA's own events."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest

from aura.core.errors import ProtocolFault
from aura.core.ports import ToolCall
from aura.core.wire import faults, items
from aura.core.wire.client import ItemCreate, ItemDelete, ItemRetrieve
from tests.test_wire_realtime import (
    CLOSED,
    HEARD,
    TRANSCRIBED,
    USAGE,
    Scenario,
    barge_in,
    begin_reply,
    function_call,
    history,
    make_view,
    normal,
    one,
    out_of_band,
    read,
    speech_and_call,
    text_only,
    types,
    user_turn,
)


def test_a_normal_turn_hangs_together() -> None:
    view = make_view()
    events = read(normal(view))
    user, assistant = view.item_of_turn(1), view.item_of(1)
    assert {event["item_id"] for event in events if event["type"].startswith("input_audio_buffer")} == {user}
    added = [event for event in events if event["type"] == "conversation.item.added"]
    assert [(event["item"]["id"], event["previous_item_id"]) for event in added] == [(user, None), (assistant, user)]
    want_user = {"type": "input_audio", "transcript": None}
    assert added[0]["item"] == {
        "type": "message",
        "role": "user",
        "content": [want_user],
        "id": user,
        "status": "completed",
    }
    assert (added[1]["item"]["status"], added[1]["item"]["content"]) == ("in_progress", [])
    deltas = [base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"]
    assert deltas == [b"\x01\x02" * 480, b"\x03\x04" * 480]
    response = events[-1]["response"]
    assert response["output"] == [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_audio", "transcript": "Good day."}],
            "id": assistant,
            "status": "completed",
        }
    ]
    assert (response["status"], response["status_details"]) == ("completed", None)
    assert response["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"}
    assert response["usage"] == {
        "total_tokens": 104,
        "input_tokens": 42,
        "output_tokens": 62,
        "input_token_details": {
            "text_tokens": 30,
            "audio_tokens": 12,
            "image_tokens": 0,
            "cached_tokens": 8,
            "cached_tokens_details": {"text_tokens": 8, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 12, "audio_tokens": 50},
    }
    assert view.turn_of(user or "") == view.turn_of(assistant or "") == 1
    assert (view.reply_of(assistant or ""), view.reply_named(response["id"])) == (1, 1)


def test_a_cancelled_response_says_why_and_ends_incomplete() -> None:
    frames = barge_in(make_view())
    response = one(frames, "response.done")["response"]
    assert (response["status"], response["status_details"]) == (
        "cancelled",
        {"type": "cancelled", "reason": "turn_detected"},
    )
    assert one(frames, "response.output_item.done")["item"]["status"] == "incomplete"
    assert response["usage"]["total_tokens"] == 104
    retrieved = one(frames, "conversation.item.retrieved")["item"]
    assert retrieved["content"] == [{"type": "output_audio", "transcript": "Good"}]


LATE: list[Scenario] = [
    lambda view: view.say(1, "more"),
    lambda view: view.audio(1, b"\0\0"),
    lambda view: view.call(1, ToolCall("c", "f", "{}")),
    lambda view: view.response_created(1, 1),
    lambda view: view.response_done(1, USAGE),
    lambda view: view.response_cancelled(1, "turn_detected"),
    lambda view: view.response_incomplete(1, "content_filter"),
    lambda view: view.response_failed(1, "code", "message"),
    lambda view: view.committed(1),
    lambda view: view.speech_stopped(1, 5),
]


@pytest.mark.parametrize("late", LATE)
def test_a_late_verb_says_nothing(late: Scenario) -> None:
    view = make_view()
    normal(view)
    assert late(view) == []


def test_verbs_about_unknown_replies_say_nothing() -> None:
    view = make_view(aura={"events": True})
    assert view.say(9, "x") + view.audio(9, b"xx") + view.hold(9) + view.response_done(9, USAGE) == []
    assert (view.item_of(9), view.response_of(9), view.reply_of("x"), view.reply_named("x")) == (None,) * 4


def test_metadata_comes_back_for_livekit() -> None:
    frames = text_only(make_view())
    assert one(frames, "response.created")["response"]["metadata"] == {"client_event_id": "x"}
    assert one(frames, "response.done")["response"]["metadata"] == {"client_event_id": "x"}


def test_a_function_call_names_itself_everywhere() -> None:
    frames = function_call(make_view())
    assert one(frames, "response.output_item.added")["item"]["arguments"] == ""
    done = one(frames, "response.function_call_arguments.done")
    assert (done["name"], done["call_id"], done["arguments"]) == ("clock", "call_1", '{"zone":"utc"}')
    (item,) = one(frames, "response.done")["response"]["output"]
    assert (item["type"], item["status"], item["name"]) == ("function_call", "completed", "clock")


def test_speech_and_call_are_two_items_of_one_response() -> None:
    frames = speech_and_call(make_view())
    marks = [event for event in read(frames) if event["type"].startswith("response.output_item")]
    indexes = [(event["output_index"], event["item"]["type"]) for event in marks]
    assert indexes == [(0, "message"), (1, "function_call"), (1, "function_call"), (0, "message")]
    output = one(frames, "response.done")["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert output[0]["content"][0]["transcript"] == "Good day. Wait."


def test_an_out_of_band_response_leaves_no_trace() -> None:
    view = make_view()
    frames = out_of_band(view)
    assert read(frames)[-1]["response"]["conversation_id"] is None
    with pytest.raises(ProtocolFault):
        view.retrieved(ItemRetrieve(item_id=view.item_of(2) or ""))


def test_a_transcript_is_shown_only_to_those_who_asked() -> None:
    view = make_view(audio={"input": {"transcription": None}})
    assert types(user_turn(view)) == HEARD
    assert view.transcript_failed(1, "c", "m") == []


def test_a_transcribed_item_can_be_retrieved_with_its_words() -> None:
    view = make_view()
    user_turn(view)
    retrieved = one(view.retrieved(ItemRetrieve(item_id=view.item_of_turn(1) or "")), "conversation.item.retrieved")
    assert retrieved["item"]["content"] == [{"type": "input_audio", "transcript": "hello"}]


def test_transcription_is_billed_by_duration() -> None:
    completed = one(user_turn(make_view()), TRANSCRIBED[1])
    assert completed["usage"] == {"type": "duration", "seconds": 1.2}


def test_an_item_being_spoken_can_be_retrieved_and_cut() -> None:
    view = make_view()
    begin_reply(view)
    item_id = view.item_of(1) or ""
    item = one(view.retrieved(ItemRetrieve(item_id=item_id)), "conversation.item.retrieved")["item"]
    assert (item["status"], item["content"][0]["transcript"]) == ("in_progress", "Good day.")
    view.truncated(item_id, 0, 20, "Good")
    done = view.response_cancelled(1, "client_cancelled")
    assert one(done, "conversation.item.done")["item"]["content"][0]["transcript"] == "Good"


def test_client_items_find_their_place_in_the_chain() -> None:
    added = [event for event in read(history(make_view())) if event["type"] == "conversation.item.added"]
    chain = [(event["item"]["id"], event["previous_item_id"]) for event in added]
    assert chain[:4] == [("old", None), ("sys", None), ("call", "old"), ("spoken", "sys")]
    assert chain[4][1] == "call"


def _refusal(verb: Callable[[], object]) -> tuple[str, str | None, str | None]:
    with pytest.raises(ProtocolFault) as caught:
        verb()
    return caught.value.code, caught.value.param, caught.value.event_id


def test_work_on_unknown_items_is_refused_and_changes_nothing() -> None:
    view = make_view()
    message = items.Message("user", (items.InputText("x"),), "a")
    view.text_item(ItemCreate(item=message))
    lost = ItemCreate(item=items.Message("user", (), "b"), previous_item_id="no", event_id="mine")
    again = ItemCreate(item=message, event_id="mine")
    retrieve, delete = ItemRetrieve(item_id="no", event_id="mine"), ItemDelete(item_id="no", event_id="mine")
    assert _refusal(lambda: view.text_item(lost)) == ("invalid_value", "previous_item_id", "mine")
    assert _refusal(lambda: view.text_item(again)) == ("item_create_duplicate_item_id", "item.id", "mine")
    assert _refusal(lambda: view.retrieved(retrieve)) == ("item_retrieve_invalid_item_id", "item_id", "mine")
    assert _refusal(lambda: view.deleted(delete)) == ("item_delete_invalid_item_id", "item_id", "mine")
    for item_id in ("no", "a"):
        refusal = _refusal(lambda item_id=item_id: view.truncated(item_id, 0, 5, event_id="mine"))
        assert refusal == ("item_truncate_invalid_item_id", "item_id", "mine")
    assert view.item("b") is None


def test_an_admitted_message_knows_its_id_before_it_is_placed() -> None:
    view = make_view()
    message = view.admit(ItemCreate(item=items.Message("user", (items.InputText("x"),))))
    assert message.item.id
    assert view.item(message.item.id) is None
    view.text_item(message)
    assert items.text_of(view.item(message.item.id) or message.item) == "x"


def test_the_error_event_carries_the_clients_event_and_the_known_words() -> None:
    view = make_view()
    error = one(view.fault(faults.no_active_response("mine")), "error")["error"]
    assert error == {
        "type": "invalid_request_error",
        "code": "response_cancel_not_active",
        "message": "Cancellation failed: no active response found",
        "param": None,
        "event_id": "mine",
    }
    assert one(view.fault(ProtocolFault("server_error", "x")), "error")["error"]["type"] == "server_error"
    assert "100ms" in str(faults.commit_empty(40))


def test_the_binary_transport_names_the_item_once_and_sends_bytes() -> None:
    view = make_view(aura={"transport": "binary"})
    frames = view.response_created(1, 1) + view.audio(1, b"\1\2") + view.audio(1, b"\3\4")
    assert frames[-2:] == [b"\1\2", b"\3\4"]
    naming = json.loads(frames[-3])
    assert (naming["type"], naming["delta"], naming["item_id"]) == ("response.output_audio.delta", "", view.item_of(1))
    other = view.response_created(2, 1) + view.audio(2, b"\5\6") + view.audio(1, b"\7\7")
    assert [frame for frame in other if isinstance(frame, bytes)] == [b"\5\6", b"\7\7"]
    assert types(other).count("response.output_audio.delta") == 2


def test_a_client_that_opted_in_is_told_to_hold_resume_and_flush() -> None:
    view = make_view(aura={"events": True})
    view.response_created(1, 1)
    assert view.hold(1) == []  # nothing was sent that could be held
    begin_reply(view)
    playing = {"response_id": view.response_of(1), "item_id": view.item_of(1)}
    view.response_done(1, USAGE)  # it may still be playing
    (hold,), (resume,), (flush,) = read(view.hold(1)), read(view.resume(1, 40)), read(view.flush(1, 60))
    for event, want in [
        (hold, {"type": "aura.playout.hold", **playing}),
        (resume, {"type": "aura.playout.resume", **playing, "from_ms": 40}),
        (flush, {"type": "aura.playout.flush", **playing, "heard_ms": 60}),
    ]:
        event.pop("event_id")
        assert event == want
    assert types(view.state("idle", "listening", "SpeechStarted")) == ["aura.state"]
    assert one(view.turn_metrics(1, {"stt_ms": 5.5}), "aura.turn.metrics")["metrics"] == {"stt_ms": 5.5}


def test_a_retried_reply_is_one_response_to_the_client() -> None:
    view = make_view()
    begin_reply(view)
    view.stand_in(2, retry_of=1)
    frames = view.say(2, " Again.") + view.response_done(2, USAGE)
    assert types(frames) == ["response.output_audio_transcript.delta", *CLOSED]
    assert one(frames, "response.done")["response"]["output"][0]["content"][0]["transcript"] == "Good day. Again."
    assert (view.response_done(1, USAGE), view.reply_of(view.item_of(2) or "")) == ([], 2)


def test_a_deleted_item_stays_deleted_when_its_response_ends() -> None:
    view = make_view()
    begin_reply(view)
    item_id = view.item_of(1) or ""
    view.deleted(ItemDelete(item_id=item_id))
    view.response_cancelled(1, "turn_detected")
    assert view.item(item_id) is None


def test_three_updates_at_once_are_answered_three_times_in_order() -> None:
    view, echoed = make_view(), []
    for voice in ("a", "b", "c"):
        frames = view.updated(view.session.apply({"audio": {"output": {"voice": voice}}}))
        echoed.append(one(frames, "session.updated")["session"]["audio"]["output"]["voice"])
    assert echoed == ["a", "b", "c"]
