"""How much of an account's limits is left, out of the headers of its replies.

OpenAI and Groq say limit, remaining and the time until the window is full again ("12ms", "6m0s"); xAI leaves the time
out. Between replies the allowance refills, so the share that is told grows with time: otherwise an engine that was
nearly used up would never be asked again. Source: OpenAI and Groq API references, Nov 2026.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec
import trio

from aura.providers.vitals import Left

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)")
UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
WINDOW_S = 60.0
"""How long a window is taken to last where nobody says."""


def duration_s(text: str) -> float | None:
    """A duration as Go writes it (`1h2m3.5s`), or plain seconds. None if it is neither."""
    text = text.strip()
    if DURATION.sub("", text) == "" and text:
        return sum(float(number) * UNITS_S[unit] for number, unit in DURATION.findall(text))
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


class Window(msgspec.Struct, frozen=True):
    """One limit as the last reply told it."""

    share: float
    at: float
    """When it was told (Trio time)."""
    full_in_s: float

    def now(self, at: float) -> float:
        """The share by now, refilled evenly."""
        passed = 1.0 if self.full_in_s <= 0 else min(1.0, (at - self.at) / self.full_in_s)
        return self.share + (1 - self.share) * passed


class Limits:
    """The limits of one account at one engine."""

    def __init__(self) -> None:
        self._windows: dict[str, Window] = {}

    def note(self, headers: Mapping[str, str]) -> None:
        """Learn from the headers of a reply."""
        for kind in ("requests", "tokens"):
            remaining = number(headers.get(f"x-ratelimit-remaining-{kind}"))
            limit = number(headers.get(f"x-ratelimit-limit-{kind}"))
            if remaining is None or not limit:
                continue
            reset_s = duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
            share = min(1.0, remaining / limit)
            self._windows[kind] = Window(share, trio.current_time(), WINDOW_S if reset_s is None else reset_s)

    def left(self, concurrent_max: int | None = None) -> Left:
        """What is left now."""
        now = trio.current_time()
        return Left(
            requests=self._windows["requests"].now(now) if "requests" in self._windows else None,
            tokens=self._windows["tokens"].now(now) if "tokens" in self._windows else None,
            concurrent_max=concurrent_max,
        )


def number(text: str | None) -> float | None:
    """A count in a header."""
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value >= 0 else None
