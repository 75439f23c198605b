"""`aura recordings export`: one recording as a folder or a .zip, whole or with words or audio taken out.

A .zip holds `YYYY-MM-DD/<session>/…`: unpacked in the folder `recordings` of a data folder, it is there again. Audio
that is taken out becomes silence of the same length, so that every position in it still means the same moment.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import soundfile

from aura.core import journal, tape
from aura.core.errors import AuraError
from aura.core.journal import JournalError
from aura.storage.tapes import taken_out
from aura.storage.taping import SAMPLE_BYTES, TAPE
from aura.tools.logs.cells import count
from aura.tools.recorded import redaction
from aura.tools.recorded.find import JOURNAL, RecordingError
from aura.tools.replay.unzip import PARTS

BLOCK = 1 << 20


class Exported(msgspec.Struct):
    """What was written."""

    path: Path
    files: int = 0
    bytes: int = 0
    redacted: tuple[str, ...] = ()
    notes: list[str] = []
    """What a user should know."""


def kinds_of(text: str | None) -> frozenset[str]:
    """The kinds in `words,audio`. Raises RecordingError."""
    kinds = frozenset(part.strip() for part in (text or "").split(",") if part.strip())
    if unknown := kinds - set(redaction.KINDS):
        known = " or ".join(redaction.KINDS)
        raise RecordingError(f"--redact: nothing is called {', '.join(sorted(unknown))}: write {known}, or both")
    if text is not None and not kinds:
        raise RecordingError("--redact: say what is to be taken out: words, audio, or words,audio")
    return kinds


def export(folder: Path, out: Path, kinds: frozenset[str] = frozenset()) -> Exported:
    """Write a recording to a new folder, or to a new file that ends in `.zip`. Raises RecordingError."""
    if out.exists() or out.is_symlink():
        raise RecordingError(f"{out}: is there already: name a new folder or a new .zip")
    done = Exported(out, redacted=tuple(kind for kind in redaction.KINDS if kind in kinds))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".aura-export-", dir=out.parent) as temporary:
            parts = dict(_parts(folder, Path(temporary), kinds, done))
            half = Path(temporary, "out")
            write = _write_zip if out.suffix.lower() == ".zip" else _write_folder
            write(half, f"{folder.parent.name}/{folder.name}", parts)
            half.rename(out)
    except OSError as error:
        cure = "; free some space or choose another place" if error.errno == errno.ENOSPC else ""
        raise RecordingError(f"{out}: cannot be written: {error.strerror or error}{cure}") from None
    done.files = len(parts)
    done.bytes = out.stat().st_size if out.is_file() else sum(file.stat().st_size for file in out.iterdir())
    if kinds == {redaction.WORDS}:
        done.notes.append("what was said can still be heard: --redact words,audio takes out both")
    return done


def _parts(folder: Path, temporary: Path, kinds: frozenset[str], done: Exported) -> Iterator[tuple[str, Path]]:
    """Name and place of every file, the tape first: of a recording that is being made, audio may be longer than it."""
    names = sorted((file.name for file in folder.iterdir() if PARTS.fullmatch(file.name)), key=_order)
    for name in names:
        source, target = folder / name, temporary / name
        if not kinds:
            yield name, source
        elif name == TAPE:
            _private(target, _tape(source, kinds, done))
            yield name, target
        elif name == JOURNAL:
            _private(target, _journal(source, kinds, done))
            yield name, target
        elif redaction.AUDIO not in kinds:
            yield name, source
        elif silence(source, flac := target.with_suffix(".flac")):
            yield flac.name, flac
        else:
            done.notes.append(f"{name} cannot be read and is left out")


def _order(name: str) -> tuple[int, str]:
    return {TAPE: 0, JOURNAL: 1}.get(name, 2), name


def _private(target: Path, pieces: Iterable[bytes]) -> None:
    """A new file that only its owner may read."""
    target.touch(mode=0o600, exist_ok=False)
    with target.open("wb") as file:
        file.writelines(pieces)


# ---- with something taken out


def _tape(source: Path, kinds: frozenset[str], done: Exported) -> Iterator[bytes]:
    left_out = 0
    with source.open("rb") as file:
        first = file.readline()
        try:
            header = tape.decode_header(first, str(source))
        except AuraError as error:
            raise RecordingError(f"{error}; nothing can be taken out of it") from None
        yield redaction.tape_header(header, kinds | set(taken_out(first)))
        for line in redaction.tape_lines(file, kinds):
            if line is None:
                left_out += 1
            else:
                yield line
    if left_out:
        done.notes.append(f"{TAPE}: {count(left_out, 'line')} cannot be read and {_is(left_out)} left out")


def _journal(source: Path, kinds: frozenset[str], done: Exported) -> Iterator[bytes]:
    def blocks() -> Iterator[bytes]:
        with source.open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    try:
        reader = journal.Reader(blocks())
    except JournalError as error:
        raise RecordingError(f"{source}:{error.line or 1}: {error}; nothing can be taken out of it") from None
    yield journal.encode(redaction.journal_header(reader.header, kinds))
    left_out = 0
    for _, piece in reader:
        match piece:
            case list():
                yield b"".join(journal.encode(redaction.journal_entry(entry, kinds)) for entry in piece)
            case journal.Lost():
                yield journal.encode(piece)
            case journal.Trouble():
                left_out += 1
    if left_out:
        done.notes.append(f"{JOURNAL}: {count(left_out, 'line')} cannot be read and {_is(left_out)} left out")


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def silence(source: Path, target: Path) -> bool:
    """Silence as long as an audio file; False where that cannot be found out."""
    encoding, rate = source.stem.split(".")[1:]
    try:
        if source.suffix == ".flac":
            frames = soundfile.info(str(source)).frames
        else:
            frames = source.stat().st_size // SAMPLE_BYTES[encoding]
        target.touch(mode=0o600)
        quiet = np.zeros(BLOCK, np.int16)
        with soundfile.SoundFile(target, "w", int(rate), 1, "PCM_16", format="FLAC", compression_level=0.0) as sink:
            for begin in range(0, frames, BLOCK):
                sink.write(quiet[: frames - begin])
    except (soundfile.LibsndfileError, KeyError):
        return False
    return True


# ---- where it goes


def _write_folder(out: Path, _name: str, parts: dict[str, Path]) -> None:
    out.mkdir(mode=0o700)
    for name, source in parts.items():
        with source.open("rb") as file, (out / name).open("xb") as target:
            os.fchmod(target.fileno(), 0o600)
            shutil.copyfileobj(file, target, BLOCK)


def _write_zip(out: Path, folder: str, parts: dict[str, Path]) -> None:
    out.touch(mode=0o600)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, source in parts.items():
            info = zipfile.ZipInfo.from_file(source, f"{folder}/{name}", strict_timestamps=False)
            info.external_attr = 0o600 << 16
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".flac") else zipfile.ZIP_DEFLATED
            with source.open("rb") as file, packed.open(info, "w") as target:
                shutil.copyfileobj(file, target, BLOCK)
