"""Audio of every form comes out as the same sound, however it is cut, without gaps or clicks at its edges."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core.errors import BadRequest, ProviderError, StreamCut
from aura.core.resample import Samples
from aura.providers.audio.decoder import AudioDecoder
from aura.providers.audio.framed import library
from aura.providers.audio.sniff import read_label, sniff
from tests.sounds import AMPLITUDE, HZ, MAX_STEP, encoded, every_form, sine, wav

FORMS = tuple(every_form())
LOSSY = {"mp3", "mp3 at 44.1 kHz", "bare mp3", "bare mp3, no type", "opus", "opus called pcm", "aac"}
EXACT = {name for name in FORMS if name not in LOSSY and "law" not in name}


async def decoded(pieces: Sequence[bytes], content_type: str, asked_hz: int = 24_000) -> tuple[Samples, int]:
    decoder = AudioDecoder("x", asked_hz, content_type=content_type)
    out = []
    for piece in pieces:
        decoder.put(piece)
        while pcm := await decoder.take():
            out.append(pcm)
    decoder.close()
    while pcm := await decoder.take():
        out.append(pcm)
    assert all(len(pcm) % 2 == 0 for pcm in out)
    return np.frombuffer(b"".join(out), "<i2"), decoder.rate_hz


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        pieces.append(data[at : at + sizes[turn % len(sizes)]])
        at += len(pieces[-1])
        turn += 1
    return pieces


@pytest.mark.parametrize("form", FORMS)
async def test_a_sine_comes_out_whole_and_without_a_jump(form: str) -> None:
    data, content_type, rate_hz = every_form()[form]
    samples, rate = await decoded(cut(data, [777]), content_type)
    assert rate == rate_hz
    exact = form not in LOSSY
    gap = 0.0 if exact else 0.006
    assert abs(len(samples) / rate - 0.5) <= gap, "silence of the encoder or a loss at an edge"
    assert np.abs(np.diff(samples.astype(np.int32))).max() <= (1.02 if exact else 1.2) * MAX_STEP / rate + 300 * (
        "law" in form
    )
    inner = samples[rate // 20 : -rate // 20].astype(float)
    level = np.sqrt(2 * (inner**2).mean())
    assert level == pytest.approx(AMPLITUDE, rel=0.06)  # LAME makes everything 5 % softer
    crossings = np.count_nonzero(np.diff(np.signbit(inner)))
    assert crossings == pytest.approx(2 * HZ * len(inner) / rate, abs=2)


@pytest.mark.parametrize("form", sorted(EXACT))
async def test_what_is_not_compressed_with_loss_is_the_same_to_the_bit(form: str) -> None:
    data, content_type, rate_hz = every_form()[form]
    samples, _ = await decoded([data], content_type)
    assert np.array_equal(samples, sine(0.5, rate_hz))


@pytest.mark.parametrize("form", FORMS)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=12))
@settings(max_examples=12, deadline=None)
def test_every_cut_gives_the_same_samples(form: str, sizes: list[int]) -> None:
    data, content_type, _ = every_form(0.2)[form]
    whole, _ = trio.run(decoded, [data], content_type)
    pieces, _ = trio.run(decoded, cut(data, [1, *sizes]), content_type)
    assert np.array_equal(whole, pieces)


@pytest.mark.parametrize("form", ["mp3", "bare mp3", "opus", "aac"])
async def test_sentences_one_after_the_other_have_no_gap_between_them(form: str) -> None:
    data, content_type, _ = every_form()[form]
    samples, rate = await decoded([data], content_type)
    both = np.concatenate((samples, samples)).astype(float)
    quiet = np.abs(both) < 328
    runs = np.diff(np.flatnonzero(np.concatenate(([True], ~quiet, [True]))))
    assert runs.max() / rate < 0.004


async def test_two_mp3_files_in_one_stream_are_one_sound() -> None:
    data, content_type, _ = every_form()["mp3"]
    samples, rate = await decoded(cut(data + data, [500]), content_type)
    assert len(samples) / rate == pytest.approx(1.0, abs=0.012)


async def test_pauses_inside_of_the_sound_stay() -> None:
    pause = np.zeros(7200, np.int16)
    sound = np.concatenate((sine(0.2, 24_000), pause, sine(0.2, 24_000)))
    for data in (encoded("mp3", "libmp3lame", sound, 24_000), encoded("adts", "aac", sound, 24_000)):
        samples, rate = await decoded(cut(data, [400]), "audio/mpeg" if data[:3] == b"ID3" else "audio/aac")
        assert len(samples) / rate == pytest.approx(0.7, abs=0.006)


UNUSABLE = {
    "vorbis": (b"OggS\0\2" + bytes(20) + b"\1\7\1vorbis", BadRequest),
    "wav of 12 bits": (wav(1, 12, 1, 24_000, bytes(100)), BadRequest),
    "wav of no rate": (wav(1, 16, 1, 0, bytes(100)), BadRequest),
    "riff, no wav": (b"RIFF\0\0\0\0AVI " + bytes(100), BadRequest),
    "another rate in the middle": (wav(1, 16, 1, 24_000, b"\1\0", 2) + wav(1, 16, 1, 16_000, b""), StreamCut),
}


@pytest.mark.parametrize("what", UNUSABLE)
async def test_what_cannot_be_decoded_is_an_engine_failure(what: str) -> None:
    data, kind = UNUSABLE[what]
    with pytest.raises(ProviderError) as caught:
        await decoded(cut(data, [40]), "")
    assert type(caught.value) is kind


@given(st.binary(max_size=300), st.sampled_from(["", "audio/mpeg", "audio/aac", "audio/ogg", "audio/wav"]))
@settings(max_examples=300, deadline=None)
def test_noise_is_audio_or_a_failure_and_never_a_crash(data: bytes, content_type: str) -> None:
    for start in (b"", b"OggS", b"ID3", b"RIFF", b"fLaC", b"\xff\xf3\x84\xc4"):
        with suppress(ProviderError):
            trio.run(decoded, cut(start + data, [7]), content_type)


@given(st.binary(min_size=1, max_size=40))
def test_pcm_without_a_label_is_recognised_by_its_first_bytes_unless_it_looks_like_frames(data: bytes) -> None:
    found = sniff(data, read_label(""), "pcm")
    magic = (b"RIFF", b"OggS", b"fLaC", b"ID3")
    odd = data[0] == 0xFF or any(mark.startswith(data[:4]) or data.startswith(mark) for mark in magic)
    assert found == "pcm" or odd


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "float wav"])
async def test_decoding_a_long_answer_never_keeps_the_event_loop(form: str, no_stalls: object) -> None:
    data, content_type, rate_hz = (await trio.to_thread.run_sync(every_form, 20.0))[form]
    await trio.to_thread.run_sync(library)
    await trio.lowlevel.checkpoint()
    samples, _ = await decoded([data], content_type)
    assert len(samples) / rate_hz == pytest.approx(20, abs=0.01)
