"""`aura talk`: recordings of any kind are said, answers are shown, saved, and can be talked over."""

from __future__ import annotations

import io
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import trio
from rich.console import Console

from aura.client import CallError, Playout, connect
from aura.core.errors import AuraError
from aura.tools import recordings
from aura.tools.caller import Caller, frames
from aura.tools.play import Loudspeaker
from aura.tools.recordings import Clip, Recorder, RecordingError, read, shipped, speech_bounds
from aura.tools.talk import Plan, TalkSettings, hold
from tests.fake_realtime import RATE_HZ, FakeServer, fake_server

ROOT = Path(__file__).resolve().parents[1]
QUICK = TalkSettings(answer_timeout_s=0.6, reply_max_s=3.0, lead_s=0.1)


def tone(seconds: float, rate_hz: int) -> np.ndarray:
    return np.round(12000 * np.sin(np.arange(round(seconds * rate_hz)) * 2 * np.pi * 300 / rate_hz))


def write_wave(path: Path, samples: np.ndarray, rate_hz: int, *, width: int = 2, channels: int = 1) -> Path:
    scaled = samples / 32768
    wide = (scaled * 2**31).astype("<i4")
    raw = {
        1: (scaled * 127 + 128).astype(np.uint8),
        2: samples.astype("<i2"),
        3: wide.view(np.uint8).reshape(-1, 4)[:, 1:],
        4: wide,
    }[width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate_hz, 0, "NONE", ""))
        file.writeframes(raw)
    return path


@pytest.fixture
def question(tmp_path: Path) -> Path:
    sound = np.concatenate([np.zeros(1600), tone(0.2, 16_000), np.zeros(1600)])
    return write_wave(tmp_path / "question.wav", sound, 16_000)


async def talk(url: str, files: list[Path], **changes: object) -> tuple[int, str]:
    out = io.StringIO()
    plan = {"save": None, "mic": False, "play": False, "barge_in_after_s": None, "token": "", "settings": QUICK}
    code = await hold(Plan(url=url, files=files, **{**plan, **changes}), Console(file=out, width=200))  # type: ignore[arg-type]
    return code, out.getvalue()


# ---- recordings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("library", ["soundfile", "wave alone"])
def test_any_wave_file_becomes_mono_at_the_rate_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, rate_hz: int, library: str
) -> None:
    if library == "wave alone":
        monkeypatch.setattr(recordings, "_with_soundfile", missing)
    path = write_wave(tmp_path / "x.wav", np.repeat(tone(0.5, rate_hz), 2), rate_hz, width=width, channels=2)
    pcm = read(path, 24_000)
    assert len(pcm) == pytest.approx(12_000, abs=2)
    middle = pcm[2000:10000].astype(float)
    assert np.corrcoef(middle, tone(0.5, 24_000)[2000:10000])[0, 1] > 0.99
    assert np.abs(middle).max() == pytest.approx(12_000, rel=0.03)


def missing(path: Path) -> tuple[np.ndarray, int]:
    raise ImportError


