"""Transcripts that come in pieces, and the gate against words that a model invents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from aura.core import errors
from aura.core.ports import HearingEvent, Interim, Transcript
from aura.providers.http import open_http
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.stt import LiveUtterance, OpenAITranscriber
from aura.providers.openai.stt_form import fields
from tests.fakes.openai_server import DONE, Answer, FakeOpenAI, failure, one_shot, raw, serve, sse, tone

SECOND = tone(1.0, 16_000)


@asynccontextmanager
async def utterance(*answers: Answer, **changes: Any) -> AsyncIterator[tuple[LiveUtterance, FakeOpenAI]]:
    async with serve(*answers) as fake, open_http() as http:
        engine = OpenAITranscriber(OpenAISettings(base_url=fake.base_url, stt_interim=True, **changes), http)
        async with engine.open() as hearing:
            assert isinstance(hearing, LiveUtterance)
            hearing.feed(SECOND)
            yield hearing, fake


def delta(text: str) -> bytes:
    return sse({"type": "transcript.text.delta", "delta": text})


def done(text: str, **usage: Any) -> bytes:
    return sse({"type": "transcript.text.done", "text": text, "usage": usage or None})


def vllm(text: str | None, finish: str | None = None) -> bytes:
    choices = [{"delta": {"content": text}, "finish_reason": finish}]
    return sse({"id": "t", "object": "transcription.chunk", "model": "m", "choices": choices})


TOKENS = {"type": "tokens", "input_tokens": 14, "output_tokens": 3, "total_tokens": 17}
BILLED = Transcript("hello you", input_tokens=14, output_tokens=3)
STREAMS: dict[str, tuple[Answer, Transcript]] = {
    "openai": (raw("stt", delta("hello "), delta("you"), done("hello you", **TOKENS), DONE), BILLED),
    "openai, the end corrects": (raw("stt", delta("hallo you"), done("hello you", **TOKENS)), BILLED),
    "openai, by seconds": (
        raw("stt", done("hello you", type="duration", seconds="2")),
        Transcript("hello you", billed_s=2.0),
    ),
    "openai, no [DONE]": (raw("stt", delta("hello you"), done("hello you")), Transcript("hello you")),
    "openai, unknown events": (
        raw("stt", sse({"type": "transcript.text.segment", "text": "x"}), delta("hello you"), done("hello you")),
        Transcript("hello you"),
    ),
    "openai, body held open": (raw("stt", done("hello you"), after="hold"), Transcript("hello you")),
    "openai, nothing": (raw("stt", done(""), DONE), Transcript("")),
    "vllm": (raw("stt", vllm("hello "), vllm("you"), vllm("", "stop"), DONE), Transcript("hello you")),
    "vllm, with usage": (
        raw("stt", vllm("hello you"), sse({"choices": [], "usage": {"seconds": 3}}), DONE),
        Transcript("hello you", billed_s=3.0),
    ),
    "vllm, nothing": (raw("stt", vllm(None), DONE), Transcript("")),
    "speaches": (raw("stt", sse({"text": "hello"}), sse({"text": " you"})), Transcript("hello you")),
    "speaches, pieces without a blank": (
        raw("stt", sse({"text": "hello"}), sse({"text": "you"})),
        Transcript("hello you"),
    ),
    "speaches, no blank line at the end": (raw("stt", sse({"text": "hello you"}).rstrip()), Transcript("hello you")),
    "events labelled as text": (
        raw("stt", delta("hello you"), done("hello you", **TOKENS), content_type="text/plain"),
        BILLED,
    ),
    "single bytes": (
        raw("stt", *(bytes([byte]) for byte in delta("hello ") + done("hello you", **TOKENS))),
        BILLED,
    ),
    "a server that ignores stream": (one_shot("stt", {"text": "hello you"}), Transcript("hello you")),
    "plain text instead": (raw("stt", b"hello you\n", content_type="text/plain"), Transcript("hello you")),
}


@pytest.mark.parametrize("dialect", STREAMS)
async def test_streams_of_every_dialect_are_read(dialect: str) -> None:
    answer, expected = STREAMS[dialect]
    async with utterance(answer) as (hearing, fake):
        assert await hearing.final() == expected
        assert fake.seen[0].form["stream"].value == b"true"
        assert fake.seen[0].form["response_format"].value == b"json"


BROKEN: dict[str, tuple[Answer, type[errors.ProviderError]]] = {
    "openai, no end": (raw("stt", delta("hello ")), errors.StreamCut),
    "vllm, no end": (raw("stt", vllm("hello ")), errors.StreamCut),
    "nothing at all": (raw("stt"), errors.StreamCut),
    "cut": (raw("stt", delta("hello "), after="cut"), errors.StreamCut),
    "speaches, cut": (raw("stt", sse({"text": "hello"}), after="cut"), errors.StreamCut),
    "stalled": (raw("stt", delta("hello "), after="hold"), errors.TimedOut),
    "error event": (raw("stt", sse({"type": "error", "error": {"code": "server_error"}})), errors.Unavailable),
    "event: error": (raw("stt", b'event: error\ndata: {"message": "boo"}\n\n'), errors.Unavailable),
    "quota": (raw("stt", sse({"error": {"code": "insufficient_quota"}})), errors.QuotaExhausted),
    "broken JSON": (raw("stt", b"data: {nope\n\n"), errors.StreamCut),
    "refused": (failure("stt", 401, {"error": {"code": "invalid_api_key"}}), errors.AuthFailed),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_stream_is_a_provider_error(fault: str) -> None:
    answer, kind = BROKEN[fault]
    async with utterance(answer, stt_timeout_s=0.2) as (hearing, _):
        with pytest.raises(errors.ProviderError) as caught:
            await hearing.final()
        assert type(caught.value) is kind, caught.value


async def test_words_show_while_they_are_found_and_the_events_end_with_the_utterance() -> None:
    seen: list[HearingEvent] = []
    over = trio.Event()
    answer = raw("stt", delta("hello "), 0.05, delta("you"), 0.05, done("hello you"), DONE)

    async def watch(hearing: LiveUtterance) -> None:
        seen.extend([event async for event in hearing.events()])
        over.set()

    async with trio.open_nursery() as nursery:
        async with utterance(answer) as (hearing, fake):
            nursery.start_soon(watch, hearing)
            hearing.force_endpoint()
            assert (await hearing.final()).text == "hello you"
            await trio.sleep(0.02)
            assert fake.connections == 1
        with trio.fail_after(1):
            await over.wait()
        assert seen == [Interim("hello "), Interim("hello you")]


async def test_the_connection_is_kept_after_a_stream() -> None:
    async with utterance() as (hearing, fake):
        fake.default["stt"] = lambda _: raw("stt", done("hello you"), DONE)
        for _ in range(3):
            await hearing.final()
            hearing.feed(SECOND)
        assert (len(fake.seen), fake.connections) == (3, 1)


def segment(text: str, no_speech: float | None, logprob: float | None) -> dict[str, Any]:
    return {"id": 0, "text": text, "no_speech_prob": no_speech, "avg_logprob": logprob, "compression_ratio": 1.0}


WHISPER: dict[str, tuple[list[dict[str, Any]], str]] = {
    "words": ([segment(" Hello.", 0.01, -0.2), segment(" You.", 0.1, -0.3)], "Hello. You."),
    "words that the model is unsure of": ([segment(" Hello. You.", 0.2, -1.6)], "Hello. You."),
    "words in spite of silence": ([segment(" Hello. You.", 0.9, -0.4)], "Hello. You."),
    "invented": ([segment(" Thank you for watching.", 0.9, -1.4)], ""),
    "words, then invented ones": (
        [segment(" Hello. You.", 0.1, -0.2), segment(" Thank you.", 0.8, -1.2)],
        "Hello. You.",
    ),
    "without figures": ([segment(" Hello. You.", None, None)], "Hello. You."),
    "silent, without a probability": ([segment(" Hm.", 0.95, None)], ""),
}


@pytest.mark.parametrize("case", WHISPER)
async def test_what_whisper_invents_in_silence_is_dropped(case: str) -> None:
    segments, expected = WHISPER[case]
    text = "".join(one["text"] for one in segments)
    answer = one_shot("stt", {"task": "transcribe", "text": text, "duration": "1.0", "segments": segments})
    async with serve(answer) as fake, open_http() as http:
        settings = OpenAISettings(base_url=fake.base_url, stt_model="whisper-1")
        heard = await OpenAITranscriber(settings, http).transcribe(SECOND)
        assert heard.text == expected
        assert fake.seen[0].form["response_format"].value == b"verbose_json"
        if case == "words":
            assert heard.confidence == pytest.approx(0.78, abs=0.01)


FORMS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "whisper-1 cannot stream": (
        {"stt_model": "whisper-1", "stt_interim": True},
        [("model", "whisper-1"), ("response_format", "verbose_json")],
    ),
    "gpt-transcribe takes lists": (
        {"languages": ("en", "de"), "keywords": ("AURA", "Trio")},
        [
            ("model", "gpt-transcribe"),
            ("response_format", "json"),
            ("languages[]", "en"),
            ("languages[]", "de"),
            ("keywords[]", "AURA"),
            ("keywords[]", "Trio"),
        ],
    ),
    "older models get a prompt and one language": (
        {"stt_model": "gpt-4o-mini-transcribe", "language": "en", "stt_prompt": "A call", "keywords": ("AURA", "Trio")},
        [
            ("model", "gpt-4o-mini-transcribe"),
            ("response_format", "json"),
            ("language", "en"),
            ("prompt", "A call. AURA, Trio"),
        ],
    ),
    "several languages leave the choice to older models": (
        {"stt_model": "whisper-1", "languages": ("en", "de"), "stt_format": "text"},
        [("model", "whisper-1"), ("response_format", "text")],
    ),
    "a server that cannot stream is not asked to": (
        {"stt_model": "x", "stt_interim": True, "stt_stream": "none"},
        [("model", "x"), ("response_format", "json")],
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_each_model_is_asked_in_the_words_it_knows(case: str) -> None:
    changes, expected = FORMS[case]
    assert fields(OpenAISettings(**changes)) == expected


async def test_an_endless_transcript_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aura.providers.openai.stt.MAX_TRANSCRIPT_BYTES", 2000)
    async with utterance(raw("stt", *[delta("word " * 10)] * 100)) as (hearing, _):
        with pytest.raises(errors.StreamCut, match="does not end"):
            await hearing.final()


async def test_a_language_list_names_the_first() -> None:
    answer = one_shot("stt", json.loads('{"text": "hallo", "languages": ["de", "en"]}'))
    async with serve(answer) as fake, open_http() as http:
        heard = await OpenAITranscriber(OpenAISettings(base_url=fake.base_url), http).transcribe(SECOND)
        assert heard.language == "de"
