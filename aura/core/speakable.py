"""From text as a model writes it to text as a voice should say it, and back from a spoken position to the text.

Works on pieces of a text: markup whose other half is in the next piece is removed all the same. Words are kept.
"""

from __future__ import annotations

import re

CHARS_PER_S = 15.0
"""Usual speaking rate in letters, for voices that do not say when which word sounds."""

_EMOJI = (
    r"\U0001F000-\U0001FAFF"  # pictographs, flags, playing cards
    r"\u2600-\u27BF"  # symbols and dingbats
    r"\u2190-\u21FF\u2B00-\u2BFF"  # arrows, stars
    r"\uFE0E\uFE0F\u20E3"  # variation selectors, keycap
    r"\U000E0020-\U000E007F"  # flag tags
)
_NEEDS_WORK = re.compile(rf"[*_`~<\[\]|\\\n\t【{_EMOJI}]|\s[\s,.;:!?…]|^\W|[–—]$|\s-$")
"""Most sentences have nothing to be removed; the other patterns are only tried when this one finds something."""

_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n`]*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|(?:=[ \t]*){3,})$", re.MULTILINE)
_TABLE_RULE = re.compile(r"^[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+(?:[ \t]*:?-+:?[ \t]*)?$", re.MULTILINE)
_TABLE_ROW = re.compile(r"^[ \t]*\|(.+?)\|?[ \t]*$", re.MULTILINE)
_LINE_MARK = re.compile(
    r"^[ \t]*(?:(?:>[ \t]?)+|#{1,6}(?:[ \t]+|$)|(?:[-*+•‣◦▪●○][ \t]+)(?:\[[ xX]\][ \t]+)?)+", re.MULTILINE
)
_LINE_END = re.compile(r"(?<=[^\s.!?…:;,。！？：；，、])[ \t]*\n\s*(?=\S)")

_REPLACED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<!--.*?(?:-->|$)", re.DOTALL), " "),
    (re.compile(r"</?[a-zA-Z](?:[^<>\n]{0,200}>|[\w-]*$)"), " "),
    (_FENCE, ""),
    (_TABLE_RULE, ""),
    (_RULE, ""),
    (_LINE_MARK, ""),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:[ \t]+\"[^\"\n]*\")?(?:\)|$)"), r"\1"),
    (re.compile(r"(?:【[^】\n]*】|\[\^?\d{1,3}(?:[,–-][ ]?\d{1,3})*\](?!\())"), ""),
    (re.compile(r"\]\((?:https?:|/|#|mailto:)[^()\s]*\)?"), " "),
    (re.compile(r"\[([^\[\]\n]+)\]\[[^\[\]\n]*\]"), r"\1"),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!|>~-])"), r"\1"),
    (re.compile(rf"[{_EMOJI}\u200D]+"), " "),
    (re.compile(r"`+"), ""),
    (re.compile(r"\*{2,}|~{2,}|(?<!\w)_{1,3}(?=\w)|(?<=[\w.,;:!?)])_{1,3}(?!\w)|(?<!\w)_{2,}(?!\w)"), ""),
    (re.compile(r"(?<![\w\s])\*(?=\S)|(?<=\S)\*(?![\w\s])|(?<!\S)\*(?=\S)|(?<=\S)\*(?!\S)"), ""),
)
_LEADING = re.compile(r"^(?:[\s,;:!?…)\]}»”—–|、。，！？]|\.(?!\d)|-(?![\w.])|'(?!\w)|\"(?=\s|$))+")
_TRAILING_DASH = re.compile(r"(?:\s+[-–—]+|[–—]+)$")
_SPACE = re.compile(r"\s+")
_SPACE_BEFORE_STOP = re.compile(r"\s+(?=[,.;!?…](?:\s|$))")
_WORD = re.compile(r"\w")


def speakable(text: str) -> str:
    """The words of `text` without markdown, HTML tags, emoji, bullets, citation marks or line breaks.

    Empty when nothing is left that could be pronounced.
    """
    text = text.strip()
    if _NEEDS_WORK.search(text):
        for pattern, replacement in _REPLACED:
            text = pattern.sub(replacement, text)
        text = _TABLE_ROW.sub(_row, text)
        text = _LINE_END.sub(". ", text.strip())
        text = _SPACE_BEFORE_STOP.sub("", _SPACE.sub(" ", text))
        text = _TRAILING_DASH.sub(",", _LEADING.sub("", text).strip())
    return text if _WORD.search(text) else ""


def _row(match: re.Match[str]) -> str:
    return ", ".join(cell.strip() for cell in match[1].split("|") if cell.strip())


_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}][^\w\s]*|[^\s{_CJK}]+")
_AFTER_WORD = re.compile(r"(?:\]\([^()\s]*\)|\[\^?\d+\]|[^\w\s\[<`(“‘«])*")


def words(text: str) -> list[tuple[int, int]]:
    """Where the words of a text are, with the marks that belong to them; a Chinese or Japanese character is one."""
    return [match.span() for match in _TOKEN.finditer(text)]


def raw_end(raw: str, spoken: str, end: int) -> int:
    """How much of `raw` has been said when `spoken[:end]` of its speakable form has: a position at a word's end."""
    if not spoken[end:].strip():
        return len(raw)
    at = 0
    for begin, stop in words(spoken[:end]):
        core = spoken[begin:stop].strip(".,;:!?…\"'()[]{}«»“”‘’—–。，！？、")
        found = raw.find(core, at) if core else -1
        if found >= 0:
            marks = _AFTER_WORD.match(raw, found + len(core))
            at = marks.end() if marks else found + len(core)
    return at


_WIDE = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")
_WIDE_WEIGHT = 3


def speech_length(text: str) -> int:
    """Length in letters; a Chinese character or Korean syllable takes about as long to say as three of them."""
    return len(text) + (_WIDE_WEIGHT - 1) * len(_WIDE.findall(text))
