"""The router in front of language models: what a conversation gets, whatever its engines do."""

from __future__ import annotations

import pytest
import trio

from aura.core.errors import (
    AuthFailed,
    BadRequest,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    StreamCut,
    TimedOut,
    Unavailable,
)
from aura.core.ports import ChatRequest, Finished, Message, TextDelta, ToolCall
from aura.core.routing.breaker import BreakerSettings
from aura.providers.router.board import Board, Talk
from aura.providers.router.chat import RoutedChat
from aura.providers.router.settings import RouterSettings
from tests.routed import Scripted, board_of, cut, talk, text

REQUEST = ChatRequest((Message("system", "Be brief."), Message("user", "how are you")))
FREELY = RouterSettings(hedge_free_usd=100)


async def ask(board: Board, who: Talk | None = None, request: ChatRequest = REQUEST) -> tuple[str, list[object], float]:
    """(words, the other items, seconds until the first word)."""
    began, first = trio.current_time(), None
    said, others = "", []
    async with RoutedChat(board, who or talk()).reply(request) as items:
        async for item in items:
            if isinstance(item, TextDelta):
                first = first or trio.current_time()
                said += item.text
            else:
                others.append(item)
    return said, others, (first or trio.current_time()) - began


async def test_a_good_engine_is_asked_alone_and_named(autojump_clock: trio.testing.MockClock) -> None:
    good, other = Scripted("a", text(0.3, "Fine, ", 0.1, "thanks.")), Scripted("b", text("no"))
    said, (end,), first_s = await ask(board_of("chat", good, other))
    assert (said, len(other.requests), round(first_s, 2)) == ("Fine, thanks.", 0, 0.3)
    assert isinstance(end, Finished)
    assert (end.served_by, end.cost_usd) == ("a/m", pytest.approx(20e-6))


@pytest.mark.parametrize(
    "error",
    [AuthFailed("no"), QuotaExhausted("no"), RateLimited("no"), Unavailable("no"), TimedOut("no"), StreamCut("no"),
     BadRequest("no")],
    ids=lambda error: error.code,
)  # fmt: skip
async def test_a_failure_before_the_first_word_is_not_noticed(
    error: ProviderError, autojump_clock: trio.testing.MockClock
) -> None:
    bad, good = Scripted("a", [0.05, error]), Scripted("b", text(0.2, "Fine."))
    said, _, first_s = await ask(board_of("chat", bad, good))
    assert (said, round(first_s, 2), len(bad.requests), len(good.requests)) == ("Fine.", 0.25, 1, 1)


async def test_a_silent_engine_gets_company_and_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    silent, good = Scripted("a", [1e6]), Scripted("b", text(0.2, "Fine."))
    said, _, first_s = await ask(board_of("chat", silent, good, settings=FREELY))
    assert (said, round(first_s, 2), silent.open_now) == ("Fine.", 0.7, 0)


async def test_a_slow_engine_that_answers_first_after_all_is_heard(autojump_clock: trio.testing.MockClock) -> None:
    slow, slower = Scripted("a", text(0.6, "Slow.")), Scripted("b", text(0.4, "Slower."))
    said, others, _ = await ask(board_of("chat", slow, slower, settings=FREELY))
    assert (said, len(others), slower.given) == ("Slow.", 1, 0)


async def test_company_costs_no_more_than_it_may(autojump_clock: trio.testing.MockClock) -> None:
    slow, other = Scripted("a", text(1.0, "Slow.")), Scripted("b", [1e6])
    board = board_of("chat", slow, other, settings=RouterSettings(hedge_free_usd=0, hedge_spend_share=0))
    assert (await ask(board))[0] == "Slow."
    assert other.requests == []


@pytest.mark.parametrize("ending", [[StreamCut("cut")], [1e6], []], ids=["cut", "stall", "no end"])
async def test_an_answer_that_breaks_off_goes_on_with_another_engine(
    ending: list[object], autojump_clock: trio.testing.MockClock
) -> None:
    bad = Scripted("a", [*cut("The bridge was ", "built in "), *ending])
    good = Scripted("b", text("1883 by ", "many people."))
    said, others, _ = await ask(board_of("chat", bad, good))
    assert said == "The bridge was built in 1883 by many people."
    assert len(others) == 1
    assert "The bridge was built in" in "".join(m.text for m in good.requests[0].messages)


async def test_a_second_engine_that_begins_anew_repeats_nothing(autojump_clock: trio.testing.MockClock) -> None:
    bad = Scripted("a", [*cut("The bridge was built in "), StreamCut("cut")])
    good = Scripted("b", text("The bridge was ", "built in 1883."))
    assert (await ask(board_of("chat", bad, good)))[0] == "The bridge was built in 1883."


async def test_tool_calls_of_a_broken_answer_are_not_given_twice(autojump_clock: trio.testing.MockClock) -> None:
    call = ToolCall("1", "look", "{}")
    bad, good = Scripted("a", [call, StreamCut("cut")]), Scripted("b", [call, Finished("tool_calls")])
    _, others, _ = await ask(board_of("chat", bad, good))
    assert [type(item) for item in others] == [ToolCall, Finished]


