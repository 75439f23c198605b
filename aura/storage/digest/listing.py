"""All recordings of a data folder, the newest first: found, summed up and searched, reading no more than is needed."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from aura.core import effects as fx
from aura.core import events as ev
from aura.core import tape
from aura.core.fsm import Step, Verdict
from aura.core.journal import Entry
from aura.core.timing import Timeline
from aura.storage.digest.cache import Lru
from aura.storage.digest.conversation import CUT_SHORT
from aura.storage.digest.reading import JOURNAL, Troubles, lines, read_head, read_journal
from aura.storage.digest.tape_facts import typed_in
from aura.storage.journals import DAY
from aura.storage.taping import TAPE

STRIP_PARTS = 72
STRIP = {"idle": "i", "listening": "l", "thinking": "t", "speaking": "s", "interrupted": "x"}
NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
READ_AT_ONCE = 16 << 20
"""A request reads so many bytes of files that were not read before, then it hands back what it found."""
LOOKED_AT_ONCE = 2_000
"""So many recordings does a request look at."""
HEAD_BYTES = 4096
CACHED = 8_000
WORDS_CACHED_BYTES = 32 << 20
_STARTED = re.compile(rb'"started":"([^"]{1,40})"')
_calls = msgspec.json.Decoder(tape.Call)
_sents = msgspec.json.Decoder(tape.Sent)
FRESH_S = 15.0
"""A recording that has no end, and to which something was added so lately, is still being made."""
GOING_ON = "going on"

Outcome = Literal["", "interrupted", "failed", "cut short", "branch"]


class Summary(msgspec.Struct, frozen=True):
    """One line of the list."""

    id: str
    session: str
    started: str
    seconds: float
    outcome: str
    turns: int
    interruptions: int
    dismissed: int
    """Noises, echoes and backchannels that were not taken for interruptions."""
    errors: int
    voice_to_voice_ms: float | None
    """Median over its turns."""
    words: str
    """The first that the user said."""
    strip: str
    """The states it went through, a letter for each part of its time (`STRIP`)."""
    audio: bool
    branch: bool = False
    trouble: str = ""
    """What of it cannot be read."""
    found: str = ""
    """Where the searched words are, with what stands around them."""


class Page(msgspec.Struct, frozen=True):
    """A part of the list."""

    items: list[Summary]
    looked: int
    """How many recordings were looked at for it."""
    total: int
    next: str | None = None
    """The id after which to go on; None at the end."""


class Query(msgspec.Struct, frozen=True):
    """What is looked for. Everything given must be true."""

    text: str = ""
    """The beginning of a conversation's id, or words that were said in it."""
    since: str = ""
    """First day, YYYY-MM-DD."""
    until: str = ""
    """Last day."""
    outcome: Outcome = ""
    after: str = ""
    """Id of the last recording looked at before."""
    limit: int = 50


Signature = tuple[tuple[int, int], ...]


def signature(folder: Path) -> Signature:
    """Changes when the recording does."""
    found = []
    for name in (JOURNAL, TAPE):
        try:
            status = (folder / name).stat()
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def fresh(mark: Signature) -> bool:
    """Whether something was added just now."""
    return time.time() - max(changed for changed, _ in mark) / 1e9 < FRESH_S


def names(ident: str) -> tuple[str, str] | None:
    """Day and name in `2026-11-22/sess_0123`; None where it cannot be a recording's id."""
    day, _, name = ident.partition("/")
    return (day, name) if DAY.fullmatch(day) and NAME.fullmatch(name) else None


def folder_of(data_dir: Path, ident: str) -> Path | None:
    """A recording's folder; None when there is none."""
    if names(ident) is None:
        return None
    folder = data_dir / "recordings" / ident
    return folder if any((folder / file).is_file() for file in (JOURNAL, TAPE)) else None


