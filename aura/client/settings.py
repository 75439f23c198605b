"""Deadlines and bounds of the client."""

from __future__ import annotations

import msgspec


class ClientSettings(msgspec.Struct, frozen=True):
    """How long the client waits, and how much it keeps for a lost connection."""

    connect_timeout_s: float = 10.0
    """Time for the connection and the first event."""
    send_timeout_s: float = 10.0
    """The server must take a message within this time."""
    ack_interval_s: float = 0.2
    """How often the server is told what has been played."""
    close_timeout_s: float = 1.0
    """Time for the server to answer the closing of the connection."""
    resume_for_s: float = 20.0
    """How long a lost connection is dialled again; 0: never, the call then ends with its connection."""
    back_off_s: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    """Waiting time before each try, the last one for all further tries; a quarter more or less is drawn."""
    keep_audio_s: float = 20.0
    """How much of the latest microphone audio can be sent again, or late."""
    keep_messages: int = 256
    """How many messages can wait for a connection."""
    ping_interval_s: float = 5.0
    """A silent server is asked so often whether it is still there; 0: never."""
    ping_timeout_s: float = 5.0
    """The connection counts as lost when there is no answer within this time."""
