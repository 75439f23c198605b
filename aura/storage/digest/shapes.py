"""What is known of a recorded conversation. All times are seconds since it began, on one axis for everything.

The recording has three clocks: facts and calls stand on the server's, the user's audio counts its own samples, and the
assistant's audio is heard later than it is sent. `Track` brings the two kinds of audio onto the server's.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Outcome = Literal["running", "finished", "cancelled", "failed", "dropped"]


class Track(msgspec.Struct, frozen=True):
    """A stretch of audio without a gap: from `from_s` of a file's stream, heard from `begin` to `end`."""

    begin: float
    end: float
    stream: str
    """`in.pcm16.24000`, `out.pcmu.8000` and so on."""
    from_s: float
    item: str = ""
    """Of the assistant: which item it belongs to."""
    item_s: float = 0.0
    """Where in that item's audio it begins."""


class Moved(msgspec.Struct, frozen=True):
    """From here on the conversation was in this state."""

    at: float
    state: str
    cause: str = ""
    """Name of the fact that did it."""


class Speech(msgspec.Struct):
    """A stretch of the user's speech, from its first sound to the decision that it is over."""

    turn: int
    begin: float
    end: float
    voiced: list[tuple[float, float]]
    """What of it sounded; pauses lie between."""
    over: bool = False
    """Whether it began over the assistant's answer."""
    decided: float | None = None
    """When it was known that the turn had ended."""
    silence_ms: int = 0
    """How long the user had been silent by then."""
    words: str = ""
    """What the words looked like, which decided how long to wait: complete, unknown, unfinished."""
    cause: str = ""
    """Why the turn ended: silence, too_long."""
    fate: Literal["", "turn", "dismissed"] = ""


class Overlap(msgspec.Struct, frozen=True):
    """Speech over the assistant, and what it was taken for, with the numbers behind that (`events.OverlapJudged`)."""

    at: float
    began: float
    """When output was held."""
    confirmed: bool
    why: str
    reply: int = 0
    voiced_ms: int = 0
    silence_ms: int = 0
    held_ms: int = 0
    needed_ms: int = 0
    said: str | None = None
    echo_share: float = 0.0


class Latency(msgspec.Struct, frozen=True):
    """A turn from the user's last sound (`begin`) to the answer's first (`end`), in parts that sum to it."""

    turn: int
    reply: int
    draft: bool
    begin: float
    end: float
    ms: dict[str, float]


class Answer(msgspec.Struct):
    """A reply, as the state machine knew it."""

    reply: int
    turn: int
    source: str
    draft: bool
    begin: float
    audible: float | None = None
    end: float | None = None
    outcome: Outcome = "running"
    why: str = ""
    retry_of: int = 0
    text: str = ""
    """What it was told to say, where that is no answer of the model's."""


class Call(msgspec.Struct):
    """One call of an engine or tool."""

    part: str
    provider: str
    begin: float
    end: float | None = None
    first: float | None = None
    """When its first result came."""
    outcome: str = "unfinished"
    """ok, cancelled, unfinished (the recording ends first) or the error's code."""
    asked: str = ""
    gave: str = ""
    error: str = ""
    reply: int = 0
    audio_s: float = 0.0
    """Audio that went in (stt) or came out (tts)."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


class Part(msgspec.Struct, frozen=True):
    """Words that share a fate. `begin` and `end` tell when they sounded; None: they never did."""

    text: str
    fate: Literal["heard", "unheard", "unsent"] = "heard"
    """unheard: sent, but cut off before it was played; unsent: written by the model and never sent."""
    begin: float | None = None
    end: float | None = None


class Said(msgspec.Struct, frozen=True):
    """One entry of the transcript."""

    who: Literal["user", "assistant", "system"]
    at: float
    parts: tuple[Part, ...]
    how: Literal["spoken", "typed", "text"] = "spoken"
    turn: int = 0
    reply: int = 0
    note: str = ""
    """What became of it where that is not plain: dismissed, cancelled, failed, redacted, no_words."""


class Problem(msgspec.Struct, frozen=True):
    """Something that went wrong in the conversation."""

    at: float
    what: str
    """The error's code."""
    where: str = ""
    """Stage or part."""
    provider: str = ""
    text: str = ""
    reply: int = 0


class Branch(msgspec.Struct, frozen=True):
    """The conversation is the recorded one only up to a fact; from there on it ran with other settings."""

    from_fact: int
    at: float | None
    changed: dict[str, Any]


class Conversation(msgspec.Struct, frozen=True):
    """All that the page draws of one conversation, but for its audio."""

    id: str
    """`2026-11-22/sess_0123`: its folder."""
    session: str
    started: str
    seconds: float
    outcome: str
    """Why it ended, or `cut short`."""
    facts: int
    states: list[Moved]
    speech: list[Speech]
    overlaps: list[Overlap]
    latencies: list[Latency]
    answers: list[Answer]
    calls: list[Call]
    transcript: list[Said]
    problems: list[Problem]
    user: list[Track]
    assistant: list[Track]
    unreadable: list[str]
    """What of the recording cannot be read, one clear line each."""
    engines: dict[str, str] = {}
    query: dict[str, str] = {}
    software: str = ""
    settings: dict[str, Any] = {}
    branch: Branch | None = None
