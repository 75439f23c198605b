"""What client and server have agreed on, as the server echoes it (realtime-protocol.md 1.3, 1.9 M and N, 2.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from aura.core.wire.grammar.fields import Problem
from aura.core.wire.grammar.orders import Track
from aura.core.wire.grammar.requests import Requests

OPENAI_RATE = 24_000
"""2.3: three clients die of any other rate in the echo; those that want another one ask for it."""
_OPENERS = ("error", "session.created", "conversation.created", "aura.resumed")


class SessionWatch:
    """The session's events, and what they say about all others."""

    def __init__(self, requests: Requests, rates: Collection[int], *, resumed: bool) -> None:
        self._requests = requests
        self._order = Track("connection")
        self._rates = {OPENAI_RATE, *rates}
        self.resumed = resumed
        """The conversation is older than the connection: there are items and wishes that were not seen."""
        self.ident = ""
        self.conversation = ""
        self.detection: dict[str, Any] | None = None
        self.transcribes = False
        self.events = self.binary = False
        self.expired = False

    # ---- the client's wishes

    def asked(self, event: dict[str, Any]) -> None:
        """A `session.update` (or the first message of a resumed session): its rates are legal from now on."""
        self._rates |= set(_rates(event))

    # ---- the server's events

    def order(self, kind: str) -> Iterator[Problem]:
        """M: session.created first, conversation.created behind it and nowhere else."""
        described = "session.created" in self._order.seen
        name = kind if kind in _OPENERS and not (kind == "error" and described) else "other"
        legal = self._order.take(name)
        if legal:
            yield "order.connection", f"{kind} is not legal here: {legal} (1.7 M)"
        if kind.startswith("aura.") and not self.events:
            yield "opt_in", f"{kind} without the client's opt-in to events (trap 4)"
        if self.expired and kind in ("response.created", "input_audio_buffer.speech_started"):
            yield "expired", f"{kind} after session_expired: the connection must close (1.7 N)"

    def created(self, event: dict[str, Any]) -> Iterator[Problem]:
        """The first description; one more only for a client that resumes its session."""
        if self.ident:
            yield from self._requests.answer("aura.resume", lambda _: True, "a second session.created")
            self.resumed = self._requests.resumed = True
        self.ident = ""
        yield from self._echo("session.created", event["session"])

    def updated(self, event: dict[str, Any]) -> Iterator[Problem]:
        """The answer to every accepted update, in their order."""
        yield from self._requests.answer("session.update", lambda _: True, "session.updated")
        yield from self._echo("session.updated", event["session"])

    def conversation_created(self, event: dict[str, Any]) -> Iterator[Problem]:
        """1.9: its id is the one that responses name."""
        self.conversation = event["conversation"]["id"]
        yield from ()

    def continues(self, event: dict[str, Any]) -> Iterator[Problem]:
        """`aura.resumed`: there are items that this connection has not seen."""
        self.resumed = self._requests.resumed = True
        if event["session_id"] != self.ident:
            yield "session.id", f"aura.resumed names another session than {self.ident}"
        if self.conversation and event["conversation_id"] != self.conversation:
            yield "conversation.id", f"aura.resumed names another conversation than {self.conversation}"

    def fault(self, event: dict[str, Any]) -> Iterator[Problem]:
        """1.8: an error names the message that caused it, if the client gave it a name."""
        detail = event["error"]
        self.expired = self.expired or detail.get("code") == "session_expired"
        yield from self._requests.error(detail)

    def binary_frame(self) -> Iterator[Problem]:
        """Binary frames need their opt-in."""
        if not self.binary:
            yield "opt_in", "a binary frame without the client's opt-in to binary transport (trap 4)"

    def _echo(self, kind: str, session: dict[str, Any]) -> Iterator[Problem]:
        ident, optin = session["id"], session.get("aura") or {}
        if self.ident and ident != self.ident:
            yield "session.id", f"{kind} describes another session than {self.ident}"
        self.ident = ident
        self.events, self.binary = bool(optin.get("events")), optin.get("transport") == "binary"
        heard = session["audio"]["input"]
        self.detection, self.transcribes = heard["turn_detection"], heard["transcription"] is not None
        for side, half in session["audio"].items():
            rate = half["format"].get("rate", OPENAI_RATE)
            if rate not in self._rates and not self.resumed:
                yield "echo.rate", f"{kind}: {rate} Hz for {side}, which nobody asked for (2.3)"


def _rates(value: Any) -> Iterator[int]:
    """Every rate that is named anywhere in a message."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "rate" and isinstance(inner, int):
                yield inner
            else:
                yield from _rates(inner)
