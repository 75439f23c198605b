"""A recording that parts from this AURA → the shortest that parts in the same way.

The order of tasks on a tape is fixed, so nothing can be taken out of the middle of what somebody does. What can go:
everything behind the place where it parts, and whatever lies between two moments at which nobody has the floor and
nothing is under way: whole turns, and the client's silence. What follows moves to earlier times and smaller numbers.
That it still fits is checked by running it: every fact up to the place must come out as it was, and every frame of
the user's voice must be taken for what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from aura.core import tape
from aura.core.journal import Entry
from aura.core.ports import SpeechChunk
from aura.stages.intake import EVERY
from aura.storage.taping import Taken
from aura.tools.replay import trial
from aura.tools.replay.ddmin import Budget, smallest
from aura.tools.replay.pipeline import append_message
from aura.tools.replay.strip import Strip, is_step, kept_steps
from aura.tools.replay.trial import LASTING, Mark, Trial

GRID_HZ = 2.0**20
"""Times move by whole fractions of this, which floating point numbers hold exactly."""
SAMPLE_BYTES = {"pcm16": 2, "pcmu": 1, "pcma": 1}

Ranges = Sequence[tuple[float, float]]
"""From behind the first to the second, in order."""


class Cut(msgspec.Struct, frozen=True):
    """The shortest recording found."""

    strip: Strip
    items: tuple[Taken, ...]
    """It, as the writer of recordings takes it."""


def tail_cut(strip: Strip, found: Trial) -> Strip:
    """What a recording holds up to where it parts, and to where came then what is now another thing."""
    steps = strip.read.steps
    last = _last_needed(strip, found)
    while last + 1 < len(steps) and steps[last + 1].at == steps[last].at:  # the whole pass of the event loop
        last += 1
    if last >= len(steps) - 1:
        return strip
    lines: list[tape.Line] = []
    count = -1
    for line in strip.read.lines:
        count += isinstance(line, tape.Step)
        if count > last:
            break
        lines.append(line)
    end = steps[last].at - found.began
    entries = [entry for entry in strip.entries if entry.at <= round(end, 6)]
    kept = [step for step in steps[: last + 1] if isinstance(step.outcome, tape.Audio | tape.Sound)]
    read = msgspec.structs.replace(strip.read, lines=tuple(lines))
    told = msgspec.structs.replace(strip.kept, entries=tuple(entries))
    return Strip(read, strip.audio[: len(kept)], told)


def _last_needed(strip: Strip, found: Trial) -> int:
    """The last step without which it would not be seen that the recording parts."""
    steps, parted = strip.read.steps, found.parted
    assert parted
    if parted.says_otherwise:
        sent = parted.kind.startswith("sent")
        kinds = (tape.Sent, tape.SentAudio) if sent else (tape.Call,)
        equal = found.sent if sent else found.asked
        count, index = 0, -1
        for line in strip.read.lines:
            index += isinstance(line, tape.Step)
            count += isinstance(line, kinds)
            if count > equal:
                return max(index, found.step)
        return len(steps)  # there was no more of it then
    if len(found.facts) < len(strip.entries):
        return max(found.step, _told_at(strip, found, len(found.facts), found.step - 1))
    return found.step if parted.kind.startswith(("went on", "came from", "called the")) else len(steps)


def _told_at(strip: Strip, found: Trial, index: int, begin: int) -> int:
    """By which step a fact was told that does not come out any more; -1 when it cannot be known."""
    if index >= len(strip.entries):
        return -1
    at, steps = strip.entries[index].at, strip.read.steps
    same_pass = [i for i in range(max(0, begin), len(steps)) if round(steps[i].at - found.began, 6) == at]
    return same_pass[-1] if same_pass else -1


# ---- taking something out


class Span(msgspec.Struct, frozen=True):
    """What lies between two marks."""

    begin: Mark
    end: Mark
    mic_ms: tuple[float, float]
    """The client's audio in it, counted from its beginning."""


