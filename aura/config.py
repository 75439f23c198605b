"""All settings: the only reader of TOML files, the environment, `.env` and secrets, giving one frozen `Config`.

Later sources win: built-in defaults < aura.toml (or --config FILE) < .env < environment < command line. Each section
is a settings struct that stands beside the code it steers; its field names, types, ranges and docstrings are the one
description of a setting, and `msgspec.convert(strict=False)` is the validation. (pydantic-settings would do the same
for 0.4 s of import time on every start; the budget from start to the first conversation is 1 s.)

Sections are imported only when settings are loaded: `aura --help` must not pay for them, and `server` lies above this
layer.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import math
import os
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import platformdirs

from aura.config_sources import PREFIX, SEPARATOR, Given, from_dotenv, from_environment, from_options, from_toml
from aura.core.errors import ConfigError
from aura.core.secret import Secret
from aura.providers.registry import ENGINES, Chosen, Part, choose

if TYPE_CHECKING:
    import aura.core.dialogue
    import aura.core.guards
    import aura.core.overlap
    import aura.core.pacing
    import aura.core.routing.breaker
    import aura.core.sentences
    import aura.core.turns
    import aura.observe.logs
    import aura.observe.otel
    import aura.providers.cache.settings
    import aura.providers.deepgram.settings
    import aura.providers.elevenlabs.settings
    import aura.providers.engine_settings
    import aura.providers.http
    import aura.providers.offline.stt_settings
    import aura.providers.offline.tts
    import aura.providers.offline.vad
    import aura.providers.openai.settings
    import aura.providers.router.settings
    import aura.providers.throttle
    import aura.providers.tools.settings
    import aura.providers.xai.settings
    import aura.server.phone_settings
    import aura.server.settings
    import aura.session.session
    import aura.session.setup
    import aura.stages.listen
    import aura.stages.speak
    import aura.stages.think
    import aura.stages.transcribe
    import aura.storage.journals
    import aura.storage.recordings


AUTO: dict[Part, tuple[str, ...]] = {
    "stt": ("deepgram", "openai", "xai", "elevenlabs"),
    "chat": ("openai", "xai"),
    "tts": ("elevenlabs", "openai", "xai"),
}
"""What stands for "auto": those of these whose key is set. The order is that of preference."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of a running AURA. A field here is a section: its annotation says where the section is defined."""

    server: aura.server.settings.ServerSettings
    phone: aura.server.phone_settings.PhoneSettings
    assistant: aura.session.setup.ReplySettings
    engines: aura.providers.engine_settings.EngineSettings
    router: aura.providers.router.settings.RouterSettings
    breaker: aura.core.routing.breaker.BreakerSettings
    throttle: aura.providers.throttle.ThrottleSettings
    cache: aura.providers.cache.settings.CacheSettings
    tools: aura.providers.tools.settings.ToolSettings
    openai: aura.providers.openai.settings.OpenAISettings
    compatible: aura.providers.openai.settings.CompatibleSettings
    xai: aura.providers.xai.settings.XaiSettings
    elevenlabs: aura.providers.elevenlabs.settings.ElevenLabsSettings
    deepgram: aura.providers.deepgram.settings.DeepgramSettings
    http: aura.providers.http.HttpSettings
    offline_stt: aura.providers.offline.stt_settings.SttSettings
    offline_tts: aura.providers.offline.tts.TtsSettings
    conversation: aura.core.guards.FsmSettings
    session: aura.session.session.SessionSettings
    dialogue: aura.core.dialogue.DialogueSettings
    turns: aura.core.turns.TurnSettings
    overlap: aura.core.overlap.OverlapSettings
    listen: aura.stages.listen.ListenSettings
    transcribe: aura.stages.transcribe.TranscribeSettings
    vad: aura.providers.offline.vad.VadSettings
    think: aura.stages.think.ThinkSettings
    speak: aura.stages.speak.SpeakSettings
    sentences: aura.core.sentences.SentenceSettings
    playout: aura.core.pacing.PlayoutSettings
    logs: aura.observe.logs.LogSettings
    otel: aura.observe.otel.OtelSettings
    storage: aura.storage.journals.StorageSettings
    recording: aura.storage.recordings.RecordingSettings
    origins: dict[str, str]
    """`section.key` → where its value was written; what is missing here has its built-in default."""

    def engine(self, part: Part) -> str:
        """The engine that is asked first for a part; its settings are the section of the same name."""
        return self.candidates(part)[0].partition("/")[0]

    def candidates(self, part: Part) -> tuple[str, ...]:
        """The engines chosen for a part, by preference, each as `engine` or `engine/model`; "auto" is resolved."""
        chosen: list[str] = []
        for name in getattr(self.engines, part):
            chosen += [auto for auto in AUTO[part] if getattr(self, auto).api_key] if name == "auto" else [name]
        return tuple(dict.fromkeys(chosen)) or ("offline",)

    def chosen(self, part: Part) -> tuple[Chosen, ...]:
        """The same with their settings. Raises ConfigError for an engine that there is not."""
        servers = self.engines.servers
        for tenant, names in self.router.tenant_engines.items():
            if unknown := set(names).difference(servers, *ENGINES.values()):
                raise ConfigError(f"router.tenant_engines: {tenant} may use {min(unknown)!r}, which is no engine")
        several = (choose(part, name, self, servers) for name in self.candidates(part))
        return tuple(self._with_preset(part, one) if one.kind == "compatible" else one for one in several)

    def _with_preset(self, part: Part, one: Chosen) -> Chosen:
        """What is known of the server takes the place of defaults."""
        from aura.providers.openai.presets import with_preset
        from aura.providers.openai.settings import CompatibleSettings

        plain = CompatibleSettings()
        changed = {name for name in plain.__struct_fields__ if getattr(one.settings, name) != getattr(plain, name)}
        written = {key.partition(".")[2] for key in self.origins if key.startswith(f"{one.name}.")}
        settings = with_preset(one.settings, frozenset(changed | written))
        return msgspec.structs.replace(one, settings=settings, model=getattr(settings, f"{part}_model"))

    def secrets(self) -> tuple[str, ...]:
        """The texts of all keys that are set, for the log's scrubber."""
        sections = [getattr(self, section) for section in SECTIONS]
        values = [getattr(section, name) for section in sections for name in section.__struct_fields__]
        values += [server.api_key for server in self.engines.servers.values()]
        for server in self.tools.mcp.values():
            values += [server.token, *server.headers.values()]
        return tuple(value.reveal() for value in values if isinstance(value, Secret) and value)


