"""The commands. Each loads the settings and hands over; what a command does stands in `aura.tools` and `aura.server`.

Everything heavy is imported inside the command that needs it, so that `aura --help` answers at once. Exit codes:
0 done, 1 it did not work out (or a bug, with its traceback), 2 something the user can mend, 130 Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from aura.core.errors import AuraError

if TYPE_CHECKING:
    from aura.config import Config

USER_ERROR, INTERRUPTED = 2, 130

EXAMPLES = {
    "serve": "aura serve --port 8080",
    "talk": "aura talk hello.wav --save answer.wav",
    "demo": "aura demo",
    "doctor": "aura doctor --all",
    "replay": "aura replay SESSION --from 12 --set turns.silence_s=0.4",
    "bench": "aura bench ws://127.0.0.1:8080/v1/realtime --callers 20",
}
"""One for every command, shown in its help and in the list of commands."""


class LogFormat(StrEnum):
    """The choices of `--log-format`; `aura.observe.logs.LogSettings` says what they mean."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class Depth(StrEnum):
    """How much of a conversation is run again."""

    AUTO = "auto"
    TRANSITIONS = "transitions"
    PIPELINE = "pipeline"


class Engines(StrEnum):
    """Who answers in a branch what the recording does not know."""

    OFFLINE = "offline"
    CONFIGURED = "configured"


class LogLevel(StrEnum):
    """The choices of `--log-level`."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside nested exception groups (Trio's nurseries wrap what they raise)."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def verdict(error: BaseException) -> tuple[int, str] | None:
    """Exit code and line for an error that needs no traceback; None for a bug."""
    inside = list(leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in inside):
        return INTERRUPTED, ""
    if all(isinstance(leaf, AuraError) for leaf in inside):
        return USER_ERROR, str(inside[0])
    return None


class Commands(TyperGroup):
    """The group of all commands, with one place where errors become exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            known = verdict(error)
            if known is None:
                raise
            code, line = known
            if line:
                typer.secho(f"error: {line}", fg="red", err=True)
            raise typer.Exit(code) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables: words and keys
    rich_markup_mode="rich",
    help="AURA, a self-hosted realtime voice-AI server: it hears, answers aloud, and can be interrupted.",
    epilog="\n\n".join(["Examples:", *EXAMPLES.values(), "Help for one command: aura COMMAND --help"]),
)


def command(name: str, summary: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command with its example."""
    example = EXAMPLES[name]
    return app.command(name, short_help=summary, epilog=f"Example: [bold]{example}[/bold]")


Flag = tuple[str, object]
"""The setting that a command's own option stands for, and the value given, or None."""
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file to read instead of aura.toml.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; may be given several times."),
]


def settings(file: Path | None, options: list[str] | None, flags: Mapping[str, Flag] | None = None) -> Config:
    """Read all settings; `flags` are the command's own options."""
    from aura.config import load
    from aura.config_sources import Given

    given = [Given(key, value, flag) for flag, (key, value) in (flags or {}).items() if value is not None]
    return load(file, options or (), given)


def start_logs(config: Config, *, quiet: bool) -> None:
    """Configure logging; a `quiet` tool only reports trouble unless a level was asked for."""
    import msgspec

    from aura.observe import logs

    chosen = config.logs
    if quiet and "logs.level" not in config.origins:
        chosen = msgspec.structs.replace(chosen, level="warning")
    logs.configure(chosen, secrets=config.secrets(), recording=config.storage.record)


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
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Speak to a server: send audio files, or the microphone, and show (and play) what it answers."""
    if not files and not mic:
        raise typer.BadParameter("name one or more audio files, or give --mic", param_hint="FILE")
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import talk as tool

    raise typer.Exit(tool.run(chosen, files or [], url or own_url(chosen), save, mic, play, barge_in_after))


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
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show what is configured and from where, what is missing, and what to do about it."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import doctor as tool

    raise typer.Exit(tool.run(chosen, show_all))


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
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Branch: where its recording goes.")] = None,
    step: Annotated[bool, typer.Option("--step", help="Walk through the facts.")] = False,
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
        where, depth.value, from_fact, tuple(branch), tuple(edits or ()), engines.value, out, as_json, step
    )
    raise typer.Exit(tool.run(request, chosen))


OWN = ("storage.", "logs.", "http.", "openai.", "compatible.", "engines.", "offline_stt.", "offline_tts.")


def own_settings(options: list[str] | None) -> tuple[list[str], list[str]]:
    """What of --set is about this process (where recordings are, which keys), and what about the branch."""
    mine = [text for text in options or () if text.startswith(OWN)]
    return mine, [text for text in options or () if text not in mine]


@command("bench", "Measure a server's response times under load.")
def bench(
    urls: Annotated[list[str] | None, typer.Argument(metavar="URL...", help="Servers, measured in turn.")] = None,
    callers: Annotated[int, typer.Option(min=1, help="Conversations at the same time.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="How long to measure.")] = 60.0,
    scenes: Annotated[Path | None, typer.Option(metavar="DIR", help="Scenes with truth to speak.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures here.")] = None,
    pid: Annotated[int | None, typer.Option(help="The server's process, where it cannot be found by its port.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Call one or more servers with many simulated callers and report their response times."""
    if json_out and urls and len(urls) > 1:
        raise typer.BadParameter("takes the figures of one server: give one URL", param_hint="--json")
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import bench as tool

    codes = [tool.run(chosen, url, callers, seconds, scenes, json_out, pid=pid) for url in urls or [own_url(chosen)]]
    raise typer.Exit(max(codes))


def own_url(config: Config) -> str:
    """The WebSocket address of a server that runs with these settings on this machine."""
    server = config.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(server.host, server.host)
    host = f"[{host}]" if ":" in host else host
    return f"{'wss' if server.tls_cert else 'ws'}://{host}:{server.port}/v1/realtime"
