"""A call outlives its connection: no word is lost, none comes twice, and the iteration just goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
import trio

from aura.client import Call, CallError, ClientSettings, Event, Reconnecting, ReplyAudio, ReplyDone, Resumed, connect
from aura.client.events import Fault, ReplyText
from aura.client.outbox import ANSWER, ITEM, UPDATE
from tests.fake_realtime import RATE_HZ, WORDS, FakeServer, fake_server

FAST = ClientSettings(
    connect_timeout_s=1.0, send_timeout_s=1.0, ack_interval_s=0.05, close_timeout_s=0.5, resume_for_s=3.0,
    back_off_s=(0.05, 0.1, 0.2),
)  # fmt: skip
FRAME = RATE_HZ // 50 * 2


def noise(seconds: float, seed: int = 1, loudness: int = 400) -> bytes:
    """Sound of which no two pieces are alike; as quiet as it is here, nobody hears a word in it."""
    rng = np.random.default_rng(seed)
    return rng.integers(-loudness, loudness, round(RATE_HZ * seconds)).astype("<i2").tobytes()


class Talk:
    """A call with somebody who listens."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.events: list[Event] = []
        self.error: CallError | None = None

    async def listen(self) -> None:
        try:
            async for event in self.call:
                self.events.append(event)
        except CallError as error:
            self.error = error

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, fact: Any, timeout_s: float = 4.0) -> None:
        with trio.fail_after(timeout_s):
            while not fact():  # noqa: ASYNC110
                await trio.sleep(0.01)

    async def speak(self, pcm: bytes) -> None:
        """Four times as fast as a microphone."""
        for begin in range(0, len(pcm), FRAME):
            await self.call.send_audio(pcm[begin : begin + FRAME])
            await trio.sleep(0.005)


@asynccontextmanager
async def talking(server: FakeServer, **options: Any) -> AsyncIterator[Talk]:
    async with fake_server(server) as url:
        chosen = {"settings": FAST, **options}
        async with connect(url, **chosen) as call, trio.open_nursery() as nursery:
            talk = Talk(call)
            nursery.start_soon(talk.listen)
            yield talk
            nursery.cancel_scope.cancel()


TRANSPORTS = [(True, True), (False, True), (True, False), (False, False)]


@pytest.mark.parametrize("binary", [True, False])
async def test_a_cut_in_the_middle_of_a_sentence_loses_and_doubles_no_byte(binary: bool) -> None:
    server, said = FakeServer(), noise(2.0)
    async with talking(server, binary=binary) as talk, trio.open_nursery() as nursery:
        nursery.start_soon(talk.speak, said)
        for _ in range(3):
            await trio.sleep(0.1)
            server.gate.deaf = True  # what is sent from here on gets lost on its way
            await trio.sleep(0.05)
            await server.cut()
            server.gate.deaf = False
            await talk.until(lambda: talk.call.link and talk.call.link.ready)
        await talk.until(lambda: len(server.call.taken) >= len(said))
    assert bytes(server.call.taken) == said
    assert len(server.calls) == 1
    assert len(talk.of(Reconnecting)) == len(talk.of(Resumed)) == 3
    assert all(event.same and 0 < event.gap_s < 1 and event.lost_audio_s == 0 for event in talk.of(Resumed))
    assert all("resume=sess_1" in query for query in server.queries[1:])


async def test_a_server_that_does_not_count_gets_what_was_said_since_the_loss() -> None:
    server, said = FakeServer(), noise(1.0)
    async with talking(server, events=False) as talk:
        await talk.speak(said[:FRAME])
        await talk.until(lambda: len(server.call.taken) == FRAME)
        await server.cut()
        await talk.until(lambda: talk.of(Reconnecting))
        await talk.speak(said[FRAME:])
        await talk.until(lambda: len(server.call.taken) >= len(said))
    assert bytes(server.call.taken) == said