SECTIONS = {name: str(where) for name, where in Config.__annotations__.items() if name != "origins"}
"""Section → dotted name of its settings struct."""


class Setting(msgspec.Struct, frozen=True):
    """What is known about one setting before any source was read."""

    section: str
    name: str
    type: Any
    default: object


def section_type(section: str) -> type[msgspec.Struct]:
    """The settings struct of a section."""
    module, _, name = SECTIONS[section].rpartition(".")
    struct: type[msgspec.Struct] = getattr(importlib.import_module(module or __name__), name)
    return struct


def settings() -> dict[str, Setting]:
    """Every setting there is, by `section.key`."""
    known = {}
    for section in SECTIONS:
        struct = section_type(section)
        hints = get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            made = None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            default = made if field.default is msgspec.NODEFAULT else field.default
            known[f"{section}.{field.name}"] = Setting(section, field.name, hints[field.name], default)
    return known


def meanings() -> dict[str, str]:
    """What every setting means, by `section.key`: one or two sentences."""
    docs = {section: field_docs(section_type(section)) for section in SECTIONS}
    return {f"{section}.{name}": doc for section, fields in docs.items() for name, doc in fields.items()}


def field_docs(struct: type) -> dict[str, str]:
    """The docstrings that stand under the fields of a class and its bases (Python itself does not keep them)."""
    docs: dict[str, str] = {}
    for cls in reversed(
        [cls for cls in struct.__mro__ if issubclass(cls, msgspec.Struct) and cls is not msgspec.Struct]
    ):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    docs[name] = " ".join(doc.split())
    return docs


