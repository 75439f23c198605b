"""Ids of the protocol's things: `event_…`, `item_…`, `resp_…`, with 21 characters as the real service makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

NewId = Callable[[str], str]
"""Makes a fresh id with the given prefix. The id is plain ASCII without quotes: it goes into JSON as it stands."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SEED_CHARS = 14


def id_source(seed: bytes) -> NewId:
    """A generator of ids that are unique within a session and, for different seeds, between sessions.

    Every id is 14 characters of the seed's hash and a counter, because an id is made for each audio message and
    hashing every one of them would cost more than the message. The same seed gives the same ids, so a replay does too.
    """
    mine = _base62(int.from_bytes(hashlib.blake2b(seed, digest_size=12).digest(), "big"), _SEED_CHARS)
    count = 0

    def new_id(prefix: str) -> str:
        nonlocal count
        count += 1
        return f"{prefix}_{mine}{count:07d}"

    return new_id


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(digits)
