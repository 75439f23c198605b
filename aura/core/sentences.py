"""A model's text, as it streams in, cut into sentences that can be spoken, each as early as is safe.

Nothing is lost: the `text`s of all sentences put together are the text that came in, except for white space at its
very end. White space between sentences leads the later one, so the pieces can be shown as they are.
"""

from __future__ import annotations

import re

import msgspec

from aura.core.abbreviations import ENDLESS, STARTERS, UNTIL_CAPITAL, WITH_NUMBER
from aura.core.speakable import speakable, speech_length


class SentenceSettings(msgspec.Struct, frozen=True):
    """When a piece of the model's text goes to the voice."""

    first_phrase_chars: int = 25
    """From this length on the first phrase of a reply may end at a comma, so that sound starts early."""
    min_chars: int = 30
    """Later sentences shorter than this are spoken together with the next one."""
    max_chars: int = 240
    """Longer sentences are cut at a pause between their parts."""


class Sentence(msgspec.Struct, frozen=True):
    """A piece of a reply."""

    text: str
    """As the model wrote it, with the white space that leads it."""
    spoken: str
    """What the voice should say. Empty only in the last piece of a reply, for marks that cannot be said."""


_CLOSERS = "\"'”’»)\\]}*_`"
_STOP = re.compile(
    rf"(?P<wide>[。！？｡।॥؟۔።]+[{_CLOSERS}」』）】〉》]*)|(?P<stop>[.!?…]+)(?P<close>[{_CLOSERS}]*)|(?P<line>\n)"
)
_PAUSE = re.compile(
    rf"(?P<mark>[,;:][{_CLOSERS}]*(?=\s))|(?P<wide>[，、；：])|(?P<dash>—|\s[–-](?=\s))|(?P<word>\s(?=(?:and|but|or|so|because|which|und|aber|et|mais|y|pero)\s))",
    re.IGNORECASE,
)
_PAUSE_AT_END = re.compile(rf"[^\W\d_]{{2,}}[,;:][{_CLOSERS}]*$")
_LAST_WORD = re.compile(r"[^\s(\[{\"“‘«*_`—–]*$")
_ITEM = re.compile(r"\s*(?:\d{1,3}[.)]|[-*+•‣◦▪])[ \t]+(?=\S)")
_ITEM_MARK = re.compile(r"\s*\d{1,3}")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_NEXT = re.compile(r"\s+[\"'“‘«(\[*_`¿¡]*(?P<word>[\w’']*)")


class SentenceSplitter:
    """One reply's text; after `finish` the next one."""

    def __init__(self, settings: SentenceSettings) -> None:
        self._settings = settings
        self._begin()

    def _begin(self) -> None:
        self._pending = ""
        self._held = Sentence("", "")
        self._first = True

    def push(self, delta: str) -> list[Sentence]:
        """Take the next piece of text; return the sentences that are now complete."""
        self._pending += delta
        return self._cut(final=False)

    def finish(self) -> list[Sentence]:
        """The text is complete: return all that is left."""
        out = self._cut(final=True)
        if self._pending.strip():
            out += self._take(self._pending)
        if self._held.text:
            out.append(self._held)
        self._begin()
        return out

    def break_off(self) -> list[Sentence]:
        """The text ends in a sentence that is not to be said: return what is complete before it."""
        out = self._cut(final=True)
        if self._held.text:
            out.append(self._held)
        self._begin()
        return out

    def _cut(self, final: bool) -> list[Sentence]:
        out: list[Sentence] = []
        while end := next_end(self._pending, self._settings, first=self._first, final=final):
            piece, self._pending = self._pending[:end], self._pending[end:]
            out += self._take(piece)
        return out

    def _take(self, piece: str) -> list[Sentence]:
        """Emit a piece, or hold it until it is long enough."""
        out = []
        if _ITEM.match(piece) and self._held.spoken:
            out.append(self._held)
            self._held = Sentence("", "")
        text = self._held.text + piece
        merged = Sentence(text, speakable(text))
        enough = self._first or _ITEM.match(piece) or speech_length(merged.spoken) >= self._settings.min_chars
        if merged.spoken and enough:
            self._first = False
            self._held = Sentence("", "")
            return [*out, merged]
        self._held = merged
        return out


