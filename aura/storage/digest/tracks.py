"""Where audio lies on the conversation's time axis: the user's by when it came, the assistant's by its playback."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from aura.core.audio import AudioFormat
from aura.storage.digest.shapes import Track

GAP_S = 0.2
"""The user's audio goes on without a gap as long as it is not later than this."""
JITTER_S = 0.3
"""The network delayed the beginning of a stretch by no more than this."""
SETTLE_S = 2.0
"""By then a piece of audio has come that was hardly delayed."""
TOGETHER_S = 0.002


@functools.cache
def format_of(stream: str) -> AudioFormat:
    """The format in a stream's name: `pcm16.24000`, `in.pcm16.24000`."""
    encoding, rate = stream.rsplit(".", 2)[-2:]
    return AudioFormat.parse(encoding, int(rate))


@functools.cache
def bytes_per_s(stream: str) -> int:
    """How many bytes of a stream are one second."""
    form = format_of(stream)
    return form.sample_bytes * form.rate_hz


class Ear:
    """The user's audio as it arrives. A client sends what the microphone gave it just now, with some jitter."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._stream = ""
        self._begin = self._end = self._from_s = 0.0
        """Of the stretch that goes on."""
        self._early = 0.0
        """How much later than usual its first piece came."""
        self._taken: dict[str, float] = {}

    def take(self, at: float, size: int, stream: str) -> None:
        """So many bytes have come by now."""
        seconds = size / bytes_per_s(stream)
        begin = at - seconds
        if stream != self._stream or begin - self._end > GAP_S:
            self._settle()
            self._stream, self._from_s = stream, self._taken.get(stream, 0.0)
            self._begin = self._end = max(begin, self._end)
        elif self._end - self._begin < SETTLE_S and self._end - begin > self._early:
            self._early = min(self._end - begin, JITTER_S)
        self._end += seconds

    def _settle(self) -> None:
        """The stretch is over. It began a little before its first piece came."""
        if self._stream:
            length = self._end - self._begin
            self._taken[self._stream] = self._from_s + length
            floor = self._tracks[-1].end if self._tracks else 0.0
            self._begin = max(floor, self._begin - self._early)
            self._end = self._begin + length
            self._tracks.append(Track(self._begin, self._end, self._stream, self._from_s))
        self._stream, self._early = "", 0.0

    def tracks(self) -> list[Track]:
        """All of it."""
        self._settle()
        return self._tracks


class MicrophoneTime:
    """Counts the user's audio from its first sample, in milliseconds, as `at_ms` of facts does."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self._tracks = tracks
        self._starts: list[float] = []
        total = 0.0
        for track in tracks:
            self._starts.append(total)
            total += track.end - track.begin

    def on_axis(self, at_ms: int) -> float | None:
        """When that sample was spoken; None where there is no audio to tell."""
        if not self._tracks or at_ms < 0:
            return None
        index = max(0, bisect_right(self._starts, at_ms / 1000) - 1)
        return self._tracks[index].begin + at_ms / 1000 - self._starts[index]


class Player:
    """What the client plays of what it is sent: at real time, nothing while it is told to hold or once flushed."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._taken: dict[str, float] = {}
        self._held = False
        self._waiting: list[Track] = []
        """Audio that is held; its times do not count."""
        self._until = 0.0
        self.played: list[Track] = []
        self.sent_s: dict[str, float] = {}
        """How much of each item was sent."""

    def send(self, at: float, item: str, size: int, stream: str) -> None:
        """Audio leaves now."""
        seconds = size / bytes_per_s(stream)
        offset = self._taken.get(stream, 0.0)
        self._taken[stream] = offset + seconds
        item_s = self.sent_s.get(item, 0.0)
        self.sent_s[item] = item_s + seconds
        track = Track(0.0, seconds, stream, offset, item, item_s)
        if self._held:
            self._waiting.append(track)
            return
        if self._until <= at:  # nothing is playing: the client fills its buffer first
            self._until = at + self._delay_s
        self._play(track)

    def _play(self, track: Track) -> None:
        length = track.end - track.begin
        begin, self._until = self._until, self._until + length
        last = self.played[-1] if self.played else None
        if (
            last
            and (last.stream, last.item) == (track.stream, track.item)
            and abs(last.end - begin) < TOGETHER_S
            and abs(last.from_s + last.end - last.begin - track.from_s) < TOGETHER_S
        ):
            self.played[-1] = msgspec.structs.replace(last, end=last.end + length)
        else:
            self.played.append(msgspec.structs.replace(track, begin=begin, end=begin + length))

    def hold(self, at: float) -> None:
        """Be silent and keep what is left."""
        if not self._held:
            self._held = True
            self._waiting = self._cut(at)

    def resume(self, at: float) -> None:
        """Go on."""
        if self._held:
            self._held, self._until = False, at
            waiting, self._waiting = self._waiting, []
            for track in waiting:
                self._play(track)

    def flush(self, at: float) -> None:
        """Throw away what was not played."""
        self._cut(at)
        self._held, self._waiting, self._until = False, [], min(self._until, at)

    def keep(self, item: str, until_s: float) -> None:
        """The client says how much of an item it had played."""
        kept: list[Track] = []
        for track in self.played:
            length = track.end - track.begin
            most = until_s - track.item_s if track.item == item else length
            if most > 0:
                kept.append(msgspec.structs.replace(track, end=track.begin + min(length, most)))
        self.played = kept

    def _cut(self, at: float) -> list[Track]:
        """Take back what lies after a moment."""
        left: list[Track] = []
        while self.played and self.played[-1].end > at:
            track = self.played.pop()
            if track.begin < at:
                self.played.append(msgspec.structs.replace(track, end=at))
            done = max(0.0, at - track.begin)
            rest = track.end - track.begin - done
            left.append(
                msgspec.structs.replace(
                    track, begin=0.0, end=rest, from_s=track.from_s + done, item_s=track.item_s + done
                )
            )
            if track.begin < at:
                break
        return left[::-1]


def when_played(tracks: Iterable[Track], item: str, begin_s: float, end_s: float) -> tuple[float, float] | None:
    """When this part of an item's audio was heard; None if nothing of it was."""
    found: tuple[float, float] | None = None
    for track in tracks:
        if track.item != item:
            continue
        length = track.end - track.begin
        low, high = max(begin_s, track.item_s), min(end_s, track.item_s + length)
        if high > low:
            begin, end = track.begin + low - track.item_s, track.begin + high - track.item_s
            found = (begin if found is None else found[0], end)
    return found
