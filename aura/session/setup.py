"""What a reply is set up with: the settings, over them what the session asks for, over that what a request asks for."""

from __future__ import annotations

from typing import Literal

import msgspec

from aura.core.audio import AudioFormat
from aura.core.dialogue import Dialogue
from aura.core.errors import ProtocolFault
from aura.core.pacing import PlayoutSettings
from aura.core.ports import ChatRequest, Message, Tool, ToolCall
from aura.core.sentences import SentenceSettings
from aura.core.wire.client import NamedFunction, ResponseParams, ToolChoice
from aura.core.wire.conversation import ConversationView
from aura.core.wire.items import FunctionCall, FunctionCallOutput, Item, ItemReference, text_of
from aura.core.wire.items import Message as WireMessage
from aura.core.wire.session_object import RealtimeSession
from aura.stages.speak import SpeakSettings
from aura.stages.think import ThinkSettings


class ReplySettings(msgspec.Struct, frozen=True):
    """How replies are made."""

    instructions: str = (
        "You are a friendly voice assistant. Your words are spoken aloud: answer briefly, in plain sentences, without "
        "markdown, lists or emoji."
    )
    """What the model is told about its part."""
    draft_depth: Literal["stt", "llm", "tts"] = "tts"
    """How far a draft may go before the turn has really ended: transcribe, ask the model, or make the audio too."""
    apology: str = "Sorry, something went wrong on my side. Could you say that again?"
    """Spoken when a reply failed for good."""
    max_tokens: int = 0
    """Longest answer in tokens; 0 leaves it to the model."""


class Setup(msgspec.Struct, frozen=True):
    """Everything the stages of a reply are set up with."""

    reply: ReplySettings = ReplySettings()
    think: ThinkSettings = ThinkSettings()
    speak: SpeakSettings = SpeakSettings()
    playout: PlayoutSettings = PlayoutSettings()
    sentences: SentenceSettings = SentenceSettings()
    output: AudioFormat = AudioFormat("pcm16", 24_000)
    modality: Literal["text", "audio"] = "audio"
    instructions: str | None = None
    """Take the place of the conversation's; None: they hold."""
    functions: tuple[Tool, ...] = ()
    """What the client runs for the model."""
    own_tools: bool = True
    """Whether the model may use the server's tools too."""
    tool_choice: str = "auto"
    max_tokens: int | None = None
    context: tuple[Message, ...] | None = None
    """What a request wants answered instead of the conversation."""
    metadata: dict[str, str] | None = None
    """What the client wants to find again in the response (LiveKit loses the reply without it)."""

    def of_session(self, session: RealtimeSession) -> Setup:
        """As the session wants its replies."""
        return msgspec.structs.replace(
            self,
            output=session.output_format,
            speak=msgspec.structs.replace(self.speak, voice=session.voice, speed=session.speed),
            modality=session.modality,
            functions=session.functions,
            own_tools=_free(session.tool_choice),
            tool_choice=_choice(session.tool_choice),
            max_tokens=session.max_tokens or self.reply.max_tokens or None,
        )

    def of_response(self, asked: ResponseParams, view: ConversationView) -> Setup:
        """As this one request wants its reply. Raises `ProtocolFault` for a reference to an unknown item."""
        setup = self
        if asked.tools is not None:
            functions = tuple(tool.tool() for tool in asked.tools)
            setup = msgspec.structs.replace(setup, functions=functions, own_tools=False)
        if asked.tool_choice is not None:
            choice, free = _choice(asked.tool_choice), _free(asked.tool_choice)
            setup = msgspec.structs.replace(setup, tool_choice=choice, own_tools=setup.own_tools and free)
        if asked.max_output_tokens is not None:
            limit = None if asked.max_output_tokens == "inf" else asked.max_output_tokens
            setup = msgspec.structs.replace(setup, max_tokens=limit)
        return msgspec.structs.replace(
            setup,
            instructions=asked.instructions,
            context=given_input(asked, view),
            metadata=asked.metadata,
            modality=asked.modality or setup.modality,
            output=asked.output_format or setup.output,
            speak=msgspec.structs.replace(setup.speak, voice=asked.voice or setup.speak.voice),
        )

    def messages(self, dialogue: Dialogue) -> tuple[Message, ...]:
        """What is to be answered: what the request brought along, or else the conversation."""
        if self.context is not None:
            return (*dialogue.system(self.instructions), *self.context)
        return dialogue.messages(self.instructions)

    def request(self, messages: tuple[Message, ...], server_tools: tuple[Tool, ...]) -> ChatRequest:
        """What the model is asked."""
        theirs = {tool.name for tool in self.functions}
        tools = self.functions
        if self.own_tools:
            tools += tuple(tool for tool in server_tools if tool.name not in theirs)
        if self.tool_choice == "none":
            tools = ()
        return ChatRequest(messages, tools, self.max_tokens, self.tool_choice if tools else "auto")


def _choice(choice: ToolChoice | NamedFunction) -> str:
    return choice.name if isinstance(choice, NamedFunction) else choice


def _free(choice: ToolChoice | NamedFunction) -> bool:
    """Whether the model chooses: who demands a call means one of their own functions."""
    return choice == "auto"


def given_input(asked: ResponseParams, view: ConversationView) -> tuple[Message, ...] | None:
    """The context that a request brings along instead of the conversation; None: it brings none.

    Raises `ProtocolFault` for a reference to an item that does not exist.
    """
    if asked.input is None:
        return None
    messages = []
    for index, item in enumerate(asked.input):
        known = view.item(item.id) if isinstance(item, ItemReference) else item
        if known is None:
            text = f"Item '{item.id}' was not found in the conversation."
            raise ProtocolFault("invalid_value", text, param=f"response.input[{index}].id")
        messages.append(_message(known))
    return tuple(messages)


def _message(item: Item) -> Message:
    match item:
        case WireMessage():
            return Message(item.role, text_of(item))
        case FunctionCall():
            return Message("assistant", "", (ToolCall(item.call_id, item.name, item.arguments),))
        case FunctionCallOutput():
            return Message("tool", item.output, tool_call_id=item.call_id)
