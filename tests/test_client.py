"""The client: what it sends and takes, and a playout that hears like a caller."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.client import CallError, ClientSettings, connect
from aura.client.events import (
    Decoder,
    Flush,
    ItemDone,
    Other,
    ReplyAudio,
    ReplyDone,
    SessionCreated,
    State,
    TurnMetrics,
    UserSaid,
)
from aura.client.link import opted_in
from aura.client.playout import START_DELAY_S, Heard, Playout, voiced
from tests.fake_realtime import RATE_HZ, TONE, FakeServer, fake_server

SECOND = b"\x00\x10" * 24_000
QUICK = ClientSettings(connect_timeout_s=0.5, send_timeout_s=0.5, ack_interval_s=0.05, close_timeout_s=0.5)


def playout() -> tuple[Playout, list[Heard]]:
    heard: list[Heard] = []
    made = Playout(24_000)
    made.sinks.append(heard.append)
    return made, heard


def seconds(heard: list[Heard]) -> float:
    return sum(piece.seconds for piece in heard)


# ---- playout -----------------------------------------------------------------------------------------------------


def test_playing_starts_a_jitter_delay_after_the_first_audio() -> None:
    made, heard = playout()
    made.add(10.0, "a", SECOND)
    made.advance(10.5)
    assert heard[0].at == pytest.approx(10.0 + START_DELAY_S)
    assert seconds(heard) == pytest.approx(0.5 - START_DELAY_S, abs=1e-4)
    assert made.ends_at == pytest.approx(11.0 + START_DELAY_S)


def test_audio_that_comes_in_time_continues_without_a_break() -> None:
    made, heard = playout()
    made.add(0.0, "a", SECOND)
    made.add(0.9, "a", SECOND)
    made.advance(5.0)
    assert seconds(heard) == pytest.approx(2.0)
    assert sum(piece.gap_s for piece in heard) == 0
    assert made.ends_at == pytest.approx(2.0 + START_DELAY_S)


def test_a_buffer_that_runs_dry_inside_an_item_is_a_gap_and_between_items_is_not() -> None:
    made, heard = playout()
    made.add(0.0, "a", SECOND)
    made.add(1.5, "a", SECOND)
    made.add(4.0, "b", SECOND)
    made.advance(9.0)
    gaps = [piece.gap_s for piece in heard if piece.gap_s]
    assert gaps == [pytest.approx(0.5)]


def test_hold_keeps_the_rest_and_resume_plays_it() -> None:
    made, heard = playout()
    made.add(0.0, "a", SECOND)
    made.hold(0.56)
    made.advance(3.0)
    assert seconds(heard) == pytest.approx(0.5, abs=1e-3)
    assert made.ends_at == math.inf
    made.resume(3.0)
    made.advance(5.0)
    assert seconds(heard) == pytest.approx(1.0, abs=1e-3)
    assert heard[-1].at + heard[-1].seconds == pytest.approx(3.5, abs=1e-3)
    assert not any(piece.gap_s for piece in heard)


def test_flush_drops_the_rest_even_while_held() -> None:
    made, heard = playout()
    made.add(0.0, "a", SECOND)
    made.hold(0.56)
    made.flush(1.0)
    made.add(2.0, "b", SECOND)
    made.advance(9.0)
    assert {piece.item_id: round(seconds([p for p in heard if p.item_id == piece.item_id]), 2) for piece in heard} == {
        "a": 0.5,
        "b": 1.0,
    }
    assert made.played_ms() == {"a": pytest.approx(500, abs=1), "b": 1000}


@given(st.lists(st.tuples(st.sampled_from("ahrf"), st.floats(0, 0.3), st.integers(0, 5000)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_nothing_is_played_twice_or_too_early(steps: list[tuple[str, float, int]]) -> None:
    made, heard = playout()
    now, added = 0.0, b""
    for step, wait, samples in steps:
        now += wait
        match step:
            case "a":
                pcm = bytes(range(256)) * (samples // 128)
                added += pcm
                made.add(now, "i", pcm)
            case "h":
                made.hold(now)
            case "r":
                made.resume(now)
            case "f":
                made.flush(now)
        assert all(piece.at + piece.seconds <= now + 1e-3 for piece in heard)
    made.resume(now)
    made.advance(now + 60)
    ends = [piece.at + piece.seconds for piece in heard]
    assert all(after.at >= end - 1e-6 for after, end in zip(heard[1:], ends, strict=False))
    played = b"".join(piece.pcm for piece in heard)
    assert len(played) <= len(added)
    if "f" not in [step for step, _, _ in steps]:
        assert played == added


# ---- the protocol ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "binary", "events", "expected"),
    [
        ("ws://h/v1/realtime", True, True, "ws://h/v1/realtime?aura=binary,events"),
        ("ws://h/v1/realtime?model=m", False, True, "ws://h/v1/realtime?model=m&aura=events"),
        ("ws://h/v1/realtime?aura=x&model=a%20b", True, False, "ws://h/v1/realtime?model=a%20b&aura=binary"),
        ("ws://h/v1/realtime?model=m", False, False, "ws://h/v1/realtime?model=m"),
    ],
)
def test_the_opt_in_is_part_of_the_address(url: str, binary: bool, events: bool, expected: str) -> None:
    assert opted_in(url, binary=binary, events=events) == expected


def test_events_are_typed_and_unknown_ones_survive() -> None:
    decode = Decoder(voiced).decode
    assert decode('{"type":"response.output_audio.delta","item_id":"i","delta":""}', 1.0) is None
    assert decode(TONE, 2.0) == ReplyAudio(at=2.0, item_id="i", pcm=TONE, voiced=True)
    assert decode('{"type":"response.output_audio.delta","item_id":"j","delta":"AAAA"}', 3.0) == ReplyAudio(
        at=3.0, item_id="j", pcm=b"\0\0\0", voiced=False
    )
    state = decode('{"type":"aura.state","event_id":"e","was":"idle","now":"listening","cause":"x"}', 4.0)
    assert isinstance(state, State)
    assert (state.at, state.was, state.now) == (4.0, "idle", "listening")
    assert decode('{"type":"brand.new","x":[1]}', 5.0) == Other(
        at=5.0, type="brand.new", data={"type": "brand.new", "x": [1]}
    )
    metrics = decode('{"type":"aura.turn.metrics","turn":1,"metrics":{"ms":{"stt":3,"llm":null}}}', 0.0)
    assert isinstance(metrics, TurnMetrics)
    assert metrics.stages == {"stt": 3.0}


async def test_a_turn_over_the_binary_transport_brings_words_states_and_sound() -> None:
    server, kinds, audio = FakeServer(), set(), 0
    async with fake_server(server) as url, connect(url, settings=QUICK) as call:
        with trio.fail_after(3):
            await call.send_text("hello")
            async for event in call:
                kinds.add(type(event))
                if isinstance(event, ReplyAudio):
                    audio += len(event.pcm)
                if isinstance(event, ReplyDone):
                    break
            await trio.sleep(0.2)
    assert {SessionCreated, State, TurnMetrics, ReplyAudio, ReplyDone} <= kinds
    assert audio == len(TONE) * 10
    assert server.queries == ["aura=binary,events"]
    assert call.session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": RATE_HZ}
    acks = [message for message in server.received if message["type"] == "aura.playout.ack"]
    assert acks[-1]["item_id"] == "item_1"
    assert 300 <= acks[-1]["played_ms"] <= 400
    assert [ack["played_ms"] for ack in acks] == sorted(ack["played_ms"] for ack in acks)
    update = server.received[0]
    assert update["session"]["audio"]["input"]["transcription"]


async def test_a_stock_server_gets_no_word_of_aura_and_speech_empties_the_buffer() -> None:
    server = FakeServer()
    server.reply_s = 2.0
    loud = TONE[: RATE_HZ // 50 * 2]
    async with fake_server(server) as url, connect(url, binary=False, events=False, settings=QUICK) as call:
        with trio.fail_after(3):
            await call.send_text("hello")
            async for event in call:
                if isinstance(event, ReplyAudio):
                    await call.send_audio(loud)
                if isinstance(event, ReplyDone):
                    break
        assert call.playout.ends_at <= trio.current_time()
    assert server.queries == [""]
    assert not [message for message in server.received if message["type"].startswith("aura.")]


async def test_cancel_silences_both_ends_and_an_item_can_be_asked_for() -> None:
    server = FakeServer()
    async with fake_server(server) as url, connect(url, settings=QUICK) as call:
        with trio.fail_after(3):
            await call.send_text("hello")
            async for event in call:
                if isinstance(event, ReplyAudio) and not call.playout.held:
                    await call.cancel()
                if isinstance(event, Flush):
                    await call.ask_for_item("item_1")
                if isinstance(event, ItemDone) and event.item["id"] == "item_1":
                    break
    assert event.text == "so"


async def test_commit_and_update_are_plain_protocol() -> None:
    server = FakeServer()
    async with fake_server(server) as url, connect(url, transcribe=False, settings=QUICK) as call:
        await call.update(instructions="be brief")
        await call.commit()
        await trio.sleep(0.05)
    assert server.received == [
        {"type": "session.update", "session": {"type": "realtime", "instructions": "be brief"}},
        {"type": "input_audio_buffer.commit"},
    ]


async def test_the_iterator_ends_with_the_call_and_sending_then_says_why() -> None:
    server = FakeServer()
    server.close_after_s = 0.05
    async with fake_server(server) as url, connect(url, settings=QUICK) as call:
        with trio.fail_after(2):
            _ = [event async for event in call]
        assert call.closed == (1001, "going away")
        with pytest.raises(CallError, match=r"ended the call \(code 1001: going away\)"):
            await call.send_audio(b"\0\0")


# ---- what can go wrong at the start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ws://127.0.0.1:1/v1/realtime", "no AURA at ws://127.0.0.1:1/v1/realtime: start one with `aura serve`"),
        ("http://127.0.0.1/", "not the address of a server"),
        ("nonsense", "not the address of a server"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_one_line(url: str, says: str) -> None:
    with pytest.raises(CallError) as caught:
        async with connect(url, settings=QUICK):
            pass
    assert says in str(caught.value)


async def test_a_refusal_in_the_first_event_is_shown() -> None:
    server = FakeServer()
    server.first = {"type": "error", "error": {"code": "invalid_api_key", "message": "Incorrect API key."}}
    async with fake_server(server) as url:
        with pytest.raises(CallError, match=r"refuses the call: Incorrect API key\."):
            async with connect(url, settings=QUICK):
                pass


async def test_a_server_that_says_nothing_is_given_up() -> None:
    server = FakeServer()
    server.first = None
    async with fake_server(server) as url:
        with pytest.raises(CallError, match="says nothing"):
            async with connect(url, settings=QUICK):
                pass


async def test_an_error_of_the_caller_comes_out_as_it_is() -> None:
    async with fake_server(FakeServer()) as url:
        with pytest.raises(KeyError):
            async with connect(url, settings=QUICK):
                raise KeyError("mine")


async def test_words_of_the_user_arrive_after_silence() -> None:
    server = FakeServer()
    server.answers = False
    async with fake_server(server) as url, connect(url, settings=QUICK) as call:
        with trio.fail_after(3):
            for frame in (TONE, *[b"\0" * 960] * 10):
                await call.send_audio(frame)
            async for event in call:
                if isinstance(event, UserSaid):
                    break
    assert event.transcript == "fifty plus fifty"
