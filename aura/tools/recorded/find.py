"""Which recording is meant: an id or its beginning, a folder, a file in it, or a .zip that was exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aura.core.errors import AuraError
from aura.storage.journals import DAY
from aura.storage.taping import TAPE
from aura.tools.logs.problems import clean
from aura.tools.replay.unzip import opened as unzipped

JOURNAL = "journal.jsonl"
SHOWN_MAX = 5
"""So many recordings are named where an id could mean any of them."""


class RecordingError(AuraError):
    """A recording cannot be found or handled; the message says what to do."""

    code = "recording_error"


def recordings(data_dir: Path) -> list[Path]:
    """The folders of all recordings and branches, the oldest day first."""
    root = data_dir / "recordings"
    try:
        days = sorted(path for path in root.iterdir() if DAY.fullmatch(path.name))
        return [path for day in days if day.is_dir() for path in sorted(day.iterdir()) if _is_recording(path)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordingError(f"{root}: cannot be read: {error.strerror}") from None


def _is_recording(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and any((path / name).is_file() for name in (TAPE, JOURNAL))


def folder_of(where: str, data_dir: Path) -> Path:
    """The folder of the recording that is meant. Raises RecordingError."""
    if not where:
        raise RecordingError("no recording is named: give its id, its folder or a .zip")
    path = Path(where)
    for folder in (path, path.parent if path.is_file() else path, data_dir / "recordings" / where):
        if _is_recording(folder):
            return folder
    if path.is_dir():
        raise RecordingError(f"{where}: this is no folder of a recording: there is no {TAPE} and no {JOURNAL} in it")
    if path.exists():
        raise RecordingError(f"{where}: this is no file of a recording; name its folder, its id or a .zip")
    if path.name != where:
        raise RecordingError(f"{clean(where)}: there is no such file or folder")
    return by_id(where, data_dir)


def by_id(ident: str, data_dir: Path) -> Path:
    """A recording by its id or the beginning of it, with or without its `sess_`. Raises RecordingError."""
    known = {path.name: path for path in recordings(data_dir)}
    if exact := known.get(ident) or known.get(f"sess_{ident}"):
        return exact
    found = [path for name, path in known.items() if name.startswith((ident, f"sess_{ident}"))]
    if not found:
        more = "" if known else ": nothing has been recorded yet, see `aura serve --record`"
        raise RecordingError(f"{clean(ident)}: {data_dir} holds no recording of this name{more}")
    if len(found) > 1:
        some = ", ".join(path.name for path in found[:SHOWN_MAX]) + (", …" if len(found) > SHOWN_MAX else "")
        raise RecordingError(f"{clean(ident)}: {len(found)} recordings begin like this: {some}")
    return found[0]


@contextmanager
def opened(where: str, data_dir: Path) -> Iterator[Path]:
    """The folder of the recording that is meant; that of an exported .zip exists while this lasts.

    Raises AuraError.
    """
    with unzipped(where) as place:
        yield folder_of(place, data_dir)
