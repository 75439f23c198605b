"""Replies: each has a number, a gate and one cancel scope; what belongs to it dies with the scope.

A reply runs transcribe → think → phrase → speak → playout as tasks of one nursery. Cancelling the scope ends them and
their pipes; nothing is drained. A draft runs the same way behind a closed gate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal

import msgspec
import structlog
import trio

from aura.core import effects as fx
from aura.core import events as ev
from aura.core.audio import AudioFormat
from aura.core.data import Chunk, Phrase
from aura.core.dialogue import Dialogue
from aura.core.errors import ProviderError
from aura.core.heard import Ledger
from aura.core.overlap import classify
from aura.core.pacing import PlayClock, PlayoutSettings
from aura.core.ports import ChatRequest, Kit, ToolCall
from aura.core.sentences import SentenceSettings, SentenceSplitter
from aura.session.ears import Ears
from aura.session.pipes import open_pipe
from aura.session.steps import Steps
from aura.stages.phrase import phrase
from aura.stages.playout import Gate, playout
from aura.stages.speak import SpeakSettings, speak
from aura.stages.think import ThinkSettings, think

log = structlog.get_logger()


class ReplySettings(msgspec.Struct, frozen=True):
    """How replies are made."""

    instructions: str = (
        "You are a friendly voice assistant. Your words are spoken aloud: answer briefly, in plain sentences, without "
        "markdown, lists or emoji."
    )
    """What the model is told about its part."""
    draft_depth: Literal["stt", "llm", "tts"] = "tts"
    """How far a draft may go before the turn has really ended: transcribe, ask the model, or make the audio too."""
    apology: str = "Sorry, something went wrong on my side. Could you say that again?"
    """Spoken when a reply failed for good."""
    max_tokens: int = 0
    """Longest answer in tokens; 0 leaves it to the model."""


class Setup(msgspec.Struct, frozen=True):
    """Everything the stages of a reply are set up with."""

    reply: ReplySettings = ReplySettings()
    think: ThinkSettings = ThinkSettings()
    speak: SpeakSettings = SpeakSettings()
    playout: PlayoutSettings = PlayoutSettings()
    sentences: SentenceSettings = SentenceSettings()
    output: AudioFormat = AudioFormat("pcm16", 24_000)


class Reply:
    """One reply under way."""

    def __init__(self, order: fx.StartReply, setup: Setup) -> None:
        self.order, self.setup = order, setup
        self.scope = trio.CancelScope()
        self.gate = Gate(released=not order.draft)
        self.clock = PlayClock(setup.playout)
        self.ledger = Ledger(setup.output.rate_hz)
        self.question = ""
        """The words it answers."""
        self.phrases: list[Phrase] = []
        self.sent = 0
        """How many of them the client was sent, at least in part."""
        self.complete = False
        """Whether the model has said all it had to say."""

    def heard(self, at: float) -> tuple[str, int]:
        """The words that were heard so far, and their milliseconds."""
        position = self.clock.heard(at)
        return self.ledger.heard(round(position * self.setup.output.rate_hz)).text, round(position * 1000)

    def said(self) -> str:
        """All that the client was sent."""
        return "".join(p.text for p in self.phrases[: self.sent])

    def unsaid(self, at: float) -> str:
        """What is left, from the sentence on in which the reply was cut off; nothing if the model was cut off too."""
        if not self.complete:
            return ""
        heard = self.ledger.heard(round(self.clock.heard(at) * self.setup.output.rate_hz))
        first = heard.sentence + 1 if heard.complete else heard.sentence
        return "".join(p.text for p in self.phrases[max(0, first) :]).strip()


class Replies:
    """Starts, gates and ends replies. The session gives the orders."""

    def __init__(
        self,
        kit: Kit,
        dialogue: Dialogue,
        ears: Ears,
        setup: Setup,
        tell: Callable[[ev.Event], Any],
        send: Callable[[Reply, Chunk], Awaitable[None]],
        say_later: Callable[[float, str], Callable[[], None]],
        steps: Steps,
    ) -> None:
        self.kit, self.dialogue, self.ears, self.setup = kit, dialogue, ears, setup
        self.tell, self.send = tell, send
        self.say_later, self.steps = say_later, steps
        self.running: dict[int, Reply] = {}
        self._ended: deque[Reply] = deque(maxlen=4)
        self.rest = ""
        """What the last cancelled reply left unsaid."""

    def start(self, order: fx.StartReply, nursery: trio.Nursery) -> Reply:
        """Begin a reply in the session's nursery."""
        reply = self.running[order.reply] = Reply(order, self.setup)
        self.steps.spawn(nursery, self._run, reply)
        return reply

    def end(self, number: int) -> Reply | None:
        """Cancel what is left of a reply and forget it; returns its books."""
        reply = self.running.pop(number, None)
        if reply:
            if reply.sent:
                self._ended.append(reply)
            reply.scope.cancel()
        return reply

    def heard_until(self, number: int, ms: int) -> str:
        """The words in the first `ms` of a reply, also of one that ended not long ago."""
        replies = [*self._ended, *self.running.values()]
        reply = next((r for r in replies if r.order.reply == number), None)
        return reply.ledger.heard(ms * reply.setup.output.rate_hz // 1000).text if reply else ""

    def recent_words(self) -> str:
        """What the assistant is saying, for telling its echo from the user."""
        return " ".join(reply.said() for reply in self.running.values() if reply.sent)

    # ---- one reply

    async def _run(self, reply: Reply) -> None:
        number = reply.order.reply
        with structlog.contextvars.bound_contextvars(turn=reply.order.turn, reply=number), reply.scope:
            if reply.order.source == "speech" and not await self._guard(number, "transcribe", self._hear, reply):
                return
            if self.setup.reply.draft_depth == "stt":
                await reply.gate.wait_released()
            await self._produce(reply)

    async def _hear(self, reply: Reply) -> None:
        order = reply.order
        transcript = await self.ears.words(order.turn, final=reply.gate.released)
        reply.question = transcript.text.strip()
        kind = classify(reply.question, self.recent_words(), self.ears.listener.overlap.settings)
        self.tell(ev.TranscriptReady(order.reply, len(reply.question.split()), kind, reply.question))
        await trio.lowlevel.checkpoint()  # the table may have ended this reply

    async def _produce(self, reply: Reply) -> None:
        words_in, words_out = open_pipe("words")
        sentences_in, sentences_out = open_pipe("sentences")
        voice_in, voice_out = open_pipe("voice")
        number, setup, gate = reply.order.reply, self.setup, reply.gate
        engine = self.kit.backup_tts if reply.order.source == "apology" else self.kit.tts

        def note(piece: Phrase) -> None:
            reply.phrases.append(piece)
            self.tell(ev.SentenceReady(number, piece.index, len(piece.text)))

        async def ready() -> None:
            if setup.reply.draft_depth != "tts":
                await gate.wait_released()

        async def send(chunk: Chunk) -> None:
            await self.send(reply, chunk)

        async with trio.open_nursery() as nursery:
            guarded = partial(self.steps.spawn, nursery, self._guard, number)
            guarded("think", self._think, reply, words_in)
            guarded("phrase", phrase, words_out, sentences_in, SentenceSplitter(setup.sentences), note)
            guarded(
                "speak", speak, sentences_out, voice_in, engine, setup.output,
                setup.playout.chunk_ms, setup.speak, ready, reply.ledger.expect, self.tell, number,
            )  # fmt: skip
            guarded("playout", playout, voice_out, gate, reply.clock, send, self.tell, number)

    async def _think(self, reply: Reply, words: trio.MemorySendChannel[str]) -> None:
        order = reply.order
        texts = {"say": order.text, "apology": self.setup.reply.apology, "rest": self.rest}
        if text := texts.get(order.source):
            with words:
                await words.send(text)
            reply.complete = True
            return
        await self.ears.all_committed()
        tools = self.kit.toolbox.tools()
        messages = self.dialogue.preview(order.turn, reply.question) if reply.question else self.dialogue.messages()
        request = ChatRequest(messages, tools, self.setup.reply.max_tokens or None)

        async def run_tool(call: ToolCall) -> str:
            await reply.gate.wait_released()  # a draft has no side effects
            result = await self.kit.toolbox.call(call, self)
            self.dialogue.tool(order.reply, order.turn, call, result)
            return result

        await think(request, words, self.kit.chat, run_tool, self.setup.think, self.tell, order.reply)
        reply.complete = True

    async def _guard(self, number: int, stage: str, run: Callable[..., Awaitable[None]], *args: Any) -> bool:
        """The one place where a stage's failure becomes a fact."""
        try:
            await run(*args)
        except ProviderError as error:
            shown = "text" if error.code == "bad_request" else "error"  # a refusal may quote what was said
            log.warning("stage.failed", stage=stage, provider=error.provider, code=error.code, **{shown: str(error)})
            self.tell(ev.StageFailed(number, stage, error.code, error.retryable, error.provider))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the next stage is gone: it has told why
        except Exception:
            log.exception("stage.crashed", stage=stage)
            self.tell(ev.StageFailed(number, stage, "internal", retryable=False))
            if stage == "playout" and number in self.running:  # nobody else can say that it is over
                await self.running[number].gate.wait_unheld()
                self.tell(ev.PlayoutFinished(number, 0))
        else:
            return True
        return False