def load(
    file: Path | None = None,
    options: Iterable[str] = (),
    flags: Iterable[Given] = (),
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read every source, relative to the working directory.

    `file` replaces aura.toml, `options` are the texts of --set, `flags` what other command line options stand for,
    `environment` replaces the process's own. Raises ConfigError, one line that names the setting and its source.
    """
    default_file = Path("aura.toml")
    given = [Given("storage.data_dir", str(platformdirs.user_data_path("aura", False)), "the platform's data folder")]
    if file or default_file.exists():
        given += from_toml(file or default_file)
    given += from_dotenv(Path(".env"))
    given += from_environment(os.environ if environment is None else environment)
    given += [*from_options(options), *flags]
    return build(given)


def build(given: Iterable[Given]) -> Config:
    """Validate values, of which later ones win, and put the Config together."""
    known = settings()
    chosen: dict[str, Given] = {}
    for item in given:
        section, _, name = item.key.partition(".")
        if item.key in known:
            chosen[item.key] = item
        elif item.required and not (section in SECTIONS and not name):
            raise ConfigError(f"unknown setting {item.key.rstrip('.')} ({item.origin}); {nearest(item.key, known)}")
    values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for key, item in chosen.items():
        values[known[key].section][known[key].name] = checked(item, known[key])
    origins = {key: item.origin for key, item in chosen.items()}
    built = {section: build_section(section, made, origins) for section, made in values.items()}
    return Config(origins=origins, **built)


def build_section(section: str, values: dict[str, object], origins: Mapping[str, str]) -> Any:
    """The section's struct; its own `__post_init__` may still refuse a combination of values."""
    try:
        return section_type(section)(**values)
    except (ValueError, TypeError) as error:
        places = dict.fromkeys(origins[f"{section}.{name}"] for name in values)
        raise ConfigError(f"[{section}] {error} (from {', '.join(places)})") from None


def nearest(key: str, known: Iterable[str]) -> str:
    """'did you mean …': same name in another section, else the most similar key."""
    names = sorted(known)
    section, _, name = key.partition(".")
    if section in SECTIONS and not name:
        return f"[{section}] is a section"
    if not name:
        return f"did you mean [{(difflib.get_close_matches(section, SECTIONS, 1, 0.0) or [''])[0]}]?"
    same_name = [k for k in names if k.partition(".")[2] == name]
    same_section = [k for k in names if k.startswith(f"{section}.")]
    close = difflib.get_close_matches(key, same_name or same_section or names, n=1, cutoff=0.0)
    return f"did you mean {close[0]}?"


def checked(item: Given, setting: Setting) -> object:
    """The value in the setting's type. The environment and --set only have text; it is read by the type wanted."""
    value = parsed(item.value, setting.type) if isinstance(item.value, str) else item.value
    try:
        made = msgspec.convert(value, setting.type, strict=False, dec_hook=special)
        if isinstance(made, float) and not math.isfinite(made):
            raise ValueError("not finite")
        if isinstance(made, int | float) and setting.name.endswith(NEVER_NEGATIVE) and made < 0:
            raise ValueError("negative")
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        hidden = may_hold_secret(setting.type)
        shown = "" if hidden else f" = {item.value!r}"
        told = str(error)
        place = f" ({told})" if hidden and "`$" in told and not told.startswith("Invalid enum") else ""
        raise ConfigError(f"{item.key}{shown} ({item.origin}): expected {expected(setting)}{place}") from None
    return made


def may_hold_secret(kind: Any) -> bool:
    """Whether a value of that type must not be shown: it is a key, or a table in which one may stand."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return any(map(may_hold_secret, get_type_hints(kind, include_extras=True).values()))
    return kind is Secret or any(map(may_hold_secret, get_args(kind)))


NEVER_NEGATIVE = ("_s", "_ms", "_max", "_kb", "_mb", "_days")
"""Endings of names that hold times, sizes and numbers of things."""
WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def parsed(text: str, wanted: Any) -> object:
    """Lists and tables may be written as JSON; lists also with commas."""
    kind = plain_type(wanted)
    kind = get_origin(kind) or kind
    if kind is bool:
        return WORDS.get(text.lower(), text)
    if kind not in (tuple, list, frozenset, set, dict):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text if kind is dict else [part.strip() for part in text.split(",") if part.strip()]


def special(kind: type[Any], value: object) -> object:
    """Types that msgspec does not know."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return Path(value).expanduser() if issubclass(kind, Path) else kind(value)


def plain_type(wanted: Any) -> Any:
    """The type without its Annotated range."""
    return get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted


NAMES = {bool: "true or false", float: "a number", int: "a whole number", Path: "a path", Secret: "a text"}
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def expected(setting: Setting) -> str:
    """The values a setting takes, in a user's words: 'a number, at least 0 and at most 10'."""
    words = type_words(setting.type)
    if setting.name.endswith(NEVER_NEGATIVE) and not re.search("at least|more than", words):
        words += ", at least 0"
    return words


def type_words(kind: Any) -> str:
    """A type in a user's words."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        metas = [meta for meta in args[1:] if isinstance(meta, msgspec.Meta)]
        limits = [
            f"{word} {bound:g}" for m in metas for n, word in BOUNDS.items() if (bound := getattr(m, n)) is not None
        ]
        return ", ".join(filter(None, [type_words(args[0]), " and ".join(limits)]))
    if origin is Literal:
        return "one of " + ", ".join(str(arg) for arg in args)
    if origin in (Union, UnionType):
        return " or ".join("nothing" if arg is NoneType else type_words(arg) for arg in args)
    if origin in (tuple, list, frozenset, set):
        return f"a list, each value {type_words(args[0])}"
    return "a table" if origin is dict or kind is dict else NAMES.get(kind, "a text")


def environment_name(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.replace(".", SEPARATOR).upper()
