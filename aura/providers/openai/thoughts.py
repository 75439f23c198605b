"""Keeps `<think>…</think>` out of the speech, for models served without a reasoning parser.

Tags may be cut anywhere, nested, never closed (the rest is a thought), or closed without having been opened (some
templates open the thought in the prompt: what came before is spoken unless `inside` says so, the tag is not).
"""

from __future__ import annotations

import re

TAG = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.I)
TAGS = tuple(f"<{slash}{name}>" for name in ("think", "thinking", "thought", "reasoning") for slash in ("", "/"))
LONGEST = max(map(len, TAGS))


class ThoughtFilter:
    """Text in pieces, cut anywhere → the pieces that are meant to be heard."""

    def __init__(self, inside: bool = False) -> None:
        self.dropped = 0
        """Characters that nobody hears."""
        self._held = ""
        self._depth = int(inside)
        self._trim = False
        self._plain = not inside

    def feed(self, text: str) -> str:
        """What of this piece (and of what was held back before) may be spoken."""
        if self._plain and "<" not in text:
            return text
        text, self._held = self._held + text, ""
        spoken = []
        at = 0
        for tag in TAG.finditer(text):
            spoken.append(self._heard(text[at : tag.start()]))
            at = tag.end()
            self._depth = max(0, self._depth + (-1 if tag[1] else 1))
            self._trim = not self._depth
        rest = text[at:]
        self._held = begun_tag(rest)
        spoken.append(self._heard(rest[: len(rest) - len(self._held)]))
        self._plain = not (self._held or self._depth or self._trim)
        return "".join(spoken)

    def end(self) -> str:
        """What was held back as the possible beginning of a tag and was none."""
        held, self._held = self._held, ""
        return self._heard(held)

    def _heard(self, text: str) -> str:
        """Nothing inside of a thought; after one, without the blank that follows it."""
        if self._depth:
            self.dropped += len(text)
            return ""
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        return text


def begun_tag(text: str) -> str:
    """The end of `text` with which a tag may begin."""
    at = text.rfind("<", max(0, len(text) - LONGEST + 1))
    end = text[at:].lower() if at >= 0 else ""
    return text[at:] if end and any(tag.startswith(end) for tag in TAGS) else ""
