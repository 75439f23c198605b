"""utterance → text: feeds the recogniser while the user speaks, so that the words are there when they stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import msgspec
import trio

from aura.core.errors import ProviderError, TimedOut
from aura.core.ports import Hearing, HearingEvent, SpeechToText, Transcript

KEPT_BYTES = 320_000
"""Sound of an utterance that is kept for whoever asks for it; of a longer one nothing is."""


class TranscribeSettings(msgspec.Struct, frozen=True):
    """Patience with the recogniser."""

    answer_s: float = 8.0
    """Longest wait for the words of an utterance."""


class Ear:
    """One utterance: what `listen` puts in and what the replies to it ask for. Ends with `close`."""

    def __init__(
        self,
        turn: int,
        audio: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]],
        settings: TranscribeSettings,
    ) -> None:
        self.turn = turn
        self.settings = settings
        self.scopes = (trio.CancelScope(), trio.CancelScope())
        """Of the task that feeds the recogniser, and of the one that hears what it notices."""
        self.audio_in, self.audio_out = audio
        self.frames = 0
        """Frames that were put in."""
        self.dropped = 0
        self.kept = bytearray()
        """The sound itself, until it is too long."""
        self._fed = 0
        self._hearing: Hearing | None = None
        self._error: ProviderError | None = None
        self._changed = trio.Event()

    def hear(self, frame: bytes) -> None:
        """Take the next frame; never waits."""
        try:
            self.audio_in.send_nowait(frame)
            self.frames += 1
            if len(self.kept) <= KEPT_BYTES:
                self.kept += frame
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            self.dropped += 1

    def close(self) -> None:
        """Nobody needs this utterance any more."""
        for scope in self.scopes:
            scope.cancel()

    async def words(self, *, final: bool) -> Transcript:
        """The words so far, or of the whole utterance; raises ProviderError."""
        with trio.move_on_after(self.settings.answer_s):
            while not self._error and (self._hearing is None or self._fed < self.frames):
                await self._changed.wait()
            if self._error:
                raise self._error
            assert self._hearing
            return await (self._hearing.final() if final else self._hearing.so_far())
        raise TimedOut("the recogniser gave no answer in time")

    async def attend(self, stt: SpeechToText) -> None:
        """Feed the recogniser what is put in, until `close`."""
        with self.scopes[0], self.audio_out:
            try:
                async with stt.open() as hearing:
                    self._hearing = hearing
                    self._wake()
                    async for frame in self.audio_out:
                        hearing.feed(frame)
                        self._fed += 1
                        if self._fed == self.frames:
                            self._wake()
            except ProviderError as error:
                self._error = error
                self._wake()

    async def notice(self, told: Callable[[HearingEvent], None]) -> None:
        """Hand on what the recogniser notices, until `close`."""
        with self.scopes[1]:
            while self._hearing is None:
                if self._error is not None:
                    return
                await self._changed.wait()
            events = getattr(self._hearing, "events", None)
            if events is None:
                return
            async with aclosing(events()) as noticed:
                async for event in noticed:
                    told(event)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


async def transcribe(ear: Ear, stt: SpeechToText) -> None:
    """The stage: one task per utterance."""
    await ear.attend(stt)


async def notice(ear: Ear, told: Callable[[HearingEvent], None]) -> None:
    """The stage's second task: what a live recogniser notices of the utterance."""
    await ear.notice(told)
