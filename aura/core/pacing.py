"""How far a client has played what was sent to it, and when it needs more.

A client plays at real time from a small buffer of its own, so what it has heard follows from what it was sent and
when. Acknowledgements from the client tell better what was heard; they come too late to pace by, since a round trip
would then be taken from the client's reserve.
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
    keep_s: float = 5.0
    """How much of the audio that was sent is kept for a client that loses its connection and comes back."""


class PlayClock:
    """The client's playback of one reply. Times are seconds on the session's clock, positions seconds of audio."""

    def __init__(self, settings: PlayoutSettings, before_s: float = 0.0) -> None:
        self._settings = settings
        self.before_s = before_s
        """Audio that the client was sent earlier in the same item, by a reply that failed: it counts from there."""
        self.sent_s = 0.0
        self.ends_at = 0.0
        """When all that was sent so far will have been heard, or was; 0: nothing was sent."""
        self._position_s = 0.0
        self._as_of = 0.0
        self._paused_at: float | None = None
        self._acked: tuple[float, float] | None = None
        """When the client said what it had played."""

    def send(self, at: float, seconds: float) -> None:
        """Audio of this length leaves now."""
        if self.position(at) >= self.sent_s and self._paused_at is None:  # empty: the client's buffer fills anew
            self._as_of = max(self._as_of, at + self._settings.client_delay_s)
        self.sent_s += seconds
        self.ends_at = self.done(at)

    def position(self, at: float) -> float:
        """Seconds of this reply that have been played by now, as far as can be told from what was sent."""
        if self._paused_at is None and at > self._as_of:
            self._position_s = min(self.sent_s, self._position_s + at - self._as_of)
            self._as_of = at
        return self._position_s

    def heard(self, at: float) -> float:
        """The same, by the client's own account where it gave one."""
        if self._acked is None:
            return self.position(at)
        said_at, position_s = self._acked
        until = at if self._paused_at is None else min(at, self._paused_at)
        return min(self.sent_s, position_s + max(0.0, until - said_at))

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
        self._paused_at = at if self._paused_at is None else self._paused_at

    def resume(self, at: float) -> None:
        """The client goes on where it stopped."""
        if self._paused_at is not None:
            if self._acked is not None:
                self._acked = (at, self.heard(at))
            self._paused_at, self._as_of = None, max(self._as_of, at)
            self.ends_at = self.done(at) if self.sent_s else 0.0

    def rewind(self, at: float, position_s: float) -> None:
        """The client lost what it had not played yet, is back, and gets the audio from this position on once more."""
        self._position_s = min(self.sent_s, max(0.0, position_s))
        self._acked = None
        self._paused_at, self._as_of = None, at + self._settings.client_delay_s
        self.ends_at = self.done(at) if self.sent_s else 0.0

    def acknowledge(self, at: float, position_s: float) -> None:
        """The client says how far it has played the item; it cannot have played what was not sent."""
        self._acked = (at, min(self.sent_s, max(0.0, position_s - self.before_s)))