@pytest.mark.parametrize(
    ("name", "content", "soundfile", "says"),
    [
        ("none.wav", None, True, "no such file"),
        ("text.wav", b"hello", True, "not a sound file"),
        ("text.wav", b"hello", False, "not an uncompressed WAV file"),
        ("song.mp3", b"ID3", False, "only WAV can be read; `pip install soundfile`"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, soundfile: bool, says: str
) -> None:
    if not soundfile:
        monkeypatch.setattr(recordings, "_with_soundfile", missing)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read(tmp_path / name, 16_000)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_speech_is_found_inside_silence_and_noise() -> None:
    sound = np.concatenate([np.zeros(8000), tone(0.5, 16_000), np.zeros(8000)])
    noisy = sound + np.random.default_rng(1).normal(0, 30, len(sound))
    for pcm in (sound, noisy):
        start, end = speech_bounds(pcm.astype(np.int16), 16_000)
        assert start == pytest.approx(0.5, abs=0.025)
        assert end == pytest.approx(1.0, abs=0.025)


def test_the_shipped_clips_have_true_bounds_and_stay_small() -> None:
    clips = shipped(16_000)
    assert {"ask_time", "arithmetic", "ask_story", "interrupt", "thanks"} <= clips.keys()
    for clip in clips.values():
        start, end = speech_bounds(clip.pcm, 16_000)
        assert (start, end) == (pytest.approx(clip.start, abs=0.03), pytest.approx(clip.end, abs=0.03))
        assert clip.text
    assert sum(path.stat().st_size for path in recordings.SHIPPED_CLIPS.iterdir()) < 400_000


def test_a_folder_without_an_index_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"there is no clips\.json"):
        recordings.clips(tmp_path, 16_000)
    (tmp_path / "clips.json").write_text('{"clips": [{"id": 3}]}')
    with pytest.raises(RecordingError, match=r"clips\.json"):
        recordings.clips(tmp_path, 16_000)


def test_both_sides_lie_at_their_times_in_the_recording(tmp_path: Path) -> None:
    recorder = Recorder(16_000, 8_000, 100.0)
    recorder.said(100.5, tone(0.2, 16_000).astype("<i2").tobytes())
    recorder.heard(101.0, b"\x10\x27" * 800)
    recorder.write(tmp_path / "deep" / "both.wav")
    with wave.open(str(tmp_path / "deep" / "both.wav")) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 8_000)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    for side, begin, end in ((0, 0.5, 0.7), (1, 1.0, 1.1)):
        loud = np.flatnonzero(np.abs(both[:, side].astype(int)) > 1000) / 8000
        assert (loud[0], loud[-1]) == (pytest.approx(begin, abs=0.01), pytest.approx(end, abs=0.01))


def test_the_loudspeaker_fills_up_with_silence() -> None:
    speaker, playout = Loudspeaker(1000), Playout(1000)
    playout.sinks.append(speaker)
    playout.add(0.0, "a", b"\x01\x01" * 10)
    playout.advance(1.0)
    out = bytearray(b"x" * 140)
    speaker.fill(out, 70, None, None)
    assert bytes(out) == b"\0" * 80 + b"\x01" * 20 + b"\0" * 40


# ---- a caller ----------------------------------------------------------------------------------------------------


async def test_a_caller_speaks_in_real_time_and_never_stops_sending() -> None:
    server = FakeServer()
    clip = Clip("c", "turn", tone(0.1, RATE_HZ).astype(np.int16), RATE_HZ, 0.0, 0.1)
    async with fake_server(server) as url, connect(url) as call, trio.open_nursery() as nursery:
        caller = Caller(call)
        nursery.start_soon(caller.listen)
        nursery.start_soon(caller.speak)
        await caller.wait(0.1)
        spoken = caller.say(clip)
        assert await caller.reply_begins(spoken.end, 2.0)
        at = caller.began_after(spoken.end)
        assert at is not None
        assert 0.1 <= at - spoken.end < 0.4
        assert await caller.reply_over(3.0)
        elapsed = trio.current_time() - caller.started
        assert caller.sent == pytest.approx(elapsed / 0.02, abs=3)
        assert server.audio_bytes == pytest.approx(caller.sent * 960, abs=3 * 960)
        nursery.cancel_scope.cancel()


def test_the_last_frame_of_a_clip_is_filled_up() -> None:
    clip = Clip("c", "turn", np.ones(500, np.int16), 16_000, 0, 0)
    assert [len(frame) for frame in frames(clip)] == [640, 640]


# ---- the command -------------------------------------------------------------------------------------------------


async def test_every_file_is_answered_shown_and_saved(question: Path, tmp_path: Path) -> None:
    saved = tmp_path / "call.wav"
    async with fake_server(FakeServer()) as url:
        code, shown = await talk(url, [question, question], save=saved)
    assert code == 0
    assert shown.count("fifty plus fifty") == 2
    assert shown.count("One hundred.") == 2
    with wave.open(str(saved)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).astype(int)
    seconds = (np.abs(both) > 2000).sum(axis=0) / 24_000
    assert seconds[0] == pytest.approx(2 * 0.2, rel=0.3)
    assert seconds[1] == pytest.approx(2 * 0.4, rel=0.3)


