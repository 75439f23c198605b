"""The commands about who may use the server: `aura keys`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from aura.cli_app import ConfigOption, SetOption, app, example, settings, start_logs

keys = typer.Typer(no_args_is_help=True, help="API keys: who may use this server.")
app.add_typer(keys, name="keys", short_help="Make, list and revoke API keys.", epilog=example("keys"))


class Scope(StrEnum):
    """The choices of `--scope`; `aura.storage.keys` says what they mean."""

    CONVERSE = "converse"
    SECRETS = "secrets"
    PHONE = "phone"


@keys.command("create", epilog="Example: [bold]aura keys create --name web --conversations 20 --expires 30d[/bold]")
def create(
    name: Annotated[str, typer.Option(help="What the key is for, to know it again.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose conversations these are, in journals and logs.")] = "",
    scopes: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="What it is good for; several times. Usually converse and secrets."),
    ] = None,
    conversations: Annotated[
        int, typer.Option(metavar="N", min=0, help="Conversations at a time; 0: as many as the server takes.")
    ] = 0,
    expires: Annotated[str | None, typer.Option(metavar="AGE", help="When it ends by itself: 12h, 30d, 1y.")] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Only this model may be asked for; several times.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Make a key and print it, once: only its digest is kept. A running server knows it within a second."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import keys as tool

    code = tool.create(
        chosen.storage.data_dir, name=name, tenant=tenant, scopes=[scope.value for scope in scopes or ()],
        conversations_max=conversations, expires=expires, models=models or (),
    )  # fmt: skip
    raise typer.Exit(code)


@keys.command("list", epilog="Example: [bold]aura keys list[/bold]")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one key per line.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show all keys, also those that are revoked or expired; never the keys themselves."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import keys as tool

    raise typer.Exit(tool.list_(chosen.storage.data_dir, json=as_json))


@keys.command("revoke", epilog="Example: [bold]aura keys revoke key_4f9a1c[/bold]")
def revoke(
    idents: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of keys, or their beginnings.")],
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """End keys. Running servers refuse them within a second, and close their conversations."""
    chosen = settings(config, set_)
    start_logs(chosen, quiet=True)
    from aura.tools import keys as tool

    raise typer.Exit(tool.revoke(chosen.storage.data_dir, idents))
