"""What is known of compatible servers becomes defaults that the user's own settings override."""

from __future__ import annotations

import pytest

from aura.core.errors import ConfigError
from aura.core.secret import Secret
from aura.providers.openai.presets import guess, guess_by_owner, presets, with_preset
from aura.providers.openai.settings import CompatibleSettings
from aura.providers.openai.stt_form import known_models


@pytest.mark.parametrize("name", presets())
def test_every_record_fits_the_settings(name: str) -> None:
    made = with_preset(CompatibleSettings(preset=name, api_key=Secret("k")), frozenset({"preset", "api_key"}))
    assert made.api_key == Secret("k")
    assert made.base_url == presets()[name].settings["base_url"]
    unknown = set(presets()[name].settings) - set(CompatibleSettings.__struct_fields__)
    assert not unknown


def test_the_setting_names_every_preset() -> None:
    from aura.config import field_docs

    doc = field_docs(CompatibleSettings)["preset"]
    assert [name for name in presets() if name not in doc] == []


def test_what_the_user_has_set_stays() -> None:
    asked = CompatibleSettings(preset="whispercpp", base_url="http://127.0.0.1:9/v1", concurrency=3, stt_format="json")
    made = with_preset(asked, frozenset({"preset", "base_url", "concurrency"}))
    assert (made.base_url, made.concurrency) == ("http://127.0.0.1:9/v1", 3)
    assert made.stt_format == "verbose_json"  # not set by the user: what he sees there is a default


def test_a_default_that_the_user_has_written_down_is_his_own() -> None:
    made = with_preset(CompatibleSettings(preset="whispercpp"), frozenset({"preset", "base_url"}))
    assert made.base_url == CompatibleSettings().base_url


def test_an_unknown_preset_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match=r"compatible\.preset 'olama'.*ollama, vllm"):
        with_preset(CompatibleSettings(preset="olama"), frozenset({"preset"}))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:11434/v1", "ollama"),
        ("http://localhost:1234/v1", "lmstudio"),
        ("http://gpu:8880/v1", "kokoro"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("http://127.0.0.1:8000/v1", ""),
        ("http://127.0.0.1:8080/v1", ""),
        ("https://example.org/v1", ""),
        ("http://a:b/v1", ""),
        ("", ""),
    ],
)
def test_an_address_tells_the_server_where_only_one_has_it(url: str, name: str) -> None:
    assert guess(url) == name
    made = with_preset(CompatibleSettings(base_url=url), frozenset({"base_url"}))
    assert made.base_url == url
    assert (made.concurrency != 0 or name == "groq") == bool(name)


@pytest.mark.parametrize(
    ("owner", "name"), [("library", "ollama"), ("vllm", "vllm"), ("llamacpp", "llamacpp"), ("me", "")]
)
def test_owners_of_models_are_known(owner: str, name: str) -> None:
    assert guess_by_owner(["x", owner]) == name


def test_names_of_transcription_models_are_told_apart() -> None:
    names = [name for known in known_models() for name in known.names]
    assert len(names) == len(set(names))
