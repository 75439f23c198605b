"""Settings: which source wins, and what a user reads when one is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from aura import config, config_sources
from aura.core.errors import ConfigError
from aura.core.secret import Secret
from aura.providers.registry import ENGINES


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class OddSettings(msgspec.Struct, frozen=True):
    """Every type that a setting may have."""

    flag: bool = False
    """On or off."""
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    count: int = 1
    wait_s: float = 1.0
    names: tuple[str, ...] = ()
    table: dict[str, int] = {}
    mode: Literal["a", "b"] = "a"
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    place: Path = Path("here")
    api_key: Secret = Secret()

    def __post_init__(self) -> None:
        if self.mode == "b" and not self.flag:
            raise ValueError("mode b needs flag")


@pytest.fixture
def odd(monkeypatch):
    """Makes OddSettings the only section."""
    monkeypatch.setattr(config, "SECTIONS", {"odd": f"{__name__}.OddSettings"})
    monkeypatch.setattr(config, "Config", msgspec.defstruct("Config", [("odd", OddSettings), ("origins", dict)]))
    monkeypatch.setitem(sys.modules, OddSettings.__module__, sys.modules[__name__])

    def build(text: str, key: str = "odd") -> OddSettings:
        made = config.build([config_sources.Given(f"{key}.{text.partition('=')[0]}", text.partition("=")[2], "--set")])
        return made.odd  # type: ignore[attr-defined]

    return build


SOURCES = ("default", "aura.toml", ".env", "environment AURA_TURNS__SILENCE_S", "--set")


@pytest.mark.parametrize("strongest", range(len(SOURCES)))
def test_later_sources_win_and_the_origin_is_remembered(folder, strongest):
    if strongest >= 1:
        (folder / "aura.toml").write_text("[turns]\nsilence_s = 1.0\n")
    if strongest >= 2:
        (folder / ".env").write_text("AURA_TURNS__SILENCE_S=2.0\n")
    environment = {"AURA_TURNS__SILENCE_S": "3.0"} if strongest >= 3 else {}
    loaded = config.load(None, ["turns.silence_s=4.0"] if strongest >= 4 else [], environment=environment)
    assert loaded.turns.silence_s == (strongest or config.settings()["turns.silence_s"].default)
    assert loaded.origins.get("turns.silence_s", "default").startswith(SOURCES[strongest])


def test_without_any_source_every_setting_has_its_default():
    loaded = config.load(environment={})
    assert set(loaded.origins) == {"storage.data_dir"}
    for key, setting in config.settings().items():
        if key != "storage.data_dir":
            assert getattr(getattr(loaded, setting.section), setting.name) == setting.default


def test_every_setting_tells_its_meaning():
    assert config.settings().keys() - config.meanings().keys() == set()


def test_every_section_is_one_of_config_and_has_only_defaults():
    assert set(config.SECTIONS) == set(config.Config.__struct_fields__) - {"origins"}
    for section in config.SECTIONS:
        config.section_type(section)()


def test_command_line_options_win_over_set():
    flag = config_sources.Given("server.port", 9, "--port")
    loaded = config.load(None, ["server.port=8"], [flag], environment={})
    assert (loaded.server.port, loaded.origins["server.port"]) == (9, "--port")


def test_config_option_replaces_aura_toml(folder):
    (folder / "aura.toml").write_text("[server]\nport = 1\n")
    (folder / "mine.toml").write_text("[turns]\nsilence_s = 2\n")
    loaded = config.load(Path("mine.toml"), environment={})
    assert loaded.origins["turns.silence_s"] == "mine.toml"
    assert "server.port" not in loaded.origins


def test_environment_names_that_are_not_ours_are_left_alone(folder):
    (folder / ".env").write_text("PATH_TO=x\nAURA_PORT=tcp://198.51.100.1:80\n")
    config.load(environment={"AURA_SERVICE_HOST": "198.51.100.1", "HOME": "/", "XAI_API_KEY": "k"})


WRONG = [
    ("toml", "[turns]\nsilnce_s = 1", "unknown setting turns.silnce_s (aura.toml); did you mean turns.silence_s?"),
    ("toml", "[turn]\nsilence_s = 1", "unknown setting turn.silence_s (aura.toml); did you mean turns.silence_s?"),
    ("toml", "[sever]", "unknown setting sever (aura.toml); did you mean [server]?"),
    ("toml", "port = 1", "aura.toml: `port` stands outside any section; write it under a line like [server]"),
    (
        "toml",
        "[server]\nport = 'x'",
        "server.port = 'x' (aura.toml): expected a whole number, at least 0 and at most 65535",
    ),
    (
        "toml",
        "[server]\nport = {a=1}",
        "server.port = {'a': 1} (aura.toml): expected a whole number, at least 0 and at most 65535",
    ),
    (
        "toml",
        "[server\n",
        "aura.toml: not valid TOML: Expected ']' at the end of a table declaration (at line 1, column 8)",
    ),
    (".env", "AURA_SERVER__PROT=1", "unknown setting server.prot (.env AURA_SERVER__PROT); did you mean server.port?"),
    (".env", "A=1\nwhat is this\n", ".env, line 2: expected NAME=value"),
    ("env", "x", "turns.silence_s = 'x' (environment AURA_TURNS__SILENCE_S): expected a number, at least 0"),
    ("env", "-1", "turns.silence_s = '-1' (environment AURA_TURNS__SILENCE_S): expected a number, at least 0"),
    ("env", "nan", "turns.silence_s = 'nan' (environment AURA_TURNS__SILENCE_S): expected a number, at least 0"),
    ("set", "port=1", "--set port=…: expected section.key=value, for example --set server.port=8081"),
    ("set", "server.port", "--set server.port: expected section.key=value, for example --set server.port=8081"),
    ("set", "turns.port=1", "unknown setting turns.port (--set); did you mean server.port?"),
    ("set", "logs.level=loud", "logs.level = 'loud' (--set): expected one of debug, info, warning, error"),
]


@pytest.mark.parametrize(("source", "text", "message"), WRONG)
def test_a_mistake_is_told_in_one_line_with_its_place(folder, source, text, message):
    if source in ("toml", ".env"):
        (folder / {"toml": "aura.toml"}.get(source, source)).write_text(text)
    environment = {"AURA_TURNS__SILENCE_S": text} if source == "env" else {}
    with pytest.raises(ConfigError) as caught:
        config.load(None, [text] if source == "set" else [], environment=environment)
    assert str(caught.value) == message


def test_a_missing_or_unreadable_file_is_told(folder):
    for path in (Path("nowhere.toml"), folder):
        with pytest.raises(ConfigError, match=str(path)):
            config.load(path, environment={})
    (folder / "latin.toml").write_bytes(b"[server]\nhost = '\xe4'\n")
    with pytest.raises(ConfigError, match=r"latin\.toml"):
        config.load(Path("latin.toml"), environment={})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("flag=yes", True),
        ("flag=0", False),
        ("flag=ON", True),
        ("ratio=1", 1.0),
        ("count=-3", -3),
        ("names=a, b,", ("a", "b")),
        ('names=["a,b"]', ("a,b",)),
        ("names=", ()),
        ('table={"a": 1}', {"a": 1}),
        ("limit=7", 7),
        ("limit=null", None),
        ("place=there/x", Path("there/x")),
        ("place=~", Path.home()),
        ("api_key=k=1", Secret("k=1")),
    ],
)
def test_text_is_read_by_the_type_of_the_setting(odd, text, value):
    assert getattr(odd(text), text.partition("=")[0]) == value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("flag=2", "true or false"),
        ("ratio=1.5", "a number, at least 0 and at most 1"),
        ("count=1.5", "a whole number"),
        ("wait_s=-0.1", "a number, at least 0"),
        ("wait_s=inf", "a number, at least 0"),
        ("table=a", "a table"),
        ("table={", "a table"),
        ("names=[1]", "a list, each value a text"),
        ("mode=c", "one of a, b"),
        ("limit=0", "a whole number, at least 1 or nothing"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_expected(odd, text, wanted):
    with pytest.raises(ConfigError) as caught:
        odd(text)
    assert str(caught.value).endswith(f"(--set): expected {wanted}")


def test_a_combination_that_the_section_refuses_names_the_sources(odd):
    with pytest.raises(ConfigError, match=r"^\[odd\] mode b needs flag \(from --set\)$"):
        odd("mode=b")


@pytest.mark.parametrize("name", config_sources.VENDOR_NAMES)
def test_a_vendor_s_own_variable_is_weaker_than_aura_s_and_empty_is_unset(name):
    key = config_sources.VENDOR_NAMES[name]
    if key not in config.settings():
        pytest.skip(f"there is no {key} yet")
    section, field = key.split(".")

    def loaded(**environment):
        value = getattr(getattr(config.load(environment=environment), section), field)
        return value.reveal() if isinstance(value, Secret) else value

    assert loaded(**{name: "http://theirs"}) == "http://theirs"
    assert loaded(**{name: "http://theirs", config.environment_name(key): "http://ours"}) == "http://ours"
    assert loaded(**{name: ""}) == loaded()


def test_a_secret_is_never_shown(odd):
    section = odd("api_key=sk-123")
    assert "sk-123" not in repr(section)
    assert section.api_key.reveal() == "sk-123"
    with pytest.raises(ConfigError) as caught:
        config.build([config_sources.Given("odd.api_key", ["sk-123"], "aura.toml")])
    assert str(caught.value) == "odd.api_key (aura.toml): expected a text"


@pytest.mark.parametrize("part", ["stt", "chat", "tts"])
def test_every_engine_can_be_chosen_and_has_its_section(part):
    names = config.meanings()[f"engines.{part}"].partition("auto:")[0]
    assert [name for name in ENGINES[part] if name not in names] == []
    assert [entry.section for entry in ENGINES[part].values() if entry.section not in config.SECTIONS] == []
    for name, entry in ENGINES[part].items():
        (chosen,) = config.load(None, [f"engines.{part}={name}"], environment={}).chosen(part)
        assert (chosen.kind, type(chosen.settings)) == (name, config.section_type(entry.section))


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("engines.chat=nosuch", r"engines\.chat: there is no chat engine 'nosuch'; choose one of offline, openai"),
        ("engines.stt=xai/big", r"engines\.stt: xai has no models"),
        ('router.tenant_engines={"acme":["nosuch"]}', r"router\.tenant_engines: acme .*'nosuch'"),
    ],
)
def test_an_engine_that_there_is_not_is_named_with_its_setting(option, told):
    loaded = config.load(None, [option], environment={})
    with pytest.raises(ConfigError, match=told):
        [loaded.chosen(part) for part in ENGINES]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("engines.servers", {"a": "sk-123"}, "got `str`"),
        ("engines.servers", {"a": {"api_key": "sk-123", "base_url": 5}}, "base_url"),
        ("engines.servers", {"a": {"api_key": "sk-123", "base_urll": "x"}}, "base_urll"),
        ("engines.servers", '{"a": {"api_key": "sk-123"', "expected a table"),
        ("tools.mcp", {"a": {"token": "sk-123", "url": 5}}, "url"),
        ("tools.mcp", {"a": {"headers": {"x-key": "sk-123"}, "nosuch": 5}}, "nosuch"),
        ("tools.mcp", "sk-123", "expected a table"),
    ],
)
def test_a_table_that_may_hold_a_key_is_never_shown(key, value, told):
    with pytest.raises(ConfigError, match=told) as caught:
        config.build([config_sources.Given(key, value, "aura.toml")])
    assert str(caught.value).startswith(f"{key} (aura.toml): ")
    assert "sk-123" not in str(caught.value)


def test_a_value_after_a_wrong_name_is_not_shown():
    with pytest.raises(ConfigError) as caught:
        config.load(None, ["openai_api_key=sk-123"], environment={})
    assert "sk-123" not in str(caught.value)


def test_auto_is_openai_with_its_key_and_offline_without():
    def engines(*options):
        loaded = config.load(None, options, environment={})
        return [loaded.engine(part) for part in ("stt", "chat", "tts")]

    assert engines() == ["offline"] * 3
    assert engines("openai.api_key=k") == ["openai"] * 3
    assert engines("openai.api_key=k", "engines.chat=compatible") == ["openai", "compatible", "openai"]


def test_auto_is_every_engine_that_has_a_key_by_preference():
    loaded = config.load(None, ["xai.api_key=k", "elevenlabs.api_key=k", "openai.api_key=k"], environment={})
    assert [loaded.candidates(part) for part in ("stt", "chat", "tts")] == [
        ("openai", "xai", "elevenlabs"),
        ("openai", "xai"),
        ("elevenlabs", "openai", "xai"),
    ]


def test_an_engine_may_name_its_model_and_a_server_its_name():
    servers = '{"kitchen": {"base_url": "http://127.0.0.1:11434/v1", "chat_model": "qwen"}}'
    options = [f"engines.servers={servers}", "engines.chat=openai/gpt-x,kitchen,kitchen/phi"]
    chosen = config.load(None, options, environment={}).chosen("chat")
    assert [one.key for one in chosen] == ["openai/gpt-x", "kitchen/qwen", "kitchen/phi"]
    assert [one.kind for one in chosen] == ["openai", "compatible", "compatible"]


@pytest.mark.parametrize("name", ["nosuch", "offline/model"])
def test_an_engine_that_there_is_not_is_one_clear_line(name):
    with pytest.raises(ConfigError) as caught:
        config.load(None, [f"engines.stt={name}"], environment={}).chosen("stt")
    assert "\n" not in str(caught.value)


def test_all_keys_are_listed_for_the_scrubber():
    keys = [key for key, setting in config.settings().items() if setting.type is Secret]
    loaded = config.load(None, [f"{key}=secret-{key}" for key in keys], environment={})
    assert set(loaded.secrets()) == {f"secret-{key}" for key in keys}
