"""`aura providers`: each engine as a running server knows it, or as a health check from here finds it."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from http.client import HTTPException
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import trio
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aura.core.errors import AuraError, ConfigError
from aura.core.routing.status import Part, ProviderReport, ProviderStatus, missing_parts
from aura.providers import registry
from aura.tools.logs.output import Output

if TYPE_CHECKING:
    from aura.config import Config
    from aura.providers.http import Http

PATH = "/providers"
ANSWER_S = 3.0
"""Longest wait for the server: it is on this machine, or near."""
ANSWER_BYTES = 4 << 20
PROBE_S = 8.0
WARN_DAYS = 60
"""A model that ends within this time is warned of."""
Column = tuple[str, str, Callable[[ProviderStatus], str]]


def run(
    config: Config,
    *,
    url: str | None = None,
    probe: bool = False,
    show_all: bool = False,
    as_json: bool = False,
    out: Output | None = None,
    err: Console | None = None,
) -> int:
    """Print the engines; 1 when a part of the conversation has none that can be asked. Raises ConfigError."""
    out, err = out or Output(), err or Console(stderr=True, highlight=False)
    report = None
    if not probe:
        address = address_of(config, url)
        report = ask(address, config.server.tls_cert if url is None else "")
        if report is None and url is not None:
            raise ConfigError(f"no server answers at {address}; start it, or leave --url out to check from here")
        if report is None:
            err.print(f"no server at {address}: checked from here", style="dim", markup=False, soft_wrap=True)
    if report is None:
        report = trio.run(probed, config)
    if show_all:
        known = {(status.part, status.provider) for status in report.providers}
        others = [status for status in not_chosen(config) if (status.part, status.provider) not in known]
        report = msgspec.structs.replace(report, providers=(*report.providers, *others))
    if as_json:
        out.json([report])
    else:
        show(report, out)
    out.flush()
    return 1 if missing_parts(report.providers) else 0


# ---- a running server ---------------------------------------------------------------------------------------------


def address_of(config: Config, url: str | None) -> str:
    """Where the server tells about its engines. Raises ConfigError."""
    if url is not None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError(f"--url {url}: no address of a server; it looks like http://127.0.0.1:8080")
        return f"{scheme}://{parts.netloc}{PATH}"
    server = config.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(server.host, server.host)
    host = f"[{host}]" if ":" in host else host
    return f"{'https' if server.tls_cert else 'http'}://{host}:{server.port}{PATH}"


def ask(address: str, own_cert: str = "") -> ProviderReport | None:
    """What the server says; None where none answers. Raises ConfigError for an answer that is no help."""
    here = is_here(urlsplit(address).hostname or "")
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})] if here else []
    if own_cert and address.startswith("https"):
        handlers.append(urllib.request.HTTPSHandler(context=trusting(own_cert)))
    try:
        with urllib.request.build_opener(*handlers).open(address, timeout=ANSWER_S) as answer:
            return msgspec.json.decode(answer.read(ANSWER_BYTES), type=ProviderReport)
    except urllib.error.HTTPError as error:
        error.close()
        raise ConfigError(f"{address} answers {error.code}; is that AURA? --probe checks from here") from None
    except msgspec.DecodeError:
        raise ConfigError(f"{address} is no AURA of this version; --probe checks from here") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            raise ConfigError(f"{address}: no trusted connection ({reason.reason}); is it http?") from None
        return None


def trusting(cert: str) -> ssl.SSLContext:
    """Trusts exactly the server's own certificate, which rarely names 127.0.0.1. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=cert)
    except (OSError, ssl.SSLError):
        raise ConfigError(f"server.tls_cert: {cert} cannot be read as PEM") from None
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def is_here(host: str) -> bool:
    """Whether an address is this machine's: no proxy leads there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ---- from here ----------------------------------------------------------------------------------------------------


async def probed(config: Config) -> ProviderReport:
    """All engines that are chosen, each asked for its health at the same time."""
    from aura.providers.http import open_http

    chosen: list[tuple[Part, registry.Chosen]] = [
        (part, one) for part in registry.ENGINES for one in config.chosen(part)
    ]
    found: dict[int, ProviderStatus] = {}
    async with open_http(config.http) as http, trio.open_nursery() as nursery:

        async def one(number: int, part: Part, engine: registry.Chosen) -> None:
            found[number] = await checked(part, engine, http)

        for number, (part, engine) in enumerate(chosen):
            nursery.start_soon(one, number, part, engine)
    statuses = tuple(found[number] for number in range(len(chosen)))
    return ProviderReport(providers=statuses, strategy=config.router.strategy)


async def checked(part: Part, chosen: registry.Chosen, http: Http) -> ProviderStatus:
    """One engine, asked whether key and server are good."""
    blank = ProviderStatus(part=part, provider=chosen.name, model=chosen.model, configured=has_key(chosen.settings))
    if not blank.configured:
        problem = f"no key: set {registry.engine(part, chosen.kind).section}.api_key"
        return msgspec.structs.replace(blank, healthy=False, problem=problem)
    if chosen.kind == "offline":
        return msgspec.structs.replace(blank, healthy=True)  # it is on this machine: `aura doctor` looks at it
    began = trio.current_time()
    healthy: bool | None = False
    problem = f"timed_out: no answer within {PROBE_S:g} s"
    with trio.move_on_after(PROBE_S):
        try:
            async with registry.open_part(part, chosen, http) as engine:
                probe = getattr(engine, "probe", None)
                if probe is not None:
                    await probe()
                healthy, problem = (None, "has no health check") if probe is None else (True, "")
        except AuraError as error:
            problem = f"{error.code}: {error}"
    took = round(trio.current_time() - began, 3)
    return msgspec.structs.replace(blank, healthy=healthy, problem=problem, probe_s=took if healthy else None)


def has_key(settings: object) -> bool:
    """Whether an engine that needs a key has one. (Compatible servers rarely need one.)"""
    return bool(getattr(settings, "api_key", True)) or "ompatible" in type(settings).__name__


def not_chosen(config: Config) -> list[ProviderStatus]:
    """The engines that there are besides."""
    return [
        ProviderStatus(
            part=part,
            provider=name,
            configured=False,
            problem="not chosen" if has_key(getattr(config, entry.section)) else f"no key: set {entry.section}.api_key",
        )
        for part, engines in registry.ENGINES.items()
        for name, entry in engines.items()
    ]


# ---- for people ---------------------------------------------------------------------------------------------------


def show(report: ProviderReport, out: Output) -> None:
    """The table, the caches and the warnings."""
    out.show([table(report.providers)])
    for name, counts in sorted(report.cache.items()):
        hits, misses = counts.get("hit", 0) + counts.get("shared", 0), counts.get("miss", 0)
        share = f" ({hits / (hits + misses):.0%})" if hits + misses else ""
        size = f", {counts['bytes'] / 1e6:.1f} MB" if counts.get("bytes") else ""
        line = f"cache of {name}: {hits:g} of {hits + misses:g} requests{share} cost nothing{size}"
        out.console.print(line, markup=False, soft_wrap=True)
    today = datetime.now(UTC).date()
    for line in dict.fromkeys([*report.warnings, *endings(report.providers, today)]):
        out.console.print(f"[yellow]warning[/]: {escape(line)}", soft_wrap=True)
    for part in missing_parts(report.providers):
        line = f"[red]no engine for {part} can be asked[/]: see engines.{part}, and the column `state`"
        out.console.print(line, soft_wrap=True)


def table(providers: Sequence[ProviderStatus]) -> Table:
    """The engines; a column that says nothing is left out."""
    columns: list[Column] = [
        ("part", "?", lambda status: status.part),
        ("provider", "?", lambda status: status.name),
        ("state", "?", state),
        ("breaker", "", breaker),
        ("p50", "", lambda status: seconds(status.ttft_p50_s)),
        ("p95", "", lambda status: seconds(status.ttft_p95_s)),
        ("probe", "", lambda status: seconds(status.probe_s)),
        ("calls", "", lambda status: number(status.calls)),
        ("errors", "", errors),
        ("cost $", "", lambda status: f"{status.cost_usd:.4f}" if status.cost_usd else ""),
        ("left", "", lambda status: "" if status.rate_left is None else f"{status.rate_left:.0%}"),
        ("now", "", under_way),
        ("ends", "", lambda status: status.shutdown_on),
    ]
    wanted = [column for column in columns if any(column[2](status) != column[1] for status in providers)]
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading, _, _ in wanted:
        drawn.add_column(heading, no_wrap=heading not in ("state", "errors", "provider"), overflow="fold")
    for status in providers:
        cells = [
            text if heading == "state" else escape(text) for heading, _, tell in wanted for text in (tell(status),)
        ]
        drawn.add_row(*cells, style="" if status.configured else "dim")
    return drawn


def state(status: ProviderStatus) -> str:
    """Whether it can be asked, in color."""
    if not status.configured and status.healthy is None:
        return escape(status.problem or "not chosen")
    if status.healthy is None:
        return "last resort" if status.last_resort else escape(status.problem or "not asked yet")
    return "[green]ok[/]" if status.healthy else f"[red]{escape(status.problem or 'broken')}[/]"


def breaker(status: ProviderStatus) -> str:
    """Its circuit breaker."""
    if status.breaker is None:
        return ""
    shut = f", {status.opens_in_s:.0f} s" if status.opens_in_s is not None else ""
    return status.breaker.replace("_", " ") + shut


def errors(status: ProviderStatus) -> str:
    """Failed calls: how many, which, and the share of the last minute."""
    if not status.errors:
        return ""
    kinds = ", ".join(f"{code} {count}" for code, count in sorted(status.errors.items(), key=lambda item: -item[1]))
    lately = f" (now {status.error_rate:.0%})" if status.error_rate else ""
    return f"{sum(status.errors.values())}: {kinds}{lately}"


def under_way(status: ProviderStatus) -> str:
    """Calls under way, of how many, and those that wait."""
    if not (status.in_flight or status.waiting or status.concurrent_max):
        return ""
    of = f"/{status.concurrent_max}" if status.concurrent_max else ""
    return f"{status.in_flight}{of}" + (f" +{status.waiting}" if status.waiting else "")


def seconds(value: float | None) -> str:
    """A time for people."""
    return "" if value is None else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def number(value: int) -> str:
    """A count for people; nothing for none."""
    return str(value) if value else ""


def endings(providers: Iterable[ProviderStatus], today: date) -> list[str]:
    """A line for each model in use that ends soon, or has ended."""
    ends = {(status.shutdown_on, status.name, status.successor) for status in providers if status.shutdown_on}
    lines = []
    for on, name, successor in sorted(ends):
        days = (date.fromisoformat(on) - today).days
        if days <= WARN_DAYS:
            when = f"ends on {on}, in {days} days" if days >= 0 else f"ended on {on}"
            lines.append(f"{name} {when}" + (f"; use {successor}" if successor else ""))
    return lines
