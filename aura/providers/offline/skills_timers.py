"""Timers and reminders."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from aura.providers.offline.numbers import SOUND_ALIKE, Found, number_before
from aura.providers.offline.skills_base import Answer, Ask
from aura.providers.offline.skills_phrases import GOOD_MATCH, match
from aura.providers.tools.timers import MAX_SECONDS

ASK_HOW_LONG = "For how long shall I set the timer?"
TOO_LONG = "That is too long for me; I count down one day at most."
CANNOT = "I cannot set timers in this conversation."
WHICH_ONE = "Which one? Running are"
"""How `cancel_timer` asks back."""
ASK_CLOCK_TIME = "I can only count time down. Tell me in how many minutes or hours."
LABEL_CHARS = 60

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "sec": 1, "min": 60, "hr": 3600}
_TIMER = ("timer", "timers", "alarm", "alarms", "countdown", "reminder", "reminders")
_CANCEL = ("cancel", "stop", "delete", "clear", "remove", "end", "kill", "off", "abort", "forget")
_LIST = ("list", "show", "what", "which", "left", "any", "many", "much", "check", "status", "running")
_NO_LABEL = frozenset(
    "a an the my set start make create put new timer timers alarm reminder please for and to can you could cancel stop "
    "delete clear remove end kill turn off all every both of me would up i want need another on that this it in start "
    "run give one will okay hey now then um uh wait no sat his abort forget time from with".split()
)


class Span(msgspec.Struct, frozen=True):
    """A length of time, said in `words[begin:end]`."""

    seconds: float
    begin: int
    end: int


def timers(ask: Ask) -> Answer | None:
    """Set, list and cancel timers; remind of something."""
    intent, score = match(ask.words)
    if score >= GOOD_MATCH and intent == "list_timers":
        return ask.view.use("list_timers") or CANNOT
    if score >= GOOD_MATCH and intent == "cancel_all":
        return ask.view.use("cancel_timer", label="all") or CANNOT
    span = find_span(ask.words, guessing=ask.guessing)
    if ask.has("remind", "wake") or ask.after("tell", "me", "in") >= 0:
        return _remind(ask, span)
    view = ask.view
    if span and (view.was_asked(ASK_HOW_LONG) or view.was_asked(ASK_CLOCK_TIME)):
        return _set(ask, span.seconds)
    if view.last_said().startswith(WHICH_ONE) and _names_one(ask, span):
        return _cancel(ask, span)
    named = ask.has(*_TIMER) or (ask.guessing and ask.words[:1] in (("set",), ("start",)) and span)
    return _about_timers(ask, span) if named else None


def _about_timers(ask: Ask, span: Span | None) -> Answer | None:
    if ask.has(*_CANCEL):
        return _cancel(ask, span)
    if span:
        return _set(ask, span.seconds, _label(ask.words, span))
    if ask.has(*_LIST):
        return ask.view.use("list_timers") or CANNOT
    if ask.guessing and (ask.has("set", "start", "make", "create", "put", "need", "want") or len(ask.words) < 3):
        if "set_timer" not in ask.view.tools:
            return CANNOT
        return ASK_CLOCK_TIME if ask.has("alarm") and ask.has("at", "for", "clock", "am", "pm") else ASK_HOW_LONG
    return None


def _names_one(ask: Ask, span: Span | None) -> bool:
    """Whether the words are an answer to which of the timers is meant."""
    label = _label(ask.words, None) or _length(span)
    return (bool(label) and label in ask.view.last_said().lower()) or ask.has("all", "both", "everything")


def _cancel(ask: Ask, span: Span | None) -> Answer | None:
    everything = ask.has("all", "every", "both", "timers", "everything")
    label = "all" if everything else _label(ask.words, None) or _length(span)
    if not label and not ask.has(*_TIMER):
        return None
    return ask.view.use("cancel_timer", label=label) or CANNOT


def _set(ask: Ask, seconds: float, label: str = "") -> Answer:
    if seconds > MAX_SECONDS:
        return TOO_LONG
    return ask.view.use("set_timer", seconds=seconds, label=label) or CANNOT


def _remind(ask: Ask, span: Span | None) -> Answer | None:
    if span is None:
        asking = ask.guessing and ask.has("remind", "wake") and ask.has("me", "us")
        return (ASK_CLOCK_TIME if "set_timer" in ask.view.tools else CANNOT) if asking else None
    if ask.has("wake"):
        task = "wake up"
    else:
        rest = [*ask.words[: span.begin], *ask.words[span.end :]]
        begin = next((at for at, word in enumerate(rest) if word in ("remind", "tell")), -1) + 1
        task = " ".join(rest[begin:])
        task = re.sub(r"^(?:me|us)\b", "", task).strip()
        task = re.sub(r"^(?:in|to|that|about|of|for)\b|\b(?:in|please|after|from now)$", "", task).strip()
        task = re.sub(r"^(?:in|to|that|about|of)\b", "", task).strip()
    if span.seconds > MAX_SECONDS:
        return TOO_LONG
    task = task[:LABEL_CHARS].strip()
    spoken = _as_told(task)
    use = ask.view.use("set_timer", seconds=span.seconds, label=task, message=spoken)
    return use or _set(ask, span.seconds, task)


def _as_told(task: str) -> str:
    """`call my mother` → Reminder: call your mother."""
    swapped = {"my": "your", "i": "you", "me": "you", "mine": "yours", "am": "are", "myself": "yourself"}
    words = [swapped.get(word, word) for word in task.split()]
    return f"Here is your reminder: {' '.join(words)}." if words else "Here is your reminder."


def _label(words: Sequence[str], span: Span | None) -> str:
    """What a timer is for: the words that say nothing else."""
    kept = [*words[: span.begin], *words[span.end :]] if span else list(words)
    for mark in ("called", "named", "labeled", "labelled"):
        if mark in kept:
            kept = kept[kept.index(mark) + 1 :]
    rest = [word for word in kept if word not in _NO_LABEL]
    if span is None and any(word.removesuffix("s") in _SECONDS for word in rest):
        return ""
    return " ".join(rest) if len(rest) <= 3 else ""


def _length(span: Span | None) -> str:
    """A span as timers are named by it."""
    if span is None:
        return ""
    for size, name in ((3600, "hour"), (60, "minute"), (1, "second")):
        if span.seconds % size == 0:
            return f"{span.seconds / size:g} {name}"
    return ""


def find_span(words: Sequence[str], *, guessing: bool = False) -> Span | None:
    """The first length of time: `an hour and thirty minutes`, `two and a half minutes`, `half an hour`."""
    total, begin, end = 0.0, -1, -1
    for at, word in enumerate(words):
        size = _SECONDS.get(word.removesuffix("s"))
        if size is None:
            continue
        count = _count(words, at, guessing)
        if count is None or (begin >= 0 and count.begin - end > 1):
            continue
        begin = count.begin if begin < 0 else begin
        total, end = total + count.value * size, at + 1
        if tuple(words[end : end + 3]) == ("and", "a", "half"):
            total, end = total + size / 2, end + 3
    return Span(total, begin, end) if total > 0 else None


def _count(words: Sequence[str], at: int, guessing: bool) -> Found | None:
    """How many of the unit at that position."""
    number = number_before(words, at)
    if number:
        return number
    before = words[at - 1] if at else ""
    if before in ("a", "an"):
        inner = number_before(words, at - 1)
        if inner and inner.value in (0.5, 0.25):
            return inner
        if words[max(0, at - 3) : at - 1] in (["quarter", "of"], ("quarter", "of")):
            begin = at - 4 if at >= 4 and words[at - 4] == "a" else at - 3
            return Found(0.25, begin, at)
        return Found(1.0, at - 1, at)
    if before in SOUND_ALIKE and (guessing or before not in ("for", "to")):
        alike = number_before([SOUND_ALIKE[before]], 1)
        return Found(alike.value, at - 1, at) if alike else None
    if before in ("for", "to") and at >= 2 and words[at - 2] in ("for", "to", "in"):
        return Found(4.0 if before == "for" else 2.0, at - 1, at)
    return None
