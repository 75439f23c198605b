"""Compressed audio: MP3, Opus in Ogg, AAC, FLAC. Containers are taken apart here, `av` (FFmpeg) decodes frames.

FFmpeg's own demuxers pull from a file and would need a thread per stream; frames can be pushed. A frame of 24 ms takes
40 µs. Encoders put 10-50 ms of silence (priming, padding) around the sound; it is cut off, or every sentence would
begin and end with a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from aura.core.resample import Samples
from aura.providers.audio.raw import NOTHING, from_floats, to_mono
from aura.providers.audio.sniff import HEAD_BYTES, mpeg_frame_bytes

DECODER_DELAY = 529
"""Samples that every MP3 decoder lags behind."""
USUAL_PRIMING = 576 + DECODER_DELAY
"""What LAME adds where no header tells, as in streams."""
QUIET = 328
"""1 % of full scale: what an encoder's padding never exceeds (135 measured beside a tone of 25 %)."""
MAX_PADDING = 1152
SKIP_MANUAL = 1 << 29
"""FFmpeg's AV_CODEC_FLAG2_SKIP_MANUAL: what to cut off is decided here, in every version of it."""
OPUS_RATE_HZ = 48_000
MAX_METADATA_BYTES = 1 << 20
"""Of a FLAC stream, before its first frame."""


class MissingLibrary(Exception):
    """Compressed audio needs the package `av`."""


@cache
def library() -> Any:
    """FFmpeg. Takes 60 ms the first time. Raises MissingLibrary."""
    try:
        import av
    except ImportError as error:
        raise MissingLibrary("compressed audio needs the package av: pip install 'aura-voice[opus]'") from error
    return av


class Codec:
    """FFmpeg's decoder of one stream: a frame's bytes → mono samples."""

    def __init__(self, name: str, extradata: bytes | None = None) -> None:
        self._av = library()
        self._context = self._av.CodecContext.create(name, "r")
        if extradata is not None:
            self._context.extradata = extradata
        self._context.flags2 |= SKIP_MANUAL
        self.rate_hz = 0

    def parse(self, data: bytes) -> list[Any]:
        """Frames found in the bytes, for formats that are not taken apart here."""
        packets: list[Any] = self._context.parse(data)
        return packets

    def decode(self, packet: Any) -> Samples:
        """The samples of one frame (bytes or packet), None: what is left. Raises ValueError for a broken frame."""
        try:
            frames = self._context.decode(self._av.Packet(packet) if isinstance(packet, bytes) else packet)
        except self._av.FFmpegError as error:
            raise ValueError(f"broken audio: {error}") from error
        parts = [self._mono(frame) for frame in frames]
        return parts[0] if len(parts) == 1 else np.concatenate((NOTHING, *parts))

    def _mono(self, frame: Any) -> Samples:
        self.rate_hz = self.rate_hz or frame.sample_rate
        if frame.sample_rate != self.rate_hz:
            raise ValueError(f"the sample rate changes from {self.rate_hz} to {frame.sample_rate} Hz")
        values = frame.to_ndarray()
        channels = frame.layout.nb_channels
        if frame.format.is_planar:
            values = values.T
        values = values.reshape(-1)
        if values.dtype.kind == "f":
            samples = from_floats(values)
        elif values.dtype == np.int32:
            samples = (values >> 16).astype(np.int16)
        else:
            samples = values
        return to_mono(samples, channels)


