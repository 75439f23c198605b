"""Fillers: a few words that bridge the silence while the model or a tool takes its time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.errors import Unavailable
from aura.core.fsm import Step, Verdict
from aura.core.ports import Finished
from aura.core.timing import Timeline
from aura.session.setup import ReplySettings, Setup
from aura.stages.think import ThinkSettings
from aura.tools.replay.pipeline import replay
from tests.script import Detector, Scene, stage
from tests.workshop import Workshop, asks, call

QUESTION = "what time does the museum open"
ANSWER = "It opens at nine. The last entry is at five."
SLOW_TOOL = call("look_up", what="x", seconds=3.0)


def fillers(scene: Scene) -> list[tuple[str, int, str]]:
    events = [fact.event for fact in scene.facts if isinstance(fact.event, ev.FillerSaid)]
    return [(event.text, event.waited_ms, event.why) for event in events]


def spoken(scene: Scene) -> str:
    """What the client was shown of what was spoken."""
    return "".join(m["delta"] for m in scene.messages("response.output_audio_transcript.delta"))


async def plain(scene: Scene) -> None:
    await scene.user.says(1.0, QUESTION)
    await scene.user.until("speaking")
    await scene.user.until("idle")


async def test_a_slow_model_is_bridged_and_the_answer_follows(autojump_clock: MockClock) -> None:
    async with stage([ANSWER, "Yes."], first_token_s=3.0) as scene:
        await plain(scene)
        assert fillers(scene) == [("One moment.", 1200, "model")]
        said = scene.fact(ev.FillerSaid).at
        assert said - scene.fact(ev.TurnEnded).at == pytest.approx(1.2)
        assert scene.tts.said == ["One moment.", "It opens at nine.", "The last entry is at five."]
        assert spoken(scene) == f"One moment. {ANSWER}"
        assert len(scene.messages("response.output_item.added")) == 1
        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]
        await plain(scene)
        assert all("moment" not in m.text for m in scene.chat.requests[-1].messages)


@pytest.mark.parametrize(
    ("think", "options"),
    [
        (ThinkSettings(filler_after_s=0), None),
        (ThinkSettings(fillers=()), None),
        (ThinkSettings(), {"output_modalities": ["text"]}),
    ],
)
async def test_there_is_none_where_none_is_wanted(
    autojump_clock: MockClock, think: ThinkSettings, options: dict[str, Any] | None
) -> None:
    async with stage([ANSWER], first_token_s=4.0, setup=Setup(think=think), options=options) as scene:
        await plain(scene)
        assert fillers(scene) == []
        assert scene.history()[-1] == ("assistant", ANSWER)


async def test_there_is_none_before_the_turn_has_ended_nor_when_text_is_there(autojump_clock: MockClock) -> None:
    """The draft's model takes 1.5 s, of which the user's last pause is the first half second."""
    slow = Setup(ReplySettings(draft_depth="llm"), ThinkSettings(filler_after_s=1.2))
    async with stage([ANSWER], first_token_s=1.5, first_audio_s=3.0, setup=slow) as scene:
        await plain(scene)
        assert scene.fact(ev.FirstTokenArrived).at > scene.fact(ev.TurnEnded).at
        assert fillers(scene) == []


async def test_the_first_words_without_an_end_are_text_that_is_on_its_way(autojump_clock: MockClock) -> None:
    async with stage([["It ", "opens ", "at ", "nine."]], token_s=0.8) as scene:
        await plain(scene)
        assert fillers(scene) == []


async def test_a_slow_tool_is_bridged_twice_and_no_more(autojump_clock: MockClock) -> None:
    shop = Workshop()
    think = ThinkSettings(tool_s=60)
    answers = [[call("look_up", what="x", seconds=22.0)], ANSWER]
    async with stage(answers, tools=shop.box, setup=Setup(think=think)) as scene:
        await plain(scene)
        assert fillers(scene) == [("One moment.", 1200, "tool"), ("I am still on it.", 7000, "tool")]
        assert spoken(scene) == f"One moment. I am still on it. {ANSWER}"
        assert scene.history()[-1] == ("assistant", ANSWER)
        assert shop.ended == ["x"]


async def test_after_the_models_own_words_there_is_only_the_later_one(autojump_clock: MockClock) -> None:
    answers = [["Let me look.", call("look_up", what="x", seconds=9.0)], ANSWER]
    async with stage(answers, tools=Workshop().box) as scene:
        await plain(scene)
        assert [text for text, *_ in fillers(scene)] == ["I am still on it."]
        assert spoken(scene) == f"Let me look. I am still on it. {ANSWER}"
        quiet_since = max(at for at in scene.audio_at() if at - scene.session._began < scene.fact(ev.FillerSaid).at)
        assert scene.fact(ev.FillerSaid).at + scene.session._began - quiet_since == pytest.approx(7.0, abs=0.3)


async def test_they_take_turns(autojump_clock: MockClock) -> None:
    async with stage(["One.", "Two.", "Three.", "Four."], first_token_s=3.0) as scene:
        for _ in range(4):
            await plain(scene)
        assert [text for text, *_ in fillers(scene)] == ["One moment.", "Let me see.", "Just a second.", "One moment."]


async def test_the_answer_does_not_wait_longer_than_the_filler_is(autojump_clock: MockClock) -> None:
    """The text is there 0.1 s after the filler began; its sound comes right behind the filler's."""
    async with stage([ANSWER], first_token_s=2.0, setup=Setup(ReplySettings(draft_depth="stt"))) as scene:
        scene.chat.first_s = 1.3
        await plain(scene)
        at = scene.audio_at()
        assert fillers(scene)
        assert max(b - a for a, b in pairwise(at)) < 0.2


