"""Settings of the caches. Importing this imports nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What engines made before and need not make again."""

    audio: Literal["own", "all", "off"] = "own"
    """Which spoken sentences are kept on disk: own, what the server itself says (greeting, apology, fillers); all, also
    what the model says, which may hold what people told it; off, none."""
    audio_mb: Annotated[float, msgspec.Meta(ge=0)] = 64.0
    """Space for them in megabytes; 64 are 22 minutes. Those not used for longest go first."""
    audio_folder: Path | None = None
    """The folder for them; several servers may share one. Not set: cache/audio in storage.data_dir."""
    audio_chars_max: Annotated[int, msgspec.Meta(ge=1)] = 200
    """Longer sentences are not kept: they are hardly ever said again."""
    share: bool = True
    """Whether sentences that are asked for again while they are being made are made only once."""
    disk_wait_s: Annotated[float, msgspec.Meta(gt=0)] = 0.2
    """Longest wait for the disk; a sentence that it does not give by then is made again."""
    replies: bool = False
    """Whether answers of the language model to questions without personal context are kept in memory and given again
    to whoever asks with exactly the same words. Only while no function is declared (tools.builtin = false), for with
    functions an answer may depend on more than the question."""
    replies_max: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Most answers kept; those not used for longest go first."""
    reply_chars_max: Annotated[int, msgspec.Meta(ge=1)] = 2000
    """Longer answers are not kept."""
    replies_keep_s: Annotated[float, msgspec.Meta(gt=0)] = 3600.0
    """How old a kept answer may become."""
