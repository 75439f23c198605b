"""AURA's own events, sent only to clients that opted in with `session.aura.events`."""

from __future__ import annotations

from typing import Any

from aura.core.wire.items import Item
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


class Resumed(ServerEvent, frozen=True, tag="aura.resumed"):
    """The client is back in its conversation."""

    session_id: str
    conversation_id: str
    input_bytes: int
    """How much of the client's audio arrived, in its input format, since the session began or the format changed: the
    client sends what it has from there on."""
    items: tuple[Item, ...]
    """The last ones that are final, for what the client missed; one that is being made is announced anew."""


class TurnMetrics(ServerEvent, frozen=True, tag="aura.turn.metrics"):
    """How long the steps of a turn took."""

    turn: int
    item_id: str
    metrics: dict[str, Any]
