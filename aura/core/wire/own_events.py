"""AURA's own events, sent only to clients that opted in with `session.aura.events`."""

from __future__ import annotations

from typing import Any

from aura.core.wire.server import ServerEvent


class State(ServerEvent, frozen=True, tag="aura.state"):
    """The conversation moved from one state to another."""

    was: str
    now: str
    cause: str


class PlayoutHold(ServerEvent, frozen=True, tag="aura.playout.hold"):
    """Be silent, but keep the audio: it is being decided whether the user meant to interrupt."""

    response_id: str
    item_id: str


class PlayoutResume(ServerEvent, frozen=True, tag="aura.playout.resume"):
    """Go on playing from this position of the item's audio."""

    response_id: str
    item_id: str
    from_ms: int


class PlayoutFlush(ServerEvent, frozen=True, tag="aura.playout.flush"):
    """Throw away what was not played; the user has heard this much."""

    response_id: str
    item_id: str
    heard_ms: int


class TurnMetrics(ServerEvent, frozen=True, tag="aura.turn.metrics"):
    """How long the steps of a turn took."""

    turn: int
    item_id: str
    metrics: dict[str, Any]
