"""`aura providers`: what a server tells, what a health check finds, and how both look."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trustme
from rich.console import Console

from aura import config
from aura.core.errors import AuthFailed, ConfigError
from aura.core.routing.status import ProviderReport, ProviderStatus, answered, healthy, missing_parts
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.providers import registry
from aura.server.drain import Drain
from aura.server.http import pages
from aura.server.listener import serve
from aura.server.providers_api import cache_counts, provider_routes
from aura.server.settings import ServerSettings
from aura.tools import providers as tool
from aura.tools.logs.output import Output
from tests.test_listener import parrot

GOOD = ProviderStatus(
    part="chat", provider="openai", model="gpt-6-luna", healthy=True, breaker="closed", ttft_p50_s=0.412,
    ttft_p95_s=1.25, calls=120, errors={"timed_out": 2, "rate_limited": 3}, error_rate=0.1, cost_usd=0.12345,
    rate_left=0.8, in_flight=2, concurrent_max=4, waiting=1, shutdown_on="2027-01-14", successor="gpt-7",
)  # fmt: skip
SHUT = ProviderStatus(
    part="tts", provider="acme", healthy=False, problem="quota_exhausted", breaker="open", opens_in_s=12.0
)
SPARE = ProviderStatus(part="tts", provider="offline", last_resort=True, breaker="closed")
REPORT = ProviderReport(
    providers=(GOOD, SHUT, SPARE),
    strategy="balanced",
    cache={"audio": {"hit": 6, "shared": 1, "miss": 1, "bytes": 2_500_000}},
    warnings=("the price of acme is 200 days old",),
)


def settings(*changes: str) -> config.Config:
    split = [change.partition("=") for change in changes if change]
    given = [config.Given(key, value, "test") for key, _, value in split]
    return config.build(given)


def shown(chosen: config.Config, width: int = 200, **how: Any) -> tuple[int, str, str]:
    """Exit code and what is printed, with single spaces."""
    out, err = io.StringIO(), io.StringIO()
    output = Output(out, Console(file=out, width=width))
    code = tool.run(chosen, out=output, err=Console(file=err, width=200), **how)
    return code, out.getvalue(), err.getvalue()


# ---- a running server ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def server(limits: ServerSettings, report: ProviderReport | None = REPORT) -> AsyncIterator[int]:
    """AURA's own listener and pages, with this report."""
    metrics, drain = Metrics(), Drain()
    app = pages(Health(), metrics, drain, (lambda: provider_routes(lambda: report)) if report else tuple)

    async def start(task_status: trio.TaskStatus[int]) -> None:
        await serve(limits, parrot, app, drain=drain, metrics=metrics, task_status=task_status)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(start)
            nursery.cancel_scope.cancel()


async def asked(chosen: config.Config, **how: Any) -> tuple[int, str, str]:
    return await trio.to_thread.run_sync(lambda: shown(chosen, **how))


async def test_a_server_is_asked_and_its_engines_are_shown() -> None:
    async with server(ServerSettings(port=0)) as port:
        code, text, err = await asked(settings(f"server.port={port}"))
    rows = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    assert rows[0] == "part provider state breaker p50 p95 calls errors cost $ left now ends"
    assert rows[2] == (
        "chat openai/gpt-6-luna ok closed 412 ms 1.2 s 120 5: rate_limited 3, timed_out 2 (now 10%) 0.1235 80% "
        "2/4 +1 2027-01-14"
    )
    assert rows[3:5] == ["tts acme quota_exhausted open, 12 s", "tts offline last resort closed"]
    assert rows[5] == "cache of audio: 7 of 8 requests (88%) cost nothing, 2.5 MB"
    assert "warning: the price of acme is 200 days old" in rows
    assert rows[-1].startswith("no engine for tts can be asked")
    assert (code, err) == (1, "")


async def test_json_is_the_report_as_the_server_tells_it() -> None:
    async with server(ServerSettings(port=0)) as port:
        for address in (f"127.0.0.1:{port}", f"ws://localhost:{port}/v1/realtime"):
            code, text, _ = await asked(settings(), url=address, as_json=True)
            assert msgspec.json.decode(text, type=ProviderReport) == REPORT
            assert code == 1
    assert set(msgspec.json.decode(text)["providers"][2]) == set(ProviderStatus.__struct_fields__)


async def test_a_server_with_its_own_certificate_is_trusted_by_it_and_no_other(tmp_path: Path) -> None:
    chains = []
    for name in ("own", "other"):
        cert = trustme.CA().issue_cert("aura.example")
        (tmp_path / f"{name}.key").write_bytes(cert.private_key_pem.bytes())
        (tmp_path / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in cert.cert_chain_pems))
        chains.append(str(tmp_path / f"{name}.pem"))
    own, other = chains
    limits = ServerSettings(port=0, tls_cert=own, tls_key=str(tmp_path / "own.key"))
    async with server(limits) as port:
        assert (await asked(settings(f"server.port={port}", f"server.tls_cert={own}")))[0] == 1
        with pytest.raises(ConfigError, match="no trusted connection"):
            await asked(settings(f"server.port={port}", f"server.tls_cert={other}"))


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("127.0.0.1:{port}", "answers 404; is that AURA? --probe checks from here"),
        ("ftp://127.0.0.1", "no address of a server; it looks like http://127.0.0.1:8080"),
        ("http://127.0.0.1:1", "no server answers at http://127.0.0.1:1/providers; start it"),
    ],
)
async def test_an_address_that_is_no_help_is_one_line(url: str, line: str) -> None:
    async with server(ServerSettings(port=0), report=None) as port:
        with pytest.raises(ConfigError) as caught:
            await asked(settings(), url=url.format(port=port))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- from here ----------------------------------------------------------------------------------------------------


