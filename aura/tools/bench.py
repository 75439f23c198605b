"""`aura bench`: many callers in real time against a server, and what they experienced.

Every caller goes round the same mix of scenes from its own start: a plain question, an interruption of the answer, a
pause inside a sentence, a backchannel over the answer. `aura.tools.measure` has the definitions of the figures.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from aura.client import DEFAULT_RATE_HZ, CallError, ClientSettings, connect
from aura.client.events import Event, ReplyAudio, TurnMetrics
from aura.config import Config
from aura.core.errors import AuraError
from aura.tools.bench_report import Result, tables
from aura.tools.caller import Caller
from aura.tools.child import fetch
from aura.tools.measure import Experience, Said, figures
from aura.tools.recordings import Clip, clips
from aura.tools.usage import Usage, listening_pid, process_tree, scraped

MIX = ("turn", "interrupt", "pause", "back", "turn")
ONE_CONNECTION = ClientSettings(resume_for_s=0)
"""A lost connection is a failure here, and nothing is kept for another one."""
LOCAL = {"localhost", "127.0.0.1", "::1"}


class BenchSettings(msgspec.Struct, frozen=True):
    """How the callers behave."""

    warmup_s: float = 3.0
    """Not measured, after the last caller has connected."""
    stagger_s: float = 0.2
    """Time between two callers' connecting."""
    answer_timeout_s: float = 6.0
    """A caller goes on when no answer begins within this time."""
    reply_max_s: float = 14.0
    """The longest answer that is heard out."""
    talk_over_after_s: float = 1.2
    """How long an answer is listened to before it is talked over."""
    pause_min_s: float = 0.6
    """Shortest silence between two scenes."""
    pause_max_s: float = 1.0
    """Longest silence between two scenes."""
    lag_max_ms: float = 20.0
    """Figures are not valid when 1 % of the frames were sent later than this: the callers' machine is too slow."""
    seed: int = 1
    """Of everything that is drawn."""


class NoCallsError(AuraError):
    """Not one caller got through."""

    code = "no_calls"


class Bench:
    """All callers of a run."""

    def __init__(self, url: str, spoken: Sequence[Clip], settings: BenchSettings, token: str = "") -> None:
        self.url, self.settings, self.token = url, settings, token
        self.by_kind: dict[str, list[Clip]] = {}
        for clip in spoken:
            self.by_kind.setdefault(clip.kind, []).append(clip)
        self.mix = [kind for kind in MIX if kind in self.by_kind]
        self.experiences: list[Experience] = []
        self.lags: list[float] = []
        self.open, self.said, self.failures = 0, 0, list[str]()
        self.over = False

    async def caller(self, number: int) -> None:
        """One caller, from the call to its end; a failure is noted."""
        try:
            async with connect(self.url, transcribe=False, token=self.token, settings=ONE_CONNECTION) as call:
                self.open += 1
                who = Experience()
                self.experiences.append(who)
                call.playout.sinks.append(who.hear)
                caller = Caller(call)
                caller.watchers.append(partial(_watch, who))
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(caller.listen)
                        nursery.start_soon(caller.speak)
                        await self._script(caller, who, number)
                        nursery.cancel_scope.cancel()
                finally:
                    self.lags += caller.lags
                if caller.gone:
                    raise CallError(caller.gone)
        except CallError as error:
            self.failures.append(str(error))

    async def _script(self, caller: Caller, who: Experience, number: int) -> None:
        """Scene after scene until the run is over."""
        settings, rng = self.settings, random.Random(f"{self.settings.seed}/{number}")
        turn = number
        await caller.wait(settings.pause_min_s)
        while not self.over and caller.gone is None:
            kind = self.mix[turn % len(self.mix)]
            turn += 1
            first = kind if kind in ("turn", "pause") else "turn"
            answered = await self._say(caller, who, rng, first)
            if answered and kind != first:
                await caller.wait(settings.talk_over_after_s)
                await self._say(caller, who, rng, kind)
            await caller.reply_over(settings.reply_max_s)
            who.said[-1].closed = caller.gone is None
            await caller.wait(rng.uniform(settings.pause_min_s, settings.pause_max_s))

    async def _say(self, caller: Caller, who: Experience, rng: random.Random, kind: str) -> bool:
        """Say a clip and wait for what follows it; whether it was answered."""
        spoken = caller.say(rng.choice(self.by_kind.get(kind) or self.by_kind[self.mix[0]]))
        who.said.append(Said(kind, spoken.start, spoken.end))
        self.said += 1
        wait = spoken.over - trio.current_time()
        if kind == "back":
            await caller.wait(wait + 1.5)
            return False
        return await caller.reply_begins(spoken.end, wait + self.settings.answer_timeout_s)


