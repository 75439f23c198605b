"""What the headers of a reply tell about the limits of the account."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from aura.core.errors import RateLimited
from aura.core.ports import ChatRequest, Message
from aura.providers.http import open_http
from aura.providers.openai.chat import OpenAIChat
from aura.providers.openai.limits import Limits, duration_s
from aura.providers.openai.settings import OpenAISettings
from aura.providers.openai.stt import OpenAITranscriber
from aura.providers.vitals import Left
from tests.fakes.openai_server import chat, failure, serve, transcript

HELLO = ChatRequest((Message("user", "Hello"),))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("8h57m36s", 32256.0),
        ("1d2h", 93600.0),
        ("750µs", 0.00075),
        ("7.66", 7.66),
        ("0", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("-3", None),
        ("5 parsecs", None),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float | None) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, milliseconds: int) -> None:
    text = f"{hours}h{minutes}m{milliseconds / 1000:g}s"
    assert duration_s(text) == pytest.approx(hours * 3600 + minutes * 60 + milliseconds / 1000)


@given(st.text(max_size=20))
def test_no_header_can_break_the_reader(text: str) -> None:
    assert duration_s(text) is None or duration_s(text) >= 0  # type: ignore[operator]


async def test_what_is_left_refills_until_the_window_is_over(autojump_clock: trio.testing.MockClock) -> None:
    limits = Limits()
    assert limits.left() == Left()
    limits.note(
        {
            "x-ratelimit-limit-requests": "100",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "10s",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "250",
        }
    )
    assert limits.left(4) == Left(0.0, 0.25, 4)
    await trio.sleep(5)
    assert limits.left().requests == pytest.approx(0.5)
    await trio.sleep(60)
    assert limits.left() == Left(1.0, 1.0)


@pytest.mark.parametrize("remaining", ["", "many", "-1", "nan", "inf"])
async def test_nonsense_is_not_believed(remaining: str) -> None:
    limits = Limits()
    limits.note({"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "1"})
    limits.note({"x-ratelimit-limit-tokens": "9", "x-ratelimit-remaining-tokens": remaining})
    assert limits.left() == Left()


HEADERS = {"x-ratelimit-limit-tokens": "200", "x-ratelimit-remaining-tokens": "50", "x-ratelimit-reset-tokens": "1h"}
AS_ARGUMENTS = {name.replace("-", "_"): value for name, value in HEADERS.items()}


async def test_every_reply_of_a_chat_is_listened_to_refusals_too() -> None:
    refused = failure("chat", 429, {"error": {"code": "rate_limit_exceeded"}}, **AS_ARGUMENTS)
    fuller = chat("Hi", headers={**HEADERS, "x-ratelimit-remaining-tokens": "150"})
    async with serve(refused, fuller) as fake, open_http() as http:
        engine = OpenAIChat(OpenAISettings(base_url=fake.base_url, concurrency=7), http)
        assert engine.left == Left(concurrent_max=7)
        with pytest.raises(RateLimited):
            async with engine.reply(HELLO):
                pass
        assert engine.left.tokens == pytest.approx(0.25, abs=0.01)
        async with engine.reply(HELLO) as items:
            assert [item async for item in items]
        assert engine.left.tokens == pytest.approx(0.75, abs=0.01)


async def test_a_recogniser_listens_too() -> None:
    async with serve(transcript("hi", headers=HEADERS)) as fake, open_http() as http:
        engine = OpenAITranscriber(OpenAISettings(base_url=fake.base_url), http)
        await engine.transcribe(bytes(32000))
        assert engine.left.tokens == pytest.approx(0.25, abs=0.01)
