"""One worker process of the offline recogniser, as its parent sees it."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable

import structlog
import trio

from aura.providers.offline import stt_wire as wire
from aura.providers.offline.stt_utterance import Utterance

log = structlog.get_logger()
_COMMAND = (sys.executable, "-m", "aura.providers.offline.stt_worker")
_READ_BYTES = 65536
_END_S = 2.0
"""Longest wait for a killed process to be gone."""


class Worker:
    """A process and the utterances it decodes. Lives for one `run`."""

    def __init__(self, setup: wire.Setup, silent_s: float, settled: Callable[[], None]) -> None:
        self.ready = False
        self.answered = False
        self.pid = 0
        self._setup = setup
        self._silent_s = silent_s
        self._settled = settled
        self._utterances: dict[int, Utterance] = {}
        self._closing: deque[int] = deque()
        self._wake = trio.Event()
        self._heard_at = trio.current_time()

    def free(self) -> int:
        """Decoders that are not in use; 0 while the models are loading."""
        return self._setup.decoders - len(self._utterances) if self.ready else 0

    def adopt(self, utterance: Utterance) -> None:
        """Decode this utterance."""
        utterance.worker = self
        self._utterances[utterance.number] = utterance
        self.poke()

    def drop(self, utterance: Utterance) -> None:
        """The utterance is over: its decoder becomes free."""
        utterance.worker = None
        if self._utterances.pop(utterance.number, None) is not None:
            self._closing.append(utterance.number)
            self.poke()

    def orphans(self) -> list[Utterance]:
        """The utterances left behind by the end of `run`, oldest first."""
        left = list(self._utterances.values())
        self._utterances.clear()
        return left

    def poke(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self, start_s: float) -> str:
        """Start the process and serve it until it dies; returns why. Raises OSError if it cannot be started."""
        process = await trio.lowlevel.open_process(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = process.pid
        reason = "exited"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, process, nursery.cancel_scope)
                nursery.start_soon(self._read, process, nursery.cancel_scope)
                reason = await self._watch(start_s)
                nursery.cancel_scope.cancel()
        finally:
            self.ready = False
            await _end(process)
        return reason if process.returncode in (None, -9) else f"exited with status {process.returncode}"

    async def _write(self, process: trio.Process, scope: trio.CancelScope) -> None:
        assert process.stdin is not None
        try:
            await process.stdin.send_all(wire.pack(self._setup))
            while True:
                self._wake = trio.Event()
                message = self._next()
                if message is None:
                    await self._wake.wait()
                else:
                    await process.stdin.send_all(wire.pack(message))
        except trio.BrokenResourceError:
            scope.cancel()

    def _next(self) -> wire.ToWorker | None:
        if self._closing:
            return wire.Close(self._closing.popleft())
        for number, utterance in list(self._utterances.items()):
            message = utterance.next_message()
            if message is not None:
                self._utterances[number] = self._utterances.pop(number)  # the next one first next time
                return message
        return None

    async def _read(self, process: trio.Process, scope: trio.CancelScope) -> None:
        assert process.stdout is not None
        unpacker = wire.Unpacker(wire.FROM_WORKER)
        while data := await process.stdout.receive_some(_READ_BYTES):
            self._heard_at = trio.current_time()
            for message in unpacker.push(bytes(data)):
                self._take(message)
        scope.cancel()

    def _take(self, message: wire.FromWorker) -> None:
        match message:
            case wire.Ready():
                self.ready = True
                log.info("stt.worker_ready", pid=self.pid)
                self._settled()
            case wire.Answer(number):
                self.answered = True
                if number in self._utterances:
                    self._utterances[number].heard(message)
            case wire.Glimpse(number, text):
                if number in self._utterances:
                    self._utterances[number].glimpsed(text)
            case wire.Failed(number, reason):
                log.warning("stt.decode_failed", reason=reason)
                if number in self._utterances:
                    self._utterances[number].fail(f"the offline recogniser failed: {reason}")
            case wire.Busy():
                pass

    async def _watch(self, start_s: float) -> str:
        """Return when the process has said nothing for too long although somebody waits for it."""
        await trio.sleep(start_s)
        if not self.ready:
            return f"not ready after {start_s:g} s"
        while True:
            await trio.sleep(self._silent_s / 4)
            waits = any(utterance.waiting() for utterance in self._utterances.values())
            if waits and trio.current_time() - self._heard_at > self._silent_s:
                return f"silent for {self._silent_s:g} s"


async def _end(process: trio.Process) -> None:
    """Kill the process (it holds nothing worth saving) and reap it."""
    if process.returncode is None:
        process.kill()
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _END_S):
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                await pipe.aclose()
        await process.wait()
