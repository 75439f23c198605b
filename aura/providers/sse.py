"""Server-sent events, read line by line from bytes that are cut anywhere.

A `data:` line is taken as it comes and not at the blank line after it, because servers forget the last blank line.
(The standard would join several data lines of one event; no engine sends such.) Source of the oddities: llama.cpp,
vLLM, Speaches, Nov 2026.
"""

from __future__ import annotations

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A line may hold a second of audio as base64, hardly more."""

DONE = b"[DONE]"


class SseReader:
    """Bytes in, (event name, data) out. The name is b"" unless an `event:` line came before."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events completed by these bytes. Raises ValueError when a line grows without end."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError("a line of the stream is too long")
        return self._events(lines)

    def end(self) -> list[tuple[bytes, bytes]]:
        """The events left over when the stream has ended without a last line break."""
        lines, self._rest = [self._rest], b""
        return self._events(lines)

    def _events(self, lines: list[bytes]) -> list[tuple[bytes, bytes]]:
        found = []
        for line in lines:
            if line.startswith(b"data:"):
                found.append((self._event, line[5:].strip()))
            elif line.startswith(b"event:"):
                self._event = line[6:].strip()
            elif line.startswith(b"error:"):  # llama.cpp: not a field of the standard
                found.append((b"error", line[6:].strip()))
            elif not line or line == b"\r":
                self._event = b""
        return found
