"""Items, limits and lost connections of Realtime conversations."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from aura.core import events as ev
from aura.core.audio import AudioFormat, Reframer
from aura.core.errors import StreamCut
from aura.session.build import Who
from aura.session.desk import TOO_MANY_FAULTS
from aura.session.session import SessionSettings
from aura.session.shelf import Shelf
from aura.tools.replay.pipeline import replay
from tests.script import RATE_HZ, Detector, stage
from tests.typed import ask, done, item, last, shown, types

STORY = "Once upon a time there was a keeper. Every night he counted the ships. " * 3


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
        scene.user.send(type="conversation.item.truncate", item_id=reply, content_index=0, audio_end_ms=99_999)
        await scene.user.silent(0.1)
        assert last(scene, "conversation.item.truncated")["audio_end_ms"] == len(sent) // 2 * 1000 // RATE_HZ
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


async def test_a_voice_that_does_not_exist_is_refused_when_it_is_asked_for(autojump_clock: MockClock) -> None:
    async with stage() as scene:
        scene.desk.voices = frozenset({"alloy", "marin"})
        for voice in ("marin", "nobody"):
            scene.user.send(type="session.update", session={"audio": {"output": {"voice": voice}}})
        scene.user.send(type="response.create", response={"audio": {"output": {"voice": "nobody"}}})
        await scene.user.silent(0.1)
        assert last(scene, "session.updated")["session"]["audio"]["output"]["voice"] == "marin"
        params = [m["error"]["param"] for m in scene.messages("error")]
        assert params == ["session.audio.output.voice", "response.audio.output.voice"]


async def test_what_a_retry_says_is_counted_from_where_the_failed_reply_ended(autojump_clock: MockClock) -> None:
    async with stage(["One two three. Four five six.", "Seven eight nine. Ten eleven twelve."]) as scene:
        await ask(scene)
        await scene.user.until("speaking")
        reply = next(iter(scene.session.replies.running.values()))
        assert reply.clock.before_s == 0.0
        scene.tts.failures.append(StreamCut("gone"))
        await scene.user.silent(3.0)
        again = scene.session.replies.running or {1: scene.session.replies.past.replies[-1]}
        assert next(reversed(again.values())).clock.before_s > 0.5


async def test_a_reply_that_is_deleted_while_it_is_spoken_stays_deleted(autojump_clock: MockClock) -> None:
    async with stage([STORY]) as scene:
        await ask(scene)
        await scene.user.until("speaking")
        await scene.user.silent(1.0)
        spoken = scene.messages("response.output_item.added")[0]["item"]["id"]
        scene.user.send(type="conversation.item.delete", item_id=spoken)
        await done(scene)
        assert scene.history() == [("user", "hello")]
        scene.user.send(type="conversation.item.retrieve", item_id=spoken)
        await scene.user.silent(0.1)
        assert last(scene, "error")["error"]["code"] == "item_retrieve_invalid_item_id"


async def test_an_utterance_that_is_deleted_before_its_words_are_known_stays_deleted(autojump_clock: MockClock) -> None:
    options = {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}}
    async with stage([], options=options, stt_s=1.0) as scene:
        await scene.user.says(1.0, "forget this")
        await scene.user.until("idle")
        committed = last(scene, "input_audio_buffer.committed")["item_id"]
        scene.user.send(type="conversation.item.delete", item_id=committed)
        await scene.user.silent(2.0)
        assert scene.history() == []


async def test_much_audio_in_one_message_is_resampled_in_pieces(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    whole = Reframer.push

    def push(self: Reframer, data: bytes) -> list[bytes]:
        sizes.append(len(data))
        return whole(self, data)

    monkeypatch.setattr(Reframer, "push", push)
    audio = base64.b64encode(b"\x01" * (16_000 * 2 * 60)).decode()
    async with stage(["Yes."]) as scene:
        scene.stt.text = "a long story"
        content = [{"type": "input_audio", "audio": audio}]
        scene.user.send(type="input_audio_buffer.append", audio=audio)
        scene.user.send(type="conversation.item.create", item={"type": "message", "role": "user", "content": content})
        await done(scene, 1, 60.0)
    assert sum(sizes) >= 2 * 16_000 * 2 * 60
    assert max(sizes) <= 1 << 16, "a millisecond of work at a time"


def test_the_shelf_keeps_no_more_than_it_should() -> None:
    shelf, pcm = Shelf(100), AudioFormat("pcm16", 24_000)
    for n in range(8):
        shelf.add(f"item_{n}", pcm, b"\1\0" * 12_000)
    shelf.add("long", pcm, b"\1\0" * 400_000)
    assert [name for name in (*(f"item_{n}" for n in range(8)), "long") if shelf.take(name, pcm)] == [
        "item_4", "item_5", "item_6", "item_7",
    ]  # fmt: skip
    shelf.add("long", pcm, b"\1\0")
    assert shelf.take("long", pcm) is None
