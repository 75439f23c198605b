"""The one decoder in front of all voices: bytes of any audio in any cut → 16-bit mono PCM at the audio's own rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from aura.core.errors import BadRequest, StreamCut
from aura.providers.audio.framed import MissingLibrary, Mp3, OggOpus, Parsed, library
from aura.providers.audio.raw import Raw, Wav
from aura.providers.audio.sniff import Kind, Label, read_label, sniff
from aura.providers.wav import ALAW, PCM, ULAW

G711_RATE_HZ = 8_000
STEP_BYTES = 1024
"""Compressed audio decoded between two looks at the event loop: 0.2-0.3 s of speech, 1 ms of work at most."""


class Decode(Protocol):
    """One format being decoded."""

    @property
    def rate_hz(self) -> int:
        """Known with the first samples."""
        ...

    def push(self, data: bytes) -> bytes:
        """The samples that these bytes complete. Raises ValueError for what cannot be decoded."""
        ...

    def end(self) -> bytes:
        """The samples that were waiting for more."""
        ...


COMPRESSED: dict[Kind, Callable[[], Decode]] = {
    "mp3": Mp3,
    "ogg": OggOpus,
    "aac": lambda: Parsed("aac"),
    "flac": lambda: Parsed("flac"),
}


class AudioDecoder:
    """The audio of one answer. `put` what comes, `close` at its end, and `take` until that gives nothing.

    `rate_hz` and `asked` are what was asked for; they count where neither the bytes nor the content type tell.
    """

    def __init__(self, name: str, rate_hz: int, *, content_type: str = "", asked: Kind = "pcm") -> None:
        self._name, self._asked, self._asked_hz = name, asked, rate_hz
        self._label: Label = read_label(content_type)
        self._decode: Decode | None = None
        self._pending = b""
        self._step = STEP_BYTES
        self._closed = self._ended = self._any = False

    @property
    def rate_hz(self) -> int:
        """The rate of what `take` gave."""
        return self._decode.rate_hz if self._decode is not None else 0

    def put(self, data: bytes) -> None:
        """The next bytes."""
        self._pending += data

    def close(self) -> None:
        """There will be no more."""
        self._closed = True

    async def take(self) -> bytes:
        """The next samples, b"" when more bytes are needed. Raises BadRequest or StreamCut."""
        try:
            while not self._ended and (self._pending or self._closed):
                if pcm := await self._step_on():
                    self._any = True
                    return pcm
                if self._decode is None:
                    break
        except MissingLibrary as error:
            raise BadRequest(f"{self._name}: {error}", provider=self._name) from error
        except ValueError as error:
            kind = StreamCut if self._any else BadRequest
            raise kind(f"{self._name}: unusable audio: {error}", provider=self._name) from error
        return b""

    async def _step_on(self) -> bytes:
        if self._decode is None:
            kind = sniff(self._pending, self._label, self._asked) if self._pending else None
            if kind is None and not self._closed:
                return b""
            self._decode = await self._decoder(kind or self._headerless())
        elif self._pending:
            await trio.lowlevel.checkpoint()
        data, self._pending = self._pending[: self._step], self._pending[self._step :]
        if data:
            return self._decode.push(data)
        self._ended = True
        return self._decode.end()

    async def _decoder(self, kind: Kind) -> Decode:
        if kind in COMPRESSED:
            await trio.to_thread.run_sync(library)  # importing takes 60 ms, once
            return COMPRESSED[kind]()
        self._step = len(self._pending) + (1 << 20)  # cheap enough to be done in one go
        if kind == "wav":
            return Wav()
        label = self._label
        if kind == "pcm":
            return Raw(label.rate_hz or self._asked_hz, PCM, 16, label.channels)
        rate_hz = label.rate_hz or (self._asked_hz if self._asked == kind else G711_RATE_HZ)
        return Raw(rate_hz, ULAW if kind == "mulaw" else ALAW, 8, label.channels)

    def _headerless(self) -> Kind:
        """What a few bytes are that could have become anything."""
        return sniff(b"\0", self._label, self._asked) or "pcm"