@pytest.mark.parametrize(("binary", "events"), TRANSPORTS)
async def test_a_cut_in_the_middle_of_a_reply_lets_every_sample_sound_once(binary: bool, events: bool) -> None:
    server, heard = FakeServer(), bytearray()
    server.reply_pcm = noise(1.5, loudness=9000)
    async with talking(server, binary=binary, events=events, sink=lambda h: heard.extend(h.pcm)) as talk:
        await talk.call.send_text("hello")
        for _ in range(2):
            before = len(heard)
            await talk.until(lambda before=before: len(heard) > before + RATE_HZ // 2)
            await server.cut()
            await talk.until(lambda: talk.call.link and talk.call.link.ready)
        await talk.until(lambda: len(heard) >= len(server.reply_pcm))
        await trio.sleep(0.3)
    assert bytes(heard) == server.reply_pcm
    texts = talk.of(ReplyText)
    assert [event.anew for event in texts] == [False, True, True]
    assert {event.item_id for event in texts} == {"item_1"}
    played = [query.rpartition("played=item_1:")[2] for query in server.queries[1:]]
    assert 200 < int(played[0]) < int(played[1]) <= 1500
    if events:
        acks = [message["played_ms"] for message in server.received if message["type"] == "aura.playout.ack"]
        assert acks == sorted(acks)
    assert [event.status for event in talk.of(ReplyDone)] == ["completed"]


async def test_what_is_said_and_written_while_nobody_is_there_arrives_in_order_afterwards() -> None:
    server, said = FakeServer(), noise(1.0)
    async with talking(server) as talk:
        await talk.speak(said[: len(said) // 2])
        await talk.until(lambda: len(server.call.taken) == len(said) // 2)
        server.gate.refuse = 503
        await server.cut()
        await talk.until(lambda: talk.of(Reconnecting))
        await talk.speak(said[len(said) // 2 :])
        await talk.call.commit()
        await talk.call.send_text("and this")
        await trio.sleep(0.2)
        server.gate.refuse = 0
        await talk.until(lambda: talk.of(ReplyDone))
    kinds = [message["type"] for message in server.received if not message["type"].startswith("aura.")]
    assert kinds == [UPDATE, "input_audio_buffer.commit", ITEM, ANSWER]
    assert bytes(server.call.taken) == said
    (resumed,) = talk.of(Resumed)
    assert resumed.same
    assert resumed.gap_s > 0.3


async def test_a_message_that_was_lost_on_its_way_is_sent_again_and_one_that_arrived_is_not() -> None:
    server = FakeServer()
    async with talking(server) as talk:
        await talk.call.send_text("one")
        await talk.until(lambda: talk.of(ReplyDone))
        server.gate.deaf = True
        await talk.call.send_text("two")
        await trio.sleep(0.1)
        await server.cut()
        server.gate.deaf = False
        await talk.until(lambda: len(talk.of(ReplyDone)) == 2)
        await server.cut()
        await talk.until(lambda: len(talk.of(Resumed)) == 2)
        await trio.sleep(0.1)
    texts = [m["item"]["content"][0]["text"] for m in server.received if m["type"] == ITEM]
    assert texts == ["one", "two"]
    assert [m["type"] for m in server.received].count(ANSWER) == 2


async def test_a_new_session_is_told_settings_and_history_and_gets_the_sentence_from_its_beginning() -> None:
    server = FakeServer()
    server.silence_s = 0.2
    loud = noise(0.4, seed=2, loudness=9000)
    async with talking(server) as talk:
        await talk.call.update(instructions="be brief")
        await talk.call.send("conversation.item.create", item={
            "type": "message", "role": "system", "content": [{"type": "input_text", "text": "It is Monday."}],
        })  # fmt: skip
        await talk.call.send_text("hello")
        await talk.until(lambda: talk.of(ReplyDone))
        await talk.speak(noise(0.5))
        await talk.speak(loud)
        await talk.until(lambda: server.call.in_turn)
        server.calls.clear()
        server.received.clear()
        for link in [talk.call.link]:
            assert link
            await link.cut()
        await talk.speak(bytes(FRAME) * 30)
        await talk.until(lambda: len(talk.of(ReplyDone)) == 2)
    (resumed,) = talk.of(Resumed)
    assert not resumed.same
    update, *items = server.received[:4]
    assert update["session"]["instructions"] == "be brief"
    assert update["session"]["audio"]["input"]["transcription"]
    assert [(m["item"]["role"], m["item"]["content"][0]["text"]) for m in items] == [
        ("system", "It is Monday."),
        ("user", "hello"),
        ("assistant", WORDS),
    ]
    assert bytes(server.call.taken).startswith(loud[FRAME:])
    assert len(server.call.taken) <= len(loud) + 30 * FRAME


async def test_a_reply_that_ended_meanwhile_is_shown_by_its_item_and_stops_sounding() -> None:
    server = FakeServer()
    server.reply_s = 3.0
    async with talking(server) as talk:
        await talk.call.send_text("hello")
        await talk.until(lambda: len(talk.of(ReplyAudio)) > 8)
        talk.call.playout.hold(trio.current_time())
        await trio.sleep(0.3)
        await server.cut()
        server.call.speaking = None
        server.call.items.append({"id": "item_1", "role": "assistant", "type": "message", "status": "incomplete",
                                  "content": [{"type": "output_audio", "transcript": "One"}]})  # fmt: skip
        await talk.until(lambda: talk.of(Resumed))
        assert talk.call.playout.ends_at <= trio.current_time()
        assert not talk.call.playout.held
        server.calls.clear()
        server.received.clear()
        await talk.call.link.cut()  # type: ignore[union-attr]
        await talk.until(lambda: len(talk.of(Resumed)) == 2)
        await trio.sleep(0.1)
    told = [message["item"] for message in server.received if message["type"] == ITEM]
    assert told[-1]["content"] == [{"type": "output_text", "text": "One"}]


@pytest.mark.parametrize(("refusal", "says"), [(503, "full or shutting down"), (401, "a key is needed")])
async def test_a_call_that_cannot_go_on_ends_in_one_line(refusal: int, says: str) -> None:
    server = FakeServer()
    quick = msgspec.structs.replace(FAST, resume_for_s=0.5)
    async with talking(server, settings=quick) as talk:
        server.gate.refuse = refusal
        await server.cut()
        await talk.until(lambda: talk.error is not None)
        assert says in str(talk.error)
        with pytest.raises(CallError):
            await talk.call.send_audio(b"\0\0")


async def test_a_refusal_in_words_or_the_servers_goodbye_is_the_end() -> None:
    server = FakeServer()
    async with talking(server) as talk:
        server.first = {"type": "error", "error": {"message": "Your session is gone."}}
        await server.cut()
        await talk.until(lambda: talk.error is not None)
        assert "Your session is gone." in str(talk.error)


async def test_with_no_resuming_the_call_ends_with_its_connection() -> None:
    server = FakeServer()
    async with talking(server, settings=msgspec.structs.replace(FAST, resume_for_s=0.0)) as talk:
        await server.cut()
        await talk.until(lambda: talk.call.closed is not None)
    assert talk.call.closed[0] == 1006  # type: ignore[index]
    assert not talk.of(Reconnecting)


async def test_a_network_that_fell_silent_is_noticed() -> None:
    server = FakeServer()
    pinging = msgspec.structs.replace(FAST, ping_interval_s=0.1, ping_timeout_s=0.1)
    async with talking(server, settings=pinging) as talk:
        await trio.sleep(0.5)
        assert not talk.of(Reconnecting)
        talk.call.link.ws._pings = Nothing()  # type: ignore[union-attr]  # no answer ever arrives
        await talk.until(lambda: talk.of(Resumed))


class Nothing(dict[bytes, trio.Event]):
    """Forgets the pings."""

    def __contains__(self, key: object) -> bool:
        return False

    def __setitem__(self, key: bytes, value: trio.Event) -> None:
        pass

    def items(self) -> Any:
        return []


async def test_faults_and_gaps_do_not_come_out_of_a_resumption() -> None:
    server = FakeServer()
    async with talking(server) as talk:
        await talk.speak(noise(0.2))
        await server.cut()
        await talk.until(lambda: talk.of(Resumed))
        await talk.speak(noise(0.2))
    assert not talk.of(Fault)
    assert talk.error is None
