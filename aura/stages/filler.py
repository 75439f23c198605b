"""Dead air → a few words: decides when a reply that is long in coming says "One moment."

It has no task of its own: the stage that cuts the reply's text into sentences waits for that text through `next_words`,
so a filler can never come between two sentences that are there, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import trio

from aura.core import events as ev
from aura.core.pacing import PlayClock
from aura.stages.playout import Gate
from aura.stages.think import ThinkSettings

NEVER = float("inf")


class Spoken(msgspec.Struct):
    """The fillers of one reply, and of those that stand in for it when it fails."""

    first: bool = False
    later: bool = False


class Choice:
    """The texts of a conversation in turn: never the same twice running, where there are two."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, ...], int] = {}

    def __call__(self, texts: tuple[str, ...]) -> str:
        """The next of these texts."""
        number = self._next.get(texts, 0)
        self._next[texts] = number + 1
        return texts[number % len(texts)]


class Filler:
    """The fillers of one reply under way."""

    def __init__(
        self,
        settings: ThinkSettings,
        gate: Gate,
        clock: PlayClock,
        spoken: Spoken,
        choose: Choice,
        tool_runs: Callable[[], object],
    ) -> None:
        self._settings, self._gate, self._clock = settings, gate, clock
        self._spoken, self._choose, self._tool_runs = spoken, choose, tool_runs
        self._worded = False
        """Whether the model has said anything."""
        self._scope = trio.CancelScope()
        self._behind = spoken.first or spoken.later
        """Whether what comes next stands behind a filler."""
        gate.on_change = self.rearm

    async def next_words(self, words: trio.MemoryReceiveChannel[str]) -> str | None:
        """The next piece of the reply's text, or None when it is time for a filler. Raises like `receive`."""
        while True:
            with trio.CancelScope(deadline=self._due()) as self._scope:
                return self._took(await words.receive())
            if words.statistics().current_buffer_used:  # it came in the same moment
                return self._took(await words.receive())
            if self._due() <= trio.current_time():
                return None

    def take(self) -> str:
        """What to say now."""
        first = not (self._spoken.first or self._worded)
        self._spoken.first, self._spoken.later = True, self._spoken.later or not first
        return self._choose(self._settings.fillers if first else self._settings.fillers_later)

    def fact(self, reply: int, text: str) -> ev.FillerSaid:
        """That it is said now."""
        waited_ms = round((trio.current_time() - self._quiet_since()) * 1000)
        return ev.FillerSaid(reply, text.strip(), waited_ms, "tool" if self._tool_runs() else "model")

    def spaced(self, text: str, *, is_filler: bool, begun: bool) -> str:
        """A sentence, with a space in front where it would stick to a filler, or a filler to what was said before."""
        sticks = (self._behind or (is_filler and begun)) and not text[:1].isspace()
        self._behind = is_filler
        return f" {text}" if sticks else text

    def rearm(self) -> None:
        """Something changed that decides when a filler is due."""
        self._scope.deadline = self._due()

    def _took(self, text: str) -> str:
        self._worded = self._worded or bool(text)
        return text

    def _quiet_since(self) -> float:
        return max(self._gate.released_at, self._clock.ends_at)

    def _due(self) -> float:
        gate, settings, spoken = self._gate, self._settings, self._spoken
        if not settings.filler_after_s or not gate.is_open:
            return NEVER
        if not self._worded and not spoken.first and settings.fillers:
            return self._quiet_since() + settings.filler_after_s
        if self._tool_runs() and not spoken.later and settings.filler_again_s and settings.fillers_later:
            return self._quiet_since() + settings.filler_again_s
        return NEVER
