"""The conversation table: every pair is decided, and no order of facts breaks its promises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.fsm import MACHINE, Conversation, Step, Verdict
from aura.core.guards import FsmSettings
from aura.core.table import STATES, TABLE

# ---- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", ev.EVENTS, ids=lambda e: e.__name__)
def test_every_pair_is_decided_and_its_last_row_has_no_guard(state: str, event: type[ev.Event]) -> None:
    rows = [row for row in TABLE if row.event is event and state in row.states.split()]

    assert rows
    assert rows[-1].when == ""


def test_every_row_names_states_guards_and_effects_that_exist() -> None:
    for row in TABLE:
        assert set(row.states.split()) <= set(STATES)
        assert row.to in (*STATES, "=", "bug")
        assert all(
            callable(getattr(Conversation, name)) for name in (*row.do.split(), row.when.removeprefix("!") or "bug")
        )


def test_no_row_stands_behind_one_that_always_holds() -> None:
    done: set[tuple[str, type[ev.Event]]] = set()
    for row in TABLE:
        fresh = {(state, row.event) for state in row.states.split()} - done
        assert fresh, row
        if not row.when:
            done |= fresh


# ---- conversations -----------------------------------------------------------------------------------------------

HEARD = [
    ev.SpeechStarted(100),
    ev.SpeechPaused(900, 140),
    ev.TranscriptReady(1, 3, "words", "a b c"),
    ev.TurnEnded(900, 550),
]
SPEAKING = [*HEARD, ev.FirstTokenArrived(1), ev.ReplyStarted(1)]


def play(*facts: ev.Event, **options: Any) -> tuple[Conversation, list[Step]]:
    conversation = Conversation(FsmSettings(**options))
    return conversation, [conversation.handle(fact) for fact in facts]


def orders(steps: list[Step]) -> list[str]:
    return [type(effect).__name__ for step in steps for effect in step.effects]


def test_a_draft_is_started_in_a_pause_and_adopted_at_the_end_of_the_turn() -> None:
    conversation, steps = play(*HEARD)

    assert conversation.state == "thinking"
    assert orders(steps) == ["OpenTurn", "StartReply", "EndTurn", "ReleaseReply", "Respond"]


def test_speech_after_the_pause_drops_the_draft_and_the_next_one_has_a_new_number() -> None:
    _, steps = play(HEARD[0], HEARD[1], ev.SpeechResumed(1000), ev.SpeechPaused(1800, 140))

    assert steps[2].effects == (fx.DropReply(1),)
    assert steps[3].effects == (fx.StartReply(2, 1, "speech", draft=True),)


def test_a_turn_starts_no_more_drafts_than_allowed() -> None:
    wavering = [ev.SpeechPaused(900, 140), ev.SpeechResumed(1000)] * 5
    _, steps = play(HEARD[0], *wavering, ev.TurnEnded(2000, 550), drafts_max=2)

    assert orders(steps).count("StartReply") == 3
    assert steps[-1].effects[-1] == fx.StartReply(3, 1, "speech", draft=False)


def test_an_interruption_is_held_then_confirmed_and_the_client_hears_of_the_speech_first() -> None:
    conversation, steps = play(*SPEAKING, ev.SpeechStarted(3000), ev.OverlapConfirmed("sustained", 600))

    assert orders(steps[-2:]) == ["HoldOutput", "OpenTurn", "ConfirmTurn", "CancelReply"]
    assert conversation.state == "listening"


def test_a_cough_resumes_the_reply_where_it_was() -> None:
    for facts, state in ((SPEAKING, "speaking"), (HEARD, "thinking")):
        conversation, steps = play(*facts, ev.SpeechStarted(3000), ev.OverlapDismissed("no_words", 200))

        assert steps[-1].effects == (fx.DropTurn(2), fx.ResumeOutput(1))
        assert conversation.state == state


def test_words_confirm_at_once_and_their_draft_lives_on() -> None:
    over = [ev.SpeechStarted(3000), ev.SpeechPaused(3400, 140), ev.TranscriptReady(2, 1, "words", "stop")]
    conversation, steps = play(*SPEAKING, *over, ev.TurnEnded(3400, 550))

    assert conversation.state == "thinking"
    assert orders(steps[-2:]) == ["ConfirmTurn", "CancelReply", "EndTurn", "ReleaseReply", "Respond"]


def test_a_backchannel_costs_its_draft_and_leaves_the_decision_to_the_clock() -> None:
    over = [ev.SpeechStarted(3000), ev.SpeechPaused(3400, 140), ev.TranscriptReady(2, 1, "backchannel", "okay")]
    conversation, steps = play(*SPEAKING, *over)

    assert steps[-1].effects == (fx.DropReply(2),)
    assert conversation.state == "interrupted"


def test_speech_over_a_reply_whose_question_is_not_transcribed_yet_keeps_the_question() -> None:
    facts = [ev.SpeechStarted(0), ev.TurnEnded(900, 550), ev.SpeechStarted(1600), ev.OverlapConfirmed("sustained", 600)]
    _, steps = play(*facts)

    assert [e for e in steps[-1].effects if isinstance(e, fx.CommitTurn)] == [fx.CommitTurn(1)]


def test_noise_that_cut_the_reply_off_lets_it_say_the_rest() -> None:
    noise = [ev.SpeechStarted(3000), ev.OverlapConfirmed("sustained", 600), ev.TurnEnded(4000, 700)]
    conversation, steps = play(*SPEAKING, *noise, ev.TranscriptReady(2, 0, "empty"))

    rest = fx.StartReply(3, 2, "rest", draft=False)
    assert steps[-1].effects == (fx.DropReply(2), fx.CommitTurn(2), rest, fx.Respond(3, 2))
    assert conversation.state == "thinking"


def test_a_failure_is_retried_then_apologised_for_then_given_up() -> None:
    down = [ev.StageFailed(n, "think", "unavailable", retryable=True) for n in (1, 2, 3)]
    conversation, steps = play(*HEARD, *down)
    started = [e for s in steps for e in s.effects if isinstance(e, fx.StartReply)]

    assert [(e.source, e.retry_of) for e in started] == [("speech", 0), ("speech", 1), ("apology", 2)]
    assert steps[-1].effects == (fx.FailReply(3, "unavailable"),)
    assert conversation.state == "idle"


def test_what_cannot_be_retried_is_apologised_for_at_once() -> None:
    _, steps = play(*HEARD, ev.StageFailed(1, "think", "auth_failed", retryable=False))

    assert [e.source for e in steps[-1].effects if isinstance(e, fx.StartReply)] == ["apology"]


def test_a_failure_while_speaking_lets_what_is_audible_finish_first() -> None:
    conversation, steps = play(
        *SPEAKING, ev.StageFailed(1, "think", "stream_cut", retryable=True), ev.PlayoutFinished(1, 900)
    )

    assert steps[-2].effects == ()
    assert [e.source for e in steps[-1].effects if isinstance(e, fx.StartReply)] == ["apology"]
    assert conversation.state == "thinking"


FILLED = (*HEARD, ev.FillerSaid(1, "One moment.", 1200, "model"), ev.ReplyStarted(1))


@pytest.mark.parametrize(
    ("more", "sources"),
    [
        ((ev.StageFailed(1, "think", "unavailable", retryable=True),), ["speech"]),
        ((ev.StageFailed(1, "think", "auth_failed", retryable=False),), ["apology"]),
        ((), ["apology"]),
        ((ev.SentenceReady(1, 1, 9), ev.StageFailed(1, "think", "stream_cut", retryable=True)), ["apology"]),
        ((ev.SentenceReady(1, 1, 9),), []),
        ((ev.FunctionRequested(1, "f"),), []),
    ],
)
def test_a_filler_is_no_answer(more: tuple[ev.Event, ...], sources: list[str]) -> None:
    """What fails behind it is tried again, and where nothing comes behind it that is apologised for."""
    conversation, steps = play(*FILLED, *more, ev.PlayoutFinished(1, 900))

    assert [e.source for e in steps[-1].effects if isinstance(e, fx.StartReply)] == sources
    assert conversation.state == ("thinking" if sources else "idle")


def test_a_function_that_was_asked_for_is_not_asked_for_again_when_the_reply_fails_under_a_cough() -> None:
    cough = [ev.SpeechStarted(1600), ev.StageFailed(1, "speak", "x", retryable=True), ev.OverlapDismissed("short", 100)]
    conversation, steps = play(*HEARD, ev.FunctionRequested(1, "f"), *cough)

    assert steps[-1].effects == (fx.DropTurn(2), fx.ResumeOutput(1), fx.FailReply(1, "x"))
    assert conversation.state == "idle"


def test_an_interruption_answers_the_turn_beside_the_reply_too() -> None:
    beside = [ev.InterruptionsSwitched(on=False), ev.SpeechStarted(3000), ev.TurnEnded(3500, 550)]
    over = [ev.InterruptionsSwitched(on=True), ev.SpeechStarted(5000), ev.OverlapConfirmed("sustained", 600)]
    answer = [ev.TurnEnded(6000, 550), ev.TranscriptReady(2, 1, "words", "x"), ev.ReplyStarted(2)]
    conversation, _ = play(*SPEAKING, *beside, *over, *answer, ev.PlayoutFinished(2, 900))

    assert conversation.state == "idle"  # and not thinking of the same words again


def test_noise_before_a_turn_beside_it_settles_its_own_turn() -> None:
    conversation, steps = play(
        ev.InterruptionsSwitched(on=False), ev.SpeechStarted(0), ev.TurnEnded(900, 550), ev.SpeechStarted(1600),
        ev.TranscriptReady(1, 0, "empty"),
    )  # fmt: skip

    assert steps[-1].effects == (fx.DropReply(1), fx.CommitTurn(1))
    assert conversation.state == "listening"


def test_facts_of_a_finished_reply_are_late() -> None:
    conversation, steps = play(*SPEAKING, ev.PlayoutFinished(1, 900), ev.PlayoutFinished(1, 900), ev.ReplyStarted(1))

    assert [s.verdict for s in steps[-2:]] == [Verdict.LATE, Verdict.LATE]
    assert conversation.state == "idle"


def test_a_bug_closes_the_session_loudly() -> None:
    conversation, steps = play(*SPEAKING, ev.ReplyStarted(1))

    assert steps[-1].verdict is Verdict.BUG
    assert isinstance(steps[-1].effects[-1], fx.Close)
    assert conversation.handle(ev.SpeechStarted(1)).verdict is Verdict.LATE


def test_client_requests_that_cannot_be_obeyed_are_refused_in_the_protocols_words() -> None:
    _, steps = play(ev.ReplyCancelled(), ev.ReplyRequested(), ev.ReplyRequested())

    codes = [e.code for s in steps for e in s.effects if isinstance(e, fx.Refuse)]
    assert codes == ["response_cancel_not_active", "conversation_already_has_active_response"]


# ---- any order of facts ------------------------------------------------------------------------------------------

SPEECH = st.sampled_from([
    ev.SpeechStarted(1), ev.SpeechPaused(1, 140), ev.SpeechResumed(1), ev.TurnEnded(1, 550), ev.SpeechSuspected(),
    ev.SuspicionPassed(), ev.OverlapConfirmed("x", 1), ev.OverlapDismissed("x", 1),
])  # fmt: skip
CLIENT = st.sampled_from([
    ev.AudioCommitted(), ev.AudioCleared(), ev.ReplyRequested(), ev.ReplyCancelled(), ev.HistoryChanged("x"),
    ev.SayRequested("x"), ev.AnswersSwitched(on=False), ev.AnswersSwitched(on=True),
    ev.InterruptionsSwitched(on=False), ev.InterruptionsSwitched(on=True), ev.IdleTimedOut(1, 2),
    ev.ConnectionLost("x"), ev.ConnectionResumed(), ev.AsideBegan(9), ev.AsideEnded(9, "completed"),
])  # fmt: skip


class World:
    """Plays the session's part: tells only facts of replies that were started, in an order that could happen."""

    def __init__(self, drafts: int) -> None:
        self.conversation = Conversation(FsmSettings(drafts_max=drafts))
        self.alive: set[int] = set()
        self.gated: set[int] = set()
        self.held: set[int] = set()
        self.audible: int | None = None
        self.started: set[int] = set()
        self.transcribed: set[int] = set()
        self.asked: set[int] = set()
        self.settled: set[int] = set()

    def obey(self, step: Step) -> None:
        for effect in step.effects:
            match effect:
                case fx.StartReply(reply, _, source, draft):
                    assert reply not in self.alive
                    self.alive.add(reply)
                    if draft:
                        self.gated.add(reply)
                    if source != "speech":
                        self.transcribed.add(reply)
                case fx.ReleaseReply(reply):
                    self.gated.remove(reply)
                case fx.HoldOutput(reply):
                    assert reply in self.alive
                    self.held.add(reply)
                case fx.ResumeOutput(reply):
                    self.held.discard(reply)
                case fx.DropReply(reply) | fx.CancelReply(reply) | fx.FinishReply(reply) | fx.FailReply(reply):
                    assert reply in self.alive
                    self.alive.remove(reply)
                    if self.audible == reply:
                        self.audible = None

    def settle(self, step: Step) -> None:
        """Each turn gets into the history, or is forgotten, once; a function is asked for once."""
        for effect in step.effects:
            match effect:
                case fx.StartReply(turn=turn, source=source, retry_of=retry_of):
                    assert not (source == "speech" and turn in self.settled)
                    assert retry_of not in self.asked
                case fx.CommitTurn(turn) | fx.DropTurn(turn):
                    assert turn not in self.settled
                    self.settled.add(turn)

    def facts(self) -> list[ev.Event]:
        """What the replies under way may report now."""
        out: list[ev.Event] = []
        for n in sorted(self.alive):
            if n not in self.transcribed:
                out += [ev.TranscriptReady(n, 1, "words", "x"), ev.TranscriptReady(n, 0, "empty"),
                        ev.TranscriptReady(n, 1, "backchannel", "x")]  # fmt: skip
            elif n not in self.gated | self.held:
                out.append(ev.PlayoutFinished(n, 1) if n in self.started else ev.ReplyStarted(n))
            if n in self.transcribed - self.gated:
                out += [ev.FunctionRequested(n, "f"), ev.FillerSaid(n, "One moment.", 1200, "model")]
            out.append(ev.SentenceReady(n, 0, 9))
            out += [ev.StageFailed(n, "think", "x", retryable=True), ev.StageFailed(n, "think", "x", retryable=False)]
        return out

    def tell(self, fact: ev.Event) -> Step:
        if isinstance(fact, ev.ReplyStarted):
            assert self.audible is None  # never two replies
            self.audible = fact.reply
            self.started.add(fact.reply)
        if isinstance(fact, ev.FunctionRequested):
            self.asked.add(fact.reply)
        if isinstance(fact, ev.TranscriptReady):
            self.transcribed.add(fact.reply)
        step = self.conversation.handle(fact)
        self.obey(step)
        self.settle(step)
        return step


