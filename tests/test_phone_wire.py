"""The phone vendors' protocols: their messages in, ours out, and what is made of audio and keys in between."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.audio import AudioFormat
from aura.core.phone_call import FILL_MAX_MS, MARKS_MAX, RESTART_AFTER, WINDOW, Keys, Playback, Sorter
from aura.core.wire import phone
from aura.core.wire.phone import Media, Started
from aura.core.wire.plivo import Plivo
from aura.core.wire.telnyx import Telnyx
from aura.core.wire.twilio import Twilio
from tests.phones.samples import AUDIO, FACTS, RAW, SAID, STARTS

CODECS = {"twilio": Twilio, "telnyx": Telnyx, "plivo": Plivo}
ULAW, ALAW, WIDE = AudioFormat("pcmu", 8_000), AudioFormat("pcma", 8_000), AudioFormat("pcm16", 16_000)


@pytest.mark.parametrize(("vendor", "message", "fact"), FACTS)
def test_what_a_message_says(vendor, message, fact):
    assert CODECS[vendor]().read(json.dumps(message)) == fact


@pytest.mark.parametrize("vendor", CODECS)
def test_the_verbs_have_exactly_the_fields_of_the_protocol_and_say_nothing_before_the_start(vendor):
    codec = CODECS[vendor]()
    verbs = (lambda: codec.play(RAW), lambda: codec.checkpoint("m"), codec.flush)
    assert [verb() for verb in verbs] == [[], [], []]
    codec.read(json.dumps(STARTS[vendor]))
    assert [json.loads(message) for verb in verbs for message in verb()] == list(SAID[vendor])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(AUDIO),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("event", "start", "media", "dtmf", "mark", "stop", "name", "payload", "extra_headers", "stream_id", "track")
EVENTS = st.sampled_from(["start", "media", "dtmf", "mark", "stop", "playedStream", "error", "connected", "x"])


@settings(deadline=None)  # the machine is shared
@given(
    st.sampled_from(sorted(CODECS)),
    st.text(max_size=40)
    | st.binary(max_size=40)
    | st.fixed_dictionaries({"event": EVENTS | json_values}, optional=dict.fromkeys(KEYS[1:], json_values)).map(
        json.dumps
    ),
)
def test_nothing_that_a_vendor_could_send_raises(vendor, raw):
    fact = CODECS[vendor]().read(raw)
    assert isinstance(fact, phone.Fact)


@pytest.mark.parametrize(
    ("encoding", "rate", "fmt"),
    [
        ("audio/x-mulaw", 8000, ULAW),
        ("PCMU", 8000, ULAW),
        ("PCMA", 8000, ALAW),
        ("audio/x-alaw", 8000, ALAW),
        ("L16", 16000, WIDE),
        ("audio/x-l16", 8000, AudioFormat("pcm16", 8000)),
        ("audio/x-l16;rate=16000", 16000, WIDE),
        ("PCMU", 16000, None),
        ("L16", 96000, None),
        ("G722", 8000, None),
        ("OPUS", 16000, None),
        ("AMR-WB", 16000, None),
        ("", 0, None),
    ],
)
def test_formats_that_are_read(encoding, rate, fmt):
    assert phone.audio_format(encoding, rate) == fmt
    assert Started("s", "c", encoding, rate, channels=2).audio() is None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("a=1,b=two words", {"a": "1", "b": "two words"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("{a: 1, X-PH-b: 2}", {"a": "1", "b": "2"}),
        ('{"X-PH-a": "1"}', {"a": "1"}),
        ("{}", {}),
        ("", {}),
        ("junk", {}),
        ([{"name": "a", "value": 1}, {"value": 2}, 3], {"a": "1"}),
        ({"a": "1", "b": [2]}, {"a": "1"}),
        (None, {}),
        (7, {}),
    ],
)
def test_parameters_in_every_shape(given, found):
    assert phone.parameters(given) == found


# ---- the caller's audio in its order


def chunks(count: int, fmt: AudioFormat = ULAW, start: int = 1) -> list[Media]:
    """Chunks of 20 ms, each of them of one value."""
    size = fmt.bytes_for(20)
    return [Media(bytes([n % 200 + 1]) * size, n + start, n * 20) for n in range(count)]


def test_audio_in_order_is_never_held_back():
    sorter = Sorter(ULAW)
    for chunk in chunks(50):
        assert sorter.push(chunk) == chunk.payload
    assert (sorter.late, sorter.lost, sorter.flush()) == (0, 0, b"")


@settings(deadline=None)  # the machine is shared
@given(st.data())
def test_disorder_within_the_window_and_doubles_are_put_right(data):
    sent = chunks(40)
    shuffled: list[Media] = []
    for begin in range(0, 40, WINDOW - 1):
        shuffled += data.draw(st.permutations(sent[begin : begin + WINDOW - 1]))
    doubled = [chunk for chunk in shuffled for _ in range(data.draw(st.integers(1, 2)))]
    sorter = Sorter(ULAW)
    heard = b"".join(map(sorter.push, doubled)) + sorter.flush()
    assert heard == b"".join(chunk.payload for chunk in sent)
    assert (sorter.late, sorter.lost) == (len(doubled) - 40, 0)


@settings(deadline=None)  # the machine is shared
@given(st.lists(st.integers(2, 38), max_size=20, unique=True), st.sampled_from([ULAW, ALAW, WIDE]))
def test_what_is_lost_becomes_silence_of_its_length(lost, fmt):
    sorter = Sorter(fmt)
    sent = chunks(40, fmt)
    kept = [chunk for chunk in sent if chunk.chunk not in lost]
    heard = b"".join(map(sorter.push, kept)) + sorter.flush()
    quiet = phone.silence(fmt, 20)
    assert heard == b"".join(quiet if chunk.chunk in lost else chunk.payload for chunk in sent)
    assert sorter.lost == len(lost)


def test_a_pause_of_the_sender_is_as_long_as_its_time_stamps_say():
    sorter = Sorter(ULAW)
    sorter.push(Media(b"\x01" * 160, 1, 0))
    assert sorter.push(Media(b"\x02" * 160, 2, 520)) == b"\xff" * 500 * 8 + b"\x02" * 160
    assert sorter.push(Media(b"\x03" * 160, 3, 575)) == b"\x03" * 160  # jitter
    after_hold = sorter.push(Media(b"\x04" * 160, 4, 600_000))
    assert len(after_hold) == FILL_MAX_MS * 8 + 160
    assert sorter.push(Media(b"\x05" * 160, 5, 600_020)) == b"\x05" * 160


def test_without_numbers_audio_is_taken_as_it_comes():
    sorter = Sorter(ULAW)
    assert [sorter.push(Media(b"a" * 160)), sorter.push(Media(b"b" * 160))] == [b"a" * 160, b"b" * 160]


def test_a_sender_that_counts_anew_is_heard_again():
    sorter = Sorter(ULAW)
    for chunk in chunks(200):
        sorter.push(chunk)
    again = [sorter.push(Media(b"x" * 160, n, 4000 + n * 20)) for n in range(1, 100)]
    assert not any(again[: RESTART_AFTER - 1])
    assert all(again[RESTART_AFTER - 1 :])


# ---- what was played


def started(vendor: str = "twilio") -> Any:
    codec = CODECS[vendor]()
    codec.read(json.dumps(STARTS[vendor]))
    return codec


def names(messages: list[str]) -> list[str]:
    found = [json.loads(message) for message in messages]
    return [message["mark"]["name"] for message in found if message["event"] == "mark"]


def test_checkpoints_follow_every_half_second_and_tell_how_far_the_item_was_heard():
    playback = Playback(started(), ULAW, 500)
    marks = [name for _ in range(20) for name in names(playback.audio("item", b"\x00" * 480))]
    assert len(marks) == 2
    assert playback.played(marks[0]) == ("item", 540)
    assert not playback.silent
    assert playback.played(marks[1]) == ("item", 1080)
    (last,) = names(playback.mark())
    assert playback.played(last) == ("item", 1200)
    assert playback.silent
    assert playback.mark() == playback.flush() == []


def test_checkpoints_that_come_back_because_of_a_flush_count_for_nothing():
    playback = Playback(started(), ULAW, 20)
    (first,), (second,) = (names(playback.audio("item", b"\x00" * 480)) for _ in range(2))
    assert playback.played(first) == ("item", 60)
    assert [json.loads(message)["event"] for message in playback.flush()] == ["clear"]
    assert playback.played(second) is None
    assert playback.silent
    (third,) = names(playback.audio("next", b"\x00" * 480))
    assert third not in (first, second)
    assert playback.played(third) == ("next", 60)


def test_a_checkpoint_stands_for_those_before_it_that_got_lost():
    playback = Playback(started(), ULAW, 20)
    marks = [names(playback.audio("item", b"\x00" * 480))[0] for _ in range(3)]
    assert playback.played(marks[2]) == ("item", 180)
    assert playback.silent


def test_a_vendor_that_never_answers_costs_no_memory():
    playback = Playback(started(), ULAW, 20)
    for _ in range(MARKS_MAX + 10):
        playback.audio("item", b"\x00" * 160)
    assert len(playback._marks) == MARKS_MAX


@pytest.mark.parametrize("fmt", [ULAW, ALAW, WIDE])
@settings(deadline=None)  # the machine is shared
@given(size=st.integers(1, 5_000))
def test_the_phone_gets_whole_packets_and_positions_count_the_reply_only(fmt, size):
    playback = Playback(started("telnyx"), fmt, 20)
    payload = b"\x11" * (size * fmt.sample_bytes)
    message, mark = (playback.audio("item", payload) + playback.mark())[:2]
    sent = base64.b64decode(json.loads(message)["media"]["payload"])
    assert len(sent) % fmt.bytes_for(20) == 0
    assert sent.startswith(payload)
    assert set(sent[len(payload) :]) <= set(phone.silence(fmt, 20))
    assert playback.played(json.loads(mark)["mark"]["name"]) == ("item", round(fmt.seconds_in(len(payload)) * 1000))


# ---- keys


@pytest.mark.parametrize(
    ("keys", "at", "taken"),
    [
        ("12#", 0.0, "[The caller pressed 1 2 #]"),
        ("12", 1.4, ""),
        ("12", 1.5, "[The caller pressed 1 2]"),
        ("12345", 0.0, "[The caller pressed 1 2 3 4 5]"),
        ("", 9.0, ""),
    ],
)
def test_a_number_is_complete_with_a_hash_a_pause_or_all_its_digits(keys, at, taken):
    pad = Keys(wait_s=1.5, most=5)
    firsts = [pad.press(0.0, key) for key in keys]
    assert firsts == [n == 0 for n in range(len(keys))]
    assert pad.take(at) == taken
    assert pad.take(at) == ""
