"""What is known of conversations, however it was read: the rows that every view and export is made from.

Times `at_s` are seconds since the conversation began, `started` is wall-clock UTC (ISO 8601).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from aura.core.timing import TurnTimes


class Moved(msgspec.Struct, frozen=True, gc=False):
    """The conversation changed its state."""

    at_s: float
    state: str
    cause: str
    """Name of the fact that did it."""


class TurnRow(msgspec.Struct, frozen=True):
    """A turn that became audible, and where its time went."""

    at_s: float
    """When the user's speech ended."""
    times: TurnTimes
    outcome: Literal["completed", "cancelled", "failed", "running"] = "running"
    heard_ms: int | None = None
    """How much of the reply was heard, where it is known."""
    said: str = ""
    """The user's words; empty without recording."""


class CallRow(msgspec.Struct, frozen=True, gc=False):
    """One call of a provider (or tool)."""

    at_s: float
    part: str
    """stt, chat, tts or tool."""
    provider: str
    outcome: str
    """ok, cancelled, or the error's code."""
    total_ms: float
    ttfb_ms: float | None = None
    turn: int = 0
    reply: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    chars: int = 0
    audio_s: float = 0.0
    count: int = 1
    """More where a row stands for all calls of its kind: without detail, only those that failed have rows of their own;
    amounts and `total_ms` are sums then."""
    model: str = ""
    """Which one answered, where the log tells."""
    cost_usd: float | None = None
    """What the log says that it cost."""


class OverlapRow(msgspec.Struct, frozen=True, gc=False):
    """Speech over the assistant and how it was judged; the numbers are those of `events.OverlapJudged`."""

    at_s: float
    confirmed: bool
    why: str
    voiced_ms: int = 0
    silence_ms: int = 0
    held_ms: int = 0
    needed_ms: int = 0
    said: str | None = None
    echo_share: float = 0.0


class ErrorRow(msgspec.Struct, frozen=True, gc=False):
    """A failure, or a line that was logged as one."""

    at_s: float | None
    provider: str
    """`aura` when it was no engine."""
    code: str
    where: str = ""
    """Stage or log event."""
    text: str = ""
    time: str = ""
    """Wall-clock time of the log line that told of it, where one did."""


class FactRow(msgspec.Struct, frozen=True):
    """One fact as it passed through the session's door."""

    n: int
    at_s: float
    event: str
    was: str
    now: str
    verdict: str
    fields: dict[str, Any] = {}
    effects: list[dict[str, Any]] = []
    """What it led to, each with its `type`; a log does not tell."""


class ConversationRow(msgspec.Struct):
    """One conversation, as far as its lines were read."""

    session: str
    started: str = ""
    ended_s: float = 0.0
    """Length so far."""
    outcome: str = "running"
    """Why it ended; "running" where no end was seen, "cut short" where the process ended first."""
    tenant: str = ""
    source: str = ""
    """File it was read from."""
    lost: int = 0
    """Lines that are known to be missing."""
    facts: list[FactRow] = []
    """Only kept when asked for; counts are always kept."""
    fact_count: int = 0
    late_count: int = 0
    moves: list[Moved] = []
    """Only kept in detail, like `event_counts`: a gigabyte of log has millions of them."""
    turns: list[TurnRow] = []
    calls: list[CallRow] = []
    overlaps: list[OverlapRow] = []
    errors: list[ErrorRow] = []
    event_counts: dict[str, int] = {}
    """How often each fact, and each other event of the log, was seen."""
