"""A tape's lines → calls of engines, both sides' audio on the time axis, and what the client was told."""

from __future__ import annotations

from typing import Any

import msgspec

from aura.core import ports, tape
from aura.storage.digest.shapes import Call, Track
from aura.storage.digest.tracks import Ear, Player

CLIENT_DELAY_S = 0.06
WORDS_MAX = 20_000
"""Characters kept of what one call was asked or gave."""


class _Content(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None
    transcript: str | None = None


class _Item(msgspec.Struct, frozen=True):
    id: str = ""
    type: str = ""
    role: str = ""
    status: str = ""
    content: tuple[_Content, ...] = ()

    @property
    def text(self) -> str:
        return "".join(part.transcript or part.text or "" for part in self.content)


class _Response(msgspec.Struct, frozen=True):
    id: str = ""
    status: str = ""


class _Error(msgspec.Struct, frozen=True):
    code: str | None = None
    message: str | None = None


class Told(msgspec.Struct, frozen=True):
    """A message to the client, as much of it as matters here."""

    type: str = ""
    item_id: str = ""
    delta: str = ""
    transcript: str = ""
    audio_end_ms: int = 0
    item: _Item = _Item()
    response: _Response = _Response()
    error: _Error | None = None


_told = msgspec.json.Decoder(Told)


def typed_in(message: str) -> str:
    """The text that the client typed, in a message that tells of it; otherwise nothing."""
    item = _told.decode(message).item
    return "" if item.role == "assistant" else item.text


class Item(msgspec.Struct):
    """A message of the conversation as the client knows it."""

    id: str
    role: str
    at: float
    said: list[tuple[float, str]] = []
    """Of the assistant: pieces of text, and how many seconds of the item's audio had been sent before each."""
    kept: str | None = None
    """Its words at the end: of one that was cut off, those that were heard."""
    status: str = ""
    typed: str = ""
    spoken: bool = True
    """Whether it is heard, and not only read."""
    truncated_ms: int | None = None
    first_audio: float | None = None


class TapeFacts:
    """Takes a tape's lines in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.items: dict[str, Item] = {}
        self.committed: list[str] = []
        """Items of the user's utterances, in order."""
        self.transcripts: dict[str, str] = {}
        self.faults: list[tuple[float, str, str]] = []
        """What the client was told that it did wrong."""
        self.crashes: list[tuple[float, str]] = []
        self.ear, self.player = Ear(), Player(CLIENT_DELAY_S)
        self.audio = self.ear.take
        self.ended: str | None = None
        self.lost = False
        self._open: dict[int, Call] = {}

    def settle(self, end: float) -> None:
        """The tape is over: what a client said later about what it had played counts, and calls end with the tape."""
        for call in self._open.values():
            call.end = end
        for item in self.items.values():
            if item.truncated_ms is not None:
                self.player.keep(item.id, item.truncated_ms / 1000)

    def take(self, at: float, line: tape.Line) -> None:
        """One line, with its time on the conversation's axis."""
        match line:
            case tape.Step(_, task, outcome):
                self._step(at, task, outcome)
            case tape.SentAudio(size, stream, _, item):
                self.player.send(at, item, size, f"out.{stream}")
                if (known := self.items.get(item)) and known.first_audio is None:
                    known.first_audio = at
            case tape.Sent(text):
                self._sent(at, text)
            case tape.Call(task, part, provider, _, text):
                call = Call(part, provider, at, asked=text[:WORDS_MAX])
                self._open[task] = call
                self.calls.append(call)
            case tape.Left(task, outcome):
                if task in self._open:
                    call = self._open.pop(task)
                    call.end, call.outcome = at, outcome
            case tape.LostSteps():
                self.lost = True
            case tape.TapeEnd(why):
                self.ended = why

    def _step(self, at: float, task: int, outcome: tape.Outcome | None) -> None:
        if isinstance(outcome, tape.Audio):
            self.audio(at, outcome.bytes, f"in.{outcome.format}")
        elif isinstance(outcome, tape.Crashed):
            self.crashes.append((at, outcome.error))
        if outcome is not None and (call := self._open.get(task)):
            result(call, at, outcome)

    def _sent(self, at: float, text: str) -> None:
        try:
            told = _told.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return
        item = self.items.get(told.item_id or told.item.id)
        match told.type:
            case "conversation.item.added":
                self._added(at, told.item)
            case "input_audio_buffer.committed":
                self.committed.append(told.item_id)
            case "conversation.item.input_audio_transcription.completed":
                self.transcripts[told.item_id] = told.transcript
            case "error" if told.error is not None:
                self.faults.append((at, told.error.code or "", told.error.message or ""))
            case _ if item is not None and item.role == "assistant":
                self._words(item, told)
        self._playback(at, told)

    def _words(self, item: Item, told: Told) -> None:
        """Something about an item of the assistant."""
        match told.type:
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                item.said.append((self.player.sent_s.get(item.id, 0.0), told.delta))
                item.spoken = item.spoken and told.type != "response.output_text.delta"
            case "conversation.item.done":
                item.kept, item.status = told.item.text, told.item.status
            case "conversation.item.truncated":
                item.truncated_ms = told.audio_end_ms

    def _playback(self, at: float, told: Told) -> None:
        match told.type:
            case "aura.playout.hold":
                self.player.hold(at)
            case "aura.playout.resume":
                self.player.resume(at)
            case "aura.playout.flush" | "input_audio_buffer.speech_started":  # stock clients flush when somebody speaks
                self.player.flush(at)
            case "response.done" if told.response.status == "cancelled":
                self.player.flush(at)

    def _added(self, at: float, item: _Item) -> None:
        if item.type != "message" or not item.id:
            return
        voiced = any(part.type == "input_audio" for part in item.content)
        typed = "" if item.role == "assistant" or voiced else item.text
        self.items[item.id] = Item(item.id, item.role, at, typed=typed, spoken=not typed)

    def tracks(self) -> tuple[list[Track], list[Track]]:
        """The user's audio, and the assistant's as far as it was played."""
        return self.ear.tracks(), self.player.played


def result(call: Call, at: float, outcome: Any) -> None:
    """What a call gave now."""
    match outcome:
        case tape.Heard(transcript):
            call.gave = transcript.text
        case tape.Item(ports.TextDelta(text)):
            call.gave = (call.gave + text)[:WORDS_MAX]
        case tape.Item(ports.ToolCall() as asked):
            call.gave = f"{call.gave}\n{asked.name}({asked.arguments[:WORDS_MAX]})".strip()
        case tape.Item(ports.Finished(_, given, made, cached)):
            call.input_tokens, call.output_tokens, call.cached_tokens = given, made, cached
            return
        case tape.Sound(size, rate_hz):
            call.audio_s += size / 2 / rate_hz
        case tape.ToolDone(text):
            call.gave = text[:WORDS_MAX]
        case tape.Failed(_, message):
            call.error = message
            return
        case tape.Crashed(error):
            call.error = error
            return
        case _:
            return
    if call.first is None:
        call.first = at
