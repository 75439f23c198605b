"""The Agents SDK for Python: it configures, truncates, retrieves and runs functions; the app plays and speaks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import anyio
from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimePlaybackTracker, RealtimeRunner
from common import Mic, Report, Speaker, run, same, until

PLAY_S = 0.02


class App:
    """One call."""

    def __init__(self, session: Any, report: Report, tracker: RealtimePlaybackTracker) -> None:
        self.session, self.report, self.tracker = session, report, tracker
        self.speaker = Speaker()
        self.counts: Counter[str] = Counter()
        self.done: list[dict[str, Any]] = []
        self.history: list[Any] = []
        self.interruptions = 0
        self.tool_ends: list[Any] = []
        self.first_audio_at: dict[str, float] = {}
        self.reported_s = 0.0

    async def listen(self) -> None:
        """Take the SDK's events until it closes."""
        async for event in self.session:
            self.counts[event.type] += 1
            if event.type == "error":
                self.report.error(repr(event.error), getattr(event.error, "code", None))
            elif event.type == "audio":
                self.put(event.audio.data, event.item_id)
            elif event.type == "audio_interrupted":
                self.interruptions += 1
                self.speaker.flush()
            elif event.type == "tool_end":
                self.tool_ends.append(event.output)
            elif event.type == "history_updated":
                self.history = event.history
            elif event.type == "raw_model_event":
                self.raw(event.data)
        self.report.check("the session's events do not end by themselves", ok=False)

    def put(self, pcm: bytes, item: str) -> None:
        """Play."""
        if item != self.speaker.item:
            self.reported_s = 0.0
            self.first_audio_at[item] = time.monotonic()
        self.speaker.put(pcm, item)

    def raw(self, data: Any) -> None:
        """What the SDK passes on as it came."""
        if data.type == "exception":
            self.report.error(repr(data.exception))
        elif data.type == "raw_server_event":
            self.counts[data.data.get("type", "")] += 1
            if data.data.get("type") == "response.done":
                self.done.append(data.data["response"])

    async def account(self) -> None:
        """Tell the SDK what was really played, as an app with a sound card does."""
        while True:
            await anyio.sleep(PLAY_S)
            played = self.speaker.played_s
            if played > self.reported_s:
                self.tracker.on_play_ms(self.speaker.item, 0, 1000 * (played - self.reported_s))
                self.reported_s = played

    def texts(self, role: str) -> list[str]:
        """What the SDK's history says."""
        found = []
        for item in self.history:
            if item.type == "message" and item.role == role:
                parts = [getattr(p, "transcript", None) or getattr(p, "text", None) or "" for p in item.content]
                found.append("".join(parts))
        return found


async def main(job: SimpleNamespace, report: Report) -> None:
    report.version = version("openai-agents")
    set_tracing_disabled(True)
    ran: list[str] = []

    async def make_ticket(wish: str) -> str:
        """Makes a ticket for a wish."""
        ran.append(wish)
        return str(job.ticket)

    tools = [function_tool(make_ticket, name_override=job.tool)] if job.scenario == "tool" else []
    settings: dict[str, Any] = {"modalities": ["text"] if job.scenario == "text" else ["audio"]}
    settings |= {"turn_detection": None} if job.scenario == "ptt" else {}
    tracker = RealtimePlaybackTracker()
    model: dict[str, Any] = {"url": f"{job.url}?model=aura", "api_key": job.key, "playback_tracker": tracker}
    agent = RealtimeAgent(name="guide", instructions="Be brief.", tools=tools)
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    async with await runner.run(model_config=model) as session, anyio.create_task_group() as tasks:
        app = App(session, report, tracker)
        tasks.start_soon(app.listen)
        tasks.start_soon(app.account)
        mic = Mic(session.send_audio, frame_s=0.04)
        if await until(lambda: app.counts["session.updated"], 5, "session.updated", report):
            if job.scenario != "text":
                tasks.start_soon(mic.run)
            await SCENES[job.scenario](job, report, app, mic)
        report.check("the functions that ran", bool(ran) == (job.scenario == "tool"), ran)
        report.facts |= {"events": dict(app.counts), "interruptions": app.interruptions}
        tasks.cancel_scope.cancel()


def check_end(job: SimpleNamespace, report: Report, app: App, number: int, want: str) -> None:
    """A response as the app sees it."""
    report.check(f"response {number} is completed", app.done[number]["status"] == "completed", app.done[number])
    said = app.texts("assistant")
    report.check("the SDK's history has the reply", not want or any(same(t, want) for t in said), said)


def check_sound(report: Report, app: App) -> None:
    report.check("there is audio", app.speaker.put_s > 0.5, app.speaker.put_s)
    report.check("the audio is no silence", app.speaker.loudest > 1000, app.speaker.loudest)


