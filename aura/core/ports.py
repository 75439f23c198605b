"""What a provider must offer: small Protocols owned by the stages that use them.

Audio on these ports is always signed 16-bit little-endian mono PCM. Every method may be cancelled at any await; an
engine failure is raised as `aura.core.errors.ProviderError`, nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import msgspec

LISTEN_RATE_HZ = 16_000
"""Sample rate of everything that is listened to."""
FRAME_MS = 20
FRAME_SAMPLES = LISTEN_RATE_HZ * FRAME_MS // 1000
FRAME_BYTES = FRAME_SAMPLES * 2


# ---- hearing ---------------------------------------------------------------------------------------------------


class Voice(msgspec.Struct, frozen=True):
    """What the detector says about one 20 ms frame."""

    speech: float
    """Probability that somebody speaks, 0-1. 0.0 where the cheap gate saw nothing and the model was not run."""
    level_db: float
    """RMS level of the frame in dB relative to full scale (silence: -100)."""
    gate: bool = True
    """Whether the cheap gate (webrtcvad and level) saw anything at all."""


class VoiceDetector(Protocol):
    """Judges the frames of one conversation, in order; holds that conversation's model state."""

    def step(self, frame: bytes) -> Voice:
        """Judge one frame of exactly FRAME_BYTES. Synchronous, well under 1 ms."""
        ...

    def reset(self) -> None:
        """Forget the past (after a gap in the audio)."""
        ...


class Transcript(msgspec.Struct, frozen=True):
    """Words of an utterance; `text` is empty when there were none."""

    text: str
    confidence: float | None = None
    language: str | None = None
    served_by: str = ""
    """provider/model that heard it, where several may have."""
    billed_s: float | None = None
    """Seconds of audio that the engine says it bills for this answer. None: not said, or this answer cost nothing."""
    input_tokens: int | None = None
    """The same where it bills tokens."""
    output_tokens: int | None = None


class Hearing(Protocol):
    """One utterance being listened to."""

    def feed(self, pcm: bytes) -> None:
        """Take the next 16 kHz audio. Never blocks; what does not fit any more is dropped and logged."""
        ...

    async def so_far(self) -> Transcript:
        """The words of all audio fed until now, while more may follow. May be called many times."""
        ...

    async def final(self) -> Transcript:
        """The words of the whole utterance; nothing is fed afterwards."""
        ...


class Interim(msgspec.Struct, frozen=True, tag="interim"):
    """All words of the utterance so far; they may still change."""

    text: str


class Final(msgspec.Struct, frozen=True, tag="final"):
    """All words of the utterance so far; these will not change any more, others may follow."""

    text: str


class EagerEnd(msgspec.Struct, frozen=True, tag="eager_end"):
    """The engine thinks that the turn is probably over: worth a draft of the answer."""

    text: str


class Resumed(msgspec.Struct, frozen=True, tag="resumed"):
    """It was not: the user speaks on."""


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """The engine thinks that the turn is over."""

    text: str


HearingEvent = Interim | Final | EagerEnd | Resumed | Ended
"""`text` is always the whole utterance, never a piece of it."""


class LiveHearing(Hearing, Protocol):
    """One utterance that is transcribed while it is said."""

    def events(self) -> AsyncIterator[HearingEvent]:
        """What the engine notices, as it does; ends with the utterance. Only one reader."""
        ...

    def force_endpoint(self) -> None:
        """The turn is over: have its last words worked out now. `final` does so by itself."""
        ...


class SpeechToText(Protocol):
    """A recogniser."""

    name: str

    def open(self) -> AbstractAsyncContextManager[Hearing]:
        """Begin an utterance; leaving the context abandons it and frees what it held."""
        ...


# ---- thinking --------------------------------------------------------------------------------------------------


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """The model wants a function run. `arguments` is the JSON text as the model wrote it (may be invalid)."""

    id: str
    name: str
    arguments: str


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    """The next piece of the reply's text."""

    text: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The model's answer is complete; always the last item. Token counts are None when the engine did not say."""

    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    """What the engine itself says that the answer cost."""
    served_by: str = ""
    """provider/model that answered, where several may have."""


ChatItem = TextDelta | ToolCall | Finished


class Message(msgspec.Struct, frozen=True):
    """One entry of the conversation as the model is shown it."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that the model may call; `parameters` is its JSON schema. What stands behind it only AURA sees."""

    name: str
    description: str
    parameters: dict[str, Any]
    deadline_s: float | None = None
    """Longest run of one call; None: as the conversation's settings say."""
    finishes: bool = False
    """A call that has begun goes on when the turn it belongs to is cancelled."""
    repeats: bool = False
    """Called again with the same arguments in one turn it is run again, since its result may be another."""


class ChatRequest(msgspec.Struct, frozen=True):
    """All that a model needs for one answer. System instructions are the first message."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    max_tokens: int | None = None
    tool_choice: str = "auto"
    """auto, none, required, or the name of the function that must be called."""


class ChatModel(Protocol):
    """A language model."""

    name: str

    def reply(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[ChatItem]]:
        """Stream the answer; leaving the context cancels it at the engine."""
        ...


ToolOutcome = Literal["ok", "refused", "bad_call", "failed", "timed_out", "unavailable", "cancelled"]
"""refused: it cannot do what it was asked. bad_call: no such tool, or wrong arguments. failed: it broke. unavailable:
whoever runs it is not there. cancelled: nobody wants its result any more."""


class ToolResult(msgspec.Struct, frozen=True):
    """What came of a call."""

    text: str
    """What the model is shown, also of an error."""
    outcome: ToolOutcome = "ok"


class ToolHost(Protocol):
    """What a tool may ask of the conversation that runs it."""

    def say_later(self, after_s: float, text: str) -> Callable[[], None]:
        """Speak `text` after that many seconds, when nobody else is speaking; gone with the conversation.

        Returns a function that calls it off.
        """
        ...


class ToolBox(Protocol):
    """The functions that a conversation's model may call on the server."""

    def tools(self) -> tuple[Tool, ...]:
        """What to declare to the model. May change while the process runs, never within a conversation."""
        ...

    async def call(self, call: ToolCall, host: ToolHost) -> ToolResult:
        """Run one call; several may run at the same time. Whatever goes wrong is a result, no exception."""
        ...


# ---- speaking --------------------------------------------------------------------------------------------------


class WordTime(msgspec.Struct, frozen=True):
    """A piece of the spoken text (`text[start:end]` of the request) and when it sounds, in seconds of its audio."""

    start: int
    end: int
    begin_s: float
    end_s: float


class SpeechRequest(msgspec.Struct, frozen=True):
    """One sentence to say."""

    text: str
    voice: str
    speed: float = 1.0


class SpeechChunk(msgspec.Struct, frozen=True):
    """Audio of a sentence as the engine delivers it: any even number of bytes, one rate for a whole stream."""

    pcm: bytes
    rate_hz: int
    words: tuple[WordTime, ...] = ()
    served_by: str = ""
    """provider/model that speaks, where several may; said with the first chunk."""


class TextToSpeech(Protocol):
    """A voice."""

    name: str

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Stream a sentence's audio as it comes; leaving the context cancels it at the engine."""
        ...


class Kit(msgspec.Struct, frozen=True):
    """Everything one conversation uses, handed in by `server/assemble.py`."""

    stt: SpeechToText
    chat: ChatModel
    tts: TextToSpeech
    backup_tts: TextToSpeech
    """Speaks apologies, so that a broken voice can still say that it is broken."""
    detector: Callable[[], VoiceDetector]
    toolbox: ToolBox
