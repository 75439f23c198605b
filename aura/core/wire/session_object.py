"""The session as client and server agree on it: the GA session object, its updates and what they mean for AURA.

Shape, defaults and update rules: realtime-protocol.md 1.3. An update changes only the fields that it holds; null
switches off what can be switched off and is otherwise "unchanged"; a refused update changes nothing. Rules of the
echo that decide whether clients live: `interrupt_response` and `create_response` always present, `voice` and
`tool_choice` strings, the rate exactly as asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aura.core.audio import AudioFormat
from aura.core.errors import ProtocolFault
from aura.core.ports import Tool
from aura.core.wire import faults
from aura.core.wire.client import FunctionTool, MaxTokens, Modalities, NamedFunction, ToolChoice
from aura.core.wire.formats import Pcm, WireFormat
from aura.core.wire.session_patch import in_ga_shape, merge

PaddingMs = Annotated[int, Meta(ge=0, le=60_000)]


class ServerVad(msgspec.Struct, frozen=True, tag_field="type", tag="server_vad"):
    """The turn ends after a fixed silence."""

    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: PaddingMs = 300
    silence_duration_ms: PaddingMs = 200
    idle_timeout_ms: Annotated[int, Meta(ge=5_000, le=30_000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(msgspec.Struct, frozen=True, tag_field="type", tag="semantic_vad"):
    """The turn ends when the user seems to have finished."""

    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class Transcription(msgspec.Struct, frozen=True):
    """The client wants to see what the user said."""

    model: str = "aura"
    language: str | None = None
    prompt: str | None = None
    languages: tuple[str, ...] | UnsetType = UNSET
    keywords: tuple[str, ...] | UnsetType = UNSET
    delay: str | UnsetType = UNSET


class NoiseReduction(msgspec.Struct, frozen=True):
    """Kept for the echo."""

    type: Literal["near_field", "far_field"]
    strength: float | UnsetType = UNSET


class AudioInput(msgspec.Struct, frozen=True):
    """What the client sends and how its turns are found."""

    format: WireFormat = Pcm()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: ServerVad | SemanticVad | None = ServerVad()


class AudioOutput(msgspec.Struct, frozen=True):
    """What the client hears."""

    format: WireFormat = Pcm()
    voice: Annotated[str, Meta(min_length=1)] = "alloy"
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] = 1.0


class Audio(msgspec.Struct, frozen=True):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class OptIn(msgspec.Struct, frozen=True):
    """AURA's additions that this client understands."""

    transport: Literal["json", "binary"] = "json"
    events: bool = False


class TokenLimits(msgspec.Struct, frozen=True):
    """Part of `RetentionRatio`."""

    post_instructions: int | None = None


class RetentionRatio(msgspec.Struct, frozen=True, tag_field="type", tag="retention_ratio"):
    """How much of the history to keep when it becomes too long."""

    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | None = None


class RealtimeSession(msgspec.Struct, frozen=True, kw_only=True):
    """The effective session."""

    id: str
    model: str
    type: Literal["realtime", "transcription"] = "realtime"
    expires_at: int = 0
    """When the session ends, Unix seconds; 0: not set."""
    output_modalities: Modalities = ("audio",)
    instructions: str = ""
    tools: tuple[FunctionTool, ...] = ()
    tool_choice: ToolChoice | NamedFunction = "auto"
    max_output_tokens: MaxTokens = "inf"
    tracing: Literal["auto"] | dict[str, Any] | None = None
    truncation: Literal["auto", "disabled"] | RetentionRatio = "auto"
    prompt: dict[str, Any] | None = None
    include: tuple[str, ...] | None = None
    reasoning: dict[str, Any] | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    audio: Audio = Audio()
    aura: OptIn | UnsetType = UNSET

    def apply(
        self, patch: dict[str, Any], *, event_id: str | None = None, voices: Collection[str] = ()
    ) -> RealtimeSession:
        """The session after a `session.update`.

        `voices` are those that exist; empty: any name will do. Raises `ProtocolFault` with the dotted path of the
        offending field and the client's `event_id`.
        """
        faults.check_depth(patch, "session", event_id)
        try:
            folded = in_ga_shape(patch, transcribes=self.transcribes)
            merged = msgspec.convert(merge(msgspec.to_builtins(self), folded), RealtimeSession)
        except msgspec.ValidationError as error:
            raise faults.invalid(error, "session", event_id) from None
        if merged.type != self.type:
            text = f"The type of a session cannot change: this one is '{self.type}'."
            raise ProtocolFault("invalid_value", text, param="session.type", event_id=event_id)
        if voices and merged.voice != self.voice and merged.voice.lower() not in voices:
            raise faults.unknown_voice(merged.voice, voices, "session.audio.output.voice", event_id)
        return merged

    def echo(self) -> dict[str, Any]:
        """The session object for `session.created` and `session.updated`. Never holds `aura` unless asked for."""
        shown = msgspec.json.decode(msgspec.json.encode(self), type=dict[str, Any])  # lists, as in JSON
        if self.type == "transcription":
            kept = {key: shown[key] for key in ("type", "id", "expires_at", "include")}
            return kept | {"object": "realtime.transcription_session", "audio": {"input": shown["audio"]["input"]}}
        if not isinstance(self.tool_choice, str):
            shown["tool_choice"] = "auto"  # Pipecat parses only the strings
        return shown | {"object": "realtime.session"}

    # ---- what AURA needs to know ---------------------------------------------------------------------------------

    @property
    def input_format(self) -> AudioFormat:
        """Format of the client's audio."""
        return self.audio.input.format.audio

    @property
    def output_format(self) -> AudioFormat:
        """Format of the audio for the client."""
        return self.audio.output.format.audio

    @property
    def turn_detection(self) -> ServerVad | SemanticVad | None:
        """Who finds the turns; None: the client (push to talk)."""
        return self.audio.input.turn_detection

    @property
    def transcribes(self) -> bool:
        """Whether the client is told what the user said."""
        return self.audio.input.transcription is not None

    @property
    def voice(self) -> str:
        """Name of the voice."""
        return self.audio.output.voice

    @property
    def speed(self) -> float:
        """Speaking rate, 1.0 is normal."""
        return self.audio.output.speed

    @property
    def modality(self) -> Literal["text", "audio"]:
        """What replies are made of."""
        return "audio" if "audio" in self.output_modalities else "text"

    @property
    def max_tokens(self) -> int | None:
        """Longest answer in tokens; None: no limit."""
        return None if self.max_output_tokens == "inf" else self.max_output_tokens

    @property
    def functions(self) -> tuple[Tool, ...]:
        """The client's functions, for a chat model."""
        return tuple(tool.tool() for tool in self.tools)

    @property
    def binary(self) -> bool:
        """Whether audio travels in binary frames."""
        return isinstance(self.aura, OptIn) and self.aura.transport == "binary"

    @property
    def events(self) -> bool:
        """Whether the client understands `aura.*` events."""
        return isinstance(self.aura, OptIn) and self.aura.events


def opt_in_patch(query: str) -> dict[str, Any]:
    """The update that a query parameter `?aura=binary,events` stands for."""
    words = {word.strip() for word in query.split(",")}
    return {"aura": {"transport": "binary" if "binary" in words else "json", "events": "events" in words}}
