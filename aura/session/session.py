"""One conversation: one nursery, one door for facts, one place where orders are carried out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog
import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.audio import AudioFormat
from aura.core.dialogue import Dialogue
from aura.core.errors import ProviderError, TimedOut
from aura.core.fsm import Conversation, Step, Verdict
from aura.core.guards import FsmSettings
from aura.core.ports import Kit
from aura.session.client import Client
from aura.session.ears import Ears
from aura.session.replies import Replies
from aura.session.reply import Reply
from aura.session.setup import Setup
from aura.session.steps import Steps
from aura.stages.listen import Listener

log = structlog.get_logger()


class Fact(msgspec.Struct, frozen=True):
    """An event as it passed through `tell`, with its consequences: what taps see."""

    n: int
    at: float
    """Seconds since the session began."""
    event: ev.Event
    step: Step
    turn: int


Tap = Callable[[Fact], None]


class SessionSettings(msgspec.Struct, frozen=True):
    """The conversation as a whole."""

    greeting: str = ""
    """Said when a conversation begins; empty: AURA waits for the user."""
    says_max: int = 16
    """How many announcements (timers) may wait for silence."""
    max_s: float = 3600.0
    """The longest conversation; then the client is told so and disconnected with 1001. 0: no limit."""
    faults_per_minute: int = 120
    """A client that sends more messages that cannot be obeyed is disconnected with 1008. 0: no limit."""
    responses_per_minute: int = 0
    """So many replies may be asked of the model in one conversation; 0: no limit. The client is told what is left."""
    tokens_per_minute: int = 0
    """So many tokens; 0: no limit."""
    asides_max: int = 4
    """Responses outside the conversation (`conversation: none`) that may be made at a time."""
    keep_audio_kb: int = 128
    """Sound of the last items that is kept for clients that ask for an item with its audio, in kilobytes."""
    farewell_s: float = 1.0
    """When a conversation is ended, the client's last messages get this long to leave."""


