"""A running `aura serve` with fake engines behind it and a recording proxy before it."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import trio
import trustme

from aura.tools.child import PACKAGE_PARENT, _follow, fetch
from tests.fakes.openai_server import FakeOpenAI, serve
from tests.stock.wire import Proxy

START_S, STOP_S = 40.0, 10.0
KEY = "stock-client-key"


@dataclass
class House:
    """Where clients dial, and what is behind it."""

    proxy: Proxy
    engines: FakeOpenAI | None
    """None for a server that somebody else runs."""
    folder: Path
    ca: Path | None = None
    log_lines: int = 0
    """Lines of AURA's log that were looked at."""

    @property
    def ws(self) -> str:
        """The base of WebSocket addresses."""
        return f"{'wss' if self.ca else 'ws'}://{self.host}:{self.proxy.port}"

    @property
    def host(self) -> str:
        """A name that the certificate is for."""
        return "localhost" if self.ca else "127.0.0.1"

    @property
    def log(self) -> Path:
        """What AURA logged, if it is ours."""
        return self.folder / "server.log"


class Certificates:
    """A throw-away authority and a certificate for this machine."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(self.ca)
        issued.private_key_pem.write_to_path(self.key)
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(self.cert, append=number > 0)
        self.server, self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        issued.configure_cert(self.server)
        authority.configure_trust(self.client)


@asynccontextmanager
async def house(folder: Path, *options: str, tls: bool = False) -> AsyncIterator[House]:
    """Everything, for one client."""
    await trio.to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
    pem = await trio.to_thread.run_sync(Certificates, folder) if tls else None
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(serve())
        secure = [f"server.tls_cert={pem.cert}", f"server.tls_key={pem.key}"] if pem else []
        port = await stack.enter_async_context(aura(folder, engines.base_url, [*secure, *options]))
        trust, cert = (pem.client, pem.server) if pem else (None, None)
        proxy = await stack.enter_async_context(Proxy.open(("localhost" if pem else "127.0.0.1", port), cert, trust))
        yield House(proxy, engines, folder, pem.ca if pem else None)


@asynccontextmanager
async def elsewhere(folder: Path, url: str) -> AsyncIterator[House]:
    """A server that somebody else runs, at `url` (ws, http or with a path: only host and port count)."""
    await trio.to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
    parts = urlsplit(url if "//" in url else f"//{url}")
    async with Proxy.open((parts.hostname or "127.0.0.1", parts.port or 8080)) as proxy:
        yield House(proxy, None, folder)


@asynccontextmanager
async def aura(folder: Path, engines: str, options: list[str]) -> AsyncIterator[int]:
    """`aura serve` as a child process, as a user would start it; yields its port."""
    sets = [part for option in options for part in ("--set", option)]
    data = ["--set", f"storage.data_dir={folder / 'data'}", "--set", "server.drain_grace_s=1"]
    use = [part for stage in ("stt", "chat", "tts") for part in ("--set", f"engines.{stage}=openai")]
    where = ["--host", "127.0.0.1", "--port", "0", "--log-format", "json", "--log-level", "info"]
    arguments = [sys.executable, "-m", "aura", "serve", *where, *use, *data, *sets]
    paths = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "OPENAI_BASE_URL": engines,
        "OPENAI_API_KEY": "sk-fake",
    }
    run = partial(
        trio.run_process,
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        capture_stderr=False,
        check=False,
        cwd=folder,
        env=environment,
    )
    log = (folder / "server.log").open("wb")
    with log:
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(run)
            with trio.fail_after(START_S):
                port: int = await nursery.start(_follow, process, log)
                while not await trio.to_thread.run_sync(ready, port, bool(sets and "tls_" in " ".join(sets))):  # noqa: ASYNC110
                    await trio.sleep(0.1)
            try:
                yield port
            finally:
                with trio.move_on_after(STOP_S, shield=True):
                    process.terminate()
                    await process.wait()
                nursery.cancel_scope.cancel()


def ready(port: int, tls: bool) -> bool:
    """Whether the engines are warm; over TLS nobody here trusts the certificate, and listening is enough."""
    return tls or bool(fetch(f"http://127.0.0.1:{port}/readyz"))
