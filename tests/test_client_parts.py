"""The parts of the client that outlives its connection, each alone."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.client import CallError, Playout, ReplyAudio
from aura.client.events import ReplyText
from aura.client.outbox import ANSWER, ITEM, UPDATE, Letter, Outbox
from aura.client.story import Story
from tests.fake_realtime import RATE_HZ
from tests.test_client_resume import noise

STEPS = st.lists(
    st.tuples(st.sampled_from(["audio", "audio", "letter", "send", "send", "cut"]), st.integers(0, 9)), max_size=60
)


@given(STEPS, st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_whatever_gets_lost_the_server_has_everything_once_and_in_order(
    steps: list[tuple[str, int]], seed: int
) -> None:
    rng, box = Random(seed), Outbox(keep_messages=1000)
    box.keep_bytes = 1 << 20
    given, wire, server = [], list[Letter | bytes](), list[Letter | bytes]()

    def flush(most: int) -> None:
        while most > 0 and (piece := box.next()) is not None:
            box.done(piece)
            wire.append(piece)
            most -= 1

    for number, (step, size) in enumerate([*steps, ("cut", 9), ("send", 99), ("take", 0)]):
        if step == "audio":
            pcm = rng.randbytes(size)
            given += [pcm]
            box.audio(pcm, online=True)
        elif step == "letter":
            given += [str(number)]
            box.letter(ITEM, str(number), item_id=str(number))
        elif step == "send":
            flush(size)
        else:
            arrived = size if step == "cut" else len(wire)
            server += wire[:arrived]
            wire.clear()
            has = {one.item_id for one in server if isinstance(one, Letter)}
            box.taken(sum(len(one) for one in server if isinstance(one, bytes)), has.__contains__)
    flush(1000)
    server += wire

    assert joined(server) == joined(given)


def joined(pieces: list[Any]) -> list[str | bytes]:
    """Neighbouring audio as one piece."""
    out: list[str | bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes) and out and isinstance(out[-1], bytes):
            out[-1] += piece
        elif piece != b"":
            out.append(piece.text if isinstance(piece, Letter) else piece)
    return out


def test_audio_that_is_too_old_is_left_out_in_whole_samples_and_the_count_stays_right() -> None:
    box = Outbox(keep_messages=10)
    box.keep_bytes = 101
    box.audio(bytes(200), online=True)
    while piece := box.next():
        box.done(piece)
    box.audio(bytes(range(150)), online=False)
    lost = box.taken(200, lambda _: True)
    assert lost % 2 == 0
    assert 48 <= lost <= 50
    rest = box.next()
    assert rest == bytes(range(lost, 150))
    box.done(rest)  # type: ignore[arg-type]
    assert box.taken(200 + 150 - lost, lambda _: True) == 0
    assert box.next() is None


def test_too_many_waiting_messages_are_an_error_and_no_leak() -> None:
    box = Outbox(keep_messages=3)
    for _ in range(3):
        box.letter(ANSWER, "x")
    with pytest.raises(CallError, match="too many messages wait"):
        box.letter(ANSWER, "x")


def test_the_count_begins_anew_with_a_new_format() -> None:
    box = Outbox(keep_messages=10)
    box.keep_bytes = 1000
    box.audio(b"a" * 100, online=True)
    box.done(box.next() or b"")
    box.new_format()
    box.letter(UPDATE, "{}")
    box.done(box.next() or b"")
    box.format_taken()
    box.audio(b"b" * 60, online=True)
    box.done(box.next() or b"")
    box.taken(20, lambda _: True)
    assert box.next() == b"b" * 40


def test_a_refilled_playout_leaves_out_what_sounded_meanwhile() -> None:
    heard, playout, pcm = bytearray(), Playout(24_000), noise(2.0)
    playout.sinks.append(lambda piece: heard.extend(piece.pcm))
    playout.add(0.0, "a", pcm[:48_000])
    playout.advance(0.56)
    assert playout.position() == ("a", 500)
    playout.advance(0.66)  # while the connection is made
    assert playout.ends_at > 1.0
    playout.refill(0.66, "a", 450)
    playout.add(0.66, "a", pcm[21_600:30_000])
    playout.add(0.7, "a", pcm[30_000:])
    playout.advance(5.0)
    assert bytes(heard) == pcm
    assert playout.played_ms() == {"a": 2000}


def test_only_what_was_heard_of_a_cut_reply_is_told_again() -> None:
    story = Story()
    story.take(ReplyText(item_id="a", delta="one two three four five six seven eight"), RATE_HZ)
    story.take(ReplyAudio(item_id="a", pcm=bytes(2 * RATE_HZ * 4), voiced=True), RATE_HZ)
    story.cut("a", 2000)
    assert story.items()[0]["content"][0]["text"] == "one two three four"
    for number in range(100):
        story.item({"id": str(number), "role": "user", "content": [{"text": "x"}]})
    assert len(story.items()) == 40
