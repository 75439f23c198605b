"""Timers, kept for each conversation and gone with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from weakref import WeakKeyDictionary

import msgspec
import trio
from msgspec import Meta

from aura.core.ports import ToolHost
from aura.providers.tools.registry import ToolFault

MAX_TIMERS = 20
MAX_SECONDS = 86_400
ALL = ("all", "all of them", "everything", "*")


class Timer(msgspec.Struct, frozen=True, eq=False):
    """A timer that has been set; `ends_at` is on Trio's clock, in seconds."""

    label: str
    seconds: float
    ends_at: float
    call_off: Callable[[], None]

    def name(self) -> str:
        """What to call it: its label, else its length."""
        return f"{self.label or f'{duration(self.seconds, single=True)}'} timer"


class Timers:
    """Tools that set, list and cancel timers."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[ToolHost, list[Timer]] = WeakKeyDictionary()

    def set_timer(
        self,
        host: ToolHost,
        seconds: Annotated[float, Meta(gt=0, le=MAX_SECONDS, description="How many seconds from now")],
        label: Annotated[str, Meta(max_length=80, description="What it is for, in a word or two, e.g. tea")] = "",
        message: Annotated[
            str, Meta(max_length=300, description="What to say when the time is up; empty: that the timer is done")
        ] = "",
    ) -> str:
        """Start a timer. When the time is up the user is told so aloud."""
        running = self._running(host)
        if len(running) >= MAX_TIMERS:
            raise ToolFault(f"There are {MAX_TIMERS} timers already; cancel one first.")
        label = " ".join(label.split())
        name = label or duration(seconds, single=True)
        call_off = host.say_later(seconds, message.strip() or f"Your {name} timer is done.")
        running.append(Timer(label, seconds, trio.current_time() + seconds, call_off))
        return f"Timer set for {duration(seconds)}{f' ({label})' if label else ''}."

    def list_timers(self, host: ToolHost) -> str:
        """List the timers that are running and how much time each has left."""
        running = self._running(host)
        if not running:
            return "No timer is running."
        now = trio.current_time()
        return "; ".join(f"{timer.name()}: {duration(timer.ends_at - now)} left" for timer in running) + "."

    def cancel_timer(
        self,
        host: ToolHost,
        label: Annotated[
            str, Meta(description="Label or length of the timer; `all` for all; may be empty if there is only one")
        ] = "",
    ) -> str:
        """Cancel a running timer."""
        running = self._running(host)
        if not running:
            return "No timer is running."
        chosen = _meant(running, label)
        for timer in chosen:
            timer.call_off()
            running.remove(timer)
        return f"Cancelled: {', '.join(timer.name() for timer in chosen)}."

    def _running(self, host: ToolHost) -> list[Timer]:
        """The conversation's timers, the next one to end first."""
        now = trio.current_time()
        kept = sorted((t for t in self._of.get(host, ()) if t.ends_at > now), key=lambda timer: timer.ends_at)
        self._of[host] = kept
        return kept


def _meant(running: list[Timer], label: str) -> list[Timer]:
    """The timers that a label means. Raises ToolFault when it is not clear."""
    wanted = _plain(label)
    if wanted in ALL:
        return list(running)
    if not wanted:
        if len(running) == 1:
            return list(running)
        raise ToolFault(f"Which one? Running are: {', '.join(timer.name() for timer in running)}.")
    exact = [timer for timer in running if wanted in (_plain(timer.label), _plain(duration(timer.seconds)))]
    labels = [(timer, _plain(timer.label)) for timer in running if timer.label]
    near = [timer for timer, known in labels if wanted in known or known in wanted]
    if exact or near:
        return (exact or near)[:1]
    raise ToolFault(f"No timer is called {label!r}. Running are: {', '.join(timer.name() for timer in running)}.")


def _plain(text: str) -> str:
    """For comparing: lower case, singular, without the word timer."""
    words = text.lower().replace("-", " ").replace("_", " ").split()
    words = [word for word in words if word not in ("timer", "timers", "the", "my", "a")]
    return " ".join(word.removesuffix("s") if len(word) > 3 else word for word in words)


def duration(seconds: float, *, single: bool = False) -> str:
    """A time span in words, to the second: `1 hour 5 minutes`; `single`: as before a noun, `5 minute`."""
    rest = max(0, round(seconds))
    if not rest:
        return f"{seconds:.1g} second{'' if single else 's'}" if seconds > 0 else "0 seconds"
    parts = []
    for size, name in ((3600, "hour"), (60, "minute"), (1, "second")):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}{'' if count == 1 or single else 's'}")
    return " ".join(parts)