@settings(max_examples=250, deadline=None)
@given(st.data(), st.integers(0, 3))
def test_no_order_of_facts_makes_two_replies_a_bug_or_no_end(data: st.DataObject, drafts: int) -> None:
    world = World(drafts)
    for _ in range(data.draw(st.integers(1, 40))):
        mine = world.facts()
        fact = data.draw(st.one_of(SPEECH, CLIENT, *([st.sampled_from(mine)] if mine else [])))
        step = world.tell(fact)

        assert step.verdict is not Verdict.BUG, (fact, step)
        assert world.alive == {a.number for a in (world.conversation.reply, world.conversation.draft) if a}
        assert (world.conversation.state in ("thinking", "speaking", "interrupted")) == (
            world.conversation.reply is not None
        )
        if world.conversation.reply is None:
            assert not world.conversation.owed
            assert not world.conversation.talk.beside

    world.tell(ev.SessionClosing("test"))
    assert not world.alive
    assert world.conversation.state == "idle"
    world.conversation.release()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(SPEECH, CLIENT), max_size=30))
def test_the_same_facts_give_the_same_steps(facts: list[ev.Event]) -> None:
    def run() -> list[Step]:
        conversation = Conversation()
        steps = [conversation.handle(fact) for fact in facts]
        conversation.release()
        return steps

    assert run() == run()


def test_a_released_conversation_is_not_kept_by_the_shared_machine() -> None:
    before = len(MACHINE.models)
    Conversation().release()

    assert len(MACHINE.models) == before