def _watch(who: Experience, event: Event) -> None:
    match event:
        case ReplyAudio(voiced=True):
            who.arrived.append(event.at)
        case TurnMetrics():
            who.stages.append((event.at, event.stages))
        case _:
            pass


def run(
    config: Config,
    url: str,
    callers: int,
    seconds: float,
    scenes: Path | None,
    json_out: Path | None,
    *,
    pid: int | None = None,
    token: str = "",
    settings: BenchSettings = BenchSettings(),  # noqa: B008  (frozen)
    console: Console | None = None,
) -> int:
    """Measure: 0 when the figures are valid and no call failed, else 1.

    `pid` is the server's process, where it cannot be found by its port. Raises `AuraError`.
    """
    console = console or Console()
    result = trio.run(measure, url, callers, seconds, scenes, pid, settings, console, token)
    for table in tables(result):
        console.print(table)
    if not result.valid:
        late = f"{result.figures.send_lag_p99_ms:.0f} ms"
        console.print(
            f"[red]not valid:[/red] the callers themselves were late (p99 {late}): use a faster machine for them"
        )
    if json_out:
        try:
            json_out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
        except OSError as error:
            raise NoCallsError(f"{json_out}: cannot be written ({error.strerror})") from None
        console.print(f"figures     {json_out}")
    return 0 if result.valid and not result.failed else 1


async def measure(
    url: str,
    callers: int,
    seconds: float,
    scenes: Path | None,
    pid: int | None,
    settings: BenchSettings,
    console: Console,
    token: str = "",
) -> Result:
    """One run."""
    spoken = await trio.to_thread.run_sync(clips, scenes, DEFAULT_RATE_HZ)
    bench = Bench(url, spoken, settings, token)
    if not bench.mix:
        raise NoCallsError(f"{scenes}: no clip of a kind that is used here ({', '.join(sorted(set(MIX)))})")
    await _first_call(url, bench.by_kind[bench.mix[0]][0], settings, token)
    before = await _usage(url, pid)
    async with trio.open_nursery() as nursery:
        for number in range(callers):
            nursery.start_soon(bench.caller, number)
            await trio.sleep(settings.stagger_s)
        await trio.sleep(settings.warmup_s)
        if not bench.open:
            raise NoCallsError(bench.failures[0] if bench.failures else f"{url} does not answer")
        since, start = trio.current_time(), await _usage(url, pid)
        await _show_progress(bench, callers, seconds, console)
        took, end = trio.current_time() - since, await _usage(url, pid)
        bench.over = True
        nursery.cancel_scope.deadline = trio.current_time() + settings.answer_timeout_s + settings.reply_max_s
    found = figures(bench.experiences, bench.lags, since)
    result = Result(
        url, callers, round(took, 1), len(bench.failures), found.send_lag_p99_ms < settings.lag_max_ms, found
    )
    if not (before and start and end):
        return result
    cores = (end.cpu_s - start.cpu_s) / took
    return msgspec.structs.replace(
        result,
        server_cpu=round(cores, 3),
        cpu_per_conversation=round(cores / callers, 5),
        memory_per_conversation_mb=round((end.rss_bytes - before.rss_bytes) / callers / 2**20, 2),
        server_memory_mb=round(end.rss_bytes / 2**20, 1),
    )


async def _first_call(url: str, clip: Clip, settings: BenchSettings, token: str) -> None:
    """One turn that is not measured: models are loaded and connections opened before memory is compared."""
    async with connect(url, token=token, settings=ONE_CONNECTION) as call, trio.open_nursery() as nursery:
        caller = Caller(call)
        nursery.start_soon(caller.listen)
        nursery.start_soon(caller.speak)
        await caller.wait(settings.pause_min_s)
        spoken = caller.say(clip)
        await caller.reply_begins(spoken.end, clip.seconds + settings.answer_timeout_s)
        nursery.cancel_scope.cancel()


async def _show_progress(bench: Bench, callers: int, seconds: float, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=seconds)
        end = trio.current_time() + seconds
        while (left := end - trio.current_time()) > 0:
            talk = f"{bench.open - len(bench.failures)} of {callers} callers, {bench.said} turns"
            progress.update(bar, completed=seconds - left, description=talk)
            await trio.sleep(min(0.5, left))


async def _usage(url: str, pid: int | None) -> Usage | None:
    """What the server has used: its whole process tree on this machine, else what it says of itself."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    if pid is None and parts.hostname in LOCAL:
        pid = await trio.to_thread.run_sync(listening_pid, port)
    if pid is not None:
        return await trio.to_thread.run_sync(process_tree, pid)
    scheme = "https" if parts.scheme == "wss" else "http"
    return scraped(await trio.to_thread.run_sync(fetch, f"{scheme}://{parts.netloc}/metrics"))
