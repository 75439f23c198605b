"""What a caller hears when a provider fails: {STT, LLM, TTS} x 12 faults, each with a living second provider
(recognisers and voices over HTTP and over WebSockets).

    python -m tests.matrix                      all cells, about four minutes; exit code 1 when the goal is missed
    python -m tests.matrix --only chat=cut      one of them
    python -m tests.matrix --json matrix.json   the rows for a program

For each cell a server of its own (`aura serve`) talks to fake providers over real sockets, and a caller holds a
conversation of several turns in real time. The first provider has the fault from its second turn on. The row tells the
longest silence that the caller heard (from the end of their speech to the first audio, or between two pieces of it),
what was said, what was tried again, and what it cost more than a turn without a fault.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import trio

from aura.tools.recordings import shipped
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.world import Messages, Pace, Spread, World, text_of
from tests.matrix.caller import RATE_HZ, Turn, talk

FAULTS = (
    "refused", "silent", "unauthorized", "rate_limited", "quota", "error_500", "bad_gateway", "cut", "drip", "stall",
    "malformed", "empty",
)  # fmt: skip
ENGINES = {
    "stt": ("stt", "openai,xai"),
    "stt-live": ("stt", "deepgram,xai"),
    "chat": ("chat", "openai,xai"),
    "tts": ("tts", "elevenlabs-http,openai"),
    "tts-ws": ("tts", "elevenlabs,openai"),
}
"""What fails in each row of the matrix: a part and its engines; the others have the first engines of their part."""
PLAIN_STT = ('router.models={"xai*": {"quality": 0.1}}',)
"""Or the live recogniser would be preferred to the one over HTTP."""
VENDORS = ("openai", "xai", "deepgram", "elevenlabs")
GOAL_S, SHARE = 1.5, 0.99
CLIPS = ("ask_time", "thanks", "ask_time", "right", "ask_time")
"""What the caller says. In the first turn all is well."""
ASKED = "what is the time"
PACE = Pace(Spread(0.25, 0.5), 0.006, Spread(0.12, 0.25), Spread(0.1, 0.2), 0.01)


@dataclass
class Row:
    """One cell."""

    kind: str
    fault: str
    vendor: str = ""
    """Whose fault it is: of the one who did it in the turn in which all was well."""
    silence_s: list[float] = field(default_factory=list)
    """Of each turn with the fault."""
    said: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What must not happen: a hang, an answer given twice or not at all."""
    tried: dict[str, int] = field(default_factory=dict)
    """Attempts beside the first, by reason and outcome."""
    cost_usd: float = 0.0
    """What one turn cost on average."""


def answer(messages: Messages) -> str:
    """Depends on the turn, so that an answer that is given twice is seen."""
    number = sum(message["role"] == "user" and ASKED in text_of(message) for message in messages)
    return f"This is the answer with the number {number}. It has a second sentence, which is a little longer. Done."