class Asked:
    """An engine that finds out whether its server is good, as the settings say: its model is the outcome."""

    def __init__(self, settings: Any, http: object, *, name: str) -> None:
        self.name, self.outcome = name, settings.chat_model

    async def probe(self) -> None:
        match self.outcome:
            case "refused":
                raise AuthFailed("acme: the key is wrong; set openai.api_key")
            case "silent":
                await trio.sleep(60)


class Unasked:
    """An engine without a health check."""

    def __init__(self, settings: Any, http: object, *, name: str) -> None:
        self.name = name


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two engines more."""
    monkeypatch.setattr(tool, "PROBE_S", 0.2)
    here = "tests.test_providers_command"
    for name in ("Asked", "Unasked"):
        entry = registry.Engine(f"{here}:{name}", "openai", "chat_model")
        monkeypatch.setitem(registry.ENGINES["chat"], name.lower(), entry)  # type: ignore[arg-type]


FOUND: list[tuple[str, str, int]] = [
    ("asked/fine", "ok", 0),
    ("asked/refused", "auth_failed: acme: the key is wrong; set openai.api_key", 1),
    ("asked/silent", "timed_out: no answer within 0.2 s", 1),
    ("unasked/x", "has no health check", 0),
    ("offline", "ok", 0),
    ("xai", "no key: set xai.api_key", 1),
]


@pytest.mark.parametrize(("engine", "state", "code"), FOUND)
def test_where_no_server_runs_each_engine_is_checked_from_here(engine: str, state: str, code: int) -> None:
    keyed = "" if engine == "xai" else "openai.api_key=sk-secret"
    chosen = settings("server.port=1", f"engines.chat={engine}", "engines.stt=offline", "engines.tts=offline", keyed)
    got, text, err = shown(chosen)
    row = next(line for line in text.splitlines() if " chat " in f" {line} ")
    assert state in " ".join(row.split())
    assert got == code
    assert err.startswith("no server at http://127.0.0.1:1/providers")
    assert "sk-secret" not in text


def test_engines_are_checked_at_the_same_time_and_a_server_is_not_asked() -> None:
    several = ",".join(f"asked/{name}" for name in ("silent", "fine", "refused"))
    chosen = settings(f"engines.chat={several}", "openai.api_key=sk", "engines.stt=offline", "engines.tts=offline")
    code, text, err = shown(chosen, probe=True, as_json=True)
    report = msgspec.json.decode(text, type=ProviderReport)
    assert [status.healthy for status in report.providers if status.part == "chat"] == [False, True, False]
    assert (code, err) == (0, "")


def test_all_shows_what_else_there_is() -> None:
    chosen = settings("engines.chat=offline", "engines.stt=offline", "engines.tts=offline", "openai.api_key=sk")
    code, text, _ = shown(chosen, probe=True, show_all=True)
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "chat openai not chosen" in rows
    assert "chat xai no key: set xai.api_key" in rows
    assert code == 0
    assert sum(row.startswith(("stt", "chat", "tts")) for row in rows) == sum(map(len, registry.ENGINES.values()))


def test_the_caches_counters_come_from_the_metrics() -> None:
    metrics = Metrics()
    assert cache_counts(metrics) == {}
    metrics.add("cache_requests", "audio", "hit", by=3)
    metrics.set("cache_bytes", 7, "audio")
    assert cache_counts(metrics) == {"audio": {"hit": 3, "shared": 0, "miss": 0, "corrupt": 0, "bytes": 7}}


# ---- what it means ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "calls", "expected"),
    [
        ("closed", {}, None),
        ("closed", {"cancelled": 3, "bad_request": 1}, None),
        ("closed", {"ok": 1, "timed_out": 9}, True),
        ("closed", {"timed_out": 1}, False),
        ("open", {"ok": 9}, False),
        ("half_open", {"ok": 9}, False),
    ],
)
def test_whether_an_engine_can_be_asked(state: Any, calls: dict[str, int], expected: bool | None) -> None:
    assert healthy(state, calls) is expected


def test_cancelled_calls_are_neither_calls_nor_errors() -> None:
    assert answered({"ok": 3, "cancelled": 5, "timed_out": 2}) == (5, {"timed_out": 2})


def test_a_part_is_missing_when_all_its_own_engines_are_broken() -> None:
    assert missing_parts(REPORT.providers) == ("tts",)
    unasked = msgspec.structs.replace(SHUT, healthy=None)
    assert missing_parts((GOOD, SHUT, unasked, SPARE)) == ()


@pytest.mark.parametrize(
    ("today", "lines"),
    [
        ("2026-01-01", []),
        ("2026-11-28", ["openai/gpt-6-luna ends on 2027-01-14, in 47 days; use gpt-7"]),
        ("2027-02-01", ["openai/gpt-6-luna ended on 2027-01-14; use gpt-7"]),
    ],
)
def test_models_that_end_soon_are_warned_of(today: str, lines: list[str]) -> None:
    assert tool.endings([GOOD, SHUT, GOOD], date.fromisoformat(today)) == lines


def test_only_this_machine_is_asked_without_a_proxy() -> None:
    assert [tool.is_here(host) for host in ("127.0.0.1", "::1", "localhost", "192.0.2.1", "aura.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_a_certificate_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.tls_cert"):
        tool.trusting(str(tmp_path / "none.pem"))
