"""Speech over the assistant: does the user mean to interrupt, or was it "uh-huh", a cough, or our own echo?

The output is already held when this is asked; every answer but "wait" ends the hold. Words decide where there are
any; without words it is the time: somebody who speaks on and on means it.
"""

from __future__ import annotations

import functools
import re
from difflib import SequenceMatcher
from typing import Literal

import msgspec

Said = Literal["empty", "backchannel", "echo", "words"]
Decision = Literal["wait", "confirm", "dismiss"]
Reason = Literal[
    "words", "sustained", "backchannel", "echo", "no_words", "nothing_recognised", "held_too_long", "undecided"
]


class OverlapSettings(msgspec.Struct, frozen=True):
    """When speech over the assistant is an interruption."""

    confirm_s: float = 0.6
    """Voiced time that interrupts even if no words were recognised."""
    doubtful_confirm_s: float = 1.2
    """The same where the time alone proves little: in loud noise, with echoes about, or after words like "yeah"."""
    noisy_snr_db: float = 10.0
    """Noise is loud when the speech is less than this above the background."""
    stopped_s: float = 0.3
    """Silence after which the speaker has stopped, and short words like "okay" are judged."""
    words_wait_s: float = 0.8
    """How long after the end of the speech words are waited for; without any it was nothing."""
    max_hold_s: float = 2.5
    """The assistant is never held longer than this without a decision."""
    echo_share: float = 0.65
    """Share of the words that must be our own, in the same order, for the speech to be our echo."""
    more_backchannels: tuple[str, ...] = ()
    """Further words that do not interrupt, such as those of another language."""


class OverlapFacts(msgspec.Struct, frozen=True):
    """What is known about the speech at the moment; times in milliseconds."""

    voiced_ms: int
    """Voiced time so far."""
    silence_ms: int
    """Time since the last voiced frame; 0 while speech goes on."""
    held_ms: int
    """Time since the output was held."""
    text: str | None = None
    """The words so far; None until the recogniser has answered."""
    final: bool = False
    """Whether `text` covers all of the speech."""
    echo_of: str = ""
    """What the assistant has said in the last few seconds."""
    snr_db: float | None = None
    """Loudness of the speech over the background."""
    echo_known: bool = False
    """Whether an echo was recognised in this conversation before."""


class Verdict(msgspec.Struct, frozen=True):
    """The decision, and all that it was made from (for the journal; no words)."""

    decision: Decision
    reason: Reason
    voiced_ms: int
    silence_ms: int
    held_ms: int
    needed_ms: int
    """Voiced time that would have confirmed without words."""
    said: Said | None
    """What the words amount to; None before there are any."""
    echo_share: float
    """Share of the words that are our own, 0-1."""


def judge(facts: OverlapFacts, settings: OverlapSettings | None = None) -> Verdict:
    """Decide with what is known now; ask again when a fact changes, and about every 100 ms while it says "wait"."""
    s = settings or OverlapSettings()
    said = None if facts.text is None else classify(facts.text, facts.echo_of, s)
    noisy = facts.snr_db is not None and facts.snr_db < s.noisy_snr_db
    doubtful = noisy or facts.echo_known or said == "backchannel"
    needed_ms = round((s.doubtful_confirm_s if doubtful else s.confirm_s) * 1000)
    decision, reason = _decide(facts, s, said, needed_ms)
    share = echo_share(facts.text or "", facts.echo_of)
    return Verdict(decision, reason, facts.voiced_ms, facts.silence_ms, facts.held_ms, needed_ms, said, round(share, 2))


def _decide(facts: OverlapFacts, s: OverlapSettings, said: Said | None, needed_ms: int) -> tuple[Decision, Reason]:
    stopped = facts.silence_ms >= round(s.stopped_s * 1000)
    waited = facts.silence_ms >= round(s.words_wait_s * 1000)
    table: tuple[tuple[bool, Decision, Reason], ...] = (
        (said == "words", "confirm", "words"),
        (said == "echo", "dismiss", "echo"),
        (said == "backchannel" and (stopped or facts.final), "dismiss", "backchannel"),
        (facts.voiced_ms >= needed_ms, "confirm", "sustained"),
        (said == "empty" and facts.final, "dismiss", "no_words"),
        (waited, "dismiss", "nothing_recognised"),
        (facts.held_ms >= round(s.max_hold_s * 1000), "dismiss", "held_too_long"),
    )
    return next(((decision, reason) for true, decision, reason in table if true), ("wait", "undecided"))


