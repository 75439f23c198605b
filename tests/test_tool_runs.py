"""What becomes of the functions that a model calls: side by side, in time, once, and in the history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from aura.core import events as ev
from aura.core.errors import ProviderError, StreamCut
from aura.core.ports import ToolCall
from aura.providers.tools.registry import Toolbox, tool
from aura.session.setup import Setup
from aura.stages.think import ThinkSettings
from aura.tools.replay.pipeline import replay
from tests.script import Detector, Scene, stage
from tests.workshop import LATE_VOICE, QUIET, Workshop, asks, call, interrupt, proper, results


async def test_calls_of_one_answer_run_side_by_side_and_their_results_come_in_order(autojump_clock: MockClock) -> None:
    shop = Workshop()
    calls = [call("look_up", f"call_{n}", what=f"w{n}", seconds=3 - n) for n in range(3)]
    async with stage([calls, "Here it is."], tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await scene.user.says(1.0, "look it all up")
        await scene.user.until("idle")

        assert (shop.most, shop.ended) == (3, ["w2", "w1", "w0"])
        assert results(scene, -1) == ["w0: found", "w1: found", "w2: found"]
        assert proper(scene.chat.requests[-1].messages)
        assert [m.tool_call_id for m in scene.chat.requests[-1].messages if m.role == "tool"] == [c.id for c in calls]
        assert shop.begun[0][1] == shop.begun[2][1]


async def test_no_more_run_at_once_than_the_setting_says(autojump_clock: MockClock) -> None:
    shop = Workshop()
    calls = [call("look_up", f"call_{n}", what=f"w{n}") for n in range(5)]
    think = ThinkSettings(filler_after_s=0, tools_at_once=2)
    async with stage([calls, "Here it is."], tools=shop.box, setup=Setup(think=think)) as scene:
        await scene.user.says(1.0, "look it all up")
        await scene.user.until("idle")
        assert (shop.most, len(shop.ended)) == (2, 5)


@pytest.mark.parametrize(
    ("asked", "text", "outcome", "took_ms"),
    [
        (call("look_up", what="x"), "x: found", "ok", 1000),
        (call("fail"), "fail failed (RuntimeError). Do without it.", "failed", 0),
        (call("refuse"), "Not on Sundays.", "refused", 0),
        (call("look_up", when="x"), "Wrong arguments for look_up", "bad_call", 0),
        (ToolCall("call_1", "look_up", '{"what'), "must be a JSON object", "bad_call", 0),
        (call("dawdle"), "dawdle took longer than 2 s and was stopped", "timed_out", 2000),
        (call("look_up", what="x", seconds=60), "look_up took longer than 5 s and was stopped", "timed_out", 5000),
    ],
)
async def test_whatever_comes_of_a_call_is_told_to_the_model_and_stands_in_the_journal(
    autojump_clock: MockClock, asked: ToolCall, text: str, outcome: str, took_ms: int
) -> None:
    think = ThinkSettings(filler_after_s=0, tool_s=5)
    async with stage([[asked], "Well."], tools=Workshop().box, setup=Setup(think=think)) as scene:
        await scene.user.says(1.0, "do it")
        await scene.user.until("idle")
        (result,) = results(scene, -1)
        assert text in result
        told = scene.fact(ev.ToolFinished).event
        assert told == ev.ToolFinished(1, asked.name, outcome, took_ms)  # type: ignore[arg-type]
        assert result in [m.text for m in scene.session.dialogue.messages() if m.role == "tool"]
        assert scene.tts.said[-1] == "Well."


async def test_a_function_that_was_not_offered_is_not_run(autojump_clock: MockClock) -> None:
    shop = Workshop()
    mine = {"type": "function", "name": "mine", "description": "", "parameters": {"type": "object", "properties": {}}}
    answers = [[call("look_up", what="x")], "I cannot."]
    async with stage(answers, tools=shop.box, options={"tools": [mine], "tool_choice": "required"}) as scene:
        await scene.user.says(1.0, "look it up")
        await scene.user.until("idle")
        assert not shop.begun
        assert results(scene, -1) == ["There is no tool 'look_up' that you may call."]


async def test_an_interruption_cancels_what_is_running_and_the_next_turn_hears_nothing_of_it(
    autojump_clock: MockClock,
) -> None:
    shop = Workshop()
    answers = [[call("look_up", what="x", seconds=8)], "Something else."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await asks(scene)
        await scene.user.silent(1.0)
        await interrupt(scene)
        await scene.user.silent(10.0)

        assert (len(shop.begun), shop.ended) == (1, [])
        assert scene.fact(ev.ToolFinished).event.outcome == "cancelled"  # type: ignore[attr-defined]
        assert scene.fact(ev.ToolFinished).step.verdict == "late"
        assert all(not m.tool_calls and m.role != "tool" for m in scene.chat.requests[-1].messages)
        assert all(role != "tool" for role, _ in scene.history())


async def test_what_is_marked_to_finish_goes_on_and_its_result_stands_where_it_belongs(
    autojump_clock: MockClock,
) -> None:
    shop = Workshop()
    answers = [[call("book", what="table", seconds=6)], "Something else.", "It is booked."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await asks(scene, "book a table")
        await interrupt(scene)
        assert results(scene, -1) == ["(no result yet)"]
        assert proper(scene.chat.requests[-1].messages)
        await scene.user.until("idle")
        await scene.user.silent(6.0)
        assert shop.ended == ["table"]
        await asks(scene, "is it booked")
        await scene.user.until("idle")

        shown = [(m.role, m.text) for m in scene.chat.requests[-1].messages[1:]]
        assert shown == [
            ("user", "book a table"),
            ("assistant", ""),
            ("tool", "table: booked"),
            ("user", "no stop, tell me something else"),
            ("assistant", "Something else."),
            ("user", "is it booked"),
        ]
        assert proper(scene.chat.requests[-1].messages)
        assert scene.names().count("ToolCalled") == 1


async def test_a_result_that_comes_while_the_next_answer_is_made_does_not_get_into_it(
    autojump_clock: MockClock,
) -> None:
    shop = Workshop()
    answers = [[call("book", what="table", seconds=3)], [call("look_up", "call_2", what="y", seconds=4)], "Done."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await asks(scene, "book a table")
        await interrupt(scene)
        assert shop.ended == ["table", "y"]
        assert results(scene, -1) == ["(no result yet)", "y: found"]
        assert proper(scene.chat.requests[-1].messages)


async def test_the_same_call_joins_the_one_that_is_still_running(autojump_clock: MockClock) -> None:
    shop = Workshop()
    again = ToolCall("call_9", "book", ' {"seconds": 8, "what": "table"}')
    answers = [[call("book", what="table", seconds=8)], [again], "It is booked."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await asks(scene, "book a table")
        await interrupt(scene, "I said please book a table")

        assert [name for name, _ in shop.begun] == ["table"]
        assert results(scene, -1)[-1] == "table: booked"
        assert proper(scene.chat.requests[-1].messages)
        assert scene.tts.said[-1] == "It is booked."


@pytest.mark.parametrize("second", [[], [call("look_up", "call_7", seconds=4, what="x")]])
async def test_a_retry_goes_on_with_what_the_failed_reply_had_run(
    autojump_clock: MockClock, second: list[ToolCall]
) -> None:
    """The voice fails while the tool runs."""
    shop = Workshop()
    first = ["Let me look. ", call("look_up", what="x", seconds=4)]
    answers = [first, *([second] if second else []), "Here it is."]
    async with stage(answers, tools=shop.box, setup=LATE_VOICE) as scene:
        scene.tts.failures.append(StreamCut("cut", provider="x"))
        await asks(scene)
        await scene.user.until("idle")

        assert [name for name, _ in shop.begun] == shop.ended == ["x"]
        assert scene.names().count("StageFailed") == 1
        assert results(scene, 1) == ["x: found"]
        assert scene.tts.said[-1] == "Here it is."
        assert [text for role, text in scene.history() if role == "tool"] == ["x: found"]
        assert len(scene.messages("response.created")) == 1
        assert all(proper(request.messages) for request in scene.chat.requests)


async def test_a_retry_after_the_tool_is_done_does_not_run_it_again(autojump_clock: MockClock) -> None:
    shop = Workshop()
    asked = [call("look_up", what="x")]
    cut: list[Any] = [ProviderError("down", provider="x")]
    cut[0].retryable = True
    answers = [asked, cut, [call("look_up", "call_2", what="x")], "Here it is."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await asks(scene)
        await scene.user.until("idle")
        assert [name for name, _ in shop.begun] == ["x"]
        assert scene.tts.said[-1] == "Here it is."


async def test_a_call_is_made_once_in_a_turn_unless_it_repeats_and_again_in_the_next(autojump_clock: MockClock) -> None:
    shop = Workshop()
    calls = [
        call("look_up", what="x"), call("look_up", "call_2", what="x"), call("roll", "call_3"), call("roll", "call_4"),
    ]  # fmt: skip
    answers = [calls, [call("look_up", "call_5", what="x")], "One.", [call("look_up", "call_6", what="x")], "Two."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        for _ in range(2):
            await asks(scene)
            await scene.user.until("idle")
        assert sorted(name for name, _ in shop.begun) == ["roll", "roll", "x", "x"]
        first = results(scene, 1)
        assert first[:2] == ["x: found"] * 2
        assert first[2] != first[3]
        assert scene.tts.said == ["One.", "Two."]


async def test_ids_that_an_engine_uses_again_do_not_mix_up_the_history(autojump_clock: MockClock) -> None:
    shop = Workshop()
    answers = [[call("look_up", "call_0", what="a")], "A.", [call("look_up", "call_0", what="b")], "B."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        for _ in range(2):
            await asks(scene)
            await scene.user.until("idle")
        assert [text for role, text in scene.history() if role == "tool"] == ["a: found", "b: found"]
        assert results(scene, -1) == ["a: found", "b: found"]
        assert proper(scene.chat.requests[-1].messages)


async def test_words_before_a_call_are_spoken_while_it_runs(autojump_clock: MockClock) -> None:
    shop = Workshop()
    answers = [["Good. ", "I look it up.", call("look_up", what="x", seconds=6)], "There it is."]
    async with stage(answers, tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await asks(scene)
        await scene.user.silent(4.0)
        assert shop.ended == []
        assert scene.tts.said == ["Good.", "I look it up."]
        await scene.user.until("idle")
        assert scene.history()[-1] == ("assistant", "Good.  I look it up. There it is.")


async def test_words_of_a_reply_that_is_read_are_shown_before_and_after_the_call(autojump_clock: MockClock) -> None:
    answers = [["I look it up.", call("look_up", what="x", seconds=6)], "There it is."]
    async with stage(answers, tools=Workshop().box, options={"output_modalities": ["text"]}) as scene:
        await asks(scene)
        await scene.user.silent(2.0)
        assert [m["delta"] for m in scene.messages("response.output_text.delta")] == ["I look it up. "]
        await scene.user.until("idle")
        shown = "".join(m["delta"] for m in scene.messages("response.output_text.delta"))
        assert shown.strip() == "I look it up.  There it is."
        assert not [fact for fact in scene.facts if isinstance(fact.event, ev.FillerSaid)]


async def test_a_tool_that_will_not_stop_is_not_listened_to(autojump_clock: MockClock) -> None:
    @tool
    async def stubborn() -> str:
        """Go on whatever happens."""
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        return "too late"

    async with stage([[call("stubborn")], "Else."], tools=Toolbox(stubborn), setup=Setup(think=QUIET)) as scene:
        await asks(scene)
        await interrupt(scene)
        await scene.user.silent(8.0)
        late = scene.fact(ev.ToolFinished)
        assert (late.event.outcome, late.step.verdict) == ("cancelled", "late")  # type: ignore[attr-defined]
        assert "too late" not in str(scene.session.dialogue.messages())


async def test_a_conversation_that_ends_leaves_nothing_running(autojump_clock: MockClock) -> None:
    shop = Workshop()
    calls = [call("look_up", what="x", seconds=8), call("book", "call_2", what="y", seconds=15)]
    async with stage([calls], tools=shop.box, setup=Setup(think=QUIET)) as scene:
        await asks(scene)
        assert len(shop.begun) == 2
    await trio.sleep(30)
    assert shop.ended == []
    assert scene.names()[-1] == "SessionClosing"


# ---- recorded


async def barge_in(scene: Scene) -> None:
    await asks(scene, "book a table")
    await interrupt(scene)
    await scene.user.silent(12.0)
    await asks(scene, "is it booked")
    await scene.user.until("idle")


async def plain(scene: Scene) -> None:
    await asks(scene)
    await scene.user.until("idle")


async def failing(scene: Scene) -> None:
    scene.tts.failures.append(StreamCut("cut", provider="x"))
    await plain(scene)


SIDE_BY_SIDE = [
    call("look_up", what="a", seconds=3), call("dawdle", "call_2"), call("look_up", "call_3", what="b"),
    call("refuse", "call_4"), call("fail", "call_5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "answers"),
    [
        (barge_in, [[call("book", what="t", seconds=6), call("look_up", what="u", seconds=9)], "Else.", "It is."]),
        (plain, [SIDE_BY_SIDE, "Well."]),
        (failing, [["Let me look. ", call("look_up", what="x", seconds=4)], "Here it is."]),
    ],
)
async def test_a_recorded_conversation_with_tools_comes_out_equal(
    tmp_path: Path, autojump_clock: MockClock, script: Callable[[Scene], Any], answers: list[Any]
) -> None:
    async with stage(list(answers), tools=Workshop().box, setup=LATE_VOICE, record=tmp_path / "r") as scene:
        await script(scene)
    done = await trio.to_thread.run_sync(replay, tmp_path / "r", Detector)
    assert (done.why, done.complete) == ("", True)
    assert scene.names().count("ToolCalled") == scene.names().count("ToolFinished") > 0
