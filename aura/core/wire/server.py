"""What the server sends: the events of the Realtime protocol and AURA's own, as structs (realtime-protocol.md 1.5-1.8).

An event is written without its `event_id`; `stamped` puts one into every event, so that none can lack it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aura.core.limits import RateLimit
from aura.core.wire.items import Item
from aura.core.wire.shapes import AudioPart, Duration, ErrorDetail, PartError, Response, TextPart


class ServerEvent(msgspec.Struct, frozen=True, tag_field="type"):
    """Base of all events."""


_ENCODER = msgspec.json.Encoder()


def stamped(event: ServerEvent, event_id: str) -> str:
    """The event as the text frame that is sent, with its id."""
    return f'{{"event_id":"{event_id}",{_ENCODER.encode(event).decode()[1:]}'


# ---- session and errors ----------------------------------------------------------------------------------------


class SessionCreated(ServerEvent, frozen=True, tag="session.created"):
    """The first event of all."""

    session: dict[str, Any]


class SessionUpdated(ServerEvent, frozen=True, tag="session.updated"):
    """The answer to every accepted update: the whole session."""

    session: dict[str, Any]


class ConversationCreated(ServerEvent, frozen=True, tag="conversation.created"):
    """Not sent by OpenAI any more, but Pipecat's Grok client waits for it and no other client minds."""

    conversation: dict[str, str]


class Error(ServerEvent, frozen=True, tag="error"):
    """A message of the client could not be obeyed, or the server failed; the session goes on."""

    error: ErrorDetail


# ---- hearing ---------------------------------------------------------------------------------------------------


class SpeechStarted(ServerEvent, frozen=True, tag="input_audio_buffer.speech_started"):
    """`item_id` is the one that the turn will have."""

    item_id: str
    audio_start_ms: int


class SpeechStopped(ServerEvent, frozen=True, tag="input_audio_buffer.speech_stopped"):
    """The end of the user's speech."""

    item_id: str
    audio_end_ms: int


class TimeoutTriggered(ServerEvent, frozen=True, tag="input_audio_buffer.timeout_triggered"):
    """Nobody said anything for idle_timeout_ms."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int


class Committed(ServerEvent, frozen=True, tag="input_audio_buffer.committed"):
    """The buffer became an item."""

    item_id: str
    previous_item_id: str | None


class Cleared(ServerEvent, frozen=True, tag="input_audio_buffer.cleared"):
    """The buffer is empty."""


class TranscriptDelta(ServerEvent, frozen=True, tag="conversation.item.input_audio_transcription.delta"):
    """More of what the user said."""

    item_id: str
    content_index: int
    delta: str


class TranscriptCompleted(ServerEvent, frozen=True, tag="conversation.item.input_audio_transcription.completed"):
    """All of what the user said."""

    item_id: str
    content_index: int
    transcript: str
    usage: Duration


class TranscriptFailed(ServerEvent, frozen=True, tag="conversation.item.input_audio_transcription.failed"):
    """The words are not known; the turn goes on."""

    item_id: str
    content_index: int
    error: PartError


# ---- items -----------------------------------------------------------------------------------------------------


class ItemAdded(ServerEvent, frozen=True, tag="conversation.item.added"):
    """The item has its place in the conversation."""

    item: Item
    previous_item_id: str | None


class ItemDone(ServerEvent, frozen=True, tag="conversation.item.done"):
    """The item is final."""

    item: Item
    previous_item_id: str | None


class ItemRetrieved(ServerEvent, frozen=True, tag="conversation.item.retrieved"):
    """The item that was asked for."""

    item: Item


class ItemDeleted(ServerEvent, frozen=True, tag="conversation.item.deleted"):
    """The item is gone."""

    item_id: str


class ItemTruncated(ServerEvent, frozen=True, tag="conversation.item.truncated"):
    """Only this much of the item was heard."""

    item_id: str
    content_index: int
    audio_end_ms: int


# ---- responses -------------------------------------------------------------------------------------------------


class ResponseCreated(ServerEvent, frozen=True, tag="response.created"):
    """The first event of a response."""

    response: Response


class ResponseDone(ServerEvent, frozen=True, tag="response.done"):
    """The last event of a response, however it ended."""

    response: Response


class RateLimitsUpdated(ServerEvent, frozen=True, tag="rate_limits.updated"):
    """What is left after a response of the limits that are set."""

    rate_limits: tuple[RateLimit, ...]


class OutputItemAdded(ServerEvent, frozen=True, tag="response.output_item.added"):
    """The response begins an item."""

    response_id: str
    output_index: int
    item: Item


class OutputItemDone(ServerEvent, frozen=True, tag="response.output_item.done"):
    """The item is complete; Agents and LiveKit run functions on this."""

    response_id: str
    output_index: int
    item: Item


class PartEvent(ServerEvent, frozen=True):
    """An event about one part of one item of one response."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int


class ContentPartAdded(PartEvent, frozen=True, tag="response.content_part.added"):
    """The part begins."""

    part: AudioPart | TextPart


class ContentPartDone(PartEvent, frozen=True, tag="response.content_part.done"):
    """The part is complete."""

    part: AudioPart | TextPart


class AudioDelta(PartEvent, frozen=True, tag="response.output_audio.delta"):
    """More audio, base64. With an empty `delta` it names the item of the binary frames that follow."""

    delta: str


class AudioDone(PartEvent, frozen=True, tag="response.output_audio.done"):
    """No more audio."""


class SpokenDelta(PartEvent, frozen=True, tag="response.output_audio_transcript.delta"):
    """More of what is being said."""

    delta: str


class SpokenDone(PartEvent, frozen=True, tag="response.output_audio_transcript.done"):
    """All of what was said."""

    transcript: str


class TextDelta(PartEvent, frozen=True, tag="response.output_text.delta"):
    """More text."""

    delta: str


class TextDone(PartEvent, frozen=True, tag="response.output_text.done"):
    """All of the text."""

    text: str


class ArgumentsDelta(ServerEvent, frozen=True, tag="response.function_call_arguments.delta"):
    """More of the arguments."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str


class ArgumentsDone(ServerEvent, frozen=True, tag="response.function_call_arguments.done"):
    """All of the arguments; Pipecat and pydantic-ai run functions on this, strict clients want the name."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    name: str
    arguments: str
