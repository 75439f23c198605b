"""The conditions of the table: what is true of a conversation at the moment a fact arrives."""

from __future__ import annotations

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.table import State


class FsmSettings(msgspec.Struct, frozen=True):
    """How a conversation behaves."""

    retries: int = 1
    """How often a failed reply is tried again before AURA apologises."""
    drafts_max: int = 4
    """How many speculative replies one turn may start; 0: none but those that tell words over a reply from noise."""
    auto_reply: bool = True
    """Whether a turn that ends is answered without being asked for."""
    interruptions: bool = True
    """Whether speech over a reply may end it; if not, it is answered when the reply is over."""


class Talk(msgspec.Struct):
    """What is known of the user's present turn."""

    drafts: int = 0
    """How many drafts it has started."""
    ended_at_ms: int | None = None
    """When it ended, while it is still being decided whether it is a turn at all."""
    beside: bool = False
    """It goes on beside a reply that it does not interrupt."""


class Answer(msgspec.Struct):
    """A reply in the making."""

    number: int
    turn: int
    source: fx.Source
    text: str = ""
    known: bool = False
    """The words it answers are transcribed (or none are needed)."""
    told: bool = False
    """History and client know of it."""
    handed_over: bool = False
    """It asked the client to run a function: it may end without a word."""
    asked: bool = False
    """The client asked for it, whatever was said: it gets a response."""
    filled: bool = False
    """Nothing of it was said but a filler."""
    worded: bool = False
    """A sentence of it is ready."""
    attempts: int = 0
    failure: ev.StageFailed | None = None


class Moment:
    """A conversation as the guards see it. Each guard gets the fact that is being decided."""

    state: State
    """Set by the machine."""
    settings: FsmSettings
    reply: Answer | None
    """The reply that the client knows of, or will hear next."""
    draft: Answer | None
    """The reply in the making behind a closed gate."""
    resume_to: State
    """Where a dismissed overlap leads back to."""
    talk: Talk
    owed: bool
    """A turn that ended beside the reply waits to be answered."""
    cut_off: State | None
    """In which state the last reply was when the user, or a noise, ended it."""

    def has_draft(self, _: ev.Event) -> bool:
        return self.draft is not None

    def may_draft(self, _: ev.Event) -> bool:
        return self.draft is None and self.talk.drafts < self.settings.drafts_max

    def over(self, _: ev.Event) -> bool:
        return self.talk.ended_at_ms is not None

    def over_unasked(self, event: ev.Event) -> bool:
        return self.over(event) and not self.answers(event)

    def answers(self, _: ev.Event) -> bool:
        return self.settings.auto_reply

    def waits_its_turn(self, _: ev.Event) -> bool:
        return not self.settings.interruptions

    def beside(self, _: ev.Event) -> bool:
        return self.talk.beside

    def answer_owed(self, _: ev.Event) -> bool:
        return self.owed

    def beside_wordless(self, event: ev.Event) -> bool:
        return self.beside(event) and self.without_words(event)

    def owed_wordless(self, event: ev.Event) -> bool:
        return self.owed and self.without_words(event)

    def was_speaking(self, _: ev.Event) -> bool:
        return self.resume_to == "speaking"

    def broken(self, _: ev.Event) -> bool:
        return self.reply is not None and self.reply.failure is not None

    def repairable(self, event: ev.Event) -> bool:
        return self.broken(event) and not self.hopeless(event)

    def beyond_repair(self, event: ev.Event) -> bool:
        return self.broken(event) and self.hopeless(event)

    def of_reply(self, event: ev.Event) -> bool:
        return isinstance(event, ev.ReplyEvent) and self.reply is not None and event.reply == self.reply.number

    def without_words(self, event: ev.Event) -> bool:
        return isinstance(event, ev.TranscriptReady) and event.kind in ("empty", "echo")

    def wordless_but_asked(self, event: ev.Event) -> bool:
        return self.without_words(event) and self.reply is not None and self.reply.asked

    def not_meant(self, event: ev.Event) -> bool:
        return isinstance(event, ev.TranscriptReady) and event.kind != "words"

    def was_noise(self, event: ev.Event) -> bool:
        """The reply held now answers nobody: what it was about was no speech."""
        return self.of_reply(event) and self.without_words(event)

    def was_noise_and_over(self, event: ev.Event) -> bool:
        return self.was_noise(event) and self.over(event)

    def noise_cut_us_off(self, event: ev.Event) -> bool:
        return self.cut_off == "speaking" and self.not_meant(event)

    def noise_cut_thought(self, event: ev.Event) -> bool:
        return self.cut_off == "thinking" and self.not_meant(event)

    def announcing(self, _: ev.Event) -> bool:
        return self.reply is not None and self.reply.source in ("say", "rest", "apology")

    def said_nothing(self, _: ev.Event) -> bool:
        """Nothing was audible, though somebody waits for an answer."""
        reply = self.reply
        return reply is not None and reply.source in ("speech", "request") and not reply.handed_over

    def only_filled(self, event: ev.Event) -> bool:
        """A filler was audible, and no answer came after it."""
        return self.reply is not None and self.reply.filled and self.said_nothing(event)

    def hopeless(self, event: ev.Event) -> bool:
        """Even the apology failed, or the client runs a function already, which must not be asked for twice."""
        return self.reply is not None and (self.reply.source == "apology" or self.reply.handed_over)
