"""One conversation: one nursery, one door for facts, one place where orders are carried out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import structlog
import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.dialogue import Dialogue
from aura.core.errors import ProviderError
from aura.core.fsm import Conversation, Step, Verdict
from aura.core.guards import FsmSettings
from aura.core.ports import Kit
from aura.session.client import Client
from aura.session.ears import Ears
from aura.session.replies import Replies, Setup
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
        self.steps = steps
        self.replies = Replies(kit, dialogue, self.ears, setup, self.tell, client.audio, self.say_later, steps)
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
        self.client.moved(step, event)
        for tap in list(self.taps):
            try:
                tap(fact)
            except Exception:
                log.exception("tap.removed", tap=getattr(tap, "__qualname__", repr(tap)))
                self.taps.remove(tap)
        if news and isinstance(event, ev.TranscriptReady) and step.verdict is not Verdict.LATE:
            self.listener.hint(event.text)
        if self._says and self.conversation.state == "idle" and not self.conversation.closed:
            self.tell(ev.SayRequested(self._says.popleft()))
        return step

    def _is_news(self, event: ev.Event) -> bool:
        """Whether these are the words of what is being said now, and not of the turn that is being answered."""
        reply = self.replies.running.get(event.reply) if isinstance(event, ev.TranscriptReady) else None
        return reply is not None and reply.order.turn == self.conversation.turn

    def _carry_out(self, effect: fx.Effect) -> None:  # noqa: C901  (a table: one case per order)
        now = trio.current_time()
        nursery, client, replies = self.nursery, self.client, self.replies
        assert nursery
        match effect:
            case fx.OpenTurn(turn, at_ms, tentative):
                self.ears.open(turn, nursery)
                client.speech(turn, at_ms, tentative=tentative)
            case fx.ConfirmTurn(turn):
                client.speech_confirmed(turn)
            case fx.DropTurn(turn):
                self.ears.drop(turn)
            case fx.EndTurn(turn, at_ms):
                client.turn_ended(turn, at_ms if at_ms >= 0 else self.listener.taker.position_ms)
                if at_ms < 0:
                    self.ears.end(turn)
            case fx.CommitTurn(turn):
                if turn not in self.ears:
                    self.ears.open_manual(turn, nursery)
                    client.committed(turn)
                self.ears.commit(turn)
                self.steps.spawn(nursery, self._commit, turn)
            case fx.StartReply():
                client.reply_begins(effect)
                replies.start(effect, nursery)
            case fx.ReleaseReply(reply):
                replies.running[reply].gate.change(released=True)
            case fx.Respond(reply, turn):
                self._respond(reply, turn)
            case fx.DropReply(reply):
                self._remember(reply, now)
                replies.end(reply)
            case fx.CancelReply(reply, reason):
                self._close_reply(reply, now, lambda heard, ms: client.cancelled(reply, reason, heard, ms))
            case fx.FinishReply(reply):
                self._close_reply(reply, now, lambda *_: client.finished(reply))
            case fx.FailReply(reply, code):
                self._close_reply(reply, now, lambda *_: client.failed(reply, code))
            case fx.BrakeOutput(reply):
                replies.running[reply].gate.change(braked=True)
            case fx.UnbrakeOutput(reply):
                replies.running[reply].gate.change(braked=False)
            case fx.HoldOutput(reply):
                replies.running[reply].gate.change(held=True)
                if client.hold(reply):
                    replies.running[reply].clock.pause(now)
            case fx.ResumeOutput(reply):
                replies.running[reply].clock.resume(now)
                replies.running[reply].gate.change(held=False, braked=False)
                client.resume(reply, replies.running[reply].heard(now)[1])
            case fx.Postpone(text):
                self._says.append(text)
            case fx.Refuse(code):
                client.refused(code, self.conversation.reply.number if self.conversation.reply else 0)
            case fx.Close(why):
                client.closing(why)
                nursery.cancel_scope.cancel()

    def _respond(self, number: int, turn: int) -> None:
        reply = self.replies.running[number]
        if reply.order.source == "speech":
            self.dialogue.user(turn, reply.question)
            self.client.transcript(turn, reply.question, self.ears.seconds(turn))
            self.ears.settle(turn, reply.question)
        self.dialogue.assistant_began(number, turn)
        self.client.responding(number, turn)

    def _close_reply(self, number: int, now: float, tell_client: Callable[[str, int], None]) -> None:
        reply = self.replies.running.get(number)
        if reply is not None:
            self.replies.rest = reply.unsaid(now)
            self._remember(number, now)
            self.replies.end(number)
            tell_client(*reply.heard(now))

    def _remember(self, number: int, now: float) -> None:
        """What was heard of a reply belongs to the history, however it ends."""
        reply = self.replies.running.get(number)
        if reply is not None and reply.sent:
            heard, full = reply.heard(now)[0], "".join(p.text for p in reply.phrases)
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

    def truncate(self, number: int, audio_end_ms: int) -> str:
        """The client says that only this much of a reply was heard; returns the words that were."""
        heard = self.replies.heard_until(number, audio_end_ms)
        self.dialogue.heard(number, heard)
        return heard

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
