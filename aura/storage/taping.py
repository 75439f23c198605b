"""What a conversation did → lines of its tape and bytes of its audio files. Runs in the thread that writes them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from aura.core import g711, tape
from aura.core.wire import client
from aura.core.wire.formats import Pcm, WireFormat

TAPE = "tape.jsonl"

Taken = tuple[float, int] | tuple[float, int, tape.Outcome] | tape.TapeHeader | tape.Note | list[str | bytes]
"""A step, a step out of a call to the outside, a note, or messages that went to the client."""

LONG = 400
"""A message of so many letters is probably audio."""
_APPEND = re.compile(r'"type"\s*:\s*"input_audio_buffer\.append"')
_DELTA = '"type":"response.output_audio.delta"'
_DESCRIBES = re.compile(r'"type":"session\.(?:created|updated)"')


class _Side(msgspec.Struct, frozen=True):
    format: WireFormat = Pcm()

    def name(self) -> str:
        """The format as it stands in file names."""
        audio = self.format.audio
        return f"{audio.encoding}.{audio.rate_hz}"


class _Audio(msgspec.Struct, frozen=True):
    input: _Side = _Side()
    output: _Side = _Side()


class _Session(msgspec.Struct, frozen=True):
    audio: _Audio = _Audio()


class _SessionMessage(msgspec.Struct, frozen=True):
    session: _Session


class _Delta(msgspec.Struct, frozen=True):
    delta: bytes
    item_id: str = ""


_append = msgspec.json.Decoder(client.Append)
_delta = msgspec.json.Decoder(_Delta)
_session_message = msgspec.json.Decoder(_SessionMessage)


class Scribe:
    """Encodes one conversation, in order. The formats of its audio are read from what the client was told."""

    def __init__(self) -> None:
        self._in = self._out = "pcm16.24000"
        self._item = ""

    def encode(self, items: Sequence[Taken]) -> dict[str, bytes]:
        """The bytes to append, by file name. The tape comes last: it must not tell of audio that was not written."""
        lines: list[Any] = []
        audio: defaultdict[str, list[bytes]] = defaultdict(list)
        for item in items:
            if type(item) is tuple and len(item) == 3:
                at, task, outcome = item
                if isinstance(outcome, tape.RawMessage):
                    lines.append((at, task, self._received(outcome.message, audio)))
                elif isinstance(outcome, tape.RawSound):
                    chunk = outcome.chunk
                    audio[f"voice.pcm16.{chunk.rate_hz}"].append(chunk.pcm)
                    lines.append((at, task, tape.Sound(len(chunk.pcm), chunk.rate_hz, chunk.words)))
                else:
                    lines.append(item)
            elif type(item) is list:
                lines += [self._sent(message, audio) for message in item]
            else:
                lines.append(item)
        return {**{f"{name}.raw": b"".join(parts) for name, parts in audio.items()}, TAPE: tape.encode(lines)}

    def _received(self, message: str | bytes, audio: defaultdict[str, list[bytes]]) -> tape.Outcome:
        if isinstance(message, bytes):
            audio[f"in.{self._in}"].append(message)
            return tape.Audio(len(message), self._in, binary=True)
        append = appended(message)
        if append is None:
            return tape.Text(message)
        audio[f"in.{self._in}"].append(append.audio)
        return tape.Audio(len(append.audio), self._in, False, append.event_id)

    def _sent(self, message: str | bytes, audio: defaultdict[str, list[bytes]]) -> tape.AnyNote:
        if isinstance(message, bytes):
            payload = message
        elif _DELTA in message[:160]:
            delta = _delta.decode(message)
            payload, self._item = delta.delta, delta.item_id
            if not payload:  # it names the item of the binary messages that follow
                return tape.Sent(message)
        else:
            if _DESCRIBES.search(message, 0, 300):
                formats = _session_message.decode(message).session.audio
                self._in, self._out = formats.input.name(), formats.output.name()
            return tape.Sent(message)
        audio[f"out.{self._out}"].append(payload)
        return tape.SentAudio(len(payload), self._out, tape.digest(message), self._item)


def appended(message: str) -> client.Append | None:
    """A message that carries audio, as the conversation reads it; None: it is another one, or will be refused."""
    if len(message) < LONG and not _APPEND.search(message):
        return None
    try:
        append = _append.decode(message)
    except (ValueError, RecursionError):
        return None
    return append if 0 < len(append.audio) <= client.MAX_APPEND_BYTES else None


def finish(folder: Path) -> None:
    """Turn a conversation's raw audio into FLAC, losslessly; what FLAC cannot hold exactly stays as it is."""
    for left in folder.glob(f"*{HALF}"):
        left.unlink()
    for raw in sorted(folder.glob("*.raw")):
        encoding, rate = raw.stem.split(".")[1:]
        flac = raw.with_suffix(".flac")
        if flac.exists():  # somebody was killed between the last two lines
            raw.unlink()
            continue
        if (size := raw.stat().st_size) == 0 or size % SAMPLE_BYTES[encoding]:
            continue
        half = flac.with_name(flac.name + HALF)
        try:
            write_flac(half, raw, encoding, int(rate))
        except Exception:  # the disk is full, for instance
            half.unlink(missing_ok=True)
            raise
        half.rename(flac)
        raw.unlink()


def write_flac(path: Path, raw: Path, encoding: str, rate_hz: int) -> None:
    """Compress raw audio into a file that only its owner may read, and see it to the disk."""
    import soundfile

    path.touch(mode=0o600)
    with (
        raw.open("rb") as source,
        soundfile.SoundFile(path, "w", rate_hz, 1, "PCM_16", format="FLAC", compression_level=0.0) as sink,
    ):
        while block := source.read(BLOCK):
            sink.write(decoded(block, encoding))
    with path.open("rb") as file:
        os.fsync(file.fileno())


HALF = ".part"
"""Follows the name of a FLAC file that is not complete yet."""
BLOCK = 1 << 18
SAMPLE_BYTES = {"pcm16": 2, "pcmu": 1, "pcma": 1}

# In µ-law there are two zeros. The second one is kept as the sample -1, which µ-law does not have.
_ULAW_DECODE, _ULAW_ENCODE = g711.ULAW_DECODE.copy(), g711.ULAW_ENCODE.copy()
_ULAW_DECODE[0x7F], _ULAW_ENCODE[0xFFFF] = -1, 0x7F


def decoded(data: bytes, encoding: str) -> npt.NDArray[np.int16]:
    """Bytes of a format as samples, each in its own."""
    if encoding == "pcm16":
        return np.frombuffer(data, "<i2")
    return g711.decode(data, _ULAW_DECODE if encoding == "pcmu" else g711.ALAW_DECODE)


def encoded(samples: npt.NDArray[np.int16], encoding: str) -> bytes:
    """The way back, exactly."""
    if encoding == "pcm16":
        return samples.astype("<i2", copy=False).tobytes()
    return g711.encode(samples, _ULAW_ENCODE if encoding == "pcmu" else g711.ALAW_ENCODE)