@cache
def spoken(name: str) -> bytes:
    """A clip up to the end of its speech."""
    clip = shipped(RATE_HZ)[name]
    return clip.pcm[: round(clip.end * RATE_HZ)].tobytes()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def server(fakes: Fakes, folder: Path, kind: str) -> AsyncIterator[str]:
    """`aura serve` with two providers for everything."""
    port = free_port()
    engines = {part: ENGINES[part][1] for part in ("stt", "chat", "tts")} | dict([ENGINES[kind]])
    options = [
        *(f"{name}.base_url={fakes.url(name)}" for name in VENDORS),
        *(f"{name}.api_key=key-of-{name}" for name in VENDORS),
        *(f"engines.{part}={names}" for part, names in engines.items()),
        *(PLAIN_STT if kind == "stt" else ()),
        "elevenlabs.socket_idle_s=0.2",  # or a socket from before the fault would be used
        f"server.port={port}", f"storage.data_dir={folder}", "logs.format=json",
    ]  # fmt: skip
    command = [sys.executable, "-m", "aura", "serve", *(part for option in options for part in ("--set", option))]
    with (folder / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    try:
        async with httpx.AsyncClient() as client:
            with trio.fail_after(30):
                while not await ready(client, port):  # noqa: ASYNC110  (another process: nobody sets an event)
                    await trio.sleep(0.1)
        yield f"ws://127.0.0.1:{port}/v1/realtime"
    finally:
        process.terminate()
        with trio.move_on_after(5) as scope:
            scope.shield = True
            await process.wait()
        if process.returncode is None:
            process.kill()


async def ready(client: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


async def cell(kind: str, fault: str, keep: Path | None) -> Row:
    """One conversation with this fault."""
    row = Row(kind, fault)
    world = World(says=answer, heard=lambda sound: ASKED if sound.seconds > 0.1 else "", pace=PACE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with serve_fakes(world, *VENDORS) as fakes, server(fakes, folder, kind) as url:
            good = await talk(url, [spoken(CLIPS[0])])
            if fault != "none":
                row.vendor = served(folder / "log", ENGINES[kind][0])
                fakes.fault(ENGINES[kind][0], fault, vendor=row.vendor)
            turns = await talk(url, [spoken(clip) for clip in CLIPS[1:]])
        judge(row, turns)
        read_log(row, folder / "log", len(good) + len(turns))
        if keep is not None:
            shutil.copy(folder / "log", keep / f"{kind}-{fault}.log")
    return row


def served(log: Path, kind: str) -> str:
    """Who did it in the turn in which all was well: the router's own choice."""
    calls = [line for line in lines_of(log) if line.get("event") == "provider.call" and line["part"] == kind]
    return str(calls[-1]["provider"]).partition("-")[0]


def lines_of(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log."""
    for line in log.read_bytes().splitlines():
        with suppress(ValueError):
            yield json.loads(line)


def judge(row: Row, turns: list[Turn]) -> None:
    """What the caller heard."""
    for number, turn in enumerate(turns, 1):
        row.silence_s.append(round(turn.silence_s, 3))
        row.said += turn.texts
        expected = answer([{"role": "user", "content": ASKED}] * number)
        heard = " ".join(" ".join(turn.texts).split())
        if turn.hung:
            row.wrong.append(f"turn {number} hangs")
        elif heard != expected:
            row.wrong.append(f"turn {number}: {heard!r}")
        row.wrong += [f"turn {number}: error event: {error}" for error in turn.errors]
    row.wrong += [f"turn {number} was never answered" for number in range(len(turns) + 1, len(CLIPS))]


def read_log(row: Row, log: Path, turns: int) -> None:
    """What was tried, and what it cost."""
    tried: Counter[str] = Counter()
    for entry in lines_of(log):
        if (
            entry.get("event") == "provider.attempt"
            and entry["part"] == ENGINES[row.kind][0]
            and entry["outcome"] != "cancelled"
        ):
            tried[f"{entry['why']} {entry['provider']}: {entry['outcome']}"] += 1
        if entry.get("event") == "conversation.spent":
            row.cost_usd += entry["usd"] / turns
    row.tried = dict(tried.most_common())


async def run(asked: argparse.Namespace) -> int:
    """All cells, a few at a time."""
    wanted = [("chat", "none"), *((kind, fault) for kind in ENGINES for fault in FAULTS)]
    if asked.only:
        wanted = [(kind, fault) for kind, fault in wanted if f"{kind}={fault}" in asked.only]
    rows: dict[tuple[str, str], Row] = {}
    if asked.logs:
        asked.logs.mkdir(parents=True, exist_ok=True)
    slots = trio.CapacityLimiter(asked.jobs)

    async def one(kind: str, fault: str) -> None:
        async with slots:
            rows[kind, fault] = row = await cell(kind, fault, asked.logs)
            print(line_of(row, rows), flush=True)

    print(f"{'kind':8} {'fault':13} {'of':10} {'longest silence per turn, s':27} {'USD/turn':>9}  tried / wrong")
    async with trio.open_nursery() as nursery:
        for key in wanted:
            nursery.start_soon(one, *key)
    return summary(list(rows.values()), asked)


def line_of(row: Row, rows: dict[tuple[str, str], Row]) -> str:
    """For people."""
    base = rows.get(("chat", "none"))
    extra = f"{row.cost_usd - base.cost_usd:+.6f}" if base else f"{row.cost_usd:.6f}"
    silence = " ".join(f"{s:5.2f}" for s in row.silence_s)
    tried = "; ".join(f"{count}x {what}" for what, count in row.tried.items()) or "nothing"
    return f"{row.kind:8} {row.fault:13} {row.vendor:10} {silence:27} {extra:>9}  {tried}" + "".join(
        f"\n{'':23}WRONG: {wrong}" for wrong in row.wrong
    )


def summary(rows: list[Row], asked: argparse.Namespace) -> int:
    """Whether the goal is met."""
    silences = sorted(s for row in rows for s in row.silence_s)
    within = sum(s <= GOAL_S for s in silences) / len(silences) if silences else 0.0
    wrong = sum(bool(row.wrong) for row in rows)
    worst = max((s for s in silences if s < math.inf), default=math.nan)
    p99 = silences[min(len(silences) - 1, math.ceil(0.99 * len(silences)) - 1)]
    figures = f"median {silences[len(silences) // 2]:.2f}, p99 {p99:.2f}, worst {worst:.2f} s"
    print(f"\n{len(rows)} cells, {len(silences)} turns: {within:.1%} without a silence of more than {GOAL_S} s")
    print(f"{figures}; {wrong} cells with a wrong answer")
    if asked.json:
        Path(asked.json).write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    return 0 if within >= SHARE and not wrong else 1


def main() -> int:
    """The command."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.matrix", description=__doc__, formatter_class=form)
    parser.add_argument("--only", action="append", help="a cell, as chat=cut; may be repeated")
    parser.add_argument("--jobs", type=int, default=6, help="cells at a time (default 6)")
    parser.add_argument("--logs", type=Path, help="keep the servers' logs in this folder")
    parser.add_argument("--json", help="write the rows to this file")
    return trio.run(run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
