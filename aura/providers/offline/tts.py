"""The offline voice: espeak-ng through ctypes, in a thread. A whole sentence takes a few milliseconds.

espeak-ng keeps its state in globals, so all conversations share one engine, one sentence at a time, first come first
served. The constants and `espeak_EVENT` are those of espeak-ng's `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any

import msgspec
import trio

from aura.core.errors import BadRequest, TimedOut, Unavailable
from aura.core.ports import SpeechChunk, SpeechRequest, WordTime
from aura.providers.background import background

_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_PARAMETER_RATE = 1
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_END_OF_EVENTS, _EVENT_WORD = 0, 1
_SLOWEST_WPM, _FASTEST_WPM = 80, 450
_GO_ON, _STOP = 0, 1

VOICES: dict[str, str] = {
    "alloy": "en-us",
    "ash": "en-us+m3",
    "ballad": "en-gb-x-rp+m7",
    "cedar": "en-us+m2",
    "coral": "en-us+f2",
    "echo": "en-us+m1",
    "fable": "en-gb-x-rp",
    "marin": "en-us+f3",
    "nova": "en-us+f4",
    "onyx": "en-us+m8",
    "sage": "en-gb-x-rp+f1",
    "shimmer": "en-us+f5",
    "verse": "en-us+m6",
}
"""Voices by the names that OpenAI's clients ask for; each is an espeak-ng voice with a variant of its own."""


class TtsSettings(msgspec.Struct, frozen=True):
    """The offline voice."""

    default_voice: str = "alloy"
    """Voice for names that are not in the table: a name of the table, or any voice of espeak-ng such as `de`."""
    words_per_minute: int = 170
    """Pace at speed 1.0; what comes out is always within 80-450 words per minute."""
    sentence_pause_s: float = 0.15
    """Silence after each sentence; espeak-ng itself leaves none."""
    max_chars: int = 3000
    """Longest text of one request."""
    deadline_s: float = 10.0
    """Longest wait for the next audio, including the wait for other conversations' sentences."""


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_uint64),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
_WORD = re.compile(r"\S+")
Begin = tuple[int, float]
"""A word's position in the text and when it begins in seconds."""
Deliver = Callable[[bytes, list[Begin]], bool]
"""Takes the next audio and the words that begin; False stops the synthesis."""


