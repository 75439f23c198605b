"""The figures of `aura bench` mean what they say, with answers that are known beforehand."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trio
from rich.console import Console

from aura.client import CallError, Heard
from aura.tools.bench import MIX, BenchSettings, NoCallsError, measure
from aura.tools.bench_report import Result, tables
from aura.tools.measure import Experience, Said, Span, figures, outcomes, quantiles
from aura.tools.usage import listening_pid, process_tree, scraped
from tests.fake_realtime import FakeServer, fake_server

QUICK = BenchSettings(
    warmup_s=0.1,
    stagger_s=0.02,
    answer_timeout_s=1.0,
    reply_max_s=2.0,
    talk_over_after_s=0.3,
    pause_min_s=0.1,
    pause_max_s=0.2,
    lag_max_ms=200,
)


def someone(said: list[Said], arrived: list[float], spans: list[tuple[str, float, float]]) -> Experience:
    who = Experience()
    who.said, who.arrived = said, arrived
    who.spans = [Span(*span) for span in spans]
    return who


# ---- definitions -------------------------------------------------------------------------------------------------


def test_voice_to_voice_is_from_the_true_end_to_the_first_sound() -> None:
    (turn,) = outcomes(someone([Said("turn", 10, 12)], [12.7, 12.75], [("a", 12.8, 13)]), 0)
    assert turn.v2v == pytest.approx(0.7)
    assert not turn.cut_in
    assert not turn.no_reply


def test_sound_before_the_true_end_is_a_cut_in_and_no_figure() -> None:
    (turn,) = outcomes(someone([Said("pause", 10, 12)], [11.0, 12.7], [("a", 11.06, 13)]), 0)
    assert turn.cut_in
    assert turn.v2v is None


def test_an_answer_that_never_comes_counts_only_when_it_was_waited_for() -> None:
    lost = outcomes(someone([Said("turn", 10, 12), Said("turn", 20, 22)], [22.5], []), 0)
    assert [turn.no_reply for turn in lost] == [True, False]
    assert not outcomes(someone([Said("turn", 10, 12)], [], []), 0)[0].no_reply
    assert outcomes(someone([Said("turn", 10, 12, closed=True)], [], []), 0)[0].no_reply


@pytest.mark.parametrize(
    ("spans", "stop", "missed"),
    [
        ([("a", 9, 10.3)], 0.3, False),
        ([("a", 9, 10.2), ("a", 10.9, 11.5)], 1.5, False),  # held, resumed, then stopped
        ([("a", 9, 13)], 3.0, True),
        ([("a", 9, 10.3), ("b", 13, 15)], 0.3, False),
    ],
)
def test_a_barge_in_stops_with_the_last_sound_of_the_old_reply(
    spans: list[tuple[str, float, float]], stop: float, missed: bool
) -> None:
    (turn,) = outcomes(someone([Said("interrupt", 10, 12)], [12.9], spans), 0)
    assert turn.during
    assert turn.stop == pytest.approx(stop)
    assert turn.missed is missed
    assert (turn.v2v is None) is missed


def test_an_interruption_of_silence_is_no_interruption() -> None:
    (turn,) = outcomes(someone([Said("interrupt", 10, 12)], [12.9], [("a", 8, 9)]), 0)
    assert not turn.during
    assert turn.stop is None


@pytest.mark.parametrize(
    ("spans", "silenced", "resumed"),
    [
        ([("a", 9, 15)], False, False),
        ([("a", 9, 10.4)], True, False),
        ([("a", 9, 10.4), ("a", 11, 15)], True, True),
        ([("a", 9, 10.4), ("a", 10.5, 15)], False, False),
    ],
)
def test_a_backchannel_may_silence_a_reply_for_a_moment_or_for_good(
    spans: list[tuple[str, float, float]], silenced: bool, resumed: bool
) -> None:
    (turn,) = outcomes(someone([Said("back", 10, 10.5)], [], spans), 0)
    assert (turn.silenced, turn.resumed) == (silenced, resumed)


def test_heard_stretches_join_and_gaps_are_counted() -> None:
    who = Experience()
    for at, gap in ((1.0, 0.0), (1.1, 0.0), (1.5, 0.3)):
        who.hear(Heard("a", at, b"", 0.1, voiced=True, gap_s=gap))
    assert [(span.start, span.end) for span in who.spans] == [(1.0, pytest.approx(1.2)), (1.5, pytest.approx(1.6))]
    assert (who.heard_s, who.gap_s) == (pytest.approx(0.3), 0.3)


def test_quantiles_are_by_nearest_rank_in_milliseconds() -> None:
    found = quantiles([None, *[n / 1000 for n in range(1, 101)]])
    assert (found.n, found.p50, found.p95, found.p99, found.max) == (100, 51, 96, 100, 100)
    assert quantiles([None]).p50 is None


def test_what_happened_before_the_window_does_not_count() -> None:
    who = someone([Said("turn", 1, 2), Said("turn", 10, 12)], [2.5, 12.5], [])
    who.stages = [(2.5, {"stt": 99.0}), (12.5, {"stt": 7.0})]
    found = figures([who], [0.001] * 99 + [0.5], since=5)
    assert found.turns == 1
    assert found.stages["stt"].p50 == 7
    assert found.send_lag_p99_ms == 500


# ---- the server's processes ----------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_a_process_tree_counts_its_children() -> None:
    code = "import subprocess,sys;subprocess.run([sys.executable,'-c','input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as parent:
        for _ in range(500):
            usage = process_tree(parent.pid)
            if usage.processes == 2:
                break
            trio.run(trio.sleep, 0.01)
        parent.communicate(b"\n")
    assert usage.processes == 2
    assert usage.rss_bytes > 1_000_000
    assert process_tree(2**22 + 1).processes == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux")
def test_the_listening_process_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert listening_pid(port) == os.getpid()
    assert listening_pid(port) is None


def test_the_metrics_page_is_the_second_best_source() -> None:
    page = 'process_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 3e+06\nx{a="b"} 1\n'
    usage = scraped(page)
    assert usage is not None
    assert (usage.cpu_s, usage.rss_bytes) == (1.5, 3_000_000)
    assert scraped("nothing") is None


# ---- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """One short clip of each kind, 0.2 s of tone from 0.1 s on."""
    import wave

    tone = (12000 * np.sin(np.arange(3200) * 0.12)).astype("<i2").tobytes()
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\0" * 3200 + tone + b"\0" * 3200)
    index = [{"id": kind, "kind": kind, "wav": "x.wav", "start": 0.1, "end": 0.3} for kind in sorted(set(MIX))]
    (tmp_path / "clips.json").write_bytes(msgspec.json.encode({"rate": 16_000, "clips": index}))
    return tmp_path


async def bench(url: str, callers: int, seconds: float, scenes: Path | None) -> Result:
    return await measure(url, callers, seconds, scenes, None, QUICK, Console(file=io.StringIO()), "sk-bench")


async def test_known_answers_come_out_right(scenes: Path) -> None:
    server = FakeServer()
    server.silence_s, server.reply_s = 0.2, 0.8
    async with fake_server(server) as url:
        result = await bench(url, 4, 3.0, scenes)
    assert {headers["authorization"] for headers in server.gate.headers} == {"Bearer sk-bench"}
    found = result.figures
    assert result.failed == 0
    assert found.turns >= 4
    assert 190 <= (found.voice_to_voice.p50 or 0) <= 320
    assert found.barge_ins >= 1
    assert (found.barge_in_stop.p50 or 999) <= 150
    assert found.barge_in_missed == found.cut_ins == found.no_replies == 0
    assert found.underrun_ratio == 0
    assert found.stages["endpoint"].p50 == 100
    assert result.server_memory_mb
    out = io.StringIO()
    for table in tables(result):
        Console(file=out, width=120).print(table)
    assert "server: endpoint" in out.getvalue()
    assert msgspec.json.decode(msgspec.json.encode(result))["figures"]["voice_to_voice"]["n"] == found.voice_to_voice.n


async def test_nobody_there_is_a_clear_error(scenes: Path) -> None:
    with pytest.raises(CallError, match="start one with `aura serve`"):
        await bench("ws://127.0.0.1:1/v1/realtime", 1, 1, scenes)


async def test_scenes_without_a_known_kind_are_a_clear_error(scenes: Path) -> None:
    (scenes / "clips.json").write_text('{"clips": []}')
    with pytest.raises(NoCallsError, match="no clip of a kind"):
        await bench("ws://127.0.0.1:1/v1/realtime", 1, 1, scenes)
