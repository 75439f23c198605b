"""Which language a sentence is in: by its script, its small words and its special letters."""

from __future__ import annotations

from collections.abc import Sequence

from aura.core.routing.rules import Rules


def guess(text: str, tokens: Sequence[str], rules: Rules, hint: str = "") -> str:
    """The ISO code; `hint` is what somebody else believes. Empty: nothing speaks for any."""
    hint = hint.lower().replace("_", "-").partition("-")[0]
    if not text.isascii():
        for language, letters in rules.scripts:
            if letters.search(text):
                return hint if hint in rules.shared_scripts.get(language, ()) else language
    votes: dict[str, float] = {hint: rules.scale.hint_weight} if hint else {}
    for token in tokens:
        for language, weight in rules.votes.get(token, ()):
            votes[language] = votes.get(language, 0.0) + weight
    if not text.isascii():
        for letter in set(text):
            for language, weight in rules.letters.get(letter, ()):
                votes[language] = votes.get(language, 0.0) + weight
    if not votes:
        return ""
    best = max(votes.values())
    leaders = [language for language, weight in votes.items() if weight >= best - 1e-9]
    order = {language: number for number, language in enumerate(rules.languages)}
    return min(leaders, key=lambda language: order.get(language, len(order)))
