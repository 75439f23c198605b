"""Who may see recordings: whoever has the operator's key.

A recording is somebody's voice and words, so nothing of it is shown without the key, not on loopback either: there,
another user of the machine, a tunnel or a reverse proxy in front would otherwise be let in too. The key is the setting
`server.operator_key`. Where it is not set, a server that records and listens on loopback only makes one and keeps it in
the file `operator.key` in its data folder, which only its owner may read: whoever may read the recordings themselves.

A program sends it as `Authorization: Bearer KEY`. A browser gives it once and gets a cookie that was derived from the
key, from which the key cannot be found, and which ends after a week or when the key is changed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from urllib.parse import quote

import structlog

from aura.core.errors import ConfigError
from aura.core.secret import Secret

from .handshake import is_loopback

log = structlog.get_logger()

KEY_FILE = "operator.key"
KEY_CHARS_MIN = 16
COOKIE = "aura_operator"
COOKIE_S = 7 * 24 * 3600


def operator_key(configured: Secret, host: str, data_dir: Path, *, recording: bool) -> str:
    """The key that opens the session page; empty where the page is off. Reads and makes `operator.key`.

    Raises ConfigError for a key that is too short.
    """
    if configured:
        key = configured.reveal()
        if len(key) < KEY_CHARS_MIN:
            raise ConfigError(
                f"server.operator_key: needs at least {KEY_CHARS_MIN} characters, this one has {len(key)}; "
                'make one with `python -c "import secrets; print(secrets.token_urlsafe())"`'
            )
        return key
    if not recording or not is_loopback(host):
        return ""
    try:
        return kept_key(data_dir / KEY_FILE)
    except OSError as error:
        log.warning("sessions.no_key", file=KEY_FILE, error=error.strerror)
        return ""


def kept_key(path: Path) -> str:
    """The key in a file that only its owner can read; made where there is none. Raises OSError."""
    try:
        file = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        os.fchmod(file, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(file, "r+") as kept:
        key = kept.read().strip()
        if len(key) < KEY_CHARS_MIN:
            key = secrets.token_urlsafe(24)
            kept.seek(0)
            kept.truncate()
            kept.write(key + "\n")
    return key


def link(scheme: str, host: str, port: int, key: str) -> str:
    """An address that opens the session page on this machine. What follows `#` never leaves the browser."""
    here = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{here}:{port}/sessions/#key={quote(key, safe='')}"


class Lock:
    """The key, and the cookies that were made from it."""

    def __init__(self, key: str) -> None:
        self._key = _digest(key)
        self._seal = hmac.digest(key.encode(), b"aura session page", "sha256")

    def opens(self, key: str) -> bool:
        """Whether this is the key. Takes the same time for every wrong one."""
        return hmac.compare_digest(_digest(key), self._key)

    def cookie(self, now: float | None = None) -> str:
        """A value that proves until its end that the key was given."""
        end = str(int((time.time() if now is None else now) + COOKIE_S))
        return f"{end}.{self._sign(end)}"

    def admits(self, cookie: str, now: float | None = None) -> bool:
        """Whether a cookie was made from this key and has not ended."""
        end, _, seal = cookie.partition(".")
        if not (end.isascii() and end.isdigit()) or len(end) > 12:
            return False
        whole = hmac.compare_digest(seal.encode(errors="replace"), self._sign(end).encode())
        return whole and int(end) > (time.time() if now is None else now)

    def _sign(self, end: str) -> str:
        return hmac.new(self._seal, end.encode(), "sha256").hexdigest()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogatepass")).digest()
