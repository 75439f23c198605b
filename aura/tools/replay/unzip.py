"""A recording in a .zip (`aura recordings export`), unpacked for as long as it is needed."""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from aura.core.errors import AuraError

PARTS = re.compile(r"(?:journal|tape)\.jsonl|(?:in|voice|out)\.[a-z0-9]+\.[0-9]+\.(?:flac|raw)")
"""Names of the files that a recording is made of; nothing else is unpacked."""
FOLDER = re.compile(r"\w[\w.-]*")
"""What the folder of a recording may be called."""
FILES_MAX = 64
BYTES_MAX = 4 << 30
"""Nothing larger is unpacked."""
BLOCK = 1 << 20


class UnzipError(AuraError):
    """A .zip holds no recording, or is damaged; the message says which."""

    code = "unzip_error"


@contextmanager
def opened(where: str) -> Iterator[str]:
    """The folder of the recording in a .zip, which exists while this lasts; anything else is handed on as it is.

    Raises UnzipError.
    """
    if not is_archive(where):
        yield where
        return
    with tempfile.TemporaryDirectory(prefix="aura-") as temporary:
        yield str(unpack(Path(where), Path(temporary)))


def is_archive(where: str) -> bool:
    """Whether it is, or should be, a .zip. Raises UnzipError where the disk does not tell."""
    path = Path(where)
    try:
        return not path.is_dir() and (path.suffix.lower() == ".zip" or (path.is_file() and zipfile.is_zipfile(path)))
    except OSError as error:
        raise UnzipError(f"{where}: cannot be read: {error.strerror}") from None


def unpack(archive: Path, into: Path) -> Path:
    """Unpack the recording in an archive into a folder of an existing one; returns it. Raises UnzipError."""
    try:
        with zipfile.ZipFile(archive) as packed:
            parts = _parts(archive, packed.infolist())
            parent = PurePosixPath(parts[0].filename).parent.name
            folder = into / (parent if FOLDER.fullmatch(parent) else "recording")
            folder.mkdir(mode=0o700)
            left = BYTES_MAX
            for part in parts:
                with packed.open(part) as source, (folder / PurePosixPath(part.filename).name).open("xb") as target:
                    left -= _copy(source, target, left, archive)
            return folder
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise UnzipError(f"{archive}: this .zip cannot be unpacked: {error}") from None
    except OSError as error:
        raise UnzipError(f"{archive}: {error.strerror or error}") from None


def _parts(archive: Path, infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """The files of the one recording in it."""
    parts = [info for info in infos if PARTS.fullmatch(PurePosixPath(info.filename).name)]
    folders = {PurePosixPath(info.filename).parent for info in parts}
    if not parts:
        raise UnzipError(f"{archive}: there is no recording in this .zip")
    if len(folders) > 1:
        raise UnzipError(f"{archive}: there are {len(folders)} recordings in this .zip: unpack it and name one of them")
    names = {PurePosixPath(info.filename).name for info in parts}
    if len(names) < len(parts) or len(parts) > FILES_MAX:
        raise UnzipError(f"{archive}: this is no .zip that AURA wrote: {len(parts)} files of {len(names)} names")
    return parts


def _copy(source: IO[bytes], target: IO[bytes], most: int, archive: Path) -> int:
    """Copy a file; returns its size."""
    size = 0
    while block := source.read(BLOCK):
        size += len(block)
        if size > most:
            raise UnzipError(f"{archive}: unpacked it is larger than {BYTES_MAX >> 30} GB")
        target.write(block)
    return size
