"""Conversations in which something comes at the wrong moment. Each of these once left a user without an answer."""

from __future__ import annotations

import base64

import pytest
import trio
from trio.testing import MockClock

from aura.core import events as ev
from aura.core.fsm import Verdict
from aura.core.ports import Finished
from tests.script import LOUD, Scene, stage

QUESTION = "what time does the museum open"
ANSWER = "It opens at nine. The last entry is at five, and on Sundays it is closed all day long."


def asked(scene: Scene, request: int = -1) -> list[str]:
    """What the model was asked by the user in a request."""
    return [m.text for m in scene.chat.requests[request].messages if m.role == "user"]


async def speaking(scene: Scene) -> None:
    await scene.user.says(1.0, QUESTION)
    await scene.user.until("speaking")
    await scene.user.silent(1.0)


async def test_a_long_append_and_a_commit_right_after_it_lose_nothing(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], options={"audio": {"input": {"turn_detection": None}}}) as scene:
        scene.stt.text = QUESTION
        scene.user.send(type="input_audio_buffer.append", audio=base64.b64encode(LOUD * 250).decode())
        scene.user.send(type="input_audio_buffer.commit")
        scene.user.send(type="response.create")
        await trio.sleep(1.0)

        assert not scene.messages("error")
        assert asked(scene) == [QUESTION]


async def test_audio_after_a_network_stall_is_heard_to_the_last_frame(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        scene.stt.text = QUESTION
        for frames in (LOUD * 250, b"\x00" * len(LOUD) * 100):
            for _ in range(2):
                scene.user.send(type="input_audio_buffer.append", audio=base64.b64encode(frames).decode())
        await trio.sleep(2.0)

        assert scene.session.listener.taker.position_ms == 700 * 20
        assert asked(scene) == [QUESTION]


async def test_a_held_reply_goes_on_though_the_client_sends_no_more_frames(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await speaking(scene)
        await scene.user.says(0.3, "")
        assert scene.session.conversation.state == "interrupted"
        await trio.sleep(10)
        assert scene.messages("response.done")[0]["response"]["status"] == "completed"


async def test_a_braked_reply_goes_on_though_the_client_sends_no_more_frames(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await speaking(scene)
        await scene.user.says(0.04, "")
        await trio.sleep(10)
        assert scene.session.conversation.state == "idle"


@pytest.mark.parametrize("noise_s", [0.3, 0.9])
async def test_noise_while_the_model_thinks_does_not_cost_the_answer(autojump_clock: MockClock, noise_s: float) -> None:
    async with stage([ANSWER, ANSWER, ANSWER], first_token_s=2.0) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("thinking")
        await scene.user.silent(0.3)
        await scene.user.says(noise_s, "")
        await scene.user.until("speaking")
        await scene.user.until("idle")
        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]


async def test_a_cough_while_the_words_are_still_being_transcribed_does_not_cost_the_answer(
    autojump_clock: MockClock,
) -> None:
    async with stage([ANSWER, ANSWER], stt_s=1.2) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("thinking")
        scene.stt.text = QUESTION
        await scene.user.silent(0.1)
        for _ in range(15):
            await trio.sleep(0.02)
            scene.desk.take(append(LOUD))
        await scene.user.silent(0.5)
        scene.stt.text = ""
        await scene.user.until("speaking")
        await scene.user.until("idle")
        assert scene.history()[-1] == ("assistant", ANSWER)


def append(frame: bytes) -> str:
    return f'{{"type":"input_audio_buffer.append","audio":"{base64.b64encode(frame).decode()}"}}'


@pytest.mark.parametrize("state", ["listening", "interrupted"])
async def test_switching_to_push_to_talk_ends_what_was_being_heard(autojump_clock: MockClock, state: str) -> None:
    async with stage([ANSWER]) as scene:
        if state == "interrupted":
            await speaking(scene)
        await scene.user.says(0.3, "well")
        assert scene.session.conversation.state == state
        scene.user.send(
            type="session.update", options={"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        )
        await trio.sleep(10)
        assert scene.session.conversation.state == "idle"
        assert scene.stt.open_now == 0


async def test_deleting_a_reply_keeps_the_question(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await speaking(scene)
        await scene.user.until("idle")
        item = scene.messages("response.output_item.done")[0]["item"]["id"]
        scene.user.send(type="conversation.item.delete", item_id=item)
        await scene.user.silent(0.1)
        assert scene.history() == [("user", QUESTION)]


async def test_text_typed_while_the_assistant_speaks_stands_behind_the_reply(autojump_clock: MockClock) -> None:
    async with stage([ANSWER, "Yes."]) as scene:
        await speaking(scene)
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "also on Mondays?"}]}
        scene.user.send(type="conversation.item.create", item=item)
        await scene.user.until("idle")
        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER), ("user", "also on Mondays?")]


