"""Which of two hypotheses to believe: the dictation decoder's or the assistant phrases' decoder's. Pure.

Both decoders hear the same features. The phrase decoder knows 300 words; whatever is said, it forces it into them. What
gives it away then is not the sound but the grammar: a forced sentence is made of word triples that no phrase has.
Measured on 47 human clips, 30 spoken sentences and 63 spoken commands (1019 words): dictation alone 331 errors, always
the better of the two 261, this rule 266.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher

import msgspec

_REPEAT = ("repeat", "after", "me")
"""The request that ends in words of the speaker's own choice: those are never taken from the phrases."""
_NOVELTY_LIMIT = 0.4
"""Share of word triples that no phrase has: commands had at most 0.33 (one: 0.67), forced sentences 0.6 and more."""
_LEAST_LIKENESS = 0.3
"""Where the phrase also sounds worse than the dictation, their letters must agree this much (0-1)."""
_WORST_MARGIN = -1.0
"""Log likelihood per frame by which a phrase may sound worse than the dictation; commands went down to -0.62."""
_LONE_NOISE = frozenset({"the", "a", "an", "of", "to", "and", "in", "but", "huh", "uh", "hm", "mm", "it", "at", "he"})
"""What a cough or a door sounds like to a word decoder. As a whole utterance they mean nothing."""


class Word(msgspec.Struct, frozen=True):
    """A recognised word; frames are 10 ms, `end` inclusive; `score` is the log likelihood of its audio."""

    text: str
    begin: int
    end: int
    score: float
    posterior: float


class Hypothesis(msgspec.Struct, frozen=True):
    """What one decoder understood. Fillers (silence, noise) are words with an empty text."""

    words: tuple[Word, ...] = ()

    def text(self) -> str:
        """The spoken words."""
        spoken = [word.text for word in self.words if word.text]
        return "" if len(spoken) == 1 and spoken[0] in _LONE_NOISE else " ".join(spoken)

    def confidence(self) -> float | None:
        """Mean posterior probability of the words; None where the decoder did not work it out (it says 1 then)."""
        values = [word.posterior for word in self.words if word.text]
        mean = sum(values) / len(values) if values else 1.0
        return round(mean, 3) if mean < 1.0 else None

    def since(self, frame: int) -> Hypothesis:
        """The part whose words have their middle after `frame`."""
        return Hypothesis(tuple(word for word in self.words if (word.begin + word.end) / 2 > frame))

    def score_per_frame(self) -> float:
        """Mean acoustic log likelihood of a frame (the higher the better)."""
        frames = sum(word.end - word.begin + 1 for word in self.words)
        return sum(word.score for word in self.words) / frames if frames else -1e9


def choose(dictated: Hypothesis, phrase: Hypothesis, novelty: Callable[[list[str]], float]) -> Hypothesis:
    """The phrase where it is one and fits the sound, else the dictation; after "repeat after me" the rest is dictation.

    `novelty` tells the share (0-1) of word triples of a sentence that no phrase of the assistant has.
    """
    spoken = [word for word in phrase.words if word.text]
    if tuple(word.text for word in spoken[: len(_REPEAT)]) == _REPEAT:
        cut = spoken[len(_REPEAT) - 1].end
        head = Hypothesis(tuple(word for word in phrase.words if word.end <= cut))
        rest = dictated.since(cut)
        if not rest.text():
            return phrase
        opening = Hypothesis(dictated.words[: len(dictated.words) - len(rest.words)])
        return Hypothesis(head.words + rest.words) if _fits(head, opening) else dictated
    known = bool(spoken) and novelty([word.text for word in spoken]) <= _NOVELTY_LIMIT
    return phrase if known and _fits(phrase, dictated) else dictated


def _fits(phrase: Hypothesis, dictated: Hypothesis) -> bool:
    if not dictated.words:
        return True
    margin = phrase.score_per_frame() - dictated.score_per_frame()
    alike = SequenceMatcher(None, phrase.text(), dictated.text(), autojunk=False).ratio()
    return margin > 0 or (margin > _WORST_MARGIN and alike >= _LEAST_LIKENESS)
