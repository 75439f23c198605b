"""`aura recordings`: the commands with plain arguments. Each returns its exit code; all raise AuraError."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console

from aura.tools.logs.cells import count
from aura.tools.logs.output import Output, PipeClosed, silence
from aura.tools.recorded import deletion, listing
from aura.tools.recorded.find import RecordingError, opened
from aura.tools.recorded.listing import size
from aura.tools.replay.unzip import is_archive

UNWELL = 2
"""Exit code: something could not be read or done; a line on stderr says what."""


def list_(
    data_dir: Path,
    *,
    since: str | None = None,
    until: str | None = None,
    session: str | None = None,
    search: str | None = None,
    limit: int | None = None,
    json: bool = False,
    out: Output | None = None,
    err: Console | None = None,
) -> int:
    """Show the recordings as a table, or one JSON object per line: 0."""
    found = listing.chosen(data_dir, since=since, until=until, session=session, search=search)
    out, err = out or Output(), err or Console(stderr=True, highlight=False)
    if not found:
        some = any((since, until, session, search))
        empty = "no recording is like this" if some else f"{data_dir} holds no recordings, see `aura serve --record`"
        err.print(empty, markup=False, soft_wrap=True, style="dim")
    with quiet_pipe():
        if json:
            out.json(found[-limit:] if limit else found)
        elif found:
            listing.show(found, out, listing.DEFAULT_LIMIT if limit is None else limit)
        out.flush()
    return 0


def show(data_dir: Path, where: str, *, json: bool = False, out: Output | None = None) -> int:
    """Show one recording: 0, or 2 when not all of it could be read."""
    from aura.tools.recorded import show as view

    out = out or Output()
    with opened(where, data_dir) as folder, quiet_pipe():
        shown = view.look(folder)
        shown.folder = Path(where) if is_archive(where) else folder
        if json:
            out.json([msgspec.to_builtins(shown, builtin_types=(), enc_hook=str)])
        else:
            view.show(shown, out)
        out.flush()
    return UNWELL if shown.summary.problem else 0


def export(
    data_dir: Path, where: str, target: Path, *, redact: str | None = None, console: Console | None = None
) -> int:
    """Write one recording to a folder or a .zip: 0."""
    from aura.tools.recorded import export as work

    console = console or Console(highlight=False)
    kinds = work.kinds_of(redact)
    with opened(where, data_dir) as folder:
        done = work.export(folder, target, kinds)
    without = f" without {' and '.join(done.redacted)}" if done.redacted else ""
    line = f"{done.path}: {count(done.files, 'file')}, {size(done.bytes)}{without}"
    console.print(line, markup=False, soft_wrap=True)
    for note in done.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True, style="yellow")
    if target.suffix.lower() == ".zip":
        into = data_dir / "recordings"
        console.print(f"to have it in a data folder: unzip {done.path} -d {into}", markup=False, soft_wrap=True)
    return 0


def delete(
    data_dir: Path,
    names: Sequence[str] = (),
    *,
    older_than: str | None = None,
    everything: bool = False,
    yes: bool = False,
    console: Console | None = None,
    ask: Callable[[str], bool] | None = None,
) -> int:
    """Delete recordings: 0, 1 when the user does not want to, 2 when some could not be deleted.

    `ask` puts a question to the user; None: there is nobody to ask.
    """
    console = console or Console(highlight=False)
    found = deletion.doomed(data_dir, names, older_than, everything=everything)
    running = [one.session for _, one in found if one.state == "running"]
    folders = [folder for folder, one in found if one.state != "running"]
    for session in running:
        console.print(f"{session} is still being recorded and stays", markup=False, style="yellow")
    if not folders:
        console.print("nothing to delete", style="dim")
        return UNWELL if running and names else 0
    what = f"{count(len(folders), 'recording')}, {size(sum(one.bytes for _, one in found if one.state != 'running'))}"
    if not yes:
        if ask is None:
            raise RecordingError(f"{what}: give --yes to delete them without being asked")
        if not ask(f"Delete {what}?"):
            return 1
    refused = deletion.delete(folders, data_dir)
    for line in refused:
        console.print(line, markup=False, soft_wrap=True, style="red")
    console.print(f"deleted {count(len(folders) - len(refused), 'recording')}", markup=False)
    return UNWELL if refused or (running and names) else 0


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """Whoever reads the output may stop early."""
    try:
        yield
    except PipeClosed:
        silence()
