"""Where settings come from: each source turns into a list of `Given`, raw values that remember their origin.

Nothing here knows which settings exist; `aura.config` merges the lists (later ones win) and validates them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from dotenv import dotenv_values
from dotenv.parser import parse_stream

from aura.core.errors import ConfigError

PREFIX, SEPARATOR = "AURA_", "__"
VENDOR_NAMES = {
    "OPENAI_API_KEY": "openai.api_key",
    "OPENAI_BASE_URL": "openai.base_url",
    "XAI_API_KEY": "xai.api_key",
    "ELEVENLABS_API_KEY": "elevenlabs.api_key",
    "DEEPGRAM_API_KEY": "deepgram.api_key",
}
"""Variables that the vendors' own libraries read, and the setting each one is."""


class Given(msgspec.Struct, frozen=True):
    """One value as somebody wrote it, unchecked."""

    key: str
    """`section.key`"""
    value: object
    origin: str
    """For people: where to go to change it."""
    required: bool = True
    """Whether a key that does not exist is an error (a vendor's variable may belong to another program)."""


def from_toml(path: Path) -> list[Given]:
    """The settings of a TOML file: one table per section."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; --config names a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    given = []
    for section, table in document.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: `{section}` stands outside any section; write it under a line like [server]")
        given += [Given(f"{section}.{key}", value, str(path)) for key, value in table.items()]
        if not table:
            given.append(Given(f"{section}.", None, str(path)))  # so that a misspelt empty section is noticed too
    return given


def from_dotenv(path: Path) -> list[Given]:
    """The settings of a `.env` file, or none where there is no such file."""
    try:
        with path.open(encoding="utf-8") as file:
            broken = next((binding.original.line for binding in parse_stream(file) if binding.error), None)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if broken is not None:  # python-dotenv itself only warns, and the setting would silently be missing
        raise ConfigError(f"{path}, line {broken}: expected NAME=value")
    values = dotenv_values(path)
    return from_environment({name: value for name, value in values.items() if value is not None}, str(path))


def from_environment(variables: Mapping[str, str], place: str = "environment") -> list[Given]:
    """`AURA_SECTION__KEY`, and the vendors' own names (weaker than AURA's).

    `AURA_` names without the double underscore are left alone: Kubernetes sets AURA_PORT and others by itself.
    """
    given = [
        Given(key, variables[name], f"{place} {name}", required=False)
        for name, key in VENDOR_NAMES.items()
        if variables.get(name)
    ]
    for name, value in sorted(variables.items()):
        section, separator, key = name.removeprefix(PREFIX).partition(SEPARATOR)
        if name.startswith(PREFIX) and separator:
            given.append(Given(f"{section}.{key}".lower(), value, f"{place} {name}"))
    return given


def from_options(texts: Iterable[str]) -> list[Given]:
    """The `section.key=value` texts of `--set`."""
    given = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or "." not in key:
            raise ConfigError(
                f"--set {key}{equals and '=…'}: expected section.key=value, for example --set server.port=8081"
            )
        given.append(Given(key.strip(), value, "--set"))
    return given
