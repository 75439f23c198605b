"""Are the words a whole sentence? A pure guess from English words, used to decide how long to wait for more."""

from __future__ import annotations

import re
from typing import Literal

Completeness = Literal["complete", "unfinished", "unknown"]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DANGLING = _set(
    """and but or nor because cause although unless until while whereas if whether than since as a an the my your his
    her its our their some any every each another these of to from with without for at by about into onto between
    through during towards toward via per against um uh er erm ehm hmm hm is are was were be been am i'm it's that's
    he's she's we're they're you're there's what's i've we've you've i'd i'll we'll you'll he'll she'll they'll
    let's very really quite also maybe perhaps called whose when where who what how which i he she we they would
    could should can will may might must has plus minus dot dash mister mrs"""
)
"""Words that an English sentence hardly ends with."""
_QUESTION_END = _set("of to from with for at by about into is are was were be when where who what how")
"""Of these, the ones that may well end a question ("What is it for?")."""
_DANGLING_PAIRS = frozenset(
    """i want|i need|i have|i think|i mean|i guess|would like|i'd like|we need|we want|we have|you have|they have
    can you|could you|would you|did you|are you|let me|give me|send me|and then|so that|such as|even if|kind of
    my number|my name|my address|and i|but i|so i|this is""".replace("\n    ", "|").split("|")
)
_PRONOUNS = _set("i you he she it we they that there this")
_AUXILIARIES = _set("is am are was were has can could will would should must may might")
_WHOLE = _set(
    """yes yeah yep yup no nope nah okay ok sure right correct exactly fine great good perfect thanks thank-you please
    hello hi hey bye goodbye stop wait cancel help repeat continue next back again never-mind nevermind nothing none
    absolutely definitely certainly sorry pardon what why who where when how"""
)
"""Answers and commands of one word."""
_CLOSING = _set(
    "please thanks today tomorrow yesterday tonight now here there too again anymore it me them us mine bye then right"
)
"""Words that close an English sentence more often than not; decides where the recogniser writes no full stops."""
_COMMON = _set("you it in on do does did have not no yes please want need like why there all me this that down up")
_DIGITS = _set("zero oh one two three four five six seven eight nine double triple")
_WHOLE_NUMBER = 10
"""Digits after which a number that is being told is taken to be complete (a telephone number)."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def completeness(text: str, language: str | None = None) -> Completeness:
    """Whether English words look like a whole utterance or break off inside one; "unknown" for other languages.

    Recognisers put a full stop behind fragments too, so the last words count before the punctuation does. Behind a
    question mark they raise a doubt and no more.
    """
    words = [w.replace("’", "'") for w in _WORD.findall(text.lower())]
    if not words or (language and not language.lower().startswith("en")) or not _english(words):
        return "unknown"
    mark = text.rstrip(" \"'”’)")[-1:] if not text.rstrip().endswith("...") else "…"
    if _dangling(words, mark) or _telling_digits(words):
        return "unknown" if mark == "?" else "unfinished"  # a question mark is hardly ever guessed
    if mark in ".?!" or words[-1] in _CLOSING or (len(words) == 1 and words[0] in _WHOLE):
        return "complete"
    return "unknown"


def _english(words: list[str]) -> bool:
    if not all(word.isascii() for word in words[-3:]):
        return False
    known = sum(w in _COMMON or w in _DANGLING or w in _WHOLE or w in _DIGITS or "'" in w for w in words)
    return len(words) < 3 or known * 5 >= len(words) or all(w.isdigit() for w in words[-2:])


def _dangling(words: list[str], mark: str) -> bool:
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if mark in (",", ";", ":", "-", "–", "—", "…"):
        return True
    if (last in _WHOLE and not before) or (mark == "?" and last in _QUESTION_END):
        return False
    if last in _AUXILIARIES and before in _PRONOUNS and (len(words) == 2 or words[0] in _WHOLE):
        return False  # "yes, it is"
    return last in _DANGLING or f"{before} {last}" in _DANGLING_PAIRS


def _telling_digits(words: list[str]) -> bool:
    """A number told digit by digit, or in groups, that is shorter than a telephone number."""
    told = tokens = 0
    for word in reversed(words):
        if not (word.isdigit() or word in _DIGITS):
            break
        told, tokens = told + (len(word) if word.isdigit() else 1), tokens + 1
    announced = any(word in ("number", "phone", "code", "card", "account", "zip", "pin", "digits") for word in words)
    return 0 < told < _WHOLE_NUMBER and (tokens >= 3 or (announced and tokens < len(words)))
