"""Servers as processes of their own, ended in good order or not at all."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from aura.storage.tapes import recordings_in
from aura.tools import child

START_S, STOP_S = 30.0, 30.0


class _Line(msgspec.Struct, frozen=True):
    level: str = ""
    event: str = ""


class House:
    """A running server."""

    def __init__(self, process: trio.Process, port: int, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.url = f"ws://127.0.0.1:{port}/v1/realtime"

    def recordings(self) -> list[Path]:
        """The folders of its conversations."""
        return list(recordings_in(self.folder))

    def signal(self, number: signal.Signals) -> None:
        """SIGTERM: end in good order; SIGKILL: at once."""
        self.process.send_signal(number)

    def errors(self) -> Counter[str]:
        """What its log says went wrong, by event."""
        found: Counter[str] = Counter()
        for line in (self.folder / "server.log").read_bytes().splitlines():
            try:
                said = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError:
                found["not a log line: " + line[:80].decode(errors="replace")] += 1
            else:
                found.update([said.event] if said.level in ("error", "critical") else [])
        return found


@asynccontextmanager
async def server(folder: Path, *options: str) -> AsyncIterator[House]:
    """Run `aura serve` with recordings on; it is told to end when the block does."""
    with child._log_file(folder) as log:
        async with trio.open_nursery() as nursery:
            process = await child._start(nursery, child.command(folder, options), folder)
            with trio.fail_after(START_S):
                port: int = await nursery.start(child._follow, process, log)
                await child._ready(f"http://127.0.0.1:{port}/readyz", child.ChildSettings())
            house = House(process, port, folder)
            yield house
            if process.returncode is None:
                process.terminate()
            with trio.move_on_after(STOP_S) as patience:
                await process.wait()
            assert not patience.cancelled_caught, f"the server did not end: {folder / 'server.log'}"
            nursery.cancel_scope.cancel()
