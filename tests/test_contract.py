"""The checks for whoever has keys find what is wrong, and the `openai` package runs on AURA's connections."""

from __future__ import annotations

from typing import Any

import pytest

from aura.core import errors
from aura.core.secret import Secret
from aura.providers import contract
from aura.providers.contract import Finding, check
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.http import open_http
from aura.providers.openai.models import Model, openai_client, shutdown_dates
from aura.providers.openai.settings import CompatibleSettings, OpenAISettings
from aura.providers.openai.wire_check import wire_events
from aura.providers.registry import Chosen, Part
from tests.fakes import openai_server
from tests.fakes.openai_server import DONE, Answer, chat, chunk, failure, one_shot, raw, serve, speech, transcript
from tests.fakes.server import serve_fakes
from tests.fakes.world import World

LIMITS = {
    "x-ratelimit-limit-requests": "100",
    "x-ratelimit-remaining-requests": "80",
    "x-ratelimit-reset-requests": "1h",
}


async def found(part: Part, *answers: Answer, generate: bool = True) -> dict[str, Finding]:
    async with serve(*answers) as fake, open_http() as http:
        settings = OpenAISettings(base_url=fake.base_url, api_key=Secret("sk-test"), stt_timeout_s=0.5)
        findings = await check(part, Chosen("openai", "openai", "m", settings), http, generate=generate)
    assert {finding.part for finding in findings} == {part}
    return {finding.check: finding for finding in findings}


async def test_a_chat_that_behaves_passes_every_check() -> None:
    result = await found("chat", chat("Hello", headers=LIMITS), chat("Hello"))
    assert {name: finding.good for name, finding in result.items()} == dict.fromkeys(
        ("probe", "order", "usage", "rate headers", "wire", "request id"), True
    )
    assert result["rate headers"].detail == "left: 80% of requests"
    assert result["usage"].detail.startswith("9 in, 2 out")
    assert result["wire"].detail == "role text finish usage done"


async def test_without_generation_only_the_health_is_checked() -> None:
    assert set(await found("chat", generate=False)) == {"probe"}


BAD: dict[str, tuple[Part, tuple[Answer, ...], str]] = {
    "a wrong key": ("chat", (failure("models", 401, {"error": {"code": "invalid_api_key"}}),), "probe"),
    "no usage": ("chat", (chat("Hello", usage=None),), "usage"),
    "no words": ("chat", (chat(""),), "order"),
    "out of order": ("chat", (chat("Hi"), raw("chat", chunk({"content": "Hi"}), DONE)), "wire"),
    "an error at the second look": ("chat", (chat("Hi"), failure("chat", 500, "")), "generate"),
    "too short": ("tts", (speech(0.01),), "audio"),
    "no audio": ("tts", (speech(b""),), "generate"),
    "words in silence": ("stt", (transcript("Thank you."),), "silence"),
    "a silent recogniser": ("stt", (transcript("", head_delay_s=5),), "generate"),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_wrong_is_found_and_nothing_is_raised(case: str) -> None:
    part, answers, wrong = BAD[case]
    result = await found(part, *answers)
    assert [name for name, finding in result.items() if not finding.good] == [wrong]
    assert "sk-test" not in str(result)


async def test_a_check_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "CHECK_S", 0.1)
    result = await found("chat", chat("Hi", ttft_s=20.0))
    assert result["generate"].detail == "no result within 0.1 s"


@pytest.mark.parametrize(("part", "answer"), [("tts", speech(0.5)), ("stt", transcript(""))])
async def test_voices_and_recognisers_pass(part: Part, answer: Answer) -> None:
    assert all(finding.good for finding in (await found(part, answer)).values())


@pytest.mark.parametrize(
    ("events", "good"),
    [
        ([chunk({"role": "assistant"}), chunk({"content": "a"}), chunk({}, "stop"), DONE], True),
        ([chunk({"reasoning": "a"}), chunk({"content": "a"}), chunk({}, "stop"), chunk(usage={"x": 1}), DONE], True),
        ([chunk({"content": "a"}), chunk({}, "stop")], False),
        ([chunk({"content": "a"}), chunk(usage={"x": 1}), chunk({}, "stop"), DONE], False),
        ([chunk({"content": "a"}), b"data: {nope\n\n", chunk({}, "stop"), DONE], False),
        ([openai_server.sse({"error": {"message": "x"}})], False),
        ([], False),
    ],
)
def test_the_order_of_events_is_judged(events: list[bytes], good: bool) -> None:
    assert wire_events(b"".join(events), {}).in_order() is good


def test_only_models_in_use_are_warned_about() -> None:
    offered = (Model("a", "2027-01-06"), Model("b"), Model("c", "2027-02-26"))
    assert shutdown_dates(offered, ("a", "b", "x")) == {"a": "2027-01-06"}


FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 5,
    "created_at": 1,
    "filename": "a.txt",
    "purpose": "user_data",
    "status": "processed",
}


async def test_files_go_through_the_package_over_the_shared_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(openai_server.KINDS, "/v1/files", "models")
    async with serve(one_shot("models", FILE)) as fake, open_http() as http:
        settings = CompatibleSettings(base_url=fake.base_url, api_key=Secret("sk-test"))
        await http.endpoint(fake.base_url).warm()
        async with openai_client(settings, http) as client:
            made = await client.files.create(file=("a.txt", b"hello"), purpose="user_data")
            assert made.id == "file-1"
            assert [model async for model in client.models.list()] == []
        assert fake.connections == 1
        sent: Any = fake.seen[0].form
        assert (sent["file"].value, sent["file"].filename, sent["purpose"].value) == (b"hello", "a.txt", b"user_data")


async def test_errors_of_the_package_become_provider_errors() -> None:
    async with serve(failure("models", 429, {"error": {"code": "insufficient_quota"}})) as fake, open_http() as http:
        with pytest.raises(errors.QuotaExhausted):
            async with openai_client(OpenAISettings(base_url=fake.base_url), http) as client:
                await client.models.list()


async def test_the_day_on_which_the_model_ends_is_told() -> None:
    model = {"id": "m", "object": "model", "created": 1, "owned_by": "o", "shutdown_date": "2027-01-06"}
    listed = one_shot("models", {"object": "list", "data": [model]})
    result = await found("chat", listed, listed, generate=False)
    assert (result["shutdown"].good, result["shutdown"].detail) == (True, "m ends on 2027-01-06")


async def test_the_voices_of_an_account_are_listed() -> None:
    async with serve_fakes(World(), "elevenlabs") as fakes, open_http() as http:
        settings = ElevenLabsSettings(base_url=fakes.url("elevenlabs"), api_key=Secret("key"))
        chosen = Chosen("elevenlabs-http", "elevenlabs-http", settings.tts_model, settings)
        findings = {finding.check: finding for finding in await check("tts", chosen, http)}
    assert findings["voices"].good, findings
    assert settings.voice in findings["voices"].detail
