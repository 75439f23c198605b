"""`aura logs`: reading, selecting, showing; exit code 2 where the input was not all well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from aura.tools.logs import output, prices
from aura.tools.logs.cells import count
from aura.tools.logs.collect import Keep, Wanted
from aura.tools.logs.facts import facts as facts_table
from aura.tools.logs.model import ConversationRow
from aura.tools.logs.output import Output, PipeClosed
from aura.tools.logs.problems import LogsError, Problems, clean
from aura.tools.logs.read import Found, read
from aura.tools.logs.select import Filter, hint, make_filter, select
from aura.tools.logs.sheet import Page
from aura.tools.logs.sources import STDIN
from aura.tools.logs.tables import TABLES
from aura.tools.logs.views import LINES, VIEWS, Look

DEFAULT_LIMIT = 50
UNWELL = 2
"""Exit code: something could not be read; a line on stderr says what."""
SLOW_BYTES = 50_000_000
"""Reading more than this is accompanied by a line that says how far it is."""

if TYPE_CHECKING:
    from aura.tools.logs.follow import News

Clock = Callable[[], datetime]


class Asked(msgspec.Struct, frozen=True):
    """What to do with what was read."""

    names: tuple[str, ...]
    """The views, in the order in which they are shown."""
    chosen: Filter
    form: str = "table"
    """table, json or csv."""
    limit: int | None = None
    slowest: int | None = None
    prices: prices.Prices | None = None
    html: Path | None = None
    perfetto: Path | None = None
    otel: str | None = None

    @property
    def exports(self) -> bool:
        """Whether a file is made of it."""
        return bool(self.html or self.perfetto or self.otel)


def run(
    data_dir: Path,
    sources: Sequence[str | Path] = (),
    *,
    turns: bool = False,
    slowest: int | None = None,
    errors: bool = False,
    interruptions: bool = False,
    facts: bool = False,
    cost: bool = False,
    since: str | None = None,
    until: str | None = None,
    session: str | None = None,
    tenant: str | None = None,
    state: str | None = None,
    event: str | None = None,
    provider: str | None = None,
    limit: int | None = None,
    price_file: Path | None = None,
    json: bool = False,
    csv: bool = False,
    follow_on: bool = False,
    html: Path | None = None,
    perfetto: Path | None = None,
    otel: str | None = None,
    clock: Clock = lambda: datetime.now(UTC),
    out: Output | None = None,
    err: Console | None = None,
    seconds: float | None = None,
) -> int:
    """Show logs and journals: 0, or 2 when some of the input could not be read. Raises LogsError.

    Without `sources` the data folder is read. `seconds` ends following (for ever without it).
    """
    flags = {
        "turns": turns or slowest is not None,
        "errors": errors,
        "interruptions": interruptions,
        "cost": cost,
        "facts": facts,
    }
    names = tuple(name for name, wanted in flags.items() if wanted)
    chosen = make_filter(
        clock(),
        since=since,
        until=until,
        session=session,
        tenant=tenant,
        state=state,
        event=event,
        provider=provider,
    )
    form = "json" if json else "csv" if csv else "table"
    known = prices.load(price_file) if price_file else prices.builtin() if cost else None
    asked = Asked(names, chosen, form, limit, slowest, known, html, perfetto, otel)
    check(asked, both=json and csv, follow_on=follow_on)
    read_from = places(data_dir, sources)
    screens = out or Output(), err or Console(stderr=True, highlight=False)
    return _done(read_from, asked, clock, *screens, follow_on=follow_on, seconds=seconds)


def _done(
    sources: Sequence[str | Path],
    asked: Asked,
    clock: Clock,
    out: Output,
    err: Console,
    *,
    follow_on: bool,
    seconds: float | None,
) -> int:
    """Do it, and tell what could not be read, also when nobody looks at the rest any more."""
    problems = Problems()
    try:
        if follow_on:
            _follow(sources, asked, clock, problems, out, seconds)
        else:
            _show(sources, asked, clock, problems, out, err)
        out.flush()
    except PipeClosed:
        output.silence()
    finally:
        for line in problems.lines():
            err.print(line, markup=False, soft_wrap=True, style="yellow")
    return UNWELL if problems else 0


def check(asked: Asked, *, both: bool, follow_on: bool) -> None:
    """Refuse what contradicts itself. Raises LogsError."""
    if both:
        raise LogsError("--json and --csv: choose one")
    if asked.form != "table" and len(asked.names) > 1:
        shown = " and ".join(f"--{name}" for name in asked.names)
        raise LogsError(f"--{asked.form} writes one view at a time, not {shown}")
    if follow_on and asked.form == "csv":
        raise LogsError("--follow writes lines for people or --json, not --csv")
    if follow_on and (asked.exports or asked.slowest is not None):
        raise LogsError("--follow only shows what happens: leave out --slowest, --html, --perfetto and --otel")


def places(data_dir: Path, sources: Sequence[str | Path]) -> list[str | Path]:
    """What to read: what was named, or the data folder. Raises LogsError."""
    if sources:
        return list(sources)
    if not data_dir.is_dir():
        raise LogsError(
            f"{data_dir}: there is no such folder yet; hold a conversation (aura demo) or name a log file or folder"
        )
    return [data_dir]


# ---- at once ------------------------------------------------------------------------------------------------------


def _show(
    sources: Sequence[str | Path], asked: Asked, clock: Clock, problems: Problems, out: Output, err: Console
) -> None:
    found = _read(sources, asked, _keep(asked), clock, problems, err)
    rows = select(found.rows, asked.chosen)
    if asked.names == ("facts",) and not asked.exports and len(rows) == 1 and not rows[0].facts:
        rows = select(_again(sources, asked, rows[0].session, clock), asked.chosen)
    if not rows and not found.process_errors and (found.rows or not problems):
        empty = "no conversations in what was read" if not found.rows else hint(found.rows, asked.chosen)
        err.print(empty, markup=False, soft_wrap=True, style="dim")
    for what in _export(rows, asked):
        err.print(what, markup=False, soft_wrap=True)
    if asked.exports and not asked.names:
        return
    others = [error for error in found.process_errors if asked.chosen.keep_error(error)]
    look = Look(rows, others, asked.prices, asked.slowest)
    for index, name in enumerate(asked.names or ("conversations",)):
        if asked.form != "table":
            _data(name, look, asked, out)
        elif rows or (others and name in ("conversations", "errors")):
            out.show([""] * bool(index))
            _table(name, look, asked, out)


def _read(
    sources: Sequence[str | Path], asked: Asked, keep: Keep, clock: Clock, problems: Problems, err: Console
) -> Found:
    """Read everything, telling how far it is where that takes long."""
    done, told = 0, 0
    with err.status("") as status:
        status.stop()

        def progress(name: str, size: int) -> None:
            nonlocal done, told
            done += size
            if err.is_terminal and done - told > SLOW_BYTES:
                told = done
                status.start()
                status.update(f"[dim]reading {clean(Path(name).name)}: {done / 1e6:.0f} MB so far[/dim]")

        return read(
            sources,
            keep=keep,
            detail=detailed(asked, keep),
            wanted=asked.chosen.wanted,
            now=clock(),
            progress=progress,
            problems=problems,
        )


def detailed(asked: Asked, keep: Keep) -> bool:
    """Whether single calls and moves are of interest: without them a gigabyte of log needs much less memory."""
    chosen = asked.chosen
    narrowed = (chosen.since, chosen.until, chosen.state, chosen.event, chosen.provider)
    return keep != "none" or "cost" in asked.names or any(narrowed)


def _keep(asked: Asked) -> Keep:
    if asked.exports or ("facts" in asked.names and (asked.form != "table" or asked.chosen.session)):
        return "all"
    return "one" if "facts" in asked.names else "none"


def _again(sources: Sequence[str | Path], asked: Asked, session: str, clock: Clock) -> list[ConversationRow]:
    """Read the only conversation that was left, now with its facts: while others were read they were not kept."""
    if STDIN in map(str, sources):
        raise LogsError(f"--facts: standard input is read only once: add --session {session}")
    return read(sources, keep="all", wanted=Wanted(session, asked.chosen.since), now=clock()).rows


def _table(name: str, look: Look, asked: Asked, out: Output) -> None:
    if name == "facts":
        if len(look.rows) > 1 and not asked.chosen.session:
            last = look.rows[-1].session
            raise LogsError(
                f"--facts shows one conversation, and there are {len(look.rows)}: name one with --session "
                f"(the latest: {clean(last)})"
            )
        out.show(facts_table(look, Page(out.console, asked.limit or 0)))
        return
    limit = DEFAULT_LIMIT if asked.limit is None else asked.limit
    out.show(TABLES[name](look, Page(out.console, limit)))


def _data(name: str, look: Look, asked: Asked, out: Output) -> None:
    lines = VIEWS[name](look)
    if asked.limit:
        lines = lines[: asked.limit] if asked.slowest is not None or name == "errors" else lines[-asked.limit :]
    if asked.form == "json":
        out.json(lines)
    else:
        out.csv(LINES[name], lines)


def _export(rows: Sequence[ConversationRow], asked: Asked) -> list[str]:
    """Write the files that were asked for; returns what was done."""
    done = []
    if asked.html:
        from aura.tools.logs.report import write_html

        write_html(rows, asked.html)
        done.append(f"{asked.html}: a report of {count(len(rows), 'conversation')}, for a browser")
    if asked.perfetto:
        from aura.tools.logs.perfetto import write_perfetto

        write_perfetto(rows, asked.perfetto)
        done.append(f"{asked.perfetto}: open it at https://ui.perfetto.dev")
    if asked.otel:
        from aura.tools.logs.otel import write_otel

        spans = write_otel(rows, asked.otel)
        done.append(f"{asked.otel}: {count(spans, 'span')}")
    return done


# ---- as it happens ------------------------------------------------------------------------------------------------


def _follow(
    sources: Sequence[str | Path],
    asked: Asked,
    clock: Clock,
    problems: Problems,
    out: Output,
    seconds: float | None,
) -> None:
    import trio

    from aura.tools.logs import feed
    from aura.tools.logs.follow import follow

    wanted = feed.kinds(asked.names or ("conversations",))

    def tell(news: News) -> None:
        if news.kind not in wanted:
            return
        if asked.form == "json":
            out.json([feed.data(news)])
        else:
            out.console.print(feed.text(news, out.console), soft_wrap=True)
            out.flush()

    async def watch() -> None:
        await follow(sources, tell, asked.chosen, problems=problems, now=clock, facts="fact" in wanted, seconds=seconds)

    trio.run(watch)
