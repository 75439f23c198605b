"""What is read from recordings: audio on the time axis, peaks, and files that hold anything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.pacing import PlayClock, PlayoutSettings
from aura.storage.digest import sound
from aura.storage.digest.cache import Lru
from aura.storage.digest.conversation import digest
from aura.storage.digest.tracks import Ear, Player
from tests.recorded_call import DAY, NAME, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one recording."""
    data_dir = tmp_path_factory.mktemp("data")
    write(data_dir)
    return data_dir


@given(st.lists(st.tuples(st.integers(-128, 127), st.integers(-128, 127)), max_size=300), st.integers(0, 4))
@settings(max_examples=50, deadline=None)
def test_no_peak_is_lost_at_coarser_levels(pairs: list[tuple[int, int]], level: int) -> None:
    fine = np.array(pairs, np.int8).reshape(-1, 2)
    coarse = sound.coarser(fine, level)
    assert len(coarse) == -(-len(fine) // 4**level)
    for index, (low, high) in enumerate(coarse):
        group = fine[index * 4**level : (index + 1) * 4**level]
        assert (low, high) == (group[:, 0].min(), group[:, 1].max())


ACTS = st.lists(
    st.tuples(st.sampled_from(["send", "send", "send", "hold", "resume"]), st.floats(0.001, 0.3)), max_size=60
)


@given(ACTS)
@settings(max_examples=80, deadline=None)
def test_playback_is_placed_as_the_server_paces_it(acts: list[tuple[str, float]]) -> None:
    clock, player = PlayClock(PlayoutSettings(client_delay_s=0.06)), Player(0.06)
    at, held = 0.0, False
    for act, wait in acts:
        at += wait
        if act == "send" and not held:  # the pacing sends nothing while output is held
            clock.send(at, 0.04)
            player.send(at, "a", 1920, "out.pcm16.24000")
        elif act == "hold" and not held:
            held = True
            clock.pause(at)
            player.hold(at)
        elif act == "resume" and held:
            held = False
            clock.resume(at)
            player.resume(at)
        played = sum(max(0.0, min(track.end, at) - track.begin) for track in player.played if track.begin < at)
        assert played == pytest.approx(clock.position(at), abs=0.061)
    assert all(left.end <= right.begin + 1e-9 for left, right in zip(player.played, player.played[1:], strict=False))


@given(st.lists(st.floats(0, 0.15), min_size=60, max_size=200))
@settings(max_examples=50, deadline=None)
def test_jitter_of_the_network_does_not_move_the_users_audio(delays: list[float]) -> None:
    ear, last = Ear(), 0.0
    for number, delay in enumerate(delays, 1):
        last = max(last, 0.02 * number + delay)
        ear.take(last, 960, "in.pcm16.24000")
    (track,) = ear.tracks()
    assert track.end - track.begin == pytest.approx(0.02 * len(delays))
    assert 0 <= track.begin <= 0.151


def test_a_client_that_stops_sending_leaves_a_gap() -> None:
    ear = Ear()
    for number in [*range(1, 51), *range(151, 201)]:
        ear.take(0.02 * number, 960, "in.pcm16.24000")
    assert [(round(t.begin, 2), round(t.end, 2), round(t.from_s, 2)) for t in ear.tracks()] == [(0, 1, 0), (3, 4, 1)]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_reading_never_raises_whatever_the_files_hold(
    made: Path, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    folder = tmp_path_factory.mktemp("broken") / DAY / NAME
    shutil.copytree(made / "recordings" / DAY / NAME, folder)
    for name in ("tape.jsonl", "journal.jsonl"):
        lines = (folder / name).read_bytes().splitlines(keepends=True)
        for _ in range(data.draw(st.integers(0, 4))):
            index = data.draw(st.integers(0, len(lines) - 1))
            what = data.draw(st.sampled_from(["drop", "twice", "swap", "cut", "noise"]))
            lines[index : index + 1] = {
                "drop": [], "twice": [lines[index]] * 2, "swap": [lines[-1]], "cut": [lines[index][:-9]],
                "noise": [data.draw(st.binary(max_size=40)) + b"\n"],
            }[what] or ([b""] if len(lines) == 1 else [])  # fmt: skip
        (folder / name).write_bytes(b"".join(lines))
    one = digest(folder)
    assert one.seconds >= 0
    assert msgspec.json.encode(one)


def test_what_was_used_last_is_kept() -> None:
    kept: Lru[str, bytes] = Lru(10, len)
    for key in "abc":
        kept.put(key, b"xxx")
    kept.get("a")
    kept.put("d", b"xxx")
    assert [kept.get(key) is not None for key in "abcd"] == [True, False, True, True]
    kept.put("e", bytes(11))
    assert (kept.get("e"), kept.get("a") is not None) == (None, True)