def check_user(report: Report, app: App, *wanted: str) -> None:
    said = app.texts("user")
    report.check("the user's words are in the SDK's history", said == list(wanted) or not wanted[0], said)


async def turn(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["ask"])
    if await until(lambda: app.counts["agent_end"], 15, "agent_end", report):
        await anyio.sleep(0.3)
        check_end(job, report, app, 0, job.replies["ask"])
        check_sound(report, app)
    check_user(report, app, job.words["ask"])


async def ptt(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    mic.open = False
    await mic.say(job.clips["ask"])
    await app.session.send_audio(b"", commit=True)
    await anyio.sleep(1.0)
    report.check("a commit makes no response", not app.counts["response.created"])
    from agents.realtime.model_inputs import RealtimeModelSendRawMessage

    await app.session.model.send_event(RealtimeModelSendRawMessage(message={"type": "response.create"}))
    if await until(lambda: app.counts["agent_end"], 15, "agent_end", report):
        await anyio.sleep(0.3)
        check_end(job, report, app, 0, job.replies["ask"])
        check_sound(report, app)
    check_user(report, app, job.words["ask"])


async def text(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await app.session.send_message(job.typed)
    if await until(lambda: app.counts["agent_end"], 15, "agent_end", report):
        await anyio.sleep(0.3)
        check_end(job, report, app, 0, job.replies["typed"])
        report.check("there is no audio", app.speaker.put_s == 0, app.speaker.put_s)
    check_user(report, app, job.typed)


async def tool(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["order"])
    if await until(lambda: len(app.done) > 1, 20, "the answer after the call", report):
        await anyio.sleep(0.3)
        report.check("the SDK ran the function", app.tool_ends == [job.ticket], app.tool_ends)
        check_end(job, report, app, 1, job.replies["tool"])
        check_sound(report, app)


async def barge(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.speaker.played_s > 2.5, 15, "2.5 s of the reply", report):
        return
    await mic.say(job.clips["over"])
    if await until(lambda: len(app.done) > 1, 15, "a second reply", report):
        await anyio.sleep(0.3)
        report.check("the first is cancelled", app.done[0]["status"] == "cancelled", app.done[0])
        check_end(job, report, app, 1, job.replies["over"])
        check_sound(report, app)
    report.check("the SDK says audio_interrupted", app.interruptions >= 1, app.interruptions)
    report.check("the truncation is answered", app.counts["conversation.item.truncated"] >= 1, dict(app.counts))
    check_user(report, app, job.words["ask"], job.words["over"])


async def long(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    """Many turns, some of them broken into, over a long time; everything counted."""
    began, talk = time.monotonic(), Talk(job, report, app, mic)
    every = max(1, round(job.turns / max(1, job.barges)))
    for number in range(job.turns):
        await anyio.sleep(max(0.0, began + number * job.gap_s - time.monotonic()))
        over = number % every == every - 1 and talk.counted["barge-ins"] < job.barges
        await talk.turn(number, over=over)
    counted = talk.counted
    report.check("every turn was answered", counted["completed"] == job.turns, dict(counted))
    report.check(
        "every barge-in cut a reply", counted["cancelled"] == counted["barge-ins"] == job.barges, dict(counted)
    )
    waits = sorted(talk.waits)
    report.facts |= {"counts": dict(counted), "minutes": round((time.monotonic() - began) / 60, 1)}
    report.facts |= {"first audio after the last word, s": {"p50": waits[len(waits) // 2], "max": waits[-1]}}


class Talk:
    """The turns of a long conversation."""

    def __init__(self, job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
        self.job, self.report, self.app, self.mic = job, report, app, mic
        self.counted: Counter[str] = Counter()
        self.waits: list[float] = []

    async def wait(self, true: Callable[[], object], seconds: float, number: int, what: str) -> bool:
        return await until(true, seconds, f"turn {number}: {what}", self.report)

    async def turn(self, number: int, *, over: bool) -> None:
        """One question, its answer, and perhaps another question in the middle of it."""
        app, done, item = self.app, len(self.app.done), self.app.speaker.item
        await self.mic.say(self.job.clips["ask" if over else "more"])
        said = time.monotonic()
        self.counted["turns"] += 1
        if not await self.wait(lambda: app.speaker.item != item, 15, number, "audio"):
            return
        self.waits.append(round(app.first_audio_at[app.speaker.item] - said, 2))
        if over:
            await self.wait(lambda: app.speaker.played_s > 2.0, 15, number, "2 s of the reply")
            self.counted["barge-ins"] += 1
            await self.mic.say(self.job.clips["over"])
        if await self.wait(lambda: len(app.done) >= done + 1 + over, 15, number, "its end"):
            self.counted.update(response["status"] for response in app.done[done:])
        await app.speaker.drained()


SCENES = {"turn": turn, "ptt": ptt, "text": text, "tool": tool, "barge": barge, "long": long}

if __name__ == "__main__":
    run(main)
