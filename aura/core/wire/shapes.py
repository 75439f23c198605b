"""What server events are made of: responses, usage, parts and errors (realtime-protocol.md 1.6 and 1.8)."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from aura.core.wire.items import Item

ResponseStatus = Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]
CancelReason = Literal["turn_detected", "client_cancelled"]
IncompleteReason = Literal["max_output_tokens", "content_filter"]


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong; `event_id` is the client's id of the message that caused it."""

    type: str
    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


class PartError(msgspec.Struct, frozen=True):
    """Why a transcription or a response failed."""

    type: str
    code: str
    message: str


class Duration(msgspec.Struct, frozen=True, tag_field="type", tag="duration"):
    """Usage of a transcription; strict clients lose the transcript without it."""

    seconds: float


class AudioPart(msgspec.Struct, frozen=True, tag_field="type", tag="audio"):
    """A spoken part. No field may be null."""

    transcript: str


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A written part."""

    text: str


class CachedTokens(msgspec.Struct, frozen=True):
    """What of the cached input was what."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokens(msgspec.Struct, frozen=True):
    """What of the input was what."""

    text_tokens: int
    audio_tokens: int
    cached_tokens: int
    cached_tokens_details: CachedTokens
    image_tokens: int = 0


class OutputTokens(msgspec.Struct, frozen=True):
    """What of the output was what."""

    text_tokens: int
    audio_tokens: int


class WireUsage(msgspec.Struct, frozen=True):
    """Usage of a response."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_token_details: InputTokens
    output_token_details: OutputTokens


class Usage(msgspec.Struct, frozen=True):
    """What a reply used: the model's tokens, and the seconds of audio it answered and spoke."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    heard_s: float = 0.0
    spoken_s: float = 0.0

    def wire(self) -> WireUsage:
        """The same in tokens: 10 a second for audio in, 20 a second for audio out, as OpenAI counts."""
        audio_in, audio_out = round(10 * self.heard_s), round(20 * self.spoken_s)
        total_in, total_out = self.input_tokens + audio_in, self.output_tokens + audio_out
        cached = CachedTokens(text_tokens=self.cached_tokens)
        return WireUsage(
            total_in + total_out,
            total_in,
            total_out,
            InputTokens(self.input_tokens, audio_in, self.cached_tokens, cached),
            OutputTokens(self.output_tokens, audio_out),
        )


class StatusDetails(msgspec.Struct, frozen=True):
    """Why a response did not complete."""

    type: ResponseStatus
    reason: CancelReason | IncompleteReason | UnsetType = UNSET
    error: PartError | UnsetType = UNSET


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response as a whole."""

    object: Literal["realtime.response"] = "realtime.response"
    id: str
    status: ResponseStatus
    status_details: StatusDetails | None
    output: tuple[Item, ...]
    conversation_id: str | None
    output_modalities: tuple[str, ...]
    max_output_tokens: int | str
    audio: dict[str, Any]
    usage: WireUsage | None
    metadata: dict[str, str] | None
