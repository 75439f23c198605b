"""The sound of a conversation's last items, for clients that ask for an item with its audio."""

from __future__ import annotations

from collections import OrderedDict

from aura.core.audio import AudioFormat, Converter
from aura.core.ports import LISTEN_RATE_HZ

LISTENED = AudioFormat("pcm16", LISTEN_RATE_HZ)
ITEM_BYTES = 320_000
"""Longer items are shown without their audio: as base64 in one message they would be too large for stock clients."""


class Shelf:
    """Keeps what fits; the oldest goes first."""

    def __init__(self, kept_kb: int) -> None:
        self._limit = kept_kb * 1024
        self._items: OrderedDict[str, tuple[AudioFormat, bytearray]] = OrderedDict()
        self._too_long: set[str] = set()
        self._size = 0

    def add(self, item_id: str, written: AudioFormat, audio: bytes) -> None:
        """More of an item's sound."""
        if not item_id or not audio or item_id in self._too_long:
            return
        kept = self._items.setdefault(item_id, (written, bytearray()))[1]
        if len(kept) + len(audio) > ITEM_BYTES:
            self.forget(item_id)
            self._too_long.add(item_id)
            return
        kept += audio
        self._size += len(audio)
        while self._size > self._limit and len(self._items) > 1:
            self._size -= len(self._items.popitem(last=False)[1][1])

    def cut(self, item_id: str, ms: int) -> None:
        """Only so much of the item was heard."""
        if item_id in self._items:
            written, kept = self._items[item_id]
            size = written.bytes_for(ms)
            self._size -= max(0, len(kept) - size)
            del kept[size:]

    def forget(self, item_id: str) -> None:
        """The item was deleted, or is not worth keeping."""
        if item_id in self._items:
            self._size -= len(self._items.pop(item_id)[1])

    def take(self, item_id: str, wanted: AudioFormat) -> bytes | None:
        """The item's sound in the wanted format; None where it is not kept, or too long."""
        known = self._items.get(item_id)
        if known is None or not known[1]:
            return None
        written, kept = known
        audio = bytes(kept)
        if written.encoding == "pcm16" and written != wanted:
            converter = Converter(written.rate_hz, wanted)
            audio = converter.push(audio) + converter.flush()
        return audio if len(audio) <= ITEM_BYTES else None
