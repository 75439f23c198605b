"""Speech over `multi-stream-input`: one socket for several sentences, each a context of its own.

Source: elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input and
LiveKit agents, Nov 2026. A sixth open context makes the engine close the socket, and closing is confirmed late: a
context counts until its final reply. Whether the engine says that a sentence is complete depends on its version, so
any of `isFinal`, `flush_done`, and silence after the last word will do.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import count
from typing import Any
from urllib.parse import quote

import msgspec
import trio

from aura.core.aligning import Times
from aura.core.errors import ProviderError, RateLimited, StreamCut, TimedOut
from aura.core.ports import SpeechChunk, SpeechRequest
from aura.providers.elevenlabs.common import Account, VoiceInfo, timed
from aura.providers.elevenlabs.errors import from_message, from_status
from aura.providers.elevenlabs.settings import ElevenLabsSettings
from aura.providers.http import Http
from aura.providers.socket_voice import Patience, SocketVoice, opened
from aura.providers.sockets import Link, PoolLimits, Sentence, SocketPool
from aura.providers.vitals import Left
from aura.providers.ws import Ws, WsLimits, connect

INACTIVITY_MARGIN_S = 10
"""The engine shall not be the one that hangs up."""
MOST_FINISHING_S = 180
decode = msgspec.json.Decoder(dict[str, Any]).decode


class Context(Sentence):
    """One sentence under way, and the engine's name for it."""

    def __init__(self, id: str, text: str, name: str, settings: ElevenLabsSettings) -> None:  # noqa: A002
        super().__init__(name, settings.rate_hz, settings.max_sentence_s)
        self.id, self.times = id, Times(text)
        self.closing = self.flushed = False
        self.overdue_at = float("inf")

    @property
    def said(self) -> bool:
        """Whether all that should come has come, as far as can be told without the engine's word."""
        return self.flushed or (self.samples > 0 and self.times.covered)


class ElevenLabsLink(Link):
    """One socket to one voice."""

    def __init__(self, ws: Ws, account: Account) -> None:
        super().__init__(ws, account.settings.contexts_max)
        self._account, self._settings = account, account.settings
        self._contexts: dict[str, Context] = {}
        self._numbers = count(1)

    def begin(self, request: SpeechRequest) -> Context:
        """A context of its own for every sentence."""
        context = Context(f"s{next(self._numbers)}", request.text, self.ws.name, self._settings)
        self._contexts[context.id] = context
        return context

    async def send(self, sentence: Sentence, request: SpeechRequest) -> None:
        """Open the context, and the text with the order to speak it at once."""
        assert isinstance(sentence, Context)
        opening: dict[str, Any] = {"text": " ", "context_id": sentence.id}
        if chosen := self._account.voice_settings(request):
            opening["voice_settings"] = chosen
        await self.tell(opening)
        await self.tell({"text": f"{request.text.strip()} ", "context_id": sentence.id, "flush": True})

    async def next(self, sentence: Sentence, deadline: float) -> SpeechChunk | None:
        """The next audio. A short silence after the last word is the end: the context is closed, its rest awaited."""
        assert isinstance(sentence, Context)
        while not sentence.closing:
            if not sentence.said:
                chunk = await sentence.next(deadline)
                if chunk is not None or sentence.over:
                    return chunk
                continue
            try:
                return await sentence.next(trio.current_time() + self._settings.settle_s)
            except TimedOut:
                with suppress(ProviderError):  # the socket has ended, but so has the sentence
                    await self._close(sentence)
            except StreamCut:
                return None
        return await sentence.next(deadline)

    async def leave(self, sentence: Sentence) -> None:
        """Close the context; its place is free when the engine confirms it."""
        assert isinstance(sentence, Context)
        sentence.drop()
        if sentence.id in self._contexts and not sentence.closing:
            await self._close(sentence)

    async def _close(self, context: Context) -> None:
        context.closing = True
        context.overdue_at = trio.current_time() + self._settings.close_timeout_s
        self.look_at(min(other.overdue_at for other in self._contexts.values()))
        await self.tell({"context_id": context.id, "close_context": True})

    def take(self, message: str | bytes) -> None:
        """Audio goes to its context; what belongs to none any more is dropped."""
        told = self.read(decode, message)
        context = self._contexts.get(str(told.get("contextId") or told.get("context_id") or ""))
        if told.get("error"):
            error = from_message(self.ws.name, told)
            if context is None:
                raise error
            context.fail(error)
        elif context is not None:
            self._take(context, told)

    def _take(self, context: Context, told: dict[str, Any]) -> None:
        if not context.over:
            try:
                audio = base64.b64decode(told.get("audio") or "")
            except (binascii.Error, ValueError, TypeError):
                context.fail(StreamCut(f"{self.ws.name}: broken audio", provider=self.ws.name))
                return
            alignment = told.get("alignment") or told.get("normalizedAlignment") or told.get("normalized_alignment")
            context.put(audio, context.times.push(timed(alignment), context.sounded_s, relative=True))
        if told.get("isFinal") or told.get("is_final"):
            self._final(context)
        elif told.get("type") == "flush_done":
            context.finish(context.times.finish())

    def _final(self, context: Context) -> None:
        """The engine is done with it."""
        context.finish(context.times.finish())
        del self._contexts[context.id]
        self.look_at(min((other.overdue_at for other in self._contexts.values()), default=float("inf")))
        self.free()

    def overdue(self, now: float) -> None:
        """Contexts whose end is not confirmed may still count at the engine: this socket gets no more sentences."""
        self.retire(RateLimited(f"{self.ws.name}: closed contexts stay open", provider=self.ws.name))
        for context in [context for context in self._contexts.values() if context.overdue_at <= now]:
            self._final(context)

    def fail(self, error: ProviderError) -> None:
        """The socket has ended."""
        for context in self._contexts.values():
            context.fail(error)
        self._contexts.clear()


