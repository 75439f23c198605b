"""Makes a reply: think → phrase → speak → playout as tasks of one nursery, or think → display for one that is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import structlog
import trio

from aura.core import events as ev
from aura.core.data import Chunk, Phrase
from aura.core.errors import ProviderError
from aura.core.ports import Kit
from aura.core.sentences import SentenceSplitter
from aura.session.client import Client
from aura.session.pipes import open_pipe
from aura.session.reply import Reply
from aura.session.steps import Steps
from aura.stages.display import display
from aura.stages.filler import Filler
from aura.stages.phrase import phrase
from aura.stages.playout import playout
from aura.stages.speak import speak

log = structlog.get_logger()

Think = Callable[[Reply, trio.MemorySendChannel[str]], Awaitable[None]]
"""Puts the reply's text into the channel."""


class Producer:
    """Makes replies with the engines of one conversation; facts about them go to `tell`."""

    def __init__(self, kit: Kit, client: Client, steps: Steps, tell: Callable[[ev.Event], Any]) -> None:
        self.kit, self.client, self.steps, self.tell = kit, client, steps, tell

    async def produce(self, reply: Reply, think: Think, filler: Filler | None = None) -> None:
        """Make the reply; returns when it was heard to its end or a stage has failed. `filler` bridges long waits."""
        words_in, words_out = open_pipe("words")
        async with trio.open_nursery() as nursery:
            guarded = partial(self.steps.spawn, nursery, self.guard, reply)
            guarded("think", think, reply, words_in)
            if reply.written:
                guarded("display", display, words_out, reply.gate, partial(self._show, reply), self.tell,
                        reply.order.reply)  # fmt: skip
            else:
                self._voice(reply, words_out, guarded, filler)

    def _voice(
        self,
        reply: Reply,
        words: trio.MemoryReceiveChannel[str],
        guarded: Callable[..., None],
        filler: Filler | None,
    ) -> None:
        """The stages from text to audio."""
        sentences_in, sentences_out = open_pipe("sentences")
        voice_in, voice_out = open_pipe("voice")
        number, setup, gate = reply.order.reply, reply.setup, reply.gate
        engine = self.kit.backup_tts if reply.order.source == "apology" else self.kit.tts

        def note(piece: Phrase) -> None:
            reply.phrases.append(piece)
            if piece.filler and filler:
                self.tell(filler.fact(number, piece.text))
            else:
                self.tell(ev.SentenceReady(number, piece.index, len(piece.text)))

        async def ready() -> None:
            if setup.reply.draft_depth != "tts":
                await gate.wait_released()

        async def send(chunk: Chunk) -> None:
            await self.client.audio(reply, chunk)

        guarded("phrase", phrase, words, sentences_in, SentenceSplitter(setup.sentences), note, filler)
        guarded(
            "speak", speak, sentences_out, voice_in, engine, setup.output,
            setup.playout.chunk_ms, setup.speak, ready, reply.ledger.expect, self.tell, number,
        )  # fmt: skip
        guarded("playout", playout, voice_out, gate, reply.clock, send, self.tell, number)

    async def _show(self, reply: Reply, piece: Phrase) -> None:
        reply.phrases.append(piece)
        await self.client.text(reply, piece.text)

    async def guard(self, reply: Reply, stage: str, run: Callable[..., Awaitable[None]], *args: Any) -> bool:
        """The one place where a stage's failure becomes a fact."""
        number = reply.order.reply
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
            if stage in ("playout", "display"):  # nobody else can say that it is over
                await reply.gate.wait_unheld()
                self.tell(ev.PlayoutFinished(number, 0))
        else:
            return True
        return False
