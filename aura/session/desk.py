"""Client messages → audio frames, facts and changes of the session. One method per message of the protocol."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec
import structlog
import trio

from aura.core import events as ev
from aura.core.audio import Reframer
from aura.core.dialogue import Place
from aura.core.errors import ProtocolFault
from aura.core.ports import ToolCall
from aura.core.turns import TurnSettings
from aura.core.wire import client as msg
from aura.core.wire import faults
from aura.core.wire.items import ForceMessage, FunctionCall, FunctionCallOutput, Message, audio_of, text_of
from aura.core.wire.session_object import RealtimeSession, SemanticVad, ServerVad
from aura.session.asides import Asides
from aura.session.client import Client
from aura.session.line import Back, Lost, Received
from aura.session.session import Session

log = structlog.get_logger()

TOO_MANY_FAULTS = "too many messages that cannot be obeyed"
SLICE_BYTES = 1 << 16
"""Resampling so much takes about a millisecond."""
COMMIT_MIN_MS = 100
"""Shorter buffers are refused (realtime-protocol.md 1.4)."""


class Desk:
    """Takes the messages of one client, in order."""

    def __init__(
        self, session: Session, mic: trio.MemorySendChannel[bytes], turns: TurnSettings, voices: frozenset[str]
    ) -> None:
        self.session, self.mic, self.turns, self.voices = session, mic, turns, voices
        self.asides = Asides(session)
        self.view = session.client.view
        self._backlog: deque[bytes] = deque()
        """Frames for which the microphone's pipe has no room yet."""
        self._unframed: deque[bytes] = deque()
        """Audio of one long message that is not cut into frames yet."""
        self._waiting: msg.ClientMessage | None = None
        """A message that is about all audio before it."""
        self._reframer = Reframer(self.view.session.input_format)
        self._faults: deque[float] = deque()
        """When the last messages came that could not be obeyed."""
        self._take: dict[type, Callable[..., object]] = {
            msg.Append: self._append,
            msg.SessionUpdate: self._update,
            msg.Commit: self._commit,
            msg.Clear: self._clear,
            msg.ItemCreate: self._create_item,
            msg.ItemRetrieve: self._retrieve_item,
            msg.ItemDelete: self._delete_item,
            msg.ItemTruncate: self._truncate,
            msg.ResponseCreate: self._create_response,
            msg.ResponseCancel: self._cancel_response,
            msg.PlayoutAck: self._acknowledge,
            msg.OutputClear: self._unsupported,
            msg.Resume: self._unsupported,
        }

    @property
    def client(self) -> Client:
        """Where answers go."""
        return self.session.client

    def take(self, raw: Received) -> bool:
        """Obey one message, or tell the client why not; True if `catch_up` must be awaited before the next one."""
        if isinstance(raw, Lost | Back):
            self._connection(raw)
            return False
        try:
            message = msg.decode(raw, binary=self.view.session.binary)
        except ProtocolFault as fault:
            self._refuse(fault)
            return False
        if isinstance(message, msg.Commit | msg.Clear) and self.mic.statistics().current_buffer_used:
            self._waiting = message
            return True
        self._obey(message)
        return bool(self._backlog or self._unframed)

    async def catch_up(self) -> None:
        """Wait until the listener has heard what came; meanwhile the client's further audio waits in the network."""
        while self._backlog or self._unframed:
            if self._backlog:
                await self.mic.send(self._backlog.popleft())
            else:
                await trio.lowlevel.checkpoint()
                self._frame_more()
        if self._waiting is not None:
            while self.mic.statistics().current_buffer_used:
                await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()  # the last frame is with the listener: let it be heard
            message, self._waiting = self._waiting, None
            self._obey(message)

    def _obey(self, message: msg.ClientMessage) -> None:
        self.client.cause = message.event_id
        try:
            self._take[type(message)](message)
        except ProtocolFault as fault:
            fault.event_id = fault.event_id or message.event_id
            self._refuse(fault)
        finally:
            self.client.cause = None

    def _refuse(self, fault: ProtocolFault) -> None:
        log.info("client.fault", code=fault.code, param=fault.param)
        self.client.fault(fault)
        limit, now = self.session.settings.faults_per_minute, trio.current_time()
        self._faults.append(now)
        while self._faults[0] <= now - 60.0:
            self._faults.popleft()
        if limit and len(self._faults) > limit:
            self.client.leave(TOO_MANY_FAULTS)

    def _connection(self, event: Lost | Back) -> None:
        """The client's connection broke off, or it is back on another one."""
        if isinstance(event, Lost):
            self.session.tell(ev.ConnectionLost(event.why))
            return
        reply = self.session.replies.running.get(self.view.reply_of(event.item_id) or 0)
        if reply is not None:
            reply.clock.acknowledge(trio.current_time(), event.played_ms / 1000)
        self.session.tell(ev.ConnectionResumed())

    # ---- audio

    def _append(self, message: msg.Append) -> None:
        self.client.input_bytes += len(message.audio)
        self._unframed.extend(slices(message.audio))
        self._frame_more()
        try:
            while self._backlog:
                self.mic.send_nowait(self._backlog[0])
                self._backlog.popleft()
        except trio.WouldBlock:
            pass

    def _frame_more(self) -> None:
        """Cut the next piece of the client's audio into frames, when those before it are gone."""
        if self._unframed and not self._backlog:
            frames = self._reframer.push(self._unframed.popleft())
            keeps = self._backlog if self.session.listener.manual is None else self.session.listener.manual
            keeps.extend(frames)

    def _commit(self, message: msg.Commit) -> None:
        buffered_ms = self.session.listener.buffered_ms()
        if buffered_ms < COMMIT_MIN_MS:
            raise faults.commit_empty(buffered_ms, message.event_id)
        self.session.tell(ev.AudioCommitted())

    def _clear(self, _: msg.Clear) -> None:
        self.session.listener.take_manual()
        self.session.tell(ev.AudioCleared())
        self.client.post(self.view.cleared())

    def _acknowledge(self, message: msg.PlayoutAck) -> None:
        current = self.session.conversation.reply
        number = self.view.reply_of(message.item_id) if message.item_id else current.number if current else None
        reply = self.session.replies.running.get(number or 0)
        if reply is not None:
            reply.clock.acknowledge(trio.current_time(), message.played_ms / 1000)

    # ---- the session

    def _update(self, message: msg.SessionUpdate) -> None:
        session = self.view.session.apply(message.session, event_id=message.event_id, voices=self.voices)
        self.configure(session)
        self.client.post(self.view.updated(session))
        self.session.tell(ev.HistoryChanged("session"))

    def configure(self, new: RealtimeSession) -> None:
        """Make listening and replies follow the session object; holds from the next reply and turn on."""
        old, session = self.view.session, self.session
        if new.input_format != old.input_format:
            self._reframer = Reframer(new.input_format)
            self.client.input_bytes = 0
        session.replies.setup = session.replies.setup.of_session(new)
        session.dialogue.instruct(new.instructions)
        if new.turn_detection != old.turn_detection:
            if (new.turn_detection is None) != (old.turn_detection is None):
                session.tell(ev.AudioCleared())
                session.tell(ev.SuspicionPassed())
            session.listener.set_manual(new.turn_detection is None)
            session.listener.configure(turn_settings(new.turn_detection, self.turns))
        self._switch(new)

    def _switch(self, new: RealtimeSession) -> None:
        """Whether turns are answered, and whether speech interrupts, as the client wants it."""
        detection, rules = new.turn_detection, self.session.conversation.settings
        answers = new.type == "realtime" and (detection is None or detection.create_response)
        interrupts = detection is None or detection.interrupt_response
        if answers != rules.auto_reply:
            self.session.tell(ev.AnswersSwitched(answers))
        if interrupts != rules.interruptions:
            self.session.tell(ev.InterruptionsSwitched(interrupts))

    # ---- replies

    def _create_response(self, message: msg.ResponseCreate) -> None:
        if self.view.session.type == "transcription":
            text = "A transcription session makes no responses."
            raise ProtocolFault("invalid_value", text, param="type", event_id=message.event_id)
        if wait_s := self.client.limits.wait_s(trio.current_time()):
            text = f"Rate limit reached. Please try again in {wait_s:.1f} s."
            raise ProtocolFault("rate_limit_exceeded", text, event_id=message.event_id)
        replies, asked = self.session.replies, message.response
        if asked and asked.voice:
            self._know_voice(asked.voice, message.event_id)
        setup = replies.setup.of_response(asked, self.view) if asked else None
        if asked and setup and asked.out_of_band:
            self.asides.start(setup)
            return
        replies.asked = setup
        try:
            self.session.tell(ev.ReplyRequested())
        finally:
            replies.asked = None

    def _know_voice(self, voice: str, event_id: str | None) -> None:
        if self.voices and voice.lower() not in self.voices:
            raise faults.unknown_voice(voice, self.voices, "response.audio.output.voice", event_id)

    def _cancel_response(self, message: msg.ResponseCancel) -> None:
        current = self.session.conversation.reply
        named = self.view.reply_named(message.response_id) if message.response_id else None
        if named is not None and self.asides.cancel(named):
            return
        if message.response_id and (current is None or named != current.number):
            raise faults.no_active_response(message.event_id)
        self.session.tell(ev.ReplyCancelled())

    # ---- the history

    def _create_item(self, message: msg.ItemCreate) -> None:
        message = self.view.admit(message)
        item, dialogue = message.item, self.session.dialogue
        if isinstance(item, ForceMessage):
            self.session.tell(ev.SayRequested(text_of(item)))
            return
        after = self._place(message.previous_item_id)
        if isinstance(item, FunctionCallOutput) and not dialogue.tool_output(item.call_id, item.output):
            raise faults.unknown_call(item.call_id, message.event_id)
        self.client.post(self.view.text_item(message))
        if isinstance(item, Message):
            dialogue.item(item.id or "", item.role, text_of(item), after)
            if item.role == "user" and (audio := audio_of(item)):
                self._hear_item(item, audio)
        elif isinstance(item, FunctionCall):
            dialogue.client_call(ToolCall(item.call_id, item.name, item.arguments), after)
        self.session.tell(ev.HistoryChanged("item"))

    def _place(self, item_id: str | None) -> Place:
        """Where in the history an item goes that is to stand behind this one."""
        if item_id is None or item_id == "root":
            return "root" if item_id else None
        item = self.view.item(item_id)
        if isinstance(item, FunctionCall | FunctionCallOutput):
            return "call", item.call_id
        reply, turn = self.view.reply_of(item_id), self.view.turn_of(item_id)
        if reply is not None:
            return "reply", reply
        return ("item", item_id) if turn is None or turn < 0 else ("turn", turn)

    def _hear_item(self, item: Message, audio: bytes) -> None:
        """An item with sound: its words belong to the history, and the client is told of them."""
        item_id, written = item.id or "", self.view.session.input_format
        self.client.shelf.add(item_id, written, audio)
        turn = self.view.turn_for(item_id)
        known = partial(self.session.dialogue.item, item_id, "user")
        self.session.hear_item(turn, slices(audio), written, known)

    def _retrieve_item(self, message: msg.ItemRetrieve) -> None:
        item, session = self.view.item(message.item_id), self.view.session
        ours = isinstance(item, Message) and item.role == "assistant"
        written = session.output_format if ours else session.input_format
        self.client.post(self.view.retrieved(message, self.client.shelf.take(message.item_id, written)))

    def _delete_item(self, message: msg.ItemDelete) -> None:
        place, item = self._place(message.item_id), self.view.item(message.item_id)
        self.client.post(self.view.deleted(message))
        self.client.shelf.forget(message.item_id)
        if isinstance(item, FunctionCallOutput):
            self.session.dialogue.tool_output(item.call_id, None)
        elif isinstance(place, tuple):
            self.session.dialogue.delete(place)
        self.session.tell(ev.HistoryChanged("item"))

    def _truncate(self, message: msg.ItemTruncate) -> None:
        reply = self.view.reply_of(message.item_id)
        if reply is None:
            raise faults.unknown_item("truncate", message.item_id, message.event_id)
        sent_ms = self.session.replies.length_ms(reply)
        end_ms = message.audio_end_ms if sent_ms is None else min(message.audio_end_ms, sent_ms)
        heard = self.session.truncate(reply, end_ms)
        self.client.shelf.cut(message.item_id, end_ms)
        self.client.post(self.view.truncated(message.item_id, message.content_index, end_ms, heard, message.event_id))
        self.session.tell(ev.HistoryChanged("truncated"))

    def _unsupported(self, message: msg.OutputClear | msg.Resume) -> None:
        raise ProtocolFault(
            "invalid_value", "This event is not supported on this connection.", param="type", event_id=message.event_id
        )


