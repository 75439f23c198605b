"""Live speech to text: an utterance is sent while it is said, over a WebSocket of its own.

`open` returns at once: the connection is made while the audio is already kept for it, so connecting costs nothing once
an utterance is longer than the handshake. What differs between engines stands in a `Dialect`. To connect again, or
somewhere else, is the router's matter: it keeps the audio.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
import trio

from aura.core.errors import ProviderError, TimedOut
from aura.core.ports import HearingEvent, LiveHearing, Transcript
from aura.providers.background import background
from aura.providers.http import Endpoint
from aura.providers.live_dialect import BYTES_PER_S, Dialect, Wire
from aura.providers.live_settings import LiveSettings
from aura.providers.notices import Notices
from aura.providers.openai.errors import from_status
from aura.providers.vitals import Left
from aura.providers.ws import Refusal, Ws, WsLimits, connect

log = structlog.get_logger()
GOOD_ENDS = (1000, 1005)


class Line:
    """Where utterances are sent: one engine's address, and how its dialect is made."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        query: Mapping[str, str | Sequence[str]],
        headers: Mapping[str, str],
        dialect: Callable[[], Dialect],
        settings: LiveSettings,
        *,
        name: str,
        model: str,
        refusal: Refusal = from_status,
    ) -> None:
        self.name, self.model, self.settings, self.dialect = name, model, settings, dialect
        self._refusal = refusal
        self._endpoint, self._path, self._query, self._headers = endpoint, path, query, headers
        self._limits = WsLimits(
            connect_s=settings.stt_connect_s,
            send_s=settings.stt_send_s,
            ping_s=settings.stt_ping_s,
            pong_s=settings.stt_pong_s,
        )

    def connect(self) -> AbstractAsyncContextManager[Ws]:
        """A connection for one utterance."""
        return connect(
            self._endpoint,
            self._path,
            self._query,
            self._headers,
            name=self.name,
            limits=self._limits,
            refusal=self._refusal,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[LiveHearing]:
        """An utterance. Returns at once; leaving abandons what is not finished."""
        utterance = Utterance(self)
        try:
            async with background() as nursery:
                nursery.start_soon(utterance.run)
                yield utterance
        finally:
            utterance.notices.end()


class LiveTranscriber:
    """What every recogniser over a `Line` offers; it adds `probe`."""

    def __init__(self, line: Line, left: Left | None = None) -> None:
        self.name, self.model = line.name, line.model
        self.left = left or Left()
        self._line = line

    def open(self) -> AbstractAsyncContextManager[LiveHearing]:
        """An utterance, sent while it is said."""
        return self._line.open()


class Utterance:
    """The `LiveHearing` port over one connection. `run` holds the connection; everybody else only leaves wishes."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._dialect = line.dialect()
        self._frame = self._dialect.frame_ms * BYTES_PER_S // 1000
        self._audio = Outbox(line.name, int(line.settings.stt_buffer_s * BYTES_PER_S))
        self.notices = Notices()
        self._error: ProviderError | None = None
        self._changed = trio.Event()
        self._answer: Transcript | None = None
        self._connected = trio.CancelScope()

    # ---- the port ----

    def feed(self, pcm: bytes) -> None:
        """Take the next audio; what the buffer has no room for is dropped."""
        if self._error is None:
            self._audio.put(pcm, self._frame)

    def events(self) -> AsyncIterator[HearingEvent]:
        """What the engine notices; ends with the utterance, by its error if it failed. Only one reader."""
        return self.notices

    def force_endpoint(self) -> None:
        """The turn is over: have its last words worked out now."""
        self._audio.ask(end=True)
        if self._nothing_left():
            self._conclude()

    async def so_far(self) -> Transcript:
        """The words until now: the certain ones if they come soon, else the newest. Raises ProviderError."""
        audio = self._audio
        if audio.end_wanted:
            return await self.final()
        if audio.fed:
            audio.ask(end=False)
            await self._until(lambda: audio.drained, self._line.settings.stt_connect_s)
            await self._until(lambda: self._dialect.settled, self._line.settings.stt_so_far_s)
        await trio.lowlevel.checkpoint()
        if self._error is not None:
            raise self._error
        return self._transcript()

    async def final(self) -> Transcript:
        """The words of the whole utterance. Raises ProviderError."""
        self.force_endpoint()
        await self._until(lambda: self._audio.drained or self._answer is not None, self._line.settings.stt_connect_s)
        if not await self._until(lambda: self._answer is not None, self._line.settings.stt_final_s):
            if self._error is not None:
                raise self._error
            self._late()
        await trio.lowlevel.checkpoint()
        assert self._answer is not None
        return self._answer

    def _late(self) -> None:
        """The last words did not come in time: tentative ones are better than none."""
        name, waited_s = self._line.name, self._line.settings.stt_final_s
        if not self._dialect.words.text():
            what = "no words" if self._audio.drained else "no connection to send the audio"
            raise TimedOut(f"{name}: {what} within {waited_s:g} s after the end", provider=name)
        log.warning("stt.final_late", provider=name, waited_s=waited_s)
        self._conclude()

    def _nothing_left(self) -> bool:
        """Whether all that was fed has been worked out already, in the pause before the end."""
        audio, dialect = self._audio, self._dialect
        return not audio.fed or (dialect.acknowledges and dialect.settled and audio.finished_at == audio.fed)

    def _transcript(self) -> Transcript:
        dialect, line = self._dialect, self._line
        served_by = f"{line.name}/{line.model}" if line.model else line.name
        return Transcript(dialect.words.text(), dialect.confidence, dialect.language, served_by)

    def _conclude(self) -> None:
        if self._answer is None and self._error is None:
            answer = self._transcript()
            self._answer = Transcript(
                answer.text, answer.confidence, answer.language, answer.served_by, self._dialect.billed_s
            )
            self.notices.end()
            self._connected.cancel()
            self._tell()

    def _fail(self, error: ProviderError) -> None:
        if self._answer is None and self._error is None:
            log.info("stt.live_failed", provider=self._line.name, code=error.code, reason=str(error))
            self._error = error
            self.notices.end(error)
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until it is true, the utterance has failed or the time is over."""
        with trio.move_on_after(seconds):
            while not true() and self._error is None:
                await self._changed.wait()
        return true()

    # ---- the connection ----

    async def run(self) -> None:
        """Connect, send and receive until the words are complete or the engine has failed."""
        welcome = trio.current_time() + self._line.settings.stt_connect_s
        try:
            with self._connected:
                async with self._line.connect() as ws, background() as nursery:
                    nursery.start_soon(self._send, ws)
                    await self._receive(ws, welcome)
        except ProviderError as error:
            self._fail(error)

    async def _receive(self, ws: Ws, welcome: float) -> None:
        """Failures end here, so that none of them has to cross a nursery."""
        dialect = self._dialect
        try:
            while self._answer is None:
                message = await (ws.receive() if dialect.ready else ws.receive(welcome))
                ready = dialect.ready
                for event in dialect.take(message):
                    self.notices.put(event)
                if dialect.over and self._audio.end_sent:
                    self._conclude()
                if dialect.ready != ready:
                    self._audio.wake()
                self._tell()
        except ProviderError as error:
            if self._audio.end_sent and ws.close_code in GOOD_ENDS:
                self._conclude()
            else:
                self._fail(error)

    async def _send(self, ws: Ws) -> None:
        """A connection that has ended is the receiver's to judge: the engine's last words may say why."""
        dialect, audio = self._dialect, self._audio
        try:
            for message in dialect.opening():
                await ws.send(message)
            while True:
                batch = self._next_batch()
                if batch is None:
                    batch = await self._wait_or_idle()
                for message in batch:
                    await ws.send(message)
                if dialect.over and audio.end_sent:
                    self._conclude()
                self._tell()
        except ProviderError as error:
            log.debug("stt.not_sent", provider=self._line.name, code=error.code)

    async def _wait_or_idle(self) -> Sequence[Wire]:
        """Wait for something to send. When nothing has been fed for a while: the rest of the audio, and what the
        engine wants then."""
        audio, dialect = self._audio, self._dialect
        fed = audio.fed
        quiet_s = dialect.idle_s if dialect.ready and not audio.end_sent else math.inf
        if await audio.news(quiet_s) or audio.fed != fed:
            return ()
        rest = audio.take(self._frame, partly=True)
        return (*(dialect.audio(rest) if rest else ()), *dialect.idle())

    def _next_batch(self) -> Sequence[Wire] | None:
        """What is to be sent next, in order: audio, then what was asked for after it."""
        audio, dialect = self._audio, self._dialect
        if not dialect.ready:
            return None
        if piece := audio.take(self._frame):
            return dialect.audio(piece)
        if audio.end_wanted and not audio.end_sent:
            audio.end_sent = dialect.ending = True
            return dialect.end()
        if audio.finish_wanted:
            audio.finish_wanted, audio.finished_at = False, audio.fed
            return dialect.finish()
        return None


class Outbox:
    """Audio that waits to be sent, and what is to be asked when it has been."""

    def __init__(self, name: str, most_bytes: int) -> None:
        self._name, self._most_bytes = name, most_bytes
        self._waiting = bytearray()
        self._dropped = False
        self._news = trio.Event()
        self.fed = 0
        """Bytes that were taken in."""
        self.finish_wanted = self.end_wanted = self.end_sent = False
        self.finished_at = -1
        """How much had been fed when the engine was last asked for certain words."""

    @property
    def drained(self) -> bool:
        """Whether everything is on its way, audio and questions."""
        return not (self._waiting or self.finish_wanted or (self.end_wanted and not self.end_sent))

    def put(self, pcm: bytes, enough: int) -> None:
        """Keep this audio if there is room."""
        if self.end_wanted:
            return
        if len(self._waiting) + len(pcm) > self._most_bytes:
            if not self._dropped:
                log.warning("stt.audio_dropped", provider=self._name, kept_s=self._most_bytes / BYTES_PER_S)
            self._dropped = True
            return
        self._waiting += pcm
        self.fed += len(pcm)
        if len(self._waiting) >= enough:
            self._news.set()

    def take(self, frame: int, *, partly: bool = False) -> bytes:
        """The next piece to send: a whole frame, or the rest if something is to be asked after it."""
        if len(self._waiting) < frame and not (partly or self.finish_wanted or self.end_wanted):
            return b""
        piece = bytes(self._waiting[:frame])
        del self._waiting[:frame]
        return piece

    def ask(self, *, end: bool) -> None:
        """Have the words of all that was fed worked out, once."""
        if end:
            self.end_wanted = True
        elif self.finished_at != self.fed:
            self.finish_wanted = True
        self._news.set()

    def wake(self) -> None:
        """Something may be sent now."""
        self._news.set()

    async def news(self, seconds: float) -> bool:
        """Wait for something to do; False when there was nothing for so long."""
        with trio.move_on_after(seconds):
            await self._news.wait()
        happened = self._news.is_set()
        self._news = trio.Event()
        return happened
