"""Everything that is given to be sent, in its order, kept as far as it may have to be sent again.

A position counts the bytes of audio that were given before it. The server tells how many bytes it has taken; since a
connection keeps its order, all that was given behind the first piece that it lacks did not arrive either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from aura.core.errors import AuraError

MOST_BYTES = 1 << 15
"""Audio that piled up is sent in pieces of at most this size."""
UPDATE, ITEM, ANSWER = "session.update", "conversation.item.create", "response.create"
ABOUT_ITEMS = frozenset({
    "conversation.item.truncate", "conversation.item.retrieve", "conversation.item.delete", "response.cancel",
})  # fmt: skip
"""Messages that mean nothing to another session."""


class CallError(AuraError):
    """There is no server, it refused the call, or it is gone; the message says which."""

    code = "call_failed"


class Letter(msgspec.Struct, frozen=True):
    """A message that is not audio."""

    position: int
    type: str
    text: str
    item_id: str = ""


class Outbox:
    """What one call sends. `given` and `sent` are positions."""

    def __init__(self, keep_messages: int) -> None:
        self.keep_bytes = 0
        """How much of the latest audio is kept."""
        self.given = self.sent = 0
        self._audio = bytearray()  # the latest, up to `given`
        self._base = 0  # the position at which the server's count is zero
        self._format_at: int | None = None  # a new input format was asked for here
        self._unsent: deque[Letter] = deque()
        self._sent: deque[Letter] = deque(maxlen=keep_messages)

    # ---- giving

    def audio(self, pcm: bytes, *, online: bool) -> None:
        """Microphone audio. Without a connection the oldest makes room; with one nothing unsent is dropped."""
        self._audio += pcm
        self.given += len(pcm)
        spare = len(self._audio) - self.keep_bytes
        if online:
            spare = min(spare, self.sent - self._start)
        if spare > 0:
            del self._audio[:spare]

    def letter(self, type_: str, text: str, item_id: str = "") -> None:
        """Any other message. Raises `CallError` when too many wait."""
        if len(self._unsent) >= (self._sent.maxlen or 0):
            raise CallError("the connection is lost, and too many messages wait for it")
        self._unsent.append(Letter(self.given, type_, text, item_id))

    def new_format(self) -> None:
        """The audio that follows may have another format."""
        self._format_at = self.given

    def format_taken(self) -> None:
        """The server counts from the new format on."""
        if self._format_at is not None:
            self._base, self._format_at = self._format_at, None

    # ---- sending

    @property
    def _start(self) -> int:
        return self.given - len(self._audio)

    def next(self) -> Letter | bytes | None:
        """What must be sent now."""
        until = self._unsent[0].position if self._unsent else self.given
        if until <= self.sent and self._unsent:
            return self._unsent[0]
        begin = self.sent - self._start
        return bytes(self._audio[begin : begin + min(until - self.sent, MOST_BYTES)]) or None

    def done(self, piece: Letter | bytes) -> None:
        """It has been handed to the network."""
        if isinstance(piece, Letter):
            self._unsent.popleft()
            self._sent.append(piece)
        else:
            self.sent += len(piece)

    def confirmed(self, type_: str, item_id: str = "") -> None:
        """The server has obeyed the oldest message of this type (about this item)."""
        found = next((one for one in self._sent if one.type == type_ and one.item_id == item_id), None)
        if found:
            self._sent.remove(found)

    # ---- after a lost connection

    def taken(self, count: int | None, known: Callable[[str], bool]) -> int:
        """The same session goes on and has taken so many bytes (None: it does not tell); `known`: whether it has an
        item. What it lacks becomes unsent. Returns how many bytes of audio are lost for good."""
        if count is not None:
            self._base = min(self._base, self.given - count)
            self.sent = self._base + count
            letters = list(self._sent)
            first = next((i for i, letter in enumerate(letters) if self._lacks(letter, known)), len(letters))
            # an update that arrived after all does no harm twice
            late = [one for one in letters[:first] if one.type == UPDATE and one.position >= self.sent]
            self._unsent.extendleft(reversed([*late, *letters[first:]]))
            self._sent.clear()
        return self._skip()

    def _lacks(self, letter: Letter, known: Callable[[str], bool]) -> bool:
        if letter.position != self.sent:
            return letter.position > self.sent
        return letter.type == ITEM and bool(letter.item_id) and not known(letter.item_id)

    def anew(self, again_from: int | None) -> int:
        """A new session begins: its count begins with the next byte, and it has been told settings and items already.
        `again_from`: the server's count where an utterance began that it never answered."""
        if again_from is not None:
            self.sent = min(self.sent, self._base + again_from)
        letters = [letter for letter in (*self._sent, *self._unsent) if letter.type not in ABOUT_ITEMS | {UPDATE, ITEM}]
        keep = {id(letter) for letter in self._unsent} | {id(one) for one in letters if one.type == ANSWER}
        self._unsent = deque(letter for letter in letters if id(letter) in keep)
        self._sent.clear()
        self._base, self._format_at = self.sent, None
        return self._skip()

    def _skip(self) -> int:
        """Go on with the oldest audio that is kept; whole samples are left out."""
        lost = max(0, self._start - self.sent)
        lost += lost & 1
        lost = min(lost, self.given - self.sent)
        self.sent += lost
        self._base += lost
        return lost
