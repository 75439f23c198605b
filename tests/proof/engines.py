"""Engines as they are on a bad day: the fake OpenAI server, with latencies, stalls, refusals and broken streams.

What a request gets is drawn at random. A deadline of the server under test lies at `DEADLINE_S`, so that a stall costs
little time; some answers come in the very moment in which it runs out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from random import Random

import h11
import msgspec
import numpy as np
import trio

from tests.fakes.openai_server import (
    USAGE,
    Answer,
    FakeOpenAI,
    Kind,
    Seen,
    chat,
    chunk,
    failure,
    one_shot,
    raw,
    sent_audio,
    speech,
    tokens_of,
    transcript,
)
from tests.proof.decks import Deck

DEADLINE_S = 0.9
"""Patience of the server under test with an engine (`SHORT_DEADLINES`)."""
HEARING_S = 1.8
"""The same with the recogniser, which waits for its turn on a busy machine."""
SHORT_DEADLINES = (
    f"think.first_token_s={DEADLINE_S}", f"think.stall_s={DEADLINE_S}", f"speak.first_audio_s={DEADLINE_S}",
    f"speak.stall_s={DEADLINE_S}", f"transcribe.answer_s={HEARING_S}", "think.tool_s=1.0",
    "server.resume_grace_s=2.0", "router.offline_voice=false",
)  # fmt: skip
STALL_S = 5.0
"""Longer than anybody waits."""
RATE_HZ = 24_000

STORY = (
    "Once upon a time there was a lighthouse keeper. Every night he counted the ships. One night there was one more "
    "than ever before, and it had no lights. He rang the bell. Nobody answered. So he took his boat and rowed out."
)
ANSWERS = (
    "Sure. That is done.",
    "Yes, of course. The bridge was opened in eighteen eighty-three, and it still stands today.",
    "I think so. Would you like to hear more about it?",
    "There are three of them: a red one, a green one, and a very old one that nobody uses any more.",
    STORY,
    "Well… 3.5 miles are about 5.6 kilometres – roughly an hour's walk! Shall I look up the way?",
)
HEARD = (
    "how old is the brooklyn bridge",
    "tell me a short story",
    "what time is it",
    "no stop that please",
    "i would like a large coffee with milk and",
    "and then",
    "can you repeat the last part",
    "thank you very much",
)
LITTLE = ("uh huh", "Okay.", "Mm-hmm.", "yeah", "", "[noise]", "Thank you for watching.", "stop", "no", "at two thirty")
TOOLS = (
    ("calculate", '{"expression": "50 + 50"}'),
    ("current_time", "{}"),
    ("set_timer", '{"seconds": 2, "label": "tea"}'),
    ("cancel_timer", '{"label": "all"}'),
    ("convert_units", '{"value": 3.5, "unit_from": "miles", "unit_to": "km"}'),
    ("no_such_tool", '{"a": 1}'),
    ("calculate", '{"expression": '),
)
CLIENTS_OWN = "no_such_tool"
"""Unknown to the server; some clients say that it is theirs."""
QUOTA = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
BUSY = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
LONG = {"error": {"message": "This model's context is exceeded", "code": "context_length_exceeded"}}


@cache
def voice(seconds: float) -> bytes:
    """Something like a voice: syllables of a hum."""
    at = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = 5000 * np.sin(2 * np.pi * (170 + 25 * np.sin(2.1 * at)) * at) * np.abs(np.sin(9 * at))
    return wave.astype("<i2").tobytes()


@cache
def buzz(seconds: float) -> bytes:
    """The cheapest voice: FLAC makes next to nothing of it."""
    at = np.arange(int(seconds * RATE_HZ))
    return (np.where(at // 600 % 2, 3000, -3000) * (at // 2400 % 3 > 0)).astype("<i2").tobytes()


def said(text: str, rng: Random) -> bytes:
    """The sound of a sentence."""
    return voice(max(0.2, round(0.045 * len(text) * rng.choice((0.7, 1.0)), 1)))


class Faults:
    """Draws an answer for each request."""

    def __init__(self, seed: int, share: float = 0.22) -> None:
        self.rng = rng = Random(seed)
        self.share = share
        """How many requests go wrong."""
        self._refusals = Deck(((refuse, 1) for refuse in REFUSALS), rng)
        self._chat, self._stt, self._tts = (Deck(trouble, rng) for trouble in (CHAT, STT, TTS))

    def bad(self) -> bool:
        """Whether this one does."""
        return self.rng.random() < self.share

    def late(self, deadline_s: float = DEADLINE_S) -> float:
        """A time at which the answer meets the deadline."""
        return deadline_s + self.rng.uniform(-0.012, 0.004)

    def refusal(self, kind: Kind) -> Answer:
        """The request is not obeyed."""
        return self._refusals.draw()(kind)

    def chat(self, seen: Seen) -> Answer:
        """An answer in words, a tool call, or trouble."""
        rng, last = self.rng, seen.json["messages"][-1]
        text = rng.choice(ANSWERS)
        tools = [tool["function"]["name"] for tool in seen.json.get("tools") or ()]
        if last["role"] != "tool" and tools and rng.random() < (0.8 if CLIENTS_OWN in tools else 0.15):
            return self.tool_call(own=CLIENTS_OWN in tools)
        if self.bad():
            return self._chat.draw()(self, text)
        return chat(text, ttft_s=rng.uniform(0.02, 0.3), gap_s=rng.choice((0.0, 0.0, 0.004, 0.02)))

    def tool_call(self, *, own: bool) -> Answer:
        """The model wants functions run."""
        names = self.rng.sample(TOOLS, self.rng.choice((1, 1, 2)))
        if own:
            names[0] = (CLIENTS_OWN, '{"a": 1}')
        deltas = [
            [{"index": i, "id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}]
            for i, (name, arguments) in enumerate(names)
        ]
        first = self.rng.choice(("", "Let me see. "))
        return chat(first, ttft_s=0.1, finish="tool_calls", tool_deltas=deltas)

    def in_splinters(self, text: str) -> Answer:
        """A good answer, cut into packets anywhere."""
        body = b"".join(chunk({"content": piece}) for piece in tokens_of(text, 9))
        cuts = sorted(self.rng.sample(range(1, len(body)), 8))
        odd = [body[i:j] for i, j in zip((0, *cuts), (*cuts, len(body)), strict=True)]
        return raw("chat", 0.05, *odd, chunk({}, "stop"), chunk(usage=USAGE), b"data: [DO", b"NE]\n\n")

    def stt(self, seen: Seen) -> Answer:
        """Words that fit the length, or trouble."""
        rng = self.rng
        seconds = len(sent_audio(seen)) / 32_000
        text = rng.choice(LITTLE) if seconds < 1.8 and rng.random() < 0.8 else rng.choice(HEARD)
        if self.bad():
            return self._stt.draw()(self, text)
        return transcript(text, head_delay_s=rng.uniform(0.02, 0.25))

    def tts(self, seen: Seen) -> Answer:
        """Audio in pieces of any size, or trouble."""
        rng = self.rng
        sound = said(seen.json["input"], rng)
        if self.bad():
            return self._tts.draw()(self, sound)
        piece_bytes, events = rng.choice((4800, 4801, 777, 24_000)), rng.random() < 0.2
        return speech(sound, ttfb_s=rng.uniform(0.02, 0.2), piece_bytes=piece_bytes, events=events)


REFUSALS: tuple[Callable[[Kind], Answer], ...] = (
    lambda kind: failure(kind, 500, {"error": {"message": "boom"}}),
    lambda kind: failure(kind, 503, "<html><title>Down for maintenance</title></html>"),
    lambda kind: failure(kind, 429, BUSY, retry_after="1"),
    lambda kind: failure(kind, 429, QUOTA),
    lambda kind: failure(kind, 401, {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}),
    lambda kind: failure(kind, 400, LONG),
    lambda kind: Answer(kind, [], after="reset"),
    lambda kind: Answer(kind, [], head_delay_s=STALL_S),
    lambda kind: one_shot(kind, {"error": {"message": "overloaded", "code": "server_is_overloaded"}}),
)
"""The request is not obeyed."""


def begun(text: str) -> list[bytes]:
    """The beginning of an answer."""
    return [chunk({"content": piece}) for piece in (text[:9], text[9:30], text[30:60])]


BROKEN = b"data: {broken\n\n"
ERROR = b'data: {"error": {"message": "boom", "code": "server_error"}}\n\n'
LATE = (chunk({"content": "Late."}), chunk({}, "stop"))

CHAT: tuple[tuple[Callable[[Faults, str], Answer], int], ...] = (
    (lambda faults, _: faults.refusal("chat"), 5),
    (lambda faults, text: chat(text, ttft_s=faults.late()), 2),
    (lambda _, text: raw("chat", 0.1, *begun(text), after="cut"), 1),
    (lambda _, text: raw("chat", 0.1, *begun(text), after="reset"), 1),
    (lambda _, text: raw("chat", 0.1, *begun(text), STALL_S), 1),
    (lambda faults, text: raw("chat", 0.1, *begun(text), faults.late(), *LATE), 1),
    (lambda _, text: raw("chat", 0.1, begun(text)[0], BROKEN), 1),
    (lambda _, text: raw("chat", 0.1, begun(text)[0], ERROR), 1),
    (lambda faults, text: faults.in_splinters(text), 1),
    (lambda _, text: chat(text, ttft_s=0.1, gap_s=0.25), 1),  # a model that types with one finger
    (lambda _, text: chat("", ttft_s=0.1), 1),
    (lambda _, text: chat("**Sure!** 🙂 \n\n- one\n- two  ", ttft_s=0.1), 1),
    (lambda _, text: chat(text[:20], ttft_s=0.1, finish="length"), 1),
)
"""What a model does to an answer."""

STT: tuple[tuple[Callable[[Faults, str], Answer], int], ...] = (
    (lambda faults, _: faults.refusal("stt"), 4),
    (lambda faults, text: transcript(text, head_delay_s=faults.late(HEARING_S)), 2),
    (lambda faults, text: transcript(text, head_delay_s=faults.rng.uniform(0.4, 0.8)), 2),
    (lambda _, text: transcript("", head_delay_s=0.1), 1),
    (lambda _, text: Answer("stt", [b'{"text": "cut'], content_type="application/json", head_delay_s=0.1), 1),
)
"""What a recogniser does to words."""

TTS: tuple[tuple[Callable[[Faults, bytes], Answer], int], ...] = (
    (lambda faults, _: faults.refusal("tts"), 4),
    (lambda faults, sound: speech(sound, ttfb_s=faults.late()), 2),
    (lambda _, sound: speech(sound[: len(sound) // 2], ttfb_s=0.1, after="cut"), 1),
    (lambda _, sound: speech(sound[: len(sound) // 2], ttfb_s=0.1, after="reset"), 1),
    (lambda _, sound: speech(sound[: len(sound) // 3], ttfb_s=0.1, after="hold"), 1),
    (lambda _, sound: speech(sound, ttfb_s=0.1, gap_s=0.25), 1),  # slower than it sounds
    (lambda _, sound: speech(b"", ttfb_s=0.1), 1),
    (lambda faults, sound: raw("tts", 0.1, sound[:9601], faults.late(), sound[9601:], content_type="audio/pcm"), 1),
)
"""What a voice does to sound."""


class Engines(FakeOpenAI):
    """The fake server; a client that breaks a connection in the middle is nothing special."""

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection."""
        try:
            await super().handle(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError):
            pass


@asynccontextmanager
async def engines() -> AsyncIterator[Engines]:
    """Run them."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=500)
    fake = Engines(listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, fake.handle, listeners)
        yield fake
        nursery.cancel_scope.cancel()


def trouble(fake: FakeOpenAI, seed: int, share: float = 0.22) -> None:
    """Let the fake answer at random from now on."""
    faults = Faults(seed, share)
    answers: dict[Kind, Callable[[Seen], Answer]] = {"chat": faults.chat, "stt": faults.stt, "tts": faults.tts}
    fake.default.update(answers)


def rescued(fake: FakeOpenAI) -> list[str]:
    """Settings with which other engines stand in for those that fail."""
    spare = msgspec.json.encode({"spare": {"base_url": fake.base_url}}).decode()
    return [
        f"engines.servers={spare}",
        "engines.chat=openai,spare",
        "engines.stt=openai,spare",
        "router.offline_voice=true",
    ]


def options(fake: FakeOpenAI) -> list[str]:
    """The server's settings that make it use the fake."""
    return [
        f"openai.base_url={fake.base_url}", "openai.api_key=sk-test",
        "engines.stt=openai", "engines.chat=openai", "engines.tts=openai",
    ]  # fmt: skip
