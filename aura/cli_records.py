"""The commands about what happened: `aura logs`, `aura replay`, `aura recordings`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aura.cli_app import ConfigOption, SetOption, app, command, example, settings, start_logs

OWN = ("storage.", "logs.", "http.", "openai.", "compatible.", "engines.", "offline_stt.", "offline_tts.")
"""Beginnings of settings that are about this process (where recordings are, which keys), and not about a branch."""
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SinceOption = Annotated[str | None, typer.Option(metavar="WHEN", help="From then on: 10m, 2h, 3d ago, or ISO 8601.")]
UntilOption = Annotated[str | None, typer.Option(metavar="WHEN", help="Until then.")]
SessionOption = Annotated[str | None, typer.Option(metavar="ID", help="Only this conversation; its beginning will do.")]


class Depth(StrEnum):
    """How much of a conversation is run again."""

    AUTO = "auto"
    TRANSITIONS = "transitions"
    PIPELINE = "pipeline"


class Engines(StrEnum):
    """Who answers in a branch what the recording does not know."""

    OFFLINE = "offline"
    CONFIGURED = "configured"


@command("logs", "Read logs and journals: latency, errors, interruptions, cost.")
def logs(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE...", help="Logs, journals, folders, -; else the data folder."),
    ] = None,
    turns: Annotated[bool, typer.Option("--turns", help="Turns, and where their time went.")] = False,
    slowest: Annotated[int | None, typer.Option(metavar="N", min=1, help="The N slowest turns.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Errors by engine and kind.")] = False,
    interruptions: Annotated[bool, typer.Option("--interruptions", help="Speech over replies, as judged.")] = False,
    facts: Annotated[bool, typer.Option("--facts", help="Every fact.")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="What the engines were asked for.")] = False,
    prices: Annotated[Path | None, typer.Option(metavar="TOML", help="Prices, to turn use into cost.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    session: SessionOption = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    state: Annotated[str | None, typer.Option(help="Conversations that were in this state.")] = None,
    event: Annotated[str | None, typer.Option(help="Conversations with this event; those facts.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this engine.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Rows of a table (50); 0: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the files grow.")] = False,
    as_json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report with plots.")] = None,
    perfetto: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a trace for ui.perfetto.dev; .gz is gzipped.")
    ] = None,
    otel: Annotated[str | None, typer.Option(metavar="FILE|URL", help="Write or send OpenTelemetry spans.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Read structured logs and journals: what happened in which conversation, and where the time went.

    Exit code 0: all well, 2: some of the input could not be read; the rest is shown.
    """
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools.logs import command as tool

    code = tool.run(
        chosen.storage.data_dir, sources or (), turns=turns, slowest=slowest, errors=errors,
        interruptions=interruptions, facts=facts, cost=cost, price_file=prices, since=since, until=until,
        session=session, tenant=tenant, state=state, event=event, provider=provider, limit=limit, follow_on=follow,
        json=as_json, csv=csv, html=html, perfetto=perfetto, otel=otel,
    )  # fmt: skip
    raise typer.Exit(code)


