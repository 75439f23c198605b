"""A folder → everything that the page draws of it but the audio."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aura.core import events as ev
from aura.core.journal import Entry, Header
from aura.core.tape import TapeHeader
from aura.storage.digest.journal_facts import Hearing, JournalFacts
from aura.storage.digest.reading import Troubles, read_journal, read_tape
from aura.storage.digest.shapes import Branch, Conversation, Problem
from aura.storage.digest.tape_facts import TapeFacts
from aura.storage.digest.tracks import MicrophoneTime
from aura.storage.digest.transcript import transcript

CUT_SHORT = "cut short"
EXACT_S = 0.0015
"""A fact and what led to it happen in one step, and have one time."""
MARKS: dict[str, type[ev.ReplyEvent]] = {
    "stt": ev.TranscriptReady,
    "chat": ev.FirstTokenArrived,
    "tts": ev.FirstAudioArrived,
}
"""The fact that the first result of a call leads to."""


def digest(folder: Path, *, quick: bool = False) -> Conversation:
    """Read a recording (or a branch of one). What cannot be read of it is told in `unreadable`; never raises.

    `quick`: only the journal, which is a hundredth of the work, and lacks calls, audio and the assistant's words.
    """
    troubles = Troubles()
    head, entries = read_journal(folder, troubles)
    entries.sort(key=lambda entry: entry.at)  # where the clock ran backwards
    tape = TapeFacts()
    tape_head, length = (None, 0.0) if quick else read_tape(folder, troubles, tape)
    tape.settle(length)
    user, assistant = tape.tracks()
    facts = JournalFacts(Hearing(MicrophoneTime(user).on_axis))
    for entry in entries:
        facts.take(entry)
    end = max([length, *(entry.at for entry in entries[-1:])])
    facts.hearing.settle(end)
    _match(tape, entries, facts)
    if tape_head and tape.ended is None:
        why = "from there on it was not recorded" if tape.lost else "it is still being made, or the server was killed"
        troubles.add(f"tape.jsonl has no end: {why}")
    _missing_audio(folder, {track.stream for track in (*user, *assistant)}, troubles)
    told = tape_head or TapeHeader(head.session if head else folder.name, head.started if head else "", 0.0, {})
    return Conversation(
        f"{folder.parent.name}/{folder.name}",
        told.session,
        head.started if head else told.started,
        round(max([end, *(track.end for track in assistant[-1:])]), 3),
        facts.why or tape.ended or CUT_SHORT,
        len(entries),
        facts.states,
        facts.hearing.speech,
        facts.overlaps,
        facts.latencies,
        list(facts.answers.values()),
        tape.calls,
        transcript(facts, tape, assistant),
        _problems(facts, tape),
        user,
        assistant,
        troubles.all(),
        told.engines,
        told.query,
        told.software,
        _settings(head, told),
        _branch(told, entries),
    )


def _missing_audio(folder: Path, streams: Iterable[str], troubles: Troubles) -> None:
    for stream in sorted(streams):
        if not any((folder / f"{stream}.{kind}").is_file() for kind in ("flac", "raw")):
            troubles.add(f"{stream}.flac is missing: this audio cannot be seen or heard")


def _match(tape: TapeFacts, entries: Sequence[Entry], facts: JournalFacts) -> None:
    """Find out for which answer each call was made: by the fact that its first result led to, else by the time."""
    marks: dict[str, type[ev.Event]] = {
        "stt": ev.TranscriptReady,
        "chat": ev.FirstTokenArrived,
        "tts": ev.FirstAudioArrived,
    }
    told = {part: [e for e in entries if isinstance(e.event, kind)] for part, kind in marks.items()}
    times = {part: [e.at for e in found] for part, found in told.items()}
    answers = sorted(facts.answers.values(), key=lambda answer: answer.begin)
    for call in tape.calls:
        if call.first is not None and (found := told.get(call.part)):
            near = found[max(0, bisect_right(times[call.part], call.first + EXACT_S) - 1)]
            if abs(near.at - call.first) <= EXACT_S and isinstance(near.event, ev.ReplyEvent):
                call.reply = near.event.reply
                continue
        going_on = (
            answer.reply
            for answer in reversed(answers)
            if answer.begin <= call.begin + EXACT_S and (answer.end is None or answer.end >= call.begin - EXACT_S)
        )
        call.reply = next(going_on, 0)


def _problems(facts: JournalFacts, tape: TapeFacts) -> list[Problem]:
    """What went wrong, in the engines' own words where there are any."""
    found = [*facts.problems]
    for call in tape.calls:
        if call.outcome in ("ok", "cancelled", "unfinished") or call.end is None:
            continue
        end = call.end
        same = next((n for n, p in enumerate(found) if p.reply == call.reply and abs(p.at - end) < 0.1), None)
        if same is None:
            found.append(Problem(end, call.outcome, call.part, call.provider, call.error, call.reply))
        elif not found[same].text:
            found[same] = msgspec.structs.replace(found[same], text=call.error)
    found += [Problem(at, code or "error", "client", text=text) for at, code, text in tape.faults]
    found += [Problem(at, "crashed", "task", text=error) for at, error in tape.crashes]
    return sorted(found, key=lambda problem: problem.at)


def _settings(head: Header | None, told: TapeHeader) -> dict[str, Any]:
    """What the conversation was set up with; the tape knows more sections than the journal."""
    return {**(head.settings if head else {}), **told.settings}


def _branch(head: TapeHeader, entries: Sequence[Entry]) -> Branch | None:
    if not head.from_fact and not head.changed:
        return None
    at = next((entry.at for entry in entries if entry.n >= head.from_fact), None)
    return Branch(head.from_fact, at, head.changed)
