"""Conversations as `aura logs` reads them: a usual one, and whatever a broken log may make of one."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from hypothesis import strategies as st

from aura.core.timing import PARTS, TurnTimes
from aura.tools.logs.model import CallRow, ConversationRow, ErrorRow, FactRow, Moved, OverlapRow, TurnRow

STARTED = "2026-11-22T09:00:00.250000+00:00"
STARTED_US = 1_795_338_000_250_000


def times(reply: int = 1, v2v: float = 800.0, **more: Any) -> TurnTimes:
    shares = dict(zip(PARTS, (0.2, 0.1, 0.4, 0.1, 0.15, 0.05), strict=True))
    ms = {part: round(v2v * share, 3) for part, share in shares.items()}
    return TurnTimes(reply, reply, reply % 2 == 0, {**ms, "voice_to_voice": v2v} | more)


def conversation(session: str = "sess_1", started: str = STARTED, **more: Any) -> ConversationRow:
    """The user asks, the answer is talked over and goes on; they ask again and interrupt for good."""
    row = ConversationRow(
        session,
        started,
        ended_s=15.0,
        outcome="closed 1000",
        moves=[
            Moved(1.0, "listening", "SpeechStarted"),
            Moved(2.5, "thinking", "TurnEnded"),
            Moved(2.8, "speaking", "ReplyStarted"),
            Moved(4.0, "interrupted", "SpeechStarted"),
            Moved(4.5, "speaking", "OverlapDismissed"),
            Moved(6.0, "idle", "PlayoutFinished"),
            Moved(7.0, "listening", "SpeechStarted"),
            Moved(8.6, "thinking", "TurnEnded"),
            Moved(9.2, "speaking", "ReplyStarted"),
            Moved(10.0, "interrupted", "SpeechStarted"),
            Moved(10.7, "listening", "OverlapConfirmed"),
        ],
        turns=[
            TurnRow(2.0, times(1), "completed", 2700, said="what time is it"),
            TurnRow(8.0, times(2, 1200), "cancelled", 800),
        ],
        calls=[
            CallRow(2.1, "stt", "openai", "ok", 90.0, None, 1, 1, audio_s=1.5),
            CallRow(2.2, "chat", "openai", "ok", 900.0, 320.0, 1, 1, 300, 40, 128),
            CallRow(2.5, "tts", "elevenlabs", "cancelled", 900.0, 120.0, 1, 1, chars=60),
            CallRow(2.6, "tool", "current_time", "ok", 2.0, None, 1, 1),
            CallRow(12.0, "chat", "xai", "timed_out", 900.0, None, 3, 3),
        ],
        overlaps=[
            OverlapRow(4.5, False, "backchannel", 220, 180, 500, 600, "backchannel"),
            OverlapRow(10.7, True, "sustained", 640, 0, 700, 600, None, 0.1),
        ],
        errors=[ErrorRow(12.9, "xai", "timed_out", "think", "no answer within 8 s")],
        facts=[FactRow(1, 1.0, "SpeechStarted", "idle", "listening", "move", {"at_ms": 960})],
        fact_count=1,
    )
    return msgspec.structs.replace(row, **more)


odd_times = st.one_of(st.floats(-5, 40), st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1.0, 0.0]))
nasty = st.sampled_from(["<script>alert(1)</script>", "\"'><img src=x onerror=1>", "{{body}}", "\ud800", "", "a&amp;b"])
words = st.one_of(nasty, st.text(max_size=12))
whole = st.integers(-5, 5000)
some_ms = st.dictionaries(st.sampled_from([*PARTS, "voice_to_voice", "new"]), odd_times)
states = st.sampled_from(["idle", "listening", "thinking", "speaking", "interrupted", "<x>"])
fields = st.dictionaries(words, words | odd_times, max_size=2)
maybe = st.none() | odd_times
odd_turns = st.builds(
    TurnRow,
    odd_times,
    st.builds(TurnTimes, whole, whole, st.booleans(), some_ms),
    st.sampled_from(["completed", "cancelled", "failed", "running"]),
    st.none() | whole,
    words,
)
judged = (words, whole, whole, whole, whole, st.none() | words, odd_times)
odd_rows = st.builds(
    ConversationRow,
    words,
    st.sampled_from([STARTED, "", "yesterday", "0001-01-01", "9999-12-31T23:59:59", "2026-11-22T09:00:00"]),
    odd_times,
    words,
    words,
    words,
    st.integers(0, 3),
    facts=st.lists(st.builds(FactRow, whole, odd_times, words, words, words, words, fields), max_size=2),
    moves=st.lists(st.builds(Moved, odd_times, states, words), max_size=6),
    turns=st.lists(odd_turns, max_size=4),
    calls=st.lists(st.builds(CallRow, odd_times, words, words, words, odd_times, maybe, whole, whole), max_size=4),
    overlaps=st.lists(st.builds(OverlapRow, odd_times, st.booleans(), *judged), max_size=3),
    errors=st.lists(st.builds(ErrorRow, maybe, words, words, words, words), max_size=3),
)
