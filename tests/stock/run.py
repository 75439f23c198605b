"""Runs clients through scenarios and gathers how they did."""

from __future__ import annotations

import os
import subprocess
import tempfile
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from tests.stock import speech
from tests.stock.catalogue import SCRIPTS, Client, cache
from tests.stock.engines import STORY, TICKET, TOOL, TYPED, Lines, equip
from tests.stock.house import KEY, House, elsewhere, house
from tests.stock.job import CUT, LONG, Job, Outcome, Report
from tests.stock.speech import Said
from tests.stock.verify import verify
from tests.stock.wire import Recording

SCENARIO_S, EXTRA_S = 45.0, 15.0
"""Time for a scenario, and for the SDK's import around it."""
BREAK_S = 1.5
WORDS_OF_REPLIES = {
    "ask": "That is a good question. The answer is forty two.",
    "more": "As you wish. Here is something else.",
    "over": "All right, I am listening.",
    "order": "I cannot make tickets.",
}


@dataclass(frozen=True)
class Plan:
    """What to run, and where."""

    scenarios: tuple[str, ...]
    folder: Path
    url: str = ""
    jobs: int = 3
    sound: bool = False
    turns: int = 100
    barges: int = 30
    minutes: float = 30.0

    @property
    def seconds(self) -> float:
        """Time for one scenario."""
        return self.minutes * 60 * 1.25 + 60 if LONG in self.scenarios else SCENARIO_S


async def run_all(clients: list[Client], plan: Plan, say: trio.MemorySendChannel[Outcome]) -> list[Outcome]:
    """Every client through every scenario, some clients at a time."""
    clips = await trio.to_thread.run_sync(speech.clips)
    limiter, outcomes = trio.CapacityLimiter(plan.jobs), list[Outcome]()

    async def one(client: Client) -> None:
        try:
            async for outcome in run_client(client, plan, clips):
                outcomes.append(outcome)
                await say.send(outcome)
        finally:
            limiter.release_on_behalf_of(client)

    async with trio.open_nursery() as nursery:
        for client in clients:
            await limiter.acquire_on_behalf_of(client)
            nursery.start_soon(one, client)
    return outcomes


async def run_client(client: Client, plan: Plan, clips: dict[str, Said]) -> AsyncIterator[Outcome]:
    """One client, one server, scenario after scenario."""
    wanted = [scenario for scenario in plan.scenarios if scenario in client.scenarios]
    if not client.installed:
        for scenario in wanted:
            yield Outcome(
                client.name, scenario, skipped=f"not installed: python -m tests.stock install --only {client.name}"
            )
        return
    if plan.url and client.tls and not plan.url.startswith(("https", "wss")):
        for scenario in wanted:
            yield Outcome(client.name, scenario, skipped="it speaks TLS only")
        return
    folder = plan.folder / client.name
    try:
        async with where(client, plan, folder) as here:
            paths = await trio.to_thread.run_sync(speech.write, folder, clips)
            for scenario in wanted:
                yield await run_scenario(client, scenario, plan, here, clips, paths)
    except Exception as error:
        yield Outcome(client.name, "server", failures=list(reasons(error)))


