"""sentences → audio in the client's format. The voice pipe lets it run up to three seconds ahead of the listener."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import trio

from aura.core import events as ev
from aura.core.audio import AudioFormat, Converter
from aura.core.data import Chunk, Phrase
from aura.core.errors import TimedOut
from aura.core.ports import SpeechRequest, TextToSpeech, WordTime


class SpeakSettings(msgspec.Struct, frozen=True):
    """Voice and patience."""

    voice: str = "alloy"
    """Name of the voice; what is possible depends on the engine."""
    more_voices: tuple[str, ...] = ()
    """Names that clients may ask for besides those of OpenAI and xAI; unknown ones are refused. (A compatible server is
    asked for any.)"""
    speed: float = 1.0
    """Speaking rate, 0.25 to 1.5."""
    first_audio_s: float = 6.0
    """Longest wait for the first audio of a sentence."""
    stall_s: float = 6.0
    """Longest wait between two pieces of audio."""


async def speak(
    sentences: trio.MemoryReceiveChannel[Phrase],
    voice: trio.MemorySendChannel[Chunk],
    engine: TextToSpeech,
    out: AudioFormat,
    chunk_ms: int,
    settings: SpeakSettings,
    ready: Callable[[], Awaitable[None]],
    made: Callable[[int, int], None],
    tell: Callable[[ev.Event], Any],
    reply: int,
) -> None:
    """Synthesise one sentence after the other, each as it comes.

    `ready` waits until audio may be made at all; `made` learns how many samples a sentence has once it is complete.
    """
    told = False

    def first_audio() -> None:
        nonlocal told
        if not told:
            told = True
            tell(ev.FirstAudioArrived(reply))

    with sentences, voice:
        async for sentence in sentences:
            await ready()
            made(sentence.index, await _say(sentence, voice, engine, out, chunk_ms, settings, first_audio))


async def _say(
    phrase: Phrase,
    voice: trio.MemorySendChannel[Chunk],
    engine: TextToSpeech,
    out: AudioFormat,
    chunk_ms: int,
    settings: SpeakSettings,
    first_audio: Callable[[], None],
) -> int:
    cutter = _Cutter(phrase, out, chunk_ms)
    if not phrase.spoken:
        for chunk in cutter.silent():
            await voice.send(chunk)
        return 0
    request = SpeechRequest(phrase.spoken, settings.voice, settings.speed)
    with trio.CancelScope(deadline=trio.current_time() + settings.first_audio_s) as patience:
        async with engine.speak(request) as pieces:
            async for piece in pieces:
                first_audio()
                patience.deadline = float("inf")  # the pipe may make us wait: that is no stall of the engine
                for chunk in cutter.push(piece.pcm, piece.rate_hz, piece.words):
                    await voice.send(chunk)
                patience.deadline = trio.current_time() + settings.stall_s
    if patience.cancelled_caught:
        raise TimedOut(f"no audio from {engine.name} in time", provider=engine.name)
    for chunk in cutter.finish():
        await voice.send(chunk)
    return cutter.samples


class _Cutter:
    """One sentence's audio: engine format in, equal chunks in the client's format out, the last one marked."""

    def __init__(self, phrase: Phrase, out: AudioFormat, chunk_ms: int) -> None:
        self._phrase, self._out = phrase, out
        self._size = out.bytes_for(chunk_ms)
        self._converter: Converter | None = None
        self._rest = b""
        self._words: tuple[WordTime, ...] = ()
        self._first = True
        self.samples = 0

    def push(self, pcm: bytes, rate_hz: int, words: tuple[WordTime, ...]) -> list[Chunk]:
        if self._converter is None:
            self._converter = Converter(rate_hz, self._out)
        self._words += words
        self._rest += self._converter.push(pcm)
        return self._whole()

    def finish(self) -> list[Chunk]:
        if self._converter is None:
            return self.silent()
        self._rest += self._converter.flush()
        return [*self._whole(), self._chunk(self._rest, last=True)]

    def silent(self) -> list[Chunk]:
        """A sentence that has nothing to be spoken: it is shown when its turn comes."""
        return [self._chunk(b"", last=True)]

    def _whole(self) -> list[Chunk]:
        chunks = []
        while len(self._rest) > self._size:  # one chunk is kept back: it may turn out to be the last
            chunks.append(self._chunk(self._rest[: self._size], last=False))
            self._rest = self._rest[self._size :]
        return chunks

    def _chunk(self, payload: bytes, *, last: bool) -> Chunk:
        samples = len(payload) // self._out.sample_bytes
        self.samples += samples
        words, self._words = self._words, ()
        first, self._first = self._first, False
        return Chunk(payload, samples / self._out.rate_hz, samples, self._phrase, first, last, words)
