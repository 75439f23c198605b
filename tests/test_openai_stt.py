"""Transcription against a real server that checks the upload as strictly as the API does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from aura.core import errors
from aura.core.ports import Hearing, Transcript
from aura.providers.http import open_http
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.stt import OpenAITranscriber
from aura.providers.openai.stt_form import form
from tests.fakes.openai_server import (
    Answer,
    FakeOpenAI,
    failure,
    one_shot,
    parse_form,
    raw,
    sent_audio,
    serve,
    tone,
    transcript,
)

SECOND = tone(1.0, 16_000)


@asynccontextmanager
async def utterance(*answers: Answer, **changes: Any) -> AsyncIterator[tuple[Hearing, FakeOpenAI]]:
    async with serve(*answers) as fake, open_http() as http:
        engine = OpenAITranscriber(OpenAISettings(base_url=fake.base_url, **changes), http)
        async with engine.open() as hearing:
            yield hearing, fake


async def test_the_upload_is_a_wav_file_of_all_that_was_fed() -> None:
    async with utterance(language="en", stt_prompt="AURA") as (hearing, fake):
        hearing.feed(SECOND[:5000])
        hearing.feed(SECOND[5000:])
        assert (await hearing.final()).text == "hello there"
        assert sent_audio(fake.seen[0]) == SECOND
        fields = {name: part.value for name, part in fake.seen[0].form.items() if name != "file"}
        assert fields == {
            "model": b"gpt-transcribe",
            "response_format": b"json",
            "language": b"en",
            "prompt": b"AURA",
        }


READ: dict[str, tuple[Answer, Transcript]] = {
    "json": (transcript(" hello you "), Transcript("hello you", billed_s=1.0)),
    "with language": (one_shot("stt", {"text": "hallo", "language": "de"}), Transcript("hallo", language="de")),
    "empty": (transcript(""), Transcript("", billed_s=1.0)),
    "plain text": (raw("stt", b"hello you\n", content_type="text/plain"), Transcript("hello you")),
    "json labelled as text": (raw("stt", b'{"text":"hello"}', content_type="text/plain"), Transcript("hello")),
}


@pytest.mark.parametrize("form_of_reply", READ)
async def test_replies_of_every_form_are_read(form_of_reply: str) -> None:
    answer, expected = READ[form_of_reply]
    async with utterance(answer) as (hearing, _):
        hearing.feed(SECOND)
        assert await hearing.final() == expected


FAULTS: dict[str, tuple[Answer, type[errors.ProviderError]]] = {
    "wrong key": (failure("stt", 401, {"error": {"message": "no", "code": "invalid_api_key"}}), errors.AuthFailed),
    "whisper.cpp": (failure("stt", 400, {"error": "failed to read WAV file"}), errors.BadRequest),
    "502": (failure("stt", 502, "<html></html>"), errors.Unavailable),
    "error with 200": (one_shot("stt", {"error": "boo"}), errors.Unavailable),
    "no text": (one_shot("stt", {"task": "x"}), errors.StreamCut),
    "broken": (raw("stt", b'{"text":', content_type="application/json"), errors.StreamCut),
    "cut": (raw("stt", b'{"te', content_type="application/json", after="cut"), errors.StreamCut),
    "silent": (Answer("stt", head_delay_s=9), errors.TimedOut),
    "stalled": (raw("stt", b'{"te', content_type="application/json", after="hold"), errors.TimedOut),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_failures_are_provider_errors(fault: str) -> None:
    answer, kind = FAULTS[fault]
    async with utterance(answer, stt_timeout_s=0.15) as (hearing, _):
        hearing.feed(SECOND)
        with pytest.raises(errors.ProviderError) as caught:
            await hearing.final()
        assert type(caught.value) is kind


@pytest.mark.parametrize("pcm", [b"", SECOND[:3198]])
async def test_next_to_nothing_is_not_sent(pcm: bytes) -> None:
    async with utterance() as (hearing, fake):
        hearing.feed(pcm)
        assert await hearing.so_far() == await hearing.final() == Transcript("")
        assert not fake.seen


async def test_a_finished_draft_is_the_final_transcript() -> None:
    async with utterance() as (hearing, fake):
        hearing.feed(SECOND)
        draft = await hearing.so_far()
        assert draft == Transcript("hello there", billed_s=1.0)
        assert await hearing.final() == Transcript("hello there")  # it is not billed twice
        assert len(fake.seen) == 1


async def test_a_draft_under_way_becomes_the_final_transcript() -> None:
    async with utterance(transcript("once", head_delay_s=0.05)) as (hearing, fake):
        hearing.feed(SECOND)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hearing.so_far)
            await trio.sleep(0.02)
            assert (await hearing.final()).text == "once"
        assert len(fake.seen) == 1


async def test_new_audio_after_a_draft_is_transcribed_again() -> None:
    async with utterance(transcript("one"), transcript("one two")) as (hearing, fake):
        hearing.feed(SECOND)
        assert (await hearing.so_far()).text == "one"
        hearing.feed(SECOND)
        assert (await hearing.final()).text == "one two"
        assert sent_audio(fake.seen[1]) == SECOND * 2


async def test_a_cancelled_draft_does_not_take_the_final_transcript_with_it() -> None:
    async with utterance(transcript("draft", head_delay_s=5), transcript("final")) as (hearing, fake):
        hearing.feed(SECOND)
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def draft() -> None:
                with scope:
                    await hearing.so_far()

            async def cancel_soon() -> None:
                await trio.sleep(0.05)
                scope.cancel()

            nursery.start_soon(draft)
            await trio.sleep(0.02)
            nursery.start_soon(cancel_soon)
            assert (await hearing.final()).text == "final"
        assert fake.seen[0].disconnected_at is not None


async def test_a_failed_draft_is_tried_again_for_the_final_transcript() -> None:
    async with utterance(failure("stt", 500, ""), transcript("final")) as (hearing, _):
        hearing.feed(SECOND)
        with pytest.raises(errors.Unavailable):
            await hearing.so_far()
        assert (await hearing.final()).text == "final"


async def test_audio_beyond_the_longest_utterance_is_dropped() -> None:
    async with utterance(max_utterance_s=0.5) as (hearing, fake):
        hearing.feed(SECOND)
        hearing.feed(SECOND)
        await hearing.final()
        assert sent_audio(fake.seen[0]) == SECOND[:16_000]


def test_audio_that_contains_the_boundary_cannot_forge_a_field() -> None:
    forged = b'\r\n--aura-0-form\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n--aura-0-form--\r\n'
    content_type, body = form(forged, OpenAISettings(stt_prompt="aura-1-form"))
    parts = parse_form(content_type, body)
    assert parts["file"].value[44:] == forged
    assert parts["model"].value == b"gpt-transcribe"
