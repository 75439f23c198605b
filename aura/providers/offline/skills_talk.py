"""Small talk, stories, jokes, and what was said before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aura.providers.offline.skills_base import Answer, Ask, View
from aura.providers.offline.skills_phrases import GOOD_MATCH, match
from aura.providers.offline.stories import JOKES, STORIES

CAN_DO = (
    "I can tell the time and the date, do sums, convert units, set timers, spell words, repeat after you, "
    "and tell a story or a joke."
)
WHO = "I am AURA's offline assistant: a small set of rules, not a language model. I work without any network."
SUGGESTION = "Ask me for the time, a sum, a timer, or a story."
NOTHING_YET = "I have not said anything yet."
RESUMING = "Where was I? "
CUT = " —–-…,;:"
"""What the end of an interrupted reply may have, besides its words."""
TELLING = 10
"""Fewer letters of a text do not say which one it was."""

SIMPLE: Mapping[str, str] = {
    "help": f"{CAN_DO} Just ask.",
    "who": f"{WHO} {CAN_DO}",
    "made": "People who like voices and short waiting times made me. I am a part of AURA, and all I am is a set of "
    "rules.",
    "stop": "Okay.",
    "never_mind": "All right, never mind.",
    "wait": "Sure, take your time.",
    "thanks": "You are welcome.",
    "no_thanks": "All right.",
    "hello": f"Hello! I am AURA's offline assistant. {SUGGESTION}",
    "morning": "Good morning! What can I do for you?",
    "afternoon": "Good afternoon! What can I do for you?",
    "evening": "Good evening! What can I do for you?",
    "how_are_you": "All my rules are in order, thank you. What can I do for you?",
    "bye": "Goodbye!",
    "good_night": "Good night, sleep well.",
    "hear_me": "Yes, I can hear you.",
    "testing": "I hear you loud and clear.",
    "yes": "Okay.",
    "sorry": "No problem.",
    "confused": f"Sorry about that. I follow simple rules and may have misheard. {SUGGESTION}",
    "voice": "I cannot change my voice while we talk; its speed and loudness are settings.",
}


def talk(ask: Ask) -> Answer | None:
    """Answer stock phrases."""
    intent, score = match(ask.words)
    if score < GOOD_MATCH:
        return None
    special = _SPECIAL.get(intent)
    return special(ask) if special else SIMPLE.get(intent)


def _story(ask: Ask) -> Answer:
    return _next(STORIES, ask.view)


def _joke(ask: Ask) -> Answer:
    return _next(JOKES, ask.view)


def _another(ask: Ask) -> Answer:
    for said in reversed(ask.view.said()):
        for told in (STORIES, JOKES):
            if _among(told, said) is not None:
                return _next(told, ask.view)
    return "Another what? I know stories and jokes."


def _next(texts: Sequence[str], view: View) -> str:
    """The first text that was not told yet in this conversation, else the one that was told longest ago."""
    told = [index for said in view.said() if (index := _among(texts, said)) is not None]
    fresh = (index for index in range(len(texts)) if index not in told)
    longest_ago = min(told, key=lambda index: len(told) - told[::-1].index(index), default=0)
    return texts[next(fresh, longest_ago)]


def _among(texts: Sequence[str], said: str) -> int | None:
    """Which of the texts these words are from; an interrupted one has lost its end, a resumed one its beginning."""
    core = said.removeprefix(RESUMING).rstrip(CUT)
    return next((index for index, text in enumerate(texts) if len(core) >= TELLING and core in text), None)


def _go_on(ask: Ask) -> Answer:
    """Resume the story that was interrupted, from the sentence in which it was."""
    for said in reversed(ask.view.said()):
        index = _among(STORIES, said)
        if index is None:
            continue
        story, core = STORIES[index], said.removeprefix(RESUMING).rstrip(CUT)
        heard = story.index(core) + len(core)
        if heard >= len(story) - 1:
            return "That was the end. Would you like another story?"
        begin = max(story.rfind(stop, 0, heard) for stop in (". ", "? ", "! "))
        return RESUMING + story[begin + 2 if begin >= 0 else 0 :]
    return "I have nothing to go on with. Would you like a story?"


def _again(ask: Ask) -> Answer:
    last = ask.view.last_said()
    told = next((texts[i] for texts in (STORIES, JOKES) if (i := _among(texts, last)) is not None), "")
    return told or last.rstrip(" —") or NOTHING_YET


def _what_i_said(ask: Ask) -> Answer:
    before = ask.view.asked()[:-1]
    return f"You said: {before[-1].strip()}" if before else "You had not said anything before that."


def _yes(ask: Ask) -> Answer:
    last = ask.view.last_said()
    return _story(ask) if last.endswith("story?") else SIMPLE["yes"]


_SPECIAL: Mapping[str, Callable[[Ask], Answer]] = {
    "story": _story,
    "joke": _joke,
    "another": _another,
    "go_on": _go_on,
    "again": _again,
    "what_i_said": _what_i_said,
    "yes": _yes,
}
