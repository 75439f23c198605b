"""A recorded conversation of nine seconds, written by hand: a question, an answer, an interruption, an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from aura.core import effects as fx
from aura.core import events as ev
from aura.core import journal, tape
from aura.core.ports import Finished, TextDelta, Transcript
from aura.storage.taping import finish

BASE, RATE_HZ, SECONDS = 1000.0, 24_000, 9.0
DAY, NAME = "2026-03-14", "sess_handmade"
STARTED = "2026-03-14T15:09:26+00:00"
SAID, HEARD, UNHEARD, UNSENT = "count to ten please", "One two three", " four five six.", " Seven eight nine ten."
SECOND, ANSWER = "what time is it", "It is nine."
FRAME_S = 0.02
SETTINGS = {"turns": {"silence_s": 0.5}, "overlap": {"confirm_s": 0.6, "echo_share": 0.65}}


def tone(seconds: float, hz: float = 330.0, loud: float = 9000.0) -> bytes:
    """A tone as PCM16."""
    at = np.arange(round(RATE_HZ * seconds)) / RATE_HZ
    return (loud * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()


def user_audio() -> bytes:
    """Silence, and a tone where the user speaks: 0.5 to 1.5 s, 4.0 to 5.6 s."""
    samples = np.zeros(round(SECONDS * RATE_HZ), "<i2")
    for begin, end in ((0.5, 1.5), (4.0, 5.6)):
        samples[round(begin * RATE_HZ) : round(end * RATE_HZ)] = np.frombuffer(tone(end - begin), "<i2")
    return samples.tobytes()


FACTS: tuple[tuple[float, ev.AnyEvent, str, tuple[fx.AnyEffect, ...]], ...] = (
    (0.60, ev.SpeechStarted(500), "listening", (fx.OpenTurn(1, 500, False),)),
    (1.62, ev.SpeechPaused(1500, 120, 1000), "listening", (fx.StartReply(1, 1, "speech", True),)),
    (1.80, ev.TranscriptReady(1, 4, "words", SAID), "listening", ()),
    (1.90, ev.FirstTokenArrived(1), "listening", ()),
    (1.92, ev.SentenceReady(1, 0, 28), "listening", ()),
    (1.96, ev.FirstAudioArrived(1), "listening", ()),
    (
        2.00,
        ev.TurnEnded(1500, 500, "silence", "complete"),
        "thinking",
        (fx.EndTurn(1, 1500), fx.ReleaseReply(1), fx.Respond(1, 1)),
    ),
    (2.02, ev.ReplyStarted(1), "speaking", ()),
    (4.12, ev.SpeechStarted(4000), "interrupted", (fx.HoldOutput(1), fx.OpenTurn(2, 4000, True))),
    (
        4.70,
        ev.OverlapConfirmed("sustained", 620, 0, 580, 600, None, 0.0),
        "listening",
        (fx.ConfirmTurn(2), fx.CancelReply(1, "turn_detected")),
    ),
    (
        6.10,
        ev.TurnEnded(5600, 500, "silence", "complete"),
        "thinking",
        (fx.EndTurn(2, 5600), fx.StartReply(2, 2, "speech", False)),
    ),
    (6.20, ev.TranscriptReady(2, 4, "words", SECOND), "thinking", (fx.Respond(2, 2),)),
    (
        6.40,
        ev.StageFailed(2, "think", "rate_limited", True, "openai"),
        "thinking",
        (fx.DropReply(2), fx.StartReply(3, 2, "request", False, retry_of=2)),
    ),
    (6.50, ev.FirstTokenArrived(3), "thinking", ()),
    (6.52, ev.SentenceReady(3, 0, 11), "thinking", ()),
    (6.56, ev.FirstAudioArrived(3), "thinking", ()),
    (6.60, ev.ReplyStarted(3), "speaking", ()),
    (8.00, ev.PlayoutFinished(3, 1300), "idle", (fx.FinishReply(3),)),
    (8.98, ev.SessionClosing("closed 1000"), "idle", (fx.Close("closed 1000"),)),
)  # fmt: skip


def entries() -> Iterator[journal.Entry]:
    """The journal."""
    was = "idle"
    for number, (at, event, now, effects) in enumerate(FACTS, 1):
        yield journal.Entry(number, at, event, was, now, effects, "stay" if was == now else "move")
        was = now


def sent(kind: str, **fields: Any) -> tape.Sent:
    """A message to the client."""
    return tape.Sent(msgspec.json.encode({"event_id": "e", "type": kind, **fields}).decode())


def message(item: str, role: str, **content: str) -> dict[str, Any]:
    return {"id": item, "type": "message", "role": role, "status": "completed", "content": [content]}


def spoken(at: float, item: str, text: str, seconds: float) -> Iterator[tuple[float, Any]]:
    """An answer's first words and its audio, as the pacing sends it."""
    yield at, sent("conversation.item.added", item={**message(item, "assistant", type="output_audio"), "content": []})
    yield at, sent("response.output_audio_transcript.delta", item_id=item, delta=text)
    for n in range(round(seconds / 0.04)):
        size = round(0.04 * RATE_HZ) * 2
        yield at + max(0.0, 0.04 * n - 0.1), tape.SentAudio(size, f"pcm16.{RATE_HZ}", "0", item)


