"""pydantic-ai: an agent bound to a realtime model; the session truncates by itself and runs the agent's tools."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import anyio
from common import RATE_HZ, Mic, Report, Speaker, run, same, until
from pydantic_ai import Agent
from pydantic_ai.messages import (
    FunctionToolResultEvent,
    PartEndEvent,
    RealtimeInputTranscriptionErrorEvent,
    RealtimeSessionErrorEvent,
    RealtimeSessionReconnectEvent,
    RealtimeTurnCompleteEvent,
)
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime.openai import OpenAIRealtimeModel

PIECE_BYTES = int(2 * RATE_HZ * 0.02)


class App:
    """One call."""

    def __init__(self, session: Any, report: Report) -> None:
        self.session, self.report = session, report
        self.may_break = False
        self.speaker = Speaker()
        self.counts: Counter[str] = Counter()
        self.results: list[Any] = []
        self.turns = 0

    async def listen(self) -> None:
        """Take the session's events."""
        async for event in self.session:
            self.counts[type(event).__name__] += 1
            if isinstance(event, RealtimeSessionErrorEvent | RealtimeInputTranscriptionErrorEvent):
                self.report.error(repr(event))
            elif isinstance(event, RealtimeSessionReconnectEvent) and not self.may_break:
                self.report.error("it reconnected")
            elif isinstance(event, FunctionToolResultEvent):
                self.results.append(getattr(event, "part", None) or event)
            elif isinstance(event, RealtimeTurnCompleteEvent):
                self.turns += 1
            elif isinstance(event, PartEndEvent):
                self.counts[f"end of {type(event.part).__name__}"] += 1
        self.report.check("the session's events do not end by themselves", ok=False)

    async def play(self) -> None:
        """The device: plays each chunk before it takes the next one, in pieces, as the session wants it."""
        async for chunk in self.session.stream_audio():
            for at in range(0, len(chunk), PIECE_BYTES):
                piece = chunk[at : at + PIECE_BYTES]
                self.speaker.put(piece)
                await anyio.sleep(max(0.0, self.speaker.put_s - self.speaker.played_s - 0.04))

    def spoken(self, kind: str, speaker: str) -> list[tuple[str, int | None]]:
        """What the session's history says, and where a reply was cut."""
        return [
            (
                getattr(part, "transcript", None) or getattr(part, "content", "") or "",
                getattr(part, "interrupted_at_ms", None),
            )
            for message in self.session.all_messages()
            if message.kind == kind
            for part in message.parts
            if getattr(part, "speaker", speaker) == speaker and part.part_kind in ("speech", "text", "user-prompt")
        ]

    @property
    def user(self) -> list[str]:
        return [text if isinstance(text, str) else str(text) for text, _ in self.spoken("request", "user")]

    @property
    def replies(self) -> list[tuple[str, int | None]]:
        return self.spoken("response", "assistant")


async def main(job: SimpleNamespace, report: Report) -> None:
    report.version = version("pydantic-ai-slim")
    ran: list[str] = []
    agent = Agent(instructions="Be brief.")
    if job.scenario == "tool":

        @agent.tool_plain(name=job.tool)
        def make_ticket(wish: str) -> str:
            """Makes a ticket for a wish."""
            ran.append(wish)
            return str(job.ticket)

    settings: dict[str, Any] = {"input_transcription_model": "gpt-4o-mini-transcribe"}
    settings |= {"output_modality": "text"} if job.scenario == "text" else {}
    settings |= {"turn_detection": False} if job.scenario == "ptt" else {}
    settings |= {"reconnect": {"base_delay": 0.2}} if job.scenario == "cut" else {}
    provider = OpenAIProvider(base_url=job.http, api_key=job.key)
    model = OpenAIRealtimeModel("aura", provider=provider)
    bound = agent.realtime(model, model_settings=settings)
    async with bound.session(handle_barge_in=True) as session, anyio.create_task_group() as tasks:
        app = App(session, report)
        app.may_break = job.scenario == "cut"
        tasks.start_soon(app.listen)
        mic = Mic(session.send_audio, frame_s=0.04)
        if job.scenario != "text":
            tasks.start_soon(app.play)
            tasks.start_soon(mic.run)
        await SCENES[job.scenario](job, report, app, mic)
        report.check("the functions that ran", len(ran) == (job.scenario == "tool"), ran)
        report.facts = {"events": dict(app.counts), "user": app.user, "replies": [str(r) for r in app.replies]}
        tasks.cancel_scope.cancel()