async def test_the_next_file_can_talk_over_the_answer(question: Path) -> None:
    server = FakeServer()
    server.reply_s = 1.2
    async with fake_server(server) as url:
        with trio.fail_after(8):
            code, shown = await talk(url, [question, question], barge_in_after_s=0.3)
    assert code == 0
    assert shown.count("One hundred.  (cancelled)") == 1


async def test_no_answer_is_exit_code_one(question: Path) -> None:
    server = FakeServer()
    server.answers = False
    async with fake_server(server) as url:
        code, shown = await talk(url, [question])
    assert code == 1
    assert "no answer within 0.6 s" in shown


async def test_a_call_that_the_server_ends_is_shown(question: Path) -> None:
    server = FakeServer()
    server.close_after_s = 0.3
    async with fake_server(server) as url:
        code, shown = await talk(url, [question])
    assert code == 1
    assert "the server ended the call (code 1001: going away)" in shown


async def test_a_lost_connection_is_one_line_and_the_answer_comes_all_the_same(question: Path) -> None:
    server = FakeServer()
    server.reply_s = 1.5
    async with fake_server(server) as url, trio.open_nursery() as nursery:

        async def lose() -> None:
            while not server.calls or server.call.speaking is None:  # noqa: ASYNC110
                await trio.sleep(0.02)
            await trio.sleep(0.5)
            await server.cut()

        nursery.start_soon(lose)
        code, shown = await talk(url, [question], token="sk-quite-secret")
    assert code == 0
    assert shown.count("One hundred.") == 1
    assert shown.count("connected again after") == 1
    assert "new session" not in shown
    assert [headers["authorization"] for headers in server.gate.headers] == ["Bearer sk-quite-secret"] * 2
    assert "quite-secret" not in shown


async def test_what_was_missed_while_the_connection_was_lost_is_shown(question: Path) -> None:
    server = FakeServer()
    server.reply_s = 3.0
    async with fake_server(server) as url, trio.open_nursery() as nursery:

        async def lose() -> None:
            while not server.calls or server.call.speaking is None:  # noqa: ASYNC110
                await trio.sleep(0.02)
            await trio.sleep(0.3)
            await server.cut()
            server.call.speaking = None
            for role, kind, words in (("assistant", "output_audio", "One"), ("user", "input_audio", "are you there")):
                name = {"assistant": "item_1", "user": "user_9"}[role]
                server.call.items.append({"id": name, "type": "message", "role": role, "status": "incomplete",
                                          "content": [{"type": kind, "transcript": words}]})  # fmt: skip

        nursery.start_soon(lose)
        code, shown = await talk(url, [question])
    assert code == 0
    assert "One  (cancelled)" in shown
    assert shown.count("are you there") == 1


async def test_without_a_device_the_answer_is_only_shown(question: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sounddevice", None)
    async with fake_server(FakeServer()) as url:
        code, shown = await talk(url, [question], play=True)
        assert code == 0
        assert "the answers are not played" in shown
        with pytest.raises(AuraError, match=r"pip install 'aura-voice\[mic\]'"):
            await talk(url, [], mic=True)


async def test_a_missing_server_or_file_is_a_clear_error(question: Path) -> None:
    with pytest.raises(CallError, match="start one with `aura serve`"):
        await talk("ws://127.0.0.1:1/v1/realtime", [question])
    with pytest.raises(RecordingError, match="no such file"):
        await talk("ws://127.0.0.1:1/v1/realtime", [question.with_name("nope.wav")])


@pytest.mark.e2e
@pytest.mark.parametrize("given", [["--key", "sk-quite-secret"], []])
async def test_the_key_comes_from_the_command_line_or_the_environment(question: Path, given: list[str]) -> None:
    server = FakeServer()
    command = [sys.executable, "-m", "aura", "talk", str(question), "--no-play", *given]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "AURA_API_KEY": "" if given else "sk-quite-secret"}
    async with fake_server(server) as url:
        with trio.fail_after(20):
            done = await trio.run_process(
                [*command, "--url", url], env=environment, cwd=question.parent, capture_stdout=True, capture_stderr=True
            )
    assert server.gate.headers[0]["authorization"] == "Bearer sk-quite-secret"
    assert b"fifty plus fifty" in done.stdout
    assert b"quite-secret" not in done.stdout + done.stderr
