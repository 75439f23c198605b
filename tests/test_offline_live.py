"""The offline recogniser shows its words while they are said, to who wants to see them."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest
import trio

from aura.core.errors import Unavailable
from aura.core.ports import Final, HearingEvent, Interim
from aura.providers.offline import stt_wire as wire
from aura.providers.offline import stt_worker
from aura.providers.offline.stt import open_recogniser
from aura.providers.offline.stt_decoder import Ears, Models
from tests.live_engines import collect
from tests.test_offline_stt import QUICK, feed, recogniser, spoken

LONG = spoken("how much is twenty three to the power of two point five")


async def test_words_are_shown_while_they_are_said_and_the_last_are_final() -> None:
    events: list[HearingEvent] = []
    async with recogniser() as stt, stt.open() as hearing, trio.open_nursery() as nursery:
        nursery.start_soon(collect, hearing, events)
        for at in range(0, len(LONG), 6400):
            feed(hearing, LONG[at : at + 6400])
            await trio.sleep(0.15)  # somewhat faster than it was said
        shown = len(events)
        transcript = await hearing.final()
    assert shown >= 2
    assert all(isinstance(event, Interim) for event in events[:shown])
    assert transcript.text.split()[0] == events[0].text.split()[0]  # type: ignore[union-attr]
    assert events[-1] == Final(transcript.text)
    assert sum(isinstance(event, Final) for event in events) == 1


async def test_the_reader_is_let_go_when_the_utterance_is_abandoned() -> None:
    async with recogniser() as stt, trio.open_nursery() as nursery:
        events: list[HearingEvent] = []
        async with stt.open() as hearing:
            nursery.start_soon(collect, hearing, events)
            await trio.sleep(0.05)
        nursery.cancel_scope.deadline = trio.current_time() + 1
    assert not nursery.cancel_scope.cancelled_caught


async def test_words_are_still_shown_after_a_worker_has_died_and_a_failure_is_told() -> None:
    async with recogniser() as stt, stt.open() as hearing:
        seen = hearing.events()
        for _ in range(2):
            feed(hearing, LONG)
            with trio.fail_after(10):
                assert isinstance(await seen.__anext__(), Interim)
            os.kill(stt.workers[0].pid, signal.SIGKILL)
            await trio.sleep(0.1)
        with pytest.raises(Unavailable), trio.fail_after(10):
            await collect(hearing, [])


def desk(*, watched: bool) -> list[wire.FromWorker]:
    """What a worker says to an utterance."""
    said: list[wire.FromWorker] = []
    desk = stt_worker.Desk(QUICK.setup(), said.append)
    desk.take(wire.Open(1))
    if watched:
        desk.take(wire.Watch(1))
    for at in range(0, len(LONG), 3200):
        desk.take(wire.Feed(1, LONG[at : at + 3200]))
        while desk.busy():
            desk.step()
    desk.take(wire.Ask(1, 1, final=True))
    desk.step()
    return [message for message in said if isinstance(message, wire.Glimpse | wire.Answer)]


def test_looking_changes_nothing_and_who_does_not_look_is_shown_nothing() -> None:
    (unwatched,) = desk(watched=False)
    *glimpses, watched = desk(watched=True)
    assert watched == unwatched
    texts = [glimpse.text for glimpse in glimpses if isinstance(glimpse, wire.Glimpse)]
    assert len(texts) == len(glimpses)
    assert 3 <= len(texts) <= len(LONG) / 32_000 / 0.3
    assert all(text and text != before for before, text in zip(["", *texts], texts, strict=False))


def test_there_is_nothing_to_see_before_the_first_second_is_decoded() -> None:
    ears = Ears(Models("phrases"), warmup_s=1.0)
    ears.begin()
    ears.feed(LONG[:16_000])
    assert ears.glimpse() == ""


async def test_who_waits_for_the_recogniser_is_woken_though_the_first_worker_was_too_slow() -> None:
    async with open_recogniser(msgspec.structs.replace(QUICK, start_s=0.01)) as stt, trio.open_nursery() as nursery:
        nursery.start_soon(stt.wait_ready)
        await trio.sleep(0.1)
        stt.settings = QUICK
        nursery.cancel_scope.deadline = trio.current_time() + 15
    assert not nursery.cancel_scope.cancelled_caught
