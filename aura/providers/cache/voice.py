"""A voice that does not make again what it made before: kept sentences from the disk, those under way shared."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import msgspec
import trio

from aura.core.errors import ProviderError
from aura.core.ports import SpeechChunk, SpeechRequest, TextToSpeech, WordTime
from aura.core.sentences import SentenceSettings, SentenceSplitter
from aura.providers.background import background
from aura.providers.meter import UNMETERED, Meter
from aura.providers.vitals import Left

from .settings import CacheSettings
from .shared import Shared
from .store import AudioStore, Sound, open_store, sound_of

FOLDER = Path("cache") / "audio"
FORM = 1
"""Counted up when the same key would stand for another sound."""
CHARS_PER_S_MAX = 40.0
"""Nobody speaks faster: such a sentence has lost its end and is not kept. (Usual are 12 to 20.)"""
PIECE_S = 0.2
"""Kept sentences are given in pieces: converting one for the client must not keep the event loop."""
SENTENCE_BYTES_MAX = 16 << 20
"""No sentence is so long (3 minutes at 48 kHz): its engine would never end."""


class VoiceCache:
    """What the voices of a process share."""

    def __init__(
        self,
        settings: CacheSettings,
        store: AudioStore | None,
        shared: Shared[SpeechChunk],
        own: Callable[[str], bool],
        meter: Meter = UNMETERED,
    ) -> None:
        self.settings, self.store, self.shared, self.meter = settings, store, shared, meter
        self._own = own

    def wrap(self, inner: TextToSpeech, identity: str = "") -> CachedVoice:
        """The voice with this cache before it. `identity` tells apart what name and model do not: the sound's format,
        instructions how to speak, the voice that stands for unknown ones, the address of a server."""
        return CachedVoice(inner, self, identity)

    def keeps(self, text: str) -> bool:
        """Whether a sentence is kept on disk."""
        if self.store is None or len(text) > self.settings.audio_chars_max:
            return False
        return self.settings.audio == "all" or self._own(text)


class CachedVoice:
    """A text-to-speech engine."""

    def __init__(self, inner: TextToSpeech, cache: VoiceCache, identity: str = "") -> None:
        self.inner, self.name = inner, inner.name
        self.model: str = getattr(inner, "model", "")
        self._cache, self._identity = cache, identity

    @property
    def left(self) -> Left:
        """What the engine says that is left of its limits."""
        found: Left = getattr(self.inner, "left", None) or Left()
        return found

    async def warm(self) -> None:
        """Connect in advance."""
        if warm := getattr(self.inner, "warm", None):
            await warm()

    async def probe(self) -> None:
        """Find out whether the engine is good. Raises ProviderError."""
        if probe := getattr(self.inner, "probe", None):
            await probe()

    def holds(self, request: SpeechRequest) -> bool:
        """Whether the sentence is there, so that it costs nothing and sounds even while the engine is broken."""
        store = self._cache.store
        return store is not None and self._cache.keeps(request.text) and store.holds(self.key(request))

    def key(self, request: SpeechRequest) -> bytes:
        """All that makes the sound of a sentence, as a digest."""
        made_by = (FORM, self.name, self.model, self._identity)
        return sha256(msgspec.msgpack.encode((made_by, request.voice, request.speed, request.text))).digest()

    async def kept(self, request: SpeechRequest) -> Replay | None:
        """The sentence if it is on disk: for a router that need then ask nobody, wait for no slot and pay nothing."""
        store = self._cache.store
        if store is None or not self.holds(request):
            return None
        sound = await store.get(self.key(request))
        if sound is None:
            return None
        self._cache.meter.add("cache_requests", "audio", "hit")
        return Replay(sound)

    @asynccontextmanager
    async def speak(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        """Stream a sentence's audio, from the disk or as it comes."""
        cache, key = self._cache, self.key(request)
        store = cache.store if cache.keeps(request.text) else None
        if (kept := await self.kept(request)) is not None:
            yield kept
            return
        if store is None and not cache.settings.share:
            async with self.inner.speak(request) as chunks:
                yield chunks
            return

        def complete(chunks: list[SpeechChunk]) -> None:
            made = sound_of(chunks) if store is not None else None
            if store is not None and made is not None and plausible(made, request):
                store.put(key, made)

        async with cache.shared.listen(key, lambda: self.inner.speak(request), complete) as listener:
            if store is not None or not listener.began:
                cache.meter.add("cache_requests", "audio", "miss" if listener.began else "shared")
            yield listener

    async def prepare(self, requests: Iterable[SpeechRequest]) -> int:
        """Have sentences made that are kept but not there yet; returns how many were. Failures are no matter."""
        made = 0
        for request in dict.fromkeys(requests):
            if not self._cache.keeps(request.text) or self.holds(request):
                continue
            try:
                async with self.speak(request) as chunks:
                    async for _ in chunks:
                        pass
                made += 1
            except ProviderError:
                return made  # the next one will not go better
        return made


def plausible(sound: Sound, request: SpeechRequest) -> bool:
    """Whether the sound may be all of the text: where a body ends with its connection, an engine cannot know it."""
    seconds = len(sound.pcm) / 2 / sound.heading.rate_hz
    return len(request.text) <= CHARS_PER_S_MAX * max(1.0, request.speed) * seconds


class Replay:
    """A kept sentence as an engine would give it."""

    def __init__(self, sound: Sound) -> None:
        self._sound, self._at = sound, 0
        heading = sound.heading
        self._size = max(1, int(heading.rate_hz * PIECE_S)) * 2
        pieces = -(-len(sound.pcm) // self._size)
        self._words: list[list[WordTime]] = [[] for _ in range(pieces)]
        begins = [piece * self._size / 2 / heading.rate_hz for piece in range(pieces)]
        for word in heading.words:
            self._words[max(0, bisect_right(begins, word.begin_s) - 1)].append(word)

    def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        return self

    async def __anext__(self) -> SpeechChunk:
        await trio.lowlevel.checkpoint()
        if self._at >= len(self._words):
            raise StopAsyncIteration
        number, heading = self._at, self._sound.heading
        self._at += 1
        pcm = self._sound.pcm[number * self._size : self._at * self._size]
        served_by = heading.served_by if number == 0 else ""
        return SpeechChunk(pcm, heading.rate_hz, tuple(self._words[number]), served_by)


def own_sentences(texts: Iterable[str], settings: SentenceSettings) -> frozenset[str]:
    """What the server itself says, in the pieces in which a voice is asked for it."""
    splitter, found = SentenceSplitter(settings), set()
    for text in texts:
        found |= {sentence.spoken for sentence in [*splitter.push(text), *splitter.finish()]}
    return frozenset(found - {""})


@asynccontextmanager
async def open_voice_cache(
    settings: CacheSettings, data_dir: Path, own: Callable[[str], bool], meter: Meter = UNMETERED
) -> AsyncIterator[VoiceCache]:
    """The cache of a process. `own` tells which sentences the server itself says (`own_sentences(…).__contains__`)."""
    limit = int(settings.audio_mb * 1e6) if settings.audio != "off" else 0
    folder = settings.audio_folder or data_dir / FOLDER
    async with background() as nursery:
        shared = Shared[SpeechChunk](nursery, lambda chunk: len(chunk.pcm), SENTENCE_BYTES_MAX)
        stored: AbstractAsyncContextManager[AudioStore | None] = (
            open_store(folder, limit, wait_s=settings.disk_wait_s, meter=meter) if limit else nothing()
        )
        async with stored as store:
            yield VoiceCache(settings, store, shared, own, meter)


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    """No store."""
    yield None
