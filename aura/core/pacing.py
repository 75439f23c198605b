"""How far a client has played what was sent to it, and when it needs more.

A client plays at real time from a small buffer of its own, so what it has heard follows from what it was sent and
when. Acknowledgements from the client correct the estimate; without them it is all there is.
"""

from __future__ import annotations

import msgspec


class PlayoutSettings(msgspec.Struct, frozen=True):
    """How reply audio is sent."""

    lead_s: float = 0.1
    """How much audio the client may hold that it has not played yet. More rides out network jitter, less stops sooner
    when the user interrupts."""
    chunk_ms: int = 40
    """Audio per message."""
    client_delay_s: float = 0.06
    """How long a client waits after the first audio before it starts to play."""


class PlayClock:
    """The client's playback of one reply. Times are seconds on the session's clock, positions seconds of audio."""

    def __init__(self, settings: PlayoutSettings) -> None:
        self._settings = settings
        self.sent_s = 0.0
        self._position_s = 0.0
        self._as_of = 0.0
        self._paused = False

    def send(self, at: float, seconds: float) -> None:
        """Audio of this length leaves now."""
        if self.position(at) >= self.sent_s and not self._paused:  # empty: the client's buffer fills anew
            self._as_of = max(self._as_of, at + self._settings.client_delay_s)
        self.sent_s += seconds

    def position(self, at: float) -> float:
        """Seconds of this reply that have been heard by now."""
        if not self._paused and at > self._as_of:
            self._position_s = min(self.sent_s, self._position_s + at - self._as_of)
            self._as_of = at
        return self._position_s

    def due(self, at: float) -> float:
        """When the next audio may leave; in the past if it is needed now."""
        ahead = self.sent_s - self.position(at)
        return max(self._as_of, at) + ahead - self._settings.lead_s if ahead else at

    def done(self, at: float) -> float:
        """When all that was sent will have been heard."""
        return max(self._as_of, at) + self.sent_s - self.position(at)

    def pause(self, at: float) -> None:
        """The client was told to hold: it plays nothing until `resume`."""
        self.position(at)
        self._paused = True

    def resume(self, at: float) -> None:
        """The client goes on where it stopped."""
        if self._paused:
            self._paused, self._as_of = False, max(self._as_of, at)

    def acknowledge(self, at: float, position_s: float) -> None:
        """The client says how far it has played; it cannot have played what was not sent."""
        self.position(at)
        self._position_s = min(self.sent_s, max(0.0, position_s))
        self._as_of = max(self._as_of, at) if not self._paused else self._as_of