def lines() -> list[tuple[float, Any]]:
    """The tape but for its steps: what was noted, or came, when."""
    call, left = tape.Call, tape.Left
    cut = message("a1", "assistant", type="output_audio", transcript=HEARD)
    words = tape.Item(TextDelta(f"{HEARD}{UNHEARD}{UNSENT}"))
    found: list[tuple[float, Any]] = [
        (1.63, call(5, "stt", "offline", text="1.1")),
        (1.80, (5, tape.Heard(Transcript(SAID)))),
        (1.80, left(5, "ok")),
        (1.81, call(6, "chat", "openai", text=SAID)),
        (1.90, (6, words)),
        (1.91, (6, tape.Item(Finished("stop", 40, 12, 8)))),
        (1.91, left(6, "ok")),
        (1.92, call(7, "tts", "offline", text=f"{HEARD}{UNHEARD}")),
        (1.96, (7, tape.Sound(48_000, RATE_HZ))),
        (2.00, sent("input_audio_buffer.committed", item_id="u1")),
        *spoken(2.02, "a1", f"{HEARD}{UNHEARD}", 2.16),
        (4.12, sent("aura.playout.hold", item_id="a1")),
        (4.70, left(7, "cancelled")),
        (4.70, sent("conversation.item.done", item={**cut, "status": "incomplete"})),
        (4.70, sent("response.done", response={"id": "r1", "status": "cancelled"})),
        (4.70, sent("aura.playout.flush", item_id="a1", heard_ms=2040)),
        (6.21, call(8, "chat", "openai", text=SECOND)),
        (6.40, (8, tape.Failed("rate_limited", "openai: 429, try again in 2 s", "openai"))),
        (6.40, left(8, "rate_limited")),
        (6.41, call(9, "chat", "openai", text=SECOND)),
        (6.50, (9, tape.Item(TextDelta(ANSWER)))),
        (6.51, left(9, "ok")),
        (6.52, call(10, "tts", "offline", text=ANSWER)),
        (6.56, (10, tape.Sound(62_400, RATE_HZ))),
        (6.57, left(10, "ok")),
        *spoken(6.60, "a2", ANSWER, 1.32),
        (8.00, sent("conversation.item.done", item=message("a2", "assistant", type="output_audio", transcript=ANSWER))),
    ]  # fmt: skip
    size = round(FRAME_S * RATE_HZ) * 2
    frames = round(SECONDS / FRAME_S)
    found += [((n + 1) * FRAME_S, (2, tape.Audio(size, f"pcm16.{RATE_HZ}", True))) for n in range(frames)]
    return sorted(found, key=lambda one: one[0])


def on_tape() -> Iterator[tape.Line | tape.TapeHeader]:
    """The whole tape."""
    yield tape.TapeHeader(NAME, STARTED, BASE, SETTINGS, engines={"stt": "offline", "chat": "openai", "tts": "offline"})
    yield tape.Step(BASE, 0)
    for at, thing in lines():
        yield tape.Step(BASE + at, 1)
        if isinstance(thing, tuple):
            task, outcome = thing
            yield tape.Step(BASE + at, task, outcome)
        else:
            yield thing
    yield tape.TapeEnd("closed 1000")


def write(data_dir: Path, name: str = NAME, day: str = DAY, *, flac: bool = True) -> Path:
    """Put it on disk; returns its folder."""
    folder = data_dir / "recordings" / day / name
    folder.mkdir(parents=True)
    head = journal.Header(name, STARTED, SETTINGS)
    (folder / "journal.jsonl").write_bytes(b"".join(map(journal.encode, [head, *entries()])))
    (folder / "tape.jsonl").write_bytes(tape.encode(on_tape()))
    sizes = sum(line.bytes for _, line in lines() if isinstance(line, tape.SentAudio))
    (folder / f"in.pcm16.{RATE_HZ}.raw").write_bytes(user_audio())
    (folder / f"out.pcm16.{RATE_HZ}.raw").write_bytes(tone(sizes / 2 / RATE_HZ, 220.0))
    if flac:
        finish(folder)
    return folder
