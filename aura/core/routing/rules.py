"""The rules of the classifier and the router's strategies, made from the text of rules.toml.

A list of words is one text, its entries separated by commas or line ends. An entry is a word or a phrase;
`word*` is every word that begins so, `^phrase` stands at the beginning of what was said (behind fillers and
courtesies), `=phrase` is all that was said.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from aura.core.errors import ConfigError
from aura.core.routing.choose import Strategy
from aura.core.routing.query import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
CJK = frozenset({"zh", "ja", "th"})
"""Languages without spaces: their words are looked for at every character."""
_LETTER = r"[\w\u0300-\u036f\u064b-\u065f\u0900-\u0dff]"  # the marks of Indian and Arabic letters are none of \w
TOKEN = re.compile(rf"{_LETTER}+(?:['.]{_LETTER}+)*[+#]{{0,2}}")
_ELIDED = re.compile(r"(?<![^\W_])(?:[cdjlmnst]|qu|jusqu|un|dell|nell|all|dall|sull|quest|cos|dov|com)'(?=[^\W_]{2})")


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that can be noticed in a sentence, and what it speaks for."""

    kinds: dict[Kind, float] = {}
    """What it adds to each kind's score."""
    tier: float = 0.0
    """What it adds to the demand on the model."""
    tier_only: tuple[Kind, ...] = ()
    """Only if the question is of one of these kinds; empty: always."""
    personal: bool = False
    timely: bool = False
    tool: tuple[str, ...] = ()
    """Functions whose names hold one of these beginnings of words do this: the kind is then `tool`."""
    least_numbers: int = 0
    """It only counts where so many numbers occur."""
    patterns: tuple[str, ...] = ()
    """Regular expressions on the text as it is."""
    number_patterns: tuple[str, ...] = ()
    """The same on the words with spaces between them, in which every number is a #."""
    words: dict[str, str] = {}
    """Lists by language; `any` is for all."""


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers of the classifier."""

    base: dict[Kind, float]
    """The demand of a kind on the model, before features change it."""
    standard_from: float
    quality_from: float
    long_words: int
    """What is at least so long speaks for `long`."""
    long_weight: float
    many_words: int
    """From here on a question is more demanding."""
    many_words_tier: float
    much_history_chars: int
    much_history_tier: float
    statement_words: int
    """Something without any mark of a question and no longer than this is talk."""
    tool_weight: float
    named_tool_weight: float
    """When a word of the text is part of a declared function's name."""
    hint_weight: float
    """What the recogniser's opinion counts in guessing the language."""
    word_weight: float
    """What a word of a list counts there, against 1 for the language's small words."""


class Lexicon(msgspec.Struct, frozen=True):
    """The entries of one language: text → numbers of features."""

    phrases: dict[str, tuple[int, ...]]
    stems: dict[str, tuple[int, ...]]
    starts: dict[str, tuple[int, ...]]
    wholes: dict[str, tuple[int, ...]]
    openers: frozenset[str]
    firsts: frozenset[str]
    """First characters of the phrases."""
    longest: int
    """Words (or characters) of the longest phrase."""
    shortest_stem: int


class Rules(msgspec.Struct, frozen=True):
    """All that rules.toml holds, ready for use."""

    names: tuple[str, ...]
    features: tuple[Feature, ...]
    patterns: tuple[tuple[re.Pattern[str], int], ...]
    number_patterns: tuple[tuple[re.Pattern[str], int], ...]
    lexicons: dict[str, Lexicon]
    votes: dict[str, tuple[tuple[str, float], ...]]
    """Word → languages for which it speaks."""
    letters: dict[str, tuple[tuple[str, float], ...]]
    """Letter → languages for which it speaks."""
    scripts: tuple[tuple[str, re.Pattern[str]], ...]
    """Language → letters that only it (of those that share the script) uses; the first that occurs decides."""
    shared_scripts: dict[str, frozenset[str]]
    """Language that a script stands for → others that are written in it too."""
    languages: tuple[str, ...]
    """In order of preference, where the votes are equal."""
    known_tools: tuple[str, ...]
    """All beginnings of words that features look for in functions' names."""
    numbers: frozenset[str]
    """Words for numbers."""
    common: frozenset[str]
    """Words of functions' names that say nothing (get, set, list)."""
    scale: Scale
    strategies: dict[str, Strategy]

    def strategy(self, name: str) -> Strategy:
        """balanced, fastest, cheapest or best. Raises ConfigError."""
        found = self.strategies.get(name)
        if found is None:
            raise ConfigError(f"there is no routing strategy {name!r}; choose one of {', '.join(self.strategies)}")
        return found


def entries(text: str) -> list[str]:
    """The entries of a list."""
    return [entry.strip() for line in text.splitlines() for entry in line.split(",") if entry and not entry.isspace()]


