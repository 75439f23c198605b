"""Tools that the rules do not know (an application's own): called when their name is said and their needs are met."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aura.core.ports import ChatRequest, Tool
from aura.providers.offline.numbers import Found, number_at
from aura.providers.offline.skills_base import Answer, Ask, Use, parameters

KNOWN = frozenset({"current_time", "calculate", "convert_units", "set_timer", "list_timers", "cancel_timer"})
_EMPTY = frozenset("get fetch find look lookup up search query do run the a an of for by to show read my".split())
"""Parts of a tool's name that nobody says."""
_PREPOSITIONS = ("in", "for", "about", "of", "to", "at", "on", "called", "named", "with", "from")
_BLANK: dict[str, Any] = {"number": 0, "integer": 0, "boolean": True, "array": [], "object": {}}
_SPLIT = re.compile(r"[^a-zA-Z]+|(?<=[a-z])(?=[A-Z])")
_TRAILING = ("please", "now", "today", "right", "me", "like")


def declared(ask: Ask) -> Answer | None:
    """Call the declared tool whose name is said in full, if its required parameters can be read from the words."""
    spoken = {word.removesuffix("s") for word in ask.words}
    ranked: list[tuple[int, Tool, int]] = []
    for tool in ask.view.tools.values():
        parts = [part.lower().removesuffix("s") for part in _SPLIT.split(tool.name) if part]
        parts = [part for part in parts if part not in _EMPTY]
        if parts and tool.name not in KNOWN and spoken.issuperset(parts):
            last = max(at for at, word in enumerate(ask.words) if word.removesuffix("s") in parts)
            ranked.append((len(parts), tool, last + 1))
    for _, tool, after in sorted(ranked, key=lambda entry: -entry[0]):
        arguments = _arguments(tool, ask.words, after)
        if arguments is not None:
            return Use(tool.name, arguments)
    return None


def forced(request: ChatRequest) -> Use | None:
    """The call that has to be made (`tool_choice`), with what the user's words give; None once it has been made."""
    wanted = [tool for tool in request.tools if request.tool_choice in ("required", tool.name)]
    if not wanted or request.messages[-1].role == "tool":
        return None
    said = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
    words = tuple(said.lower().split())
    known, required = parameters(wanted[0])
    given = {name: _value(kind, words, 0, text_used=False) for name, kind in known.items() if name in required}
    return Use(wanted[0].name, {name: _BLANK.get(str(known[name].get("type")), said) if value is None else value
                                for name, value in given.items()})  # fmt: skip


def _arguments(tool: Tool, words: Sequence[str], after: int) -> dict[str, Any] | None:
    """Values for the parameters, None if a required one cannot be found."""
    known, required = parameters(tool)
    found: dict[str, Any] = {}
    text_used = False
    for name, kind in known.items():
        value = _value(kind, words, after, text_used)
        if value is not None and (name in required or "enum" in kind):
            found[name] = value
            text_used = text_used or (kind.get("type") == "string" and "enum" not in kind)
        elif name in required:
            return None
    return found if required <= found.keys() else None


def _value(kind: Mapping[str, Any], words: Sequence[str], after: int, text_used: bool) -> Any:
    if isinstance(kind.get("enum"), list):
        return next((option for option in kind["enum"] if str(option).lower() in words), None)
    match kind.get("type"):
        case "number" | "integer":
            number: Found | None = next((f for at in range(len(words)) if (f := number_at(words, at))), None)
            return None if number is None else int(number.value) if kind["type"] == "integer" else number.value
        case "boolean":
            return "off" not in words and "no" not in words
        case "string" if not text_used:
            return _rest(words, after) or None
        case _:
            return None


def _rest(words: Sequence[str], after: int) -> str:
    """The words after the tool's name, from the last preposition's object on."""
    rest = list(words[after:])
    at = next((at for at, word in enumerate(rest) if word in _PREPOSITIONS), -1)
    rest = rest[at + 1 :] if at >= 0 else rest
    while rest and rest[-1] in _TRAILING:
        rest.pop()
    return " ".join(rest).capitalize()
