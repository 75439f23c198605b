"""Pipecat: a pipeline around its OpenAI realtime service, or its Grok one, with a microphone and a loudspeaker of ours.

As in Pipecat's own examples the bot speaks first: the context begins with a message, and `LLMRunFrame` starts it.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
from common import RATE_HZ, Mic, Report, Speaker, run, same, until
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    OutputAudioRawFrame,
    StartFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.services.xai.realtime.llm import GrokRealtimeLLMService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

GROK = sys.argv[3] == "grok"
MIC_HZ = 16_000


class Ears(BaseInputTransport):
    """What the microphone gives, at Pipecat's own rate."""

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def put(self, pcm: bytes) -> None:
        """A piece of 24 kHz sound."""
        high = np.frombuffer(pcm, "<i2").astype(np.float32)
        low = np.interp(np.arange(0, len(high), RATE_HZ / MIC_HZ), np.arange(len(high)), high).astype("<i2")
        await self.push_audio_frame(InputAudioRawFrame(low.tobytes(), MIC_HZ, 1))


class Mouth(BaseOutputTransport):
    """The loudspeaker: takes a frame when it has played the one before."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.speaker = Speaker()
        self.heard_s = 0.0
        self.interruptions = 0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            self.interruptions += 1
        await super().process_frame(frame, direction)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        self.speaker.put(frame.audio)
        self.heard_s += len(frame.audio) / 2 / RATE_HZ if any(frame.audio) else 0.0
        await anyio.sleep(max(0.0, self.speaker.ends - time.monotonic() - 0.02))
        return True


class App:
    """One call."""

    def __init__(self, job: SimpleNamespace, report: Report) -> None:
        self.report = report
        self.ran: list[Any] = []
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True, audio_out_end_silence_secs=0)
        self.ears, self.mouth = Ears(params), Mouth(params)
        self.context = LLMContext([{"role": "user", "content": job.typed}], **tools_of(job))
        self.llm = service_of(job)
        self.llm.register_function(job.tool, self.make_ticket)
        self.ticket = job.ticket
        vad = SileroVADAnalyzer(sample_rate=MIC_HZ) if job.scenario == "ptt" else None
        pair = LLMContextAggregatorPair(self.context, user_params=LLMUserAggregatorParams(vad_analyzer=vad))
        steps = [self.ears, pair.user(), self.llm, self.mouth, pair.assistant()]
        rates = PipelineParams(audio_in_sample_rate=MIC_HZ, audio_out_sample_rate=RATE_HZ)
        self.worker = PipelineWorker(Pipeline(steps), params=rates, cancel_on_idle_timeout=False)

        @self.worker.event_handler("on_pipeline_error")
        async def failed(_: Any, frame: Any) -> None:
            report.error(frame.error)

    async def make_ticket(self, call: Any) -> None:
        """The function."""
        self.ran.append(call.arguments)
        await call.result_callback(self.ticket)

    def texts(self, role: str) -> list[str]:
        """What the context got."""
        return [
            str(m.get("content") or "")
            for m in self.context.get_messages()
            if m.get("role") == role and m.get("content")
        ]


def tools_of(job: SimpleNamespace) -> dict[str, Any]:
    """The function that the client offers."""
    if job.scenario != "tool":
        return {}
    wish = {"wish": {"type": "string"}}
    schema = FunctionSchema(name=job.tool, description="Makes a ticket for a wish.", properties=wish, required=["wish"])
    return {"tools": ToolsSchema(standard_tools=[schema])}


def service_of(job: SimpleNamespace) -> Any:
    """The realtime service."""
    if GROK:
        return GrokRealtimeLLMService(api_key=job.key, base_url=job.url)
    turns = {"turn_detection": False} if job.scenario == "ptt" else {}
    audio = events.AudioConfiguration(
        input=events.AudioInput(transcription=events.InputAudioTranscription(model="gpt-4o-mini-transcribe"), **turns)
    )
    properties = events.SessionProperties(instructions="Be brief.", audio=audio)
    if job.scenario == "text":
        properties.output_modalities = ["text"]
    settings = OpenAIRealtimeLLMService.Settings(model="aura", session_properties=properties)
    return OpenAIRealtimeLLMService(api_key=job.key, base_url=job.url, settings=settings)


async def main(job: SimpleNamespace, report: Report) -> None:
    report.version = version("pipecat-ai")
    logger.remove()
    logger.add(sys.stderr, level="INFO")
    logger.add(lambda text: report.error(str(text).strip()), level="ERROR")
    app = App(job, report)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(app.worker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.run)
        await app.worker.queue_frames([LLMRunFrame()])
        if await until(lambda: app.texts("assistant"), 20, "the greeting", report):
            report.check(
                "the greeting", same(app.texts("assistant")[0], job.replies["typed"]) or not job.replies["typed"]
            )
            await until(lambda: app.mouth.speaker.ends < time.monotonic() + 0.5, 10, "the greeting's end", report)
            await anyio.sleep(0.5)
            mic = Mic(app.ears.put)
            tasks.start_soon(mic.run)
            await SCENES[job.scenario](job, report, app, mic)
        report.check("the functions that ran", len(app.ran) == (job.scenario == "tool"), app.ran)
        report.facts = {
            "messages": [str(m) for m in app.context.get_messages()],
            "interruptions": app.mouth.interruptions,
        }
        await app.worker.cancel()
        with anyio.move_on_after(3):
            await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()


def check_reply(report: Report, app: App, want: str) -> None:
    said = app.texts("assistant")
    report.check("the context has the reply", not want or (said and same(said[-1], want)), said)


def check_sound(report: Report, app: App) -> None:
    report.check("there is audio", app.mouth.heard_s > 0.5, app.mouth.heard_s)
    report.check("the audio is no silence", app.mouth.speaker.loudest > 1000, app.mouth.speaker.loudest)


def check_user(job: SimpleNamespace, report: Report, app: App, *wanted: str) -> None:
    said = app.texts("user")
    report.check("the user's words are in the context", said == [job.typed, *wanted] or not wanted[0], said)


async def turn(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["ask"])
    if await until(lambda: len(app.texts("assistant")) > 1, 20, "a reply", report):
        check_reply(report, app, job.replies["ask"])
        check_sound(report, app)
    check_user(job, report, app, job.words["ask"])


async def text(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    """The greeting was all of it."""
    report.check("there is no audio", app.mouth.heard_s == 0.0, app.mouth.heard_s)


async def tool(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    await mic.say(job.clips["order"])
    if await until(lambda: any(same(t, job.replies["tool"]) for t in app.texts("assistant")), 25, "the answer", report):
        report.check("it has the arguments", job.words["order"] in str(app.ran), app.ran)
        check_sound(report, app)


async def barge(job: SimpleNamespace, report: Report, app: App, mic: Mic) -> None:
    before = app.mouth.heard_s
    await mic.say(job.clips["ask"])
    if not await until(lambda: app.mouth.heard_s > before + 2.5, 20, "2.5 s of the reply", report):
        return
    interruptions = app.mouth.interruptions
    await mic.say(job.clips["over"])
    if await until(
        lambda: same((app.texts("assistant") or [""])[-1], job.replies["over"]), 20, "a second reply", report
    ):
        heard = app.texts("assistant")[1]
        report.check("the context has a part of the first reply", 0 < len(heard) < len(job.replies["ask"]), heard)
        check_sound(report, app)
    report.check("the pipeline was interrupted", app.mouth.interruptions > interruptions, app.mouth.interruptions)
    check_user(job, report, app, job.words["ask"], job.words["over"])


SCENES = {"turn": turn, "ptt": turn, "text": text, "tool": tool, "barge": barge}

if __name__ == "__main__":
    run(main)