def spans(strip: Strip, marks: Sequence[Mark], until: int) -> list[Span]:
    """All that could be taken out before a step. The intake pauses after so many messages: it must go on to."""
    heard, total = [], 0.0
    for step in strip.read.steps:
        heard.append(total)
        if isinstance(step.outcome, tape.Audio):
            encoding, _, rate = step.outcome.format.partition(".")
            total += step.outcome.bytes * 1000 / SAMPLE_BYTES[encoding] / int(rate)
    alike: dict[int, list[Mark]] = {}
    for mark in marks:
        if mark.step < until:
            alike.setdefault(mark.messages % EVERY, []).append(mark)
    usable = max(alike.values(), key=lambda group: group[-1].step - group[0].step, default=[])
    return [Span(a, b, (heard[a.step], heard[b.step])) for a, b in pairwise(usable)]


class Without:
    """A recording without some spans."""

    def __init__(self, strip: Strip, found: Trial, gone: Sequence[Span]) -> None:
        self.strip, self.found = strip, found
        self._gone = gone
        self._tasks: Ranges = [(span.begin.tasks, span.end.tasks) for span in gone]
        self._turns: Ranges = [(span.begin.turn, span.end.turn) for span in gone]
        self._replies: Ranges = [(span.begin.reply, span.end.reply) for span in gone]
        self._mic: Ranges = [span.mic_ms for span in gone]
        self.places: dict[int, int] = {}
        """Where a step that is still there stands now."""

    def made(self) -> Strip:
        """The shorter recording. Its messages and calls are not known."""
        steps = self.strip.read.steps
        lines: list[tape.Step] = []
        audio: list[bytes] = []
        sounds = iter(self.strip.audio)
        earlier = 0.0
        gone = iter(self._gone)
        span = next(gone, None)
        for index, step in enumerate(steps):
            sound = next(sounds) if isinstance(step.outcome, tape.Audio | tape.Sound) else None
            if span and index >= span.end.step:
                earlier += self._length(span)
                span = next(gone, None)
            if span and span.begin.step <= index:
                continue
            task = step.task if step.task <= LASTING else int(squeeze(step.task, self._tasks))
            self.places[index] = len(lines)
            lines.append(tape.Step(step.at - earlier, task, step.outcome))
            if sound is not None:
                audio.append(sound)
        kept = msgspec.structs.replace(self.strip.kept, entries=self._entries(lines))
        read = msgspec.structs.replace(self.strip.read, lines=tuple(lines))
        return Strip(read, tuple(audio), kept)

    def _length(self, span: Span) -> float:
        """By how much what follows comes earlier: the wall clock must not be looked at sooner than it can be."""
        begin, end = (self.strip.read.steps[mark.step].at for mark in (span.begin, span.end))
        return int(min(end - begin, span.end.tick - span.begin.tick) * GRID_HZ) / GRID_HZ

    def _entries(self, steps: Sequence[tape.Step]) -> tuple[Entry, ...]:
        entries: list[Entry] = []
        place = 0
        for index, entry in enumerate(self.strip.entries):
            facts = self.found.facts
            place = facts[index] if index < len(facts) else _told_at(self.strip, self.found, index, place)
            if place < 0:
                break
            if place in self.places:
                at = round(steps[self.places[place]].at - self.found.began, 6)
                entries.append(msgspec.structs.replace(self.moved(entry), n=len(entries) + 1, at=at))
        return tuple(entries)

    def heard_alike(self, before: Trial, after: Trial) -> bool:
        """Whether the user's voice is taken for what it was, so that a fact about it has the numbers that it had."""
        kept = [heard for heard in before.heard[:-1] if heard.step in self.places] + [before.heard[-1]]
        return len(kept) == len(after.heard) and all(map(trial.Heard.alike, kept, after.heard))

    def moved(self, entry: Entry) -> Entry:
        """A fact with the numbers that it has now."""
        event, effects = self._numbers(entry.event), tuple(map(self._numbers, entry.effects))
        return msgspec.structs.replace(entry, event=event, effects=effects)

    def _numbers(self, item: Any) -> Any:
        ranges = {"turn": self._turns, "reply": self._replies, "retry_of": self._replies, "at_ms": self._mic}
        new = {
            name: round(squeeze(getattr(item, name), ranges[name]))
            for name in item.__struct_fields__
            if name in ranges and getattr(item, name) > 0
        }
        return msgspec.structs.replace(item, **new) if new else item