class ElevenLabsVoice:
    """A voice over WebSockets."""

    def __init__(self, settings: ElevenLabsSettings, http: Http, name: str) -> None:
        self.name, self.model = name, settings.tts_model
        self._settings = settings
        self._account = Account(settings, http, name)
        limits = PoolLimits(
            sockets_max=settings.sockets_max,
            idle_s=settings.socket_idle_s,
            age_s=settings.socket_age_s,
            wait_s=settings.connect_timeout_s,
        )
        self.pool: SocketPool[ElevenLabsLink] = SocketPool(name, self._connect, limits, settings.contexts_max)
        patience = Patience(settings.first_audio_timeout_s, settings.stall_timeout_s)
        self._voice = SocketVoice(name, self.pool, patience, self._account.slot)

    @property
    def left(self) -> Left:
        """What the account may still use."""
        return self._account.left

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Stream a sentence; unknown voices speak as the default one."""
        return self._voice.speak(self._account.voice_id(request.voice), request)

    async def warm(self) -> None:
        """Open a socket to the default voice in advance; a failure shows at the first sentence."""
        await self._voice.warm(self._settings.voice)

    async def probe(self) -> None:
        """Find out whether key and server are good, without generating anything."""
        await self._account.probe()

    async def list_voices(self) -> list[VoiceInfo]:
        """All voices of the account."""
        return await self._account.list_voices()

    @asynccontextmanager
    async def _connect(self, voice: str) -> AsyncIterator[ElevenLabsLink]:
        settings, account = self._settings, self._account
        query = account.query() | {"model_id": settings.tts_model, "auto_mode": "true", "sync_alignment": "true"}
        query["inactivity_timeout"] = str(min(MOST_FINISHING_S, int(settings.socket_idle_s) + INACTIVITY_MARGIN_S))
        if settings.language:
            query["language_code"] = settings.language
        if settings.normalization != "auto":
            query["apply_text_normalization"] = settings.normalization
        path = f"/v1/text-to-speech/{quote(voice, safe='')}/multi-stream-input"
        limits = WsLimits(connect_s=settings.connect_timeout_s)
        async with connect(
            account.endpoint, path, query, account.headers, name=self.name, limits=limits, refusal=from_status
        ) as ws:
            account.learn(ws.headers)
            yield ElevenLabsLink(ws, account)


def open_tts(
    settings: ElevenLabsSettings, http: Http, *, name: str = "elevenlabs"
) -> AbstractAsyncContextManager[ElevenLabsVoice]:
    """The factory of `aura.providers.registry`."""
    return opened(ElevenLabsVoice(settings, http, name))
