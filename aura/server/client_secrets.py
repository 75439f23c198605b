"""Client secrets: short-lived keys that a web page or an app may hold, made for one session configuration.

Only their digests are kept, in memory: a restart ends them all, which costs a page one more request.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from aura.storage.keys import digest

from .denial import TRY_LATER, too_much
from .principal import Principal

PREFIX = "ek_"
BYTES_MAX = 32 << 20
"""Space for the session configurations of all secrets."""
OVERHEAD_BYTES = 512


class _Kept(msgspec.Struct, frozen=True):
    expires_at: int
    principal: Principal
    size: int


class ClientSecrets:
    """All secrets that have not expired."""

    def __init__(self, most: int = 10_000, bytes_max: int = BYTES_MAX) -> None:
        self._most, self._bytes_max = most, bytes_max
        self._kept: dict[str, _Kept] = {}
        self._bytes = 0

    @property
    def count(self) -> int:
        """How many there are, expired ones that still take space included."""
        return len(self._kept)

    def make(self, principal: Principal, session: dict[str, Any], seconds: int, now: float) -> tuple[str, int]:
        """A secret that lets its bearer begin `session` on behalf of `principal`, and when it expires.

        Raises Denial when there are too many.
        """
        size = len(msgspec.json.encode(session)) + OVERHEAD_BYTES
        if self._full(size):
            self._forget_expired(now)
        if self._full(size):
            raise too_much("too many client secrets are in use: try again later", TRY_LATER, retry_after_s=10)
        value = PREFIX + secrets.token_hex(16)
        bearer = msgspec.structs.replace(principal, scopes=("converse",), session=session)
        kept = _Kept(int(now) + seconds, bearer, size)
        self._kept[digest(value)] = kept
        self._bytes += size
        return value, kept.expires_at

    def find(self, value: str, now: float) -> Principal | None:
        """Whom a secret speaks for; None when it is unknown or has expired.

        There may be thousands, so a table is looked up, in a time that depends on the digest. Nobody learns anything
        of use from that: to get from a digest to its secret one would have to turn SHA-256 around.
        """
        kept = self._kept.get(digest(value))
        return kept.principal if kept and kept.expires_at > now else None

    def _full(self, size: int) -> bool:
        return len(self._kept) >= self._most or self._bytes + size > self._bytes_max

    def _forget_expired(self, now: float) -> None:
        self._kept = {key: kept for key, kept in self._kept.items() if kept.expires_at > now}
        self._bytes = sum(kept.size for kept in self._kept.values())