def check_reply(report: Report, app: App, want: str) -> None:
    """The last reply in the session's history."""
    said = app.replies[-1:] or [("", None)]
    report.check("the history has the reply", not want or same(said[0][0], want), app.replies)


def check_sound(report: Report, app: App) -> None:
    report.check("there is audio", app.speaker.put_s > 0.5, app.speaker.put_s)
    report.check("the audio is no silence", app.speaker.loudest > 1000, app.speaker.loudest)


async def turn(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["ask"])
    if await until(lambda: app.turns, 15, "the turn's end", report):
        await app.session.wait_for_playback()
        check_reply(report, app, job.replies["ask"])
        check_sound(report, app)
    report.check(
        "the user's words are in the history", app.user == [job.words["ask"]] or not job.words["ask"], app.user
    )


async def ptt(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    mic.open = False
    await mic.say(job.clips["ask"])
    await app.session.commit_audio()
    await app.session.create_response()
    if await until(lambda: app.turns, 15, "the turn's end", report):
        await app.session.wait_for_playback()
        check_reply(report, app, job.replies["ask"])
        check_sound(report, app)
    report.check(
        "the user's words are in the history", app.user == [job.words["ask"]] or not job.words["ask"], app.user
    )


async def text(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await app.session.send(job.typed)
    await app.session.wait_for_reply()
    await anyio.sleep(0.2)
    check_reply(report, app, job.replies["typed"])
    report.check("the user's words are in the history", app.user == [job.typed], app.user)


async def tool(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["order"])
    if await until(lambda: app.turns, 20, "the turn's end", report):
        await app.session.wait_for_playback()
        report.check("the session ran the function", len(app.results) == 1, app.results)
        check_reply(report, app, job.replies["tool"])
        check_sound(report, app)


async def barge(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.speaker.put_s > 2.5, 15, "2.5 s of the reply", report):
        return
    before = app.turns
    await mic.say(job.clips["over"])
    if await until(lambda: app.turns > before and len(app.replies) > 1, 15, "a second reply", report):
        await app.session.wait_for_playback()
        said, cut_ms = app.replies[
            0
        ]  # no position when all that the server had sent was played: it holds before it cuts
        report.check(
            "the history has the beginning of the first reply", job.replies["ask"].startswith(said) and said, said
        )
        report.check("the history does not have it whole", len(said) < len(job.replies["ask"]) or not said, said)
        report.check("it was cut where it was heard", cut_ms is None or 2000 < cut_ms < 6000, cut_ms)
        check_reply(report, app, job.replies["over"])
        check_sound(report, app)
    said = [job.words["ask"], job.words["over"]]
    report.check("the user's words are in the history", app.user == said or not said[0], app.user)


async def cut(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    """The runner breaks the connection after the first reply; the session dials again and tells its history."""
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.turns, 15, "the turn's end", report):
        return
    if not await until(lambda: app.counts["RealtimeSessionReconnectEvent"], 15, "the connection again", report):
        return
    await mic.say(job.clips["more"])
    if await until(lambda: app.turns > 1, 15, "the second turn's end", report):
        check_reply(report, app, job.replies["more"])
    said = [job.words["ask"], job.words["more"]]
    report.check("the user's words are in the history", app.user == said or not said[0], app.user)


SCENES = {"turn": turn, "ptt": ptt, "text": text, "tool": tool, "barge": barge, "cut": cut}

if __name__ == "__main__":
    run(main)