class Engine:
    """The one espeak-ng of this process. Blocking: call from a thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deliver: Deliver | None = None
        self._voice = ""
        self._library: Any = None
        self._callback = _Callback(self._on_audio)  # must outlive the library's use of it
        self.rate_hz = 0

    def say(self, text: str, voice: str, words_per_minute: int, deliver: Deliver) -> None:
        """Synthesise `text`. Raises Unavailable where espeak-ng does not work at all, BadRequest for a refused text."""
        with self._lock:
            library = self._library or self._load()
            if voice != self._voice:
                if library.espeak_SetVoiceByName(voice.encode()) != 0:
                    raise BadRequest(f"espeak-ng has no voice {voice!r}; see [offline.tts] default_voice")
                self._voice = voice
            library.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
            self._deliver = deliver
            encoded = text.encode("utf-8", "replace") + b"\0"
            status = library.espeak_Synth(encoded, len(encoded), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
            self._deliver = None
        if status != 0:
            raise BadRequest(f"espeak-ng refused the text (status {status})", provider="offline")

    def _load(self) -> Any:
        import espeakng_loader

        try:
            library = ctypes.CDLL(espeakng_loader.get_library_path())
            folder = str(espeakng_loader.get_data_path()).encode()
        except OSError as error:
            raise Unavailable(f"espeak-ng cannot be loaded: {error}", provider="offline") from error
        rate_hz = library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, folder, _DONT_EXIT)
        if rate_hz <= 0:
            raise Unavailable("espeak-ng does not find its data; reinstall espeakng-loader", provider="offline")
        library.espeak_Synth.argtypes = (
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        )
        library.espeak_SetSynthCallback(self._callback)
        self.rate_hz = rate_hz
        self._library = library
        return library

    def _on_audio(self, samples: int | None, count: int, events: Any) -> int:
        begins: list[Begin] = []
        index = 0
        while events[index].type != _END_OF_EVENTS:
            event = events[index]
            if event.type == _EVENT_WORD:
                begins.append((event.text_position - 1, event.audio_position / 1000))
            index += 1
        pcm = ctypes.string_at(samples, count * 2) if samples and count > 0 else b""
        return _GO_ON if self._deliver is not None and self._deliver(pcm, begins) else _STOP


@cache
def engine() -> Engine:
    """The engine of this process; the library is loaded at the first word."""
    return Engine()


class WordTimes:
    """Turns beginnings of words, as they come, into times of whole words: a word ends where the next one begins.

    A word is what stands between spaces, however many words it is read as ("£5.50").
    """

    def __init__(self, text: str) -> None:
        self._spans = [match.span() for match in _WORD.finditer(text)]
        self._next = 0
        self._open: tuple[int, int, float] | None = None

    def push(self, begins: list[Begin]) -> tuple[WordTime, ...]:
        """The words that ended because others began."""
        ended: list[WordTime] = []
        for position, at_s in begins:
            found = self._next
            while found < len(self._spans) and self._spans[found][1] <= position:
                found += 1
            if found < len(self._spans) and self._spans[found][0] <= position:
                ended += self.finish(at_s)
                self._open = (*self._spans[found], at_s)
                self._next = found + 1
        return tuple(ended)

    def finish(self, at_s: float) -> tuple[WordTime, ...]:
        """The word that was being spoken ends, at the latest with the audio."""
        if self._open is None:
            return ()
        start, end, begin_s = self._open
        self._open = None
        return (WordTime(start, end, begin_s, max(begin_s, at_s)),)


class OfflineVoice:
    """The `TextToSpeech` port over espeak-ng."""

    name = "offline"

    def __init__(self, settings: TtsSettings | None = None) -> None:
        self._settings = settings or TtsSettings()
        self.turn = trio.CapacityLimiter(1)

    def speak(self, request: SpeechRequest) -> AbstractAsyncContextManager[AsyncIterator[SpeechChunk]]:
        """Stream the sentence in pieces of 60 ms. Unknown voices speak as the default one."""
        return self._speaking(request)

    @asynccontextmanager
    async def _speaking(self, request: SpeechRequest) -> AsyncIterator[AsyncIterator[SpeechChunk]]:
        if len(request.text) > self._settings.max_chars:
            raise BadRequest(f"a sentence may have {self._settings.max_chars} characters", provider=self.name)
        hand = _Hand()
        async with background() as nursery:
            nursery.start_soon(self._synthesise, request, hand)
            yield _Chunks(request.text, hand, self._settings)
            hand.stopped = True

    async def _synthesise(self, request: SpeechRequest, hand: _Hand) -> None:
        pace = round(self._settings.words_per_minute * request.speed)
        pace = max(_SLOWEST_WPM, min(_FASTEST_WPM, pace))
        voice = espeak_voice(request.voice, self._settings.default_voice)
        token = trio.lowlevel.current_trio_token()

        def deliver(pcm: bytes, begins: list[Begin]) -> bool:
            if hand.stopped:
                return False
            try:
                token.run_sync_soon(hand.put, pcm, begins)
            except trio.RunFinishedError:
                return False
            return True

        try:
            await trio.to_thread.run_sync(
                engine().say, request.text, voice, pace, deliver, limiter=self.turn, abandon_on_cancel=True
            )
        except (BadRequest, Unavailable) as error:
            hand.failure = error
        finally:
            hand.stopped = True
        hand.finish()


class _Hand:
    """What the thread hands to the loop; bounded by the length of one request."""

    def __init__(self) -> None:
        self.stopped = False
        self.failure: BadRequest | Unavailable | None = None
        self._pieces: list[tuple[bytes, list[Begin]]] = []
        self._last = False
        self._news = trio.Event()

    def put(self, pcm: bytes, begins: list[Begin]) -> None:
        self._pieces.append((pcm, begins))
        self._news.set()

    def finish(self) -> None:
        self._last = True
        self._news.set()

    async def wait(self) -> None:
        await self._news.wait()

    def take(self) -> tuple[list[tuple[bytes, list[Begin]]], bool]:
        pieces, self._pieces = self._pieces, []
        self._news = trio.Event()
        if self._last:
            self._news.set()
        return pieces, self._last


class _Chunks:
    """The audio of one sentence, as `speak` gives it out. No generator: it may be left at any point."""

    def __init__(self, text: str, hand: _Hand, settings: TtsSettings) -> None:
        self._times = WordTimes(text)
        self._hand = hand
        self._settings = settings
        self._ready: deque[SpeechChunk] = deque()
        self._samples = 0
        self._last = False

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> SpeechChunk:
        while not self._ready:
            if self._last:
                raise StopAsyncIteration
            with trio.move_on_after(self._settings.deadline_s) as scope:
                await self._hand.wait()
            if scope.cancelled_caught:
                raise TimedOut("the offline voice is too busy", provider="offline")
            if self._hand.failure is not None:
                raise self._hand.failure
            self._collect(engine().rate_hz)
        return self._ready.popleft()

    def _collect(self, rate_hz: int) -> None:
        pieces, self._last = self._hand.take()
        for pcm, begins in pieces:
            self._samples += len(pcm) // 2
            words = self._times.push(begins)
            if pcm or words:
                self._ready.append(SpeechChunk(pcm, rate_hz, words))
        if self._last and self._samples:
            pause = bytes(2 * int(self._settings.sentence_pause_s * rate_hz))
            self._ready.append(SpeechChunk(pause, rate_hz, self._times.finish(self._samples / rate_hz)))


def espeak_voice(name: str, default: str) -> str:
    """The espeak-ng voice for a name; the default's for unknown names."""
    return VOICES.get(name.lower()) or VOICES.get(default.lower(), default)


def open_tts(settings: TtsSettings, http: object, *, name: str = "offline") -> OfflineVoice:
    """The factory of `aura.providers.registry`; needs no connections."""
    del http, name
    return OfflineVoice(settings)