class Edges:
    """Cuts the encoder's silence off both ends of a sound."""

    def __init__(self, skip: int = 0, skip_quiet: int = 0, padding: int = MAX_PADDING) -> None:
        self._skip, self._skip_quiet, self._padding = skip, skip_quiet, padding
        self._held: list[Samples] = []
        self._held_samples = 0

    def begin(self, skip: int) -> None:
        """A new sound, whose first `skip` samples are priming. What was held of the one before was its padding."""
        self._skip, self._skip_quiet = skip, 0
        self._held, self._held_samples = [], 0

    def push(self, samples: Samples) -> Samples:
        """All but what may still turn out to be padding."""
        if self._skip:
            cut = min(self._skip, len(samples))
            self._skip -= cut
            samples = samples[cut:]
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > QUIET)
        if self._skip_quiet and len(samples):
            cut = min(self._skip_quiet, int(loud[0]) if len(loud) else len(samples))
            self._skip_quiet = 0 if len(loud) else self._skip_quiet - cut
            samples, loud = samples[cut:], loud - cut
        if not len(loud):
            return self._hold(samples)
        end = int(loud[-1]) + 1
        sound = np.concatenate((*self._held, samples[:end]))
        self._held, self._held_samples = [], 0
        rest = self._hold(samples[end:])
        return np.concatenate((sound, rest)) if len(rest) else sound

    def _hold(self, quiet: Samples) -> Samples:
        """Keep as many of the last quiet samples as may be padding, give out those before."""
        self._held.append(quiet)
        self._held_samples += len(quiet)
        if self._held_samples <= self._padding:
            return NOTHING
        joined = np.concatenate(self._held)
        out = joined[: len(joined) - self._padding]
        self._held, self._held_samples = [joined[len(out) :]], self._padding
        return out


class Mp3:
    """A stream of MPEG layer III frames, with or without tags; also several files one after the other."""

    def __init__(self) -> None:
        self._codec = Codec("mp3float")
        self._edges = Edges(skip_quiet=USUAL_PRIMING)
        self._rest = b""
        self._skip_bytes = 0

    @property
    def rate_hz(self) -> int:
        return self._codec.rate_hz

    def push(self, data: bytes) -> bytes:
        """The sound of the frames completed by these bytes."""
        self._rest += data
        return b"".join([self._frame(frame) for frame in self._frames()])

    def end(self) -> bytes:
        """Frames cut short and held back silence are no sound; a last frame without its successor is."""
        return self._edges.push(self._codec.decode(None)).tobytes()

    def _frames(self) -> Iterator[bytes]:
        """Whole frames; tags and garbage between them are skipped."""
        while True:
            cut = min(self._skip_bytes, len(self._rest))
            self._skip_bytes -= cut
            rest = self._rest = self._rest[cut:]
            if len(rest) < 10:
                return
            if rest.startswith(b"ID3"):
                self._skip_bytes = 10 + (rest[6] << 21 | rest[7] << 14 | rest[8] << 7 | rest[9])
            elif length := mpeg_frame_bytes(rest[:HEAD_BYTES]):
                if len(rest) < length:
                    return
                self._rest = rest[length:]
                yield rest[:length]
            else:
                mark = min((at for at in (rest.find(b"\xff", 1), rest.find(b"ID3", 1)) if at > 0), default=0)
                self._skip_bytes = mark or len(rest) - 2

    def _frame(self, frame: bytes) -> bytes:
        about = max(frame.find(b"Xing", 0, 48), frame.find(b"Info", 0, 48))
        if about > 0:
            self._edges.begin(priming(frame, about))
            self._codec = fresh(self._codec)
            return b""
        try:
            samples = self._codec.decode(frame)
        except ValueError:
            return b""  # a frame that refers to one before the stream's beginning; the next is whole
        return self._edges.push(samples).tobytes()


def fresh(codec: Codec) -> Codec:
    """A decoder for another file of the same rate."""
    made = Codec("mp3float")
    made.rate_hz = codec.rate_hz
    return made


def priming(frame: bytes, about: int) -> int:
    """Silence before the sound, by the LAME part of the frame that describes a file. Source: gabriel.mp3-tech.org."""
    flags = int.from_bytes(frame[about + 4 : about + 8], "big")
    lame = about + 8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
    delay = frame[lame + 21 : lame + 23]
    told = delay[0] << 4 | delay[1] >> 4 if len(delay) == 2 and frame[lame : lame + 1].isalpha() else 576
    return told + DECODER_DELAY


