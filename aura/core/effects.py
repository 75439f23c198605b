"""Orders: what to do about a fact.

`core/fsm.py` returns them, `session/session.py` carries them out one by one. None of them waits.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from aura.core.events import Private

Source = Literal["speech", "request", "say", "apology", "rest"]
"""What a reply answers: an utterance, the history as it is, or a text to be spoken as it stands: one of the server's
own, an apology, or the unheard rest of a reply that a noise cut off."""


class Effect(msgspec.Struct, frozen=True, tag_field="type", tag=True):
    """Base of all orders."""


class OpenTurn(Effect, frozen=True, tag=True):
    """Begin to keep and transcribe what the user says. Tentative: it may be no interruption at all."""

    turn: int
    at_ms: int
    tentative: bool


class ConfirmTurn(Effect, frozen=True, tag=True):
    """The tentative turn is a real one."""

    turn: int


class DropTurn(Effect, frozen=True, tag=True):
    """Forget what was said in this turn."""

    turn: int


class EndTurn(Effect, frozen=True, tag=True):
    """The user's turn is complete: nothing more is added to its utterance."""

    turn: int
    at_ms: int
    by_client: bool = False
    """The client itself closed the buffer, and is not told that speech has stopped."""


class CommitTurn(Effect, frozen=True, tag=True):
    """Transcribe the ended turn into the history without answering it."""

    turn: int


class TimeOut(Effect, frozen=True, tag=True):
    """A stretch of silence counts as a turn in which nothing was said."""

    turn: int
    start_ms: int
    end_ms: int


class StartReply(Effect, frozen=True, tag=True):
    """Start to answer. A draft works behind a closed gate until it is released."""

    reply: int
    turn: int
    source: Source
    draft: bool
    text: Private = ""
    retry_of: int = 0
    """The failed reply that this one stands in for: to the client they are one."""


class ReleaseReply(Effect, frozen=True, tag=True):
    """Open the gate of a draft."""

    reply: int


class Respond(Effect, frozen=True, tag=True):
    """The user's words are known and this reply answers them: history and client are told."""

    reply: int
    turn: int


class DropReply(Effect, frozen=True, tag=True):
    """End a reply that nobody knows of."""

    reply: int


class CancelReply(Effect, frozen=True, tag=True):
    """End a reply; only its heard words stay in the history."""

    reply: int
    reason: Literal["turn_detected", "client_cancelled", "closing"]


class FinishReply(Effect, frozen=True, tag=True):
    """The reply was heard to its end."""

    reply: int


class FailReply(Effect, frozen=True, tag=True):
    """The reply ends here because of an error; what was heard stays."""

    reply: int
    code: str


class BrakeOutput(Effect, frozen=True, tag=True):
    """Send no more than is already on its way."""

    reply: int


class UnbrakeOutput(Effect, frozen=True, tag=True):
    """Go on as usual."""

    reply: int


class HoldOutput(Effect, frozen=True, tag=True):
    """Be silent until it is decided whether the user meant it."""

    reply: int


class ResumeOutput(Effect, frozen=True, tag=True):
    """Go on from the heard position."""

    reply: int


class Suspend(Effect, frozen=True, tag=True):
    """There is nobody to speak to: keep everything as it is."""


class Restore(Effect, frozen=True, tag=True):
    """Tell the client where the conversation stands, and go on from what it has heard."""


class Postpone(Effect, frozen=True, tag=True):
    """Keep this text until nobody has the floor."""

    text: Private


class Refuse(Effect, frozen=True, tag=True):
    """Tell the client that its request cannot be obeyed now."""

    code: str


class Close(Effect, frozen=True, tag=True):
    """End the session."""

    why: str


AnyEffect = (
    OpenTurn
    | ConfirmTurn
    | DropTurn
    | EndTurn
    | CommitTurn
    | TimeOut
    | StartReply
    | ReleaseReply
    | Respond
    | DropReply
    | CancelReply
    | FinishReply
    | FailReply
    | BrakeOutput
    | UnbrakeOutput
    | HoldOutput
    | ResumeOutput
    | Suspend
    | Restore
    | Postpone
    | Refuse
    | Close
)
EFFECTS: tuple[type[Effect], ...] = AnyEffect.__args__
