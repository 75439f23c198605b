"""The offline recogniser: PocketSphinx in worker processes (it holds the GIL), fed while the user speaks.

An utterance keeps its audio until it is answered. That is the buffer towards a slow worker, and what a fresh worker is
given when one dies in mid-decode. Nothing here waits without a deadline, and the event loop only moves bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
import trio

from aura.core.errors import Unavailable
from aura.core.ports import LiveHearing
from aura.providers.background import background
from aura.providers.offline.stt_process import Worker
from aura.providers.offline.stt_settings import SttSettings
from aura.providers.offline.stt_utterance import Utterance

__all__ = ["OfflineRecogniser", "SttSettings", "open_recogniser"]
log = structlog.get_logger()


class OfflineRecogniser:
    """The `SpeechToText` port over a pool of workers; made by `open_recogniser`."""

    name = "offline"

    def __init__(self, settings: SttSettings) -> None:
        self.settings = settings
        self.workers: list[Worker] = []
        self._waiting: deque[Utterance] = deque()
        self._count = 0
        self._ready = trio.Event()

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded and alive at the moment."""
        return any(worker.ready for worker in self.workers)

    def why_not_ready(self) -> str | None:
        """For the health check: None when somebody can be understood."""
        return None if self.ready else "the recogniser is loading its models"

    async def wait_ready(self) -> None:
        """Return when a worker is loaded and alive."""
        while not self.ready:
            await self._ready.wait()

    def open(self) -> AbstractAsyncContextManager[LiveHearing]:
        """Begin an utterance. Raises Unavailable when too many already wait for a decoder."""
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[LiveHearing]:
        if len(self._waiting) >= self.settings.queue_limit:
            log.warning("stt.queue_full", waiting=len(self._waiting))
            raise Unavailable("the offline recogniser is busy; add workers to [offline.stt]", provider=self.name)
        self._count += 1
        utterance = Utterance(self._count, self.settings)
        self._waiting.append(utterance)
        self._assign()
        try:
            yield utterance
        finally:
            if utterance in self._waiting:
                self._waiting.remove(utterance)
            if utterance.worker is not None:
                utterance.worker.drop(utterance)
            utterance.end()
            self._assign()

    def _assign(self) -> None:
        """Give waiting utterances to the workers with the most free decoders, oldest first."""
        while self._waiting:
            worker = max(self.workers, key=lambda worker: worker.free(), default=None)
            if worker is None or worker.free() <= 0:
                return
            worker.adopt(self._waiting.popleft())

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the workers alive; started at once, loaded in the background."""
        async with trio.open_nursery() as nursery:
            for slot in range(self.settings.worker_count()):
                nursery.start_soon(self._keep, slot, name=f"stt worker {slot}")
            task_status.started()

    async def _keep(self, slot: int) -> None:
        pause_s = self.settings.restart_s
        while True:
            worker = Worker(self.settings.setup(), self.settings.silent_s, self._settled)
            self.workers.append(worker)
            try:
                reason = await worker.run(self.settings.start_s)
            except OSError as error:
                reason = str(error)
            finally:
                self.workers.remove(worker)
            if not self.ready and self._ready.is_set():  # who waits already must hear of the next one
                self._ready = trio.Event()
            orphans = worker.orphans()
            log.warning("stt.worker_died", slot=slot, reason=reason, utterances=len(orphans), again_in_s=pause_s)
            self._rescue(orphans)
            pause_s = self.settings.restart_s if worker.answered else pause_s
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 2, self.settings.restart_max_s)

    def _settled(self) -> None:
        self._ready.set()
        self._assign()

    def _rescue(self, orphans: list[Utterance]) -> None:
        """Utterances of a dead worker go to the head of the queue, once; the second time they fail."""
        for utterance in reversed(orphans):
            if utterance.start_over():
                self._waiting.appendleft(utterance)
        self._assign()


@asynccontextmanager
async def open_recogniser(settings: SttSettings | None = None) -> AsyncIterator[OfflineRecogniser]:
    """The recogniser with its workers, which start in the background; they are gone when the context is left."""
    recogniser = OfflineRecogniser(settings or SttSettings())
    async with background() as nursery:
        await nursery.start(recogniser.run)
        yield recogniser


def open_stt(
    settings: SttSettings, http: object, *, name: str = "offline"
) -> AbstractAsyncContextManager[OfflineRecogniser]:
    """The factory of `aura.providers.registry`; needs no connections."""
    del http, name
    return open_recogniser(settings)
