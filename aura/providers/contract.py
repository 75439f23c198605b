"""Whether the real services still behave as their fakes in the tests do: cheap checks for whoever has keys.

One health check per engine, which costs nothing; then, for chat, one answer of five tokens, looked at twice: through
the port like a conversation does, and, for OpenAI's dialect, event by event on the wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import trio

from aura.core.errors import ProviderError
from aura.core.ports import LISTEN_RATE_HZ, ChatRequest, Finished, Message, SpeechRequest, TextDelta
from aura.providers.http import Http
from aura.providers.openai.models import list_models, shutdown_dates
from aura.providers.openai.settings import OpenAISettings
from aura.providers.registry import Chosen, Part, open_part
from aura.providers.vitals import Left

ASK = ChatRequest((Message("system", "Answer with one word."), Message("user", "Say hello.")), max_tokens=5)
VOICES_SHOWN = 10
CHECK_S = 30.0
"""Longest one check may take."""


class Finding(msgspec.Struct, frozen=True):
    """The result of one check."""

    provider: str
    """Name and model."""
    part: Part
    check: str
    good: bool
    detail: str = ""


async def check(part: Part, chosen: Chosen, http: Http, *, generate: bool = True) -> list[Finding]:
    """Check one engine; `generate` also has it make something, for a fraction of a cent. Never raises ProviderError."""
    found: list[Finding] = []
    try:
        async with open_part(part, chosen, http) as engine:
            found += await attempt(part, chosen.key, "probe", probe(engine))
            if generate and all(finding.good for finding in found):
                made = {"chat": chat, "tts": speech, "stt": silence}[part]
                found += await attempt(part, chosen.key, "generate", made(engine))
            if all(finding.good for finding in found):
                found += await attempt(part, chosen.key, "account", account(engine, chosen, http))
    except ProviderError as error:
        found.append(Finding(chosen.key, part, "open", False, str(error)))
    return found


async def attempt(part: Part, name: str, what: str, results: AsyncIterator[tuple[str, bool, str]]) -> list[Finding]:
    """Collect what a check finds; an error of the engine is a finding too."""
    found: list[Finding] = []
    try:
        with trio.fail_after(CHECK_S):
            found.extend([Finding(name, part, *result) async for result in results])
    except ProviderError as error:
        found.append(Finding(name, part, what, False, str(error)))
    except trio.TooSlowError:
        found.append(Finding(name, part, what, False, f"no result within {CHECK_S:g} s"))
    return found


async def probe(engine: Any) -> AsyncIterator[tuple[str, bool, str]]:
    """Key and server."""
    if not hasattr(engine, "probe"):
        yield "probe", True, "it has no health check"
        return
    began = trio.current_time()
    await engine.probe()
    yield "probe", True, f"{(trio.current_time() - began) * 1e3:.0f} ms"


async def account(engine: Any, chosen: Chosen, http: Http) -> AsyncIterator[tuple[str, bool, str]]:
    """What the vendor tells the account: voices that may be asked for, the day on which the model ends."""
    if hasattr(engine, "list_voices"):
        voices = await engine.list_voices()
        shown = ", ".join(f"{voice.name} ({voice.voice_id})" for voice in voices[:VOICES_SHOWN])
        yield "voices", bool(voices), f"{len(voices)}: {shown}{', …' * (len(voices) > VOICES_SHOWN)}"
    if isinstance(chosen.settings, OpenAISettings):
        offered = await list_models(chosen.settings, http, name=chosen.name)
        for model, day in shutdown_dates(offered, [chosen.model]).items():
            yield "shutdown", True, f"{model} ends on {day}"


async def chat(engine: Any) -> AsyncIterator[tuple[str, bool, str]]:
    """A short answer: words, then the end, with its token counts."""
    began, first, items = trio.current_time(), 0.0, []
    async with engine.reply(ASK) as answer:
        async for item in answer:
            first = first or trio.current_time() - began
            items.append(item)
    words = [item for item in items if isinstance(item, TextDelta)]
    end = items[-1] if items else None
    in_order = isinstance(end, Finished) and items[:-1] == words and bool(words)
    yield "order", in_order, f"{len(words)} pieces, the first after {first * 1e3:.0f} ms"
    if isinstance(end, Finished):
        counted = end.input_tokens is not None and end.output_tokens is not None
        yield "usage", counted, f"{end.input_tokens} in, {end.output_tokens} out, cost {end.cost_usd}"
    left = getattr(engine, "left", None) or Left()
    shares = [f"{share:.0%} of {what}" for what in ("requests", "tokens") if (share := getattr(left, what)) is not None]
    yield "rate headers", True, f"left: {', '.join(shares)}" if shares else "none"
    if hasattr(engine, "wire_events"):
        events = await engine.wire_events(ASK)
        yield "wire", events.in_order(), events.summary()
        yield "request id", bool(events.request_id), events.request_id or "no x-request-id"


async def speech(engine: Any) -> AsyncIterator[tuple[str, bool, str]]:
    """One word."""
    size, rate_hz = 0, 0
    began, first = trio.current_time(), 0.0
    async with engine.speak(SpeechRequest("Hello.", "")) as chunks:
        async for piece in chunks:
            first = first or trio.current_time() - began
            size, rate_hz = size + len(piece.pcm), piece.rate_hz
    seconds = size / 2 / rate_hz if rate_hz else 0.0
    yield "audio", 0.1 < seconds < 10, f"{seconds:.1f} s at {rate_hz} Hz, the first after {first * 1e3:.0f} ms"


async def silence(engine: Any) -> AsyncIterator[tuple[str, bool, str]]:
    """A second of nothing, which should have no words, but an answer."""
    async with engine.open() as hearing:
        hearing.feed(bytes(LISTEN_RATE_HZ * 2))
        heard = await hearing.final()
    yield "silence", not heard.text, f"heard {heard.text!r}" if heard.text else "no words"
