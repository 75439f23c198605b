"""One conversation with a server of the Realtime protocol, over as many connections as it takes."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import msgspec
import trio

from aura.client.events import (
    Event,
    Fault,
    Flush,
    Hold,
    ItemDone,
    Reconnecting,
    ReplyAudio,
    ReplyCreated,
    ReplyText,
    Resume,
    Resumed,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
)
from aura.client.link import LOST, Address, Link, LinkLost, Observer, Refused, dial
from aura.client.outbox import ANSWER, ITEM, UPDATE, CallError
from aura.client.sender import Sender, format_of, rate_of, shown
from aura.client.settings import ClientSettings

STABLE_S: Final = 5.0
"""A connection that lived so long makes the next back-off begin anew."""


class Lost(msgspec.Struct):
    """A connection that is gone and is being made again."""

    at: float
    why: str
    tries: int = 0


class Call(Sender):
    """One conversation. Made by `connect`."""

    def __init__(self, address: Address, settings: ClientSettings, nursery: trio.Nursery) -> None:
        super().__init__(address, settings)
        self._nursery = nursery
        self._early: deque[Event] = deque()
        self._lost: Lost | None = None
        self.tick_s = settings.ack_interval_s
        """How often the playout is brought up to date when nothing arrives; a loudspeaker wants it often."""

    # ---- receiving -----------------------------------------------------------------------------------------------

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> Event:
        while not self._early:
            if self._lost is not None:
                await self._reconnect(self._lost)
                continue
            if self.closed is not None or self.link is None:
                raise StopAsyncIteration
            try:
                event = await self._next(self.link)
            except LinkLost:
                self._lose(self.link)
                continue
            if event is not None:
                return event
        return self._early.popleft()

    async def _next(self, link: Link) -> Event | None:
        """The next event of a connection. Raises `LinkLost`, `CallError`."""
        raw = await link.receive()
        try:
            event = link.decoder.decode(raw, trio.current_time())
        except ValueError as error:
            raise CallError(f"this is not a Realtime server: it sent what is no event ({error})") from None
        if event is None:
            return None
        if isinstance(event, ReplyText) and event.item_id in link.again.texts:
            link.again.texts.discard(event.item_id)
            event = msgspec.structs.replace(event, anew=True)
        self._obey(event, link)
        self._note(event)
        if self._address.events and isinstance(event, (Hold, Flush)):
            await self.acknowledge()
        return event

    def _obey(self, event: Event, link: Link) -> None:
        """Let the playout follow."""
        match event:
            case ReplyAudio():
                asked = link.again.asked
                if link.again.audio and asked and asked[0] == event.item_id:  # it is not announced to stock clients
                    self._refill(event.at, *asked)
                link.again.audio = False
                self.playout.add(event.at, event.item_id, event.pcm)
            case Hold():
                self.playout.hold(event.at)
            case Resume() if link.again.audio:
                self._refill(event.at, event.item_id, event.from_ms)
                link.again.audio = False
            case Resume():
                self.playout.resume(event.at)
            case Flush():
                self.playout.flush(event.at)
            case SpeechStarted() if not self._address.events:
                self.playout.flush(event.at)
            case _:
                pass

    def _refill(self, at: float, item_id: str, from_ms: int) -> None:
        self.playout.refill(at, item_id, from_ms)
        self._story.rewound(item_id, from_ms)

    def _note(self, event: Event) -> None:
        """Remember what matters should the connection be lost."""
        match event:
            case SessionCreated():
                if self.session and format_of(event.session) != format_of(self.session):
                    self._outbox.format_taken()
                self.session = event.session
                self.playout.rate_hz = rate_of(self.session, "output")
                if self._settings.resume_for_s > 0:
                    self._outbox.keep_bytes = 2 * round(self.rate_in_hz * self._settings.keep_audio_s)
                if isinstance(event, SessionUpdated):
                    self._outbox.confirmed(UPDATE)
            case ItemDone():
                self._outbox.confirmed(ITEM, str(event.item.get("id", "")))
            case ReplyCreated():
                self._outbox.confirmed(ANSWER)
            case _:
                pass
        self._story.take(event, self.playout.rate_hz)

    # ---- a connection's beginning and end ------------------------------------------------------------------------

    async def start(self) -> None:
        """Make the first connection."""
        link = await self._dial({})
        self._early.append(await self._greeting(link))
        self.link, link.ready = link, True

    async def _dial(self, query: dict[str, str]) -> Link:
        played: tuple[str, int] | None = None

        def at_last() -> dict[str, str]:
            nonlocal played
            self.playout.advance(trio.current_time())
            played = self.playout.position() if query else None
            return {**query, "played": f"{played[0]}:{played[1]}"} if played else query

        link: Link = await self._nursery.start(dial, self._address, at_last, self._settings)
        link.again.asked = played
        return link

    async def _greeting(self, link: Link) -> SessionCreated:
        """The first event, which must describe the session."""
        event: Event | None = None
        with trio.move_on_after(self._settings.connect_timeout_s) as waiting, contextlib.suppress(LinkLost):
            while event is None:
                event = await self._next(link)
        if waiting.cancelled_caught:
            await link.cut()
            raise CallError(f"{self._address.url} takes the call but says nothing: this is not a Realtime server")
        if isinstance(event, Fault):
            passing = event.error.get("type") in ("rate_limit_error", "server_error")
            raise (CallError if passing else Refused)(f"the server refuses the call: {event.message}")
        if not isinstance(event, SessionCreated):
            raise CallError(f"the server ended the call at once{shown(link.closed)}")
        return event

    def _lose(self, link: Link) -> None:
        """The connection is gone."""
        link.ready = False
        if not self._is_over(link):
            code, reason = link.closed or (LOST, "")
            now = trio.current_time()
            tries = 0 if now - link.since > STABLE_S else link.tries
            self._lost = Lost(now, f"it was lost with code {code}", tries)
            self._early.append(Reconnecting(at=now, code=code, reason=reason))

    async def _reconnect(self, lost: Lost) -> None:
        """Dial until the call goes on. Raises `CallError` when that fails."""
        settings = self._settings
        give_up_at = lost.at + settings.resume_for_s
        while True:
            back_off = settings.back_off_s[min(lost.tries, len(settings.back_off_s) - 1)]
            jitter = Random(f"{self.session.get('id')}/{lost.tries}").uniform(0.75, 1.25)  # no two clients alike
            await trio.sleep_until(min(trio.current_time() + back_off * jitter, give_up_at))
            if trio.current_time() >= give_up_at:
                self._lost, self.closed = None, (LOST, lost.why)
                raise CallError(f"the connection is lost and could not be made again: {lost.why}")
            lost.tries += 1
            try:
                with trio.move_on_at(give_up_at):
                    return await self._try(lost)
            except Refused as error:
                self._lost, self.closed = None, (LOST, str(error))
                raise
            except (CallError, LinkLost) as error:
                lost.why = str(error) or lost.why

    async def _try(self, lost: Lost) -> None:
        link = await self._dial({"resume": str(self.session.get("id", ""))})
        try:
            await self._go_on(link, lost)
        except BaseException:
            await link.cut()
            raise

    async def _go_on(self, link: Link, lost: Lost) -> None:
        """Continue over a new connection."""
        before, rate_hz, resumed = self.session.get("id"), self.rate_in_hz, Resumed()
        events: list[Event] = [await self._greeting(link)]
        same = self.session.get("id") == before
        if same:
            link.again.audio, link.again.texts = True, self._story.replies()
            if self._address.events:
                resumed = await self._told(link, events)
            items = {str(item.get("id")): str(item.get("status")) for item in resumed.items}
            gone = self._outbox.taken(resumed.input_bytes, items.__contains__)
            self._reconcile(items)
        else:
            await self._retell(link)
            start_ms = self._story.unanswered_ms
            gone = self._outbox.anew(None if start_ms is None else start_ms * rate_hz // 1000 * 2)
        now = trio.current_time()
        self._lost, self.link, link.ready, link.since, link.tries = None, link, True, now, lost.tries
        self._nursery.start_soon(self._catch_up, link)
        told = {"at": now, "same": same, "gap_s": now - lost.at, "lost_audio_s": gone / 2 / rate_hz}
        self._early += [*events, msgspec.structs.replace(resumed, **told)]

    async def _told(self, link: Link, events: list[Event]) -> Resumed:
        """What the server says of the resumption; what came before it is put to the events."""
        with trio.move_on_after(self._settings.connect_timeout_s):
            while True:
                event = await self._next(link)
                if isinstance(event, Resumed):
                    return event
                events += [event] if event else []
        raise CallError("the server does not say where to go on")

    def _reconcile(self, items: dict[str, str]) -> None:
        """What became of the reply that is being played, while there was no connection."""
        now, playing = trio.current_time(), self.playout.position()
        status = items.get(playing[0]) if playing else None
        if status == "incomplete":
            self.playout.flush(now)
        elif status == "completed":
            self.playout.resume(now)

    async def _retell(self, link: Link) -> None:
        """Tell a new session what the old one knew."""
        now, playing = trio.current_time(), self.playout.position()
        if playing:
            self._story.cut(*playing)
        self.playout.flush(now)
        messages = [{"type": UPDATE, "session": self._story.settings}] if self._story.settings else []
        messages += [{"type": ITEM, "item": item} for item in self._story.items()]
        try:
            with trio.fail_after(self._settings.send_timeout_s):
                for message in messages:
                    await link.send(msgspec.json.encode(message).decode())
        except trio.TooSlowError:
            raise CallError("the server does not take what it must be told") from None

    # ---- tasks ---------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Keep the playout going and tell AURA what has been heard; ends with the call."""
        next_ack = trio.current_time()
        while self.closed is None:
            await trio.sleep(self.tick_s)
            now = trio.current_time()
            self.playout.advance(now)
            if self._address.events and now >= next_ack:
                next_ack = now + self._settings.ack_interval_s
                await self.acknowledge()

    async def acknowledge(self) -> None:
        """Tell AURA how much of which item has been played, where that changed."""
        link, played = self.link, self.playout.played_ms()
        if link is None or not link.ready:
            return
        changed = {item: ms for item, ms in played.items() if item and link.acked.get(item) != ms}
        link.acked = played
        with contextlib.suppress(LinkLost), trio.move_on_after(self._settings.send_timeout_s):
            for item, ms in changed.items():
                text = msgspec.json.encode({"type": "aura.playout.ack", "item_id": item, "played_ms": ms})
                await link.send(text.decode())
        if len(played) > 1:
            self.playout.forget_all_but(next(reversed(played)))

    async def watch(self) -> None:
        """Notice a connection that is gone without a word: a network that changed says nothing."""
        settings = self._settings
        while self.closed is None and settings.ping_interval_s > 0:
            link, before = self.link, self.link.received if self.link else 0
            await trio.sleep(settings.ping_interval_s)
            silent = link is not None and link is self.link and link.ready and link.received == before
            if silent and link and link.waiting and not await link.alive(settings.ping_timeout_s):
                await link.cut()


@asynccontextmanager
async def connect(
    url: str,
    *,
    binary: bool = True,
    events: bool = True,
    transcribe: bool = True,
    token: str = "",
    settings: ClientSettings = ClientSettings(),  # noqa: B008  (frozen)
    sink: Callable[[Any], None] | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[Call]:
    """Call a server; the call ends with the block.

    `binary` and `events` opt in to AURA's additions (other servers need both off), `transcribe` asks for the user's
    words, `token` is sent as a Bearer key, `sink` gets every `Heard`, `observer` every raw message. Raises `CallError`.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        call = Call(Address(url, token, binary, events, observer), settings, nursery)
        call.playout.sinks += [sink] if sink else []
        try:
            await call.start()
            if transcribe:
                await call.update(audio={"input": {"transcription": {"model": "aura"}}})
            nursery.start_soon(call.play)
            nursery.start_soon(call.watch)
            yield call
        except Exception as error:  # raised again below, where no nursery wraps it
            failure = error
        finally:
            if call.link is not None:
                await call.link.hang_up(settings.close_timeout_s)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
