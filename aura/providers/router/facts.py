"""What the router believes of an engine before it has measured it: `models.toml` beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

import msgspec

from aura.core.errors import ConfigError
from aura.core.routing.choose import Part


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row."""

    name: str
    """engine/model, with * for any text."""
    part: Part = "chat"
    quality: float = 0.5
    """0-1."""
    ttft_s: float = 0.5
    """Usual time to the first token, audio or transcript."""
    tools: bool = True
    """Whether it can call functions."""
    languages: frozenset[str] = frozenset()
    """ISO codes; empty: all."""


class _File(msgspec.Struct):
    model: tuple[Facts, ...]


@cache
def built_in() -> tuple[Facts, ...]:
    """The rows of models.toml."""
    text = files("aura.providers.router").joinpath("models.toml").read_text("utf-8")
    return msgspec.toml.decode(text, type=_File).model


def facts_of(part: Part, vendor: str, model: str, own: Mapping[str, Mapping[str, object]]) -> Facts:
    """The first row that fits; what the operator says of it (`own`, by engine/model) wins. Raises ConfigError."""
    name = f"{vendor}/{model}"
    row = next(row for row in built_in() if row.part == part and fnmatchcase(name, row.name))
    for pattern, told in own.items():
        if fnmatchcase(name, pattern):
            try:
                told = msgspec.convert(dict(told), dict[str, object])
                row = msgspec.convert({**msgspec.to_builtins(row), **told}, Facts)
            except msgspec.ValidationError as error:
                known = ", ".join(Facts.__struct_fields__[2:])
                raise ConfigError(f"router.models.{pattern}: {error}; there are {known}") from None
    return row
