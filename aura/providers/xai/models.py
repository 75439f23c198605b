"""What is known of Grok's models: the file models.toml. Importing this imports no HTTP library."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

import msgspec

from aura.providers.xai.settings import XaiSettings


class Reasoning(msgspec.Struct, frozen=True):
    """Which models think, by pattern, and what they refuse."""

    models: tuple[str, ...]
    excepted: tuple[str, ...] = msgspec.field(name="except")
    refused: tuple[str, ...]

    def includes(self, model: str) -> bool:
        """Whether this model thinks."""
        names = any(fnmatchcase(model, pattern) for pattern in self.models)
        return names and not any(fnmatchcase(model, pattern) for pattern in self.excepted)


class Models(msgspec.Struct, frozen=True):
    """The file models.toml."""

    tiers: dict[str, str]
    reasoning: Reasoning


@cache
def models() -> Models:
    """What is known of Grok's models."""
    text = files("aura.providers.xai").joinpath("models.toml").read_bytes()
    return msgspec.toml.decode(text, type=Models)


def chat_model(settings: XaiSettings) -> str:
    """The model that answers: the one that is set, or the tier's."""
    return settings.chat_model or models().tiers[settings.chat_tier]
