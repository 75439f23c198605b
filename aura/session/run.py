"""Runs a conversation's tasks in one nursery until either side ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from aura.core import events as ev
from aura.core.wire.realtime import Frame
from aura.session.desk import Desk
from aura.session.line import Ended, Line
from aura.session.session import Session
from aura.stages.intake import intake
from aura.stages.listen import listen, watch

BATCH = 16
"""Messages that go out in one write at most."""


async def converse(
    session: Session,
    desk: Desk,
    line: Line,
    mic: trio.MemoryReceiveChannel[bytes],
    out: trio.MemoryReceiveChannel[Frame],
    greeting: str = "",
    warm_up: Sequence[Callable[[], Awaitable[None]]] = (),
) -> str:
    """Hold the conversation; returns why it ended. Whatever happens, its tasks and pipes are gone afterwards.

    `warm_up` runs beside it at the beginning: engines get their connections ready.
    """

    async def until_ended(run: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await run(*args)
        except Ended as end:
            session.tell(ev.SessionClosing(str(end)))

    async def slow() -> None:
        await session.client.overflow.wait()
        session.tell(ev.SessionClosing(SLOW))

    try:
        async with trio.open_nursery() as nursery:
            session.nursery = nursery
            spawn = partial(session.steps.spawn, nursery)
            spawn(until_ended, write, out, line)
            spawn(until_ended, intake, line.receive, desk.take, desk.catch_up)
            spawn(listen, mic, session.listener)
            spawn(watch, session.listener)
            spawn(slow)
            for warm in warm_up:
                nursery.start_soon(warm)
            session.client.post(session.client.view.hello())
            if greeting:
                session.tell(ev.SayRequested(greeting))
    finally:
        if not session.conversation.closed:  # a crash, or the whole process ends: the journal says so
            session.tell(ev.SessionClosing("cut short"))
        session.conversation.release()
        for end in (desk.mic, session.client.out, mic, out):
            end.close()
    return session.client.why_closed


SLOW = "the client does not read"


async def write(out: trio.MemoryReceiveChannel[Frame], line: Line) -> None:
    """Send what is queued, several messages in one go when they wait."""
    async for frame in out:
        batch = [frame]
        try:
            while len(batch) < BATCH:
                batch.append(out.receive_nowait())
        except trio.WouldBlock:
            pass
        await line.send(*batch)
