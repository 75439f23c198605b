"""Points in time: as logs write them, and as a user asks for them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from aura.tools.logs.problems import LogsError

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str) -> datetime | None:
    """An ISO 8601 time, in UTC where it does not say; None where it is none."""
    try:
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def asked(text: str, option: str, now: datetime) -> datetime:
    """The time that a user means: `10m`, `2h`, `1d` ago, or ISO 8601. Raises LogsError."""
    if ago := _AGO.fullmatch(text.strip()):
        try:
            return now - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        except OverflowError:
            pass
    told = moment(text.strip())
    if told is None:
        raise LogsError(f"{option}: cannot read “{text}” as a time; write 10m, 2h, 1d or 2026-03-01T12:00 (UTC)")
    return told
