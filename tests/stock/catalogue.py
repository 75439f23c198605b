"""The clients that are tried: how each is installed, run, and what it can do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import platformdirs

from tests.stock.job import BASIC, CUT, LONG

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"


def cache() -> Path:
    """Where the clients are installed: AURA_STOCK_DIR, or the user's cache."""
    return Path(os.environ.get("AURA_STOCK_DIR") or platformdirs.user_cache_path("aura") / "stock")


class Client(msgspec.Struct, frozen=True):
    """One SDK."""

    name: str
    script: str
    home: str = ""
    """The environment it is installed in: a file requirements-HOME.txt, `node`, or nothing for AURA's own Python."""
    scenarios: tuple[str, ...] = BASIC
    tls: bool = False
    flags: tuple[str, ...] = ()
    """For the interpreter."""
    extra: str = ""
    """A variant that the script is told."""
    path: str = "/v1/realtime"
    openai: bool = True
    """Whether it keeps to what OpenAI's own types allow; xAI's clients ask for sample rates that those do not know."""

    @property
    def runtime(self) -> list[str]:
        """The interpreter."""
        if not self.home:
            return [sys.executable]
        if self.home == "node":
            return [str(cache() / "node" / "node_modules" / ".bin" / "node"), *self.flags]
        return [str(cache() / self.home / "bin" / "python")]

    @property
    def installed(self) -> bool:
        """Whether `python -m tests.stock install` has been here, with these versions."""
        return not self.home or (mark(self.home).is_file() and mark(self.home).read_text() == pinned(self.home))


def mark(home: str) -> Path:
    """Written when an installation is complete."""
    return cache() / home / ".installed"


def pinned(home: str) -> str:
    """The versions that are wanted."""
    file = "package.json" if home == "node" else f"requirements-{home}.txt"
    return (HERE / file).read_text(encoding="utf-8")


CLIENTS = (  # the slow ones first, so that none runs alone at the end
    Client("livekit", "livekit_agent.py", "livekit", (*BASIC, CUT)),
    Client("pipecat", "pipecat_openai.py", "pipecat"),
    Client("pydantic-ai", "pydantic_ai_client.py", "pydantic-ai", (*BASIC, CUT)),
    Client("livekit-xai", "livekit_agent.py", "livekit", ("turn", "tool", "barge"), extra="xai"),
    Client("pipecat-grok", "pipecat_openai.py", "pipecat", ("turn", "tool", "barge"), extra="grok", openai=False),
    Client("agents-python", "agents_python.py", "agents", (*BASIC, LONG)),
    Client("agents-node", "agents_node.mjs", "node"),
    Client("agents-browser", "agents_node.mjs", "node", flags=("--conditions=browser",)),
    Client("openai-python", "openai_python.py", scenarios=(*BASIC, CUT)),
    Client("openai-node", "openai_node.mjs", "node", tls=True),
)


def named(names: list[str]) -> list[Client]:
    """The clients with these names or these beginnings of names; all without any. Raises `SystemExit`."""
    unknown = [name for name in names if not any(client.name.startswith(name) for client in CLIENTS)]
    if unknown:
        raise SystemExit(f"no client called {', '.join(unknown)}: there are {', '.join(c.name for c in CLIENTS)}")
    return [client for client in CLIENTS if not names or any(client.name.startswith(name) for name in names)]
