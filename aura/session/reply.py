"""One reply under way: its scope and gate, and the books of what was said, sent, heard and spent."""

from __future__ import annotations

from collections import deque

import msgspec
import trio

from aura.core import effects as fx
from aura.core.data import Chunk, Phrase
from aura.core.heard import Ledger
from aura.core.pacing import PlayClock
from aura.core.ports import ChatRequest, Finished
from aura.core.routing.pricing import LETTERS_PER_TOKEN
from aura.core.wire.shapes import Usage
from aura.session.setup import Setup
from aura.stages.playout import Gate

PIECE_BYTES = 24_000
"""Audio that is sent once more is sent in messages of this size: half a second at 24 kHz."""


class Spent(msgspec.Struct):
    """Tokens of the model, over all rounds of one reply."""

    input: int = 0
    output: int = 0
    cached: int = 0
    reason: str = "stop"
    """Why the model stopped the last time."""
    heard_s: float = 0.0
    """Seconds of the user's audio that it answers."""

    def add(self, request: ChatRequest, end: Finished, said: str) -> None:
        """The model gave one answer."""
        asked = sum(len(message.text) for message in request.messages) // LETTERS_PER_TOKEN
        self.input += asked if end.input_tokens is None else end.input_tokens
        self.output += -(-len(said) // LETTERS_PER_TOKEN) if end.output_tokens is None else end.output_tokens
        self.cached += end.cached_tokens or 0
        self.reason = end.reason


class Sent:
    """The audio that was sent of late, by its position in seconds."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._chunks: deque[tuple[float, Chunk]] = deque()

    def add(self, position_s: float, chunk: Chunk) -> None:
        """This audio begins there."""
        self._chunks.append((position_s, chunk))
        while self._chunks[0][0] + self._keep_s < position_s:
            self._chunks.popleft()

    def forget(self) -> None:
        """Nobody will hear it again."""
        self._chunks.clear()

    def since(self, position_s: float) -> tuple[float, list[bytes]]:
        """The audio from a position on, as far as it is kept, in a few pieces, and where it begins."""
        left = [(at, chunk) for at, chunk in self._chunks if at + chunk.seconds > position_s and chunk.samples]
        if not left:
            return position_s, []
        start, first = left[0]
        skipped = max(0, round((position_s - start) / first.seconds * first.samples))
        head = first.payload[len(first.payload) // first.samples * skipped :]
        begin = start + skipped * first.seconds / first.samples
        audio = head + b"".join(chunk.payload for _, chunk in left[1:])
        return begin, [audio[at : at + PIECE_BYTES] for at in range(0, len(audio), PIECE_BYTES)]


class Reply:
    """One reply under way."""

    def __init__(self, order: fx.StartReply, setup: Setup, *, before_s: float = 0.0, away: bool = False) -> None:
        self.order, self.setup = order, setup
        self.scope = trio.CancelScope()
        self.gate = Gate(released=not order.draft, away=away)
        self.clock = PlayClock(setup.playout, before_s)
        self.ledger = Ledger(setup.output.rate_hz)
        self.question = ""
        """The words it answers."""
        self.phrases: list[Phrase] = []
        self.sent = 0
        """How many of them the client was sent, at least in part."""
        self.complete = False
        """Whether the model has said all it had to say."""
        self.spent = Spent()
        self.audio = Sent(setup.playout.keep_s)

    @property
    def written(self) -> bool:
        """Whether it is read instead of heard."""
        return self.setup.modality == "text"

    def heard(self, at: float) -> tuple[str, int]:
        """The words that were heard so far, and the item's milliseconds. What is written is read when it is sent."""
        if self.written:
            return self.said(), 0
        position = self.clock.heard(at)
        words = self.ledger.heard(round(position * self.setup.output.rate_hz)).text
        return words, round((position + self.clock.before_s) * 1000)

    def answered(self, at: float) -> str:
        """What was heard of the answer: fillers are none of it. The model is not shown them, lest it learn to."""
        return (
            self.said() if self.written else self.ledger.answer(round(self.clock.heard(at) * self.setup.output.rate_hz))
        )

    def answer(self) -> str:
        """The answer as far as there is one."""
        return "".join(phrase.text for phrase in self.phrases if not phrase.filler)

    def heard_until(self, ms: int) -> tuple[str, str]:
        """The words in the first `ms` of its item: all, and those of the answer."""
        if self.written:
            return self.said(), self.said()
        samples = max(0, round((ms / 1000 - self.clock.before_s) * self.setup.output.rate_hz))
        return self.ledger.heard(samples).text, self.ledger.answer(samples)

    def sent_ms(self) -> int:
        """Milliseconds of its item's audio that were sent."""
        return round((self.ledger.sent / self.setup.output.rate_hz + self.clock.before_s) * 1000)

    def said(self) -> str:
        """All that the client was sent."""
        return "".join(p.text for p in self.phrases[: self.sent])

    def unsaid(self, at: float) -> str:
        """What is left, from the sentence on in which the reply was cut off; nothing if the model was cut off too."""
        if not self.complete or self.written:
            return ""
        heard = self.ledger.heard(round(self.clock.heard(at) * self.setup.output.rate_hz))
        first = heard.sentence + 1 if heard.complete else heard.sentence
        return "".join(p.text for p in self.phrases[max(0, first) :] if not p.filler).strip()

    def usage(self) -> Usage:
        """What it used."""
        spent, spoken_s = self.spent, self.ledger.sent / self.setup.output.rate_hz
        output = spent.output or -(-sum(len(p.text) for p in self.phrases) // LETTERS_PER_TOKEN)
        return Usage(spent.input, output, min(spent.cached, spent.input), spent.heard_s, spoken_s)