def slices(audio: bytes) -> list[bytes]:
    """Pieces small enough to be resampled at once: a message may hold five minutes of audio."""
    return [audio[at : at + SLICE_BYTES] for at in range(0, len(audio), SLICE_BYTES)]


def turn_settings(detection: ServerVad | SemanticVad | None, own: TurnSettings) -> TurnSettings:
    """AURA's turn taking as the client wants it; what the client left at its default stays AURA's own."""
    if isinstance(detection, SemanticVad):
        factor = {"low": 1.6, "medium": 1.0, "high": 0.75, "auto": 1.0}[detection.eagerness]
        return msgspec.structs.replace(
            own,
            silence_s=own.silence_s * factor,
            unknown_silence_s=own.unknown_silence_s * factor,
            unfinished_silence_s=own.unfinished_silence_s * factor,
        )
    default = ServerVad()
    if not isinstance(detection, ServerVad) or detection == default:
        return own
    changes: dict[str, float] = {}
    if detection.silence_duration_ms != default.silence_duration_ms:
        wait = max(detection.silence_duration_ms / 1000, 0.1)
        changes = {"silence_s": wait, "unknown_silence_s": wait, "unfinished_silence_s": wait}
        changes["pause_s"] = min(own.pause_s, wait)
    if detection.threshold != default.threshold:
        changes["start_speech"] = detection.threshold
        changes["stay_speech"] = max(0.05, detection.threshold - 0.15)
    if detection.prefix_padding_ms != default.prefix_padding_ms:
        changes["pre_roll_s"] = detection.prefix_padding_ms / 1000
    return msgspec.structs.replace(own, **changes)
