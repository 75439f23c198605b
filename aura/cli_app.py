"""What all commands share: the application, settings, logs, errors as exit codes.

Everything heavy is imported inside the command that needs it, so that `aura --help` answers at once. Exit codes:
0 done, 1 it did not work out (or a bug, with its traceback), 2 something the user can mend, 130 Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    "providers": "aura providers --probe",
    "route": 'aura route "how old is the brooklyn bridge"',
    "logs": "aura logs --slowest 5",
    "replay": "aura replay SESSION --from 12 --set turns.silence_s=0.4",
    "recordings": "aura recordings export SESSION call.zip --redact words",
    "keys": "aura keys create --name web --expires 30d",
    "bench": "aura bench ws://127.0.0.1:8080/v1/realtime --callers 20",
}
"""One for every command, shown in its help and in the list of commands."""


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
    return app.command(name, short_help=summary, epilog=example(name))


def example(name: str) -> str:
    """The last line of a command's help."""
    return f"Example: [bold]{EXAMPLES[name]}[/bold]"


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