def next_end(text: str, settings: SentenceSettings, *, first: bool, final: bool) -> int:
    """Where the first sentence of `text` ends, or 0 if that is not known yet.

    `first`: an early end matters more than a whole sentence. `final`: nothing follows `text`.
    """
    begin = len(text) - len(text.lstrip())
    end = _sentence_end(text, begin, first=first, final=final)
    if first and (pause := _first_pause(text, begin, settings.first_phrase_chars, end or len(text))):
        return pause
    if (end or len(text)) - begin > settings.max_chars:
        return _last_pause(text, begin, begin + settings.max_chars)
    return end


def _sentence_end(text: str, begin: int, *, first: bool, final: bool) -> int:
    item = bool(_ITEM.match(text)) and not first
    for match in _STOP.finditer(text, begin):
        if match["line"]:
            return match.start()
        if item:
            continue
        if match["wide"]:
            return match.end()
        verdict = _ends(text, match, begin, first=first, final=final)
        if verdict is None:
            return 0
        if verdict:
            return match.end()
    return 0


def _ends(text: str, match: re.Match[str], begin: int, *, first: bool, final: bool) -> bool | None:
    """Whether the stop at `match` ends a sentence; None if that depends on text still to come."""
    stop, rest = match["stop"], text[match.end() :]
    before = _LAST_WORD.search(text, begin, match.start())
    word = before[0] if before else ""
    if not rest:
        return (
            True if final or (first and not match["close"] and _safe(stop, word, text[begin : match.start()])) else None
        )
    if not rest[0].isspace():
        return False
    if stop == "." and _plain(word):
        return True
    if stop == "." and _ITEM_MARK.fullmatch(text, 0, match.start()):
        return False
    following = _NEXT.match(rest)
    if following is None or following.end() == len(rest):
        if not final and "\n" not in rest:
            return None
        return True
    return _ends_before(stop, word, bool(match["close"]), following["word"])


def _ends_before(stop: str, word: str, quoted: bool, following: str) -> bool:
    """Whether `word` + `stop` ends a sentence when `following` is the next word."""
    small = following[:1].islower()
    if stop != ".":
        return not (small and (quoted or stop[-1] in ".…"))
    name = word.lower()
    if name in ENDLESS:
        return False
    if name in WITH_NUMBER:
        return not following[:1].isdigit()
    if name in UNTIL_CAPITAL:
        return not small and not following[:1].isdigit()
    if _INITIALS.fullmatch(word) and word != "I":
        return following.lower() in STARTERS and not small
    return not small


def _plain(word: str) -> bool:
    """An ordinary lower-case word: a stop after it is the end of a sentence."""
    name = word.replace("’", "").replace("'", "").replace("-", "")
    return len(name) >= 3 and name.isalpha() and name.islower() and not _short_form(name)


def _short_form(name: str) -> bool:
    return name in ENDLESS or name in UNTIL_CAPITAL or name in WITH_NUMBER


def _safe(stop: str, word: str, before: str) -> bool:
    """Whether the end of the first phrase may be taken for granted before anything follows it."""
    if before.count('"') % 2:
        return False  # a closing quote is still to come, and perhaps `she said`
    return _plain(word) if stop == "." else len(word) >= 2 and "/" not in word and stop[-1] in "!?"


def _first_pause(text: str, begin: int, least: int, limit: int) -> int:
    """The first pause that leaves a phrase of at least `least` characters, before `limit`; or 0."""
    if speech_length(text[begin:limit]) < least:
        return 0
    for match in _PAUSE.finditer(text, begin, limit):
        end = match.start() if match["word"] else match.end()
        if speech_length(text[begin:end]) >= least:
            return end
    return limit if limit == len(text) and _PAUSE_AT_END.search(text, begin) else 0


def _last_pause(text: str, begin: int, limit: int) -> int:
    """The best place to cut what is too long: its last pause, else the last space, else the limit itself."""
    halfway = (begin + limit) // 2
    pauses = [match for match in _PAUSE.finditer(text, begin, limit) if match.start() > halfway]
    marks = [match.end() for match in pauses if not match["word"]]
    if pauses:
        return marks[-1] if marks else pauses[-1].start()
    space = max(text.rfind(" ", begin, limit), text.rfind("\t", begin, limit))
    return space if space > begin else limit