async def test_a_model_that_fails_after_a_filler_is_tried_again_in_silence(autojump_clock: MockClock) -> None:
    async with stage([Unavailable("down"), ANSWER], first_token_s=2.5) as scene:
        await plain(scene)
        assert scene.tts.said == ["One moment.", "It opens at nine.", "The last entry is at five."]
        assert spoken(scene) == f"One moment. {ANSWER}"
        assert len(scene.messages("response.created")) == 1
        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]


async def test_a_model_that_says_nothing_after_a_filler_is_apologised_for(autojump_clock: MockClock) -> None:
    async with stage([[Finished("content_filter")]], first_token_s=2.5) as scene:
        await plain(scene)
        assert scene.tts.said[:2] == ["One moment.", "Sorry, something went wrong on my side."]


async def test_a_model_that_hangs_ends_in_an_apology_and_is_bridged_once(autojump_clock: MockClock) -> None:
    async with stage([], first_token_s=60.0) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.until("idle", 40.0)
        assert scene.tts.said[:2] == ["One moment.", "Sorry, something went wrong on my side."]
        assert len(fillers(scene)) == 1


async def test_an_interruption_of_a_filler_is_like_any(autojump_clock: MockClock) -> None:
    async with stage(["Ten euros."], first_token_s=4.0) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        scene.chat.first_s = 0.2
        await scene.user.says(1.2, "no, how much is a ticket")
        await scene.user.until("speaking")
        await scene.user.until("idle")
        assert scene.chat.cancelled == 1
        assert scene.history() == [("user", f"{QUESTION} no, how much is a ticket"), ("assistant", "Ten euros.")]
        (done, _) = scene.messages("response.done")
        assert done["response"]["status"] == "cancelled"


async def test_our_own_filler_is_known_as_an_echo(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], first_token_s=4.0) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("speaking")
        await scene.user.says(0.4, "one moment")
        await scene.user.until("idle")
        assert scene.fact(ev.TranscriptReady, 1).event.kind == "echo"  # type: ignore[attr-defined]
        assert scene.history() == [("user", QUESTION), ("assistant", ANSWER)]


async def test_nothing_is_said_while_the_user_may_be_speaking(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], first_token_s=4.0) as scene:
        await scene.user.says(1.0, QUESTION)
        await scene.user.until("thinking")
        await scene.user.silent(0.8)
        await scene.user.says(0.2, "")
        assert scene.session.conversation.state == "interrupted"
        assert fillers(scene) == []
        await scene.user.until("thinking")
        back = scene.facts[-1].at
        await scene.user.until("idle")
        assert scene.fact(ev.FillerSaid).at == pytest.approx(back, abs=0.05)


async def test_what_the_client_cuts_off_counts_without_the_filler(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], first_token_s=3.0) as scene:
        await plain(scene)
        item = scene.messages("response.output_item.done")[0]["item"]["id"]
        scene.user.send(
            type="conversation.item.truncate", item_id=item, content_index=0,
            audio_end_ms=round(60 * len("One moment.") + 60 * len("It opens at nine.")) + 50,
        )  # fmt: skip
        await scene.user.silent(0.1)
        assert scene.history()[-1] == ("assistant", "It opens at nine. —")


async def test_a_recorded_conversation_with_fillers_comes_out_equal(tmp_path: Path, autojump_clock: MockClock) -> None:
    answers: list[Any] = [[SLOW_TOOL], ANSWER, Unavailable("down"), ANSWER, "Ten euros."]
    async with stage(answers, tools=Workshop().box, first_token_s=1.6, record=tmp_path / "r") as scene:
        await plain(scene)
        await asks(scene)
        await scene.user.until("speaking")
        await scene.user.says(1.2, "no, how much is a ticket")
        await scene.user.until("speaking")
        await scene.user.until("idle")
    assert len(fillers(scene)) >= 2
    done = await trio.to_thread.run_sync(replay, tmp_path / "r", Detector)
    assert (done.why, done.complete) == ("", True)


async def test_an_aside_has_none(autojump_clock: MockClock) -> None:
    async with stage([ANSWER], first_token_s=4.0) as scene:
        scene.user.send(type="response.create", response={"conversation": "none"})
        await scene.user.silent(10.0)
        assert scene.tts.said == ["It opens at nine.", "The last entry is at five."]


def test_the_waiting_counts_as_the_models() -> None:
    def step(*effects: fx.AnyEffect) -> Step:
        return Step(Verdict.STAY, "idle", "idle", effects)

    line = Timeline()
    line.note(1.0, ev.TurnEnded(0, 500), step(fx.StartReply(1, 1, "speech", draft=False)))
    line.note(1.1, ev.TranscriptReady(1, 3, "words"), step())
    line.note(2.2, ev.FillerSaid(1, "One moment.", 1200, "model"), step())
    line.note(2.3, ev.FirstAudioArrived(1), step())
    times = line.note(2.3, ev.ReplyStarted(1), step())
    assert times is not None
    assert (times.filler, times.ms["first_sentence"], times.ms["voice_to_voice"]) == (True, 1100.0, 1800.0)
