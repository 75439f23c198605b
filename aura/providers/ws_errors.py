"""How a WebSocket was closed → the error tree, by code and by what its reason says more exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aura.core.errors import (
    AuthFailed,
    BadRequest,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    StreamCut,
    Unavailable,
)
from aura.providers.openai.errors import Fault, build, by_code

BY_CLOSE_CODE: dict[int, type[ProviderError]] = {
    1003: BadRequest,
    1008: AuthFailed,
    1009: BadRequest,
    1010: BadRequest,
    1011: Unavailable,
    1012: Unavailable,
    1013: Unavailable,
    1014: Unavailable,
    3000: AuthFailed,
    3003: AuthFailed,
    4001: AuthFailed,
    4002: QuotaExhausted,
    4003: AuthFailed,
    4029: RateLimited,
    4401: AuthFailed,
    4402: QuotaExhausted,
    4403: AuthFailed,
    4429: RateLimited,
}
"""RFC 6455 7.4, IANA's registry and what vendors use of 4000-4999. All others: the connection was cut."""

BY_REASON: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"inactiv|idle|NET-\d|session.{0,20}(expired|time)", re.I), StreamCut),
    (re.compile(r"quota|credit|funds|billing|spend", re.I), QuotaExhausted),
    (re.compile(r"concurren|rate.?limit|too many|max_active|throttl|overflow|exhausted", re.I), RateLimited),
    (re.compile(r"busy|overload|unavailable|internal", re.I), Unavailable),
    (re.compile(r"auth|api.?key|forbidden|permission|denied", re.I), AuthFailed),
    (re.compile(r"DATA-\d|decode|invalid|unsupported|malformed|too (large|long|big)", re.I), BadRequest),
)
"""What the reason of a close says more exactly than its code: 1008 is used for nearly everything."""
NEVER_BY_REASON = (1000, 1001, 1002, 1005, 1006, 1007)
"""1002 and 1007 also stand for what we ourselves could not read of the engine's frames."""


def from_close(name: str, code: int, reason: str) -> ProviderError:
    """The error for the end of a connection that was still needed."""
    kind = BY_CLOSE_CODE.get(code, StreamCut)
    if code not in NEVER_BY_REASON:
        kind = by_reason(reason) or kind
    if code == 1006:
        return build(kind, name, "the connection was cut")
    return build(kind, name, f"the connection was closed with {code}: {reason or 'no reason given'}")


def by_reason(text: str) -> type[ProviderError] | None:
    """What a text says about the kind of the failure, if anything."""
    return next((found for pattern, found in BY_REASON if pattern.search(text)), None)


def from_message(name: str, fault: Fault, kinds: Mapping[str, type[ProviderError]] = {}) -> ProviderError:
    """The error for a message of the engine that tells of a failure: by its code (`kinds` first), else by its words."""
    kind = kinds.get(fault.code) or by_code(fault) or by_reason(f"{fault.code} {fault.message}") or Unavailable
    what = " ".join(filter(None, (fault.code, fault.message))) or "no explanation"
    return build(kind, name, f"the engine reports: {what}")
