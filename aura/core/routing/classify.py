"""What kind of question it is, by rules, in well under a millisecond; also of a sentence that is still being said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from aura.core.routing.language import guess
from aura.core.routing.query import Kind, Query, Tier
from aura.core.routing.rules import CJK, KINDS, TOKEN, Feature, Lexicon, Rules, normal

READ_CHARS = 400
"""Of a long text the beginning and the end are looked at, so much of each."""
DEFAULT_LANGUAGE = "en"
_DIGITS = re.compile(r"\d+")
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def classify(
    text: str, rules: Rules, *, tools: Sequence[str] = (), history_chars: int = 0, language: str = ""
) -> Query:
    """Classify what the user said. `tools` are the names of the functions that are declared to the model, `language` is
    what the recogniser believes, if it does."""
    read = text if len(text) <= 2 * READ_CHARS else f"{text[:READ_CHARS]} {text[-READ_CHARS:]}"
    read = normal(read)
    tokens = TOKEN.findall(read)
    spoken = guess(read, tokens, rules, language)
    lexicon = rules.lexicons.get(spoken) or rules.lexicons[DEFAULT_LANGUAGE]
    fired = (_characters if spoken in CJK else _words)(read, tokens, lexicon, rules.features)
    fired |= {number for pattern, number in rules.patterns if number not in fired and pattern.search(read)}
    fired = _by_numbers(read, tokens, fired, rules)
    names = _name_parts(tuple(tools), rules.common)
    named = [part for part in names if part in tokens and not part.startswith(rules.known_tools)]
    words = text.count(" ") + 1 if spoken not in CJK else len(text) // 2
    return _judge(rules, sorted(fired), names, named, spoken, words, history_chars)


def _judge(
    rules: Rules,
    fired: list[int],
    names: frozenset[str],
    named: list[str],
    language: str,
    words: int,
    history_chars: int,
) -> Query:
    """From what was noticed to the verdict."""
    scale, features = rules.scale, [rules.features[number] for number in fired]
    why = [rules.names[number] for number in fired]
    scores: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)
    usable = False
    for feature in features:
        if feature.tool and _has(names, feature):
            usable = True
            scores["tool"] += scale.tool_weight
        else:
            for kind, weight in feature.kinds.items():
                scores[kind] += weight
    if named:
        scores["tool"] += scale.named_tool_weight
        why.append("named_tool")
    if words >= scale.long_words:
        scores["long"] += scale.long_weight
        why.append("long_text")
    kind, confidence = _winner(scores)
    if not confidence:
        kind = "small_talk" if words <= scale.statement_words else "reasoning"
        why.append("no_rule")
    demand = scale.base[kind] + sum(each.tier for each in features if not each.tier_only or kind in each.tier_only)
    if kind != "small_talk":
        demand += scale.many_words_tier * (words >= scale.many_words)
        demand += scale.much_history_tier * (history_chars >= scale.much_history_chars)
    return Query(
        kind=kind,
        tier=_tier(demand, rules),
        language=language,
        needs_tools=usable or bool(named) or kind == "tool",
        personal=any(feature.personal for feature in features),
        timely=any(feature.timely for feature in features),
        confidence=round(confidence, 3),
        why=tuple(why),
    )


def _by_numbers(text: str, tokens: Sequence[str], fired: set[int], rules: Rules) -> set[int]:
    """What numbers add, and without what is nothing without them."""
    marked = ["#" if token in rules.numbers or token.isdigit() else token for token in tokens]
    count = max(marked.count("#"), len(_DIGITS.findall(text)))
    if "#" in marked:
        line = " ".join(marked)
        fired = fired | {number for pattern, number in rules.number_patterns if pattern.search(line)}
    return {number for number in fired if count >= rules.features[number].least_numbers}


def _winner(scores: dict[Kind, float]) -> tuple[Kind, float]:
    """The kind with the highest score, and how far ahead it is of the second."""
    kind = max(scores, key=lambda kind: scores[kind])
    best = scores[kind]
    if best <= 0:
        return kind, 0.0
    second = max(score for other, score in scores.items() if other != kind)
    return kind, best / (best + max(second, 0.0) + 0.5)


def _tier(demand: float, rules: Rules) -> Tier:
    if demand >= rules.scale.quality_from - 1e-9:
        return "quality"
    return "standard" if demand >= rules.scale.standard_from - 1e-9 else "fast"


def _has(names: Iterable[str], feature: Feature) -> bool:
    return any(part.startswith(stem) for part in names for stem in feature.tool)


@lru_cache(maxsize=256)
def _name_parts(tools: tuple[str, ...], common: frozenset[str]) -> frozenset[str]:
    """The words of which functions' names are made (set_timer, getWeather), without those that say nothing."""
    parts = {part.casefold() for name in tools for part in _CAMEL.findall(name)}
    return frozenset(part for part in parts if len(part) > 2 and part not in common)


