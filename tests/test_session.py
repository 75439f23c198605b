"""Whole conversations on a virtual clock: the real session and stages between scripted engines."""

from __future__ import annotations

import msgspec
import pytest
import trio
from trio.testing import MockClock

from aura.core.errors import AuthFailed, StreamCut, Unavailable
from aura.core.guards import FsmSettings
from aura.core.ports import ToolCall
from aura.session.run import SLOW
from aura.session.setup import ReplySettings, Setup
from tests.script import Scene, stage

QUESTION = "what time does the museum open"
ANSWER = "It opens at nine. The last entry is at five, and on Sundays it is closed all day long."


async def test_a_turn_is_answered_once_and_everything_is_told_in_order(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await scene.user.silent(0.5)
        await scene.user.says(1.2, QUESTION)
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert scene.states() == ["idle", "listening", "thinking", "speaking", "idle"]
        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]
        assert scene.tts.said == [
            "It opens at nine.",
            "The last entry is at five, and on Sundays it is closed all day long.",
        ]
        assert scene.stt.requests == 1, "an adopted draft is not transcribed again"
    assert scene.ended == "the client left"


async def test_the_parts_of_the_latency_sum_to_voice_to_voice_and_a_draft_hides_the_endpoint(
    autojump_clock: MockClock,
) -> None:
    for drafts, at_most_s in ((4, 0.80), (0, 1.23)):
        async with stage([ANSWER], fsm=FsmSettings(drafts_max=drafts)) as scene:
            await scene.user.says(1.2, QUESTION)
            end = trio.current_time()
            await scene.user.until("speaking")
            assert scene.audio_at()[0] - end == pytest.approx(at_most_s, abs=0.1)


async def test_a_pause_within_the_turn_costs_its_draft_and_the_whole_turn_is_answered_once(
    autojump_clock: MockClock,
) -> None:
    async with stage([ANSWER, ANSWER]) as scene:
        await scene.user.says(0.8, "what time does the")
        await scene.user.silent(0.6)
        await scene.user.says(0.8, QUESTION)
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert scene.names().count("ReplyStarted") == 1
        assert scene.history()[0] == ("user", QUESTION)
        assert len(scene.messages("response.created")) == 1
        assert len(scene.messages("input_audio_buffer.speech_started")) == 1
        assert scene.names().count("TranscriptReady") == 2


