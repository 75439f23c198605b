"""openai-python as an app would use it: it sends nothing by itself, so the app plays, listens and truncates.

The SDK checks nothing; the runner holds every event against the SDK's types.
"""

from __future__ import annotations

import base64
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import anyio
import openai
from common import Mic, Report, Speaker, run, same, until
from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed

VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}


class App:
    """One call."""

    def __init__(self, report: Report) -> None:
        self.call: Any = None
        self.report = report
        self.speaker = Speaker()
        self.counts: Counter[str] = Counter()
        self.users: list[str] = []
        self.replies: list[Any] = []
        self.deltas: dict[str, str] = {}
        self.sessions: list[str] = []
        self.conversation: str | None = None
        self.flush_on_speech = True
        self.truncated_ms: list[int] = []

    async def listen(self) -> None:
        """Take events until the connection ends."""
        async for event in self.call:
            self.counts[event.type] += 1
            await self.take(event)
        self.report.check("the events do not end by themselves", ok=False)

    async def speak(self, pcm: bytes) -> None:
        """The microphone; while the connection is lost, what it gives is lost too."""
        with suppress(openai.WebSocketConnectionClosedError, ConnectionClosed):
            await self.call.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())

    async def take(self, event: Any) -> None:
        """What an app does with an event."""
        if event.type == "error":
            self.report.error(event.error.message, event.error.code)
        elif event.type == "session.created":
            self.sessions.append(event.session.id)
        elif event.type == "conversation.created":
            self.conversation = event.conversation.id
        elif event.type == "conversation.item.input_audio_transcription.completed":
            self.users.append(event.transcript)
        elif event.type == "response.output_audio.delta":
            self.speaker.put(base64.b64decode(event.delta), event.item_id)
        elif event.type in ("response.output_audio_transcript.delta", "response.output_text.delta"):
            self.deltas[event.response_id] = self.deltas.get(event.response_id, "") + event.delta
        elif event.type == "response.done":
            self.replies.append(event.response)
        elif event.type == "input_audio_buffer.speech_started" and self.speaker.played_s and self.flush_on_speech:
            left = self.speaker.put_s - self.speaker.played_s
            if left > 0 or len(self.replies) < self.counts["response.created"]:
                heard_ms = int(1000 * self.speaker.flush())
                self.truncated_ms.append(heard_ms)
                await self.call.conversation.item.truncate(
                    item_id=self.speaker.item, content_index=0, audio_end_ms=heard_ms
                )

    def text(self, number: int) -> str:
        """The text of a reply, as its items have it."""
        return "".join(
            part.transcript or part.text or ""
            for item in self.replies[number].output or ()
            if item.type == "message"
            for part in item.content or ()
        )


async def main(job: SimpleNamespace, report: Report) -> None:
    report.version = openai.__version__
    client = AsyncOpenAI(api_key=job.key, base_url=job.http)
    app = App(report)

    def again(event: openai.types.ReconnectingEvent) -> dict[str, Any]:
        """The SDK dials again; the app names the conversation that it wants back."""
        return {"extra_query": {**event.extra_query, "conversation_id": app.conversation}}

    extra = {"on_reconnecting": again, "initial_delay": 0.2} if job.scenario == "cut" else {}
    async with client.realtime.connect(model="aura", **extra) as call, anyio.create_task_group() as tasks:
        app.call = call
        tasks.start_soon(app.listen)
        mic = Mic(app.speak)
        await configure(job, call)
        if await until(lambda: app.counts["session.updated"], 5, "session.updated", report):
            tasks.start_soon(mic.run) if job.scenario != "text" else None
            await SCENES[job.scenario](job, report, app, mic)
        report.facts = {"events": dict(app.counts), "heard": app.users, "truncated_ms": app.truncated_ms}
        tasks.cancel_scope.cancel()


async def configure(job: SimpleNamespace, call: Any) -> None:
    """The session, by scenario."""
    tool = {
        "type": "function",
        "name": job.tool,
        "description": "Makes a ticket for a wish.",
        "parameters": {"type": "object", "properties": {"wish": {"type": "string"}}, "required": ["wish"]},
    }
    audio = {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": None if job.scenario == "ptt" else VAD,
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"},
    }
    session: dict[str, Any] = {"type": "realtime", "instructions": "Be brief.", "audio": audio}
    session["output_modalities"] = ["text"] if job.scenario == "text" else ["audio"]
    session |= {"tools": [tool], "tool_choice": "auto"} if job.scenario == "tool" else {}
    await call.session.update(session=session)


