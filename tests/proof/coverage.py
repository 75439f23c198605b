"""What happened in recorded conversations, counted from what lies on the disk and not from what was planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from aura.core import effects as fx
from aura.core import events as ev
from aura.core import journal, tape
from aura.core.journal import Entry
from aura.storage.tapes import Tape, read_tape

GAP_S = 0.45
"""A client that speaks and sends nothing for so long has stopped sending."""
SMALL_BYTES, FLOOD = 80, 100
"""So many messages with so little audio are a flood."""

LEAST: dict[str, int] = {
    "turn": 150,
    "barge-in: words": 4,
    "barge-in: sustained": 20,
    "not meant: backchannel": 2,
    "not meant: nothing recognised": 1,
    "brake": 30,
    "draft dropped": 40,
    "answer heard to its end": 20,
    "cut off by the client": 5,
    "retry": 15,
    "apology": 10,
    "late fact": 20,
    "tool": 10,
    "announcement": 10,
    "announcement put off": 3,
    "push to talk": 10,
    "turn answered when asked": 10,
    "answers switched": 5,
    "buffer cleared": 5,
    "refused": 10,
    "failed: timed_out": 15,
    "failed: quota_exhausted": 1,
    "failed: auth_failed": 1,
    "failed: bad_request": 1,
    "failed: unavailable": 10,
    "failed: stream_cut": 1,
    "in transcribe": 10,
    "in think": 5,
    "in speak": 10,
    "typed": 10,
    "truncated": 4,
    "session changed": 50,
    "protocol error": 50,
    "flood": 3,
    "stopped sending": 10,
    "odd pieces": 10,
    "binary audio": 50,
    "audio in JSON": 50,
    "acknowledged": 50,
    "in pcm16.16000": 5,
    "in pcm16.24000": 20,
    "in pcm16.48000": 5,
    "in pcmu.8000": 5,
    "in pcma.8000": 5,
    "hung up": 30,
    "vanished": 15,
    "broken frame": 1,
    "connection lost": 15,
    "came back": 5,
    "function asked of the client": 3,
    "aside": 8,
    "aside cancelled": 1,
    "speech beside a reply": 3,
    "never read": 1,
    "drained": 10,
    "killed": 10,
}
"""How often each must have happened in a run of 200 conversations, or the run proves nothing about it."""

ENDS = {"1000": "hung up", "1001": "drained", "1005": "hung up", "1006": "vanished",
        "client": "vanished", "1007": "broken frame",
        "1008": "never read"}  # fmt: skip


def read(folder: Path) -> tuple[Tape, Sequence[Entry]]:
    """A recording."""
    return read_tape(folder), journal.decode((folder / "journal.jsonl").read_bytes()).entries


def happened(folder: Path) -> Counter[str]:
    """What happened in one conversation, and how often."""
    kept, entries = read(folder)
    return Counter(filter(None, chain(_facts(entries), _tape(kept))))


ORDERS: dict[type[fx.Effect], Callable[[Any], str]] = {
    fx.StartReply: lambda order: {"apology": "apology", "rest": "rest said after a noise"}.get(
        order.source, "retry" if order.retry_of else ""
    ),
    fx.CancelReply: lambda order: "cut off by the client" if order.reason == "client_cancelled" else "",
    fx.DropReply: lambda _: "draft dropped",
    fx.BrakeOutput: lambda _: "brake",
    fx.Postpone: lambda _: "announcement put off",
    fx.FinishReply: lambda _: "answer heard to its end",
    fx.Refuse: lambda _: "refused",
}
"""What an order shows; empty: nothing."""

FACTS: dict[type[ev.Event], Callable[[Any], str]] = {
    ev.TurnEnded: lambda _: "turn",
    ev.OverlapConfirmed: lambda fact: f"barge-in: {fact.why}",
    ev.OverlapDismissed: lambda fact: f"not meant: {fact.why.replace('_', ' ')}",
    ev.StageFailed: lambda fact: f"failed: {fact.code}",
    ev.ToolFinished: lambda _: "tool",
    ev.SayRequested: lambda _: "announcement",
    ev.AudioCommitted: lambda _: "push to talk",
    ev.ReplyRequested: lambda _: "turn answered when asked",
    ev.AnswersSwitched: lambda _: "answers switched",
    ev.InterruptionsSwitched: lambda _: "interruptions switched",
    ev.ConnectionLost: lambda fact: "never read" if "1008" in fact.why else "connection lost",
    ev.ConnectionResumed: lambda _: "came back",
    ev.FunctionRequested: lambda _: "function asked of the client",
    ev.AsideBegan: lambda _: "aside",
    ev.AsideEnded: lambda fact: "aside cancelled" if fact.status == "cancelled" else "",
    ev.AudioCleared: lambda _: "buffer cleared",
    ev.HistoryChanged: lambda fact: {"truncated": "truncated", "session": "session changed"}.get(fact.what, ""),
}
"""What a fact shows."""


def _facts(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        if entry.verdict == "late":
            yield "late fact"
            continue
        event = entry.event
        if type(event) in FACTS:
            yield FACTS[type(event)](event)
        if isinstance(event, ev.StageFailed):
            yield f"in {event.stage}"
        if isinstance(event, ev.SpeechStarted) and entry.was == entry.now and entry.now in ("thinking", "speaking"):
            yield "speech beside a reply"
        for effect in entry.effects:
            if type(effect) in ORDERS:
                yield ORDERS[type(effect)](effect)
            elif isinstance(effect, fx.ConfirmTurn) and isinstance(event, ev.TranscriptReady):
                yield "barge-in: words"


def _tape(read: Tape) -> Iterator[str]:
    once: set[str] = set()
    heard_at, small = 0.0, 0
    for line in read.lines:
        if isinstance(line, tape.Sent):
            yield "protocol error" if '"type":"error"' in line.text[:100] else ""
        elif isinstance(line, tape.Step) and isinstance(audio := line.outcome, tape.Audio):
            once |= {f"in {audio.format}", "binary audio" if audio.binary else "audio in JSON"}
            once |= {"odd pieces"} if audio.bytes % 2 and audio.format.startswith("pcm16") else set()
            once |= {"stopped sending"} if heard_at and line.at - heard_at > GAP_S else set()
            heard_at, small = line.at, small + (audio.bytes <= SMALL_BYTES)
        elif isinstance(line, tape.Step):
            once.add(_message(line.outcome))
    yield from once
    yield "flood" if small > FLOOD else ""
    yield "" if read.ended else "killed"


def _message(outcome: tape.Outcome | None) -> str:
    match outcome:
        case tape.Text(text=text):
            return "acknowledged" if '"aura.playout.ack"' in text else "typed" if '"input_text"' in text else ""
        case tape.Gone(why=why):
            return ENDS.get(why.split()[1], why)
        case _:
            return ""


def missing(found: Counter[str], least: dict[str, int] = LEAST) -> list[str]:
    """What happened too rarely."""
    return [f"{name}: {found[name]} of {least_of}" for name, least_of in least.items() if found[name] < least_of]
