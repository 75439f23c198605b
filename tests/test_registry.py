"""Engines by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import get_args

import pytest

from aura.core.errors import ConfigError
from aura.providers import registry
from aura.providers.http import Http, open_http
from aura.providers.openai.settings import CompatibleSettings, OpenAISettings
from aura.providers.xai.settings import XaiSettings
from tests.fakes.openai_server import serve

ROWS = [(part, name, entry) for part, table in registry.ENGINES.items() for name, entry in table.items()]


@pytest.mark.parametrize(("part", "name", "entry"), ROWS, ids=[f"{part}-{name}" for part, name, _ in ROWS])
def test_every_entry_names_something_that_exists(part: str, name: str, entry: registry.Engine) -> None:
    module, _, attribute = entry.factory.partition(":")
    if find_spec(module) is None:
        pytest.skip(f"{module} is not part of this build")
    assert callable(getattr(import_module(module), attribute))


@pytest.mark.parametrize("part", get_args(registry.Part))
def test_an_unknown_name_is_answered_with_the_known_ones(part: registry.Part) -> None:
    with pytest.raises(ConfigError, match=rf"engines\.{part}.*openia.*choose one of offline, openai.*, kitchen$"):
        registry.engine(part, "openia", SERVERS)


@pytest.mark.parametrize(("name", "settings"), [("openai", OpenAISettings), ("compatible", CompatibleSettings)])
async def test_parts_are_made_by_name_and_carry_it(name: str, settings: type[OpenAISettings]) -> None:
    async with serve() as fake, open_http() as http:
        for part in get_args(registry.Part):
            chosen = registry.Chosen(name, "mine", "m", settings(base_url=fake.base_url))
            async with registry.open_part(part, chosen, http) as engine:
                assert engine.name == "mine"


class Sections:
    openai = OpenAISettings(chat_model="gpt-a", tts_model="tts-a")
    xai = XaiSettings()


SERVERS = {"kitchen": CompatibleSettings(chat_model="llama")}


@pytest.mark.parametrize(
    ("part", "candidate", "kind", "key"),
    [
        ("chat", "openai", "openai", "openai/gpt-a"),
        ("chat", "openai/gpt-b", "openai", "openai/gpt-b"),
        ("tts", "openai", "openai", "openai/tts-a"),
        ("stt", "xai", "xai", "xai"),
        ("chat", "kitchen", "compatible", "kitchen/llama"),
        ("chat", "kitchen/org/model:7b", "compatible", "kitchen/org/model:7b"),
    ],
)
def test_an_engine_is_chosen_by_name_and_model(part: registry.Part, candidate: str, kind: str, key: str) -> None:
    chosen = registry.choose(part, candidate, Sections, SERVERS)
    assert (chosen.kind, chosen.key, chosen.name) == (kind, key, candidate.partition("/")[0])
    if field := registry.engine(part, kind).model:
        assert getattr(chosen.settings, field) == chosen.model


def test_a_model_of_an_engine_that_has_but_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engines\.stt: xai has no models"):
        registry.choose("stt", "xai/big", Sections, {})


@asynccontextmanager
async def opened(settings: list[str], http: Http, *, name: str) -> AsyncIterator[str]:
    settings.append("ready")
    yield f"part of {name}"
    settings.append("freed")


async def test_an_engine_that_holds_something_is_freed_when_its_context_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry.Engine(f"{__name__}:opened", "mine")
    monkeypatch.setattr(registry, "ENGINES", {"chat": {"mine": entry}})
    told: list[str] = []
    async with open_http() as http, registry.open_part("chat", registry.Chosen("mine", "mine", "", told), http) as chat:
        assert (chat, told) == ("part of mine", ["ready"])
    assert told == ["ready", "freed"]


def test_looking_at_the_table_imports_no_engine_and_no_http_library() -> None:
    code = (
        "import sys, aura.providers.registry, aura.providers.openai.settings;"
        "sys.exit(sum(name in sys.modules for name in ('httpx', 'openai', 'httptools', 'onnxruntime')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_engine_needs_the_openai_package_to_talk() -> None:
    code = "import sys, aura.providers.openai.chat, aura.providers.openai.tts; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
