"""The pool of sockets by itself: who gets a place, who opens one, and what a failed or slow handshake means to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing

from aura.core import errors
from aura.core.ports import SpeechRequest
from aura.providers.sockets import Link, PoolLimits, Sentence, SocketPool

LIMITS = PoolLimits(sockets_max=3, idle_s=10.0, age_s=100.0, wait_s=5.0)


class Silent:
    """A socket on which nothing ever comes."""

    name, closed = "x", False

    async def receive(self) -> str:
        await trio.sleep_forever()
        return ""


class Plain(Link):
    """A link whose places are free as soon as they are left."""

    def begin(self, request: SpeechRequest) -> Sentence:
        return Sentence("x", 8000, 1.0)

    async def send(self, sentence: Sentence, request: SpeechRequest) -> None:
        """Nobody listens."""

    async def leave(self, sentence: Sentence) -> None:
        self.free()

    def take(self, message: str | bytes) -> None:
        """Nothing comes."""

    def fail(self, error: errors.ProviderError) -> None:
        """There is no sentence to tell."""


@dataclass
class Handshakes:
    """How the next connections go: seconds, or an error after 0.1 s."""

    plan: list[float | Exception] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    closed: int = 0
    places: int = 1

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Plain]:
        self.begun.append(key)
        how = self.plan.pop(0) if self.plan else 0.1
        await trio.sleep(0.1 if isinstance(how, Exception) else how)
        if isinstance(how, Exception):
            raise how
        try:
            link: Any = Plain(Silent(), self.places)  # type: ignore[arg-type]
            yield link
        finally:
            self.closed += 1


@asynccontextmanager
async def pool(limits: PoolLimits = LIMITS, **more: Any) -> AsyncIterator[tuple[SocketPool[Plain], Handshakes]]:
    made = Handshakes(**more)
    sockets: SocketPool[Plain] = SocketPool("x", made.open, limits, made.places)
    async with sockets.running():
        yield sockets, made


async def test_a_barge_in_during_the_handshake_leaves_a_warm_socket(autojump_clock: trio.testing.MockClock) -> None:
    async with pool(plan=[0.3]) as (sockets, made):
        with trio.move_on_after(0.05):
            await sockets.take("v")
        await trio.sleep(0.3)
        began = trio.current_time()
        await sockets.take("v")
        assert trio.current_time() == began
        assert made.begun == ["v"]


async def test_sentences_share_a_socket_up_to_its_places(autojump_clock: trio.testing.MockClock) -> None:
    async with pool(places=4) as (sockets, made):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(sockets.take, "v")
        assert made.begun == ["v", "v"]
        await sockets.take("other")
        assert made.begun == ["v", "v", "other"]


async def test_who_finds_all_sockets_in_use_waits_for_a_place_and_not_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pool() as (sockets, made):
        links = [await sockets.take("v") for _ in range(3)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sockets.take, "v")
            await trio.sleep(1.0)
            links[1].free()
        assert links[1].taken == 1
        began = trio.current_time()
        with pytest.raises(errors.RateLimited):
            await sockets.take("v")
        assert trio.current_time() - began == pytest.approx(5.0)
        assert len(made.begun) == 3


async def test_an_unused_socket_of_another_kind_makes_room(autojump_clock: trio.testing.MockClock) -> None:
    async with pool() as (sockets, made):
        (await sockets.take("a")).free()
        for _ in range(2):
            await sockets.take("b")
        await sockets.take("c")
        assert made.begun == ["a", "b", "b", "c"]
        assert made.closed == 1


async def test_the_failure_of_a_handshake_is_told_to_whom_it_was_for(autojump_clock: trio.testing.MockClock) -> None:
    """Who only joined it tries for itself."""
    wrong = errors.AuthFailed("wrong key", provider="x")
    caught: list[BaseException] = []
    async with pool(plan=[wrong, 0.1], places=2) as (sockets, made):

        async def one() -> None:
            try:
                await sockets.take("v")
            except errors.AuthFailed as error:
                caught.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(one)
        assert caught == [wrong]
        assert made.begun == ["v", "v"]
        assert sockets.sockets == 1


async def test_a_slow_handshake_is_not_waited_for_by_those_who_come_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pool(plan=[30.0, 0.1], places=4) as (sockets, _):
        with pytest.raises(errors.TimedOut):
            await sockets.take("v")
        began = trio.current_time()
        await sockets.take("v")
        assert trio.current_time() - began == pytest.approx(0.1)


async def test_idle_and_old_sockets_end(autojump_clock: trio.testing.MockClock) -> None:
    async with pool() as (sockets, made):
        link = await sockets.take("v")
        await trio.sleep(50)
        assert made.closed == 0, "a long sentence is no idleness"
        link.free()
        await trio.sleep(9)
        assert sockets.sockets == 1
        await trio.sleep(2)
        assert (sockets.sockets, made.closed) == (0, 1)
        link = await sockets.take("v")
        await trio.sleep(101)
        assert await sockets.take("v") is not link
        link.free()
        await trio.sleep(0.1)
        assert made.closed == 2


async def test_a_confirmation_that_never_comes_ends_the_socket(autojump_clock: trio.testing.MockClock) -> None:
    async with pool() as (sockets, made):
        link = await sockets.take("v")
        link.look_at(trio.current_time() + 2)
        await trio.sleep(1.9)
        assert made.closed == 0
        await trio.sleep(0.2)
        assert made.closed == 1
        assert isinstance(link.broken, errors.StreamCut)


async def test_a_sentence_gives_out_what_came_before_its_failure_and_is_bounded() -> None:
    sentence = Sentence("x", 8000, 1.0)
    sentence.put(bytes(15_999))
    sentence.put(bytes(1))
    sentence.put(bytes(2))
    got = [await sentence.next(trio.current_time() + 1) for _ in range(2)]
    assert [len(chunk.pcm) for chunk in got if chunk] == [15_998, 2]
    with pytest.raises(errors.StreamCut, match="more than 1 s"):
        await sentence.next(trio.current_time() + 1)
    assert not sentence.complete


async def test_a_silent_engine_is_timed_out() -> None:
    with pytest.raises(errors.TimedOut):
        await Sentence("x", 8000, 1.0).next(trio.current_time() + 0.01)
