"""A phone call as the session's line: the vendor's messages on one side, the Realtime protocol on the other.

To the session a call is a client like any other, with binary audio and no events of AURA's own: so its journal, its
tape and its replay know nothing of phones. What such a client does, this does for the caller: it says which format it
speaks, plays what it is sent and says how far it got, and is silent at once when the caller interrupts.
"""

from __future__ import annotations

from collections import deque

import msgspec
import structlog
import trio

from aura.core.audio import AudioFormat
from aura.core.phone_call import Keys, Playback, Sorter
from aura.core.wire import phone
from aura.core.wire.phone import PhoneCodec
from aura.session.line import Ended, Line

from .phone_settings import PhoneSettings

log = structlog.get_logger()

MALFORMED_MAX = 100
HUNG_UP, CALLER_GONE = "the assistant hung up", "the caller hung up"


class Formats(msgspec.Struct, frozen=True):
    """What the caller's audio is, and what the vendor plays."""

    caller: AudioFormat
    reply: AudioFormat


class Wishes(msgspec.Struct, frozen=True):
    """What the operator's parameters ask of the session."""

    greeting: str = ""
    instructions: str = ""
    voice: str = ""


class _Response(msgspec.Struct, frozen=True):
    status: str = ""


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None


class _Event(msgspec.Struct, frozen=True):
    """The little that is read of a message to the client."""

    type: str
    item_id: str = ""
    response: _Response = _Response()
    error: _Error = _Error()


_EVENT = msgspec.json.Decoder(_Event)


class PhoneLine:
    """One call's line."""

    def __init__(
        self, line: Line, codec: PhoneCodec, formats: Formats, wishes: Wishes, settings: PhoneSettings
    ) -> None:
        self._line, self._codec, self._settings = line, codec, settings
        self._sorter = Sorter(formats.caller)
        self._playback = Playback(codec, formats.reply, settings.mark_ms)
        self._keys = Keys(settings.digits_wait_s, settings.digits_max)
        self._ready: deque[str | bytes] = deque(opening(formats, wishes))
        """Messages for the session."""
        self._item = ""
        """The item that the next audio belongs to."""
        self._reply = Reply()
        self._end = End()
        self._waiting: trio.CancelScope | None = None
        self._malformed = 0

    # ---- caller → session

    async def receive(self) -> str | bytes:
        """The next message; raises Ended."""
        while not self._ready:
            self._watch(trio.current_time())
            if self._ready:
                break
            if self._end.why:
                raise Ended(self._end.why)
            with trio.CancelScope(deadline=min(self._keys.due, self._end.due)) as self._waiting:
                message = await self._line.receive()
                if isinstance(message, str | bytes):  # a call that is gone does not come back
                    self._take(self._codec.read(message))
            self._waiting = None
        return self._ready.popleft()

    def _watch(self, now: float) -> None:
        """Do what time has brought."""
        if number := self._keys.take(now):
            self._dial(number)
        if now >= self._end.due:
            self._end.why = HUNG_UP

    def _wake(self) -> None:
        """Make `receive` look again."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _take(self, fact: phone.Fact) -> None:
        match fact:
            case phone.Media():
                self._hear(self._sorter.push(fact))
            case phone.Played(name):
                self._played(name)
            case phone.Digit(digit):
                if self._keys.press(trio.current_time(), digit) and self._settings.digits_interrupt:
                    self._order({"type": "response.cancel"})
            case phone.Stopped():
                self._hear(self._sorter.flush())
                self._end.why = CALLER_GONE
            case phone.Complaint(text):
                log.warning("phone.complaint", vendor=self._codec.vendor, text=text)
            case phone.Malformed(why):
                self._malformed += 1
                log.info("phone.malformed", vendor=self._codec.vendor, why=why)
                if self._malformed >= MALFORMED_MAX:
                    self._end.why = f"{MALFORMED_MAX} messages that are not {self._codec.vendor}'s protocol"
            case _:
                pass

    def _hear(self, audio: bytes) -> None:
        if audio:
            self._ready.append(audio)

    def _played(self, name: str) -> None:
        if position := self._playback.played(name):
            item_id, played_ms = position
            self._order({"type": "aura.playout.ack", "item_id": item_id, "played_ms": played_ms})
        if self._end.saying and self._playback.silent:
            self._end.why = HUNG_UP

    def _dial(self, number: str) -> None:
        """A number was pressed: it is something that the caller said."""
        content = [{"type": "input_text", "text": number}]
        item = {"type": "message", "role": "user", "content": content}
        if self._settings.digits_interrupt:
            self._order({"type": "response.cancel"})  # what was begun meanwhile
            self._order({"type": "input_audio_buffer.clear"})  # the keys' own sound may have been taken for speech
        self._order({"type": "conversation.item.create", "item": item})
        if self._settings.digits_interrupt or not self._reply.running:
            self._order({"type": "response.create"})
        else:
            self._reply.asked = True

    def _order(self, message: dict[str, object]) -> None:
        self._ready.append(msgspec.json.encode(message).decode())

    # ---- session → caller

    def switch(self) -> None:
        """A call has but one connection."""

    async def send(self, *messages: str | bytes) -> None:
        """Send what the caller's phone understands of these; raises Ended."""
        for_vendor: list[str] = []
        for message in messages:
            if isinstance(message, bytes):
                for_vendor += self._playback.audio(self._item, message)
            else:
                for_vendor += self._react(_EVENT.decode(message))
        if for_vendor:
            await self._line.send(*for_vendor)

    def _react(self, event: _Event) -> list[str]:
        match event.type:
            case "response.output_audio.delta":  # names the item of the audio that follows
                self._item = event.item_id
            case "response.created":
                self._reply.running = True
            case "response.done":
                return self._over(event.response.status)
            case "input_audio_buffer.speech_started":  # an interruption is confirmed, not merely suspected
                return self._playback.flush()
            case "error" if event.error.code == "conversation_already_has_active_response":
                self._reply.asked = True  # it was not announced yet
            case "error" if event.error.code != "response_cancel_not_active":
                log.info("phone.fault", vendor=self._codec.vendor, code=event.error.code)
            case _:
                pass
        return []

    def _over(self, status: str) -> list[str]:
        """A reply has ended."""
        self._reply.running = False
        if self._reply.asked:
            self._reply.asked = False
            self._order({"type": "response.create"})
            self._wake()
        if status == "cancelled":
            self._end.wanted = False  # the caller has something to say yet
            return self._playback.flush()
        messages = self._playback.mark()
        if self._end.wanted:
            self._end.saying = True
            silent = self._playback.silent
            self._end.due = trio.current_time() + (0.0 if silent else self._settings.hang_up_wait_s)
            self._wake()
        return messages

    # ---- the end

    def hang_up(self) -> None:
        """End the call when the reply that is being made was heard to its end."""
        self._end.wanted = True

    @property
    def hung_up(self) -> bool:
        """Whether the assistant ended the call."""
        return self._end.why == HUNG_UP

    @property
    def caller_gone(self) -> bool:
        """Whether the vendor said that the call is over."""
        return self._end.why == CALLER_GONE

    def account(self) -> dict[str, int]:
        """What became of the caller's audio, for the log."""
        return {"late": self._sorter.late, "lost": self._sorter.lost}


