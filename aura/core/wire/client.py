"""What clients send: the 11 events of the Realtime protocol and AURA's own, bytes in, messages out.

Shapes: realtime-protocol.md 1.4. Unknown keys are ignored (clients send more than the documentation lists). A message
that cannot be obeyed raises `ProtocolFault`, nothing else ever does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from aura.core.audio import AudioFormat
from aura.core.errors import ProtocolFault
from aura.core.ports import Tool
from aura.core.wire import faults
from aura.core.wire.formats import WireFormat
from aura.core.wire.items import ClientItem, FunctionCall, FunctionCallOutput, ItemId, ItemReference, Message

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Largest audio of one `input_audio_buffer.append`."""

Millis = Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class ClientEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all messages; `event_id` is the client's own and comes back in errors."""

    event_id: str | None = None


class SessionUpdate(ClientEvent, frozen=True, kw_only=True, tag="session.update"):
    """Change the session. The patch is checked by `RealtimeSession.apply`."""

    session: dict[str, Any]


class Append(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """More audio, in the session's input format; it may end inside a sample."""

    audio: bytes


class Commit(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    """The audio so far is an utterance."""


class Clear(ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    """Throw the audio so far away."""


class ItemCreate(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.create"):
    """Put an item into the conversation: at the end, behind an item, or with "root" in front."""

    item: ClientItem
    previous_item_id: ItemId | None = None


class ItemRetrieve(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.retrieve"):
    """Show me that item."""

    item_id: str


class ItemDelete(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.delete"):
    """Forget that item."""

    item_id: str


class ItemTruncate(ClientEvent, frozen=True, kw_only=True, tag="conversation.item.truncate"):
    """Only so much of that item was heard."""

    item_id: str
    content_index: Annotated[int, msgspec.Meta(ge=0)] = 0
    end_ms: Millis = msgspec.field(name="audio_end_ms")

    @property
    def audio_end_ms(self) -> int:
        """Whole milliseconds that were heard; browsers send fractions."""
        return int(self.end_ms)


class FunctionTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """A function that the client offers to the model."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def tool(self) -> Tool:
        """The same for a chat model."""
        return Tool(self.name, self.description or "", self.parameters or {"type": "object", "properties": {}})


class NamedFunction(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """The function that must be called."""

    name: str


ToolChoice = Literal["auto", "none", "required"]
MaxTokens = Annotated[int, msgspec.Meta(ge=1, le=4096)] | Literal["inf"]
Modalities = Annotated[tuple[Literal["text", "audio"], ...], msgspec.Meta(min_length=1)]


class VoiceRef(msgspec.Struct, frozen=True):
    """A voice given as an object."""

    id: str


class ResponseOutput(msgspec.Struct, frozen=True):
    """How a single response shall sound."""

    voice: str | VoiceRef | None = None
    format: WireFormat | None = None


class ResponseAudio(msgspec.Struct, frozen=True):
    """The audio part of a response's overrides."""

    output: ResponseOutput | None = None


class ResponseParams(msgspec.Struct, frozen=True):
    """What one response shall do differently from the session. None (or absent): as the session says."""

    instructions: str | None = None
    output_modalities: Modalities | None = None
    modalities: Modalities | None = None
    tools: tuple[FunctionTool, ...] | None = None
    tool_choice: ToolChoice | NamedFunction | None = None
    max_output_tokens: MaxTokens | None = None
    audio: ResponseAudio | None = None
    conversation: str | None = None
    input: tuple[Message | FunctionCall | FunctionCallOutput | ItemReference, ...] | None = None
    metadata: Annotated[dict[str, str], msgspec.Meta(max_length=16)] | None = None

    @property
    def out_of_band(self) -> bool:
        """Whether the response stays outside the conversation."""
        return self.conversation == "none"

    @property
    def modality(self) -> Literal["text", "audio"] | None:
        """What to answer with; the old `["text", "audio"]` means audio with its transcript."""
        asked = self.output_modalities or self.modalities
        return None if asked is None else "audio" if "audio" in asked else "text"

    @property
    def output_format(self) -> AudioFormat | None:
        """The audio format for this response."""
        chosen = self.audio.output.format if self.audio and self.audio.output else None
        return chosen.audio if chosen else None

    @property
    def voice(self) -> str | None:
        """The voice for this response."""
        voice = self.audio.output.voice if self.audio and self.audio.output else None
        return voice.id if isinstance(voice, VoiceRef) else voice


class ResponseCreate(ClientEvent, frozen=True, kw_only=True, tag="response.create"):
    """Answer now."""

    response: ResponseParams | None = None


class ResponseCancel(ClientEvent, frozen=True, kw_only=True, tag="response.cancel"):
    """Stop that response, or the running one."""

    response_id: str | None = None


class OutputClear(ClientEvent, frozen=True, kw_only=True, tag="output_audio_buffer.clear"):
    """Stop speaking. WebRTC's word for it; the session may treat it as a cancel."""


class PlayoutAck(ClientEvent, frozen=True, kw_only=True, tag="aura.playout.ack"):
    """The client has played so much of that item."""

    item_id: str
    played: Millis = msgspec.field(name="played_ms")

    @property
    def played_ms(self) -> int:
        """Whole milliseconds that were played."""
        return int(self.played)


class Resume(ClientEvent, frozen=True, kw_only=True, tag="aura.resume"):
    """Go on with an earlier session after a lost connection."""

    session_id: str


ClientMessage = (
    SessionUpdate
    | Append
    | Commit
    | Clear
    | ItemCreate
    | ItemRetrieve
    | ItemDelete
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
    | OutputClear
    | PlayoutAck
    | Resume
)


class _Head(msgspec.Struct, frozen=True):
    """The little that is read of a message that failed."""

    type: Any = None
    event_id: Any = None


_DECODER: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_HEAD = msgspec.json.Decoder(_Head)


def decode(raw: str | bytes, *, binary: bool = False) -> ClientMessage:
    """Read one message. `bytes` (a binary frame) is audio when the client chose the binary transport, else a fault.

    Raises `ProtocolFault` with code invalid_json, invalid_event, invalid_value, missing_required_parameter or
    string_above_max_length, and the client's event_id where it could be read.
    """
    if isinstance(raw, bytes):
        if not binary:
            raise ProtocolFault("invalid_event", "Binary frames are not accepted: send events as JSON text frames.")
        return _checked(Append(audio=raw))
    try:
        message = _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        raise _malformed(raw, error) from None
    except (ValueError, RecursionError):  # not JSON, lone surrogates, absurd nesting
        raise ProtocolFault("invalid_json", "The message is not valid JSON.") from None
    return _checked(message)


def _checked(message: ClientMessage) -> ClientMessage:
    """Refuse what fits the types and still is too much: more audio than allowed, free-form JSON without a floor."""
    match message:
        case Append(audio=audio) if len(audio) > MAX_APPEND_BYTES:
            text = f"Audio of {len(audio)} bytes is longer than {MAX_APPEND_BYTES} bytes: send it in pieces."
            raise ProtocolFault("string_above_max_length", text, param="audio", event_id=message.event_id)
        case ResponseCreate(response=ResponseParams(tools=tools)) if tools:
            for index, tool in enumerate(tools):
                faults.check_depth(tool.parameters, f"response.tools[{index}].parameters", message.event_id)
        case _:
            pass
    return message


def _malformed(raw: str, error: msgspec.ValidationError) -> ProtocolFault:
    try:
        head = _HEAD.decode(raw)
    except (ValueError, RecursionError) as broken:
        if isinstance(broken, msgspec.ValidationError):
            return ProtocolFault("invalid_event", "A message must be a JSON object with a 'type'.")
        return ProtocolFault("invalid_json", "The message is not valid JSON.")
    return faults.invalid(error, event_id=head.event_id if isinstance(head.event_id, str) else None)
