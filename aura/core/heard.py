"""Which words of a reply were really heard: the ledger between samples sent and text.

Every chunk is entered when it is sent. A position in samples is then turned into words: by the word times of the voice
where it gives them, otherwise in proportion to the letters of the sentence. While the length of a sentence is not
known yet, it is estimated by the speech rate of the sentences before it. Only whole words count.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from aura.core.ports import WordTime
from aura.core.speakable import raw_end, speakable, speech_length, words

LETTERS_PER_S = 15.0
"""Usual speech rate of synthetic voices, until this one's is known."""
_RATE_PRIOR_S = 1.0
"""How much heard speech the usual rate is worth against the measured one."""
_HEARD_PART = 0.6
"""A word counts as heard when this part of it has sounded."""


class Heard(msgspec.Struct, frozen=True):
    """What had been heard at a position."""

    text: str
    """The beginning of the reply's text, up to the last heard word and its punctuation."""
    sentence: int
    """Index of the sentence at the position."""
    complete: bool
    """Whether everything entered so far has been heard to its end."""


@dataclass
class _Said:
    """A sentence as far as it has been sent."""

    text: str
    spoken: str
    start: int
    samples: int = 0
    done: bool = False
    filler: bool = False
    expected: int = 0
    """Its whole length where that is known before it was all sent."""
    times: list[WordTime] = field(default_factory=list)


@dataclass(frozen=True)
class _Word:
    """A word of a sentence's spoken text: its end there, and when it sounds."""

    end: int
    begin_s: float
    end_s: float


class Ledger:
    """The account of one reply, in samples of the client's rate."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._said: list[_Said] = []
        self._starts: list[int] = []
        self._sent = 0
        self._expected: dict[int, int] = {}

    @property
    def sent(self) -> int:
        """Samples entered so far."""
        return self._sent

    @property
    def text(self) -> str:
        """The text of all sentences entered so far."""
        return "".join(said.text for said in self._said)

    def add(
        self,
        text: str,
        samples: int,
        *,
        first: bool,
        last: bool,
        words: Sequence[WordTime] = (),
        spoken: str | None = None,
        filler: bool = False,
    ) -> None:
        """Enter a chunk of a sentence.

        `text` is what is shown of it, with the white space that leads it; `spoken` what was asked of the voice (left
        out: the speakable form of `text`); `words` are positions in `spoken` and seconds since the beginning of the
        sentence's audio. `first` begins a new sentence; `last` says that its length is now known. A sentence that
        cannot be said is entered with no samples, first and last. One that is followed by another without having been
        completed keeps only the words that sounded. A `filler` is left out by `answer`.
        """
        if first or not self._said:
            self._close_last()
            self._said.append(_Said(text, speakable(text) if spoken is None else spoken, self._sent, filler=filler))
            self._starts.append(self._sent)
            self._said[-1].expected = self._expected.get(len(self._said) - 1, 0)
        said = self._said[-1]
        said.samples += samples
        said.done = said.done or last
        self._sent += samples
        for word in words:
            if not said.times or word.start >= said.times[-1].end:
                said.times.append(word)

    def expect(self, index: int, samples: int) -> None:
        """The audio of a sentence is complete and has this length, though it may not all have been sent yet."""
        self._expected[index] = samples
        if index < len(self._said):
            self._said[index].expected = samples

    def heard(self, samples: int) -> Heard:
        """What had been heard after that many samples of the reply. More samples never give less text."""
        if not self._said:
            return Heard("", 0, True)
        index = self._index(samples)
        said = self._said[index]
        text = "".join(before.text for before in self._said[:index]) + self._part(said, samples - said.start)
        complete = said.done and index == len(self._said) - 1 and samples >= self._sent
        return Heard(text, index, complete)

    def answer(self, samples: int) -> str:
        """The words heard after that many samples, without fillers."""
        if not self._said:
            return ""
        index = self._index(samples)
        said = self._said[index]
        whole = [before.text for before in self._said[:index] if not before.filler]
        return "".join(whole) + ("" if said.filler else self._part(said, samples - said.start))

    def _close_last(self) -> None:
        if self._said and not self._said[-1].done:
            said = self._said[-1]
            said.text = self._part(said, said.samples)
            said.spoken = speakable(said.text)
            said.done = True

    def _index(self, samples: int) -> int:
        """The sentence at a position; of several without samples the last."""
        return max(0, bisect_right(self._starts, samples) - 1)

    def _part(self, said: _Said, elapsed: int) -> str:
        """The heard text of a sentence after `elapsed` of its samples."""
        if said.done and elapsed >= said.samples:
            return said.text
        elapsed_s = min(elapsed, said.samples) / self._rate_hz
        end = 0
        for word in self._words(said):
            if word.begin_s + _HEARD_PART * (word.end_s - word.begin_s) > elapsed_s:
                break
            end = word.end
        return said.text[: raw_end(said.text, said.spoken, end)] if end else ""

    def _words(self, said: _Said) -> Iterator[_Word]:
        """The words of a sentence with their given or estimated times, in order."""
        starts, ends = [time.start for time in said.times], [time.end for time in said.times]
        positions, seconds = self._line(said)
        for begin, end in words(said.spoken):
            low, high = bisect_right(ends, begin), bisect_left(starts, end)
            if low < high:
                yield _Word(end, said.times[low].begin_s, said.times[high - 1].end_s)
            else:
                yield _Word(end, _between(positions, seconds, begin), _between(positions, seconds, end))

    def _line(self, said: _Said) -> tuple[list[int], list[float]]:
        """Known points of the curve from letters to seconds, from the first letter to the last."""
        positions, seconds = [0], [0.0]
        for time in said.times:
            for position, second in ((time.start, time.begin_s), (time.end, time.end_s)):
                if position > positions[-1]:
                    positions.append(position)
                    seconds.append(max(second, seconds[-1]))
        total_s = said.samples / self._rate_hz
        if said.expected > said.samples:
            total_s = said.expected / self._rate_hz
        elif not said.done:
            rest = said.spoken[positions[-1] :]
            total_s = max(total_s, seconds[-1] + speech_length(rest) / self._letters_per_s())
        if len(said.spoken) > positions[-1]:
            positions.append(len(said.spoken))
            seconds.append(max(total_s, seconds[-1]))
        return positions, seconds

    def _letters_per_s(self) -> float:
        known = [said for said in self._said if said.done and said.samples]
        letters = sum(speech_length(said.spoken) for said in known)
        heard_s = sum(said.samples for said in known) / self._rate_hz
        return (letters + _RATE_PRIOR_S * LETTERS_PER_S) / (heard_s + _RATE_PRIOR_S)


def _between(positions: list[int], seconds: list[float], position: int) -> float:
    """Linear interpolation."""
    index = min(max(bisect_right(positions, position), 1), len(positions) - 1)
    if index == 0:
        return seconds[0]
    left, right = positions[index - 1], positions[index]
    part = (position - left) / (right - left)
    return seconds[index - 1] + part * (seconds[index] - seconds[index - 1])
