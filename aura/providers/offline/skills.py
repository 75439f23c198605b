"""The offline assistant's mind: finds the skill that fits the last words, or words what a tool returned."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from aura.core.ports import ChatRequest
from aura.providers.offline import wording
from aura.providers.offline.skills_base import Answer, Ask, Skill, Use, View
from aura.providers.offline.skills_figures import clock, conversions, sums, wanted
from aura.providers.offline.skills_talk import SIMPLE, SUGGESTION, talk
from aura.providers.offline.skills_text import corrected, plain
from aura.providers.offline.skills_timers import timers
from aura.providers.offline.skills_tools import declared
from aura.providers.offline.skills_words import repeat, spell

__all__ = ["Use", "answer"]

SKILLS: tuple[Skill, ...] = (repeat, spell, timers, conversions, sums, clock, talk, declared)
"""Asked in this order."""
MAX_HEARD_WORDS, MAX_WORDS, MAX_CLAUSES = 30, 120, 6
"""What is said back, read, and taken apart at most."""
_INTERJECTIONS = (
    ("hold", "on"), ("never", "mind"), ("hang", "on"), ("stop",), ("wait",), ("no",), ("okay",), ("ok",), ("hey",),
    ("hi",), ("hello",), ("aura",), ("please",), ("um",), ("uh",), ("well",), ("so",), ("and",), ("yes",), ("sorry",),
    ("can", "you"), ("could", "you"), ("would", "you"), ("will", "you"), ("i", "want", "you", "to"), ("thanks",),
)  # fmt: skip
"""What often precedes a request."""
_STARTERS = frozenset("what how set start tell convert spell remind calculate say who which cancel list repeat".split())
"""Words that a request begins with."""


def answer(request: ChatRequest) -> Answer:
    """What to say, or the tool to call."""
    view = View.of(request)
    if view.messages and view.messages[-1].role == "tool":
        return _results(view)
    if not view.messages or not view.asked():
        return SIMPLE["hello"]
    if view.messages[-1].role == "assistant":
        return "Is there anything else?"
    heard = view.asked()[-1]
    words = plain(heard)[-MAX_WORDS:]
    if not words:
        return f"I did not catch that. {SUGGESTION}"
    for ask in _readings(words, heard, view):
        for skill in SKILLS:
            found = skill(ask)
            if found is not None:
                return found
    shown = heard.split()
    said = " ".join(shown[:MAX_HEARD_WORDS]).rstrip(".,;:!?") + (" and so on" if len(shown) > MAX_HEARD_WORDS else "")
    return f"I heard: {said}. That is beyond me while I am offline. {SUGGESTION}"


def _readings(words: tuple[str, ...], heard: str, view: View) -> Iterator[Ask]:
    """The ways to take an utterance, the most literal first."""
    clauses = list(dict.fromkeys(_clauses(words)))
    for clause in clauses:
        yield Ask(clause, heard, view)
    for clause in clauses:
        yield Ask(corrected(clause), heard, view, guessing=True)


def _clauses(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The whole, the whole without interjections before it, and what may be its last sentence."""
    yield words
    rest = words
    while found := next((i for i in _INTERJECTIONS if rest[: len(i)] == i and len(rest) > len(i)), None):
        rest = rest[len(found) :]
    yield rest
    starts = [at for at in range(1, len(words) - 1) if words[at] in _STARTERS]
    yield from (words[at:] for at in reversed(starts[-MAX_CLAUSES:]))


def _results(view: View) -> str:
    """What the tools returned since the last words."""
    said: list[str] = []
    for index in range(len(view.messages) - 1, -1, -1):
        message = view.messages[index]
        if message.role == "tool":
            said.append(_result(view, message.tool_call_id, message.text))
        elif message.role != "assistant" or message.text:
            break
    return " ".join(reversed(said))


def _result(view: View, call_id: str, result: str) -> str:
    call = view.calls().get(call_id)
    if call is None:
        return wording.plain_result(result)
    try:
        arguments = msgspec.json.decode(call.arguments or "{}", type=dict[str, object])
    except msgspec.DecodeError:
        arguments = {}
    match call.name:
        case "calculate":
            return wording.calculated(str(arguments.get("expression", "")), result)
        case "convert_units":
            return wording.converted(result)
        case "current_time":
            return wording.clock_read(_what_of_the_clock(view), str(arguments.get("timezone", "")), result)
        case "set_timer":
            return wording.timer_set(result, reminder=bool(arguments.get("message")))
        case "list_timers":
            return wording.timers_listed(result)
        case "cancel_timer":
            return wording.timer_cancelled(result)
        case _:
            return wording.plain_result(result)


def _what_of_the_clock(view: View) -> str:
    """Time, date, …: as the user's last words say, read the same way as when the tool was chosen."""
    heard = view.asked()[-1] if view.asked() else ""
    for ask in _readings(plain(heard), heard, view):
        if isinstance(clock(ask), Use):
            return wanted(ask.words)
    return "time"