async def test_a_lone_engine_is_asked_once_more_after_the_time_that_it_wants(
    autojump_clock: trio.testing.MockClock,
) -> None:
    busy = Scripted("a", [RateLimited("busy", retry_after_s=0.4)], text("Fine."))
    said, _, first_s = await ask(board_of("chat", busy))
    assert (said, round(first_s, 2)) == ("Fine.", 0.4)


@pytest.mark.parametrize("error", [RateLimited("busy", retry_after_s=60), QuotaExhausted("no"), AuthFailed("no")])
async def test_what_will_not_get_better_in_time_is_not_tried_again(
    error: ProviderError, autojump_clock: trio.testing.MockClock
) -> None:
    bad = Scripted("a", [error])
    with pytest.raises(ProviderError) as caught:
        await ask(board_of("chat", bad))
    assert (caught.value.code, len(bad.requests)) == (error.code, 1)


async def test_when_all_fail_the_last_error_is_final(autojump_clock: trio.testing.MockClock) -> None:
    engines = [Scripted(name, [Unavailable(name)]) for name in "abcdef"]
    with pytest.raises(Unavailable) as caught:
        await ask(board_of("chat", *engines))
    assert not caught.value.retryable
    assert sum(len(engine.requests) for engine in engines) == RouterSettings().attempts_max


async def test_an_engine_that_keeps_failing_is_left_alone_and_tried_again_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bad = Scripted("a", [Unavailable("down")])
    good = Scripted("b", text("Fine."))
    board = board_of("chat", bad, good, breaker=BreakerSettings(open_s=5))
    for _ in range(6):
        assert (await ask(board))[0] == "Fine."
    assert len(bad.requests) <= 3
    asked = len(bad.requests)
    bad.scripts, good.scripts = [text("Back.")], [[Unavailable("down")]]
    await trio.sleep(60)
    assert (await ask(board))[0] == "Back."
    assert len(bad.requests) == asked + 1


async def test_a_conversation_keeps_its_engine(autojump_clock: trio.testing.MockClock) -> None:
    first, second = Scripted("a", text("A.")), Scripted("b", text("B."))
    board, who = board_of("chat", first, second), talk()
    who.sticky["chat"] = "b/m"
    assert [(await ask(board, who))[0] for _ in range(3)] == ["B."] * 3


async def test_whoever_stops_listening_cancels_every_engine_and_nothing_is_held_against_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine = Scripted("a", text(*["word "] * 50))
    engine.scripts = [[step for word in text(*["word "] * 50) for step in (0.1, word)]]
    board = board_of("chat", engine)
    async with RoutedChat(board, talk()).reply(REQUEST) as items:
        async for _ in items:
            break
    assert (engine.open_now, engine.given) == (0, 1)
    assert board.all()[0].tracker.health(trio.current_time()).error_rate == 0
    assert board.all()[0].calls == {"cancelled": 1}
    assert board.spending.books.total.usd > 0  # estimated


async def test_cancellation_from_outside_stays_a_cancellation(autojump_clock: trio.testing.MockClock) -> None:
    board = board_of("chat", Scripted("a", [1e6]))
    with trio.move_on_after(1) as scope:
        await ask(board)
    assert scope.cancelled_caught


async def test_an_error_of_the_reader_comes_out_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with RoutedChat(board_of("chat", Scripted("a", text("x"))), talk()).reply(REQUEST):
            _ = 1 / 0


async def test_a_used_up_budget_is_spoken_and_nobody_is_asked(autojump_clock: trio.testing.MockClock) -> None:
    engine, who = Scripted("a", text("Fine.")), talk()
    board = board_of("chat", engine, settings=RouterSettings(conversation_usd=0.00017))
    assert (await ask(board, who))[0] == "Fine."
    said, (end,), _ = await ask(board, who)
    assert (said, len(engine.requests)) == (RouterSettings().budget_notice, 1)
    assert isinstance(end, Finished)


async def test_a_tenants_day_is_shared_by_its_conversations_and_not_by_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    board = board_of("chat", Scripted("a", text("Fine.")), settings=RouterSettings(tenant_usd_per_day=0.00017))
    assert (await ask(board, talk("1", "acme")))[0] == "Fine."
    assert (await ask(board, talk("2", "acme")))[0] == RouterSettings().budget_notice
    assert (await ask(board, talk("3", "other")))[0] == "Fine."


async def test_a_tenant_is_served_only_by_engines_it_allows(autojump_clock: trio.testing.MockClock) -> None:
    first, second = Scripted("a", text("A.")), Scripted("b", [Unavailable("down")])
    who = Talk("1", "acme", frozenset({"b"}), {})
    with pytest.raises(Unavailable):
        await ask(board_of("chat", first, second), who)
    assert first.requests == []
