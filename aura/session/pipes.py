"""The table of channels: every pipe between two tasks of a conversation is declared here and bounded.

Control never queues behind audio: facts go through `Session.tell`, orders through cancel scopes and gates.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import trio


class Pipe(msgspec.Struct, frozen=True):
    """One kind of channel."""

    name: str
    item: str
    source: str
    sink: str
    lives_for: Literal["session", "utterance", "reply"]
    items: int
    """Capacity."""
    seconds: float | None
    """What that is in seconds of audio, where it is audio."""
    when_full: Literal["drop oldest, count", "drop newest, count", "wait", "close the slow client"]


PIPES = {
    pipe.name: pipe
    for pipe in (
        Pipe("mic", "bytes, 20 ms of 16 kHz", "intake", "listen", "session", 100, 2.0, "wait"),
        Pipe("utterance", "bytes, 20 ms of 16 kHz", "listen", "transcribe", "utterance", 3000, 60.0,
             "drop newest, count"),
        Pipe("words", "str", "think", "phrase, display", "reply", 64, None, "wait"),
        Pipe("sentences", "Phrase", "phrase", "speak", "reply", 2, None, "wait"),
        Pipe("voice", "Chunk", "speak", "playout", "reply", 75, 3.0, "wait"),
        Pipe("out", "str | bytes, one message", "session, playout, display", "writer", "session", 512, None,
             "close the slow client"),
    )
}  # fmt: skip


def open_pipe(name: str) -> tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]:
    """Open a channel of the declared kind."""
    return trio.open_memory_channel(PIPES[name].items)
