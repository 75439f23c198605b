"""What all client scripts share. They run in environments of their own; anyio is what every SDK brings."""

from __future__ import annotations

import array
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio

RATE_HZ = 24_000
FRAME_S = 0.02
SILENCE = bytes(2 * int(RATE_HZ * FRAME_S))
BENIGN = {"response_cancel_not_active"}
"""Errors that clients cause by themselves and that change nothing."""


def load() -> SimpleNamespace:
    """The job, from the file named on the command line."""
    return SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


class Report:
    """Collects what was found; `passes` and `errors` decide."""

    def __init__(self) -> None:
        self.version = ""
        self.checks: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.facts: dict[str, Any] = {}

    def check(self, what: str, ok: object, detail: object = "") -> bool:
        """Something that must be so."""
        self.checks.append({"what": what, "ok": bool(ok), "detail": str(detail)[:500]})
        return bool(ok)

    def error(self, what: object, code: str | None = None) -> None:
        """The SDK showed an error to the app."""
        if code not in BENIGN:
            self.errors.append(str(what)[:500])

    def write(self) -> None:
        """For the runner, into the file it named."""
        content = {"version": self.version, "checks": self.checks, "errors": self.errors, "facts": self.facts}
        Path(sys.argv[2]).write_text(json.dumps(content), encoding="utf-8")


def same(one: str, other: str) -> bool:
    """The same words, whatever the spaces."""
    return " ".join(one.split()) == " ".join(other.split())


class Mic:
    """A microphone: what is said, and silence at all other times, in real time."""

    def __init__(
        self, send: Callable[[bytes], Awaitable[Any]], frame_s: float = FRAME_S, rate_hz: int = RATE_HZ
    ) -> None:
        self.send, self.frame_s = send, frame_s
        self.size = 2 * int(rate_hz * frame_s)
        self.waiting = bytearray()
        self.quiet = anyio.Event()
        self.open = True

    async def run(self) -> None:
        """Send for ever."""
        began, sent = time.monotonic(), 0
        while True:
            frame = bytes(self.waiting[: self.size])
            del self.waiting[: self.size]
            if not self.waiting:
                self.quiet.set()
            if frame or self.open:
                await self.send(frame + bytes(self.size - len(frame)))
            sent += 1
            await anyio.sleep(max(0.0, began + sent * self.frame_s - time.monotonic()))

    async def say(self, path: str) -> None:
        """Say it, and return when it is said."""
        self.waiting += await anyio.Path(path).read_bytes()
        self.quiet = anyio.Event()
        await self.quiet.wait()


class Speaker:
    """A loudspeaker: plays what it is given in real time, and knows how much of it was really heard."""

    def __init__(self) -> None:
        self.begins = self.ends = 0.0
        self.put_s = 0.0
        self.loudest = 0
        self.item = ""

    def put(self, pcm: bytes, item: str = "") -> None:
        """More audio (of an item); another item starts the count anew."""
        now = time.monotonic()
        if item != self.item:
            self.item, self.put_s, self.begins, self.ends = item, 0.0, now, now
        seconds = len(pcm) / 2 / RATE_HZ
        self.ends = max(self.ends, now) + seconds
        self.put_s += seconds
        samples = array.array("h", pcm[: len(pcm) // 2 * 2])
        self.loudest = max(self.loudest, max(samples, default=0))

    @property
    def played_s(self) -> float:
        """How much of the present item has sounded."""
        return max(0.0, self.put_s - max(0.0, self.ends - time.monotonic()))

    def flush(self) -> float:
        """Stop; the seconds that were heard."""
        played = self.played_s
        self.ends = time.monotonic()
        self.put_s = played
        return played

    async def drained(self) -> None:
        """Until all has sounded."""
        while (left := self.ends - time.monotonic()) > 0:  # noqa: ASYNC110  (more may be put meanwhile)
            await anyio.sleep(left)


async def until(true: Callable[[], object], seconds: float, what: str, report: Report) -> bool:
    """Wait until something is so."""
    with anyio.move_on_after(seconds):
        while not true():  # noqa: ASYNC110  (an SDK's state has no event to wait for)
            await anyio.sleep(0.02)
        return True
    report.check(f"{what} within {seconds:g} s", ok=False)
    return False


def run(main: Callable[[SimpleNamespace, Report], Awaitable[None]]) -> None:
    """Run a script's scenario, whatever happens, within its time, and report."""
    job, report = load(), Report()
    code = 0
    if job.ca:
        os.environ["SSL_CERT_FILE"] = job.ca

    async def timed() -> None:
        with anyio.fail_after(job.seconds):
            await main(job, report)

    try:
        anyio.run(timed)
    except TimeoutError:
        report.check(f"over within {job.seconds:g} s", ok=False)
    except BaseException:
        report.error(traceback.format_exc()[-1500:])
        code = 1
    report.write()
    sys.stdout.flush()
    os._exit(code)  # an SDK's forgotten threads must not keep the process