# ---- words ------------------------------------------------------------------------------------------------------


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BACKCHANNELS = """
uh huh|uhuh|mhm|m hm|m|hm|h|ah|oh|ooh|aha|ah ha|huh|ha|haha|hehe|eh|er|erm|um|uh|wow|ah yeah|oh yeah|oh okay|oh really
okay|ok|k|kay|alright|all right|right|sure|fine|good|great|cool|nice|perfect|excellent|awesome|lovely|interesting
yeah|yes|yep|yup|ya|yeah yeah|i see|got it|gotcha|i know|i understand|understood|makes sense|that makes sense|of course
exactly|true|indeed|absolutely|definitely|totally|certainly|really|fair enough|thanks|thank you|so|well
that's right|that's true|that's good|that's great|sounds good|sounds great|i get it|no problem|no worries
ja|genau|ach so|achso|klar|stimmt|jaja|si|sí|vale|claro|oui|d'accord|voilà|hai|sim|da|tak
""".strip().replace("\n", "|")
_ANSWERS = _set(
    """yes yeah yep yup ya okay ok k kay alright right sure fine good great perfect exactly true absolutely definitely
    certainly totally really huh mhm thanks ja genau klar stimmt si sí vale claro oui d'accord hai sim da tak indeed
    understood"""
)
"""Backchannels that answer a question when there is one."""
_COMMANDS = _set("stop wait no hold what cancel quiet enough pause sorry hey hello listen but actually")
_HALLUCINATED = frozenset(
    (
        "you",
        "the",
        "and",
        "thanks for watching",
        "thank you for watching",
        "please subscribe",
        "subtitles by the amara org community",
    )
)
"""What speech models are known to write for breath, noise and silence (PocketSphinx: the bare "the" and "and")."""
_NOISE_TOKEN = re.compile(r"\[[^\]]*\]|<[^>]*>|\+\+[^+]*\+\+|\([^)]*\)|\*[^*]*\*|♪+")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_LONG = re.compile(r"(.)\1{2,}")
_DOUBLE = re.compile(r"(.)\1+")
_VOWELS = frozenset("aeiouyáéíóúäöüàèìòùâêîôû")


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation, noise tokens and drawn-out letters ("Mmmm", "yeahhh", "[NOISE]")."""
    words = (w.replace("’", "'") for w in _TOKEN.findall(_NOISE_TOKEN.sub(" ", text.lower())))
    return [(_LONG if _VOWELS & set(w) else _DOUBLE).sub(r"\1", w) if w.isalpha() else w for w in words]


def classify(text: str, recent_reply: str = "", settings: OverlapSettings | None = None) -> Said:
    """What was said over the assistant, whose words of the last few seconds are `recent_reply`."""
    s = settings or OverlapSettings()
    words = words_of(text)
    if not words or " ".join(words) in _HALLUCINATED:
        return "empty"
    asked = recent_reply.rstrip(" \"'”’)").endswith(("?", "？"))
    if _covered(words, s.more_backchannels):
        answer = asked and (not _ANSWERS.isdisjoint(words) or words in (["uh", "huh"], ["m", "hm"]))
        return "words" if answer else "backchannel"
    command = not (_COMMANDS & set(words)) <= set(words_of(recent_reply))
    if command or len(words) < (3 if asked else 2):  # one or two of our own words may be the user's choice among them
        return "words"
    return "echo" if echo_share(text, recent_reply) >= s.echo_share else "words"


@functools.cache
def _phrases(more: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(words_of(phrase)) for phrase in (*_BACKCHANNELS.split("|"), *more))


def _covered(words: list[str], more: tuple[str, ...]) -> bool:
    """Whether the words are nothing but backchannels, one after the other."""
    phrases, longest = _phrases(more), 3
    reached = {0}
    for end in range(1, len(words) + 1):
        if any(tuple(words[begin:end]) in phrases for begin in range(max(0, end - longest), end) if begin in reached):
            reached.add(end)
    return len(words) in reached


def echo_share(text: str, recent_reply: str) -> float:
    """The largest share of the text's words found in the same order within a stretch of the reply of similar length.

    Two words must be neighbours in the reply, or any "of the" would be an echo.
    """
    words, own = words_of(text), words_of(recent_reply)
    if len(words) < 2 or not own:
        return 0.0
    if len(words) == 2:
        return float(any(own[i : i + 2] == words for i in range(len(own) - 1)))
    span = len(words) + len(words) // 2
    matcher = SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(words)
    best = 0
    for begin in range(max(1, len(own) - span + 1)):
        matcher.set_seq1(own[begin : begin + span])
        best = max(best, sum(block.size for block in matcher.get_matching_blocks()))
    return best / len(words)