class Reply:
    """Whether the assistant is answering."""

    def __init__(self) -> None:
        self.running = False
        self.asked = False
        """Whether another answer is to follow this one."""


class End:
    """How far the call's end has come."""

    def __init__(self) -> None:
        self.wanted = False
        """The assistant will hang up after this reply."""
        self.saying = False
        """That reply is complete and being played."""
        self.due = float("inf")
        """When the call ends though the vendor has not said that all was played."""
        self.why = ""
        """It is over."""


def opening(formats: Formats, wishes: Wishes) -> list[str | bytes]:
    """The first messages of a call."""
    output: dict[str, object] = {"format": wire_format(formats.reply)}
    if wishes.voice:
        output["voice"] = wishes.voice
    audio = {"input": {"format": wire_format(formats.caller)}, "output": output}
    session: dict[str, object] = {"type": "realtime", "audio": audio}
    if wishes.instructions:
        session["instructions"] = wishes.instructions
    messages: list[dict[str, object]] = [{"type": "session.update", "session": session}]
    if wishes.greeting:
        greeting = {"type": "force_message", "text": wishes.greeting}
        messages.append({"type": "conversation.item.create", "item": greeting})
    return [msgspec.json.encode(message).decode() for message in messages]


def wire_format(fmt: AudioFormat) -> dict[str, object]:
    """A format as the Realtime protocol writes it."""
    if fmt.encoding == "pcm16":
        return {"type": "audio/pcm", "rate": fmt.rate_hz}
    return {"type": f"audio/{fmt.encoding}"}
