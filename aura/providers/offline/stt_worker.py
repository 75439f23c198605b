"""The recogniser's worker process: `python -m aura.providers.offline.stt_worker`, frames on stdin and stdout.

One thread reads, the main thread decodes in slices of 100 ms, one utterance after the other, those at their end first.
It leaves when stdin closes, so it never outlives its parent.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable

from aura.core.ports import LISTEN_RATE_HZ
from aura.providers.offline import stt_wire as wire
from aura.providers.offline.stt_decoder import Ears, Models

_SLICE_BYTES = LISTEN_RATE_HZ * 2 // 10
_SLICES_PER_BUSY = 10
_SLICES_PER_GLIMPSE = 3
"""Words are shown every 0.3 s of audio, to those who want to see them."""


class _Utterance:
    """Audio and questions that wait for an utterance's decoder."""

    def __init__(self, ears: Ears) -> None:
        self.ears = ears
        self.pending = bytearray()
        self.received = 0
        self.asks: deque[tuple[int, wire.Ask]] = deque()
        self.watched = False
        self._unseen = 0
        self._seen = ""
        ears.begin()

    def urgent(self) -> bool:
        return any(ask.final for _, ask in self.asks)

    def workable(self) -> bool:
        return bool(self.asks) or len(self.pending) >= _SLICE_BYTES

    def glimpse(self) -> str | None:
        """The words so far, now and then, if they are others than before and somebody wants to see them."""
        self._unseen += 1
        if not self.watched or self._unseen < _SLICES_PER_GLIMPSE:
            return None
        self._unseen = 0
        before, self._seen = self._seen, self.ears.glimpse()
        return self._seen if self._seen and self._seen != before else None

    def due(self) -> wire.Ask | None:
        """The first question whose audio has all been decoded."""
        if self.asks and self.asks[0][0] <= self.received - len(self.pending):
            return self.asks.popleft()[1]
        return None


class Desk:
    """The utterances of this worker and its decoders."""

    def __init__(self, setup: wire.Setup, send: Callable[[wire.FromWorker], None]) -> None:
        self._setup = setup
        self._send = send
        self._models = Models(setup.vocabulary)
        self._free = [self._ears()]
        self._open: dict[int, _Utterance] = {}
        self._slices = 0
        send(wire.Ready())

    def _ears(self) -> Ears:
        return Ears(self._models, warmup_s=self._setup.warmup_s)

    def take(self, message: wire.ToWorker) -> None:
        """Note what the parent wants."""
        match message:
            case wire.Open(utterance):
                self._open[utterance] = _Utterance(self._free.pop() if self._free else self._ears())
            case wire.Feed(utterance, pcm) if utterance in self._open:
                self._open[utterance].pending += pcm
                self._open[utterance].received += len(pcm)
            case wire.Ask(utterance) if utterance in self._open:
                self._open[utterance].asks.append((self._open[utterance].received, message))
            case wire.Watch(utterance) if utterance in self._open:
                self._open[utterance].watched = True
            case wire.Close(utterance) if utterance in self._open:
                ears = self._open.pop(utterance).ears
                ears.abandon()
                self._free.append(ears)
            case _:
                pass  # a message for an utterance that failed meanwhile

    def busy(self) -> bool:
        """Whether `step` has something to do."""
        return any(utterance.workable() for utterance in self._open.values())

    def step(self) -> None:
        """Decode one slice, or answer one question, of the next utterance in turn."""
        ready = [number for number, utterance in self._open.items() if utterance.workable()]
        number = next((n for n in ready if self._open[n].urgent()), ready[0])
        utterance = self._open[number]
        self._open[number] = self._open.pop(number)  # to the end of the queue
        try:
            self._work(number, utterance)
        except Exception as error:  # from the C library; the parent makes it Unavailable
            self._open.pop(number, None)
            if not self._free:
                self._free.append(self._ears())
            self._send(wire.Failed(number, f"{type(error).__name__}: {error}"))
        self._slices += 1
        if self._slices % _SLICES_PER_BUSY == 0:
            self._send(wire.Busy())

    def _work(self, number: int, utterance: _Utterance) -> None:
        ask = utterance.due()
        if ask is None:
            piece = bytes(utterance.pending[:_SLICE_BYTES])
            del utterance.pending[: len(piece)]
            if piece:
                utterance.ears.feed(piece)
                if (text := utterance.glimpse()) is not None:
                    self._send(wire.Glimpse(number, text))
            ask = utterance.due()
        if ask is not None:
            heard = utterance.ears.finish() if ask.final else utterance.ears.words()
            self._send(wire.Answer(number, ask.number, heard.text(), heard.confidence()))


def _read_into(inbox: queue.SimpleQueue[wire.ToWorker | None]) -> None:
    unpacker = wire.Unpacker(wire.TO_WORKER)
    while data := os.read(sys.stdin.fileno(), 65536):
        for message in unpacker.push(data):
            inbox.put(message)
    inbox.put(None)


def _write(message: wire.FromWorker) -> None:
    sys.stdout.buffer.write(wire.pack(message))
    sys.stdout.buffer.flush()


def main() -> None:
    """Serve until stdin closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent closes stdin
    inbox: queue.SimpleQueue[wire.ToWorker | None] = queue.SimpleQueue()
    threading.Thread(target=_read_into, args=(inbox,), daemon=True).start()
    setup = inbox.get()
    if not isinstance(setup, wire.Setup):
        return
    if hasattr(os, "nice"):
        os.nice(setup.niceness)
    desk = Desk(setup, _write)
    while True:
        while not (desk.busy() and inbox.empty()):
            message = inbox.get()
            if message is None:
                return
            desk.take(message)
        desk.step()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone; nothing to flush to
