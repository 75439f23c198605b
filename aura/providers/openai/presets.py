"""What is known of servers that speak the OpenAI API, as defaults for their settings."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import msgspec

from aura.core.errors import ConfigError
from aura.providers.openai.settings import CompatibleSettings


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One server's record: how to recognise it, and the settings that suit it."""

    settings: dict[str, Any]
    ports: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    owned_by: tuple[str, ...] = ()


@cache
def presets() -> dict[str, Preset]:
    """All records by name."""
    text = files("aura.providers.openai").joinpath("presets.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Preset])


def with_preset(settings: CompatibleSettings, explicit: frozenset[str]) -> CompatibleSettings:
    """The settings with the values of their preset, except where the user has set a value.

    `explicit`: the names of the fields that the user has set. Without a preset the address may tell which server it is.
    Raises ConfigError.
    """
    name = settings.preset or guess(settings.base_url)
    if not name:
        return settings
    if name not in presets():
        raise ConfigError(f"there is no compatible.preset {name!r}; choose one of {', '.join(presets())}")
    record = {field: value for field, value in presets()[name].settings.items() if field not in explicit}
    values = {field: getattr(settings, field) for field in settings.__struct_fields__}
    secret = values.pop("api_key")
    return msgspec.structs.replace(msgspec.convert({**values, **record}, CompatibleSettings), api_key=secret)


def guess(base_url: str) -> str:
    """The preset that an address belongs to, "" if it may be any."""
    try:
        address = urlsplit(base_url)
        host, port = address.hostname or "", address.port
    except ValueError:
        return ""
    for name, preset in presets().items():
        if host in preset.hosts or port in preset.ports:
            return name
    return ""


def guess_by_owner(owners: Iterable[str]) -> str:
    """The preset of a server by the `owned_by` of its models, "" if they do not tell."""
    found = set(owners)
    return next((name for name, preset in presets().items() if found.intersection(preset.owned_by)), "")
