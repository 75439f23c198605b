"""API keys: who may use this server. They are kept in `keys.json` in the data folder.

A key is `aura_` and 40 random url-safe characters, 240 bits. It is shown once, when it is made; the file holds only its
SHA-256. A slow password hash would add nothing: such hashes protect what people make up, because that can be guessed,
while nobody can try 2^240 keys; and a server has to check keys by the hundred without holding up conversations.

Several processes may change the file (`aura keys` beside running servers): each change reads, edits and replaces it as
a whole while it holds the lock file. Readers need no lock. Everything here blocks: servers call it in threads.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from aura.core.errors import AuraError

Scope = Literal["converse", "secrets", "phone"]
"""converse: hold conversations; secrets: make client secrets for browsers; phone: bring in phone calls."""
SCOPES: tuple[Scope, ...] = ("converse", "secrets", "phone")
USUAL_SCOPES: tuple[Scope, ...] = ("converse", "secrets")
KEY_FILE, LOCK_FILE = "keys.json", "keys.lock"
PREFIX = "aura_"
LOCK_S = 5.0
"""Another process may hold the lock for so long; a change takes milliseconds."""
LOCK_RETRY_S = 0.01
BEGINNING = 8
"""Characters of an id that may stand for the whole of it."""
_AGE = re.compile(r"(\d{1,6})\s*([mhdwy])")
_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


class KeysError(AuraError):
    """Something about API keys does not work; the message says what to do."""

    code = "keys_error"


class Key(msgspec.Struct, frozen=True):
    """What is known of a key. Times are Unix seconds; 0: never."""

    id: str
    """What it is called where the key itself must not be seen."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Digest of the key."""
    name: str = ""
    tenant: str = ""
    scopes: tuple[Scope, ...] = USUAL_SCOPES
    models: tuple[str, ...] = ()
    """Models that may be asked for; none: any."""
    conversations_max: int = 0
    """Conversations at one time; 0: as many as the server takes."""
    created: int = 0
    expires: int = 0
    revoked: int = 0
    last_used: int = 0
    """To the minute."""

    def state(self, now: float) -> Literal["active", "revoked", "expired"]:
        """Whether it still opens anything."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= now else "active"


class _File(msgspec.Struct, frozen=True):
    keys: tuple[Key, ...] = ()


Keys = tuple[Key, ...]


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def age_s(text: str) -> int:
    """Seconds of a length of time as a user writes it: 90m, 12h, 30d, 2w, 1y. Raises KeysError."""
    found = _AGE.fullmatch(text.strip())
    if not found or int(found[1]) == 0:
        raise KeysError(f"cannot read “{text}” as a length of time: write 12h, 30d, 2w or 1y")
    return int(timedelta(seconds=int(found[1]) * _UNITS[found[2]]).total_seconds())


# ---- the file


def read_keys(folder: Path) -> Keys:
    """All keys, those that are revoked or expired too. Raises KeysError for a file that cannot be used."""
    path = folder / KEY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}; it must belong to the user that runs AURA") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KeysError(f"{path} is damaged ({error}): restore it, or delete it and make new keys") from None


def create_key(
    folder: Path,
    *,
    name: str = "",
    tenant: str = "",
    scopes: tuple[Scope, ...] = USUAL_SCOPES,
    models: tuple[str, ...] = (),
    conversations_max: int = 0,
    expires_s: int = 0,
) -> tuple[Key, str]:
    """Make a key: what is kept of it, and its text, which nobody can find out again. Raises KeysError."""
    now = int(time.time())
    text = PREFIX + secrets.token_urlsafe(30)
    key = Key(
        id=f"key_{secrets.token_hex(6)}",
        sha256=digest(text),
        name=name,
        tenant=tenant,
        scopes=tuple(scope for scope in SCOPES if scope in scopes),
        models=models,
        conversations_max=conversations_max,
        created=now,
        expires=now + expires_s if expires_s else 0,
    )
    change_keys(folder, lambda keys: (*keys, key))
    return key, text


def revoke_key(folder: Path, ident: str) -> Key:
    """Let a key open nothing any more; its whole id or a beginning that only it has. Raises KeysError."""
    now = int(time.time())
    revoked: list[Key] = []

    def edit(keys: Keys) -> Keys:
        found = [key for key in keys if key.id == ident] or [
            key for key in keys if len(ident) >= BEGINNING and key.id.startswith(ident)
        ]
        if len(found) != 1:
            many = f"{len(found)} keys begin with {ident}: give the whole id" if found else f"there is no key {ident}"
            raise KeysError(f"{many}; `aura keys list` shows all")
        revoked.append(found[0] if found[0].revoked else msgspec.structs.replace(found[0], revoked=now))
        return tuple(revoked[0] if key is found[0] else key for key in keys)

    change_keys(folder, edit)
    return revoked[0]


def note_use(folder: Path, used: dict[str, int]) -> None:
    """Keep when keys (by id) were last used. Raises KeysError."""
    fresh = {ident: at - at % 60 for ident, at in used.items()}
    change_keys(
        folder,
        lambda keys: tuple(
            msgspec.structs.replace(key, last_used=max(key.last_used, fresh[key.id])) if key.id in fresh else key
            for key in keys
        ),
    )


def change_keys(folder: Path, edit: Callable[[Keys], Keys]) -> None:
    """Replace the keys by what `edit` makes of them, alone among all processes. Raises KeysError."""
    path = folder / KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(folder / LOCK_FILE):
            before = read_keys(folder)
            after = edit(before)
            if after != before:
                replace(path, msgspec.json.format(msgspec.json.encode(_File(after)), indent=2) + b"\n")
    except OSError as error:
        raise KeysError(f"{path} cannot be written: {error.strerror}; set storage.data_dir to another folder") from None


def replace(path: Path, content: bytes) -> None:
    """Put a file in place as a whole, for its owner only. Raises OSError."""
    file, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600 from the beginning
    try:
        with os.fdopen(file, "wb") as out:
            give_away(out.fileno(), path if path.exists() else path.parent)
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def give_away(file: int, like: Path) -> None:
    """Let root's files belong to whom the folder belongs: the server may run as somebody else."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = like.stat()
        os.fchown(file, owner.st_uid, owner.st_gid)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; the kernel lets it go when the process ends, however it does. Raises KeysError, OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        give_away(file, path.parent)
        end, pause = time.monotonic() + LOCK_S, threading.Event()
        while not _try_lock(file):
            if time.monotonic() > end:
                raise KeysError(f"another process has kept {path} locked for {LOCK_S:g} s: try again, or stop it")
            pause.wait(LOCK_RETRY_S)
        yield
    finally:
        os.close(file)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
