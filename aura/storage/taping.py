"""What a conversation did → lines of its tape and bytes of its audio files. Runs in the thread that writes them."""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from aura.core import g711, tape
from aura.core.errors import ProtocolFault
from aura.core.wire import client
from aura.core.wire.session_object import Pcm, WireFormat

TAPE = "tape.jsonl"

Taken = tuple[float, int] | tuple[float, int, tape.Outcome] | tape.TapeHeader | tape.Note | tuple[str | bytes, ...]
"""A step, a step out of a call to the outside, a note, or messages that went to the client."""

_APPEND = re.compile(r'"type"\s*:\s*"input_audio_buffer\.append"')
_DELTA = '"delta":"'
_ITEM = re.compile(r'"item_id":"([^"]*)"')
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


_session_message = msgspec.json.Decoder(_SessionMessage)


class Scribe:
    """Encodes one conversation, in order. The formats of its audio are read from what the client was told."""

    def __init__(self) -> None:
        self._in = self._out = "pcm16.24000"
        self._item = ""

    def encode(self, items: Sequence[Taken]) -> dict[str, bytes]:
        """The bytes to append, by file name."""
        lines: list[tape.Line | tape.TapeHeader] = []
        audio: defaultdict[str, list[bytes]] = defaultdict(list)
        for item in items:
            if isinstance(item, tape.Note | tape.TapeHeader):
                lines.append(item)  # type: ignore[arg-type]
            elif isinstance(item[0], str | bytes):
                lines += [self._sent(message, audio) for message in item]
            else:
                at, task, *outcome = item
                lines.append(tape.Step(at, task, self._outcome(outcome[0], audio) if outcome else None))  # type: ignore[arg-type]
        return {TAPE: tape.encode(lines), **{f"{name}.raw": b"".join(parts) for name, parts in audio.items()}}

    def _outcome(self, outcome: tape.Outcome, audio: defaultdict[str, list[bytes]]) -> tape.Outcome:
        match outcome:
            case tape.RawMessage(message):
                return self._received(message, audio)
            case tape.RawSound(chunk):
                audio[f"voice.pcm16.{chunk.rate_hz}"].append(chunk.pcm)
                return tape.Sound(len(chunk.pcm), chunk.rate_hz, chunk.words)
            case _:
                return outcome

    def _received(self, message: str | bytes, audio: defaultdict[str, list[bytes]]) -> tape.Outcome:
        if isinstance(message, str) and not _APPEND.search(message[:300]):
            return tape.Text(message)
        try:
            append = client.decode(message, binary=True)
        except ProtocolFault:
            append = None
        if not isinstance(append, client.Append) or not append.audio:
            return tape.Text(message if isinstance(message, str) else message.decode("latin-1"))
        audio[f"in.{self._in}"].append(append.audio)
        return tape.Audio(len(append.audio), self._in, isinstance(message, bytes), append.event_id)

    def _sent(self, message: str | bytes, audio: defaultdict[str, list[bytes]]) -> tape.AnyNote:
        if isinstance(message, bytes):
            payload = message
        elif '"response.output_audio.delta"' in message[:160]:
            found = _ITEM.search(message)
            self._item = found[1] if found else ""
            begin = message.rfind(_DELTA) + len(_DELTA)
            payload = a2b_base64(message[begin : message.index('"', begin)])
        else:
            if _DESCRIBES.search(message[:300]):
                formats = _session_message.decode(message).session.audio
                self._in, self._out = formats.input.name(), formats.output.name()
            return tape.Sent(message)
        if not payload:  # names the item of the binary messages that follow
            assert isinstance(message, str)
            return tape.Sent(message)
        audio[f"out.{self._out}"].append(payload)
        return tape.SentAudio(len(payload), self._out, tape.digest(message), self._item)


def finish(folder: Path) -> None:
    """Turn a conversation's raw audio into FLAC, losslessly; what FLAC cannot hold exactly stays as it is."""
    import soundfile

    for raw in sorted(folder.glob("*.raw")):
        encoding, rate = raw.stem.split(".")[1:]
        flac, half = raw.with_suffix(".flac"), raw.with_suffix(".flac.part")
        with (
            raw.open("rb") as source,
            soundfile.SoundFile(half, "w", int(rate), 1, "PCM_16", format="FLAC", compression_level=0.0) as sink,
        ):
            exact = True
            while exact and (block := source.read(BLOCK)):
                exact = len(block) % SAMPLE_BYTES[encoding] == 0
                exact = exact and encoded(decoded(block, encoding), encoding) == block
                if exact:
                    sink.write(decoded(block, encoding))
        if exact:
            half.rename(flac)
            raw.unlink()
        else:
            half.unlink()


BLOCK = 1 << 18
SAMPLE_BYTES = {"pcm16": 2, "pcmu": 1, "pcma": 1}


def decoded(data: bytes, encoding: str) -> npt.NDArray[np.int16]:
    """Bytes of a format as samples."""
    if encoding == "pcm16":
        return np.frombuffer(data, "<i2")
    return g711.decode(data, g711.ULAW_DECODE if encoding == "pcmu" else g711.ALAW_DECODE)


def encoded(samples: npt.NDArray[np.int16], encoding: str) -> bytes:
    """The way back."""
    if encoding == "pcm16":
        return samples.astype("<i2").tobytes()
    return g711.encode(samples, g711.ULAW_ENCODE if encoding == "pcmu" else g711.ALAW_ENCODE)