class Session:
    """A conversation under way. Everything that happens to it goes through `tell`."""

    def __init__(
        self,
        kit: Kit,
        client: Client,
        dialogue: Dialogue,
        make_listener: Callable[[Callable[[ev.Event], Step], Callable[[], str]], Ears],
        setup: Setup,
        settings: tuple[FsmSettings, SessionSettings],
        taps: Sequence[Tap],
        steps: Steps,
    ) -> None:
        self.conversation = Conversation(settings[0])
        self.settings = settings[1]
        self.client, self.dialogue = client, dialogue
        self.ears = make_listener(self.tell, lambda: self.conversation.state)
        self.ears.words_so_far = client.words
        self.steps = steps
        self.replies = Replies(kit, dialogue, self.ears, setup, client, self.tell, self, steps)
        self.taps = list(taps)
        self.nursery: trio.Nursery | None = None
        self._says: deque[str] = deque(maxlen=self.settings.says_max)
        self._began = trio.current_time()
        self._facts = 0

    @property
    def listener(self) -> Listener:
        """Where the user's audio goes."""
        return self.ears.listener

    # ---- the one door

    def tell(self, event: ev.Event) -> Step:
        """A fact: stamp it, decide it, carry out the consequences, tell the taps. Never waits."""
        at = trio.current_time() - self._began
        news = self._is_news(event)
        step = self.conversation.handle(event)
        self._facts += 1
        fact = Fact(self._facts, at, event, step, self.conversation.turn)
        for effect in step.effects:
            self._carry_out(effect)
        self.replies.tools.settle()
        self.client.moved(step, event)
        for tap in list(self.taps):
            try:
                tap(fact)
            except Exception:
                log.exception("tap.removed", tap=getattr(tap, "__qualname__", repr(tap)))
                self.taps.remove(tap)
        if news and isinstance(event, ev.TranscriptReady) and step.verdict is not Verdict.LATE:
            self.listener.hint(event.text)
            if event.kind == "words":
                self.client.words(self.conversation.turn, event.text)
        if self._says and self.conversation.state == "idle" and not self.conversation.closed:
            self.tell(ev.SayRequested(self._says.popleft()))
        return step

    def _is_news(self, event: ev.Event) -> bool:
        """Whether these are the words of what is being said now, and not of the turn that is being answered."""
        reply = self.replies.running.get(event.reply) if isinstance(event, ev.TranscriptReady) else None
        return reply is not None and reply.order.turn == self.conversation.turn

    def _carry_out(self, effect: fx.Effect) -> None:  # noqa: C901  (a table: one case per order)
        now = trio.current_time()
        client, replies = self.client, self.replies
        assert self.nursery
        match effect:
            case fx.StartReply():
                client.reply_begins(effect)
                replies.start(effect, self.nursery)
            case fx.Respond(reply, turn):
                self._respond(reply, turn)
            case fx.DropReply(reply):
                self._remember(reply, now)
                replies.end(reply)
            case fx.CancelReply(reply, reason):
                self._close_reply(reply, now, lambda books: client.cancelled(books, reason, *books.heard(now)))
            case fx.FinishReply(reply):
                self._close_reply(reply, now, client.finished)
            case fx.FailReply(reply, code):
                self._close_reply(reply, now, lambda books: client.failed(books, code))
            case fx.Suspend():
                self._suspend(now)
            case fx.Restore():
                self._restore(now)
            case fx.Postpone(text):
                self._says.append(text)
            case fx.Refuse(code):
                client.refused(code, self.conversation.reply.number if self.conversation.reply else 0)
            case fx.Close(why):
                client.closing(why)
                self.nursery.cancel_scope.cancel()
            case fx.ReleaseReply() | fx.BrakeOutput() | fx.UnbrakeOutput() | fx.HoldOutput() | fx.ResumeOutput():
                self._gate(effect, now)
            case _:
                self._turn(effect, self.nursery)

    def _gate(self, effect: fx.Effect, now: float) -> None:
        """Orders about what of a reply may be heard."""
        match effect:
            case fx.ReleaseReply(reply):
                self.replies.running[reply].gate.change(released=True)
            case fx.BrakeOutput(reply):
                self.replies.running[reply].gate.change(braked=True)
            case fx.UnbrakeOutput(reply):
                self.replies.running[reply].gate.change(braked=False)
            case fx.HoldOutput(reply):
                self.replies.running[reply].gate.change(held=True)
                if self.client.hold(reply):
                    self.replies.running[reply].clock.pause(now)
            case fx.ResumeOutput(reply):
                self.replies.running[reply].clock.resume(now)
                self.replies.running[reply].gate.change(held=False, braked=False)
                self.client.resume(reply, self.replies.running[reply].heard(now)[1])

    def _turn(self, effect: fx.Effect, nursery: trio.Nursery) -> None:
        """Orders about what the user says."""
        client = self.client
        match effect:
            case fx.OpenTurn(turn, at_ms, tentative):
                self.ears.open(turn, nursery)
                padding_ms = round(self.listener.taker.settings.pre_roll_s * 1000)
                client.speech(turn, at_ms - padding_ms, tentative=tentative)
            case fx.ConfirmTurn(turn):
                client.speech_confirmed(turn)
            case fx.DropTurn(turn):
                self.ears.drop(turn)
            case fx.EndTurn(turn, at_ms, by_client):
                stopped_ms = at_ms if at_ms >= 0 else self.listener.taker.position_ms
                client.turn_ended(turn, None if by_client else stopped_ms)
                client.sound(turn, self.ears.sound(turn))
                if at_ms < 0:
                    self.ears.end(turn)
            case fx.CommitTurn(turn):
                if turn not in self.ears:
                    self.ears.open_manual(turn, nursery)
                    client.committed(turn)
                    client.sound(turn, self.ears.sound(turn))
                self.ears.commit(turn)
                self.steps.spawn(nursery, self._commit, turn)
            case fx.TimeOut(turn, start_ms, end_ms):
                client.timed_out(turn, start_ms, end_ms)

    def _respond(self, number: int, turn: int) -> None:
        reply = self.replies.running[number]
        reply.spent.heard_s = self.ears.take_unanswered()
        if reply.order.source == "speech":
            seconds = self.ears.seconds(turn)
            reply.spent.heard_s += seconds
            self.dialogue.user(turn, reply.question)
            self.client.transcript(turn, reply.question, seconds)
            self.ears.settle(turn, reply.question)
        self.dialogue.assistant_began(number, turn)
        self.client.responding(reply, turn)

    def _close_reply(self, number: int, now: float, tell_client: Callable[[Reply], None]) -> None:
        reply = self.replies.running.get(number)
        if reply is not None:
            self.replies.past.rest = reply.unsaid(now)
            self._remember(number, now)
            self.replies.end(number)
            tell_client(reply)

    def _suspend(self, now: float) -> None:
        """The client is away: nothing is sent, and the silence that now comes in is not the user's."""
        self.replies.away = self.listener.away = True
        for reply in self.replies.running.values():
            reply.gate.change(away=True)
            reply.clock.pause(now)

    def _restore(self, now: float) -> None:
        """The client is back."""
        state = self.conversation.state
        self.client.restored(list(self.replies.running.values()))
        self.client.post(self.client.view.state(state, state, "ConnectionResumed"))
        self.replies.away = False
        self.listener.back()
        for number, reply in self.replies.running.items():
            reply.gate.change(away=False)
            if reply.gate.held and self.client.hold(number):
                reply.clock.pause(now)

    def _remember(self, number: int, now: float) -> None:
        """What was heard of a reply belongs to the history, however it ends."""
        reply = self.replies.running.get(number)
        if reply is not None and reply.sent:
            heard, full = reply.answered(now), reply.answer()
            self.dialogue.assistant(number, reply.order.turn, full, heard, interrupted=heard.split() != full.split())

    async def _commit(self, turn: int) -> None:
        """Transcribe an utterance into the history without answering it."""
        try:
            text = (await self.ears.words(turn, final=True)).text
            self.dialogue.user(turn, text)
            self.client.transcript(turn, text, self.ears.seconds(turn))
        except ProviderError as error:
            self.client.transcript_failed(turn, error.code, str(error))
        finally:
            self.ears.committed(turn)
            self.ears.close(turn)

    def truncate(self, number: int, audio_end_ms: int) -> str | None:
        """The client says that only this much of a reply was heard; returns the words that were, if that is known."""
        reply = self.replies.known(number)
        if reply is None:
            return None
        heard, answer = reply.heard_until(audio_end_ms)
        self.dialogue.heard(number, answer)
        return heard

    def hear_item(self, turn: int, audio: list[bytes], written: AudioFormat, known: Callable[[str], object]) -> None:
        """Transcribe sound that the client put into an item; replies wait for its words. `turn` stands for it."""
        self.ears.commit(turn)
        if self.nursery:
            self.steps.spawn(self.nursery, self._hear_item, turn, audio, written, known)

    async def _hear_item(
        self, turn: int, audio: list[bytes], written: AudioFormat, known: Callable[[str], object]
    ) -> None:
        try:
            with trio.move_on_after(self.ears.settings.answer_s):
                text = await self.ears.listen_to(audio, written)
                known(text)
                self.client.transcript(turn, text, written.seconds_in(sum(map(len, audio))))
                return
            raise TimedOut("the recogniser gave no answer in time", provider=self.ears.stt.name)
        except ProviderError as error:
            self.client.transcript_failed(turn, error.code, str(error))
        finally:
            self.ears.committed(turn)

    def say_later(self, after_s: float, text: str) -> Callable[[], None]:
        """Speak `text` then, when nobody has the floor; returns a function that calls it off."""
        scope = trio.CancelScope()

        async def wait() -> None:
            with scope:
                await trio.sleep(after_s)
                self.tell(ev.SayRequested(text))

        if self.nursery:
            self.steps.spawn(self.nursery, wait)
        return scope.cancel
