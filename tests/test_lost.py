"""Connections that are lost at awkward moments: what was asked for is still answered, and nothing waits for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from aura.core.errors import AuthFailed, Unavailable
from aura.core.pacing import PlayoutSettings
from aura.core.ports import ToolCall
from aura.session.setup import Setup
from aura.tools.replay.pipeline import replay
from tests.script import Detector, Scene, stage
from tests.typed import ask, done, last

STORY = "Once upon a time there was a keeper. Every night he counted the ships. " * 3
WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
CALL = [ToolCall("call_1", "get_weather", '{"city":"Rome"}')]


def since(scene: Scene, kind: str) -> list[dict[str, Any]]:
    """What the client's last connection brought, of this type."""
    texts = [json.loads(m) for _, m in scene.sent[scene.switches[-1] :] if isinstance(m, str)]
    return [message for message in texts if message["type"] == kind]


async def test_a_reply_that_was_not_announced_when_the_connection_broke_is_heard_to_its_end(
    autojump_clock: MockClock,
) -> None:
    async with stage([STORY] * 3, stt_s=1.0) as scene:
        await scene.user.says(1.0, "tell me a story")
        await scene.user.until("thinking")
        assert not scene.messages("response.created")
        scene.lose()
        await trio.sleep(0.1)
        scene.return_()
        await done(scene, limit_s=60.0)
        assert scene.history()[-1] == ("assistant", STORY.strip())


async def test_a_draft_that_was_being_made_when_the_connection_broke_is_heard_to_its_end(
    autojump_clock: MockClock,
) -> None:
    async with stage([STORY] * 3) as scene:
        await scene.user.says(1.0, "tell me a story")
        await scene.user.silent(0.3)
        assert scene.session.conversation.draft is not None
        scene.lose()
        await trio.sleep(3.0)
        scene.return_()
        await done(scene, limit_s=60.0)
        assert scene.history()[-1] == ("assistant", STORY.strip())


async def test_a_response_outside_the_conversation_waits_for_the_client_too(autojump_clock: MockClock) -> None:
    async with stage([STORY]) as scene:
        scene.user.send(type="response.create", response={"conversation": "none"})
        await scene.user.silent(2.0)
        begun = last(scene, "response.created")["response"]["id"]
        scene.lose()
        await trio.sleep(15.0)
        scene.return_()
        await scene.user.silent(0.1)
        assert [m["response"]["id"] for m in since(scene, "response.created")] == [begun]
        await done(scene)
        assert last(scene, "response.done")["response"]["status"] == "completed"
        text = "".join(m["delta"] for m in since(scene, "response.output_audio_transcript.delta"))
        assert text.split() == STORY.split()


async def test_a_function_is_asked_for_when_the_client_is_there_to_run_it(autojump_clock: MockClock) -> None:
    async with stage([CALL], options={"tools": [WEATHER]}, first_token_s=2.0) as scene:
        await ask(scene)
        await scene.user.silent(0.5)
        scene.lose()
        await trio.sleep(5.0)
        scene.return_()
        await done(scene)
        assert [m["call_id"] for m in since(scene, "response.function_call_arguments.done")] == ["call_1"]


async def test_an_aside_asks_for_its_function_when_the_client_is_there(autojump_clock: MockClock) -> None:
    async with stage([CALL], first_token_s=2.0) as scene:
        scene.user.send(type="response.create", response={"conversation": "none", "tools": [WEATHER]})
        await scene.user.silent(0.5)
        scene.lose()
        await trio.sleep(5.0)
        scene.return_()
        await done(scene)
        assert [m["call_id"] for m in since(scene, "response.function_call_arguments.done")] == ["call_1"]


async def test_a_written_reply_goes_on_with_the_text_so_far(autojump_clock: MockClock) -> None:
    async with stage([STORY], token_s=0.1, options={"output_modalities": ["text"]}) as scene:
        await ask(scene)
        await scene.user.silent(1.0)
        scene.lose()
        await trio.sleep(10.0)
        scene.return_()
        await done(scene)
        assert "".join(m["delta"] for m in since(scene, "response.output_text.delta")).split() == STORY.split()


async def test_the_time_without_a_connection_is_no_silence_of_the_user(autojump_clock: MockClock) -> None:
    vad = {"type": "server_vad", "idle_timeout_ms": 6000}
    async with stage(["Hello."], options={"audio": {"input": {"turn_detection": vad}}}) as scene:
        await ask(scene)
        await done(scene)
        scene.lose()
        await trio.sleep(15.0)
        scene.return_()
        await scene.user.silent(5.0)
        assert not scene.messages("input_audio_buffer.timeout_triggered")
        await scene.user.silent(1.5)
        assert scene.messages("input_audio_buffer.timeout_triggered")


async def test_a_response_that_failed_while_the_client_was_away_is_answered(autojump_clock: MockClock) -> None:
    failures = [Unavailable("x", provider="scripted"), Unavailable("x", provider="scripted")]
    async with stage([*failures], first_token_s=2.0) as scene:
        scene.tts.failures = [AuthFailed("x", provider="scripted")] * 3
        await ask(scene)
        await scene.user.silent(0.5)
        scene.lose()
        await trio.sleep(10.0)
        scene.return_()
        await done(scene)
        assert last(scene, "response.done")["response"]["status"] == "failed"
        assert len(since(scene, "response.created")) == 1


async def test_much_that_was_not_heard_comes_again_in_few_messages(autojump_clock: MockClock) -> None:
    setup = Setup(playout=PlayoutSettings(chunk_ms=10, keep_s=10.0))
    async with stage([STORY], setup=setup) as scene:
        await ask(scene)
        await scene.user.until("speaking")
        await scene.user.silent(7.0)
        scene.lose()
        scene.return_(scene.messages("response.output_item.added")[0]["item"]["id"], 100)
        await done(scene, limit_s=60.0)
        assert scene.history()[-1] == ("assistant", STORY.strip())


async def test_asides_and_functions_over_a_lost_connection_replay_exactly(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    folder = tmp_path / "2026-11-28" / "sess_test"
    async with stage([STORY, CALL], options={"tools": [WEATHER]}, first_token_s=1.0, record=folder) as scene:
        scene.user.send(type="response.create", response={"conversation": "none"})
        await scene.user.silent(0.5)
        await ask(scene)
        await scene.user.silent(0.8)
        scene.lose()
        await trio.sleep(4.0)
        scene.return_()
        await done(scene, 2)
        assert len(since(scene, "response.function_call_arguments.done")) == 1
        scene.inbox.close()
        await scene.until_ended()
    result = await trio.to_thread.run_sync(replay, folder, Detector)
    assert result.why == ""
    assert result.complete
