"""Transcription of files, by OpenAI and its imitators. Source: providers.md 1.6, 6, 8.4 (2026-11-22)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import trio

from tests.fakes.faults import DONE
from tests.fakes.openai_chat import Steps, tokens
from tests.fakes.openai_models import limits
from tests.fakes.server import Call
from tests.fakes.sound import BadAudio, decoded
from tests.fakes.wire import Answer, Part, Seen, document, page, parse_form
from tests.fakes.world import Sound

FILES = ("flac", "mp3", "mp4", "mpeg", "mpga", "m4a", "ogg", "wav", "webm")
LARGEST = 25 * 1024 * 1024
FORMATS = ("json", "text", "srt", "vtt", "verbose_json", "diarized_json")


def sse(payload: object) -> bytes:
    """One event."""
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def wrong(call: Call, message: str, status: int = 400) -> Answer:
    """The request is not in order."""
    return document("stt", call.vendor.dialect.refuse("validation", message)[1], status)


async def heard(call: Call, form: dict[str, Part]) -> tuple[str, float] | Answer:
    """The words of the uploaded file and its length, or what is wrong with it."""
    file = form.get("file")
    if file is None or not file.filename or "." not in file.filename:
        return wrong(call, "'file' with a name that has an extension is missing")
    if not file.content_type:
        return wrong(call, "'file' has no content type")
    if len(file.value) > LARGEST:
        return wrong(call, "the file is larger than 25 MB", 413)
    if file.filename.rpartition(".")[2].lower() not in FILES:
        return wrong(call, f"Unrecognized file format. Supported formats: {list(FILES)}")
    try:
        pcm, rate_hz = await trio.to_thread.run_sync(decoded, file.value, file.filename)
    except BadAudio as error:
        return wrong(call, f"Audio file might be corrupted or unsupported: {error}")
    sound = Sound(pcm, rate_hz, call.world.next_turn(), call.vendor.name)
    return ("" if call.has("no_words") else call.world.hear(sound)), sound.seconds


def fields(call: Call) -> tuple[dict[str, Part], dict[str, str]] | Answer:
    """The form, parsed strictly."""
    try:
        form = parse_form(call.seen.headers.get("content-type", ""), call.seen.body)
    except AssertionError as error:
        return wrong(call, f"Could not parse multipart form: {error}")
    return form, {name: part.value.decode(errors="replace") for name, part in form.items() if part.filename is None}


async def transcribe(call: Call) -> Answer:
    """POST /audio/transcriptions."""
    parsed = fields(call)
    if isinstance(parsed, Answer):
        return parsed
    form, said = parsed
    facts, form_of = call.vendor.dialect.facts, said.get("response_format", "json")
    hosted = facts.get("models") == "openai"
    if not said.get("model") and not facts.get("one_model"):
        return wrong(call, "'model' is required")
    if form_of not in FORMATS:
        return wrong(call, f"'response_format' must be one of {FORMATS}")
    if hosted and form_of == "verbose_json" and said["model"] != "whisper-1":
        return wrong(call, f"response_format 'verbose_json' is not compatible with model '{said['model']}'")
    if (refused := limits(call)) is not None:
        return refused
    for before in earlier(call) if facts.get("one_at_a_time") else ():
        await before.over.wait()
    found = await heard(call, form)
    if isinstance(found, Answer):
        return found
    text, seconds = found
    wait, headers = call.world.draw(call.vendor.name, "hear_s"), call.vendor.state.get("headers", {})
    streams = said.get("stream", "").lower() == "true" and said.get("model") != "whisper-1"
    if streams and (how := facts.get("stt", "openai")) != "none":
        return Answer("stt", STREAMS[how](text, seconds, wait), headers=headers)
    if form_of in ("text", "srt", "vtt"):
        return page("stt", 200, as_text(form_of, text, seconds), head_delay_s=wait, headers=headers)
    body = verbose(text, seconds, facts) if form_of == "verbose_json" else {"text": text, **usage(said, text, seconds)}
    return document("stt", body, head_delay_s=wait, headers=headers)


def earlier(call: Call) -> list[Seen]:
    """The transcriptions that were asked for before this one."""
    return [seen for seen in call.vendor.seen[: call.vendor.seen.index(call.seen)] if seen.kind == "stt"]


def usage(said: dict[str, str], text: str, seconds: float) -> dict[str, Any]:
    """What it costs: seconds of whisper, tokens of the others."""
    if said.get("model", "").startswith("gpt-"):
        words = sum(1 for _ in tokens(text))
        details = {"audio_tokens": int(seconds * 10), "text_tokens": 0}
        return {"usage": {
            "type": "tokens", "input_tokens": int(seconds * 10), "input_token_details": details,
            "output_tokens": words, "total_tokens": int(seconds * 10) + words,
        }}  # fmt: skip
    return {"usage": {"type": "duration", "seconds": int(seconds + 0.999)}}


def as_text(form: str, text: str, seconds: float) -> str:
    """Plain text or subtitles."""
    mark = "," if form == "srt" else "."
    end = f"00:00:{int(seconds):02}{mark}{int(seconds % 1 * 1000):03}"
    cue = f"00:00:00{mark}000 --> {end}\n{text}\n\n"
    return {"text": f"{text}\n", "srt": f"1\n{cue}", "vtt": f"WEBVTT\n\n{cue}"}[form]


def verbose(text: str, seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
    """With segments, whose `no_speech_prob` tells a hallucination."""
    silent = not text
    segment = {
        "id": 0, "seek": 0, "start": 0.0, "end": round(seconds, 2), "text": f" {text}", "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.25, "compression_ratio": 1.1, "no_speech_prob": 0.93 if silent else 0.02,
    }  # fmt: skip
    length: float | str = f"{seconds:.2f}" if facts.get("stt") == "vllm" else round(seconds, 2)
    return {
        "task": "transcribe", "language": "english", "duration": length, "text": text,
        "segments": [] if silent else [segment], "usage": {"type": "duration", "seconds": int(seconds + 0.999)},
    }  # fmt: skip


def openai_stream(text: str, seconds: float, wait: float) -> Steps:
    """`transcript.text.delta` and `.done`."""
    yield wait
    for piece in tokens(text):
        yield sse({"type": "transcript.text.delta", "delta": piece})
    yield sse({"type": "transcript.text.done", "text": text, **usage({"model": "gpt-"}, text, seconds)})


def vllm_stream(text: str, seconds: float, wait: float) -> Steps:
    """Chunks that look like a chat's."""
    yield wait
    base = {"id": "trsc-1", "object": "transcription.chunk", "created": 1790000000, "model": "whisper"}
    for piece in tokens(text):
        yield sse({**base, "choices": [{"delta": {"content": piece}, "finish_reason": None, "stop_reason": None}]})
    yield sse({**base, "choices": [{"delta": {"content": ""}, "finish_reason": "stop", "stop_reason": None}]})
    yield DONE


def speaches_stream(text: str, seconds: float, wait: float) -> Steps:
    """A segment per event, without a type and without [DONE]."""
    yield wait
    for segment in segments(text):
        yield sse({"text": segment})


def segments(text: str) -> Iterator[str]:
    """Pieces of at most eight words."""
    words = text.split()
    yield from (" ".join(words[i : i + 8]) for i in range(0, len(words), 8))


STREAMS = {"openai": openai_stream, "vllm": vllm_stream, "speaches": speaches_stream}