def _words(text: str, tokens: Sequence[str], lexicon: Lexicon, features: Sequence[Feature]) -> set[int]:
    """The features whose words or phrases occur."""
    first = _behind_openers(tokens, lexicon)
    fired = _at_start(tokens, 0, lexicon, features) if first else set()
    fired |= _at_start(tokens, first, lexicon, ())
    phrases, stems, shortest = lexicon.phrases, lexicon.stems, lexicon.shortest_stem
    covered = 0
    for index, token in enumerate(tokens):
        for end in range(min(index + lexicon.longest, len(tokens)), index, -1):
            found = phrases.get(token if end == index + 1 else " ".join(tokens[index:end]))
            if found:
                fired.update(found if end > covered else _always(found, features))
                covered = max(covered, end)
        for length in range(shortest, len(token) + 1):
            found = stems.get(token[:length])
            if found:
                fired.update(found if index >= covered - 1 else _always(found, features))
    return fired


def _always(found: Iterable[int], features: Sequence[Feature]) -> list[int]:
    """Of the features of an entry inside a longer one only those that say nothing about the kind."""
    return [number for number in found if not features[number].kinds]


def _at_start(tokens: Sequence[str], start: int, lexicon: Lexicon, features: Sequence[Feature]) -> set[int]:
    """The features of what begins there. With `features` only those of talk: behind are fillers, not the question."""
    fired: set[int] = set()
    rest = tokens[start:]
    if len(rest) <= lexicon.longest + 2:
        fired.update(lexicon.wholes.get(" ".join(rest), ()))
    for count in range(1, min(lexicon.longest, len(rest)) + 1):
        fired.update(lexicon.starts.get(" ".join(rest[:count]), ()))
    return {n for n in fired if "small_talk" in features[n].kinds or features[n].personal} if features else fired


def _behind_openers(tokens: Sequence[str], lexicon: Lexicon) -> int:
    """The first word behind fillers and courtesies (so, um, could you please tell me)."""
    first = 0
    while first < len(tokens):
        for count in (4, 3, 2, 1):
            if " ".join(tokens[first : first + count]) in lexicon.openers:
                first += count
                break
        else:
            return first
    return first if first < len(tokens) else 0


def _characters(text: str, tokens: Sequence[str], lexicon: Lexicon, features: Sequence[Feature]) -> set[int]:
    """The same for languages without spaces."""
    fired: set[int] = set()
    plain = "".join(tokens)
    if len(plain) > READ_CHARS:
        plain = plain[: READ_CHARS // 2] + plain[-READ_CHARS // 2 :]  # a character says as much as a word elsewhere
    fired.update(lexicon.wholes.get(plain, ()))
    first = 0
    while opener := next(
        (o for o in lexicon.openers if plain.startswith(o, first) and len(plain) > first + len(o)), ""
    ):
        first += len(opener)
    for count in range(1, lexicon.longest + 1):
        fired.update(lexicon.starts.get(plain[first : first + count], ()))
    covered = 0
    for index, char in enumerate(plain):
        if char not in lexicon.firsts:
            continue
        for end in range(min(index + lexicon.longest, len(plain)), index, -1):
            found = lexicon.phrases.get(plain[index:end])
            if found:
                fired.update(found if end > covered else _always(found, features))
                covered = max(covered, end)
    return fired