async def test_an_interruption_stops_the_reply_and_only_heard_words_stay(autojump_clock: MockClock) -> None:
    async with stage([ANSWER, "Ten euros."]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.silent(1.5)
        onset = trio.current_time()
        await scene.user.says(1.2, "wait, how much is a ticket")
        assert scene.session.conversation.state == "listening"
        assert max(at for at in scene.audio_at() if at < onset + 1) - onset < 0.15, "output is held at once"
        await scene.user.until("speaking")
        await scene.user.until("idle")

        history = scene.history()
        assert [role for role, _ in history] == ["user", "assistant", "user", "assistant"]
        assert history[1][1].startswith("It opens at nine.")
        assert history[1][1].endswith("—")
        assert len(history[1][1]) < len(ANSWER)
        types = [m["type"] for m in scene.messages()]
        second = [i for i, t in enumerate(types) if t == "input_audio_buffer.speech_started"][1]
        done = scene.messages("response.done")
        assert done[0]["response"]["status"] == "cancelled"
        assert done[0]["response"]["status_details"]["reason"] == "turn_detected"
        assert second < types.index("response.done"), "the client hears of the speech before the end of the reply"


async def test_audio_of_a_cancelled_reply_never_follows_its_end(autojump_clock: MockClock) -> None:
    async with stage([ANSWER, "Ten euros."]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.silent(1.0)
        await scene.user.says(1.2, "wait, how much is a ticket")
        await scene.user.until("idle")

        done: set[str] = set()
        for message in scene.messages():
            if message["type"] == "response.done":
                done.add(message["response"]["id"])
            assert message.get("response_id") not in done, message["type"]


@pytest.mark.parametrize("sound", ["", "mm hmm"])
async def test_a_cough_or_a_backchannel_is_held_and_the_reply_goes_on(autojump_clock: MockClock, sound: str) -> None:
    async with stage([ANSWER]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.silent(1.5)
        await scene.user.says(0.3, sound)
        assert scene.session.conversation.state == "interrupted"
        await scene.user.until("speaking", 2.0)
        await scene.user.until("idle")

        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]
        assert len(scene.messages("input_audio_buffer.speech_started")) == 1, "a stock client must not flush"
        assert scene.messages("response.done")[0]["response"]["status"] == "completed"


async def test_a_client_with_auras_events_is_told_to_hold_and_to_resume(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], options={"aura": {"transport": "binary", "events": True}}) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.silent(1.5)
        await scene.user.says(0.3, "")
        await scene.user.until("idle")

        types = [m["type"] for m in scene.messages("aura.playout.hold", "aura.playout.resume", "aura.playout.flush")]
        assert types == ["aura.playout.hold", "aura.playout.resume"]
        assert [m["now"] for m in scene.messages("aura.state")] == scene.states()[1:]
        metrics = scene.messages("aura.turn.metrics")[0]["metrics"]["ms"]
        assert sum(v for k, v in metrics.items() if k != "voice_to_voice") == pytest.approx(metrics["voice_to_voice"])


async def test_words_added_while_thinking_join_the_question(autojump_clock: MockClock) -> None:
    async with stage([ANSWER, "At ten."], first_token_s=2.0) as scene:
        await scene.user.says(1.0, "when do you open")
        await scene.user.until("thinking")
        await scene.user.silent(0.3)
        await scene.user.says(1.0, "on Sundays I mean")
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert scene.history() == [("user", "when do you open on Sundays I mean"), ("assistant", ANSWER)] or (
            scene.history() == [("user", "when do you open on Sundays I mean"), ("assistant", "At ten.")]
        )
        assert len([m for m in scene.messages("response.done") if m["response"]["status"] == "completed"]) == 1


async def test_noise_that_interrupted_lets_the_reply_say_the_rest(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.silent(1.6)
        await scene.user.says(1.5, "")
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert " ".join(scene.tts.said[2:]) == "The last entry is at five, and on Sundays it is closed all day long."
        assert len(scene.chat.requests) == 1


# ---- failures ----------------------------------------------------------------------------------------------------


async def test_a_failing_model_is_retried_without_the_client_noticing(autojump_clock: MockClock) -> None:
    async with stage([Unavailable("down"), ANSWER], fsm=FsmSettings(drafts_max=0)) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]
        assert len(scene.messages("response.created")) == len(scene.messages("response.done")) == 1


async def test_a_model_that_stays_down_ends_in_a_spoken_apology(autojump_clock: MockClock) -> None:
    async with stage([AuthFailed("no"), AuthFailed("no")]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert scene.tts.said == ["Sorry, something went wrong on my side.", "Could you say that again?"]
        assert len(scene.messages("response.created")) == 1


async def test_a_model_that_breaks_off_is_heard_to_the_end_and_apologised_for(autojump_clock: MockClock) -> None:
    answer = [*["It", "opens", "at", "nine.", "The", "last", "entry", "is"], StreamCut("cut")]
    async with stage([answer], token_s=0.3) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("idle")
        await scene.user.silent(0.1)
        assert "It opens at nine." in scene.tts.said
        assert "Could you say that again?" in scene.tts.said


async def test_a_broken_voice_fails_the_response_and_the_next_turn_works(autojump_clock: MockClock) -> None:
    async with stage([ANSWER, ANSWER, ANSWER]) as scene:
        scene.tts.failures = [Unavailable("no voice")] * 4
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("idle", 20)
        assert scene.messages("response.done")[-1]["response"]["status"] == "failed"
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.until("idle")
        assert scene.messages("response.done")[-1]["response"]["status"] == "completed"


async def test_a_recogniser_that_never_answers_ends_in_an_apology(
    autojump_clock: MockClock,
) -> None:
    async with stage([ANSWER], stt_s=60.0) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking", 12.0)
        assert scene.tts.said[0] == "Sorry, something went wrong on my side."


# ---- tools, announcements, text ----------------------------------------------------------------------------------


async def test_a_tool_runs_once_and_its_timer_speaks_when_nobody_else_does(autojump_clock: MockClock) -> None:
    call = ToolCall("call_1", "wait", '{"seconds": 3}')
    async with stage([[call], "I will tell you.", "unused"]) as scene:
        await scene.user.says(1.0, "tell me in three seconds")
        await scene.user.until("speaking")
        await scene.user.until("idle")
        await scene.user.until("speaking", 5.0)
        await scene.user.until("idle")

        assert scene.names().count("ToolCalled") == 1
        assert scene.tts.said == ["I will tell you.", "Time is up."]
        assert ("tool", "done") in scene.history()


async def test_a_draft_does_not_run_tools(autojump_clock: MockClock) -> None:
    call = ToolCall("call_1", "wait", '{"seconds": 3}')
    async with stage([[call], [call], "Done."]) as scene:
        await scene.user.says(1.0, "tell me in")
        await scene.user.silent(0.5)
        await scene.user.says(1.0, "tell me in three seconds")
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert scene.names().count("ToolFinished") == 1


async def test_a_greeting_is_spoken_first(autojump_clock: MockClock) -> None:
    async with stage(greeting="Good morning.") as scene:
        await scene.user.until("speaking")
        await scene.user.until("idle")
        assert scene.tts.said == ["Good morning."]
        assert scene.history() == [("assistant", "Good morning.")]


async def test_typed_text_is_answered_when_the_client_asks(autojump_clock: MockClock) -> None:
    async with stage(["Hello to you."]) as scene:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        scene.user.send(type="conversation.item.create", item=item)
        scene.user.send(type="response.create")
        await scene.user.until("speaking")
        await scene.user.until("idle")
        assert scene.history() == [("user", "hello"), ("assistant", "Hello to you.")]


async def test_push_to_talk_answers_what_was_committed(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], options={"audio": {"input": {"turn_detection": None}}}) as scene:
        await scene.user.says(1.0, QUESTION)
        scene.user.send(type="input_audio_buffer.commit")
        scene.user.send(type="input_audio_buffer.commit")
        scene.user.send(type="response.create")
        await scene.user.until("speaking")
        await scene.user.until("idle")

        assert [m.text for m in scene.chat.requests[0].messages if m.role == "user"] == [QUESTION]
        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]
        assert [m["error"]["code"] for m in scene.messages("error")] == ["input_audio_buffer_commit_empty"]
        assert not scene.messages("input_audio_buffer.speech_started")