def normal(text: str) -> str:
    """Words as they are compared: lower case, one kind of apostrophe, French and Italian elisions undone."""
    text = text.casefold().replace("’", "'")
    return _ELIDED.sub(lambda match: f"{match[0]} ", text) if "'" in text else text


def spaced(text: str) -> str:
    """A phrase as its tokens, so that it is found whatever stands between them."""
    return " ".join(TOKEN.findall(normal(text)))


def load_rules(text: str) -> Rules:
    """Make the rules from the text of rules.toml. Raises ConfigError."""
    try:
        given = tomllib.loads(text)
        features = msgspec.convert(given["features"], dict[str, Feature])
        strategies = msgspec.convert(given["strategies"], dict[str, Strategy])
        scale = msgspec.convert(given["scale"], Scale)
        patterns, number_patterns = (
            tuple(
                (re.compile(pattern), number)
                for number, feature in enumerate(features.values())
                for pattern in getattr(feature, field)
            )
            for field in ("patterns", "number_patterns")
        )
        small = msgspec.convert(given["languages"], dict[str, str])
        openers = msgspec.convert(given["openers"], dict[str, str])
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, KeyError, re.error) as error:
        raise ConfigError(f"the routing rules: {error}") from None
    found = _parsed(features)
    everywhere = found.get("any", [])
    lexicons = {
        language: _lexicon(language, [*everywhere, *own], openers.get(language, ""))
        for language, own in found.items()
        if language != "any"
    }
    return Rules(
        names=tuple(features),
        features=tuple(features.values()),
        patterns=patterns,
        number_patterns=number_patterns,
        lexicons=lexicons,
        votes=_votes(small, found, scale.word_weight),
        letters=_letters(given.get("letters", {})),
        scripts=tuple((language, re.compile(f"[{letters}]")) for language, letters in given.get("scripts", {}).items()),
        shared_scripts={name: frozenset(others.split()) for name, others in given.get("shared_scripts", {}).items()},
        languages=tuple(small),
        known_tools=tuple(stem for feature in features.values() for stem in feature.tool),
        numbers=frozenset(spaced(given.get("numbers", "")).split()),
        common=frozenset(given.get("common_in_names", "").split()),
        scale=scale,
        strategies=strategies,
    )


_Entry = tuple[int, str, str]
"""Number of the feature, where the entry must stand (^ = or anywhere; * a beginning of a word), and its words."""


def _parsed(features: Mapping[str, Feature]) -> dict[str, list[_Entry]]:
    """All lists by language; done once, as there are ten thousand entries."""
    found: dict[str, list[_Entry]] = {}
    for number, feature in enumerate(features.values()):
        for language, text in feature.words.items():
            own = found.setdefault(language, [])
            for entry in entries(normal(text)):
                place = "*" if entry[-1] == "*" else entry[0] if entry[0] in "^=" else ""
                key = _key(entry.strip("^=*") if place else entry, language)
                if key:
                    own.append((number, place, key))
    return found


def _key(entry: str, language: str) -> str:
    """How an entry is looked up."""
    if language in CJK or entry.isalnum():
        return entry
    return " ".join(TOKEN.findall(entry))


def _lexicon(language: str, found: Iterable[_Entry], openers: str) -> Lexicon:
    tables: dict[str, dict[str, tuple[int, ...]]] = {"": {}, "*": {}, "^": {}, "=": {}}
    for number, place, key in found:
        table = tables[place]
        table[key] = (*table[key], number) if key in table else (number,)
    keys = (*tables[""], *tables["^"])
    return Lexicon(
        phrases=tables[""],
        stems=tables["*"],
        starts=tables["^"],
        wholes=tables["="],
        openers=frozenset(_key(entry, language) for entry in entries(normal(openers))),
        firsts=frozenset(key[0] for key in tables[""]),
        longest=max((len(key) if language in CJK else key.count(" ") + 1 for key in keys), default=1),
        shortest_stem=min(map(len, tables["*"]), default=1),
    )


def _votes(
    small: Mapping[str, str], found: Mapping[str, Iterable[_Entry]], word_weight: float
) -> dict[str, tuple[tuple[str, float], ...]]:
    """What each word says about the language: the more languages share it, the less."""
    weights: dict[str, dict[str, float]] = {}
    for language, several in found.items():
        words = {word for _, place, key in several if place != "*" for word in key.split()}
        for word in words if language != "any" and language not in CJK else ():
            weights.setdefault(word, {})[language] = word_weight
    for language, text in small.items():
        for word in spaced(text).split():
            weights.setdefault(word, {})[language] = 1.0
    return {
        word: tuple([(language, weight / len(each)) for language, weight in each.items()])
        for word, each in weights.items()
    }


def _letters(given: Mapping[str, Any]) -> dict[str, tuple[tuple[str, float], ...]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for language, weights in given.items():
        for letters, weight in weights.items():
            for letter in letters:
                found.setdefault(letter, []).append((language, float(weight)))
    return {letter: tuple(pairs) for letter, pairs in found.items()}
