"""A server of our own as a child process, for the demo: its work does not disturb the measuring client."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO

import msgspec
import trio

import aura
from aura.config import Config
from aura.core.errors import AuraError
from aura.core.secret import Secret

OWN_SECTIONS = {"server", "storage", "logs", "engines"}
"""Sections that the child does not take over from the user's settings."""
OFFLINE = ("engines.stt=offline", "engines.chat=offline", "engines.tts=offline")
KEPT_LINES = 10
PACKAGE_PARENT = Path(aura.__file__).resolve().parents[1]


class ChildSettings(msgspec.Struct, frozen=True):
    """Deadlines for the server of our own."""

    start_timeout_s: float = 30.0
    """Time until it listens and its engines are ready."""
    stop_timeout_s: float = 5.0
    """Time to end after SIGTERM before it is killed."""
    probe_interval_s: float = 0.1
    """How often it is asked whether it is ready."""


class ChildError(AuraError):
    """The server did not start; the message holds its last words."""

    code = "server_did_not_start"


class _Line(msgspec.Struct, frozen=True):
    """The little that is read of a log line."""

    event: str = ""
    port: int = 0


def taken_over(config: Config) -> list[str]:
    """The user's own settings as `--set` arguments, without keys and what the child decides for itself."""
    texts = []
    for key in config.origins:
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        if section in OWN_SECTIONS or isinstance(value, Secret):
            continue
        plain = value if isinstance(value, str | Path) else msgspec.json.encode(value).decode()
        texts.append(f"{key}={plain}")
    return texts


def command(data_dir: Path, options: Iterable[str]) -> list[str]:
    """The child's command line."""
    own = [*OFFLINE, f"storage.data_dir={data_dir}", "storage.record=true", "server.drain_grace_s=1", *options]
    sets = [part for option in own for part in ("--set", option)]
    logs = ["--log-format", "json", "--log-level", "info"]
    return [sys.executable, "-m", "aura", "serve", "--host", "127.0.0.1", "--port", "0", *logs, *sets]


@asynccontextmanager
async def own_server(
    config: Config,
    folder: Path,
    settings: ChildSettings = ChildSettings(),  # noqa: B008  (frozen)
) -> AsyncIterator[str]:
    """Run a server with the offline engines, its data and log in `folder`; yields `http://host:port`.

    Raises `ChildError`.
    """
    log = _log_file(folder)
    failure: Exception | None = None
    with log:
        async with trio.open_nursery() as nursery:
            try:
                process = await _start(nursery, command(folder, taken_over(config)), folder)
                with trio.fail_after(settings.start_timeout_s):
                    port: int = await nursery.start(_follow, process, log)
                    await _ready(f"http://127.0.0.1:{port}/readyz", settings)
                yield f"http://127.0.0.1:{port}"
            except trio.TooSlowError:
                failure = ChildError(f"the server was not ready within {settings.start_timeout_s:g} s: {log.name}")
            except Exception as error:  # raised again below, where no nursery wraps it
                failure = error
            else:
                process.terminate()
                with trio.move_on_after(settings.stop_timeout_s):
                    await process.wait()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _log_file(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "server.log").open("wb")
    except OSError as error:
        raise ChildError(f"{folder}: cannot be written ({error.strerror})") from None


async def _start(nursery: trio.Nursery, arguments: list[str], folder: Path) -> trio.Process:
    """In the folder, so that no aura.toml or .env of somebody else is read."""
    paths = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
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
    process: trio.Process = await nursery.start(run)
    return process


async def _follow(
    process: trio.Process, log: IO[bytes], *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep the child's log; reports the port once it listens. Raises `ChildError` when it ends before."""
    assert process.stderr is not None
    waiting, last, listening = b"", deque[str](maxlen=KEPT_LINES), False
    async for data in process.stderr:
        log.write(data)
        log.flush()
        *lines, waiting = (waiting + data).split(b"\n")
        if listening:
            continue
        for line in lines:
            last.append(line.decode(errors="replace").strip())
            try:
                said = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError:
                continue
            if said.event == "server.listening":
                listening = True
                task_status.started(said.port)
                break
    if not listening:
        said_last = [line for line in (*last, waiting.decode(errors="replace").strip()) if line] or ["it said nothing"]
        why = next((line for line in reversed(said_last) if "error" in line.lower()), said_last[-1])
        raise ChildError(f"the server did not start: {why.removeprefix('error: ')} (its log: {log.name})")


async def _ready(url: str, settings: ChildSettings) -> None:
    """Wait until the engines are ready."""
    while not await trio.to_thread.run_sync(fetch, url):  # noqa: ASYNC110  (another process has no event to wait for)
        await trio.sleep(settings.probe_interval_s)


def fetch(url: str, timeout_s: float = 2.0) -> str:
    """The body of a page of a server on this machine, or "" where there is none (blocking)."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return str(answer.read().decode(errors="replace"))
    except (OSError, ValueError):  # refused, timed out, a status other than 2xx
        return ""
