"""How exports reach a file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import msgspec

from aura.core.errors import AuraError

_encoder = msgspec.json.Encoder(enc_hook=str)


class ExportFailed(AuraError):
    """An export cannot be written or sent; the message says where and why."""

    code = "export_failed"


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, gzipped where its name ends in `.gz`. Raises ExportFailed."""
    try:
        with path.open("wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
                    yield cast("IO[bytes]", packed)
            else:
                yield file
    except OSError as error:
        raise ExportFailed(f"cannot write {path}: {error.strerror or error}; choose another file") from None


def to_json(value: object) -> bytes:
    """JSON of anything that a log may hold."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:  # half a surrogate pair, which some writers of JSON let through
        return json.dumps(value, default=str).encode()
