"""`aura recordings delete`: never anything but a recording's own folder, `<data_dir>/recordings/YYYY-MM-DD/…`."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aura.storage.journals import DAY
from aura.tools.recorded.find import RecordingError, folder_of, recordings
from aura.tools.recorded.summary import Summary, summarise

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


def age_of(text: str) -> timedelta:
    """A length of time as a user writes it: 12h, 30d, 2w. Raises RecordingError."""
    found = _AGE.fullmatch(text.strip())
    with contextlib.suppress(OverflowError):
        if found:
            return timedelta(hours=float(found[1]) * _HOURS[found[2]])
    raise RecordingError(f"--older-than: cannot read “{text}” as an age; write 12h, 30d or 2w")


def doomed(
    data_dir: Path,
    names: Sequence[str] = (),
    older_than: str | None = None,
    *,
    everything: bool = False,
    now: datetime | None = None,
) -> list[tuple[Path, Summary]]:
    """The recordings that are meant, each with what is known of it. Raises RecordingError."""
    if sum((bool(names), older_than is not None, everything)) != 1:
        raise RecordingError("say which recordings: their ids, or --older-than AGE, or --all")
    now = now or datetime.now(UTC)
    if names:
        folders = list(dict.fromkeys(inside(folder_of(name, data_dir), data_dir) for name in names))
    else:
        folders = recordings(data_dir)
    found = [(folder, one) for folder in folders if (one := summarise(folder)) is not None]
    if older_than is not None:
        before = now - age_of(older_than)
        found = [(folder, one) for folder, one in found if _before(folder, one, before)]
    return found


def _before(folder: Path, one: Summary, moment: datetime) -> bool:
    if one.began is not None:
        return one.began < moment
    return folder.parent.name < moment.date().isoformat()


def inside(folder: Path, data_dir: Path) -> Path:
    """The folder, if it is a recording of this data folder. Raises RecordingError."""
    real, root = folder.resolve(), (data_dir / "recordings").resolve()
    if folder.is_symlink() or real.parent.parent != root or not DAY.fullmatch(real.parent.name):
        raise RecordingError(f"{folder}: this is not in {data_dir / 'recordings'}: delete it yourself")
    return real


def delete(folders: Sequence[Path], data_dir: Path) -> list[str]:
    """Delete them; returns a line for each that could not be. Raises RecordingError for a foreign folder."""
    refused = []
    for folder in folders:
        path = inside(folder, data_dir)
        try:
            shutil.rmtree(path)
        except OSError as error:
            refused.append(f"{path}: cannot be deleted: {error.strerror}")
            continue
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # fails, as it should, while other recordings are in it
    return refused
