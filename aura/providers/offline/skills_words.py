"""Saying after somebody, and spelling."""

from __future__ import annotations

import re

from aura.providers.offline.skills_base import Answer, Ask
from aura.providers.offline.skills_phrases import match

ASK_WHAT_TO_REPEAT = "I am listening. What shall I repeat?"
ASK_WHAT_TO_SPELL = "Which word shall I spell?"

_REPEAT = re.compile(r"\brepeat\s+(?:\w+\s+)?after\s+me\b[\s,:.;-]*(?P<text>.*)", re.IGNORECASE | re.DOTALL)
_SAY = re.compile(
    r"^(?:(?:please|now|can you|could you|will you|would you)\W+)*say\b\W*(?P<text>.+)", re.IGNORECASE | re.DOTALL
)
_NO_MORE = ("stop", "never_mind", "wait")
_NOT_TO_SAY = {"that", "it", "again", "something", "anything", "what", "nothing", "please", "one"}
_SPELL = (("spell", "the", "word"), ("spell", "out"), ("spell",))
_BEFORE_SPELLED = {"how", "is", "do", "you", "does", "one", "the", "word", "what", "are"}
_AFTER_WORD = {"please", "for", "me", "again", "out", "now"}
_THAT = {"that", "it", "this", "that again"}


def repeat(ask: Ask) -> Answer | None:
    """`repeat after me …`, `say …`, or the words after having been asked for them."""
    if ask.view.was_asked(ASK_WHAT_TO_REPEAT) and match(ask.words)[0] not in _NO_MORE:
        return _sentence(ask.text)
    found = _REPEAT.search(ask.text)
    if found:
        text = re.sub(r"\s*\bplease\W*$", "", found["text"], flags=re.IGNORECASE)
        return _sentence(text) or ASK_WHAT_TO_REPEAT
    found = _SAY.match(ask.text)
    if found and found["text"].split()[0].lower().strip(".,!?") not in _NOT_TO_SAY:
        return _sentence(found["text"])
    if ask.words[:1] == ("say",) and len(ask.words) > 1 and ask.words[1] not in _NOT_TO_SAY:
        return _sentence(" ".join(ask.words[1:]))
    return None


def _sentence(text: str) -> str:
    text = text.strip().strip("\"“”'")
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def spell(ask: Ask) -> Answer | None:
    """`spell necessary`, `how do you spell …`, `how is … spelled`, or the word after having been asked for it."""
    wanted = _to_spell(ask)
    if wanted is None:
        return None
    while wanted and wanted[-1] in _AFTER_WORD and len(wanted) > 1:
        wanted = wanted[:-1]
    if not wanted:
        return ASK_WHAT_TO_SPELL
    if wanted[0] in _THAT and len(wanted) == 1:
        before = re.findall(r"[^\W\d_]{2,}", ask.view.last_said())
        if not before:
            return ASK_WHAT_TO_SPELL
        wanted = (before[-1].lower(),)
    return f"{' '.join(wanted).capitalize()}: {', then '.join(', '.join(word.upper()) for word in wanted)}."


def _to_spell(ask: Ask) -> tuple[str, ...] | None:
    """The words to be spelled, none if they are missing, None if nothing is to be spelled."""
    for phrase in _SPELL:
        end = ask.after(*phrase)
        if end >= 0:
            return ask.words[end:]
    if ask.words[-1:] == ("spelled",) or ask.has("spelled"):
        at = ask.words.index("spelled")
        return tuple(word for word in ask.words[:at] if word not in _BEFORE_SPELLED)
    if ask.view.was_asked(ASK_WHAT_TO_SPELL) and len(ask.words) <= 2 and match(ask.words)[0] not in _NO_MORE:
        return ask.words
    return None
