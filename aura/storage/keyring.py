"""The API keys as a running server knows them: made and revoked ones count within a second, without a restart."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from aura.storage.keys import KEY_FILE, Key, Keys, KeysError, note_use, read_keys

log = structlog.get_logger()

Mark = tuple[int, int, int] | None
"""What a file looks like from outside; None: there is none."""
NOTE_USE_S = 60.0
"""How often the file is told when keys were used."""
LAST_NOTE_S = 1.0
"""Time for the last of these when the server ends."""


class KeyRing:
    """All keys. `watch` keeps them up to date; without a folder there never are any."""

    def __init__(self, folder: Path | None = None, check_s: float = 1.0) -> None:
        self.check_s = check_s
        self.exist = False
        """Whether there ever was a file of keys. It may vanish or break under a running server, which opens nothing."""
        self._folder = folder
        self._keys: dict[str, Key] = {}
        self._mark: Mark = None
        self._used: dict[str, int] = {}
        self._looked = trio.Event()

    def find(self, sha256: str) -> Key | None:
        """The key with this digest, whatever its state. Takes the same time for every digest (0.1 ms for 1000 keys)."""
        found = [key for key in self._keys.values() if hmac.compare_digest(key.sha256, sha256)]
        return found[0] if found else None

    def get(self, ident: str) -> Key | None:
        """The key with this id."""
        return self._keys.get(ident)

    @property
    def count(self) -> int:
        """How many keys there are, whatever their state."""
        return len(self._keys)

    def used(self, ident: str, now: float) -> None:
        """A key opened something."""
        self._used[ident] = int(now)

    async def load(self) -> None:
        """Read the file for the first time. Raises KeysError."""
        if self._folder is not None:
            mark, keys = await trio.to_thread.run_sync(_look, self._folder, None)
            if isinstance(keys, KeysError):
                raise keys
            self._take(mark, keys or ())

    async def next_look(self) -> None:
        """Wait until the file has been looked at once more."""
        with trio.move_on_after(4 * self.check_s):
            await self._looked.wait()

    async def watch(
        self,
        looked: Callable[[], None] = lambda: None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Look at the file regularly and call `looked` each time. Runs until cancelled."""
        task_status.started()
        if self._folder is None:
            await trio.sleep_forever()
        noted_at = -math.inf
        try:
            while True:
                await trio.sleep(self.check_s)
                await self._look_again()
                looked()
                if self._used and trio.current_time() - noted_at >= NOTE_USE_S:
                    noted_at = trio.current_time()
                    await self._note_use()
        finally:
            with trio.move_on_after(LAST_NOTE_S, shield=True):
                await self._note_use()

    async def _look_again(self) -> None:
        assert self._folder is not None
        before = self._mark
        mark, keys = await trio.to_thread.run_sync(_look, self._folder, before, abandon_on_cancel=True)
        if isinstance(keys, KeysError):  # the keys stay as they were; said once for each change of the file
            self._mark, self.exist = mark, True
            log.error("keys.unusable", error=str(keys), kept=self.count)
        elif keys is not None:
            was = {(key.id, key.revoked) for key in self._keys.values()}
            self._take(mark, keys)
            if mark is None:
                log.error("keys.file_gone", file=KEY_FILE, keys_before=len(was))
            elif was != {(key.id, key.revoked) for key in keys}:
                log.info("keys.changed", keys=len(keys))
        looked, self._looked = self._looked, trio.Event()
        looked.set()

    def _take(self, mark: Mark, keys: Keys) -> None:
        self._mark = mark
        self._keys = {key.id: key for key in keys}
        self.exist = self.exist or bool(keys)

    async def _note_use(self) -> None:
        used, self._used = self._used, {}
        if not used or self._folder is None:
            return
        try:
            await trio.to_thread.run_sync(partial(note_use, self._folder, used), abandon_on_cancel=True)
        except KeysError as error:
            log.warning("keys.use_not_noted", error=str(error))


def _look(folder: Path, before: Mark) -> tuple[Mark, Keys | KeysError | None]:
    """The file's mark, and its keys where it has changed."""
    try:
        stat = (folder / KEY_FILE).stat()
    except OSError:
        return None, () if before is not None else None
    mark = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    try:
        return mark, None if mark == before else read_keys(folder)
    except KeysError as error:
        return mark, error