def reasons(error: BaseException) -> Iterator[str]:
    """What really happened, out of the groups that nurseries make."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from reasons(part)
    else:
        yield "".join(traceback.format_exception(error))[-1500:]


@asynccontextmanager
async def where(client: Client, plan: Plan, folder: Path) -> AsyncIterator[House]:
    """The server to dial."""
    async with elsewhere(folder, plan.url) if plan.url else house(folder, tls=client.tls) as here:
        yield here


async def run_scenario(
    client: Client, scenario: str, plan: Plan, here: House, clips: dict[str, Said], paths: dict[str, str]
) -> Outcome:
    """One client in one scenario."""
    outcome, began = Outcome(client.name, scenario), trio.current_time()
    replies = WORDS_OF_REPLIES | {"typed": "Gladly, here you are.", "tool": f"Done, you have {TICKET}."}
    replies |= {"ask": STORY} if scenario in ("barge", LONG) else {}
    if here.engines is not None:
        spoken = {clips[part].text: replies[part] for part in clips} | {TYPED: replies["typed"]}
        equip(here.engines, Lines(spoken, wish=clips["order"].text if scenario == "tool" else ""), clips)
    job = make_job(client, scenario, plan, here, clips, paths, replies)
    recording = here.proxy.record(here.folder / f"{scenario}.jsonl", sound=plan.sound)
    async with trio.open_nursery() as nursery:
        if scenario == CUT:
            nursery.start_soon(break_off, here, recording)
        report = await call(client, job, here.folder, outcome)
        nursery.cancel_scope.cancel()
    await trio.sleep(0.2)  # the last words of the connection
    await recording.flush()
    judge(outcome, report, job, here, recording, strict=client.openai)
    outcome.seconds = trio.current_time() - began
    return outcome


async def break_off(here: House, recording: Recording) -> None:
    """Lose the connection some time after the first reply, as a network does: without a word."""
    while not any(True for _ in recording.messages("server", "response.done")):  # noqa: ASYNC110
        await trio.sleep(0.1)
    await trio.sleep(BREAK_S)
    await here.proxy.cut()


def make_job(
    client: Client, scenario: str, plan: Plan, here: House, clips: dict[str, Said], paths: dict[str, str],
    replies: dict[str, str],
) -> Job:  # fmt: skip
    """What the script is told. Of engines that we do not know nothing is expected word for word."""
    ours = here.engines is not None
    base = here.ws + client.path.rpartition("/")[0]
    return Job(
        scenario=scenario,
        url=here.ws + client.path,
        http="http" + base.removeprefix("ws"),
        key=KEY,
        ca=str(here.ca or ""),
        clips=paths,
        words={part: one.text if ours else "" for part, one in clips.items()},
        replies=replies if ours else dict.fromkeys(replies, ""),
        typed=TYPED,
        tool=TOOL,
        ticket=TICKET,
        seconds=plan.seconds,
        turns=plan.turns,
        barges=plan.barges,
        gap_s=plan.minutes * 60 / plan.turns,
    )


async def call(client: Client, job: Job, folder: Path, outcome: Outcome) -> Report | None:
    """Run the script; None when it left no report."""
    told, found = folder / f"{job.scenario}.job.json", folder / f"{job.scenario}.report.json"
    await trio.to_thread.run_sync(told.write_bytes, msgspec.json.encode(job))
    script = await trio.to_thread.run_sync(placed, client)
    command = [*client.runtime, str(script), str(told), str(found), client.extra]
    environment = {**os.environ, "AURA_STOCK_NODE": str(cache() / "node")}
    environment.pop("PYTHONPATH", None)
    environment |= {"NODE_EXTRA_CA_CERTS": job.ca, "SSL_CERT_FILE": job.ca} if job.ca else {}
    with (folder / f"{job.scenario}.out").open("wb") as out:
        with trio.move_on_after(job.seconds + EXTRA_S) as limit:
            done = await trio.run_process(
                command, stdout=out, stderr=subprocess.STDOUT, check=False, env=environment, cwd=folder
            )
    if limit.cancelled_caught:
        outcome.failures.append(f"it was not over after {job.seconds + EXTRA_S:g} s")
    elif done.returncode:
        outcome.failures.append(f"the client's process ended with {done.returncode}")
    try:
        return msgspec.json.decode(await trio.to_thread.run_sync(found.read_bytes), type=Report)
    except OSError:
        last = (await trio.to_thread.run_sync((folder / f"{job.scenario}.out").read_text)).strip()[-600:]
        outcome.failures.append(f"it left no report: {last}")
        return None


def placed(client: Client) -> Path:
    """The script; one for Node is copied beside its node_modules, where alone its imports are found (blocking)."""
    if client.home != "node":
        return SCRIPTS / client.script
    folder = cache() / "node" / client.name
    folder.mkdir(exist_ok=True)
    for name in ("common.mjs", client.script):
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy:  # another run may be reading the old one
            copy.write((SCRIPTS / name).read_bytes())
        Path(copy.name).replace(folder / name)
    return folder / client.script


def judge(
    outcome: Outcome, report: Report | None, job: Job, here: House, recording: Recording, *, strict: bool
) -> None:
    """Put together what the client, the wire and the engines say."""
    if report is not None:
        outcome.failures += [f"{c.what}: {c.detail}" if c.detail else c.what for c in report.checks if not c.ok]
        outcome.failures += [f"the SDK says: {text}" for text in report.errors]
        outcome.facts = {"version": report.version, "checks": len(report.checks), **report.facts}
        if not report.checks:
            outcome.failures.append("the script checked nothing")
    verify(outcome, job, here, recording, strict=strict)