async def test_a_playout_that_crashes_ends_in_an_apology(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await speaking(scene)
        whole, scene.session.client.view.audio = scene.session.client.view.audio, None  # type: ignore[method-assign]
        await scene.user.silent(0.1)
        scene.session.client.view.audio = whole  # type: ignore[method-assign]
        await scene.user.until("idle", 10)
        assert scene.tts.said[-1] == "Could you say that again?"


async def test_a_model_that_says_nothing_is_apologised_for(autojump_clock: MockClock) -> None:
    async with stage([[Finished("content_filter")]]) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        assert scene.tts.said[0] == "Sorry, something went wrong on my side."
        assert len(scene.messages("response.created")) == 1


async def test_cancelling_an_old_response_leaves_the_present_one_alone(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        await speaking(scene)
        scene.user.send(type="response.cancel", response_id="resp_of_yesterday")
        await scene.user.silent(0.1)
        assert scene.session.conversation.state == "speaking"
        assert scene.messages("error")[0]["error"]["code"] == "response_cancel_not_active"


async def test_a_request_ends_an_announcement_and_finds_its_metadata_again(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], greeting="Good morning, and welcome to the museum's own telephone line.") as scene:
        await scene.user.until("speaking")
        scene.user.send(type="response.create", response={"metadata": {"id": "7"}})
        await scene.user.until("idle")
        created = [m["response"]["metadata"] for m in scene.messages("response.created")]
        assert created == [None, {"id": "7"}]


async def test_a_client_that_answers_itself_gets_words_and_no_reply(autojump_clock: MockClock) -> None:
    detection = {"type": "server_vad", "create_response": False}
    async with stage([ANSWER], options={"audio": {"input": {"turn_detection": detection}}}) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.silent(2.0)
        assert scene.states() == ["idle", "listening", "idle"]
        done = scene.messages("conversation.item.input_audio_transcription.completed")
        assert [m["transcript"] for m in done] == [QUESTION]
        assert not scene.messages("response.created")
        assert scene.stt.open_now == 0


async def test_every_utterance_is_closed_and_no_fact_is_a_bug_in_a_long_restless_conversation(
    autojump_clock: MockClock,
) -> None:
    async with stage([ANSWER] * 40) as scene:
        for round_no in range(12):
            await scene.user.says(0.3 + 0.2 * (round_no % 4), ["", QUESTION, "mm hmm", "stop"][round_no % 4])
            await scene.user.silent([0.1, 0.4, 1.0, 2.5][(round_no * 7) % 4])
        await scene.user.silent(12)
        assert scene.session.conversation.state == "idle"
        assert scene.stt.open_now == 0
        assert not [f for f in scene.facts if f.step.verdict is Verdict.BUG]
        starts = [f.event for f in scene.facts if isinstance(f.event, ev.ReplyStarted)]
        assert len(starts) == len(set(starts))


async def test_audio_that_the_client_commits_is_on_the_bill_of_the_reply_to_it_once(autojump_clock: MockClock) -> None:
    async with stage([ANSWER, "Yes."], options={"audio": {"input": {"turn_detection": None}}}) as scene:
        scene.stt.text = QUESTION
        for _ in range(2):
            scene.user.send(type="input_audio_buffer.append", audio=base64.b64encode(LOUD * 100).decode())
            scene.user.send(type="input_audio_buffer.commit")
        for _ in range(2):
            scene.user.send(type="response.create")
            await trio.sleep(10.0)

        usages = [m["response"]["usage"]["input_token_details"] for m in scene.messages("response.done")]
        assert [usage["audio_tokens"] for usage in usages] == [40, 0], "10 tokens for each of the 4 s"


@pytest.mark.parametrize("padding_ms", [100, 300])
async def test_speech_starts_with_the_padding_in_front_of_it(autojump_clock: MockClock, padding_ms: int) -> None:
    detection = {"type": "server_vad", "prefix_padding_ms": padding_ms}
    async with stage([ANSWER], options={"audio": {"input": {"turn_detection": detection}}}) as scene:
        await scene.user.silent(1.0)
        await scene.user.says(1.0, QUESTION)
        started = scene.messages("input_audio_buffer.speech_started")[0]["audio_start_ms"]
        assert started == pytest.approx(1000 - padding_ms, abs=60)


async def test_every_refusal_names_the_message_that_was_refused(autojump_clock: MockClock) -> None:
    async with stage([ANSWER]) as scene:
        unknown = {"input": [{"type": "item_reference", "id": "item_of_yesterday"}]}
        scene.user.send(type="response.create", event_id="mine", response=unknown)
        await scene.user.silent(0.1)
        error = scene.messages("error")[0]["error"]
        assert (error["param"], error["event_id"]) == ("response.input[0].id", "mine")
