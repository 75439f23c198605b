"""Formats, G.711, resampling and framing."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import g711
from aura.core.audio import SILENCE_DB, AudioFormat, Converter, Encoding, Reframer, level_db
from aura.core.ports import FRAME_BYTES
from aura.core.resample import resampler

EVERY_SAMPLE = np.arange(-32768, 32768).astype("<i2")
RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
PAIRS = [(a, b) for a in RATES for b in (8_000, 16_000, 24_000, 44_100, 48_000) if a != b]
TABLES = {"pcmu": (g711.ULAW_ENCODE, g711.ULAW_DECODE), "pcma": (g711.ALAW_ENCODE, g711.ALAW_DECODE)}


def pieces(data: bytes, cuts: list[int], unit: int = 1) -> list[bytes]:
    edges = [0, *sorted(cut * unit % (len(data) + unit) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def tone(rate_hz: int, hz: float, seconds: float, amplitude: float = 8000.0) -> np.ndarray:
    return np.rint(amplitude * np.sin(2 * np.pi * hz / rate_hz * np.arange(round(rate_hz * seconds)))).astype("<i2")


def noise(rate_hz: int, seconds: float) -> bytes:
    generator = np.random.default_rng(7)
    return generator.integers(-20000, 20000, round(rate_hz * seconds)).astype("<i2").tobytes()


def snr_db(heard: np.ndarray, rate_hz: int, hz: float) -> float:
    """Power of the best fitting sine of that frequency over the power of all else."""
    angle = 2 * np.pi * hz / rate_hz * np.arange(len(heard))
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    fit = basis @ np.linalg.lstsq(basis, heard.astype(float), rcond=None)[0]
    return float(10 * np.log10(np.mean(fit**2) / np.mean((heard - fit) ** 2)))


# ---- formats


@pytest.mark.parametrize(
    ("spec", "rate", "want"),
    [
        ("pcm16", None, AudioFormat("pcm16", 24_000)),
        ("pcm16@8000", None, AudioFormat("pcm16", 8_000)),
        ("audio/pcm", 16_000, AudioFormat("pcm16", 16_000)),
        ("audio/pcm;rate=48000", None, AudioFormat("pcm16", 48_000)),
        ("g711_ulaw", None, AudioFormat("pcmu", 8_000)),
        ("audio/PCMA", None, AudioFormat("pcma", 8_000)),
        ("audio/x-mulaw", 8_000, AudioFormat("pcmu", 8_000)),
    ],
)
def test_every_spelling_of_a_format_is_understood(spec: str, rate: int | None, want: AudioFormat) -> None:
    assert AudioFormat.parse(spec, rate) == want
    assert AudioFormat.parse(want.describe()) == want


@pytest.mark.parametrize("spec", ["mp3", "", "pcm16@96000", "pcm16@4000", "g711_ulaw@16000", "pcm 16"])
def test_an_unusable_format_is_refused_in_one_line(spec: str) -> None:
    with pytest.raises(ValueError, match=r"unknown audio format|samples per second|sample rate") as caught:
        AudioFormat.parse(spec)
    assert "\n" not in str(caught.value)


def test_sizes_and_lengths_agree() -> None:
    for fmt in (AudioFormat("pcm16", 24_000), AudioFormat("pcm16", 44_100), AudioFormat("pcmu", 8_000)):
        assert fmt.seconds_in(fmt.bytes_for(20)) == pytest.approx(0.02)
        assert fmt.samples_in(fmt.bytes_for(1000)) == fmt.rate_hz


# ---- G.711


def test_companding_is_that_of_audioop_for_every_input() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audioop = pytest.importorskip("audioop")
    every, codes = EVERY_SAMPLE.tobytes(), bytes(range(256))
    assert g711.encode(EVERY_SAMPLE, g711.ULAW_ENCODE) == audioop.lin2ulaw(every, 2)
    assert g711.encode(EVERY_SAMPLE, g711.ALAW_ENCODE) == audioop.lin2alaw(every, 2)
    assert g711.decode(codes, g711.ULAW_DECODE).tobytes() == audioop.ulaw2lin(codes, 2)
    assert g711.decode(codes, g711.ALAW_DECODE).tobytes() == audioop.alaw2lin(codes, 2)


@pytest.mark.parametrize(
    ("law", "sample", "code"),
    [("pcmu", 0, 0xFF), ("pcmu", 32767, 0x80), ("pcmu", -32768, 0x00), ("pcma", 0, 0xD5), ("pcma", 32767, 0xAA)],
)
def test_known_values_of_the_standard(law: str, sample: int, code: int) -> None:
    assert g711.encode(np.array([sample], "<i2"), TABLES[law][0]) == bytes([code])


@pytest.mark.parametrize("law", TABLES)
def test_companding_twice_changes_nothing_more(law: str) -> None:
    encode, decode = TABLES[law]
    once = g711.encode(EVERY_SAMPLE, encode)
    assert g711.encode(g711.decode(once, decode), encode) == once
    error = np.abs(g711.decode(once, decode).astype(int) - EVERY_SAMPLE)
    assert np.all(error <= np.maximum(16, np.abs(EVERY_SAMPLE.astype(int)) / 16))


# ---- resampling


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_sine_stays_a_sine(from_hz: int, to_hz: int) -> None:
    for part in (0.05, 0.3, 0.38):
        hz = part * min(from_hz, to_hz)
        stream = resampler(from_hz, to_hz)
        out = np.concatenate((stream.push(tone(from_hz, hz, 0.4)), stream.flush()))
        edge = to_hz // 20
        assert abs(len(out) - 0.4 * to_hz) <= 1
        assert snr_db(out[edge:-edge], to_hz, hz) > 50
        assert level_db(out[edge:-edge].tobytes()) == pytest.approx(level_db(tone(from_hz, hz, 0.4).tobytes()), abs=0.2)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(24_000, 16_000), (48_000, 16_000), (16_000, 8_000), (44_100, 16_000)])
def test_what_the_lower_rate_cannot_carry_is_removed(from_hz: int, to_hz: int) -> None:
    stream = resampler(from_hz, to_hz)
    out = np.concatenate((stream.push(tone(from_hz, 0.56 * to_hz, 0.4)), stream.flush()))
    assert level_db(out[to_hz // 20 : -to_hz // 20].tobytes()) < level_db(tone(from_hz, 440, 0.4).tobytes()) - 55


@pytest.mark.parametrize(("from_hz", "to_hz"), [(24_000, 16_000), (8_000, 24_000), (22_050, 24_000)])
def test_resampled_audio_is_not_shifted(from_hz: int, to_hz: int) -> None:
    pulse = np.zeros(from_hz // 10, "<i2")
    pulse[from_hz // 20] = 30000
    stream = resampler(from_hz, to_hz)
    out = np.concatenate((stream.push(pulse), stream.flush()))
    assert abs(int(np.abs(out.astype(int)).argmax()) - to_hz // 20) <= 1


def test_loud_input_is_clipped_and_never_wraps() -> None:
    square = np.where(tone(24_000, 300, 0.1) >= 0, 32767, -32768).astype("<i2")
    out = resampler(24_000, 16_000, prompt=True).push(square)[16:]
    assert np.count_nonzero(np.diff(out >= 0)) <= 60
    assert out.max() == 32767
    assert out.min() == -32768


@pytest.mark.parametrize(("from_hz", "to_hz"), [(24_000, 8_000), (8_000, 48_000), (22_050, 24_000), (24_000, 24_000)])
@pytest.mark.parametrize("encoding", ["pcm16", "pcmu"])
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_conversion_does_not_depend_on_chunks(from_hz: int, to_hz: int, encoding: Encoding, cuts: list[int]) -> None:
    fmt = AudioFormat(encoding, 8_000 if encoding == "pcmu" else to_hz)
    data, whole, parts = noise(from_hz, 0.1), Converter(from_hz, fmt), Converter(from_hz, fmt)
    want = whole.push(data) + whole.flush()
    got = b"".join(parts.push(piece) for piece in pieces(data, cuts, 2)) + parts.flush()
    assert got == want
    assert abs(fmt.samples_in(len(got)) - 0.1 * fmt.rate_hz) <= 1


def test_a_converter_is_fresh_after_a_flush() -> None:
    for rate in (24_000, 22_050):
        converter, data = Converter(rate, AudioFormat("pcma", 8_000)), noise(rate, 0.05)
        assert converter.push(data) + converter.flush() == converter.push(data) + converter.flush()
        assert converter.flush() == b""


def test_the_same_format_is_handed_through_untouched() -> None:
    data = noise(24_000, 0.02)
    assert Converter(24_000, AudioFormat("pcm16", 24_000)).push(data) is data


# ---- framing


@pytest.mark.parametrize("spec", ["pcm16@16000", "pcm16@24000", "pcm16@48000", "pcm16@44100", "pcmu", "pcma"])
@settings(max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_frames_do_not_depend_on_how_the_client_cuts(spec: str, cuts: list[int]) -> None:
    fmt = AudioFormat.parse(spec)
    data = noise(fmt.rate_hz, 0.11)[: fmt.bytes_for(110)]
    whole, parts = Reframer(fmt), Reframer(fmt)
    want = whole.push(data) + whole.flush()
    got = [frame for piece in pieces(data, cuts) for frame in parts.push(piece)] + parts.flush()
    assert got == want
    assert {len(frame) for frame in got} == {FRAME_BYTES}
    assert len(got) == 6


@pytest.mark.parametrize("spec", ["pcm16@16000", "pcm16@24000", "pcm16@48000", "pcm16@8000", "pcmu", "pcma"])
def test_a_message_of_20_ms_is_a_frame_at_once(spec: str) -> None:
    fmt = AudioFormat.parse(spec)
    reframer = Reframer(fmt)
    assert [len(reframer.push(bytes(fmt.bytes_for(20)))) for _ in range(5)] == [1] * 5
    assert reframer.flush() == []


def test_an_odd_byte_waits_for_its_other_half() -> None:
    reframer, data = Reframer(AudioFormat("pcm16", 16_000)), noise(16_000, 0.04)
    frames = [frame for byte in data for frame in reframer.push(bytes([byte]))]
    assert b"".join(frames) == data


@pytest.mark.parametrize(
    ("samples", "want"),
    [([], SILENCE_DB), ([0] * 320, SILENCE_DB), ([-32768] * 320, 0.0), ([3277, -3277] * 160, -20.0), ([1], -90.3)],
)
def test_levels_are_relative_to_full_scale(samples: list[int], want: float) -> None:
    assert level_db(np.array(samples, "<i2").tobytes()) == pytest.approx(want, abs=0.02)
