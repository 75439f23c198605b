"""Reads recordings: the tape, line by line, and its audio, from where it was read last."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import soundfile

from aura.core import tape
from aura.core.tape import TapeError
from aura.storage.taping import TAPE, encoded


class Tape(msgspec.Struct, frozen=True):
    """A recorded conversation, but for its audio."""

    folder: Path
    header: tape.TapeHeader
    lines: tuple[tape.Line, ...]
    redacted: tuple[str, ...] = ()
    """What was taken out when it was exported: words, audio."""

    @property
    def steps(self) -> tuple[tape.Step, ...]:
        """What the tasks did."""
        return tuple(line for line in self.lines if isinstance(line, tape.Step))

    @property
    def ended(self) -> bool:
        """Whether it is complete."""
        return bool(self.lines) and isinstance(self.lines[-1], tape.TapeEnd)


class _Redacted(msgspec.Struct, frozen=True):
    redacted: tuple[str, ...] = ()


_redacted = msgspec.json.Decoder(_Redacted)


def taken_out(first_line: bytes) -> tuple[str, ...]:
    """What the first line of a tape says was taken out when it was exported."""
    try:
        return _redacted.decode(first_line).redacted
    except (ValueError, RecursionError):
        return ()


def read_tape(folder: Path, *, redacted: bool = False) -> Tape:
    """The tape in the folder of a recording. Raises TapeError, one line with file and position.

    One from which something was taken out can be looked at (`redacted`), but not run again.
    """
    path = folder / TAPE
    try:
        with path.open("rb") as file:
            first = file.readline()
            header, missing = tape.decode_header(first, str(path)), taken_out(first)
            if missing and not redacted:
                raise TapeError(
                    f"{path}:1: this recording was exported without {' and '.join(missing)}: only its transitions can "
                    "be replayed (--depth transitions)"
                )
            return Tape(folder, header, tuple(tape.decode(file, str(path))), missing)
    except OSError as error:
        raise TapeError(f"{path}: {error.strerror}: this is no recording that can be run again") from None


_STREAM = re.compile(r"(?:in|voice|out)\.(?:pcm16|pcmu|pcma)\.[0-9]{1,6}")
AHEAD = 1 << 15
"""Samples read from FLAC at once: every read costs as much as decoding a thousand."""


class Sounds:
    """The audio files of a recording, each read from front to back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, SoundFile] = {}

    def take(self, stream: str, size: int) -> bytes:
        """The next bytes of a stream (`in.pcm16.24000`). Raises TapeError when there are no more."""
        if not size:
            return b""
        if stream not in self._open:
            self._open[stream] = SoundFile(self.folder, stream)
        data = self._open[stream].read(size)
        if len(data) < size:
            missing = f"{size - len(data)} bytes of audio are missing"
            raise TapeError(f"{self._open[stream].path}: {missing} at {self._open[stream].position}")
        return data

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()


class SoundFile:
    """One stream, raw or FLAC, as the bytes that it was recorded from."""

    def __init__(self, folder: Path, stream: str) -> None:
        if not _STREAM.fullmatch(stream):
            raise TapeError(f"{folder / 'tape.jsonl'}: no audio is called {stream[:40]!r}")
        self._encoding = stream.split(".")[1]
        self.path = folder / f"{stream}.flac"
        self.position = 0
        self._raw: BinaryIO | None = None
        self._ahead, self._taken = b"", 0
        try:
            if not self.path.exists():
                self.path = folder / f"{stream}.raw"
                self._raw = self.path.open("rb")
            else:
                self._flac = soundfile.SoundFile(self.path)
        except OSError:
            raise TapeError(f"{folder / stream}.flac: the audio of this recording is missing") from None
        except soundfile.LibsndfileError as error:
            raise TapeError(f"{self.path}: {error.error_string}") from None

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        if self._raw is not None:
            data = self._raw.read(size)
        else:
            while len(self._ahead) - self._taken < size and (block := self._block()):
                self._ahead, self._taken = self._ahead[self._taken :] + block, 0
            data = self._ahead[self._taken : self._taken + size]
            self._taken += len(data)
        self.position += len(data)
        return data

    def _block(self) -> bytes:
        try:
            return encoded(self._flac.read(AHEAD, "int16"), self._encoding)
        except soundfile.LibsndfileError as error:
            raise TapeError(f"{self.path}: damaged near byte {self.position} of its audio: {error}") from None

    def close(self) -> None:
        """Close the file."""
        (self._raw or self._flac).close()


def recordings_in(data_dir: Path) -> Iterator[Path]:
    """The folders of all recordings, the oldest day first."""
    yield from sorted(path.parent for path in (data_dir / "recordings").glob(f"*/*/{TAPE}"))
