"""What becomes of the functions that a model calls: side by side, in time, once, and in the history."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from aura.core import events as ev
from aura.core.errors import ProviderError, StreamCut
from aura.core.ports import Message, ToolCall
from aura.providers.tools.registry import Toolbox, ToolFault, tool
from aura.session.setup import ReplySettings, Setup
from aura.stages.think import ThinkSettings
from aura.tools.replay.pipeline import replay
from tests.script import Detector, Scene, stage

QUIET = ThinkSettings(filler_after_s=0)
"""Without fillers."""
LATE_VOICE = Setup(ReplySettings(draft_depth="llm"), QUIET)
"""Drafts make no audio, so that the voice fails when the tool runs already."""


class Workshop:
    """Tools whose runs can be looked at."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self.most = self._now = 0
        self.box = Toolbox(
            tool(self.look_up), tool(deadline_s=20, finishes=True)(self.book), tool(self.fail), tool(self.refuse),
            tool(deadline_s=2.0)(self.dawdle), tool(repeats=True)(self.roll),
        )  # fmt: skip

    async def _work(self, name: str, seconds: float) -> None:
        self.begun.append((name, trio.current_time()))
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await trio.sleep(seconds)
        finally:
            self._now -= 1
        self.ended.append(name)

    async def look_up(self, what: str, seconds: float = 1.0) -> str:
        """Look something up."""
        await self._work(what, seconds)
        return f"{what}: found"

    async def book(self, what: str, seconds: float = 3.0) -> str:
        """Book something, to the end."""
        await self._work(what, seconds)
        return f"{what}: booked"

    async def fail(self) -> str:
        """Break."""
        raise RuntimeError("broken")

    def refuse(self) -> str:
        """Refuse."""
        raise ToolFault("Not on Sundays.")

    async def dawdle(self) -> str:
        """Take too long."""
        await self._work("dawdle", 100)
        return "too late"

    def roll(self) -> str:
        """Roll a die."""
        self.begun.append(("roll", trio.current_time()))
        return f"roll {len(self.begun)}"


def call(name: str, ident: str = "call_1", **arguments: Any) -> ToolCall:
    return ToolCall(ident, name, json.dumps(arguments))


def results(scene: Scene, request: int) -> list[str]:
    """The results that the model was shown in a request, in order."""
    return [m.text for m in scene.chat.requests[request].messages if m.role == "tool"]


def proper(messages: tuple[Message, ...]) -> bool:
    """Every call is followed by its results, and nothing else is a result: what engines demand."""
    waiting: list[str] = []
    for message in messages:
        if message.role == "tool":
            if not waiting or waiting.pop(0) != message.tool_call_id:
                return False
        elif waiting:
            return False
        waiting += [called.id for called in message.tool_calls]
    return not waiting


async def asks(scene: Scene, text: str = "what is the news") -> None:
    await scene.user.says(1.0, text)
    turns = scene.names().count("TurnEnded")
    while scene.names().count("TurnEnded") == turns:
        await scene.user.silent(0.02)
    await scene.user.silent(0.3)


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


async def interrupt(scene: Scene, text: str = "no stop, tell me something else") -> None:
    await scene.user.says(1.2, text)
    await scene.user.until("speaking")


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
