"""What only shows when several things go wrong at once: cuts in a row, spent budgets, engines that never answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from aura.core.errors import StreamCut, TimedOut, Unavailable
from aura.core.ports import SpeechRequest, TextDelta, Transcript
from aura.core.routing.pricing import Amount
from aura.providers.router.chat import RoutedChat
from aura.providers.router.hearing import RoutedStt
from aura.providers.router.settings import RouterSettings
from aura.providers.router.spending import Spending
from aura.providers.router.voice import RoutedVoice
from tests.routed import Scripted, board_of, cut, talk, text
from tests.test_router_chat import REQUEST, ask
from tests.test_router_voice import SENTENCE, sound

BEGUN = cut("The ship had left the harbour ", StreamCut("cut"))
AGAIN = text("The ship had left the harbour at noon.")
WHOLE = "The ship had left the harbour at noon."


@pytest.mark.parametrize(
    "engines",
    [
        [Scripted("a", BEGUN, AGAIN)],
        [Scripted("a", BEGUN), Scripted("b", [Unavailable("down")]), Scripted("c", AGAIN)],
        [Scripted("a", BEGUN), Scripted("b", [1e6]), Scripted("c", AGAIN)],
    ],
    ids=["retry", "failover", "hedge"],
)
async def test_whoever_goes_on_with_an_answer_repeats_nothing(
    engines: list[Scripted], autojump_clock: MockClock
) -> None:
    said, _, _ = await ask(board_of("chat", *engines, settings=RouterSettings(hedge_free_usd=100)))
    assert said == WHOLE


async def test_a_silent_engine_is_replaced_though_hedging_is_too_dear(autojump_clock: MockClock) -> None:
    settings = RouterSettings(hedge_free_usd=0, hedge_spend_share=0)
    said, _, first_s = await ask(
        board_of("chat", Scripted("a", [1e6]), Scripted("b", text("Fine.")), settings=settings)
    )
    assert (said, first_s) == ("Fine.", settings.first_item_s)


async def test_an_answer_under_way_is_not_ended_by_a_budget(autojump_clock: MockClock) -> None:
    board = board_of(
        "chat", Scripted("a", text("One, ", 0.1, "two.")), Scripted("b", text("no")),
        settings=RouterSettings(conversation_usd=0.5),
    )  # fmt: skip
    said = []
    async with RoutedChat(board, talk()).reply(REQUEST) as items:
        async for item in items:
            said += [item.text] if isinstance(item, TextDelta) else []
            board.spending.add(Amount(1.0, exact=True), "", "sess", 0)
    assert said == ["One, ", "two."]


async def test_the_turns_budget_ends_the_wait_and_nobody_else_is_asked(autojump_clock: MockClock) -> None:
    settings = RouterSettings(turn_budget_s=0.2, hedge_after_s=0.5, first_item_s=5)
    slow, other = Scripted("a", text(3, "Late.")), Scripted("b", text("no"))
    began = trio.current_time()
    with pytest.raises(TimedOut):
        await ask(board_of("chat", slow, other, settings=settings))
    assert (round(trio.current_time() - began, 3), other.requests) == (0.2, [])


async def test_who_leaves_with_the_end_of_an_answer_has_not_cancelled_it(autojump_clock: MockClock) -> None:
    for _ in range(10):  # who runs first is chance
        board = board_of("chat", Scripted("a", [*text("Fine."), 1.0]))
        async with RoutedChat(board, who := talk()).reply(REQUEST) as items:
            async for item in items:
                if not isinstance(item, TextDelta):
                    break
        assert (board.all()[0].calls, who.sticky) == ({"ok": 1}, {"chat": "a/m"})


async def test_an_engine_is_billed_for_all_that_it_was_asked_to_speak(autojump_clock: MockClock) -> None:
    board = board_of("tts", Scripted("a", [sound(1.5), 1e6]), Scripted("b", [sound(1.0)]))
    async with RoutedVoice(board, talk()).speak(SpeechRequest(SENTENCE, "alloy")) as chunks:
        async for _ in chunks:
            pass
    first, second = board.all()
    assert first.spent_usd == pytest.approx(len(SENTENCE) / 1e6)
    assert 0 < second.spent_usd < first.spent_usd


async def test_a_call_that_stood_in_our_own_queue_says_nothing_of_the_engine(autojump_clock: MockClock) -> None:
    board = board_of("chat", Scripted("a", text("no")), Scripted("b", text("Fine.")))
    queued = board.all()[0]
    queued.throttle.adjust(concurrent=1)
    async with queued.turn("another"):
        said, _, _ = await ask(board)
    assert said == "Fine."
    assert queued.tracker.health(trio.current_time()).failures == {}


async def test_a_tenant_that_may_use_nothing_gets_nothing(autojump_clock: MockClock) -> None:
    who = talk(tenant="acme")
    who.allowed = frozenset()
    with pytest.raises(Exception, match="no chat engine may be used"):
        await ask(board_of("chat", Scripted("a", text("no"))), who)


async def test_yesterdays_spending_is_not_saved_as_todays(tmp_path: Path, autojump_clock: MockClock) -> None:
    date, file = ["2026-11-28"], tmp_path / "spent.json"
    spending = Spending(lambda: date[0], file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spending.keep)
        await trio.testing.wait_all_tasks_blocked()
        spending.add(Amount(1.0, exact=True), "acme", "sess", 0)
        date[0] = "2026-11-29"
        nursery.cancel_scope.cancel()
    assert Spending(lambda: date[0], file).books.tenants() == {}


# ---- hearing


class Broken(Scripted):
    """Cannot take audio, by a bug."""

    def feed(self, pcm: bytes) -> None:
        raise ZeroDivisionError


async def test_a_recogniser_that_crashes_over_kept_audio_is_replaced(autojump_clock: MockClock) -> None:
    engines = [Scripted("a", [Unavailable("down")]), Broken("b", [Transcript("no")]), Scripted("c", [Transcript("hi")])]
    async with RoutedStt(board_of("stt", *engines), talk()).open() as hearing:
        await trio.testing.wait_all_tasks_blocked()
        hearing.feed(b"ab" * 3200)
        assert (await hearing.final()).text == "hi"


async def test_who_failed_is_let_go_and_hears_all_again_when_asked_again(autojump_clock: MockClock) -> None:
    engine = Scripted("a", [Unavailable("down")], [Transcript("hi")])
    async with RoutedStt(board_of("stt", engine), talk()).open() as hearing:
        await trio.testing.wait_all_tasks_blocked()
        hearing.feed(b"ab" * 100)
        assert (await hearing.final()).text == "hi"
        assert engine.open_now == 1
    assert engine.fed == b"ab" * 200


async def test_audio_that_comes_while_a_late_engine_catches_up_is_heard_once_and_in_order(
    autojump_clock: MockClock,
) -> None:
    engines = [Scripted("a", [Unavailable("down")]), Scripted("b", [0.2, Transcript("hi")])]
    pieces = [number.to_bytes(2, "little") * 160 for number in range(2000)]
    async with RoutedStt(board_of("stt", *engines), talk()).open() as hearing:
        for piece in pieces[:1000]:
            hearing.feed(piece)

        async def say() -> None:
            for piece in pieces[1000:]:
                hearing.feed(piece)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            assert (await hearing.so_far()).text == "hi"
        assert engines[1].fed == b"".join(pieces)
