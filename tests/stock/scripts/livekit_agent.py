"""LiveKit Agents: an AgentSession on OpenAI's realtime plugin or on xAI's, with a microphone and loudspeaker of ours.

The session's own defaults hold, such as hearing nothing of the user in the first 3 s of the first reply.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import suppress
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
from common import RATE_HZ, Mic, Report, Speaker, run, same, until
from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice import io
from livekit.plugins import openai, xai

XAI = sys.argv[3] == "xai"
CUT_S = 6.0
"""So long after the reply the connection has been lost and made again."""
DEAF_S = 3.0
"""LiveKit's echo warm-up."""


class Source(io.AudioInput):
    """What the microphone gives."""

    def __init__(self) -> None:
        super().__init__(label="mic")
        self.send, self.receive = anyio.create_memory_object_stream[rtc.AudioFrame](100)

    async def put(self, pcm: bytes) -> None:
        """A piece of sound; lost while nobody listens."""
        with suppress(anyio.WouldBlock):
            self.send.send_nowait(rtc.AudioFrame(pcm, RATE_HZ, 1, len(pcm) // 2))

    async def __anext__(self) -> rtc.AudioFrame:
        try:
            return await self.receive.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class Sink(io.AudioOutput):
    """The loudspeaker."""

    def __init__(self) -> None:
        super().__init__(label="speaker", sample_rate=RATE_HZ, capabilities=io.AudioOutputCapabilities(pause=False))
        self.speaker = Speaker()
        self.segment = 0
        self.flushed = False

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        first = self.speaker.item != str(self.segment)
        self.speaker.put(bytes(frame.data), str(self.segment))
        if first:
            self.on_playback_started(created_at=time.time())

    def flush(self) -> None:
        super().flush()
        self.flushed = self.speaker.item == str(self.segment)

    def clear_buffer(self) -> None:
        if self.speaker.item == str(self.segment):
            self.finish(self.speaker.flush(), interrupted=True)

    def finish(self, played_s: float, *, interrupted: bool) -> None:
        self.flushed = False
        self.segment += 1
        self.on_playback_finished(playback_position=played_s, interrupted=interrupted)

    async def run(self) -> None:
        """Tell when a segment has been played to its end."""
        while True:
            await anyio.sleep(0.01)
            if self.flushed and self.speaker.ends <= time.monotonic():
                self.finish(self.speaker.put_s, interrupted=False)


class App:
    """One call."""

    def __init__(self, session: AgentSession[Any], report: Report) -> None:
        self.session, self.report = session, report
        self.source, self.sink = Source(), Sink()
        self.may_break = False
        self.counts: Counter[str] = Counter()
        self.finals: list[str] = []
        self.items: list[Any] = []
        self.outputs: list[str] = []
        for name in ("user_input_transcribed", "conversation_item_added", "error", "function_tools_executed", "close"):
            session.on(name, self.take)

    def take(self, event: Any) -> None:
        """What the session tells the app."""
        self.counts[event.type] += 1
        if event.type == "user_input_transcribed" and event.is_final:
            self.finals.append(event.transcript)
        elif event.type == "conversation_item_added":
            self.items.append(event.item)
        elif event.type == "error" and not (self.may_break and event.error.recoverable):
            self.report.error(repr(event.error))
        elif event.type == "function_tools_executed":
            self.outputs += [output.output for output in event.function_call_outputs]
        elif event.type == "close" and event.error:
            self.report.error(repr(event.error))

    def texts(self, role: str) -> list[str]:
        """What the session's chat context got."""
        return [item.text_content or "" for item in self.items if getattr(item, "role", "") == role]


def model_of(job: SimpleNamespace, http: aiohttp.ClientSession) -> Any:
    """The realtime model, as its plugin's documentation makes it."""
    if XAI:
        return xai.realtime.RealtimeModel(base_url=job.url.replace("/realtime", ""), api_key=job.key, http_session=http)
    options: dict[str, Any] = {"modalities": ["text"]} if job.scenario == "text" else {}
    options |= {"turn_detection": None} if job.scenario == "ptt" else {}
    return openai.realtime.RealtimeModel(base_url=job.http, api_key=job.key, model="aura", http_session=http, **options)


async def main(job: SimpleNamespace, report: Report) -> None:
    report.version = version("livekit-agents")
    ran: list[str] = []

    async def make_ticket(wish: str) -> str:
        """Makes a ticket for a wish."""
        ran.append(wish)
        return str(job.ticket)

    tools = [function_tool(make_ticket, name=job.tool)] if job.scenario == "tool" else []
    turns: dict[str, Any] = {"turn_handling": {"turn_detection": "manual"}} if job.scenario == "ptt" else {}
    async with aiohttp.ClientSession() as http, anyio.create_task_group() as tasks:
        session: AgentSession[Any] = AgentSession(llm=model_of(job, http), **turns)
        app = App(session, report)
        app.may_break = job.scenario == "cut"
        session.input.audio = app.source
        if job.scenario != "text":
            session.output.audio = app.sink
        tasks.start_soon(app.sink.run)
        await session.start(Agent(instructions="Be brief.", tools=tools), record=False)
        mic = Mic(app.source.put)
        if job.scenario not in ("text", "ptt"):
            tasks.start_soon(mic.run)
        await anyio.sleep(0.5)
        await SCENES[job.scenario](job, report, app, mic, tasks)
        report.check("the functions that ran", len(ran) == (job.scenario == "tool"), ran)
        report.facts = {"events": dict(app.counts), "user": app.finals, "replies": app.texts("assistant")}
        await session.aclose()
        tasks.cancel_scope.cancel()


def check_reply(report: Report, app: App, want: str) -> None:
    said = app.texts("assistant")
    report.check("the chat context has the reply", not want or (said and same(said[-1], want)), said)


def check_sound(report: Report, app: App) -> None:
    report.check("there is audio", app.sink.speaker.put_s > 0.5, app.sink.speaker.put_s)
    report.check("the audio is no silence", app.sink.speaker.loudest > 1000, app.sink.speaker.loudest)


def check_user(report: Report, app: App, *wanted: str) -> None:
    report.check("the user's words arrive", app.finals == list(wanted) or not wanted[0], app.finals)
    said = app.texts("user")
    report.check("the user's words are in the chat context", said == list(wanted) or not wanted[0], said)


async def turn(job: SimpleNamespace, report: Report, app: App, mic: Mic, tasks: Any) -> None:
    await mic.say(job.clips["ask"])
    if await until(lambda: app.texts("assistant"), 20, "a reply", report):
        check_reply(report, app, job.replies["ask"])
        check_sound(report, app)
    check_user(report, app, job.words["ask"])


async def ptt(job: SimpleNamespace, report: Report, app: App, mic: Mic, tasks: Any) -> None:
    app.session.input.set_audio_enabled(False)
    tasks.start_soon(mic.run)
    await anyio.sleep(0.5)
    app.session.clear_user_turn()
    app.session.input.set_audio_enabled(True)
    await mic.say(job.clips["ask"])
    await anyio.sleep(0.8)  # LiveKit answers when its own detector has seen the end of the speech too
    app.session.input.set_audio_enabled(False)
    app.session.commit_user_turn()
    if await until(lambda: app.texts("assistant"), 20, "a reply", report):
        check_reply(report, app, job.replies["ask"])
        check_sound(report, app)
    check_user(report, app, job.words["ask"])


async def text(job: SimpleNamespace, report: Report, app: App, mic: Mic, tasks: Any) -> None:
    await app.session.generate_reply(user_input=job.typed)
    if await until(lambda: app.texts("assistant"), 15, "a reply", report):
        check_reply(report, app, job.replies["typed"])


async def tool(job: SimpleNamespace, report: Report, app: App, mic: Mic, tasks: Any) -> None:
    await mic.say(job.clips["order"])
    if await until(lambda: app.texts("assistant"), 25, "the answer after the call", report):
        report.check("the session ran the function", [job.ticket in o for o in app.outputs] == [True], app.outputs)
        check_reply(report, app, job.replies["tool"])
        check_sound(report, app)


async def barge(job: SimpleNamespace, report: Report, app: App, mic: Mic, tasks: Any) -> None:
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.sink.speaker.played_s > DEAF_S + 1.0, 20, "4 s of the reply", report):
        return
    await mic.say(job.clips["over"])
    if await until(lambda: len(app.texts("assistant")) > 1, 20, "a second reply", report):
        first = next(item for item in app.items if getattr(item, "role", "") == "assistant")
        report.check("the first reply is marked as interrupted", first.interrupted, first)
        heard = first.text_content or ""
        report.check("the chat context has a part of it", 0 < len(heard) < len(job.replies["ask"]), heard)
        check_reply(report, app, job.replies["over"])
        check_sound(report, app)
    check_user(report, app, job.words["ask"], job.words["over"])


async def cut(job: SimpleNamespace, report: Report, app: App, mic: Mic, tasks: Any) -> None:
    """The runner breaks the connection after the first reply; LiveKit dials again and tells its whole context."""
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.texts("assistant"), 20, "a reply", report):
        return
    await anyio.sleep(CUT_S)
    await mic.say(job.clips["more"])
    if await until(lambda: len(app.texts("assistant")) > 1, 20, "a second reply", report):
        check_reply(report, app, job.replies["more"])
    check_user(report, app, job.words["ask"], job.words["more"])


SCENES = {"turn": turn, "ptt": ptt, "text": text, "tool": tool, "barge": barge, "cut": cut}

if __name__ == "__main__":
    run(main)
