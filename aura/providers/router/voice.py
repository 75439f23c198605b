"""The voice of a conversation: a sentence is spoken by one of several, and to its end by another when it must."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec
import trio

from aura.core.audio import AudioFormat, Converter
from aura.core.ports import SpeechChunk, SpeechRequest, TextToSpeech, WordTime
from aura.core.routing.choose import Part
from aura.core.routing.continuing import rest_of
from aura.core.routing.pricing import Usage
from aura.core.speakable import CHARS_PER_S
from aura.providers.cache.voice import CachedVoice
from aura.providers.router.board import Board, Line, Talk
from aura.providers.router.rescue import Leg, Rescue


class RoutedVoice:
    """`TextToSpeech` for one conversation."""

    def __init__(self, board: Board, talk: Talk) -> None:
        self._board, self._talk = board, talk
        self.name = board.name("tts")

    @asynccontextmanager
    async def speak(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        """Stream a sentence, whoever speaks it. One that was kept needs nobody."""
        course = VoiceCourse(self._board, self._talk, request)
        for line in course.lines():
            if isinstance(line.engine, CachedVoice) and (kept := await line.engine.kept(request)):
                yield kept
                return
        async with Rescue(self._board, self._talk, course) as chunks:
            yield chunks


class Asked(msgspec.Struct):
    """What one engine was asked for, and made."""

    chars: int
    made_s: float = 0.0


class VoiceCourse:
    """One sentence."""

    part: Part = "tts"
    room = 8

    def __init__(self, board: Board, talk: Talk, request: SpeechRequest) -> None:
        self._board, self._talk, self._request = board, talk, request
        self._from = 0
        """Where in the text the present engine began."""
        self._from_s = 0.0
        """How much had been spoken by then."""
        self._seconds = 0.0
        self._began_at = 0.0
        """When the first of it was given."""
        self._rate_hz = 0
        self._words: list[WordTime] = []
        self._converter: Converter | None = None
        self._asked: dict[Leg[SpeechChunk], Asked] = {}

    def lines(self) -> list[Line]:
        """Voices that can speak it."""
        return self._board.lines("tts", self._talk, self._board.anything, len(self._request.text))

    def ask(self, leg: Leg[SpeechChunk]) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Ask for the sentence from the word on that was being spoken."""
        engine: TextToSpeech = leg.line.engine
        text = self._request.text[self._from :]
        self._asked[leg] = Asked(len(text))
        return engine.speak(msgspec.structs.replace(self._request, text=text))

    def note(self, leg: Leg[SpeechChunk], item: SpeechChunk) -> bool:
        """Sound is what counts."""
        self._asked[leg].made_s += len(item.pcm) / 2 / item.rate_hz
        return bool(item.pcm)

    def take(self, leg: Leg[SpeechChunk], item: SpeechChunk) -> Iterable[SpeechChunk]:
        """The sound at the rate of the first engine, the words where they stand in the whole sentence."""
        words = tuple(
            WordTime(w.start + self._from, w.end + self._from, w.begin_s + self._from_s, w.end_s + self._from_s)
            for w in item.words
        )
        self._words += words
        self._rate_hz = self._rate_hz or item.rate_hz
        self._began_at = self._began_at or trio.current_time()
        self._seconds += len(item.pcm) / 2 / item.rate_hz
        pcm = item.pcm
        if item.rate_hz != self._rate_hz:
            self._converter = self._converter or Converter(item.rate_hz, AudioFormat("pcm16", self._rate_hz))
            pcm = self._converter.push(pcm)
        return [SpeechChunk(pcm, self._rate_hz, words, leg.line.key)] if pcm or words else []

    def whole(self, leg: Leg[SpeechChunk]) -> bool:
        """Complete when its stream ended well and had sound; else the rest is to be spoken by another."""
        text, spoken_s = self._request.text, self._seconds - self._from_s
        if not leg.failed and leg.first_at is not None:
            return True
        self._converter = None
        if spoken_s:
            mine = [word for word in self._words if word.start >= self._from]
            shifted = [WordTime(w.start - self._from, w.end - self._from, w.begin_s - self._from_s,
                                w.end_s - self._from_s) for w in mine]  # fmt: skip
            self._from += rest_of(text[self._from :], spoken_s, shifted, CHARS_PER_S * self._request.speed)
            self._from_s = self._seconds
        return not text[self._from :].strip()

    def ahead_s(self) -> float:
        """As long as the sound lasts that was given."""
        return self._began_at + self._seconds - trio.current_time() if self._seconds else 0.0

    def rest(self) -> Iterable[SpeechChunk]:
        """What is left in the converter."""
        converter, self._converter = self._converter, None
        pcm = converter.flush() if converter else b""
        return [SpeechChunk(pcm, self._rate_hz)] if pcm else []

    def bill(self, leg: Leg[SpeechChunk], outcome: str) -> None:
        """Voices are paid by the letter, spoken to the end or not, or by the minute that they made."""
        asked = self._asked.get(leg) or Asked(0)
        refused = leg.first_at is None and outcome not in ("ok", "cancelled")
        chars = 0 if refused else asked.chars
        cost = (
            self._board.price(leg.line, Usage(chars=chars, audio_s=asked.made_s or chars / CHARS_PER_S))
            if chars
            else 0.0
        )
        self._board.settle(self._talk, self.part, leg, outcome, cost, "priced" if outcome == "ok" else "guessed")
