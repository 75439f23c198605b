"""`aura keys`: the commands with plain arguments. Each returns its exit code; all raise KeysError."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aura.storage.keys import USUAL_SCOPES, Key, Scope, age_s, create_key, read_keys, revoke_key
from aura.tools.logs.output import Output


def create(
    data_dir: Path,
    *,
    name: str = "",
    tenant: str = "",
    scopes: Sequence[str] = (),
    conversations_max: int = 0,
    expires: str | None = None,
    models: Sequence[str] = (),
    out: Output | None = None,
    err: Console | None = None,
) -> int:
    """Make a key: it alone goes to standard output, so that a script can take it; what it is goes to stderr."""
    key, text = create_key(
        data_dir,
        name=name.strip(),
        tenant=tenant.strip(),
        scopes=cast("tuple[Scope, ...]", tuple(scopes)) or USUAL_SCOPES,
        models=tuple(models),
        conversations_max=conversations_max,
        expires_s=age_s(expires) if expires else 0,
    )
    out, err = out or Output(), err or Console(stderr=True, highlight=False)
    out.console.print(text, markup=False, soft_wrap=True)
    out.flush()
    told = f"{key.id}: may {', '.join(key.scopes)}; {ending(key)}. The key is shown only now: keep it safe."
    err.print(told, markup=False, soft_wrap=True, style="dim")
    return 0


def list_(data_dir: Path, *, json: bool = False, out: Output | None = None, err: Console | None = None) -> int:
    """Show all keys, without what could open anything."""
    keys, now = read_keys(data_dir), time.time()
    out, err = out or Output(), err or Console(stderr=True, highlight=False)
    if json:
        out.json([shown(key, now) for key in keys])
    elif keys:
        out.show([table(keys, now)])
    else:
        err.print(f"{data_dir} holds no keys: `aura keys create` makes one", markup=False, soft_wrap=True, style="dim")
    out.flush()
    return 0


def revoke(data_dir: Path, idents: Sequence[str], *, out: Output | None = None) -> int:
    """Let keys open nothing any more."""
    out = out or Output()
    for ident in idents:
        key = revoke_key(data_dir, ident)
        out.console.print(f"{key.id} {key.name}".rstrip() + ": revoked", markup=False, soft_wrap=True)
    out.flush()
    return 0


def shown(key: Key, now: float) -> dict[str, Any]:
    """A key for programs."""
    fields = {name: value for name, value in msgspec.to_builtins(key).items() if name != "sha256"}
    return {"state": key.state(now), **fields}


def table(keys: Sequence[Key], now: float) -> Table:
    """The keys for people; a column that says the same of all keys is left out."""
    columns: list[tuple[str, str, Callable[[Key], str]]] = [
        ("key", "?", lambda key: key.id),
        ("name", "", lambda key: key.name),
        ("tenant", "", lambda key: key.tenant),
        ("state", "?", lambda key: key.state(now)),
        ("may", "?", lambda key: "\n".join(key.scopes)),
        ("conversations", "any", lambda key: str(key.conversations_max or "any")),
        ("models", "any", lambda key: "\n".join(key.models) or "any"),
        ("expires", "?", lambda key: day(key.expires) or "never"),
        ("used", "?", lambda key: day(key.last_used, minutes=True) or "never"),
    ]
    wanted = [column for column in columns if any(column[2](key) != column[1] for key in keys)]
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading, _, _ in wanted:
        drawn.add_column(heading, no_wrap=heading in ("key", "state", "expires"), overflow="fold")
    for key in keys:
        row = [escape(show(key)) for _, _, show in wanted]
        drawn.add_row(*row, style="" if key.state(now) == "active" else "dim")
    return drawn


def ending(key: Key) -> str:
    """When a key ends."""
    return f"ends on {day(key.expires)}" if key.expires else "does not end by itself"


def day(at: int, *, minutes: bool = False) -> str:
    """A date; empty for none."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M" if minutes else "%Y-%m-%d") if at else ""