def squeeze(number: float, gone: Ranges) -> float:
    """A number without those that are gone before it."""
    return number - sum(end - begin for begin, end in gone if end <= number)


# ---- shrinking


def whole_tail(strip: Strip, found: Trial) -> Cut:
    """A recording up to where it parts, with nothing else taken out."""
    short = tail_cut(strip, found)
    return Cut(short, tuple(items_of(short)))


def shortest(
    strip: Strip,
    found: Trial,
    budget: Budget,
    detector: trial.Detector | None = None,
) -> Cut:
    """The shortest recording that parts as this one does."""
    short = tail_cut(strip, found)
    whole = trial.run(short, detector)
    units = spans(short, whole.marks, whole.step)
    best: list[tuple[Trial, Strip]] = []

    def parts(kept: list[Span]) -> bool:
        budget.tried(len(kept), "stretches")
        there = set(map(id, kept))
        without = Without(short, whole, joined([span for span in units if id(span) not in there]))
        candidate = without.made()
        again = trial.run(candidate, detector)
        if again.parted != whole.parted or again.step != without.places.get(whole.step, len(candidate.read.steps)):
            return False
        if whole.actual and again.actual and not _alike(without.moved(whole.actual), again.actual):
            return False
        if not without.heard_alike(whole, again):
            return False
        best[:] = [(again, candidate)]
        return True

    # What was sent or asked otherwise depends on numbers and words that a shorter conversation does not have.
    possible = found.parted and not found.parted.says_otherwise and not strip.kept.lost
    if possible and whole.parted == found.parted:
        smallest(units, parts, budget.spent)
    if not best:
        return whole_tail(strip, found)
    again, candidate = best[0]
    known = list(kept_steps(again.kept))
    rest = items_of(candidate)[sum(map(is_step, known)) + 1 :]
    return Cut(candidate, (*known, *rest, tape.LostSteps()))


def _alike(left: Entry, right: Entry) -> bool:
    return msgspec.structs.replace(left, n=0, at=0.0) == msgspec.structs.replace(right, n=0, at=0.0)


def joined(gone: Sequence[Span]) -> list[Span]:
    """Spans that follow on each other, as one."""
    out: list[Span] = []
    for span in gone:
        if out and out[-1].end.step == span.begin.step:
            span = Span(out[-1].begin, span.end, (out.pop().mic_ms[0], span.mic_ms[1]))
        out.append(span)
    return out


def items_of(strip: Strip) -> list[Taken]:
    """A recording as the writer of recordings takes it, header first. Audio to the client is not written again."""
    sounds = iter(strip.audio)
    items: list[Taken] = [strip.read.header]
    for line in strip.read.lines:
        match line:
            case tape.Sent(text):
                items.append([text])
            case tape.Step(at, task, None):
                items.append((at, task))
            case tape.Step(at, task, outcome):
                assert outcome
                items.append((at, task, _raw(outcome, sounds)))
            case _:
                items.append(line)
    return items


def _raw(outcome: tape.Outcome, sounds: Any) -> tape.Outcome:
    match outcome:
        case tape.Audio(_, _, binary, event_id):
            data = next(sounds)
            return tape.RawMessage(data if binary else append_message(data, event_id))
        case tape.Text(text):
            return tape.RawMessage(text)
        case tape.Sound(_, rate_hz, words):
            return tape.RawSound(SpeechChunk(next(sounds), rate_hz, words))
        case _:
            return outcome
