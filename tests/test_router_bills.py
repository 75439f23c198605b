"""Every engine that AURA comes with has a price, in the measure in which its vendor bills it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from aura.config import load
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.core.routing.choose import Part
from aura.core.routing.pricing import Price, Usage, cost
from aura.observe.health import Health
from aura.observe.metrics import Metrics
from aura.providers import registry
from aura.providers.router.voice import RoutedVoice
from aura.server.assemble import open_engines
from tests.routed import Scripted, board_of, talk

USED = {"stt": Usage(audio_s=60), "chat": Usage(input_tokens=900, output_tokens=90), "tts": Usage(chars=9, audio_s=1)}
"""What a call of each part tells of itself at least."""
OWN = ("offline", "compatible")
ENGINES = [(part, name) for part, several in registry.ENGINES.items() for name in several if name not in OWN]


@pytest.mark.parametrize(("part", "name"), ENGINES)
async def test_what_an_engine_costs_is_known(part: Part, name: str, tmp_path: Path) -> None:
    options = [f"engines.{part}={name}", f"storage.data_dir={tmp_path}", f"{section(part, name)}.api_key=a-key"]
    config = load(options=options, environment={})
    async with open_engines(config, Health(), Metrics()) as router:
        (line,) = (line for line in router.board.all() if (line.part, line.provider) == (part, name))
    dollars = cost(line.candidate.price, USED[part])
    assert dollars is not None
    assert dollars > 0


def section(part: Part, name: str) -> str:
    """Where the settings of an engine stand."""
    return registry.engine(part, name).section


async def test_a_voice_with_a_price_per_minute_costs_what_it_made(autojump_clock: trio.testing.MockClock) -> None:
    voice = Scripted("a", [SpeechChunk(bytes(48_000 * 3), 24_000)])
    board = board_of("tts", voice)
    (line,) = board.all()
    price = Price(provider="a", model="m", part="tts", per_minute=0.6)
    line.candidate = msgspec.structs.replace(line.candidate, price=price)
    async with RoutedVoice(board, talk()).speak(SpeechRequest("Hello.", "v")) as chunks:
        assert [chunk async for chunk in chunks]
    assert line.spent_usd == pytest.approx(0.03)
