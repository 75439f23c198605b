"""Facts: what happened in a conversation, in the past tense.

Every event enters through `Session.tell`, is stamped once, decided by `core/fsm.py` and written to the journal. Facts
of a reply carry its number, so that one which comes too late is recognised and dropped. Fields of type `Private`
hold spoken or typed words: they are blanked in logs and journals unless the operator turned recording on.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from aura.core.ports import ToolOutcome

Private = Annotated[str, msgspec.Meta(extra_json_schema={"private": True})]


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=True):
    """Base of all facts."""


class ReplyEvent(Event, frozen=True, tag=True):
    """A fact about one reply."""

    reply: int


# ---- hearing: told by stages/listen.py -------------------------------------------------------------------------


class SpeechSuspected(Event, frozen=True, tag=True):
    """A first sign of speech: worth not sending more than the client needs, nothing else."""


class SuspicionPassed(Event, frozen=True, tag=True):
    """It came to nothing."""


class SpeechStarted(Event, frozen=True, tag=True):
    """The user speaks."""

    at_ms: int
    """Microphone time of the onset (samples received, not wall clock)."""


class SpeechPaused(Event, frozen=True, tag=True):
    """A short silence inside, or at the end of, the user's turn."""

    at_ms: int
    """Microphone time at which the speech ended."""
    silence_ms: int
    """How much silence has passed since then."""
    voiced_ms: int = 0


class SpeechResumed(Event, frozen=True, tag=True):
    """The same turn goes on after a pause."""

    at_ms: int


class TurnEnded(Event, frozen=True, tag=True):
    """The user has finished."""

    at_ms: int
    silence_ms: int
    cause: Literal["silence", "too_long"] = "silence"
    words: str = ""
    """What the words so far looked like, which decided how long to wait: complete, unknown, unfinished."""


class OverlapJudged(Event, frozen=True, tag=True):
    """Base of the two decisions about speech over the assistant, with the numbers behind them."""

    why: str
    voiced_ms: int
    silence_ms: int = 0
    """How long the speaker had been silent."""
    held_ms: int = 0
    """How long the output had been held."""
    needed_ms: int = 0
    """Voiced time that would have confirmed it without words."""
    said: str | None = None
    """What the words amounted to (empty, backchannel, echo, words); None before there were any."""
    echo_share: float = 0.0
    """Share of the words that were the assistant's own."""


class OverlapConfirmed(OverlapJudged, frozen=True, tag=True):
    """The speech over the assistant is meant as an interruption."""


class OverlapDismissed(OverlapJudged, frozen=True, tag=True):
    """It was a cough, a noise, an echo or a backchannel."""


# ---- a reply: told by session/turn.py and the stages of a turn -------------------------------------------------


class TranscriptReady(ReplyEvent, frozen=True, tag=True):
    """The words that this reply will answer."""

    words: int
    kind: Literal["words", "backchannel", "echo", "empty"]
    text: Private = ""


class FirstTokenArrived(ReplyEvent, frozen=True, tag=True):
    """The model began to answer."""


class ToolCalled(ReplyEvent, frozen=True, tag=True):
    """The model asked for a function."""

    name: str


class ToolFinished(ReplyEvent, frozen=True, tag=True):
    """The function returned, or nobody waits for it any more. Late: the turn that asked for it was cancelled."""

    name: str
    outcome: ToolOutcome = "ok"
    took_ms: int = 0


class FunctionRequested(ReplyEvent, frozen=True, tag=True):
    """The client is to run a function; what it returns comes with a request of its own."""

    name: str


class FillerSaid(ReplyEvent, frozen=True, tag=True):
    """The answer is long in coming, so the voice is given a few words that bridge the silence."""

    text: str
    waited_ms: int
    """How long the user had heard nothing of the reply."""
    why: Literal["model", "tool"]
    """What it waits for."""


class SentenceReady(ReplyEvent, frozen=True, tag=True):
    """A speakable sentence is complete."""

    index: int
    chars: int


class FirstAudioArrived(ReplyEvent, frozen=True, tag=True):
    """The voice delivered its first bytes."""


class ReplyStarted(ReplyEvent, frozen=True, tag=True):
    """The first audio goes to the client."""


class PlayoutFinished(ReplyEvent, frozen=True, tag=True):
    """Everything was sent and has been heard (or there was nothing to say)."""

    heard_ms: int


class StageFailed(ReplyEvent, frozen=True, tag=True):
    """A stage of the reply failed; `code` is that of the error."""

    stage: str
    code: str
    retryable: bool
    provider: str = ""
    """The engine that failed; empty when it was AURA itself."""


# ---- the client ------------------------------------------------------------------------------------------------


class AudioCommitted(Event, frozen=True, tag=True):
    """The client closed the input buffer: it is an utterance, no reply is wanted yet."""


class AudioCleared(Event, frozen=True, tag=True):
    """The client threw the input buffer away."""


class ReplyRequested(Event, frozen=True, tag=True):
    """The client wants an answer now."""


class ReplyCancelled(Event, frozen=True, tag=True):
    """The client stops the answer."""


class HistoryChanged(Event, frozen=True, tag=True):
    """The client added, removed or cut an item, or changed the session."""

    what: str


class AnswersSwitched(Event, frozen=True, tag=True):
    """The client wants turns that end to be answered at once, or only when it asks (`create_response`)."""

    on: bool


class InterruptionsSwitched(Event, frozen=True, tag=True):
    """The client wants speech over a reply to end it, or to wait until it is over (`interrupt_response`)."""

    on: bool


class IdleTimedOut(Event, frozen=True, tag=True):
    """Nobody has said anything for so long that the assistant is to go on (`idle_timeout_ms`)."""

    start_ms: int
    """Microphone time at which the silence began."""
    end_ms: int


class ConnectionLost(Event, frozen=True, tag=True):
    """The client's connection is gone; it may come back with a new one."""

    why: str


class ConnectionResumed(Event, frozen=True, tag=True):
    """The client is back."""


class AsideBegan(Event, frozen=True, tag=True):
    """A response outside the conversation is being made; it has nothing to do with who has the floor."""

    aside: int


class AsideEnded(Event, frozen=True, tag=True):
    """It is over."""

    aside: int
    status: str


class SayRequested(Event, frozen=True, tag=True):
    """The server itself has something to say: a greeting, a timer."""

    text: Private


class SessionClosing(Event, frozen=True, tag=True):
    """The conversation ends."""

    why: str


AnyEvent = (
    SpeechSuspected
    | SuspicionPassed
    | SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | TurnEnded
    | OverlapConfirmed
    | OverlapDismissed
    | TranscriptReady
    | FirstTokenArrived
    | ToolCalled
    | ToolFinished
    | FunctionRequested
    | FillerSaid
    | SentenceReady
    | FirstAudioArrived
    | ReplyStarted
    | PlayoutFinished
    | StageFailed
    | AudioCommitted
    | AudioCleared
    | ReplyRequested
    | ReplyCancelled
    | HistoryChanged
    | AnswersSwitched
    | InterruptionsSwitched
    | IdleTimedOut
    | ConnectionLost
    | ConnectionResumed
    | AsideBegan
    | AsideEnded
    | SayRequested
    | SessionClosing
)
EVENTS: tuple[type[Event], ...] = AnyEvent.__args__
