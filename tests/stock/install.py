"""Installs the stock clients into the cache: one environment each, once per set of versions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import trio

from tests.stock.catalogue import HERE, Client, cache, mark, pinned

LIMIT_S = 600.0
AT_ONCE = 2


async def install(clients: list[Client], say: trio.MemorySendChannel[str], limit_s: float = LIMIT_S) -> bool:
    """Install what is missing, two at a time; whether nothing failed. Without npm the clients for Node are left out."""
    homes = dict.fromkeys(client.home for client in clients if client.home and not client.installed)
    limiter, good = trio.CapacityLimiter(AT_ONCE), list[bool]()

    async def one(home: str) -> None:
        async with limiter:
            began = trio.current_time()
            if home == "node" and shutil.which("npm") is None:
                await say.send("node: skipped, npm is missing: install Node.js")
                return
            problem = await into(home, limit_s)
            good.append(not problem)
            await say.send(f"{home}: {problem or 'installed'} ({trio.current_time() - began:.0f} s)")

    async with trio.open_nursery() as nursery:
        for home in homes:
            nursery.start_soon(one, home)
    return all(good)


async def into(home: str, limit_s: float) -> str:
    """Install one environment afresh; what went wrong."""
    folder = cache() / home
    await trio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))
    await trio.to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
    problem = ""
    with trio.move_on_after(limit_s) as scope:
        problem = await (node(folder) if home == "node" else python(folder, home))
    if scope.cancelled_caught:
        return f"not installed within {limit_s:g} s"
    if not problem:
        await trio.to_thread.run_sync(mark(home).write_text, pinned(home))
    return problem


async def python(folder: Path, home: str) -> str:
    """A virtual environment."""
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    return await run([sys.executable, "-m", "venv", str(folder)]) or await run(
        [*pip, "-r", str(HERE / f"requirements-{home}.txt")]
    )


async def node(folder: Path) -> str:
    """A node_modules; its own Node comes with it, by the script of the package `node`."""
    npm = shutil.which("npm") or "npm"
    await trio.to_thread.run_sync(shutil.copy, HERE / "package.json", folder / "package.json")
    return await run([npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], folder)


async def run(command: list[str], cwd: Path | None = None) -> str:
    """Run a command; its last words if it failed."""
    done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, cwd=cwd)
    if done.returncode == 0:
        return ""
    return f"{Path(command[0]).name} failed: " + done.stdout.decode(errors="replace").strip()[-600:]
