"""When every engine of a part fails in the same answer: soon an honest end, never dead air, nothing said twice."""

from __future__ import annotations

import pytest
import trio

from aura.core.errors import ProviderError, StreamCut, TimedOut, Unavailable
from aura.core.ports import ChatRequest, Message, SpeechChunk, SpeechRequest, TextDelta
from aura.providers.router.board import Board
from aura.providers.router.chat import RoutedChat
from aura.providers.router.hearing import RoutedStt
from aura.providers.router.voice import RoutedVoice
from tests.routed import Scripted, board_of, cut, talk, text

REQUEST = ChatRequest((Message("system", "Be brief."), Message("user", "how are you")))
FOREVER = 1e6
STORY = "Once upon a time there was a king who had a castle "
REST = "who had a castle and a garden."
"""What a model that is asked to go on with the last words says."""
WHOLE = "Once upon a time there was a king who had a castle and a garden."


async def words(board: Board) -> tuple[str, ProviderError | None]:
    """What was said, and the error that it ended with."""
    said = ""
    try:
        async with RoutedChat(board, talk()).reply(REQUEST) as items:
            async for item in items:
                said += item.text if isinstance(item, TextDelta) else ""
    except ProviderError as error:
        return said, error
    return said, None


async def test_two_silent_models_are_given_up_within_the_budget(autojump_clock: trio.testing.MockClock) -> None:
    one, two = Scripted("a", [FOREVER]), Scripted("b", [FOREVER])
    began = trio.current_time()
    said, error = await words(board_of("chat", one, two))
    assert (said, type(error), error and error.retryable) == ("", TimedOut, False)
    assert trio.current_time() - began == pytest.approx(6.0, abs=0.1)
    assert one.open_now == two.open_now == 0


async def test_a_lone_model_may_take_as_long_as_it_says_itself(autojump_clock: trio.testing.MockClock) -> None:
    said, error = await words(board_of("chat", Scripted("a", text(20.0, "Good morning."))))
    assert (said, error) == ("Good morning.", None)


async def test_two_models_that_stall_after_a_word_are_given_up(autojump_clock: trio.testing.MockClock) -> None:
    one, two = (Scripted(name, cut(0.3, "This ", FOREVER)) for name in "ab")
    began = trio.current_time()
    said, error = await words(board_of("chat", one, two))
    assert (said.split(), type(error)) == (["This"], TimedOut)
    assert trio.current_time() - began < 8


async def test_two_silent_recognisers_are_given_up_within_the_budget(autojump_clock: trio.testing.MockClock) -> None:
    board = board_of("stt", Scripted("a", [FOREVER]), Scripted("b", [FOREVER]))
    began = trio.current_time()
    async with RoutedStt(board, talk()).open() as hearing:
        hearing.feed(bytes(32_000))
        with pytest.raises(TimedOut):
            await hearing.final()
    assert trio.current_time() - began == pytest.approx(6.0, abs=0.1)


async def test_the_offline_voice_does_not_wait_for_two_silent_ones(autojump_clock: trio.testing.MockClock) -> None:
    one, two = Scripted("a", [FOREVER]), Scripted("b", [FOREVER])
    offline = Scripted("offline", [SpeechChunk(bytes(960), 24_000)])
    board = board_of("tts", one, two, last_resort=offline)
    began = trio.current_time()
    async with RoutedVoice(board, talk()).speak(SpeechRequest("Hello.", "v")) as chunks:
        async for _ in chunks:
            break
        assert trio.current_time() - began == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize(
    "scripts",
    [
        [[cut(0.1, STORY, StreamCut("no")), text(0.2, REST)]],
        [[cut(0.1, STORY, StreamCut("no"))], [[Unavailable("no")]], [text(0.2, REST)]],
        [[cut(0.1, STORY, StreamCut("no"))], [[FOREVER]], [text(0.2, REST)]],
    ],
    ids=["the same one once more", "the third after a failure", "the third beside a silent one"],
)
async def test_whoever_goes_on_repeats_nothing(
    scripts: list[list[list[object]]], autojump_clock: trio.testing.MockClock
) -> None:
    engines = [Scripted(name, *several) for name, several in zip("abc", scripts, strict=False)]
    assert await words(board_of("chat", *engines)) == (WHOLE, None)
