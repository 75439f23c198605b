"""The date and the time, here and elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta

from aura.providers.tools.registry import ToolFault

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
"""Own names, since those of `strftime` depend on the machine's locale."""

ZONES: dict[str, str] = {
    "utc": "UTC", "gmt": "UTC", "greenwich": "UTC", "england": "Europe/London", "britain": "Europe/London",
    "scotland": "Europe/London", "edinburgh": "Europe/London", "manchester": "Europe/London",
    "ireland": "Europe/Dublin", "france": "Europe/Paris", "germany": "Europe/Berlin", "munich": "Europe/Berlin",
    "frankfurt": "Europe/Berlin", "hamburg": "Europe/Berlin", "italy": "Europe/Rome", "milan": "Europe/Rome",
    "spain": "Europe/Madrid", "barcelona": "Europe/Madrid", "portugal": "Europe/Lisbon", "greece": "Europe/Athens",
    "switzerland": "Europe/Zurich", "geneva": "Europe/Zurich", "austria": "Europe/Vienna", "poland": "Europe/Warsaw",
    "netherlands": "Europe/Amsterdam", "sweden": "Europe/Stockholm", "norway": "Europe/Oslo",
    "turkey": "Europe/Istanbul", "new york city": "America/New_York", "boston": "America/New_York",
    "washington": "America/New_York", "miami": "America/New_York", "atlanta": "America/New_York",
    "philadelphia": "America/New_York", "houston": "America/Chicago", "dallas": "America/Chicago",
    "texas": "America/Chicago", "san francisco": "America/Los_Angeles", "seattle": "America/Los_Angeles",
    "california": "America/Los_Angeles", "san diego": "America/Los_Angeles", "las vegas": "America/Los_Angeles",
    "hawaii": "Pacific/Honolulu", "alaska": "America/Anchorage", "montreal": "America/Toronto",
    "rio": "America/Sao_Paulo", "rio de janeiro": "America/Sao_Paulo", "brazil": "America/Sao_Paulo",
    "argentina": "America/Argentina/Buenos_Aires", "buenos aires": "America/Argentina/Buenos_Aires",
    "beijing": "Asia/Shanghai", "china": "Asia/Shanghai", "japan": "Asia/Tokyo", "osaka": "Asia/Tokyo",
    "korea": "Asia/Seoul", "india": "Asia/Kolkata", "delhi": "Asia/Kolkata", "new delhi": "Asia/Kolkata",
    "mumbai": "Asia/Kolkata", "bangalore": "Asia/Kolkata", "israel": "Asia/Jerusalem", "tel aviv": "Asia/Jerusalem",
    "abu dhabi": "Asia/Dubai", "egypt": "Africa/Cairo", "cape town": "Africa/Johannesburg",
    "south africa": "Africa/Johannesburg", "new zealand": "Pacific/Auckland", "wellington": "Pacific/Auckland",
    "canberra": "Australia/Sydney",
}  # fmt: skip
"""Places that are not the namesake of their time zone; those that are (Europe/London) are found by themselves."""
_CONTINENTS = ("Europe", "America", "Asia", "Africa", "Australia", "Pacific", "Atlantic", "America/Argentina")


def zone(place: str) -> ZoneInfo:
    """The time zone of an IANA name or a large city. Raises ToolFault."""
    plain = " ".join(place.lower().replace("_", " ").split())
    city = "_".join(word.capitalize() for word in plain.split())
    known = ZONES.get(plain)
    keys = (known,) if known else (place,) if "/" in place else (f"{continent}/{city}" for continent in _CONTINENTS)
    for key in (*keys, place):
        try:
            return ZoneInfo(key)
        except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the time zone database
            continue
    raise ToolFault(f"The time zone of {place!r} is not known; give an IANA name such as Europe/Paris.")


class Clock:
    """A tool that reads a clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def current_time(
        self,
        timezone: Annotated[
            str, Meta(description="IANA time zone such as Europe/Paris, or a large city; empty for the local time")
        ] = "",
    ) -> str:
        """Tell the current date, weekday and time of day."""
        now = self._now()
        if timezone.strip():
            now = now.astimezone(zone(timezone.strip()))
        offset = now.strftime("%z")
        shown = f" (UTC{offset[:3]}:{offset[3:5]})" if offset else ""
        return f"{DAYS[now.weekday()]}, {now.day} {MONTHS[now.month - 1]} {now.year}, {now:%H:%M}{shown}"


def local_now() -> datetime:
    """The time of day where the server is."""
    return datetime.now().astimezone()
