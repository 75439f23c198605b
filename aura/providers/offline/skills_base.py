"""What every skill of the offline assistant is given and gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aura.core.ports import ChatRequest, Message, Tool, ToolCall


class Use(msgspec.Struct, frozen=True):
    """Have a tool run before answering."""

    tool: str
    arguments: dict[str, Any]


Answer = str | Use


def parameters(tool: Tool) -> tuple[dict[str, dict[str, Any]], frozenset[str]]:
    """A tool's parameters by name, and which it requires. An application's schema may be anything."""
    known, required = tool.parameters.get("properties"), tool.parameters.get("required")
    kinds = known.items() if isinstance(known, dict) else ()
    names = required if isinstance(required, list | tuple) else ()
    shown = {name: kind if isinstance(kind, dict) else {} for name, kind in kinds}
    return shown, frozenset(name for name in names if isinstance(name, str))


class View(msgspec.Struct, frozen=True):
    """A request as the skills look at it."""

    messages: tuple[Message, ...]
    """Without the system's."""
    tools: Mapping[str, Tool]

    @classmethod
    def of(cls, request: ChatRequest) -> View:
        """The view of a request."""
        messages = tuple(message for message in request.messages if message.role != "system")
        return cls(messages, {tool.name: tool for tool in request.tools})

    def said(self) -> list[str]:
        """What the assistant said, in order."""
        return [m.text for m in self.messages if m.role == "assistant" and m.text.strip()]

    def last_said(self) -> str:
        """The assistant's last words, or empty."""
        return next((m.text for m in reversed(self.messages) if m.role == "assistant" and m.text.strip()), "")

    def was_asked(self, question: str) -> bool:
        """Whether the assistant's last words were this question, also if it was interrupted near the end."""
        said = self.last_said().rstrip(" —")
        return len(said) > len(question) // 2 and question.startswith(said)

    def asked(self) -> list[str]:
        """What the user said, in order; the last one is to be answered."""
        return [message.text for message in self.messages if message.role == "user"]

    def calls(self) -> dict[str, ToolCall]:
        """All calls by their id."""
        return {call.id: call for message in self.messages for call in message.tool_calls}

    def use(self, tool: str, **arguments: Any) -> Use | None:
        """A call of that tool if it is declared and takes these arguments; empty ones are left out."""
        declared = self.tools.get(tool)
        if declared is None:
            return None
        given = {name: value for name, value in arguments.items() if value not in ("", None)}
        known, required = parameters(declared)
        return Use(tool, given) if given.keys() <= known.keys() and required <= given.keys() else None


class Ask(msgspec.Struct, frozen=True):
    """What is to be answered."""

    words: tuple[str, ...]
    """The user's words in their plain form (see `skills_text.plain`)."""
    text: str
    """The same as it was heard."""
    view: View
    guessing: bool = False
    """Nothing fits the words as they are: words that only sound alike may be taken for what would make sense."""

    def has(self, *words: str) -> bool:
        """Whether any of these words was said."""
        return any(word in self.words for word in words)

    def after(self, *phrase: str) -> int:
        """Position after the first occurrence of a phrase, or -1."""
        size = len(phrase)
        spots = (at + size for at in range(len(self.words) - size + 1) if self.words[at : at + size] == phrase)
        return next(spots, -1)


Skill = Callable[[Ask], Answer | None]
"""Answers what it knows about, else None."""


def round_for_speech(value: float) -> tuple[str, bool]:
    """A number with few enough digits to be listened to, and whether that changed it."""
    rounded = round(value, 2) if abs(value) >= 1 else float(f"{value:.3g}")
    if abs(value) >= 1e12 or (value and abs(value) < 1e-4):
        power = f"{value:.3e}"
        mantissa, exponent = power.split("e")
        return f"{float(mantissa):g} times ten to the power of {int(exponent)}", True
    text = str(int(rounded)) if rounded == int(rounded) else f"{rounded:.6f}".rstrip("0")
    return text.replace("-", "minus "), abs(rounded - value) > 1e-9 * max(1.0, abs(value))
