"""What the runner tells a client script, and what the script reports back, as JSON files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

BASIC = ("turn", "ptt", "text", "tool", "barge")
CUT = "cut"
"""The connection is lost after the first reply; for clients that dial again by themselves."""
SCENARIOS = (*BASIC, CUT)
LONG = "long"


class Job(msgspec.Struct, frozen=True):
    """One client, one scenario."""

    scenario: str
    url: str
    """The WebSocket address of the endpoint, without a query."""
    http: str
    """The API's base, as SDKs want it."""
    key: str
    ca: str
    """Certificate of a throw-away authority, or nothing."""
    clips: dict[str, str]
    """Raw PCM16 of 24 kHz, by part."""
    words: dict[str, str]
    """What is said in each of them."""
    replies: dict[str, str]
    """What the model answers to each; empty where real engines decide."""
    typed: str
    tool: str
    ticket: str
    seconds: float
    """Time for all of it."""
    turns: int = 1
    barges: int = 0
    gap_s: float = 0.0
    """For `long`: time between the beginnings of turns."""


class Check(msgspec.Struct, frozen=True):
    """Something that must be so."""

    what: str
    ok: bool
    detail: str = ""


class Report(msgspec.Struct, frozen=True):
    """What a script found."""

    version: str = ""
    checks: tuple[Check, ...] = ()
    errors: tuple[str, ...] = ()
    """Everything that the SDK showed as an error or raised."""
    facts: dict[str, Any] = {}


@dataclass
class Outcome:
    """How one client did in one scenario."""

    client: str
    scenario: str
    seconds: float = 0.0
    skipped: str = ""
    failures: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """Protocol errors on the wire, the harmless ones too."""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Nothing was wrong."""
        return not self.failures and not self.skipped
