"""Settings of the offline recogniser."""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from aura.providers.offline.stt_wire import Setup


class SttSettings(msgspec.Struct, frozen=True):
    """The offline recogniser."""

    workers: int = 1
    """Worker processes. 0 means one less than the machine has cores, at least one."""
    decoders_per_worker: int = 3
    """Utterances that one worker decodes at the same time; each decoder takes 100 MB once it has been needed."""
    vocabulary: Literal["both", "dictation", "phrases"] = "both"
    """What to listen for: any English (dictation), only what the offline assistant understands (phrases), or both."""
    warmup_s: float = 1.0
    """Audio of an utterance that is held back to learn its loudness and colour before decoding starts."""
    max_turn_s: float = 60.0
    """Audio that is kept of one utterance; what comes after is dropped."""
    queue_limit: int = 8
    """Utterances that may wait for a decoder; more are refused."""
    queue_wait_s: float = 5.0
    """Longest wait for a decoder after the end of an utterance."""
    so_far_s: float = 4.0
    """Longest wait for the words up to a pause."""
    final_s: float = 8.0
    """Longest wait for the final transcript."""
    start_s: float = 30.0
    """Time a worker has to load its models before it is started again."""
    silent_s: float = 10.0
    """A worker with work that says nothing for this long is killed and started again."""
    restart_s: float = 0.2
    """Pause before a dead worker is started again; doubles with every early death."""
    restart_max_s: float = 10.0
    """Longest pause before a dead worker is started again."""
    niceness: int = 5
    """How much the workers give way to the server for the processor (0-19)."""

    def worker_count(self) -> int:
        """Workers to run on this machine."""
        return self.workers if self.workers > 0 else max(1, (os.cpu_count() or 2) - 1)

    def setup(self) -> Setup:
        """What a worker is told first."""
        return Setup(self.decoders_per_worker, self.vocabulary, self.warmup_s, self.niceness)
