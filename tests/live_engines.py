"""All live recognisers, each against its fake, for tests of what they have in common."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import msgspec
import trio

from aura.core.ports import FRAME_BYTES, HearingEvent, LiveHearing
from aura.core.secret import Secret
from aura.providers.deepgram.flux import DeepgramFlux
from aura.providers.deepgram.nova import DeepgramNova
from aura.providers.deepgram.settings import DeepgramSettings
from aura.providers.elevenlabs.scribe import Scribe
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.http import open_http
from aura.providers.openai.live_stt import OpenAILive
from aura.providers.openai.settings import OpenAISettings
from aura.providers.xai.settings import XaiSettings
from aura.providers.xai.stt import XaiTranscriber
from tests.fakes.server import Fakes, serve_fakes
from tests.fakes.sound import hum
from tests.fakes.world import World


class Kind(msgspec.Struct, frozen=True):
    """One engine and the vendor whose fake it talks to."""

    engine: Callable[..., Any]
    settings: Callable[..., Any]
    vendor: str
    keyed: bool = False
    """Whether words are asked for with a message that is answered."""


KINDS = {
    "xai": Kind(XaiTranscriber, XaiSettings, "xai"),
    "openai": Kind(OpenAILive, OpenAISettings, "openai", True),
    "nova": Kind(DeepgramNova, DeepgramSettings, "deepgram", True),
    "flux": Kind(DeepgramFlux, DeepgramSettings, "deepgram"),
    "scribe": Kind(Scribe, ElevenLabsSettings, "elevenlabs", True),
}
PATIENCE = {"stt_connect_s": 0.6, "stt_final_s": 0.5, "stt_so_far_s": 0.3}
WORLD: dict[str, Any] = {"words_per_s": 8.0, "heard": ("hello there my friend", "and how are you today")}


def speech(seconds: float) -> bytes:
    """Somebody speaks."""
    return hum(seconds, 16_000)


def quiet(seconds: float) -> bytes:
    """Nobody does."""
    return bytes(int(seconds * 16_000) * 2)


@asynccontextmanager
async def engine(name: str, world: World | None = None, **changes: Any) -> AsyncIterator[tuple[Any, Fakes]]:
    """A recogniser and its fake."""
    kind = KINDS[name]
    async with serve_fakes(world or World(**WORLD), kind.vendor) as fakes, open_http() as http:
        settings = kind.settings(
            base_url=fakes.url(kind.vendor), api_key=Secret("key-of-a-test"), **{**PATIENCE, **changes}
        )
        yield kind.engine(settings, http), fakes


async def say(hearing: LiveHearing, pcm: bytes, pace: float = 0.5) -> None:
    """Feed as a microphone does at `pace` 1, or sooner, since the fakes' clock is the audio; 0: all at once."""
    began = trio.current_time()
    for at in range(0, len(pcm), FRAME_BYTES):
        hearing.feed(pcm[at : at + FRAME_BYTES])
        if pace:
            await trio.sleep_until(began + (at + FRAME_BYTES) / 32_000 * pace)


async def collect(hearing: LiveHearing, into: list[HearingEvent]) -> None:
    """All events."""
    async for event in hearing.events():
        into.append(event)  # noqa: PERF401


def on_all(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Run a test for all engines at the same time, for it mostly waits; its argument `name` is the engine's."""

    @wraps(test)
    async def together(**others: Any) -> None:
        async def one(name: str) -> None:
            try:
                await test(name=name, **others)
            except Exception as error:
                error.add_note(f"with {name}")
                raise

        async with trio.open_nursery() as nursery:
            for name in KINDS:
                nursery.start_soon(one, name)

    signature = inspect.signature(test)
    kept = [parameter for name, parameter in signature.parameters.items() if name != "name"]
    together.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return together
