"""Keeps `<think>…</think>` out of the speech, for models served without a reasoning parser."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


class ThoughtFilter:
    """Text in pieces, cut anywhere → the pieces that are meant to be heard."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._trim = False

    def feed(self, text: str) -> str:
        """What of this piece (and of what was held back before) may be spoken."""
        if not self._held and not self._inside and not self._trim and "<" not in text:
            return text
        text, self._held = self._held + text, ""
        spoken = []
        while text:
            tag = CLOSE if self._inside else OPEN
            before, found, text = text.partition(tag)
            if not found:
                self._held = begun_tag(before, tag)
                before = before[: len(before) - len(self._held)]
            if not self._inside:
                spoken.append(self._trimmed(before))
            if found:
                self._trim = self._inside
                self._inside = not self._inside
        return "".join(spoken)

    def end(self) -> str:
        """What was held back as the possible beginning of a tag and was none."""
        held, self._held = self._held, ""
        return "" if self._inside else held

    def _trimmed(self, text: str) -> str:
        """Without the blank lines that follow a thought."""
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        return text


def begun_tag(text: str, tag: str) -> str:
    """The longest end of `text` with which `tag` may begin."""
    longest = min(len(tag) - 1, len(text))
    return next((text[-n:] for n in range(longest, 0, -1) if tag.startswith(text[-n:])), "")