class Library:
    """The recordings; what is known of them is kept while their files stay the same. For one thread at a time."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "recordings"
        self._started: dict[str, str] = {}
        self._summaries: Lru[str, tuple[Signature, Summary]] = Lru(CACHED, lambda _: 1)
        self._words: Lru[str, tuple[Signature, str]] = Lru(WORDS_CACHED_BYTES, lambda kept: len(kept[1]) + 64)
        self._read = 0

    def find(self, query: Query) -> Page:
        """What fits the query, the newest first."""
        days = self._days()
        total = sum(len(names) for _, names in days)
        found: list[Summary] = []
        self._read = looked = 0
        last = ""
        for ident in self._in_order(days, query):
            if len(found) >= query.limit or self._read > READ_AT_ONCE or looked >= LOOKED_AT_ONCE:
                return Page(found, looked, total, last)
            looked, last = looked + 1, ident
            if summary := self._fitting(ident, query):
                found.append(summary)
        return Page(found, looked, total)

    def _days(self) -> list[tuple[str, list[str]]]:
        """The names of all recordings by day, the newest day first."""
        try:
            days = sorted((path for path in self._folder.iterdir() if DAY.fullmatch(path.name)), reverse=True)
        except OSError:
            return []
        return [(day.name, [path.name for path in day.iterdir() if NAME.fullmatch(path.name)]) for day in days]

    def _in_order(self, days: list[tuple[str, list[str]]], query: Query) -> Iterator[str]:
        after_day, _, after_name = query.after.partition("/")
        for day, names in days:
            if (query.since and day < query.since) or (query.until and day > query.until):
                continue
            if after_day and day > after_day:
                continue
            row = sorted(((self._began(f"{day}/{name}"), name) for name in names), reverse=True)
            if day == after_day:
                mark = (self._began(query.after), after_name)
                row = [one for one in row if one < mark]
            yield from (f"{day}/{name}" for _, name in row)

    def _began(self, ident: str) -> str:
        """When it was made, from the head of a file; remembered, since it does not change."""
        if ident not in self._started:
            if len(self._started) > 4 * CACHED:
                self._started.clear()
            found = ""
            for name in (JOURNAL, TAPE):
                try:
                    with (self._folder / ident / name).open("rb") as file:
                        match = _STARTED.search(file.read(HEAD_BYTES))
                except OSError:
                    continue
                if match:
                    found = match[1].decode("latin-1")
                    break
            if not found:
                return ""
            self._started[ident] = found
        return self._started[ident]

    def _fitting(self, ident: str, query: Query) -> Summary | None:
        """Sum up a recording, if it is what is looked for."""
        folder = self._folder / ident
        text = query.text.casefold().split()
        by_id = len(text) == 1 and folder.name.casefold().startswith((text[0], f"sess_{text[0]}"))
        mark = signature(folder)
        if not any(size for _, size in mark):
            return None
        summary = self._summary(ident, folder, mark)
        if summary.outcome == CUT_SHORT and fresh(mark):
            summary = msgspec.structs.replace(summary, outcome=GOING_ON)
        fits = {
            "": True,
            "interrupted": summary.interruptions > 0,
            "failed": summary.errors > 0,
            "cut short": summary.outcome == CUT_SHORT or bool(summary.trouble),
            "branch": summary.branch,
        }
        if not fits.get(query.outcome, False):
            return None
        if not text or by_id:
            return summary
        said = self._said(ident, folder, mark)
        lower = said.casefold()
        if not all(word in lower for word in text):
            return None
        return msgspec.structs.replace(summary, found=around(said, lower, text))

    def _summary(self, ident: str, folder: Path, mark: Signature) -> Summary:
        kept = self._summaries.get(ident)
        if kept and kept[0] == mark:
            return kept[1]
        self._read += mark[0][1]
        summary = summarise(ident, folder)
        self._summaries.put(ident, (mark, summary))
        return summary

    def _said(self, ident: str, folder: Path, mark: Signature) -> str:
        """All that was said in a conversation (or would have been)."""
        kept = self._words.get(ident)
        if kept and kept[0] == mark:
            return kept[1]
        self._read += sum(size for _, size in mark)
        said = "\n".join(words_in(folder))
        self._words.put(ident, (mark, said))
        return said


def summarise(ident: str, folder: Path) -> Summary:
    """A recording in one line, from its journal alone."""
    troubles = Troubles()
    head, entries = read_journal(folder, troubles)
    timeline, speeds = Timeline(), []
    turns = interruptions = dismissed = errors = 0
    words, outcome = "", CUT_SHORT
    for entry in entries:
        event, orders = entry.event, entry.effects
        if times := timeline.note(entry.at, event, _step(entry)):
            speeds.append(times.ms["voice_to_voice"])
        turns += any(isinstance(order, fx.EndTurn | fx.CommitTurn) for order in orders)
        if entry.was == "interrupted" != entry.now and not isinstance(event, ev.SessionClosing):
            meant = any(isinstance(order, fx.ConfirmTurn) for order in orders)
            interruptions, dismissed = interruptions + meant, dismissed + (not meant)
        errors += (isinstance(event, ev.StageFailed) and entry.verdict != Verdict.LATE) or entry.verdict == Verdict.BUG
        if isinstance(event, ev.TranscriptReady) and event.text and not words:
            words = event.text[:160]
        if isinstance(event, ev.SessionClosing):
            outcome = event.why
    return Summary(
        ident,
        head.session if head else folder.name,
        head.started if head else "",
        round(entries[-1].at, 3) if entries else 0.0,
        outcome,
        turns,
        interruptions,
        dismissed,
        errors,
        round(median(speeds), 1) if speeds else None,
        words,
        strip(entries),
        any(file.suffix in (".flac", ".raw") for file in folder.iterdir()),
        branch=_is_branch(folder),
        trouble="; ".join(troubles.all()[:2]),
    )


def strip(entries: Sequence[Entry]) -> str:
    """The state in which the conversation was for most of each part of its time; interruptions are always seen."""
    if not entries or entries[-1].at <= 0:
        return ""
    part_s = entries[-1].at / STRIP_PARTS
    parts: list[dict[str, float]] = [{} for _ in range(STRIP_PARTS)]
    since, state = 0.0, "idle"
    for at, now in [*((entry.at, entry.now) for entry in entries), (entries[-1].at, "")]:
        if now == state:
            continue
        while since < at:
            index = min(int(since / part_s + 1e-9), STRIP_PARTS - 1)
            until = at if index == STRIP_PARTS - 1 else min(at, (index + 1) * part_s)
            weight = 3.0 if state == "interrupted" else 1.0
            parts[index][state] = parts[index].get(state, 0.0) + weight * (until - since)
            since = until if until > since else at
        state = now
    return "".join(STRIP[max(part, key=part.__getitem__)] if part else "i" for part in parts)


def _step(entry: Entry) -> Step:
    """What the timeline looks at."""
    return Step(Verdict.STAY, "idle", "idle", entry.effects)


def _is_branch(folder: Path) -> bool:
    head = read_head(folder)
    return head is not None and bool(head.from_fact or head.changed)


def words_in(folder: Path) -> Iterator[str]:
    """Everything that was said or typed, and what the voice was asked to say; some of it more than once."""
    quiet = Troubles()
    for entry in read_journal(folder, quiet)[1]:
        if isinstance(entry.event, ev.TranscriptReady) and entry.event.text:
            yield entry.event.text
    for _, batch in lines(folder / TAPE, quiet):
        for line in batch:
            if line.startswith(b'{"t":"call"') and b'"part":"tts"' in line:
                with contextlib.suppress(msgspec.DecodeError, ValueError):
                    yield _calls.decode(line).text
            elif line.startswith(b'{"t":"sent"') and b"input_text" in line:
                with contextlib.suppress(msgspec.DecodeError, ValueError):
                    yield typed_in(_sents.decode(line).text)


def around(said: str, lower: str, words: list[str], room: int = 48) -> str:
    """What stands around the first of the words. `lower` is the same text in lower case."""
    if len(lower) != len(said):
        said = lower
    at = min((lower.find(word) for word in words), default=0)
    line = said.rfind("\n", 0, at) + 1
    close = said.find("\n", at)
    close = close if close >= 0 else len(said)
    begin, end = max(line, at - room), min(close, at + 2 * room)
    return f"{'…' if begin > line else ''}{said[begin:end].strip()}{'…' if end < close else ''}"