def check_reply(job: SimpleNamespace, report: Report, app: App, number: int, want: str, status: str) -> None:
    """A reply as it should have arrived."""
    reply = app.replies[number]
    report.check(f"reply {number} is {status}", reply.status == status, reply.status)
    used = reply.usage and (reply.usage.total_tokens or status == "cancelled")
    report.check(f"reply {number} has usage", used, reply.usage)
    if status == "completed" and want:
        report.check(f"reply {number} says it", same(app.text(number), want), app.text(number))
        report.check(f"the deltas of reply {number} say it", same(app.deltas[reply.id], want), app.deltas[reply.id])


def check_sound(report: Report, app: App) -> None:
    report.check("there is audio", app.speaker.put_s > 0.5, app.speaker.put_s)
    report.check("the audio is no silence", app.speaker.loudest > 1000, app.speaker.loudest)


async def turn(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["ask"])
    if await until(lambda: app.replies, 15, "a reply", report):
        check_reply(job, report, app, 0, job.replies["ask"], "completed")
        check_sound(report, app)
    report.check("the user's words arrive", app.users == [job.words["ask"]] or not job.words["ask"], app.users)


async def ptt(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    mic.open = False
    await mic.say(job.clips["ask"])
    await app.call.input_audio_buffer.commit()
    await anyio.sleep(1.0)
    report.check("a commit makes no response", not app.counts["response.created"])
    await app.call.response.create()
    if await until(lambda: app.replies, 15, "a reply", report):
        check_reply(job, report, app, 0, job.replies["ask"], "completed")
        check_sound(report, app)
    report.check("the user's words arrive", app.users == [job.words["ask"]] or not job.words["ask"], app.users)
    report.check("there are no VAD events", not app.counts["input_audio_buffer.speech_started"])


async def text(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    content = [{"type": "input_text", "text": job.typed}]
    await app.call.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await app.call.response.create()
    if await until(lambda: app.replies, 15, "a reply", report):
        check_reply(job, report, app, 0, job.replies["typed"], "completed")
        report.check("it came as text", app.counts["response.output_text.done"] == 1, app.counts)
        report.check("there is no audio", app.speaker.put_s == 0, app.speaker.put_s)
        report.check("the response says text", app.replies[0].output_modalities == ["text"])


async def tool(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["order"])
    if not await until(lambda: app.replies, 15, "the call", report):
        return
    calls = [item for item in app.replies[0].output if item.type == "function_call"]
    if not report.check("the response is a function call", len(calls) == 1, app.replies[0].output):
        return
    report.check("it names the function", calls[0].name == job.tool, calls[0].name)
    report.check("it has the arguments", job.words["order"] in calls[0].arguments, calls[0].arguments)
    output = {"type": "function_call_output", "call_id": calls[0].call_id, "output": job.ticket}
    await app.call.conversation.item.create(item=output)
    await app.call.response.create()
    if await until(lambda: len(app.replies) > 1, 15, "the answer", report):
        check_reply(job, report, app, 1, job.replies["tool"], "completed")
        check_sound(report, app)


async def barge(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.speaker.played_s > 2.5, 15, "2.5 s of the reply", report):
        return
    await mic.say(job.clips["over"])
    if await until(lambda: len(app.replies) > 1, 15, "a second reply", report):
        check_reply(job, report, app, 0, "", "cancelled")
        details = app.replies[0].status_details
        report.check("the reason is told", details and details.reason == "turn_detected", details)
        check_reply(job, report, app, 1, job.replies["over"], "completed")
        check_sound(report, app)
    report.check("the client truncated once", len(app.truncated_ms) == 1, app.truncated_ms)
    report.check("truncation is answered", app.counts["conversation.item.truncated"] == 1)
    said = [job.words["ask"], job.words["over"]]
    report.check("the user's words arrive", app.users == said or not said[0], app.users)


async def cut(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    """The runner breaks the connection after the first reply."""
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.replies, 15, "a reply", report):
        return
    if not await until(lambda: len(app.sessions) > 1, 10, "the connection again", report):
        return
    report.check("it is the same session", len(set(app.sessions)) == 1, app.sessions)
    await mic.say(job.clips["more"])
    if await until(lambda: len(app.replies) > 1, 15, "a second reply", report):
        check_reply(job, report, app, 1, job.replies["more"], "completed")
    said = [job.words["ask"], job.words["more"]]
    report.check("the user's words arrive", app.users == said or not said[0], app.users)


SCENES = {"turn": turn, "ptt": ptt, "text": text, "tool": tool, "barge": barge, "cut": cut}

if __name__ == "__main__":
    run(main)