class OggOpus:
    """Opus in Ogg (RFC 7845), 48 kHz; also several streams one after the other."""

    rate_hz = OPUS_RATE_HZ

    def __init__(self) -> None:
        self._codec: Codec | None = None
        self._edges = Edges()
        self._rest = b""
        self._packet = b""
        self._left: int | None = None
        self._pre_skip = self._given = 0

    def push(self, data: bytes) -> bytes:
        """The sound of the pages completed by these bytes. Raises ValueError for what is no Opus."""
        self._rest += data
        sound = []
        while len(self._rest) >= 27:
            page = self._rest
            if not page.startswith(b"OggS"):
                mark = page.find(b"OggS", 1)
                self._rest = page[mark if mark > 0 else len(page) - 3 :]
                continue
            sizes = page[27 : 27 + page[26]]
            start = 27 + page[26]
            if len(sizes) < page[26] or len(page) < start + sum(sizes):
                break
            self._rest = page[start + sum(sizes) :]
            sound.append(self._page(page[5], page[6:14], sizes, page[start : start + sum(sizes)]))
        return b"".join(sound)

    def end(self) -> bytes:
        """Nothing is left: every packet is decoded as it comes."""
        return b""

    def _page(self, flags: int, granule: bytes, sizes: bytes, body: bytes) -> bytes:
        """The packets of a page. The last page tells where the sound ends."""
        if flags & 4:
            self._left = int.from_bytes(granule, "little", signed=True) - self._pre_skip - self._given
        sound = []
        for size in sizes:
            self._packet += body[:size]
            body = body[size:]
            if size < 255:
                packet, self._packet = self._packet, b""
                sound.append(self._decode(packet))
        return b"".join(sound)

    def _decode(self, packet: bytes) -> bytes:
        if packet.startswith(b"OpusHead") and len(packet) >= 19:
            self._codec = Codec("opus", packet)
            self._pre_skip = int.from_bytes(packet[10:12], "little")
            self._given, self._left = 0, None
            self._edges.begin(self._pre_skip)
            return b""
        if packet.startswith(b"OpusTags"):
            return b""
        if self._codec is None:
            raise ValueError("Ogg, but no Opus inside")
        samples = self._edges.push(self._codec.decode(packet))
        if self._left is not None and self._left >= 0:
            samples = samples[: self._left]
            self._left -= len(samples)
        self._given += len(samples)
        return samples.tobytes()


class Parsed:
    """AAC with ADTS headers and FLAC, which FFmpeg itself cuts into frames."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._codec = Codec(name)
        self._edges = Edges(skip_quiet=2 * 1024) if name == "aac" else Edges(padding=0)
        self._head = b"" if name == "flac" else None

    @property
    def rate_hz(self) -> int:
        return self._codec.rate_hz

    def push(self, data: bytes) -> bytes:
        """The sound of the frames completed by these bytes."""
        if self._head is not None:
            data = self._without_header(self._head + data)
        return self._decoded(self._codec.parse(data)) if data else b""

    def end(self) -> bytes:
        """The frames that the parser kept back, for it wants to see several to be sure."""
        sound = []
        while packets := self._codec.parse(b""):
            sound.append(self._decoded(packets))
        sound.append(self._edges.push(self._codec.decode(None)).tobytes())
        return b"".join(sound)

    def _decoded(self, packets: list[Any]) -> bytes:
        return b"".join([self._edges.push(self._codec.decode(packet)).tobytes() for packet in packets])

    def _without_header(self, start: bytes) -> bytes:
        """The frames after FLAC's metadata blocks; b"" while those are not complete."""
        if len(start) > MAX_METADATA_BYTES:
            raise ValueError("no audio in the FLAC metadata")
        self._head = start
        at, last = 4, False
        while not last:
            if len(start) < at + 4:
                return b""
            last = bool(start[at] & 0x80)
            at += 4 + int.from_bytes(start[at + 1 : at + 4], "big")
        if len(start) <= at:
            return b""
        self._codec = Codec(self._name, start[8:42])
        self._head = None
        return start[at:]