@command("replay", "Run a recorded conversation again, exactly or with something changed.")
def replay(
    where: Annotated[str, typer.Argument(metavar="FILE", help="Recording, journal, session id, or -.")],
    depth: Annotated[Depth, typer.Option(help="Decisions only, or the real stages too (needs a tape).")] = Depth.AUTO,
    from_fact: Annotated[
        int | None, typer.Option("--from", metavar="N", min=0, help="Branch: as recorded up to fact N, then free.")
    ] = None,
    edits: Annotated[
        list[str] | None, typer.Option("--edit", metavar="OLD=NEW", help="Branch with other words of the user.")
    ] = None,
    engines: Annotated[
        Engines, typer.Option(help="Branch: who answers what the recording does not know.")
    ] = Engines.OFFLINE,
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="Where the branch or the test goes.")] = None,
    step: Annotated[bool, typer.Option("--step", help="Walk through the facts.")] = False,
    play: Annotated[bool, typer.Option("--play", help="Play along in real time, with the audio.")] = False,
    speed: Annotated[float, typer.Option(help="With --play: how much faster than it was.")] = 1.0,
    save: Annotated[Path | None, typer.Option(metavar="WAV", help="Write what was said and heard as audio.")] = None,
    to_test: Annotated[bool, typer.Option("--to-test", help="Make the smallest test that shows it.")] = False,
    symptom: Annotated[
        str, typer.Option(metavar="EVENT[:FIELD=VALUE]", help="With --to-test: what is wrong, such as StageFailed.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Branch with another setting; several times."),
    ] = None,
) -> None:
    """Run a recorded conversation again.

    Exit code 0: everything came out equal, 1: it did not, 2: it cannot be read.
    """
    here, branch = own_settings(set_)
    chosen = settings(config, here)
    start_logs(chosen, quiet=True)
    from aura.tools.replay import command as tool

    request = tool.Request(
        where, depth.value, from_fact, tuple(branch), tuple(edits or ()), engines.value, out, as_json, step,
        play, speed, save, to_test, symptom,
    )  # fmt: skip
    raise typer.Exit(tool.run(request, chosen))


def own_settings(options: list[str] | None) -> tuple[list[str], list[str]]:
    """What of --set is about this process, and what about the branch."""
    mine = [text for text in options or () if text.startswith(OWN)]
    return mine, [text for text in options or () if text not in mine]


recordings = typer.Typer(no_args_is_help=True, help="What was recorded: list, show, delete, export.")
app.add_typer(
    recordings, name="recordings", short_help="List, show, export, delete recordings.", epilog=example("recordings")
)


@recordings.command("list", epilog="Example: [bold]aura recordings list --since 1d[/bold]")
def list_(
    since: SinceOption = None,
    until: UntilOption = None,
    session: SessionOption = None,
    search: Annotated[str | None, typer.Option(metavar="WORDS", help="Only where this was said.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Only the newest of them (50); 0: all.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show what was recorded."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools.recorded import command as tool

    data_dir = chosen.storage.data_dir
    code = tool.list_(data_dir, since=since, until=until, session=session, search=search, limit=limit, json=as_json)
    raise typer.Exit(code)


Which = Annotated[str, typer.Argument(metavar="SESSION", help="The conversation's id or its beginning, or a path.")]


@recordings.command("show", epilog="Example: [bold]aura recordings show sess_12[/bold]")
def show(which: Which, as_json: JsonOption = False, config: ConfigOption = None, set_: SetOption = None) -> None:
    """Show one recording: files, settings, turns, and what was said and heard."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools.recorded import command as tool

    raise typer.Exit(tool.show(chosen.storage.data_dir, which, json=as_json))


@recordings.command("export", epilog="Example: [bold]aura recordings export sess_12 call.zip --redact words[/bold]")
def export(
    which: Which,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .zip file or a new folder.")],
    redact: Annotated[
        str | None, typer.Option(metavar="words,audio", help="Leave out what was said, or how it sounded.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Copy one recording to give it to somebody, with or without what people said."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools.recorded import command as tool

    raise typer.Exit(tool.export(chosen.storage.data_dir, which, out, redact=redact))


@recordings.command("delete", epilog="Example: [bold]aura recordings delete --older-than 30d --yes[/bold]")
def delete(
    which: Annotated[list[str] | None, typer.Argument(metavar="SESSION...", help="Ids or their beginnings.")] = None,
    older_than: Annotated[str | None, typer.Option(metavar="AGE", help="All that are older: 30d.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Delete recordings."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools.recorded import command as tool

    ask = typer.confirm if sys.stdin.isatty() else None
    code = tool.delete(
        chosen.storage.data_dir, which or (), older_than=older_than, everything=everything, yes=yes, ask=ask
    )
    raise typer.Exit(code)
