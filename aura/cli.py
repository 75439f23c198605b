"""The commands. Each loads the settings and hands over to `aura.tools` or `aura.server`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aura.cli_app import ConfigOption, SetOption, app, command, settings, start_logs

if TYPE_CHECKING:
    from aura.config import Config

__all__ = ["app"]


KeyOption = Annotated[
    str,
    typer.Option(
        "--key", metavar="KEY", envvar="AURA_API_KEY", show_envvar=True, help="The key that the server asks for."
    ),
]


class LogFormat(StrEnum):
    """The choices of `--log-format`; `aura.observe.logs.LogSettings` says what they mean."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The choices of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@command("serve", "Run the server.")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    record: Annotated[
        bool | None, typer.Option("--record/--no-record", help="Keep what people say in journals and logs.")
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="How log lines look.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="The least important log lines to write.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Run the server until Ctrl-C or SIGTERM: a web page and the Realtime protocol on one port."""
    flags = {
        "--host": ("server.host", host),
        "--port": ("server.port", port),
        "--record": ("storage.record", record),
        "--log-format": ("logs.format", log_format),
        "--log-level": ("logs.level", log_level),
    }
    chosen = settings(config, set_, flags)
    start_logs(chosen, quiet=False)
    import trio

    from aura.server import assemble
    from aura.session.steps import StepClock

    trio.run(assemble.serve, chosen, clock=StepClock())


@command("talk", "Speak to a server with audio files or the microphone.")
def talk(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", help="Audio files, one turn each.")] = None,
    url: Annotated[str | None, typer.Option(help="The server's address; by default the one in the settings.")] = None,
    save: Annotated[Path | None, typer.Option(metavar="WAV", help="Write the answers to this file.")] = None,
    mic: Annotated[bool, typer.Option("--mic", help="Use the microphone (needs the extra `mic`).")] = False,
    play: Annotated[bool, typer.Option("--play/--no-play", help="Play the answers aloud.")] = True,
    barge_in_after: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Say the next file so long after an answer began, over it."),
    ] = None,
    key: KeyOption = "",
    check: Annotated[bool, typer.Option("--check", help="Check the server's events against the protocol.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Speak to a server: send audio files, or the microphone, and show (and play) what it answers."""
    if not files and not mic:
        raise typer.BadParameter("name one or more audio files, or give --mic", param_hint="FILE")
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import talk as tool

    target = url or own_url(chosen)
    raise typer.Exit(tool.run(chosen, files or [], target, save, mic, play, barge_in_after, check=check, token=key))


@command("demo", "Hear a whole conversation, with no key and no microphone.")
def demo(
    out: Annotated[Path | None, typer.Option(metavar="WAV", help="Write the conversation to this file.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every event.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Start a server, hold a short conversation with it, and show what happened when."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import demo as tool

    raise typer.Exit(tool.run(chosen, out, verbose))


@command("doctor", "Check the settings and this machine; say what to do.")
def doctor(
    show_all: Annotated[bool, typer.Option("--all", help="Show every setting, with its meaning.")] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Ask each chosen engine for its health and a few words (may cost a fraction of a cent)."
        ),
    ] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show what is configured and from where, what is missing, and what to do about it."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import doctor as tool

    raise typer.Exit(tool.run(chosen, show_all, live=live))


@command("bench", "Measure a server's response times under load.")
def bench(
    urls: Annotated[list[str] | None, typer.Argument(metavar="URL...", help="Servers, measured in turn.")] = None,
    callers: Annotated[int, typer.Option(min=1, help="Conversations at the same time.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure.")] = 60.0,
    scenes: Annotated[Path | None, typer.Option(metavar="DIR", help="Scenes with truth to speak.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
    pid: Annotated[int | None, typer.Option(help="The server's process, where it cannot be found by its port.")] = None,
    key: KeyOption = "",
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Call one or more servers with many simulated callers and report their response times."""
    if json_out and urls and len(urls) > 1:
        raise typer.BadParameter("takes the figures of one server: give one URL", param_hint="--json")
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import bench as tool

    servers = urls or [own_url(chosen)]
    codes = [tool.run(chosen, url, callers, seconds, scenes, json_out, pid=pid, token=key) for url in servers]
    raise typer.Exit(max(codes))


def own_url(config: Config) -> str:
    """The WebSocket address of a server that runs with these settings on this machine."""
    server = config.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(server.host, server.host)
    host = f"[{host}]" if ":" in host else host
    return f"{'wss' if server.tls_cert else 'ws'}://{host}:{server.port}/v1/realtime"


from aura import cli_keys, cli_providers, cli_records  # noqa: E402, F401  (their commands come behind these)
