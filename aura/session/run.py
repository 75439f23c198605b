"""Runs a conversation's tasks in one nursery until either side ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import trio

from aura.core import events as ev
from aura.core.errors import ProtocolFault
from aura.core.wire.realtime import Frame
from aura.session.client import Last, Outgoing, Switch
from aura.session.desk import TOO_MANY_FAULTS, Desk
from aura.session.idle import IdleWatch
from aura.session.line import Ended, Interrupted, Line
from aura.session.session import Session
from aura.stages.intake import intake
from aura.stages.listen import listen

BATCH = 16
"""Messages that go out in one write at most."""
SLOW = "the client does not read"
EXPIRED = "Your session hit the maximum duration of {:g} minutes."
"""The wording of the real service, for 60 (realtime-protocol.md 1.7 N)."""


def close_code(why: str) -> int:
    """The WebSocket close code for the reason for which a conversation ended on our side."""
    if why in (SLOW, TOO_MANY_FAULTS):
        return 1008
    if why.startswith(EXPIRED[:20]):
        return 1001
    return 1011 if why.startswith("bug") else 1000


async def converse(
    session: Session,
    desk: Desk,
    line: Line,
    mic: trio.MemoryReceiveChannel[bytes],
    out: trio.MemoryReceiveChannel[Outgoing],
    greeting: str = "",
    warm_up: Sequence[Callable[[], Awaitable[None]]] = (),
) -> str:
    """Hold the conversation; returns why it ended. Whatever happens, its tasks and pipes are gone afterwards.

    `warm_up` runs beside it at the beginning: engines get their connections ready.
    """
    idle = IdleWatch(session)
    session.taps.append(idle.note)

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
            spawn(until_ended, write, out, line, session.client.room.unpark_all)
            spawn(until_ended, intake, line.receive, desk.take, desk.catch_up)
            spawn(listen, mic, session.listener)
            spawn(watch, session, idle)
            spawn(slow)
            spawn(farewell, session)
            spawn(expire, session)
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
    return session.client.last.why


async def watch(session: Session, idle: IdleWatch) -> None:
    """The wall clock beside the microphone's: a client may stop sending, and a user may have nothing to say."""
    while True:
        await trio.sleep(session.listener.settings.gap_s / 2)
        session.listener.missing()
        idle.check()


async def expire(session: Session) -> None:
    """No conversation goes on for ever."""
    limit_s = session.settings.max_s
    await trio.sleep(limit_s or float("inf"))
    text = EXPIRED.format(limit_s / 60)
    session.client.fault(ProtocolFault("session_expired", text))
    session.client.leave(text)


async def farewell(session: Session) -> None:
    """End the conversation once the client's last messages have left."""
    client = session.client
    await client.last.queued.wait()
    with trio.move_on_after(session.settings.farewell_s):
        await client.last.left.wait()
    session.tell(ev.SessionClosing(client.last.why))


async def write(out: trio.MemoryReceiveChannel[Outgoing], line: Line, room: Callable[[], object]) -> None:
    """Send what is queued, several messages in one go when they wait; `room` learns that the queue is shorter.

    While the client's connection is lost what comes is thrown away: a client that returns is told anew.
    """
    lost = False
    async for first in out:
        batch, mark = gather(first, out)
        room()
        if batch and not lost:
            try:
                await line.send(*batch)
            except Interrupted:
                lost = True
        if isinstance(mark, Switch):
            line.switch()
            lost = False
        elif isinstance(mark, Last):
            mark.left.set()


def gather(first: Outgoing, out: trio.MemoryReceiveChannel[Outgoing]) -> tuple[list[Frame], Switch | Last | None]:
    """The frames that wait, and the mark that they end with, if there is one."""
    batch: list[Frame] = []
    item = first
    while not isinstance(item, Switch | Last):
        batch.append(item)
        if len(batch) == BATCH:
            return batch, None
        try:
            item = out.receive_nowait()
        except trio.WouldBlock:
            return batch, None
    return batch, item
