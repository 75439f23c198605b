"""What clients of the Realtime protocol ask of a conversation: functions, overrides, text, asides, limits, resume."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from aura.core import events as ev
from aura.core.ports import Finished, TextDelta, ToolCall
from aura.session.build import Who
from aura.session.desk import TOO_MANY_FAULTS
from aura.session.session import SessionSettings
from aura.tools.replay.pipeline import replay
from tests.script import RATE_HZ, Detector, Scene, stage

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
CALL = [ToolCall("call_1", "get_weather", '{"city":"Rome"}')]
STORY = "Once upon a time there was a keeper. Every night he counted the ships. " * 3


def item(text: str, role: str = "user", **fields: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **fields}


def types(scene: Scene) -> list[str]:
    return [message["type"] for message in scene.messages()]


def last(scene: Scene, kind: str) -> dict[str, Any]:
    return scene.messages(kind)[-1]


async def ask(scene: Scene, text: str = "hello", **response: Any) -> None:
    """A typed question."""
    scene.user.send(type="conversation.item.create", item=item(text))
    scene.user.send(type="response.create", response=response)


async def done(scene: Scene, count: int = 1, limit_s: float = 30.0) -> dict[str, Any]:
    """Wait for that many responses to end; the last one."""
    with trio.fail_after(limit_s):
        while len(scene.messages("response.done")) < count:
            await scene.user.silent(0.1)
    response: dict[str, Any] = last(scene, "response.done")["response"]
    return response


def shown(scene: Scene, request: int = -1) -> list[str]:
    """What the model was shown, without the instructions."""
    return [f"{m.role[0]}:{m.text}" for m in scene.chat.requests[request].messages if m.role != "system"]


# ---- functions that the client runs ------------------------------------------------------------------------------


async def test_the_client_runs_its_function_and_the_next_answer_uses_the_result(autojump_clock: MockClock) -> None:
    async with stage([[TextDelta("One moment. "), *CALL], "It rains."],
                     options={"tools": [WEATHER]}) as scene:  # fmt: skip
        await scene.user.says(1.0, "what is the weather")
        first = await done(scene)
        scene.user.send(type="conversation.item.create",
                        item={"type": "function_call_output", "call_id": "call_1", "output": "rain"})  # fmt: skip
        scene.user.send(type="response.create")
        await done(scene, 2)

        assert [entry["type"] for entry in first["output"]] == ["message", "function_call"]
        assert first["status"] == "completed"
        call = last(scene, "response.function_call_arguments.done")
        assert (call["name"], call["call_id"], call["arguments"]) == ("get_weather", "call_1", '{"city":"Rome"}')
        assert shown(scene)[-2:] == ["a:", "t:rain"]
        assert scene.history()[-1] == ("assistant", "It rains.")
        assert "StageFailed" not in scene.names()


async def test_a_call_without_a_word_is_no_failure_and_has_no_empty_message(autojump_clock: MockClock) -> None:
    async with stage([CALL], options={"tools": [WEATHER]}) as scene:
        await ask(scene)
        response = await done(scene)

        assert [entry["type"] for entry in response["output"]] == ["function_call"]
        assert "response.content_part.added" not in types(scene)
        assert scene.session.conversation.state == "idle"


async def test_a_draft_hands_nothing_over_before_the_turn_has_ended(autojump_clock: MockClock) -> None:
    async with stage([CALL, CALL], options={"tools": [WEATHER]}, first_token_s=0.01, stt_s=0.01) as scene:
        await scene.user.says(0.6, "what is")
        await scene.user.silent(0.3)
        assert len(scene.chat.requests) == 1
        assert not scene.messages("response.function_call_arguments.done")
        await scene.user.says(0.6, "what is the weather")
        await done(scene)
        assert len(scene.messages("response.function_call_arguments.done")) == 1


async def test_a_result_nobody_asked_for_is_refused_by_name(autojump_clock: MockClock) -> None:
    async with stage() as scene:
        scene.user.send(type="conversation.item.create", event_id="mine",
                        item={"type": "function_call_output", "call_id": "call_x", "output": "1"})  # fmt: skip
        await scene.user.silent(0.1)
        error = last(scene, "error")["error"]
        assert (error["code"], error["param"], error["event_id"]) == ("invalid_tool_call_id", "item.call_id", "mine")


# ---- what one response shall be like -----------------------------------------------------------------------------


async def test_a_request_overrides_the_session_once_and_gets_its_metadata_back(autojump_clock: MockClock) -> None:
    options = {"instructions": "Be brief.", "tools": [WEATHER], "max_output_tokens": 100}
    async with stage(["One.", "Two."], options=options) as scene:
        await ask(scene, instructions="Be French.", tools=[], tool_choice="none", max_output_tokens=7,
                  metadata={"client_event_id": "x"}, audio={"output": {"voice": "marin"}})  # fmt: skip
        await done(scene)
        await ask(scene, instructions=None, metadata=None)
        await done(scene, 2)

        first, second = scene.chat.requests
        assert (first.messages[0].text, first.max_tokens, first.tools) == ("Be French.", 7, ())
        assert (second.messages[0].text, second.max_tokens) == ("Be brief.", 100)
        assert {"get_weather", "wait"} == {tool.name for tool in second.tools}
        begun = [message["response"] for message in scene.messages("response.created")]
        assert [response["metadata"] for response in begun] == [{"client_event_id": "x"}, None]
        assert [response["audio"]["output"]["voice"] for response in begun] == ["marin", "alloy"]
        assert [response["max_output_tokens"] for response in begun] == [7, 100]


async def test_refused_requests_leave_nothing_to_the_next_one(autojump_clock: MockClock) -> None:
    async with stage([STORY, "Two."]) as scene:
        await ask(scene)
        await scene.user.until("speaking")
        scene.user.send(type="response.create", event_id="mine", response={"metadata": {"a": "b"}})
        await scene.user.silent(0.1)
        error = last(scene, "error")["error"]
        assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "mine")
        scene.user.send(type="response.cancel")
        await scene.user.says(1.0, "and now")
        await done(scene, 2)
        assert last(scene, "response.created")["response"]["metadata"] is None


async def test_text_only_responses_come_as_the_model_writes_and_need_no_voice(autojump_clock: MockClock) -> None:
    async with stage(["It is noon."], options={"output_modalities": ["text"]}, token_s=0.1) as scene:
        await ask(scene)
        response = await done(scene)

        deltas = [message["delta"] for message in scene.messages("response.output_text.delta")]
        assert deltas == ["It ", "is ", "noon. "]
        assert response["output"][0]["content"] == [{"type": "output_text", "text": "It is noon. "}]
        assert not scene.tts.said
        assert not scene.audio_at()
        assert scene.history()[-1] == ("assistant", "It is noon.")
        assert scene.states() == ["idle", "thinking", "speaking", "idle"]


async def test_an_interrupted_text_keeps_what_was_sent(autojump_clock: MockClock) -> None:
    async with stage([STORY, "Yes?"], options={"output_modalities": ["text"]}, token_s=0.2) as scene:
        await ask(scene)
        await scene.user.until("speaking")
        await scene.user.silent(0.5)
        await scene.user.says(1.0, "stop that now")
        await done(scene, 2)
        cut = scene.messages("response.done")[0]["response"]
        sent = "".join(m["delta"] for m in scene.messages("response.output_text.delta"))
        assert cut["status"] == "cancelled"
        assert sent.startswith(cut["output"][0]["content"][0]["text"])
        assert scene.history()[1][1].startswith("Once upon a")


async def test_one_response_may_be_written_in_a_spoken_conversation(autojump_clock: MockClock) -> None:
    async with stage(["Written.", "Spoken."]) as scene:
        await ask(scene, output_modalities=["text"])
        await done(scene)
        await ask(scene)
        await done(scene, 2)
        assert scene.tts.said == ["Spoken."]


@pytest.mark.parametrize(("reason", "status"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_short_is_incomplete(autojump_clock: MockClock, reason: Any, status: str) -> None:
    async with stage([[TextDelta("Half an "), Finished(reason)]]) as scene:
        await ask(scene)
        response = await done(scene)
        assert response["status"] == "incomplete"
        assert response["status_details"] == {"type": "incomplete", "reason": status}


async def test_usage_counts_tokens_of_all_rounds_and_seconds_of_audio(autojump_clock: MockClock) -> None:
    rounds = [[ToolCall("c", "wait", '{"seconds":1}'), Finished("tool_calls", 30, 4, 8)],
              [TextDelta("Good day."), Finished("stop", 50, 6, 20)]]  # fmt: skip
    async with stage(rounds) as scene:
        await scene.user.says(1.0, "hello")
        usage = (await done(scene))["usage"]
        assert usage["input_token_details"]["text_tokens"] == 80
        assert usage["output_token_details"]["text_tokens"] == 10
        assert usage["input_token_details"]["cached_tokens"] == 28
        assert usage["input_token_details"]["audio_tokens"] >= 10
        assert usage["output_token_details"]["audio_tokens"] == 10
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


# ---- responses outside the conversation --------------------------------------------------------------------------


async def test_an_aside_runs_beside_the_reply_and_leaves_no_trace_in_the_history(
    autojump_clock: MockClock,
) -> None:
    async with stage([STORY, "It is about ships."]) as scene:
        await ask(scene, "tell me a story")
        await scene.user.until("speaking")
        before = scene.history()
        scene.user.send(
            type="response.create",
            response={"conversation": "none", "output_modalities": ["text"], "metadata": {"topic": "summary"},
                      "instructions": "Summarise.", "input": [item("the story")]},
        )  # fmt: skip
        aside = await done(scene)

        assert scene.session.conversation.state == "speaking"
        assert (aside["conversation_id"], aside["metadata"]) == (None, {"topic": "summary"})
        assert aside["output"][0]["content"][0]["text"] == "It is about ships. "
        assert [m.text for m in scene.chat.requests[-1].messages] == ["Summarise.", "the story"]
        added = {message["item"]["id"] for message in scene.messages("conversation.item.added")}
        assert aside["output"][0]["id"] not in added
        assert scene.history()[: len(before)] == before
        assert all("ships." not in text or role == "assistant" for role, text in scene.history())


async def test_asides_are_bounded_can_be_cancelled_and_name_items(autojump_clock: MockClock) -> None:
    async with stage(["x"] * 9, first_token_s=5.0) as scene:
        named = [{"type": "item_reference", "id": "item_a"}]
        scene.user.send(type="conversation.item.create", item=item("first", id="item_a"))
        for _ in range(5):
            scene.user.send(
                type="response.create", response={"conversation": "none", "output_modalities": ["text"], "input": named}
            )
        await scene.user.silent(0.2)
        assert last(scene, "error")["error"]["code"] == "rate_limit_exceeded"
        first = scene.messages("response.created")[0]["response"]["id"]
        scene.user.send(type="response.cancel", response_id=first)
        assert (await done(scene))["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        scene.user.send(type="response.create", response={
            "conversation": "none", "input": [{"type": "item_reference", "id": "item_z"}],
        })  # fmt: skip
        await scene.user.silent(0.1)
        assert last(scene, "error")["error"]["param"] == "response.input[0].id"
        await done(scene, 4)
        assert shown(scene) == ["u:first"]


# ---- who may interrupt -------------------------------------------------------------------------------------------

PATIENT = {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}}}


async def test_without_interruptions_a_turn_waits_for_the_reply_and_is_then_answered(autojump_clock: MockClock) -> None:
    async with stage([STORY, "Blue."], options=PATIENT) as scene:
        await scene.user.says(1.0, "tell me a story")
        await scene.user.until("speaking")
        await scene.user.says(1.0, "what colour is the sea")
        await scene.user.silent(1.0)
        assert scene.session.conversation.state == "speaking"
        assert [m["type"] for m in scene.messages("input_audio_buffer.committed")] == [
            "input_audio_buffer.committed"
        ] * 2
        await done(scene, 2, 60.0)
        assert [m["response"]["status"] for m in scene.messages("response.done")] == ["completed", "completed"]
        assert shown(scene)[-1] == "u:what colour is the sea"
        assert len(scene.messages("response.created")) == 2


async def test_a_turn_that_outlasts_the_reply_has_the_floor_then(autojump_clock: MockClock) -> None:
    async with stage(["Yes.", "Blue."], options=PATIENT) as scene:
        await scene.user.says(1.0, "are you there")
        await scene.user.until("speaking")
        await scene.user.says(3.0, "what colour is the sea")
        assert scene.session.conversation.state == "listening"
        await done(scene, 2)
        assert scene.history()[-2:] == [("user", "what colour is the sea"), ("assistant", "Blue.")]


# ---- what the client sees of its user ----------------------------------------------------------------------------


async def test_words_are_told_while_the_user_speaks_and_add_up(autojump_clock: MockClock) -> None:
    async with stage(["Yes."]) as scene:
        await scene.user.says(0.8, "I would like")
        await scene.user.silent(0.3)
        await scene.user.says(0.8, "I would like a pizza")
        await done(scene)
        deltas = [m["delta"] for m in scene.messages("conversation.item.input_audio_transcription.delta")]
        assert deltas == ["I would like", " a pizza"]
        whole = last(scene, "conversation.item.input_audio_transcription.completed")
        assert whole["transcript"] == "I would like a pizza"
        assert whole["usage"]["type"] == "duration"


async def test_a_transcription_session_answers_nothing(autojump_clock: MockClock) -> None:
    who = Who("sess_t", {"intent": "transcription"})
    async with stage(["No."], who=who) as scene:
        await scene.user.says(1.0, "write this down")
        await scene.user.silent(2.0)
        scene.user.send(type="response.create")
        await scene.user.silent(0.1)
        session = scene.messages("session.created")[0]["session"]
        assert session["object"] == "realtime.transcription_session"
        assert last(scene, "conversation.item.input_audio_transcription.completed")["transcript"] == "write this down"
        assert last(scene, "error")["error"]["code"] == "invalid_value"
        assert not scene.messages("response.created")


# ---- items -------------------------------------------------------------------------------------------------------


async def test_a_replayed_history_is_shown_in_its_order(autojump_clock: MockClock) -> None:
    async with stage(["Done."]) as scene:
        send = scene.user.send
        send(type="conversation.item.create", item=item("three", id="c"))
        send(type="conversation.item.create", item=item("one", id="a"), previous_item_id="root")
        send(type="conversation.item.create", item=item("two", "assistant", id="b"), previous_item_id="a")
        call = {"type": "function_call", "id": "f", "call_id": "k", "name": "get_weather", "arguments": "{}"}
        send(type="conversation.item.create", previous_item_id="b", item=call)
        send(type="conversation.item.create", previous_item_id="f",
             item={"type": "function_call_output", "id": "o", "call_id": "k", "output": "rain"})  # fmt: skip
        send(type="response.create")
        await done(scene)
        assert shown(scene) == ["u:one", "a:two", "a:", "t:rain", "u:three"]
        send(type="conversation.item.delete", item_id="f")
        send(type="conversation.item.delete", item_id="b")
        await scene.user.silent(0.1)
        assert [text for _, text in scene.history()] == ["one three", "Done."]


async def test_sound_in_an_item_is_transcribed_before_it_is_answered(autojump_clock: MockClock) -> None:
    async with stage(["Yes."], stt_s=1.0) as scene:
        scene.stt.text = "hello from a file"
        audio = base64.b64encode(b"\x01" * 16_000).decode()
        content = [{"type": "input_audio", "audio": audio}]
        spoken = {"type": "message", "role": "user", "id": "i", "content": content}
        scene.user.send(type="conversation.item.create", item=spoken)
        scene.user.send(type="response.create")
        await done(scene)
        assert shown(scene) == ["u:hello from a file"]
        told = last(scene, "conversation.item.input_audio_transcription.completed")
        assert (told["item_id"], told["transcript"]) == ("i", "hello from a file")


async def test_items_are_retrieved_with_their_sound_in_the_clients_format(autojump_clock: MockClock) -> None:
    async with stage(["Good day to you."]) as scene:
        await scene.user.says(1.0, "hello")
        await done(scene)
        user, reply = (m["item"]["id"] for m in scene.messages("conversation.item.added"))
        for name in (user, reply):
            scene.user.send(type="conversation.item.retrieve", item_id=name)
        await scene.user.silent(0.1)
        heard, said = (m["item"]["content"][0] for m in scene.messages("conversation.item.retrieved"))
        assert heard["transcript"] == "hello"
        assert len(base64.b64decode(heard["audio"])) >= 16_000 * 2
        sent = b"".join(base64.b64decode(m["delta"]) for m in scene.messages("response.output_audio.delta"))
        assert base64.b64decode(said["audio"]) == sent
        scene.user.send(type="conversation.item.truncate", item_id=reply, content_index=0, audio_end_ms=100)
        scene.user.send(type="conversation.item.retrieve", item_id=reply)
        await scene.user.silent(0.1)
        cut = last(scene, "conversation.item.retrieved")["item"]["content"][0]
        assert len(base64.b64decode(cut["audio"])) == RATE_HZ // 10 * 2


async def test_truncating_a_reply_that_is_long_past_takes_nothing_from_it_that_is_not_known(
    autojump_clock: MockClock,
) -> None:
    async with stage([f"Answer {n}." for n in range(6)]) as scene:
        for n in range(6):
            await ask(scene)
            await done(scene, n + 1)
        first = scene.messages("response.done")[0]["response"]["output"][0]["id"]
        scene.user.send(type="conversation.item.truncate", item_id=first, content_index=0, audio_end_ms=10)
        await scene.user.silent(0.1)
        assert last(scene, "conversation.item.truncated")["item_id"] == first
        assert scene.history()[1] == ("assistant", "Answer 0.")


async def test_xais_forced_message_is_spoken_as_it_stands(autojump_clock: MockClock) -> None:
    async with stage() as scene:
        scene.user.send(type="conversation.item.create", item={"type": "force_message", "text": "Welcome aboard."})
        await done(scene)
        assert scene.tts.said == ["Welcome aboard."]
        assert not scene.chat.requests


# ---- limits ------------------------------------------------------------------------------------------------------


async def test_what_is_left_of_the_limits_is_told_and_the_limit_holds(autojump_clock: MockClock) -> None:
    async with stage(["One.", "Two.", "Three."], session=SessionSettings(responses_per_minute=2)) as scene:
        for n in (1, 2):
            await ask(scene)
            await done(scene, n)
        left = [m["rate_limits"][0]["remaining"] for m in scene.messages("rate_limits.updated")]
        assert left == [1, 0]
        await ask(scene)
        await scene.user.silent(0.2)
        assert last(scene, "error")["error"]["code"] == "rate_limit_exceeded"
        await scene.user.silent(60.0)
        await ask(scene)
        await done(scene, 3)


async def test_a_long_silence_after_a_reply_makes_the_assistant_go_on(autojump_clock: MockClock) -> None:
    vad = {"type": "server_vad", "idle_timeout_ms": 6000}
    async with stage(
        ["Hello.", "Are you still there?"], options={"audio": {"input": {"turn_detection": vad}}}
    ) as scene:
        await scene.user.silent(8.0)
        assert not scene.messages("input_audio_buffer.timeout_triggered")
        await scene.user.says(1.0, "hello")
        await done(scene)
        at = trio.current_time()
        await scene.user.silent(5.5)
        assert not scene.messages("input_audio_buffer.timeout_triggered")
        await scene.user.silent(1.0)
        told = last(scene, "input_audio_buffer.timeout_triggered")
        assert 5900 <= told["audio_end_ms"] - told["audio_start_ms"] <= 6400
        await done(scene, 2)
        order = types(scene)[types(scene).index("input_audio_buffer.timeout_triggered") :]
        assert order[1:4] == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
        assert trio.current_time() - at < 9.0


async def test_a_session_ends_after_its_time_with_an_error_that_says_so(autojump_clock: MockClock) -> None:
    async with stage(session=SessionSettings(max_s=60.0), who=Who("sess_x", {}, {}, 1_234)) as scene:
        await scene.user.silent(59.0)
        assert scene.messages("session.created")[0]["session"]["expires_at"] == 1_234
        assert not scene.messages("error")
        await scene.until_ended()
        assert scene.messages()[-1]["error"]["code"] == "session_expired"
        assert scene.ended == "Your session hit the maximum duration of 1 minutes."


async def test_a_client_that_sends_nothing_but_nonsense_is_disconnected(autojump_clock: MockClock) -> None:
    async with stage(session=SessionSettings(faults_per_minute=5)) as scene:
        for _ in range(6):
            scene.user.send(type="no.such.event")
        await scene.until_ended()
        assert len(scene.messages("error")) == 6
        assert scene.ended == TOO_MANY_FAULTS


# ---- a lost connection -------------------------------------------------------------------------------------------


async def test_a_client_that_returns_hears_the_rest_of_the_reply_from_where_it_was(autojump_clock: MockClock) -> None:
    async with stage([STORY]) as scene:
        await ask(scene)
        await scene.user.until("speaking")
        await scene.user.silent(2.0)
        scene.lose()
        sent_before = len(scene.audio_at())
        await trio.sleep(5.0)
        assert len(scene.audio_at()) == sent_before
        reply_item = scene.messages("response.output_item.added")[0]["item"]["id"]
        scene.return_(reply_item, 1500)
        await trio.sleep(0.1)
        again = [json.loads(m) for _, m in scene.sent[scene.switches[0] :] if isinstance(m, str)]
        assert [m["type"] for m in again][:7] == [
            "session.created", "conversation.created", "response.created", "response.output_item.added",
            "conversation.item.added", "response.content_part.added", "response.output_audio_transcript.delta",
        ]  # fmt: skip
        assert again[3]["item"]["id"] == reply_item
        await done(scene)
        after = [json.loads(m) for _, m in scene.sent[scene.switches[0] :] if isinstance(m, str)]
        audio = b"".join(base64.b64decode(m["delta"]) for m in after if m["type"] == "response.output_audio.delta")
        whole = scene.session.replies.past.replies[-1].ledger.sent
        assert len(audio) // 2 == whole - round(1.5 * RATE_HZ)
        assert scene.history()[-1] == ("assistant", STORY.strip())


async def test_words_that_the_connection_loss_cut_in_two_are_one_turn(autojump_clock: MockClock) -> None:
    async with stage(["Yes."]) as scene:
        await scene.user.says(0.8, "I would like a")
        scene.lose()
        await trio.sleep(10.0)
        assert scene.session.conversation.state == "listening"
        scene.return_()
        await scene.user.says(0.8, "I would like a pizza")
        await done(scene)
        assert [text for role, text in scene.history() if role == "user"] == ["I would like a pizza"]
        assert len(scene.messages("input_audio_buffer.committed")) == 1


async def test_a_conversation_that_was_lost_and_came_back_replays_exactly(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    folder = tmp_path / "2026-11-28" / "sess_test"
    async with stage([STORY, "Yes."], record=folder) as scene:
        await scene.user.says(1.0, "tell me a story")
        await scene.user.until("speaking")
        await scene.user.silent(1.0)
        scene.lose()
        await trio.sleep(3.0)
        scene.return_(scene.messages("response.output_item.added")[0]["item"]["id"], 700)
        await scene.user.silent(1.0)
        resumed = last(scene, "aura.resumed")
        assert resumed["session_id"] == "sess_test"
        assert resumed["items"][0]["content"][0]["transcript"] == "tell me a story"
        assert last(scene, "aura.playout.resume")["from_ms"] == 700
        scene.inbox.close()
        await scene.until_ended()
    assert isinstance(scene.fact(ev.ConnectionLost).event, ev.ConnectionLost)
    result = await trio.to_thread.run_sync(replay, folder, Detector)
    assert result.why == ""
    assert result.complete
