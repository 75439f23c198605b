"""Going on with a reply after its stream was cut, so that the listener does not notice the seam.

Chat engines cannot be handed half an answer to complete; they are asked to, and begin wherever they like: with the
next word, with the last few, or all over again. Here the next model is asked to begin with the last words that were
said, which shows where the seam is; and a filter takes away whatever was repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from aura.core.ports import Message, WordTime
from aura.core.speakable import CHARS_PER_S, speech_length
from aura.core.speakable import words as spans

ANCHOR_WORDS = 4
"""With so many of the last words the next model is asked to begin."""
LOOK_BACK_WORDS = 120
"""A repetition may begin so far back, or at the very beginning of the reply."""
RESTART_WORDS, RESTART_SHARE = 6, 0.6
"""An answer that begins like the whole reply, for so many words and this share of it, is the same one over again, even
where it then takes another way."""
CJK_LEAST = 4
"""So many Chinese or Japanese characters in a row, and no fewer, are a repetition."""

_INSTRUCTION = (
    "Your reply was cut off by a technical fault; the user has heard everything up to that point. "
    "Its last words were: “{anchor}”. Write only the rest of the same reply: begin with exactly these last words, then "
    "go on from there in the same language and style. Do not apologise, comment or start again."
)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_TOKEN = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:['’][^\W_{_CJK}]+)*")
_IS_CJK = re.compile(f"[{_CJK}]")
_SMALL = frozenset(
    "a an the of to in on at and or but is are was for with that this it der die das und oder ein eine zu im in ist le "
    "la les un une de du des et ou à el los las y o en con il lo gli e di da che os as do da em het een van".split()
)
"""Words that nobody says twice in a row on purpose, and that are whole words when they end what was said."""


def continuation(messages: Sequence[Message], said: str) -> tuple[Message, ...]:
    """The request that has another model go on where the reply broke off after `said`."""
    if not said.strip():
        return tuple(messages)
    tokens = [match.span() for match in _TOKEN.finditer(said)]
    start = tokens[-ANCHOR_WORDS:][0][0] if tokens else 0
    instruction = _INSTRUCTION.format(anchor=" ".join(said[start:].split()))
    return (*messages, Message("assistant", said.rstrip()), Message("user", instruction))


class _Token(msgspec.Struct, frozen=True, gc=False):
    """A word as it is compared, and where it stands."""

    text: str
    start: int
    end: int


def _tokens(text: str, first: int = 0) -> list[_Token]:
    return [_Token(_plain(match[0]), *match.span()) for match in _TOKEN.finditer(text, first)]


def _plain(word: str) -> str:
    """A word without regard to capitals; it keeps its length (casefold would make two letters of ß)."""
    lower = word.lower().replace("’", "'")
    return lower if len(lower) == len(word) else word


class Continuing:
    """The second model's text as it streams in, without what had been said already.

    `push(delta)` and `finish()` return the text to add to `said`. Text is held back only while it repeats.
    """

    def __init__(self, said: str) -> None:
        self._said = said
        tokens = _tokens(said)
        self._words = [token.text for token in tokens]
        self._tail = said[tokens[-1].end :] if tokens else said
        self._pending = ""
        self._cut = -1 if tokens else 0
        """How much of the pending text was a repetition; -1: that is not clear yet."""
        self._begun = False

    def push(self, delta: str) -> str:
        """Take the next piece; return what is new."""
        return self._take(delta, final=False)

    def finish(self) -> str:
        """The text is complete: return what was held back."""
        return self._take("", final=True)

    def _take(self, delta: str, *, final: bool) -> str:
        if self._begun:
            return delta
        self._pending += delta
        if self._cut < 0:
            cut = self._repeated(final)
            if cut is None:
                return ""
            self._cut = cut
        rest = self._pending[self._cut :]
        if not (final or rest.strip(_MARKS if self._cut else None)):
            return ""
        self._begun, self._pending = True, ""
        return self._after(rest) if self._cut else self._join(rest)

    def _repeated(self, final: bool) -> int | None:
        """How many characters of what is pending had been said already; None: that is not clear yet."""
        tokens = _tokens(self._pending)
        if not tokens:
            return 0 if final else None
        growing = not final and self._pending[tokens[-1].end :] in ("", "'", "’")
        starts = self._starts()
        if any(self._may_still(start, tokens, growing) for start in starts) and not final:
            return None
        whole = [len(self._words) - start for start in starts if self._reaches_end(start, tokens)]
        if whole:
            return self._seam(tokens[max(whole) - 1])
        matched = self._matched(tokens)
        if matched >= RESTART_WORDS and matched >= RESTART_SHARE * len(self._words):
            return tokens[matched - 1].end
        return len(self._pending) if final and matched == len(tokens) >= ANCHOR_WORDS else 0

    def _starts(self) -> list[int]:
        """Words of `said` at which a repetition may begin."""
        count = len(self._words)
        near = range(max(0, count - LOOK_BACK_WORDS), count)
        return list(near) if near.start == 0 else [0, *near]

    def _matched(self, tokens: list[_Token]) -> int:
        """How many words are those of the beginning of the reply."""
        count = 0
        for token, word in zip(tokens, self._words, strict=False):
            if token.text != word:
                break
            count += 1
        return count

    def _may_still(self, start: int, tokens: list[_Token], growing: bool) -> bool:
        """Whether it may turn out that the repetition begins at this word: all fits, and the end is not reached."""
        left = len(self._words) - start
        if len(tokens) > left:
            return False
        complete = tokens[:-1] if growing else tokens
        if any(token.text != word for token, word in zip(complete, self._words[start:], strict=False)):
            return False
        if not growing:
            return len(tokens) < left
        last, word = tokens[-1].text, self._words[start + len(tokens) - 1]
        return word.startswith(last) or (len(tokens) == left and self._open_ended() and last.startswith(word))

    def _reaches_end(self, start: int, tokens: list[_Token]) -> bool:
        """Whether what is pending begins with all words of `said` from this one on."""
        wanted = self._words[start:]
        count = len(wanted)
        if len(tokens) < count or any(t.text != w for t, w in zip(tokens[: count - 1], wanted, strict=False)):
            return False
        last, word = tokens[count - 1].text, wanted[-1]
        if last != word and not (self._open_ended() and last.startswith(word)):
            return False
        if count >= min(ANCHOR_WORDS, len(self._words)) and not _IS_CJK.match(word):
            return True
        if all(_IS_CJK.match(each) for each in wanted):
            return count >= min(CJK_LEAST, len(self._words))
        if all(each.isdigit() for each in wanted):
            return False  # a number may well go on with the digit it ended with
        if count == 1:
            return last in _SMALL if last == word else len(word) >= 3
        return True

    def _open_ended(self) -> bool:
        """Whether `said` may have ended inside a word."""
        return not self._tail and self._words[-1] not in _SMALL and not _IS_CJK.match(self._words[-1])

    def _seam(self, last: _Token) -> int:
        """Where the new text begins, when this word is the last one that was said, or the beginning of it."""
        return min(last.end, last.start + len(self._words[-1])) if self._open_ended() else last.end

    def _after(self, rest: str) -> str:
        """What follows a repetition, without the marks that had been said too."""
        marks = rest[: len(rest) - len(rest.lstrip(_MARKS))]
        if self._tail.strip() and marks.strip():
            rest = rest[len(marks) :]
            if not self._tail[-1].isspace() and rest and not _IS_CJK.match(rest):
                rest = f" {rest}"
        return rest.lstrip() if self._tail[-1:].isspace() else rest

    def _join(self, text: str) -> str:
        """What follows without a repetition, with the right space before it."""
        if not self._said or not text:
            return text
        before = self._said[-1]
        if before.isspace():
            return text.lstrip()
        if text[0].isspace() or _IS_CJK.match(before) or _IS_CJK.match(text[0]):
            return text
        opened = before in "(“‘«¿¡-/'’" or (before == '"' and self._said.count('"') % 2)
        return f" {text}" if not opened and (text[0].isalnum() or text[0] in '"“‘«(¿¡') else text


_MARKS = " \t\n,.;:!?…\"'”’»)—–-"


def rest_of(text: str, spoken_s: float, words: Sequence[WordTime] = (), chars_per_s: float = CHARS_PER_S) -> int:
    """The character from which to say the rest of a sentence of which `spoken_s` seconds have sounded.

    It is where the word begins that was being spoken then, by the times of `words` as far as they go, then by the rate
    of speech; the length of the text when all words have been spoken.
    """
    if spoken_s <= 0:
        return 0
    pieces = [(begin, end) for begin, end in spans(text) if any(char.isalnum() for char in text[begin:end])]
    for begin, (_, ends_s) in zip(
        (begin for begin, _ in pieces), _times(text, pieces, words, chars_per_s), strict=True
    ):
        if ends_s > spoken_s:
            return 0 if begin == pieces[0][0] else begin
    return len(text)


def _times(
    text: str, pieces: list[tuple[int, int]], words: Sequence[WordTime], chars_per_s: float
) -> Iterator[tuple[float, float]]:
    """When the words sound, never going back: as told, or in proportion to their letters."""
    told = sorted((word for word in words if word.end > word.start), key=lambda word: word.start)
    now_s, position, index = 0.0, 0, 0
    for begin, end in pieces:
        while index < len(told) and told[index].end <= begin:
            index += 1
        own = []
        while index < len(told) and told[index].start < end:
            own.append(told[index])
            index += 1
        if own:
            begins_s, ends_s = max(own[0].begin_s, now_s), max(own[-1].end_s, now_s)
            index -= own[-1].end > end
        else:
            begins_s = now_s
            ends_s = now_s + speech_length(text[position:end]) / chars_per_s
        yield begins_s, ends_s
        now_s, position = ends_s, end
