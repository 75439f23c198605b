"""Who said what and when, and which of the assistant's words were heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from aura.core.heard import Ledger
from aura.storage.digest.journal_facts import JournalFacts, Turn
from aura.storage.digest.shapes import Answer, Call, Part, Said, Speech, Track
from aura.storage.digest.tape_facts import Item, TapeFacts
from aura.storage.digest.tracks import when_played

RATE_HZ = 8_000
"""Resolution of the account of what was heard; any will do."""
TOGETHER_S = 0.25
"""The audio of an answer leaves so soon after the fact that it begins."""


def transcript(journal: JournalFacts, tape: TapeFacts, played: Sequence[Track]) -> list[Said]:
    """All entries, in the order in which they began."""
    answers = _answers_of(journal, tape)
    entries = [
        *(entry for turn in _turns(journal, tape) if (entry := _user(turn, journal.hearing.speech))),
        *(entry for item in tape.items.values() if (entry := _typed(item))),
        *_assistant(journal, tape, played, answers),
    ]
    if not tape.items:  # without a tape nobody knows the words
        entries += [_silent(answer) for answer in journal.answers.values() if answer.audible is not None]
    return sorted(entries, key=lambda entry: entry.at)


# ---- the user


def _turns(journal: JournalFacts, tape: TapeFacts) -> Iterator[Turn]:
    """The turns; words that the journal lacks (nobody answered them) are those that the client was told."""
    items = dict(zip(journal.closed_turns, tape.committed, strict=False))
    for number, turn in journal.turns.items():
        if not turn.text and (told := tape.transcripts.get(items.get(number, ""))):
            turn = msgspec.structs.replace(turn, text=told, words=len(told.split()), kind="words")
        yield turn


def _user(turn: Turn, speech: Sequence[Speech]) -> Said | None:
    mine = [stretch for stretch in speech if stretch.turn == turn.turn]
    begin = mine[0].begin if mine else turn.begin
    end = mine[-1].end if mine else turn.end if turn.end is not None else begin
    note = "dismissed" if turn.dropped else ""
    if not turn.text:
        note = note or ("redacted" if turn.words else "no_words")
    return Said("user", begin, (Part(turn.text, "heard", begin, end),), turn=turn.turn, reply=turn.reply, note=note)


def _typed(item: Item) -> Said | None:
    if not item.typed or item.role not in ("user", "system"):
        return None
    who = "user" if item.role == "user" else "system"
    return Said(who, item.at, (Part(item.typed),), "typed")  # type: ignore[arg-type]


# ---- the assistant


def _answers_of(journal: JournalFacts, tape: TapeFacts) -> dict[str, Answer]:
    """Which answer an item belongs to: the audio leaves right after the fact that it begins."""
    starts = sorted((a for a in journal.answers.values() if a.audible is not None), key=lambda a: a.audible or 0.0)
    found: dict[str, Answer] = {}
    for item in tape.items.values():
        if item.role != "assistant" or item.first_audio is None:
            continue
        for answer in starts:
            if answer.audible is not None and -TOGETHER_S < item.first_audio - answer.audible < TOGETHER_S:
                found[item.id] = answer
                starts.remove(answer)
                break
    return found


def _assistant(
    journal: JournalFacts, tape: TapeFacts, played: Sequence[Track], answers: dict[str, Answer]
) -> Iterator[Said]:
    for item in tape.items.values():
        if item.role != "assistant" or not (item.said or item.kept):
            continue
        answer = answers.get(item.id)
        sent = "".join(text for _, text in item.said)
        if not item.spoken or not item.said:
            parts: tuple[Part, ...] = (Part(sent or item.kept or ""),)
        else:
            heard = heard_letters(item, tape.player.sent_s.get(item.id, 0.0), played)
            parts = tuple(_sentences(item, heard, tape.player.sent_s.get(item.id, 0.0), played))
            if answer and (rest := unsent(sent, _written(answer, journal, tape.calls))):
                parts += (Part(rest, "unsent"),)
        note = answer.outcome if answer and answer.outcome in ("cancelled", "failed") else ""
        begin = item.first_audio if item.first_audio is not None else item.at
        begin = next((part.begin for part in parts if part.begin is not None), begin)
        turn, reply = (answer.turn, answer.reply) if answer else (0, 0)
        yield Said("assistant", begin, parts, "spoken" if item.spoken and item.said else "text", turn, reply, note)


def _silent(answer: Answer) -> Said:
    note = answer.outcome if answer.outcome in ("cancelled", "failed") else "redacted"
    part = Part(answer.text, "heard", answer.audible, answer.end)
    return Said("assistant", answer.audible or 0.0, (part,), "spoken", answer.turn, answer.reply, note)


def heard_letters(item: Item, sent_s: float, played: Sequence[Track]) -> int:
    """How many letters of what was sent were heard, by the best account there is."""
    sent = "".join(text for _, text in item.said)
    if item.status == "completed":
        letters = len(sent)
    elif item.kept is not None and item.status:
        letters = common(sent, item.kept)
    else:
        letters = _sounded(item, sent_s, sum(t.end - t.begin for t in played if t.item == item.id))
    if item.truncated_ms is not None:
        letters = min(letters, _sounded(item, sent_s, item.truncated_ms / 1000))
    return letters


def _sounded(item: Item, sent_s: float, seconds: float) -> int:
    """Letters in the first seconds of an item's audio."""
    ledger = Ledger(RATE_HZ)
    starts = [*(at for at, _ in item.said), sent_s]
    for (_, text), begin, end in zip(item.said, starts, starts[1:], strict=False):
        ledger.add(text, max(0, round((end - begin) * RATE_HZ)), first=True, last=True)
    return len(ledger.heard(round(seconds * RATE_HZ)).text)


def _sentences(item: Item, heard: int, sent_s: float, played: Sequence[Track]) -> Iterator[Part]:
    """The pieces of text with the times at which they sounded, cut where hearing ended."""
    at = 0
    starts = [*(begin for begin, _ in item.said), sent_s]
    for (begin_s, text), end_s in zip(item.said, starts[1:], strict=True):
        known = min(len(text), max(0, heard - at))
        at += len(text)
        times = when_played(played, item.id, begin_s, end_s)
        if known and text[:known].strip():
            yield Part(text[:known], "heard", *(times or (None, None)))
        if known < len(text):
            yield Part(text[known:], "unheard")


def _written(answer: Answer, journal: JournalFacts, calls: Sequence[Call]) -> str:
    """All that the model wrote for an answer (and those that it stood in for)."""
    if answer.source in ("say", "apology"):
        return answer.text
    return "".join(call.gave for call in calls if call.part == "chat" and call.reply == answer.reply)


def unsent(sent: str, written: str) -> str:
    """What of a text was never sent; nothing where what was sent is not its beginning."""
    if not sent.strip() or not written.startswith(sent.rstrip()):
        return ""
    rest = written[len(sent.rstrip()) :]
    return rest.rstrip() if rest.strip() else ""


def common(left: str, right: str) -> int:
    """Length of the common beginning."""
    pairs = zip(left, right, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
