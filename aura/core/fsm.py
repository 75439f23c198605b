"""The conversation: one table from facts to orders.

Five states: `idle` nobody has the floor, `listening` the user has it, `thinking` the turn is committed and no reply
audio was sent yet, `speaking` reply audio is being heard, `interrupted` the user spoke over thinking or speaking and
output is held until it is decided whether they meant it.

`TABLE` decides every (state, event) pair: a move, a *stay*, or a *bug*, which ends the session loudly. Facts about a
reply that is neither the current one nor the draft are *late*: they are counted and dropped before the table is asked.
The `transitions` package runs the table (one shared `Machine`, callbacks only append effects); nothing else sets a
state. `diagrams/fsm.mmd` is drawn from the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.guards import Answer, FsmSettings, Moment, Talk
from aura.core.machine import build
from aura.core.table import State


class Verdict(StrEnum):
    """What the table said about a fact."""

    MOVE = "move"
    STAY = "stay"
    LATE = "late"
    BUG = "bug"


class Step(msgspec.Struct, frozen=True):
    """The answer to one fact."""

    verdict: Verdict
    was: State
    now: State
    effects: tuple[fx.AnyEffect, ...] = ()


class Conversation(Moment):
    """The state of one conversation and the rules of `TABLE`. Synchronous, no clock, no I/O."""

    trigger: Callable[..., bool]
    """Set by the machine."""

    def __init__(self, settings: FsmSettings | None = None) -> None:
        self.settings = settings or FsmSettings()
        self.turn = 0
        self.reply: Answer | None = None
        self.draft: Answer | None = None
        self.resume_to: State = "idle"
        self.cut_off: State | None = None
        self.talk = Talk()
        self.owed = False
        self.closed = False
        self._numbers = 0
        self._bug = False
        self._effects: list[fx.AnyEffect] = []
        MACHINE.add_model(self, initial="idle")

    def release(self) -> None:
        """Leave the shared machine (at the end of a session, so that nothing is kept)."""
        MACHINE.remove_model(self)

    def handle(self, event: ev.Event) -> Step:
        """Decide one fact. Never raises: a bug is a verdict, and closes the conversation."""
        was = self.state
        if self.closed or self._is_late(event):
            return Step(Verdict.LATE, was, was)
        self._effects = []
        self.trigger(type(event).__name__, event)
        verdict = Verdict.BUG if self._bug else Verdict.STAY if self.state == was else Verdict.MOVE
        return Step(verdict, was, self.state, tuple(self._effects))

    def _is_late(self, event: ev.Event) -> bool:
        if not isinstance(event, ev.ReplyEvent):
            return False
        reply, draft = self.reply, self.draft
        return not (reply and reply.number == event.reply) and not (draft and draft.number == event.reply)

    # ---- effects: each appends orders and keeps the books ------------------------------------------------------

    def _order(self, *effects: fx.AnyEffect) -> None:
        self._effects += effects

    def _answer(self, source: fx.Source, text: str = "") -> Answer:
        self._numbers += 1
        return Answer(self._numbers, self.turn, source, text, known=source != "speech")

    def new_turn(self, _: ev.Event) -> None:
        self.turn += 1
        self.talk = Talk()

    def open_turn(self, event: ev.Event) -> None:
        self.new_turn(event)
        self._order(fx.OpenTurn(self.turn, at_ms(event), tentative=False))

    def open_tentative(self, event: ev.Event) -> None:
        self.new_turn(event)
        self._order(fx.OpenTurn(self.turn, at_ms(event), tentative=True))

    def open_beside(self, event: ev.Event) -> None:
        """The user speaks while the reply goes on: it is a turn, but it ends nothing."""
        self.open_turn(event)
        self.talk.beside = True

    def settle_beside(self, event: ev.Event) -> None:
        """Its words belong to the history at once; they are answered when the reply is over."""
        self.settle(event)
        self.talk.beside = False
        self.owed = self.owed or self.answers(event)

    def leave_beside(self, _: ev.Event) -> None:
        self.talk.beside = False

    def take_floor(self, _: ev.Event) -> None:
        """The reply is over and the user is still speaking: it is their turn now, and all is answered at its end."""
        self.talk.beside, self.owed = False, False

    def answer_owed_turn(self, event: ev.Event) -> None:
        self.owed = False
        self.request(event)

    def hold(self, _: ev.Event) -> None:
        assert self.reply
        self.resume_to = self.state
        self._order(fx.HoldOutput(self.reply.number))

    def brake(self, _: ev.Event) -> None:
        assert self.reply
        self._order(fx.BrakeOutput(self.reply.number))

    def unbrake(self, _: ev.Event) -> None:
        assert self.reply
        self._order(fx.UnbrakeOutput(self.reply.number))

    def go_on(self, _: ev.Event) -> None:
        self.talk.ended_at_ms = None

    def start_draft(self, _: ev.Event) -> None:
        self.talk.drafts += 1
        self.draft = self._answer("speech")
        self._order(fx.StartReply(self.draft.number, self.turn, "speech", draft=True))

    def drop_draft(self, _: ev.Event) -> None:
        if self.draft:
            self._order(fx.DropReply(self.draft.number))
            self.draft = None

    def know_draft(self, _: ev.Event) -> None:
        assert self.draft
        self.draft.known = True

    def end_turn(self, event: ev.Event) -> None:
        self._order(fx.EndTurn(self.turn, at_ms(event)))

    def end_now(self, _: ev.Event) -> None:
        self._order(fx.EndTurn(self.turn, -1))

    def end_by_client(self, _: ev.Event) -> None:
        self._order(fx.EndTurn(self.turn, -1, by_client=True))

    def note_end(self, event: ev.Event) -> None:
        self.talk.ended_at_ms = at_ms(event)

    def end_noted(self, _: ev.Event) -> None:
        assert self.talk.ended_at_ms is not None
        self._order(fx.EndTurn(self.turn, self.talk.ended_at_ms))

    def adopt(self, event: ev.Event) -> None:
        assert self.draft
        self.reply, self.draft = self.draft, None
        self._order(fx.ReleaseReply(self.reply.number))
        if self.reply.known:
            self.respond(event)

    def answer(self, event: ev.Event) -> None:
        """The turn is complete: what its draft has made so far is the beginning of the reply."""
        (self.adopt if self.draft else self.start)(event)

    def start(self, _: ev.Event) -> None:
        self.reply = self._answer("speech")
        self._order(fx.StartReply(self.reply.number, self.turn, "speech", draft=False))

    def start_asked(self, event: ev.Event) -> None:
        self.start(event)
        assert self.reply
        self.reply.asked = True

    def answer_all_the_same(self, event: ev.Event) -> None:
        """The client asked for a response, and nothing was said: it answers what there is."""
        old = self.reply
        assert old
        self.reply = self._answer("request")
        order = fx.StartReply(self.reply.number, self.turn, "request", draft=False, retry_of=old.number)
        self._order(fx.DropReply(old.number), fx.CommitTurn(old.turn), order)
        self.respond(event)

    def know(self, _: ev.Event) -> None:
        assert self.reply
        self.reply.known, self.cut_off = True, None

    def respond(self, _: ev.Event) -> None:
        assert self.reply
        if not self.reply.told:
            self.reply.told, self.cut_off = True, None
            self._order(fx.Respond(self.reply.number, self.reply.turn))

    def drop_reply(self, _: ev.Event) -> None:
        """It answers nothing; what its turn said, if anything, belongs to the history."""
        assert self.reply
        self._order(fx.DropReply(self.reply.number), fx.CommitTurn(self.reply.turn))
        self.reply = None

    def settle(self, _: ev.Event) -> None:
        """The turn's words, if any, belong to the history though nobody answers them."""
        self._order(fx.CommitTurn(self.turn))

    def say_rest(self, event: ev.Event) -> None:
        self._speak("rest", "", event)

    def _speak(self, source: fx.Source, text: str, event: ev.Event) -> None:
        self.reply = self._answer(source, text)
        self._order(fx.StartReply(self.reply.number, self.turn, source, draft=False, text=text))
        self.respond(event)

    def request(self, event: ev.Event) -> None:
        self._speak("request", "", event)

    def say(self, event: ev.Event) -> None:
        assert isinstance(event, ev.SayRequested)
        self._speak("say", event.text, event)

    def postpone(self, event: ev.Event) -> None:
        assert isinstance(event, ev.SayRequested)
        self._order(fx.Postpone(event.text))

    def cut(self, event: ev.Event) -> None:
        """End the old reply: the user has the floor. Words that were never answered stay in the history."""
        assert self.reply
        if self.reply.known or self.reply.asked:
            self._order(fx.CancelReply(self.reply.number, "turn_detected"))
        else:
            self._order(fx.DropReply(self.reply.number))
        if not self.reply.known:
            self._order(fx.CommitTurn(self.reply.turn))
        asked = self.reply.source in ("speech", "request") and not self.without_words(event)
        self.cut_off = self.resume_to if self.resume_to == "speaking" or asked else None
        self.reply = None

    def confirm(self, _: ev.Event) -> None:
        self.owed = False  # whoever answers this turn answers what was said before it
        # the client hears of the user's speech before it hears of the end of the reply
        at = next((i for i, e in enumerate(self._effects) if isinstance(e, fx.CancelReply)), len(self._effects))
        self._effects.insert(at, fx.ConfirmTurn(self.turn))

    def dismiss(self, event: ev.Event) -> None:
        assert self.reply
        self.drop_draft(event)
        self._order(fx.DropTurn(self.turn), fx.ResumeOutput(self.reply.number))

    def drop_turn(self, _: ev.Event) -> None:
        self.cut_off = None
        self._order(fx.DropTurn(self.turn))

    def commit(self, _: ev.Event) -> None:
        self._order(fx.CommitTurn(self.turn))

    def note_failure(self, event: ev.Event) -> None:
        assert self.reply
        assert isinstance(event, ev.StageFailed)
        self.reply.failure = event

    def repair(self, event: ev.Event) -> None:
        """Before the first audible word try again; then, or after it, say sorry."""
        assert self.reply
        assert self.reply.failure
        audible = isinstance(event, ev.PlayoutFinished) and not self.reply.filled
        again = self.reply.failure.retryable and self.reply.attempts < self.settings.retries and not audible
        self._replace(event, again=again)

    def apologise(self, event: ev.Event) -> None:
        """There is no answer, and silence is none."""
        self._replace(event, again=False)

    def _replace(self, event: ev.Event, *, again: bool) -> None:
        old = self.reply
        assert old
        source: fx.Source = old.source if again else "apology"
        self.reply = self._answer(source, old.text if again else "")
        self.reply.turn, self.reply.attempts = old.turn, old.attempts + 1
        self.reply.told, self.reply.asked = old.told, old.asked
        self._order(
            fx.DropReply(old.number),
            fx.StartReply(self.reply.number, old.turn, source, draft=False, text=self.reply.text, retry_of=old.number),
        )
        if not again and not old.known:
            self._order(fx.CommitTurn(old.turn))
        if source != "speech":
            self.respond(event)

    def _meant(self, event: ev.Event) -> Answer:
        """The reply or draft that a fact is about; facts about others are late."""
        assert isinstance(event, ev.ReplyEvent)
        return next(answer for answer in (self.reply, self.draft) if answer and answer.number == event.reply)

    def hand_over(self, event: ev.Event) -> None:
        self._meant(event).handed_over = True

    def note_filler(self, event: ev.Event) -> None:
        answer = self._meant(event)
        answer.filled = not answer.worded

    def note_words(self, event: ev.Event) -> None:
        answer = self._meant(event)
        answer.worded, answer.filled = True, False

    def finish(self, _: ev.Event) -> None:
        assert self.reply
        self._order(fx.FinishReply(self.reply.number))
        self.reply = None

    def fail(self, event: ev.Event) -> None:
        self.note_failure(event)
        self.give_up(event)

    def give_up(self, _: ev.Event) -> None:
        """It has failed, and nothing can stand in for it."""
        assert self.reply
        assert self.reply.failure
        self._order(fx.FailReply(self.reply.number, self.reply.failure.code))
        self.reply = None

    def cancel(self, _: ev.Event) -> None:
        assert self.reply
        self._order(fx.CancelReply(self.reply.number, "client_cancelled"))
        self.cut_off = None
        if not self.reply.known:
            self._order(fx.CommitTurn(self.reply.turn))
        self.reply = None

    def refuse_second(self, _: ev.Event) -> None:
        if self.reply and not self.reply.told:
            self.reply.asked = True  # the client waits for its end, so it must not vanish for want of words
        self._order(fx.Refuse("conversation_already_has_active_response"))

    def refuse_cancel(self, _: ev.Event) -> None:
        self._order(fx.Refuse("response_cancel_not_active"))

    def switch_answers(self, event: ev.Event) -> None:
        assert isinstance(event, ev.AnswersSwitched)
        self.settings = msgspec.structs.replace(self.settings, auto_reply=event.on)

    def switch_interruptions(self, event: ev.Event) -> None:
        assert isinstance(event, ev.InterruptionsSwitched)
        self.settings = msgspec.structs.replace(self.settings, interruptions=event.on)

    def time_out(self, event: ev.Event) -> None:
        assert isinstance(event, ev.IdleTimedOut)
        self.new_turn(event)
        self._order(fx.TimeOut(self.turn, event.start_ms, event.end_ms))

    def suspend(self, _: ev.Event) -> None:
        self._order(fx.Suspend())

    def restore(self, _: ev.Event) -> None:
        self._order(fx.Restore())

    def close(self, event: ev.Event) -> None:
        self.drop_draft(event)
        if self.reply:
            self._order(fx.CancelReply(self.reply.number, "closing"))
            self.reply = None
        why = event.why if isinstance(event, ev.SessionClosing) else f"bug: {type(event).__name__} in {self.state}"
        self.closed = True
        self._order(fx.Close(why))

    def bug(self, event: ev.Event) -> None:
        """This must not happen: end the session loudly rather than guess."""
        self._bug = True
        self.close(event)


def at_ms(event: ev.Event) -> int:
    """The microphone time a fact is about; -1 for "now"."""
    return getattr(event, "at_ms", -1)


MACHINE = build()
"""One for all conversations: it keeps nothing but the table."""