async def test_response_cancel_ends_the_reply_and_a_second_one_is_harmless(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        scene.user.send(type="response.cancel")
        scene.user.send(type="response.cancel")
        await scene.user.silent(0.1)

        assert scene.session.conversation.state == "idle"
        assert scene.messages("response.done")[0]["response"]["status_details"]["reason"] == "client_cancelled"
        assert scene.messages("error")[0]["error"]["code"] == "response_cancel_not_active"


async def test_truncate_cuts_the_history_of_a_finished_reply(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.until("idle")
        item = scene.messages("response.output_item.done")[0]["item"]["id"]
        scene.user.send(type="conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=1100)
        await scene.user.silent(0.1)

        assert scene.messages("conversation.item.truncated")
        assert scene.history()[1][1] == "It opens at nine. —"


# ---- the line ----------------------------------------------------------------------------------------------------


async def test_a_client_that_stops_sending_in_mid_word_has_ended_its_turn(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await scene.user.says(1.0, QUESTION)
        await trio.sleep(3.0)
        assert "TurnEnded" in scene.names()
        assert scene.session.conversation.state == "speaking"


async def test_a_client_that_never_reads_is_closed_with_bounded_memory(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        scene.blocked = trio.Event()
        for _ in range(900):
            scene.user.send(type="input_audio_buffer.clear")
        with trio.fail_after(1.0):
            await scene.until_ended()
        assert scene.ended == SLOW


async def test_hanging_up_in_mid_reply_ends_every_task_at_once(autojump_clock: MockClock) -> None:
    scenes: list[Scene] = []
    async with stage([ANSWER]) as scene:
        scenes.append(scene)
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        scene.inbox.close()
        began = trio.current_time()
        await scene.until_ended()
        assert trio.current_time() - began < 0.05
        assert scene.stt.open_now == 0
        assert scene.names()[-1] == "SessionClosing"
        assert not scene.session.replies.running


async def test_a_tap_that_breaks_is_removed_and_the_conversation_goes_on(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:

        def broken(fact: object) -> None:
            raise RuntimeError("tap")

        scene.session.taps.append(broken)
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        assert broken not in scene.session.taps


async def test_draft_depth_decides_how_far_a_draft_goes(autojump_clock: MockClock) -> None:
    depths = {}
    for depth in ("stt", "llm", "tts"):
        setup = Setup(reply=msgspec.convert({"draft_depth": depth}, ReplySettings))
        async with stage([ANSWER], setup=setup) as scene:
            await scene.user.says(1.0, QUESTION)
            await scene.user.silent(0.5)
            assert "TurnEnded" not in scene.names()
            depths[depth] = (len(scene.chat.requests), len(scene.tts.said))
    assert depths == {"stt": (0, 0), "llm": (1, 0), "tts": (1, 1)}
