"""What must be known about a phone call besides its conversation: the caller's audio in its order, how far the reply
was played, and the keys that were pressed. Pure; times are arguments.
"""

from __future__ import annotations

from aura.core.audio import AudioFormat
from aura.core.wire.phone import FRAME_MS, Media, PhoneCodec, silence

WINDOW = 5
"""So many later chunks are waited for before one counts as lost (100 ms)."""
JUMP_MS = 100.0
"""Time stamps that are further ahead of the audio than this show a pause of the sender; less is jitter."""
FILL_MAX_MS = 2_000.0
"""The longest gap that silence is put into at once: longer ones end every turn anyhow."""
RESTART_AFTER = 50
"""So many late chunks in a row are none: the sender counts anew."""
MARKS_MAX = 1_000


class Sorter:
    """The caller's audio in its order: late and double chunks dropped, lost ones replaced by silence.

    The session counts microphone time in samples, so what is missing must be made up for, or pauses become shorter
    than they were. While nothing is missing, nothing is held back.
    """

    def __init__(self, fmt: AudioFormat) -> None:
        self._format = fmt
        self._next: int | None = None
        self._waiting: dict[int, Media] = {}
        self._position_ms: float | None = None
        """The time stamp that the next audio should have."""
        self._late_run = 0
        self.late = 0
        self.lost = 0

    def push(self, media: Media) -> bytes:
        """The audio that can be heard now."""
        if media.chunk < 0:
            return self._take(media, 0)
        if self._next is None:
            self._next = min(media.chunk, 1)  # vendors count from 1, but the first may be overtaken
        if media.chunk < self._next or media.chunk in self._waiting:
            self.late += 1
            self._late_run += 1
            if self._late_run < RESTART_AFTER:
                return b""
            self._waiting.clear()
            self._next = media.chunk
        self._late_run = 0
        self._waiting[media.chunk] = media
        return self._whole(WINDOW)

    def flush(self) -> bytes:
        """Whatever still waits for what will not come."""
        return self._whole(1)

    def _whole(self, window: int) -> bytes:
        heard = bytearray()
        while self._waiting and self._next is not None:
            if self._next not in self._waiting and len(self._waiting) < window:
                break
            first = min(self._waiting)
            missing, self._next = first - self._next, first + 1
            self.lost += missing if self._position_ms is not None else 0
            heard += self._take(self._waiting.pop(first), missing)
        return bytes(heard)

    def _take(self, media: Media, missing: int) -> bytes:
        """One chunk, behind the silence that stands for what is missing in front of it."""
        length_ms = self._format.seconds_in(len(media.payload)) * 1000
        begun = self._position_ms is not None
        position = self._position_ms if self._position_ms is not None else float(max(0, media.timestamp_ms))
        fill_ms = min(missing * length_ms, FILL_MAX_MS) if begun else 0.0
        if media.timestamp_ms >= 0:
            ahead_ms = media.timestamp_ms - position - fill_ms
            if ahead_ms > JUMP_MS:
                fill_ms = min(fill_ms + ahead_ms, FILL_MAX_MS)
            if abs(ahead_ms) > JUMP_MS:
                position = media.timestamp_ms - fill_ms
        self._position_ms = position + fill_ms + length_ms
        return silence(self._format, fill_ms) + media.payload if fill_ms else media.payload


class Playback:
    """What the phone was sent of a reply, and what of it the vendor says was played.

    A checkpoint follows every `mark_ms` of audio. A flush brings checkpoints back without their audio having been
    played: therefore it forgets all that are out, and no name is used twice.
    """

    def __init__(self, codec: PhoneCodec, fmt: AudioFormat, mark_ms: float) -> None:
        self._codec, self._format = codec, fmt
        self._mark_bytes = fmt.bytes_for(mark_ms)
        self._packet_bytes = fmt.bytes_for(FRAME_MS)
        self._item = ""
        self._sent = self._unmarked = 0  # bytes of the item
        self._marks: dict[str, tuple[str, int]] = {}
        self._count = 0

    @property
    def silent(self) -> bool:
        """Whether the vendor has said of everything that it was played, or it was flushed."""
        return not self._marks and not self._unmarked

    def audio(self, item_id: str, payload: bytes) -> list[str]:
        """Messages that play more of an item. A broken packet at a sentence's end is filled up with silence."""
        messages = []
        if item_id != self._item:
            messages = self.mark()
            self._item, self._sent = item_id, 0
        self._sent += len(payload)
        self._unmarked += len(payload)
        if rest := len(payload) % self._packet_bytes:
            payload += silence(self._format, FRAME_MS)[rest:]
        messages += self._codec.play(payload)
        return messages + self.mark() if self._unmarked >= self._mark_bytes else messages

    def mark(self) -> list[str]:
        """A checkpoint behind what was sent, if there is none yet."""
        if not self._unmarked:
            return []
        self._count += 1
        self._unmarked = 0
        name = f"aura-{self._count}"
        self._marks[name] = (self._item, round(self._format.seconds_in(self._sent) * 1000))
        if len(self._marks) > MARKS_MAX:  # a vendor that never answers
            del self._marks[next(iter(self._marks))]
        return self._codec.checkpoint(name)

    def flush(self) -> list[str]:
        """Messages that silence the phone at once; none when it is silent."""
        if self.silent:
            return []
        self._marks.clear()
        self._unmarked = 0
        return self._codec.flush()

    def played(self, name: str) -> tuple[str, int] | None:
        """The item of a checkpoint that came back, and its milliseconds that were heard; None if it was flushed."""
        if name not in self._marks:
            return None
        while True:  # one that got lost on the way is answered by the next
            first = next(iter(self._marks))
            position = self._marks.pop(first)
            if first == name:
                return position


class Keys:
    """The keys that the caller presses, until # or a pause ends the number."""

    def __init__(self, wait_s: float, most: int) -> None:
        self._wait_s, self._most = wait_s, most
        self._pressed: list[str] = []
        self.due = float("inf")
        """When the number is complete though no # came."""

    def press(self, at: float, key: str) -> bool:
        """Take one key; whether it is the first of a number."""
        self._pressed.append(key)
        complete = key == "#" or len(self._pressed) >= self._most
        self.due = at if complete else at + self._wait_s
        return len(self._pressed) == 1

    def take(self, at: float) -> str:
        """The number as the assistant reads it; empty while it is not complete."""
        if at < self.due:
            return ""
        pressed, self._pressed, self.due = self._pressed, [], float("inf")
        return f"[The caller pressed {' '.join(pressed)}]"
