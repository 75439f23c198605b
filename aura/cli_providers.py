"""The command about the engines: `aura providers`."""

from __future__ import annotations

from typing import Annotated

import typer

from aura.cli_app import ConfigOption, SetOption, command, settings, start_logs


@command("providers", "Show each engine: health, latency, errors, cost.")
def providers(
    probe: Annotated[bool, typer.Option("--probe", help="Check the engines from here, also if a server runs.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Show also the engines that are not chosen.")] = False,
    url: Annotated[str | None, typer.Option(help="The server's address; by default the one in the settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show each engine as a running server knows it. Where none runs, each is checked from here, without cost.

    Ends with 1 when there is no engine for a part of the conversation.
    """
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import providers as tool

    raise typer.Exit(tool.run(chosen, url=url, probe=probe, show_all=show_all, as_json=as_json))


@command("route", "Show which language model would answer a question.")
def route(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The question, as a recogniser would write it.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Classify a question and rank the chosen language models for it; nobody is asked."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import route as tool

    raise typer.Exit(tool.run(chosen, text))
