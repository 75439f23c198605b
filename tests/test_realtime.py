"""What clients of the Realtime protocol ask of a conversation: functions, overrides, text, asides, limits, resume."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from aura.core.guards import FsmSettings
from aura.core.ports import Finished, TextDelta, ToolCall
from aura.session.build import Who
from tests.script import stage
from tests.typed import ask, done, item, last, shown, types

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
CALL = [ToolCall("call_1", "get_weather", '{"city":"Rome"}')]
STORY = "Once upon a time there was a keeper. Every night he counted the ships. " * 3


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
    async with stage([[TextDelta("A whole sentence. And half an "), Finished(reason)]]) as scene:
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
        aside = {"conversation": "none", "output_modalities": ["text"], "input": named}
        scene.user.send(type="conversation.item.create", item=item("first", id="item_a"))
        for _ in range(5):
            scene.user.send(type="response.create", response=aside)
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


async def test_wordless_noise_before_a_turn_beside_it_settles_its_own_turn(autojump_clock: MockClock) -> None:
    async with stage(["Blue."] * 3, options=PATIENT, stt_s=0.8, fsm=FsmSettings(drafts_max=0)) as scene:
        await scene.user.says(0.5, "")
        await scene.user.until("thinking")
        assert not scene.messages("conversation.item.input_audio_transcription.completed")
        await scene.user.says(2.0, "")
        scene.stt.text = "what colour is the sea"
        await done(scene, 1)
        told = [m["transcript"] for m in scene.messages("conversation.item.input_audio_transcription.completed")]
        assert told == ["", "what colour is the sea"]
        assert scene.history() == [("user", "what colour is the sea"), ("assistant", "Blue.")]


async def test_who_is_told_to_wait_for_a_response_gets_one_though_nothing_was_said(autojump_clock: MockClock) -> None:
    async with stage(["Blue."], stt_s=0.8, fsm=FsmSettings(drafts_max=0)) as scene:
        await scene.user.says(0.5, "")
        await scene.user.until("thinking")
        await ask(scene, "what colour is the sea")
        await scene.user.silent(0.1)
        assert last(scene, "error")["error"]["code"] == "conversation_already_has_active_response"
        assert (await done(scene))["status"] == "completed"
        assert scene.history() == [("user", "what colour is the sea"), ("assistant", "Blue.")]
